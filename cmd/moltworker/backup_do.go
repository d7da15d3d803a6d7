package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/remedy"
)

func backupNowCommand(b *backupOptions) *cobra.Command {
	var all bool
	cmd := b.command("now", "Make a version of an agent at this moment", cobra.NoArgs, func(c *call) error {
		names := []string{c.agent}
		if all {
			o, err := c.client.Backup(c.ctx)
			if err != nil {
				return err
			}
			names = nil
			for _, a := range o.Agents {
				names = append(names, a.Agent)
			}
		}
		made, failed := []backup.Version{}, []error(nil)
		for _, name := range names {
			v, err := c.client.BackupNow(c.ctx, name)
			if err != nil && len(names) == 1 {
				return err
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("%s: %w", name, err))
				continue
			}
			made = append(made, v)
		}
		if all && c.json {
			return errors.Join(append(failed, printJSON(c.out, map[string][]backup.Version{"versions": made}))...)
		}
		for _, v := range made {
			failed = append(failed, c.show(v, "%s: version %s, %s, of %s; %d changed, %s stored, held still for %d ms", v.Agent, admin.ShortVersion(v.ID),
				plural(v.Files, "file", "files"), size(v.Bytes), v.Changed, size(v.Stored), v.Held.Milliseconds()))
			if v.NSkipped > 0 && !c.json {
				fmt.Fprintf(c.out, "%s not in it; --json names them\n", plural(v.NSkipped, "file is", "files are"))
			}
		}
		return errors.Join(failed...)
	})
	cmd.Flags().BoolVar(&all, "all", false, "of every agent")
	return cmd
}

func backupVerifyCommand(b *backupOptions) *cobra.Command {
	var full bool
	cmd := b.command("verify", "Look whether every version can be restored", cobra.NoArgs, func(c *call) error {
		tell, clear := c.progress()
		r, err := c.client.Verify(c.ctx, c.agent, full, tell)
		clear()
		if err != nil {
			return err
		}
		words := fmt.Sprintf("%s, %s, %s read", plural(r.Versions, "version", "versions"), plural(r.Packs, "pack", "packs"), size(r.Bytes))
		if r.OK() {
			return c.show(r, "%s: whole (%s)", c.agent, words)
		}
		if err := c.show(r, "%s: damaged (%s)", c.agent, words); err != nil {
			return err
		}
		printDamage(c, r.Damage)
		return remedy.With(fmt.Errorf("%w: %s", errDamaged, plural(len(r.Damage), "object", "objects")),
			"`moltworker backup repair --agent "+c.agent+"` mends what the agent still has; restore from a version that is not named")
	})
	cmd.Flags().BoolVar(&full, "full", false, "read and decrypt every byte")
	return cmd
}

func printDamage(c *call, list []backup.Damage) {
	if c.json {
		return
	}
	for _, d := range list {
		fmt.Fprintf(c.out, "  %s: %s", shown(d.Object, 200), shown(d.Why, 200))
		for i, id := range d.Versions {
			if i == 0 {
				fmt.Fprint(c.out, "; versions")
			}
			fmt.Fprintf(c.out, " %s", admin.ShortVersion(id))
		}
		fmt.Fprintln(c.out)
	}
}

func backupDrillCommand(b *backupOptions) *cobra.Command {
	return b.command("drill", "Restore the latest version into a scratch agent, boot OpenClaw on it, and discard it", cobra.NoArgs, func(c *call) error {
		tell, clear := c.progress()
		d, err := c.client.Drill(c.ctx, c.agent, tell)
		clear()
		if err != nil {
			return err
		}
		if d.OK {
			return c.show(d, "%s: version %s runs: %s (%s) in %s, %s whole, OpenClaw answers after %s", c.agent, admin.ShortVersion(d.Version),
				plural(d.Files, "file", "files"), size(d.Bytes), lasted(d.Restored), plural(d.Databases, "database", "databases"), lasted(d.Booted))
		}
		if err := c.show(d, "%s: version %s does not run", c.agent, admin.ShortVersion(d.Version)); err != nil {
			return err
		}
		return remedy.With(fmt.Errorf("%w: the drill failed: %s", errDamaged, shown(d.Error, 400)), "`moltworker backup verify --full` says what of it is damaged")
	})
}

func backupRepairCommand(b *backupOptions) *cobra.Command {
	return b.command("repair", "Mend what is damaged, from what the agent still has", cobra.NoArgs, func(c *call) error {
		tell, clear := c.progress()
		r, err := c.client.Repair(c.ctx, c.agent, tell)
		clear()
		if err != nil {
			return err
		}
		if err := c.show(r, "%s: %s mended, %s lost", c.agent, plural(len(r.Mended), "object is", "objects are"), plural(len(r.Lost), "is", "are")); err != nil {
			return err
		}
		if len(r.Lost) == 0 {
			return nil
		}
		printDamage(c, r.Lost)
		return remedy.With(fmt.Errorf("%w: %s not to be had any more", errDamaged, plural(len(r.Lost), "object is", "objects are")),
			"versions that are not named can be restored; `moltworker backup now` makes one that is whole")
	})
}

func backupPruneCommand(b *backupOptions) *cobra.Command {
	return b.command("prune", "Let go of versions that the policy does not keep", cobra.NoArgs, func(c *call) error {
		r, err := c.client.Prune(c.ctx, c.agent)
		if err != nil {
			return err
		}
		return c.show(r, "%s: %s kept, %d let go of; %s freed, %s for a later run", c.agent,
			plural(r.Kept, "version", "versions"), r.Removed, size(r.Freed), plural(r.Condemned, "pack", "packs"))
	})
}

func backupClaimCommand(b *backupOptions) *cobra.Command {
	var yes bool
	cmd := b.command("claim", "Make this machine the one that writes an agent's versions", cobra.NoArgs, func(c *call) error {
		question := "Make this machine the one that backs " + c.agent + " up? The other one must not run it any more."
		if err := sure(c, yes, question, "claiming an agent shuts the other machine's backup of it out"); err != nil {
			return err
		}
		if err := c.client.Claim(c.ctx, c.agent); err != nil {
			return err
		}
		return c.show(map[string]string{"claimed": c.agent}, "%s: this machine writes its versions now", c.agent)
	})
	cmd.Long = "Make this machine the one that writes an agent's versions.\n\nOnly one machine writes them, so that two agents that were one do not mix. Where another has\n" +
		"taken over, this one says fenced and writes nothing. Stop moltworker there first: what the agent\n" +
		"did there since stays in the versions that are there, and is not merged."
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
