package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/agent"
)

func agentSleepCommand(opts *globalOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "sleep [NAME]",
		Short: "Put an agent to sleep now; it wakes by itself when it is needed",
		Args:  atMost(1, "one agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return change(cmd.Context(), opts, nameOr(args, "main"), (*client.Client).Sleep, cmd.OutOrStdout())
		},
	}
}

func agentWakeCommand(opts *globalOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "wake [NAME]",
		Short: "Wake an agent and wait until it answers",
		Args:  atMost(1, "one agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return change(cmd.Context(), opts, nameOr(args, "main"), (*client.Client).Wake, cmd.OutOrStdout())
		},
	}
}

// change does something to an agent and shows what it is then, and how long that
// took.
func change(ctx context.Context, opts *globalOptions, name string,
	do func(*client.Client, context.Context, string) (agent.Status, error), out io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	began := time.Now()
	status, err := do(c, ctx, name)
	if err != nil {
		return err
	}
	if opts.json {
		return printJSON(out, status)
	}
	_, err = fmt.Fprintf(out, "%s: %s, after %.1f s\n", name, reason(status), time.Since(began).Seconds())
	return err
}

func agentHistoryCommand(opts *globalOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "history [NAME]",
		Short: "Show the last states of an agent, with how long each lasted",
		Args:  atMost(1, "one agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAgentHistory(cmd.Context(), opts, nameOr(args, "main"), cmd.OutOrStdout())
		},
	}
}

func runAgentHistory(ctx context.Context, opts *globalOptions, name string, out io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	info, err := c.Agent(ctx, name)
	if err != nil {
		return err
	}
	past := append(info.History, agent.Past{State: info.State, Since: info.Since, Took: time.Since(info.Since), Reason: info.Reason})
	if opts.json {
		return printJSON(out, map[string][]agent.Past{"history": past})
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SINCE\tSTATE\tLASTED\tREASON")
	for _, p := range past {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", p.Since.Local().Format("2006-01-02 15:04:05.000"), p.State, lasted(p.Took), p.Reason)
	}
	return table.Flush()
}

// lasted is a length of time to three digits or so.
func lasted(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
