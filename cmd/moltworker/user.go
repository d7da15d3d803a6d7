package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/access/accounts"
)

func userCommand(opts *globalOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "See, invite and recover the people who may sign in",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	oneName := exactly(1, "one name; `moltworker user ls` lists them")
	cmd.AddCommand(
		&cobra.Command{
			Use:   "ls",
			Short: "List the people who may sign in",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return runUserList(cmd.Context(), opts, cmd.OutOrStdout())
			},
		},
		&cobra.Command{
			Use:   "invite",
			Short: "Print a link by which one more person makes an account; it works once, for a day",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return runUserInvite(cmd.Context(), opts, cmd.OutOrStdout())
			},
		},
		&cobra.Command{
			Use:   "recover NAME",
			Short: "Print a link by which NAME gets in again, disabled or not; it works once, for an hour, and ends their sessions",
			Args:  oneName,
			RunE: func(cmd *cobra.Command, args []string) error {
				return runUserRecover(cmd.Context(), opts, args[0], cmd.OutOrStdout())
			},
		},
		&cobra.Command{
			Use:   "disable NAME",
			Short: "Let NAME in no more, and end their sessions",
			Args:  oneName,
			RunE: func(cmd *cobra.Command, args []string) error {
				return runUserDisable(cmd.Context(), opts, args[0])
			},
		},
		&cobra.Command{
			Use:   "rm NAME",
			Short: "Remove NAME with their passkeys and sessions",
			Args:  oneName,
			RunE: func(cmd *cobra.Command, args []string) error {
				return runUserRemove(cmd.Context(), opts, args[0])
			},
		},
	)
	return cmd
}

func runUserList(ctx context.Context, opts *globalOptions, out io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	people, err := c.Users(ctx)
	if err != nil {
		return err
	}
	if opts.json {
		return printJSON(out, map[string][]accounts.Person{"users": people})
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tSTATE\tPASSKEYS\tPASSWORD\tAGE\tLAST SEEN")
	for _, p := range people {
		state, password := "active", "no"
		if p.Disabled {
			state = "disabled"
		}
		if p.Password {
			password = "yes"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\n", p.Name, state, p.Passkeys, password, age(p.Created), age(p.LastSeen))
	}
	return table.Flush()
}

func runUserInvite(ctx context.Context, opts *globalOptions, out io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	made, err := c.InviteUser(ctx)
	if err != nil {
		return err
	}
	return printLink(opts, out, made)
}

func runUserRecover(ctx context.Context, opts *globalOptions, name string, out io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	made, err := c.RecoverUser(ctx, name)
	if err != nil {
		return err
	}
	return printLink(opts, out, made)
}

func printLink(opts *globalOptions, out io.Writer, made accounts.Invitation) error {
	if opts.json {
		return printJSON(out, made)
	}
	_, err := fmt.Fprintf(out, "%s\nIt works once, until %s.\n", made.Link, made.Until.Local().Format("2006-01-02 15:04"))
	return err
}

func runUserDisable(ctx context.Context, opts *globalOptions, name string) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	return c.DisableUser(ctx, name)
}

func runUserRemove(ctx context.Context, opts *globalOptions, name string) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	return c.RemoveUser(ctx, name)
}
