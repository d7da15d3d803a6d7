package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/server"
)

// restoreOptions are the flags of `backup restore`.
type restoreOptions struct {
	as   string
	only []string
	yes  bool

	// Without a running moltworker.
	from, key, to string
}

func backupRestoreCommand(b *backupOptions) *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore [VERSION]",
		Short: "Put a version back, in the agent's place or as a new agent",
		Long: "Put a version (latest unless named) back in the agent's place, which keeps what was there as a version\n" +
			"first, or as a new agent with --as.\n\n" +
			"On a bare machine, where no moltworker runs: --from names the store (a directory or a bucket, as\n" +
			"MOLTWORKER_BACKUP does) and --key a file with a key that opens it. All agents are restored into the data\n" +
			"directory, or the one that --agent names, and this machine backs them up from then on; or, with --agent\n" +
			"and --to, one of them into a directory, as a copy to look at.",
		Args: atMost(1, "one version"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return usageError{err}
			}
			c := &call{b, cmd.Context(), nil, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()}
			if o.from != "" {
				if !cmd.Flags().Changed("agent") {
					c.agent = ""
				}
				if o.to != "" && c.agent == "" {
					return usageError{errors.New("--to takes --agent NAME as well: one agent goes there")}
				}
				return runBareRestore(c, o)
			}
			var err error
			if c.client, err = connect(b.globalOptions); err != nil {
				return err
			}
			return runRestore(c, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.as, "as", "", "make a new agent of that name instead")
	flags.StringArrayVar(&o.only, "only", nil, "put only this path back, relative to the home (can be repeated)")
	flags.BoolVar(&o.yes, "yes", false, "do not ask")
	flags.StringVar(&o.from, "from", "", "without a running moltworker: the store to restore from")
	flags.StringVar(&o.key, "key", "", "with --from: a file with the key")
	flags.StringVar(&o.to, "to", "", "with --from and --agent: a directory to copy the home into, empty or missing")
	return cmd
}

func (o restoreOptions) check() error {
	switch {
	case o.as != "" && len(o.only) > 0:
		return errors.New("single paths are put back in place: --as or --only, not both")
	case o.from != "" && (o.as != "" || len(o.only) > 0):
		return errors.New("--as and --only are for a running moltworker, not for --from")
	case o.from != "" && o.key == "":
		return errors.New("--from takes --key FILE as well: the key that opens the backup")
	case o.from == "" && (o.key != "" || o.to != ""):
		return errors.New("--key and --to go with --from")
	}
	return nil
}

func runRestore(c *call, o restoreOptions) error {
	if o.as == "" {
		what := "all that " + c.agent + " has"
		if len(o.only) > 0 {
			what = plural(len(o.only), "path", "paths") + " of " + c.agent
		}
		question := fmt.Sprintf("Put version %s in the place of %s? What is there is kept as a version first.", admin.ShortVersion(c.version()), what)
		if err := sure(c, o.yes, question, "restoring in place replaces what the agent has"); err != nil {
			return err
		}
	}
	tell, clear := c.progress()
	r, err := c.client.Restore(c.ctx, c.agent, c.version(), admin.RestoreTo{As: o.as, Only: o.only}, tell)
	clear()
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(c.out, r)
	}
	return printRestored(c.out, r)
}

func printRestored(out io.Writer, r admin.Restored) error {
	fmt.Fprintf(out, "%s: version %s of %s is back: %s, %s\n", r.Agent, admin.ShortVersion(r.Version.ID), r.Version.Time.Local().Format(exact),
		plural(r.Files, "file", "files"), size(r.Bytes))
	if r.Before != "" {
		fmt.Fprintf(out, "%s; %d as before. What was there is version %s: `moltworker backup diff %s` compares\n",
			plural(r.NChanges, "change", "changes"), r.Kept, admin.ShortVersion(r.Before), admin.ShortVersion(r.Before))
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(out, "warning: %s\n", shown(w, 400))
	}
	if r.Link != "" {
		fmt.Fprintf(out, "\n  Control UI of %s: %s\n\n", r.Agent, r.Link)
	}
	return nil
}

// sure asks at a terminal; elsewhere one has to say --yes.
func sure(c *call, yes bool, question, why string) error {
	if yes {
		return nil
	}
	if !isTerminal(c.in) || c.json {
		return usageError{errors.New(why + ": say --yes")}
	}
	fmt.Fprintf(c.err, "%s [y/N] ", question)
	answer, err := readAnswer(c.ctx, c.in)
	if err != nil {
		return err
	}
	if answer != "y" && answer != "yes" {
		return errors.New("nothing was done")
	}
	return nil
}

// readAnswer reads one line, until ctx ends.
func readAnswer(ctx context.Context, in io.Reader) (string, error) {
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(io.LimitReader(in, 100)).ReadString('\n')
		line <- strings.ToLower(strings.TrimSpace(text))
	}()
	select {
	case text := <-line:
		return text, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func runBareRestore(c *call, o restoreOptions) error {
	version, err := admin.WholeVersion(c.version())
	if err != nil {
		return usageError{err}
	}
	tell, clear := c.progress()
	if tell == nil {
		tell = func(string) {}
	}
	reports, err := restoreBare(c.ctx, server.BareOptions{From: o.from, KeyFile: o.key, Data: c.data, Config: c.config,
		Agent: c.agent, Version: version, To: o.to, Tell: tell})
	clear()
	if err != nil {
		return admin.AsError(err)
	}
	if c.json {
		return printJSON(c.out, map[string][]backup.Report{"restored": reports})
	}
	for _, r := range reports {
		if err := printRestored(c.out, admin.Restored{Report: r, Agent: r.Version.Agent}); err != nil {
			return err
		}
	}
	if o.to == "" {
		_, err = fmt.Fprintln(c.out, "`moltworker up` starts them, and backs them up from here on")
	}
	return err
}
