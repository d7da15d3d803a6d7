package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/server"
)

func upCommand(opts *globalOptions) *cobra.Command {
	var over config.Overrides
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything until Ctrl-C",
		Long: "Run the agents and the web address in front of them until Ctrl-C. Prints the link to the Control UI.\n" +
			"The first start installs OpenClaw with npm; later starts are ready in seconds.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runUp(cmd.Context(), opts, over, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&over.Listen, "listen", "", "address to serve, HOST:PORT (MOLTWORKER_LISTEN)")
	flags.StringVar(&over.Sandbox, "sandbox", "", "auto, gvisor or process (MOLTWORKER_SANDBOX)")
	flags.BoolVar(&over.Demo, "demo", false, "answer with the built-in demo model even when a key is set (MOLTWORKER_DEMO)")
	return cmd
}

func runUp(ctx context.Context, opts *globalOptions, over config.Overrides, stdout, stderr io.Writer) error {
	cfg, err := load(opts, over)
	if err != nil {
		return err
	}
	if err := server.EnterNamespace(cfg); err != nil {
		return err
	}
	return server.Run(ctx, cfg, server.NewConsole(stdout, opts.json), stderr)
}
