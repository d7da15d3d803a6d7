package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/server"
)

func versionCommand(opts *globalOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of moltworker and of what it carries",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := server.Version()
			if opts.json {
				return printJSON(cmd.OutOrStdout(), v)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "moltworker %s\nOpenClaw   %s\ngVisor     %s\nlink       protocol %d\nbuilt with %s\n",
				v.Moltworker, v.OpenClaw, v.GVisor, v.Protocol, v.Go)
			return err
		},
	}
}
