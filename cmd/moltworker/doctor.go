package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/server"
)

func doctorCommand(opts *globalOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine can and cannot enforce",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDoctor(cmd.Context(), opts, cmd.OutOrStdout())
		},
	}
}

func runDoctor(ctx context.Context, opts *globalOptions, out io.Writer) error {
	cfg, err := load(opts, config.Overrides{})
	if err != nil {
		return err
	}
	reports, err := server.Probe(ctx, cfg, func(s string) { fmt.Fprintln(os.Stderr, s) })
	if err != nil {
		return err
	}
	if opts.json {
		return printJSON(out, map[string][]sandbox.Report{"sandboxes": reports})
	}
	for _, r := range reports {
		fmt.Fprintf(out, "%s: %s\n", r.Driver, r.Summary)
		for _, c := range r.Checks {
			server.PrintCheck(out, c)
		}
	}
	return nil
}
