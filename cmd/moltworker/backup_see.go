package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/backup/safekeeper"
)

// exact is how times stand in tables.
const exact = "2006-01-02 15:04:05"

func backupStatusCommand(b *backupOptions) *cobra.Command {
	return b.command("status", "Say how safe every agent is, and where versions are kept", cobra.NoArgs, func(c *call) error {
		o, err := c.client.Backup(c.ctx)
		if err != nil {
			return err
		}
		if c.json {
			return printJSON(c.out, o)
		}
		return printStatus(c, o)
	})
}

func printStatus(c *call, o admin.BackupOverview) error {
	fmt.Fprintf(c.out, "%s since %s: %s\n", o.State, age(o.Since), o.Sentence())
	if o.Where != "" {
		fmt.Fprintf(c.out, "kept in %s; %s\n", shown(o.Where, 200), policyWords(o.Policy))
	}
	if len(o.Missing) > 0 {
		fmt.Fprintf(c.out, "settings it would need: %s\n", strings.Join(o.Missing, " "))
	}
	if o.Error != "" {
		fmt.Fprintf(c.out, "error: %s\n", shown(o.Error, 400))
	}
	if o.Remedy != "" {
		fmt.Fprintf(c.out, "hint: %s\n", shown(o.Remedy, 400))
	}
	if o.State == admin.BackupReady && !o.Recovery {
		fmt.Fprintln(c.out, "warning: only this machine has a key. If it is lost, so is the backup: `moltworker backup key new NAME` makes one to keep elsewhere")
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	if len(o.Agents) > 0 {
		fmt.Fprintln(table, "AGENT\tSTATE\tSINCE\tSAFE UP TO\tLATEST\tFILES\tSIZE\tLAST DRILL\tNOTE")
	}
	for _, a := range o.Agents {
		id, files, bytes := "-", "-", "-"
		if a.Last != nil {
			id, files, bytes = admin.ShortVersion(a.Last.ID), fmt.Sprint(a.Last.Files), size(a.Last.Bytes)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", a.Agent, a.State, age(a.Since), safeUpTo(a), id, files, bytes, drillWords(a.Drill), noteOf(a))
	}
	return table.Flush()
}

// safeUpTo says up to when all that an agent changed is in the store.
func safeUpTo(a admin.AgentBackup) string {
	switch until := a.SafeUntil(); {
	case a.State == safekeeper.StateSafe:
		return "now"
	case until.IsZero():
		return "never"
	default:
		return age(until) + " ago"
	}
}

func drillWords(d *admin.Drill) string {
	switch {
	case d == nil:
		return "never"
	case !d.OK:
		return "FAILED " + age(d.Time) + " ago"
	}
	return "fine " + age(d.Time) + " ago"
}

// noteOf is what else there is to know of an agent's backup.
func noteOf(a admin.AgentBackup) string {
	var notes []string
	if a.Error != "" {
		notes = append(notes, shown(a.Error, 120))
	}
	if !a.RetryAt.IsZero() {
		notes = append(notes, "tried again "+untilWords(time.Until(a.RetryAt)))
	}
	if a.State == safekeeper.StateFenced {
		notes = append(notes, "see `moltworker backup claim --help`")
	}
	if a.Verified != nil && !a.Verified.OK() {
		notes = append(notes, plural(len(a.Verified.Damage), "thing is", "things are")+" damaged, see `moltworker backup verify`")
	}
	return strings.Join(notes, "; ")
}

func untilWords(d time.Duration) string {
	if d <= 0 {
		return "now"
	}
	return "in " + d.Round(time.Second).String()
}

func policyWords(p backup.Policy) string {
	return fmt.Sprintf("the last %d versions stay, and one of each of %d hours, %d days, %d weeks, %d months", p.Last, p.Hourly, p.Daily, p.Weekly, p.Monthly)
}

func backupListCommand(b *backupOptions) *cobra.Command {
	var limit int
	cmd := b.command("ls", "List an agent's versions, newest first", cobra.NoArgs, func(c *call) error {
		versions, err := c.client.Versions(c.ctx, c.agent)
		if err != nil {
			return err
		}
		if limit > 0 {
			versions = versions[:min(limit, len(versions))]
		}
		if c.json {
			return printJSON(c.out, map[string][]backup.Version{"versions": versions})
		}
		table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "VERSION\tTIME\tAGE\tWHY\tFILES\tSIZE\tCHANGED\tSTORED\tHELD\tHOST")
		for _, v := range versions {
			if v.Damaged != "" {
				fmt.Fprintf(table, "%s\t-\t-\tDAMAGED: %s\n", admin.ShortVersion(v.ID), shown(v.Damaged, 100))
				continue
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\t%d\t%s\t%d ms\t%s\n", admin.ShortVersion(v.ID), v.Time.Local().Format(exact), age(v.Time),
				shown(v.Reason, 40), v.Files, size(v.Bytes), v.Changed, size(v.Stored), v.Held.Milliseconds(), shown(v.Host, 40))
		}
		return table.Flush()
	})
	cmd.Flags().IntVarP(&limit, "limit", "n", 0, "at most so many; 0 is all")
	return cmd
}

func backupShowCommand(b *backupOptions) *cobra.Command {
	var dir string
	var parts bool
	cmd := b.command("show [VERSION]", "List a directory of a version, or what it has of all that an agent needs", atMost(1, "one version"), func(c *call) error {
		if parts {
			return showParts(c)
		}
		return showDir(c, dir)
	})
	cmd.Flags().StringVar(&dir, "dir", "", "a directory, relative to the agent's home (default: the home)")
	cmd.Flags().BoolVar(&parts, "parts", false, "each part of what the agent needs, with its size and date")
	return cmd
}

func showParts(c *call) error {
	list, err := c.client.Parts(c.ctx, c.agent, c.version())
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(c.out, map[string][]admin.StatePart{"parts": list})
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PART\tFILES\tSIZE\tNEWEST\tNEEDED\tWHAT")
	for _, p := range list {
		newest, needed := "-", ""
		if !p.Changed.IsZero() {
			newest = p.Changed.Local().Format(exact)
		}
		if p.Critical {
			needed = "yes"
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\n", p.Name, p.Files, size(p.Bytes), newest, needed, p.What)
	}
	return table.Flush()
}

func showDir(c *call, dir string) error {
	list, total, err := c.client.Contents(c.ctx, c.agent, c.version(), dir)
	if err != nil {
		return err
	}
	if c.json {
		return printJSON(c.out, map[string]any{"entries": list, "total": total})
	}
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, e := range list {
		name := e.Path
		switch e.Kind {
		case backup.KindDir:
			name += "/"
		case backup.KindSymlink:
			name += " -> " + e.Target
		}
		fmt.Fprintf(table, "%s\t%d:%d\t%s\t%s\t%s\n", e.Mode, e.UID, e.GID, size(e.Size), e.Time.Local().Format(exact), visible(name))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return andMore(c, len(list), total)
}

func backupDiffCommand(b *backupOptions) *cobra.Command {
	return b.command("diff FROM [TO]", "Say what differs between two versions (TO: latest)", between(1, 2, "a version to compare from, and one to compare to; `moltworker backup ls` lists them"), func(c *call) error {
		list, total, err := c.client.Diff(c.ctx, c.agent, c.args[0], nameOr(c.args[1:], admin.LatestVersion))
		if err != nil {
			return err
		}
		if c.json {
			return printJSON(c.out, map[string]any{"changes": list, "total": total})
		}
		if len(list) == 0 {
			_, err := fmt.Fprintln(c.out, "nothing differs")
			return err
		}
		table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		for _, d := range list {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", d.What, size(d.From), size(d.To), visible(d.Path))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		return andMore(c, len(list), total)
	})
}

// andMore says how much a list leaves out.
func andMore(c *call, listed, total int) error {
	if listed >= total {
		return nil
	}
	_, err := fmt.Fprintf(c.out, "and %d more\n", total-listed)
	return err
}
