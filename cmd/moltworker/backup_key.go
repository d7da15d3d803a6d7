package main

import (
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin"
)

func backupUnlockCommand(b *backupOptions) *cobra.Command {
	var passphrase bool
	cmd := b.command("unlock", "Give this machine a key to a backup that another one made", cobra.NoArgs, func(c *call) error {
		what := "secret key"
		if passphrase {
			what = "passphrase"
		}
		key, err := readValue(c.ctx, what, c.in, c.err)
		if err != nil {
			return err
		}
		if passphrase {
			key = admin.PassphrasePrefix + key
		}
		if err := c.client.Unlock(c.ctx, key); err != nil {
			return err
		}
		return c.show(map[string]bool{"unlocked": true}, "the backup is unlocked")
	})
	cmd.Long = "Give this machine a key to a backup that another one made. The key is asked for, or read from standard\n" +
		"input: moltworker backup unlock < FILE. It is an age key (AGE-SECRET-KEY-1...) or an OpenSSH private key."
	cmd.Flags().BoolVar(&passphrase, "passphrase", false, "it is a passphrase")
	return cmd
}

func backupKeyCommand(b *backupOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "See and change what opens the backup",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(keyListCommand(b), keyAddCommand(b), keyNewCommand(b),
		b.command("rm ID", "Take a key's way into the backup", exactly(1, "the key's ID; `moltworker backup key ls` lists them"), func(c *call) error {
			if err := c.client.RemoveKey(c.ctx, c.args[0]); err != nil {
				return err
			}
			return c.show(map[string]string{"removed": c.args[0]}, "that key opens the backup no longer")
		}))
	return cmd
}

func keyListCommand(b *backupOptions) *cobra.Command {
	return b.command("ls", "List what opens the backup, nothing secret", cobra.NoArgs, func(c *call) error {
		keys, err := c.client.Keys(c.ctx)
		if err != nil {
			return err
		}
		if c.json {
			return printJSON(c.out, map[string][]admin.BackupKey{"keys": keys})
		}
		table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tNAME\tAGE\tRECIPIENT")
		recovery := false
		for _, k := range keys {
			name := shown(k.Name, 60)
			if k.Ours {
				name += " (this machine's)"
			}
			recovery = recovery || !k.Ours
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", k.ID, name, age(k.Added), shown(k.Recipient, 80))
		}
		if err := table.Flush(); err != nil || recovery {
			return err
		}
		_, err = fmt.Fprintln(c.out, "warning: no recovery key. If this machine is lost, so is the backup: `moltworker backup key new NAME` makes one to keep elsewhere")
		return err
	})
}

func keyAddCommand(b *backupOptions) *cobra.Command {
	var passphrase bool
	cmd := b.command("add NAME [RECIPIENT]", "Let one more key open the backup: age1..., an SSH public key, or a passphrase", between(1, 2, "a name for the key, and its public half: age1... or ssh-ed25519 ..."), func(c *call) error {
		recipient := nameOr(c.args[1:], "")
		if passphrase == (recipient != "") {
			return usageError{errors.New("want either a public key or --passphrase")}
		}
		if passphrase {
			phrase, err := readValue(c.ctx, "passphrase", c.in, c.err)
			if err != nil {
				return err
			}
			recipient = admin.PassphrasePrefix + phrase
		}
		k, err := c.client.AddKey(c.ctx, c.args[0], recipient)
		if err != nil {
			return err
		}
		return c.show(k, "%s opens the backup now; its ID is %s", shown(k.Name, 60), k.ID)
	})
	cmd.Flags().BoolVar(&passphrase, "passphrase", false, "it is a passphrase, which is asked for or read from standard input")
	return cmd
}

func keyNewCommand(b *backupOptions) *cobra.Command {
	return b.command("new NAME", "Make a recovery key and print it, this once", exactly(1, "a name for the key: where it will be kept"), func(c *call) error {
		k, err := c.client.NewKey(c.ctx, c.args[0])
		if err != nil {
			return err
		}
		return c.show(k, "%s\nThis is shown only now, and kept nowhere. Keep it where a fire here does not reach; with it and the store,\n"+
			"`moltworker backup restore --from STORE --key FILE` brings every agent back on an empty machine.", k.Secret)
	})
}
