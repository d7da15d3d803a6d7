package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/store"
)

func auditCommand(opts *globalOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "See who did what, and check that the record was not changed",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(auditListCommand(opts), auditVerifyCommand(opts), &cobra.Command{
		Use:   "export",
		Short: "Print every entry, a line each, for others to keep and verify",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runAuditExport(cmd.Context(), opts, cmd.OutOrStdout())
		},
	})
	return cmd
}

func auditListCommand(opts *globalOptions) *cobra.Command {
	var f audit.Filter
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List what was done, newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runAuditList(cmd.Context(), opts, f, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Action, "action", "", "only actions that begin so, e.g. device or signin.denied")
	flags.StringVar(&f.Agent, "agent", "", "only what was done to this agent")
	flags.StringVar(&f.Actor, "actor", "", "only what this one did, as listed")
	flags.Int64Var(&f.After, "after", 0, "only entries with a higher number")
	flags.Int64Var(&f.Before, "before", 0, "only entries with a lower number")
	flags.IntVarP(&f.Limit, "limit", "n", 100, "at most so many, up to 1000")
	return cmd
}

func auditVerifyCommand(opts *globalOptions) *cobra.Command {
	var heads []string
	cmd := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Find entries that were altered, removed, moved or put in",
		Long: "Check the audit log, or an export of it in FILE (- is standard input). Prints the log's head: noted\n" +
			"somewhere else and given by --head later, it shows that nothing up to there was changed.",
		Args: atMost(1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAuditVerify(cmd.Context(), opts, args, heads, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringArrayVar(&heads, "head", nil, "SEQ:HASH that an earlier check printed (can be repeated)")
	return cmd
}

// trail is what the commands need: a running moltworker, or the log itself when
// none runs.
type trail interface {
	Audit(ctx context.Context, f audit.Filter) ([]audit.Entry, error)
	VerifyAudit(ctx context.Context, noted ...audit.Head) (audit.Report, error)
	ExportAudit(ctx context.Context, w io.Writer) error
}

// atRest is the log of a moltworker that does not run.
type atRest struct{ log *audit.Log }

func (a atRest) Audit(ctx context.Context, f audit.Filter) ([]audit.Entry, error) {
	return a.log.List(ctx, f)
}
func (a atRest) VerifyAudit(ctx context.Context, noted ...audit.Head) (audit.Report, error) {
	return a.log.Verify(ctx, noted...)
}
func (a atRest) ExportAudit(ctx context.Context, w io.Writer) error { return a.log.Export(ctx, w) }

// withTrail calls f with a running moltworker or, when none runs, the log.
func withTrail(ctx context.Context, opts *globalOptions, f func(trail) error) error {
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
	db, err := store.OpenReadOnly(ctx, filepath.Join(cfg.Data, store.FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return remedy.With(fmt.Errorf("%w: no audit log in %s", store.ErrNotFound, cfg.Data), "name the data directory with --data DIR")
	}
	if err != nil {
		return err
	}
	return errors.Join(f(atRest{audit.New(db, time.Now)}), db.Close())
}

func runAuditList(ctx context.Context, opts *globalOptions, f audit.Filter, out io.Writer) error {
	if f.After < 0 || f.Before < 0 || f.Limit < 1 {
		return usageError{errors.New("--after and --before take numbers from 0 up, --limit from 1")}
	}
	return withTrail(ctx, opts, func(t trail) error {
		entries, err := t.Audit(ctx, f)
		if err != nil {
			return err
		}
		if opts.json {
			return printJSON(out, map[string][]audit.Entry{"entries": entries})
		}
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NUMBER\tTIME\tACTION\tWHO\tFROM\tAGENT\tWHAT")
		for _, e := range entries {
			if e.Damaged {
				fmt.Fprintf(table, "%d\t-\tDAMAGED\t-\t-\t-\tthis is not what was recorded; see `moltworker audit verify`\n", e.Seq)
				continue
			}
			fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Seq, e.Time.Format(time.RFC3339),
				shown(e.Action, 40), shown(e.Actor, 40), shown(e.From, 45), shown(e.Agent, 40), shown(what(e.Event), 120))
		}
		return table.Flush()
	})
}

// what says in one line what an event did to what.
func what(e audit.Event) string {
	var words []string
	if e.Target != "" {
		words = append(words, e.Target)
	}
	if e.Old != "" || e.New != "" {
		words = append(words, fmt.Sprintf("(%s -> %s)", e.Old, e.New))
	}
	if e.Detail != "" {
		words = append(words, e.Detail)
	}
	return strings.Join(words, " ")
}

// shown is s as it can stand in a table: escaped, and at most n characters.
func shown(s string, n int) string {
	if s == "" {
		return "-"
	}
	s = audit.Visible(s)
	if utf8.RuneCountInString(s) > n {
		s = string([]rune(s)[:n-1]) + "…"
	}
	return s
}

// errBroken says that the audit log is not what was recorded.
var errBroken = errors.New("the audit log is broken")

func runAuditVerify(ctx context.Context, opts *globalOptions, args, heads []string, in io.Reader, out io.Writer) error {
	noted, err := audit.ParseHeads(heads)
	if err != nil {
		return usageError{fmt.Errorf("--head: %w", err)}
	}
	var report audit.Report
	if len(args) > 0 {
		report, err = verifyFile(args[0], noted, in)
	} else {
		err = withTrail(ctx, opts, func(t trail) (err error) {
			report, err = t.VerifyAudit(ctx, noted...)
			return err
		})
	}
	if err != nil {
		return err
	}
	if opts.json {
		err = printJSON(out, report)
	} else {
		err = printReport(out, report)
	}
	if err != nil || report.OK {
		return err
	}
	return remedy.With(fmt.Errorf("%w: %d problems", errBroken, int64(len(report.Problems))+report.More),
		"see \"When it is broken\" in docs/audit.md")
}

func verifyFile(name string, noted []audit.Head, in io.Reader) (audit.Report, error) {
	if name == "-" {
		return audit.VerifyExport(in, noted...)
	}
	f, err := os.Open(name)
	if err != nil {
		return audit.Report{}, err
	}
	defer f.Close()
	return audit.VerifyExport(f, noted...)
}

func printReport(out io.Writer, r audit.Report) error {
	for _, p := range r.Problems {
		if _, err := fmt.Fprintln(out, audit.Visible(p.String())); err != nil {
			return err
		}
	}
	if r.More > 0 {
		fmt.Fprintf(out, "and %d more\n", r.More)
	}
	if r.OK {
		fmt.Fprintln(out, "nothing was changed")
	}
	_, err := fmt.Fprintf(out, "%d entries; head %s\n", r.Entries, r.Head)
	return err
}

func runAuditExport(ctx context.Context, opts *globalOptions, out io.Writer) error {
	return withTrail(ctx, opts, func(t trail) error { return t.ExportAudit(ctx, out) })
}
