package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
)

func agentCommand(opts *globalOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "See and steer agents",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(agentListCommand(opts), agentCreateCommand(opts), agentRemoveCommand(opts),
		agentSleepCommand(opts), agentWakeCommand(opts), agentHistoryCommand(opts),
		agentLogsCommand(opts), agentExecCommand(opts), agentRestartCommand(opts),
		agentImportCommand(opts), agentExportCommand(opts))
	return cmd
}

func agentListCommand(opts *globalOptions) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List agents with their state",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runAgentList(cmd.Context(), opts, cmd.OutOrStdout())
		},
	}
}

func runAgentList(ctx context.Context, opts *globalOptions, out io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	agents, err := c.Agents(ctx)
	if err != nil {
		return err
	}
	if opts.json {
		return printJSON(out, map[string][]admin.AgentInfo{"agents": agents})
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSTATE\tSINCE\tMEMORY\tRESTARTS\tRUNTIME\tSANDBOX\tREASON")
	for _, a := range agents {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n",
			a.Agent, a.State, age(a.Since), memory(a), a.Restarts, a.Runtime, a.Driver, reason(a.Status))
	}
	return table.Flush()
}

func agentLogsCommand(opts *globalOptions) *cobra.Command {
	var tail int
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs [NAME]",
		Short: "Show what an agent's gateway printed",
		Args:  atMost(1, "one agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAgentLogs(cmd.Context(), opts, nameOr(args, "main"), tail, follow, cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVarP(&tail, "tail", "n", 100, "lines to show, 0 to 10000")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines as they come")
	return cmd
}

func runAgentLogs(ctx context.Context, opts *globalOptions, name string, tail int, follow bool, out io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	return c.Logs(ctx, name, tail, follow, func(e agent.LogEntry) error {
		if opts.json {
			return json.NewEncoder(out).Encode(e)
		}
		_, err := fmt.Fprintf(out, "%s %-6s %s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Stream, e.Text)
		return err
	})
}

func agentRestartCommand(opts *globalOptions) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "restart [NAME]",
		Short: "Restart an agent's gateway with its settings rendered anew",
		Args:  atMost(1, "one agent's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAgentRestart(cmd.Context(), opts, nameOr(args, "main"), wait, cmd.OutOrStdout())
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 5*time.Minute, "how long to wait until the agent is awake again; 0 does not wait")
	return cmd
}

func runAgentRestart(ctx context.Context, opts *globalOptions, name string, wait time.Duration, out io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	status, err := c.Restart(ctx, name)
	if err != nil {
		return err
	}
	if status, err = afterwards(ctx, c, name, wait, status); err != nil {
		return err
	}
	if opts.json {
		return printJSON(out, status)
	}
	_, err = fmt.Fprintf(out, "%s: %s\n", name, status.Reason)
	return err
}

// memory is what an agent takes: nothing while it sleeps.
func memory(a admin.AgentInfo) string {
	if a.State == agent.StateAsleep {
		return "0 MiB"
	}
	return mebibytes(a.MemoryBytes)
}

// reason is a status's one line, with what it will do next.
func reason(s agent.Status) string {
	line := s.Reason
	if !s.SleepsAt.IsZero() {
		line += ", sleeps at " + s.SleepsAt.Local().Format("15:04:05") + " unless used"
	}
	if s.Note != "" {
		line += " (" + s.Note + ")"
	}
	return line
}

func nameOr(args []string, fallback string) string {
	if len(args) > 0 {
		return args[0]
	}
	return fallback
}

func mebibytes(n int64) string {
	if n < 0 {
		return "?"
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// age says how long ago t was, to the two largest units.
func age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := time.Since(t)
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
