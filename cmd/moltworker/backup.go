package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/client"
)

func backupCommand(opts *globalOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "See, make, check and restore versions of agents",
		Long: "See, make, check and restore versions of agents. Versions are made by themselves within seconds of a\n" +
			"change. VERSION is an ID as `moltworker backup ls` shows it, or latest.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	b := &backupOptions{globalOptions: opts}
	cmd.PersistentFlags().StringVar(&b.agent, "agent", "main", "the agent whose versions are meant")
	cmd.AddCommand(
		backupStatusCommand(b), backupListCommand(b), backupShowCommand(b), backupDiffCommand(b), backupGetCommand(b),
		backupNowCommand(b), backupRestoreCommand(b), backupVerifyCommand(b), backupDrillCommand(b),
		backupRepairCommand(b), backupPruneCommand(b), backupClaimCommand(b), backupUnlockCommand(b), backupKeyCommand(b),
	)
	return cmd
}

// backupOptions are what every backup command takes.
type backupOptions struct {
	*globalOptions
	agent string
}

// command is a backup command that speaks to a running moltworker.
func (b *backupOptions) command(use, short string, args cobra.PositionalArgs, run func(*call) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		c, err := connect(b.globalOptions)
		if err != nil {
			return err
		}
		return run(&call{b, cmd.Context(), c, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()})
	}}
}

// call is one run of a command.
type call struct {
	*backupOptions
	ctx    context.Context
	client *client.Client
	args   []string
	in     io.Reader
	out    io.Writer
	err    io.Writer
}

// version is the one that was named, or latest.
func (c *call) version() string { return nameOr(c.args, admin.LatestVersion) }

// show prints a result, or what it is in words.
func (c *call) show(result any, words string, args ...any) error {
	if c.json {
		return printJSON(c.out, result)
	}
	_, err := fmt.Fprintf(c.out, words+"\n", args...)
	return err
}

// progress gives one who shows how far something long is, on one line of a terminal,
// and one who clears that line. Where standard error is no terminal, nothing is shown.
func (c *call) progress() (tell func(string), clear func()) {
	return progress(c.err)
}

func progress(w io.Writer) (tell func(string), clear func()) {
	if !isTerminal(w) {
		return nil, func() {}
	}
	return func(text string) { fmt.Fprintf(w, "\r\x1b[K%s", shown(text, 100)) }, func() { fmt.Fprint(w, "\r\x1b[K") }
}

// isTerminal says whether a person sees what is written there, or types what is read.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// errDamaged says that something cannot be restored.
var errDamaged = errors.New("the backup is damaged")

// size is a number of bytes for people.
func size(n int64) string {
	switch {
	case n < 0:
		return "-"
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// plural puts a number before a word.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
