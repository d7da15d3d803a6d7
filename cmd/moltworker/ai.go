package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
)

func aiCommand(opts *globalOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ai",
		Short: "See what agents' model calls cost, and set what they may",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	budget := &cobra.Command{
		Use:   "budget",
		Short: "Set what agents may spend",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	budget.AddCommand(aiBudgetListCommand(opts), aiBudgetSetCommand(opts), aiBudgetRemoveCommand(opts),
		aiCreditAddCommand(opts, "credit AMOUNT"), aiHeartbeatsCommand(opts), aiStopCommand(opts), aiResumeCommand(opts))
	credit := &cobra.Command{
		Use:   "credit",
		Short: "See and give prepaid credit",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	credit.AddCommand(aiCreditListCommand(opts), aiCreditAddCommand(opts, "add AMOUNT"))
	cmd.AddCommand(aiUsageCommand(opts), aiCallsCommand(opts), aiCallCommand(opts), aiRateCommand(opts), budget, credit,
		aiStopCommand(opts), aiResumeCommand(opts), aiHeartbeatsCommand(opts), aiStatementCommand(opts), aiPricesCommand(opts), aiRouteCommand(opts))
	return cmd
}

// asked is one run of a command that asks a running moltworker.
type asked struct {
	ctx    context.Context
	client *client.Client
	args   []string
	out    io.Writer
	json   bool
}

// ask is a command that asks a running moltworker.
func ask(opts *globalOptions, use, short string, args cobra.PositionalArgs, run func(asked) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		c, err := connect(opts)
		if err != nil {
			return err
		}
		return run(asked{cmd.Context(), c, args, cmd.OutOrStdout(), opts.json})
	}}
}

// done prints what became of a change.
func (a asked) done(result any, words string, args ...any) error {
	if a.json {
		return printJSON(a.out, result)
	}
	_, err := fmt.Fprintf(a.out, words+"\n", args...)
	return err
}

// table prints rows whose cells are tabbed.
func (a asked) table(rows ...string) error {
	table := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(table, row)
	}
	return table.Flush()
}

// chosen are flags that say which calls are meant.
type chosen struct {
	agents                   []string
	trigger, provider, model string
	from, to                 string
}

func (c *chosen) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&c.agents, "agent", nil, "only calls of this agent (can be repeated)")
	f.StringVar(&c.trigger, "trigger", "", "only calls for this reason: user, channel, heartbeat, cron, subagent, outside")
	f.StringVar(&c.provider, "provider", "", "only calls of this provider")
	f.StringVar(&c.model, "model", "", "only calls of this model")
	f.StringVar(&c.from, "from", "", "only calls from this day (of UTC) or time on: 2026-11-24, 2026-11-24T10:00:00Z")
	f.StringVar(&c.to, "to", "", "only calls before this day or time")
}

func (c *chosen) times() (from, to time.Time, err error) {
	if from, err = admin.ParseTime(c.from); err == nil {
		to, err = admin.ParseTime(c.to)
	}
	if err != nil {
		return from, to, usageError{err}
	}
	return from, to, nil
}

func aiUsageCommand(opts *globalOptions) *cobra.Command {
	var c chosen
	var by string
	cmd := ask(opts, "usage", "Say what model calls cost today, this month, and will have cost at its end", cobra.NoArgs, func(a asked) error {
		from, to, err := c.times()
		if err != nil {
			return err
		}
		q := calllog.Query{Agents: c.agents, Trigger: c.trigger, Provider: c.provider, Model: c.model, From: from, To: to}
		switch {
		case by == "day":
			return a.usageByDay(q)
		case by != "":
			group, err := admin.ParseGroup(by)
			if err != nil {
				return usageError{errors.New("--by: want agent, model, trigger, provider, outcome or day")}
			}
			return a.usageBy(q, group)
		case !from.IsZero() || !to.IsZero():
			return usageError{errors.New("--from and --to need --by, which says how the calls are added up")}
		}
		return a.usage(q)
	})
	cmd.Long = "Say what model calls cost today, this month, and will have cost at its end. Days and months are of UTC.\n" +
		"Calls whose price is not known are counted apart: they are not free."
	c.flags(cmd)
	cmd.Flags().StringVar(&by, "by", "", "add up by agent, model, trigger, provider, outcome or day, over the last 30 days unless --from says otherwise")
	return cmd
}

const usageHead = "\tCALLS\tERRORS\tTOKENS\tCOST\tSAVED\tP50\tP95"

func usageRow(name string, s admin.ModelSums) string {
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", name, admin.Thousands(s.Calls), admin.Thousands(s.Errors), admin.Thousands(s.Tokens.Total),
		s.Spent(), admin.Dollars(s.Saved), took(s.TookP50), took(s.TookP95))
}

// took is a duration of milliseconds for people; none where nothing was measured.
func took(millis float64) string {
	if millis <= 0 {
		return "-"
	}
	return lasted(time.Duration(millis * float64(time.Millisecond)))
}

func (a asked) usage(q calllog.Query) error {
	u, err := a.client.ModelUsage(a.ctx, q)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.out, u)
	}
	if err := a.table(usageHead, usageRow("today", u.Today), usageRow("this month", u.Month)); err != nil {
		return err
	}
	words := "the month will have cost about " + admin.Dollars(u.Forecast.Expected)
	if !u.Forecast.Enough {
		words = "what the month will have cost is not known yet: that takes a week of calls"
	}
	if u.Forecast.Unpriced > 0 {
		words += fmt.Sprintf(" and what %s cost", plural(int(u.Forecast.Unpriced), "call of unknown price", "calls of unknown price"))
	}
	fmt.Fprintln(a.out, words)
	if u.Log.Failing != "" || u.Log.Dropped > 0 {
		fmt.Fprintf(a.out, "warning: %s not recorded. %s\n", plural(int(u.Log.Dropped), "call was", "calls were"), shown(u.Log.Failing, 200))
	}
	return nil
}

// lastDays is how far back sums go where nobody says.
const lastDays = 30

func (a asked) recently(q *calllog.Query) {
	if q.From.IsZero() {
		q.From = time.Now().UTC().AddDate(0, 0, 1-lastDays).Truncate(24 * time.Hour)
	}
}

func (a asked) usageBy(q calllog.Query, by calllog.Group) error {
	a.recently(&q)
	groups, err := a.client.ModelTop(a.ctx, q, by, 100)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.out, map[string]any{"groups": groups})
	}
	rows := []string{strings.ToUpper(string(by)) + usageHead}
	for _, g := range groups {
		rows = append(rows, usageRow(shown(g.Group, 60), g.ModelSums))
	}
	return a.table(rows...)
}

func (a asked) usageByDay(q calllog.Query) error {
	a.recently(&q)
	points, err := a.client.ModelSeries(a.ctx, q, calllog.None)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.out, map[string]any{"points": points})
	}
	rows := []string{"DAY" + usageHead}
	for _, p := range points {
		rows = append(rows, usageRow(p.Start.Format(time.DateOnly), p.ModelSums))
	}
	return a.table(rows...)
}

func aiStatementCommand(opts *globalOptions) *cobra.Command {
	var csv bool
	var agent, team string
	cmd := ask(opts, "statement YYYY-MM", "Print what was spent in a month, by agent and model, as CSV", exactly(1, "one month, like 2026-11"), func(a asked) error {
		if _, err := time.Parse("2006-01", a.args[0]); err != nil || csv && a.json {
			return usageError{errors.New("want a month like 2026-11, and one of --csv and --json")}
		}
		format := "csv"
		if a.json {
			format = "json"
		}
		return a.client.ModelStatement(a.ctx, a.args[0], agent, team, format, a.out)
	})
	cmd.Long = "Print what was spent in a month, by agent and model, as CSV, or as JSON with --json. It is what budgets\n" +
		"count by: in the zone of this machine, with the most that it may have been for calls whose end is not known."
	cmd.Flags().BoolVar(&csv, "csv", false, "as CSV, which it is anyway")
	cmd.Flags().StringVar(&agent, "agent", "", "of this agent only")
	cmd.Flags().StringVar(&team, "team", "", "of this team only")
	return cmd
}

func aiPricesCommand(opts *globalOptions) *cobra.Command {
	var limit int
	cmd := ask(opts, "prices [SEARCH...]", "Say what models cost, and where that is known from", cobra.ArbitraryArgs, func(a asked) error {
		if limit < 1 {
			return usageError{errors.New("-n takes numbers from 1")}
		}
		found, err := a.client.ModelPrices(a.ctx, strings.Join(a.args, " "), limit)
		if err != nil {
			return err
		}
		if a.json {
			return printJSON(a.out, found)
		}
		rows := []string{"PROVIDER\tMODEL\tINPUT\tOUTPUT\tCACHE READ\tCACHE WRITE\tSOURCE\tNOTE"}
		for _, m := range found.Models {
			cell := func(part string) string {
				if p, ok := m.Prices[part]; ok {
					return admin.Dollars(p)
				}
				return "-"
			}
			note := m.Note
			if len(m.Tiers) > 0 {
				note = strings.TrimSpace(fmt.Sprintf("dearer above %s tokens. %s", admin.Thousands(m.Tiers[0].Above), note))
			}
			rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", shown(m.Provider, 30), shown(m.Model, 50), cell("input"), cell("output"),
				cell("cache_read"), cell("cache_write"), m.Source, shown(note, 80)))
		}
		if err := a.table(rows...); err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "%d of %s; dollars for a million tokens, as of %s\n", len(found.Models), plural(found.Total, "model", "models"), found.Date)
		return err
	})
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "at most so many")
	return cmd
}
