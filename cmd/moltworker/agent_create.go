package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

func agentCreateCommand(opts *globalOptions) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a new agent and show where to open it",
		Args:  exactly(1, "a name for the agent"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAgentCreate(cmd.Context(), opts, args[0], wait, cmd.OutOrStdout())
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 5*time.Minute, "how long to wait until the agent is awake; 0 does not wait")
	return cmd
}

func runAgentCreate(ctx context.Context, opts *globalOptions, name string, wait time.Duration, out io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	began := time.Now()
	made, err := c.Create(ctx, name)
	if err != nil {
		return err
	}
	if made.Status, err = afterwards(ctx, c, name, wait, made.Status); err != nil {
		return err
	}
	if opts.json {
		return printJSON(out, made)
	}
	_, err = fmt.Fprintf(out, "%s: %s, after %.1f s\n\n  Control UI of %s: %s\n\n", name, made.Reason, time.Since(began).Seconds(), name, made.Link)
	return err
}

func agentRemoveCommand(opts *globalOptions) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "rm NAME",
		Short: "Stop an agent that was created and set its files aside",
		Args:  exactly(1, "an agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return usageError{errors.New("removing an agent stops it for good: say --yes")}
			}
			return runAgentRemove(cmd.Context(), opts, args[0], cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "yes, remove it")
	return cmd
}

func runAgentRemove(ctx context.Context, opts *globalOptions, name string, out io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	gone, err := c.Remove(ctx, name)
	if err != nil {
		return err
	}
	if opts.json {
		return printJSON(out, gone)
	}
	_, err = fmt.Fprintf(out, "%s: removed; its files are in %s\n", name, gone.Kept)
	return err
}
