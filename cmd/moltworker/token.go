package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func tokenCommand(opts *globalOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Change the tokens that open agents",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "rotate [AGENT]",
		Short: "Give an agent a new gateway token; the old one opens nothing any more",
		Long: "Give an agent a new gateway token. The old one, and every cookie that stands for it, opens nothing\n" +
			"from then on. The agent's gateway is made to take the new one, and it is tried that it does.",
		Args: atMost(1, "one agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			agent := "main"
			if len(args) > 0 {
				agent = args[0]
			}
			return runTokenRotate(cmd.Context(), opts, agent, cmd.OutOrStdout())
		},
	})
	return cmd
}

func runTokenRotate(ctx context.Context, opts *globalOptions, agent string, out io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	r, err := c.RotateToken(ctx, agent)
	if err != nil {
		return err
	}
	if opts.json {
		err = printJSON(out, r)
	} else {
		_, err = fmt.Fprintf(out, "%s\n%s\n", r.Message, r.Link)
	}
	if err == nil && !(r.Verified && r.OldRefused) {
		return errors.New("the gateway has not taken the new token up")
	}
	return err
}
