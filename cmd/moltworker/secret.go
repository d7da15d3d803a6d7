package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
	"github.com/moltworker/moltworker/internal/server"
)

func secretCommand(opts *globalOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "Keep API keys and tokens, sealed; they never enter a sandbox",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use:   "put NAME",
			Short: "Seal a value, asked for at the terminal or read from standard input",
			Args:  exactly(1, "one name, e.g. ANTHROPIC_API_KEY; the value is asked for, so that it never stands on a command line"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return runSecretPut(cmd.Context(), opts, args[0], cmd.InOrStdin(), cmd.ErrOrStderr())
			},
		},
		&cobra.Command{
			Use:   "ls",
			Short: "List names and ages, never values",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return runSecretList(cmd.Context(), opts, cmd.OutOrStdout())
			},
		},
		&cobra.Command{
			Use:   "rm NAME",
			Short: "Remove a value",
			Args:  exactly(1, "the name to remove; `moltworker secret ls` lists them"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return withSecrets(cmd.Context(), opts, func(s secrets) error { return s.RemoveSecret(cmd.Context(), args[0]) })
			},
		},
	)
	return cmd
}

// secrets is what the commands need: a running moltworker, which applies changes
// at once, or the sealed store itself when none runs.
type secrets interface {
	PutSecret(ctx context.Context, name, value string) error
	Secrets(ctx context.Context) ([]secret.Info, error)
	RemoveSecret(ctx context.Context, name string) error
}

// withSecrets calls f with a running moltworker or, when none runs, the store.
func withSecrets(ctx context.Context, opts *globalOptions, f func(secrets) error) error {
	cfg, err := load(opts, config.Overrides{})
	if err != nil {
		return err
	}
	c := client.New(cfg.Data)
	if _, err := c.Status(ctx); err == nil {
		return f(c)
	} else if !errors.Is(err, client.ErrNotRunning) {
		return err
	}
	store, err := server.OpenSecrets(cfg)
	if err != nil {
		return err
	}
	return f(sealed{store})
}

// sealed is the store without a running moltworker.
type sealed struct{ store *secret.Store }

func (s sealed) PutSecret(_ context.Context, name, value string) error {
	return s.store.Put(name, value)
}
func (s sealed) Secrets(context.Context) ([]secret.Info, error)    { return s.store.List() }
func (s sealed) RemoveSecret(_ context.Context, name string) error { return s.store.Remove(name) }

func runSecretPut(ctx context.Context, opts *globalOptions, name string, in io.Reader, prompt io.Writer) error {
	if err := secret.ValidateName(name); err != nil {
		return usageError{err}
	}
	value, err := readValue(ctx, name, in, prompt)
	if err != nil {
		return err
	}
	return withSecrets(ctx, opts, func(s secrets) error { return s.PutSecret(ctx, name, value) })
}

// readValue asks at the terminal without echo, or reads standard input to its
// end. One trailing line break is not part of the value.
func readValue(ctx context.Context, name string, in io.Reader, prompt io.Writer) (string, error) {
	var data []byte
	var err error
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(prompt, "%s (not shown): ", name)
		data, err = readHidden(ctx, int(f.Fd()))
		fmt.Fprintln(prompt)
	} else {
		data, err = io.ReadAll(io.LimitReader(in, secret.MaxValue+2))
	}
	if err != nil {
		return "", fmt.Errorf("read the value of %s: %w", name, err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if value == "" {
		return "", usageError{remedy.With(fmt.Errorf("no value for %s", name),
			"type it when asked, or pipe it in: moltworker secret put "+name+" < FILE")}
	}
	return value, nil
}

// readHidden reads a line without echo. Ctrl-C, which the program catches, ends it
// and gives the terminal its echo back.
func readHidden(ctx context.Context, terminal int) ([]byte, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return nil, err
	}
	type result struct {
		line []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		line, err := term.ReadPassword(terminal)
		done <- result{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), term.Restore(terminal, before))
	}
}

func runSecretList(ctx context.Context, opts *globalOptions, out io.Writer) error {
	return withSecrets(ctx, opts, func(s secrets) error {
		list, err := s.Secrets(ctx)
		if err != nil {
			return err
		}
		if opts.json {
			return printJSON(out, map[string][]secret.Info{"secrets": list})
		}
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NAME\tAGE\tMAY BE SENT TO")
		for _, info := range list {
			fmt.Fprintf(table, "%s\t%s\t%s\n", info.Name, age(info.Updated), strings.Join(info.Hosts, " "))
		}
		return table.Flush()
	})
}
