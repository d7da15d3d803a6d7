package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/accounts"
)

func serviceTokenCommand(opts *globalOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service-token",
		Short: "Let programs use the API, each with what it needs",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var scopes, expires string
	create := &cobra.Command{
		Use:   "create NAME --scopes LIST",
		Short: "Make a token and print it, this once",
		Args:  exactly(1, "one name for the token, e.g. ci"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runServiceTokenCreate(cmd.Context(), opts, args[0], scopes, expires, cmd.OutOrStdout())
		},
	}
	create.Flags().StringVar(&scopes, "scopes", "", fmt.Sprintf("what it may do, a comma list of %v, AREA:* or *", access.Scopes))
	create.Flags().StringVar(&expires, "expires", "90d", "how long it is good for, like 90d or 12h; never: until it is removed")
	cmd.AddCommand(create,
		&cobra.Command{
			Use:   "ls",
			Short: "List tokens, never their values",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return runServiceTokenList(cmd.Context(), opts, cmd.OutOrStdout())
			},
		},
		&cobra.Command{
			Use:   "rm NAME",
			Short: "Make a token useless, at once",
			Args:  exactly(1, "the token's name; `moltworker service-token ls` lists them"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return runServiceTokenRemove(cmd.Context(), opts, args[0])
			},
		},
	)
	return cmd
}

func runServiceTokenCreate(ctx context.Context, opts *globalOptions, name, scopes, expires string, out io.Writer) error {
	if _, err := access.ParseScopes(scopes); err != nil {
		return usageError{err}
	}
	if _, err := accounts.ParseLife(expires); err != nil {
		return usageError{err}
	}
	c, err := connect(opts)
	if err != nil {
		return err
	}
	made, err := c.CreateServiceToken(ctx, name, scopes, expires)
	if err != nil {
		return err
	}
	if opts.json {
		return printJSON(out, made)
	}
	_, err = fmt.Fprintf(out, "%s\nThis is shown only now. Send it as `Authorization: Bearer TOKEN`, or as CF-Access-Client-Secret\nwith CF-Access-Client-Id: %s\n", made.Token, made.ID)
	return err
}

func runServiceTokenList(ctx context.Context, opts *globalOptions, out io.Writer) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	tokens, err := c.ServiceTokens(ctx)
	if err != nil {
		return err
	}
	if opts.json {
		return printJSON(out, map[string][]accounts.ServiceToken{"serviceTokens": tokens})
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tID\tSCOPES\tAGE\tUSED\tEXPIRES\tMADE BY")
	for _, t := range tokens {
		fmt.Fprintf(table, "%s\t%s\t%v\t%s\t%s\t%s\t%s\n", t.Name, t.ID, t.Scopes, age(t.Created), age(t.Used), expiry(t), t.By)
	}
	return table.Flush()
}

// expiry says when a token ends.
func expiry(t accounts.ServiceToken) string {
	switch {
	case t.Expires.IsZero():
		return "never"
	case t.Expired:
		return "expired"
	}
	return t.Expires.Local().Format(time.DateOnly)
}

func runServiceTokenRemove(ctx context.Context, opts *globalOptions, name string) error {
	c, err := connect(opts)
	if err != nil {
		return err
	}
	return c.RemoveServiceToken(ctx, name)
}
