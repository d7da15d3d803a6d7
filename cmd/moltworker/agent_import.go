package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin"
)

func agentImportCommand(opts *globalOptions) *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "import NAME --from PATH",
		Short: "Make an agent of an OpenClaw that ran elsewhere",
		Long: "Make an agent of an OpenClaw that ran elsewhere. PATH is a home or its .openclaw (.clawdbot, .moltbot), an\n" +
			"archive of either, or what `moltworker agent export` wrote; r2: takes it from the bucket of Cloudflare's\n" +
			"moltworker that the settings name. Secrets that stand in its files are moved to the sealed store.",
		Args: exactly(1, "a name for the agent"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if from == "" {
				return usageError{errors.New("say what to import: a path, or r2: for the bucket, with --from")}
			}
			if !strings.HasPrefix(from, admin.BucketPrefix) {
				path, err := filepath.Abs(from)
				if err != nil {
					return err
				}
				from = path
			}
			return runAgentImport(cmd.Context(), opts, args[0], from, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "a directory or an archive on this machine, or r2:")
	return cmd
}

func runAgentImport(ctx context.Context, opts *globalOptions, name, from string, out, errOut io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	tell, clear := progress(errOut)
	made, err := c.Import(ctx, name, from, tell)
	clear()
	if err != nil {
		return err
	}
	if opts.json {
		return printJSON(out, made)
	}
	fmt.Fprintf(out, "%s: made of %s\n", made.Agent, shown(made.Kind, 200))
	for _, group := range []struct {
		what string
		list []string
	}{{"kept", made.Kept}, {"changed", made.Changed}, {"left out", made.Dropped}, {"sealed", made.Secrets}, {"warning", made.Warnings}} {
		for _, one := range group.list {
			fmt.Fprintf(out, "  %s: %s\n", group.what, shown(one, 400))
		}
	}
	_, err = fmt.Fprintf(out, "\n  Control UI of %s: %s\n\n", made.Agent, made.Link)
	return err
}
