package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/price"
)

func aiBudgetListCommand(opts *globalOptions) *cobra.Command {
	return ask(opts, "ls", "List budgets and credits with what is spent, and what is stopped", cobra.NoArgs, func(a asked) error {
		b, err := a.client.ModelBudgets(a.ctx)
		if err != nil {
			return err
		}
		if a.json {
			return printJSON(a.out, b)
		}
		rows := []string{"BUDGET\tOF\tWHAT\tSPENT\tLEFT\tUNDER WAY\tCALLS\tSTARTS ANEW"}
		seen := map[string]bool{}
		for _, s := range b.States {
			seen[s.Rule.ID] = true
			name := s.Kind
			if s.Kind == "rule" {
				name = s.Rule.ID
			}
			rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s", name, shown(s.Agent, 30), shown(limitWords(s), 80), spentWords(s), leftWords(s), underWay(s), s.Calls, until(s.Resets)))
		}
		for _, r := range b.Rules {
			if !seen[r.ID] { // each agent has its own, and none has called
				rows = append(rows, fmt.Sprintf("%s\t-\t%s\t-\t-\t-\t0\t-", r.ID, shown(admin.RuleWords(r), 80)))
			}
		}
		if err := a.table(rows...); err != nil {
			return err
		}
		for _, s := range b.Stops {
			fmt.Fprintf(a.out, "stopped: %s since %s %s\n", stopped(s), s.At.Local().Format(exact), shown(s.Reason, 200))
		}
		if b.Heartbeats.QuietHours > 0 {
			fmt.Fprintf(a.out, "heartbeats end after %s without a word of a user\n", plural(b.Heartbeats.QuietHours, "hour", "hours"))
		}
		if b.Failing != "" {
			fmt.Fprintf(a.out, "warning: what is spent cannot be written down: %s\n", shown(b.Failing, 200))
		}
		for _, d := range b.Damage {
			fmt.Fprintf(a.out, "warning: %s\n", shown(d, 200))
		}
		return nil
	})
}

func stopped(s budget.Stop) string {
	words := "all agents"
	if s.Agent != "" {
		words = "agent " + shown(s.Agent, 60)
	}
	if s.Trigger != "" {
		words += ", trigger " + shown(s.Trigger, 60)
	}
	return words
}

func limitWords(s admin.BudgetState) string {
	if s.Kind == "credit" {
		return admin.Dollars(s.Limit) + " of credit, " + admin.MatchWords(s.Rule.Match)
	}
	return admin.RuleWords(s.Rule)
}

func spentWords(s admin.BudgetState) string {
	words := admin.SpentWords(s.Spent, s.Unpriced, s.Calls)
	if s.Rule.Tokens > 0 {
		words += ", " + admin.Thousands(s.SpentTokens) + " tokens"
	}
	return fmt.Sprintf("%s (%.0f %%)", words, s.Fraction*100)
}

func leftWords(s admin.BudgetState) string {
	words := "-"
	if s.Limit > 0 || s.Kind == "credit" {
		words = admin.Dollars(max(s.Limit.Add(-s.Spent).Add(-s.Reserved), 0))
	}
	if s.Rule.Tokens > 0 {
		words += ", " + admin.Thousands(max(s.Rule.Tokens-s.SpentTokens-s.ReservedTokens, 0)) + " tokens"
	}
	return words
}

func underWay(s admin.BudgetState) string {
	if s.InFlight == 0 {
		return "-"
	}
	return fmt.Sprintf("%d, up to %s", s.InFlight, admin.Dollars(s.Reserved))
}

func aiBudgetSetCommand(opts *globalOptions) *cobra.Command {
	var r budget.Rule
	var limit, per string
	var cmd *cobra.Command
	cmd = ask(opts, "set NAME", "Set a budget, or change what is named of one", exactly(1, "one name of a-z 0-9 . _ -"), func(a asked) error {
		have, err := a.client.ModelBudgets(a.ctx)
		if err != nil {
			return err
		}
		rule := budget.Rule{ID: a.args[0], Period: budget.Month}
		if i := slices.IndexFunc(have.Rules, func(o budget.Rule) bool { return o.ID == a.args[0] }); i >= 0 {
			rule = have.Rules[i]
		}
		changed := cmd.Flags().Changed
		if changed("limit") {
			if rule.Limit, err = price.ParseMoney(limit); err != nil || rule.Limit < 0 {
				return usageError{fmt.Errorf("--limit: want dollars, like 5 or 0.50")}
			}
		}
		if changed("per") {
			rule.Period = budget.Period(per)
		}
		for name, set := range map[string]func(){
			"name": func() { rule.Name = r.Name }, "agent": func() { rule.Match.Agent = r.Match.Agent }, "team": func() { rule.Match.Team = r.Match.Team },
			"provider": func() { rule.Match.Provider = r.Match.Provider }, "model": func() { rule.Match.Model = r.Match.Model },
			"trigger": func() { rule.Match.Trigger = r.Match.Trigger }, "each": func() { rule.Each = r.Each },
			"tokens": func() { rule.Tokens = r.Tokens }, "soft": func() { rule.SoftPercent = r.SoftPercent },
		} {
			if changed(name) {
				set()
			}
		}
		if rule.Limit == 0 && rule.Tokens == 0 {
			return usageError{errors.New("a budget needs --limit or --tokens; `moltworker ai budget rm` removes one")}
		}
		if err := a.client.SetBudget(a.ctx, rule); err != nil {
			return err
		}
		return a.done(rule, "budget %s: %s", rule.ID, shown(admin.RuleWords(rule), 300))
	})
	f := cmd.Flags()
	f.StringVar(&limit, "limit", "", "dollars, like 5 or 0.50; 0: none in money")
	f.StringVar(&per, "per", "month", "day, month or total")
	f.StringVar(&r.Match.Agent, "agent", "", "only calls of this agent; a * at the end stands for anything, here and below")
	f.StringVar(&r.Match.Team, "team", "", "only calls of this team")
	f.StringVar(&r.Match.Provider, "provider", "", "only calls of this provider")
	f.StringVar(&r.Match.Model, "model", "", "only calls of this model")
	f.StringVar(&r.Match.Trigger, "trigger", "", "only calls for this reason: user, channel, heartbeat, cron, subagent, outside")
	f.BoolVar(&r.Each, "each", false, "every agent has the limit for itself")
	f.Int64Var(&r.Tokens, "tokens", 0, "a limit in tokens, beside or instead of the one in money; 0: none")
	f.IntVar(&r.SoftPercent, "soft", 0, "percent of the limit at which an alert is sent (80)")
	f.StringVar(&r.Name, "name", "", "what it is called where it is shown")
	return cmd
}

func aiBudgetRemoveCommand(opts *globalOptions) *cobra.Command {
	return ask(opts, "rm NAME", "Remove a budget", exactly(1, "one budget's name; `moltworker ai budget ls` lists them"), func(a asked) error {
		if err := a.client.RemoveBudget(a.ctx, a.args[0]); err != nil {
			return err
		}
		return a.done(map[string]string{"removed": a.args[0]}, "budget %s is removed", a.args[0])
	})
}

func aiCreditListCommand(opts *globalOptions) *cobra.Command {
	return ask(opts, "ls", "List credit that was given", cobra.NoArgs, func(a asked) error {
		b, err := a.client.ModelBudgets(a.ctx)
		if err != nil {
			return err
		}
		if a.json {
			return printJSON(a.out, map[string][]budget.Grant{"grants": b.Grants})
		}
		rows := []string{"TIME\tAGENT\tTEAM\tAMOUNT\tNOTE"}
		for _, g := range b.Grants {
			rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s", g.At.Local().Format(exact), shown(g.Agent, 60), shown(g.Team, 60), admin.Dollars(g.Amount), shown(g.Note, 100)))
		}
		return a.table(rows...)
	})
}

func aiCreditAddCommand(opts *globalOptions, use string) *cobra.Command {
	var g budget.Grant
	cmd := ask(opts, use, "Give an agent or a team credit, which its calls need from the first time on", exactly(1, "one amount of dollars, like 10"), func(a asked) (err error) {
		if g.Amount, err = price.ParseMoney(a.args[0]); err != nil {
			return usageError{err}
		}
		if (g.Agent == "") == (g.Team == "") {
			return usageError{errors.New("want one of --agent and --team")}
		}
		made, err := a.client.AddCredit(a.ctx, g)
		if err != nil {
			return err
		}
		return a.done(made, "%s is given %s of credit", shown(made.Agent+made.Team, 60), admin.Dollars(made.Amount))
	})
	cmd.Flags().StringVar(&g.Agent, "agent", "", "the agent that is given it")
	cmd.Flags().StringVar(&g.Team, "team", "", "the team that is given it")
	cmd.Flags().StringVar(&g.Note, "note", "", "why")
	cmd.Flags().StringVar(&g.ID, "id", "", "name the grant: the same one twice is one (a-z 0-9 . _ -)")
	return cmd
}

// whose are the flags of what is stopped: an agent, by argument or flag, and a trigger.
type whose struct{ agent, trigger string }

func (w *whose) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&w.agent, "agent", "", "the agent, as the argument says too; all where none is named")
	cmd.Flags().StringVar(&w.trigger, "trigger", "", "only calls for this reason: user, channel, heartbeat, cron, subagent, outside")
}

func (w *whose) of(args []string) (agent, trigger string, err error) {
	agent = nameOr(args, w.agent)
	if len(args) > 0 && w.agent != "" && w.agent != args[0] {
		return "", "", usageError{errors.New("two agents are named")}
	}
	return agent, w.trigger, nil
}

func aiStopCommand(opts *globalOptions) *cobra.Command {
	var w whose
	var reason string
	cmd := ask(opts, "stop [AGENT]", "Stop model calls, of one agent or all, until somebody resumes them", atMost(1, "one agent's name"), func(a asked) error {
		agent, trigger, err := w.of(a.args)
		if err != nil {
			return err
		}
		if err := a.client.StopModels(a.ctx, agent, trigger, reason); err != nil {
			return err
		}
		s := budget.Stop{Agent: agent, Trigger: trigger, Reason: reason}
		return a.done(map[string]any{"stopped": map[string]string{"agent": agent, "trigger": trigger}}, "model calls are stopped: %s", stopped(s))
	})
	w.flags(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the agent's user")
	return cmd
}

func aiResumeCommand(opts *globalOptions) *cobra.Command {
	var w whose
	cmd := ask(opts, "resume [AGENT]", "Let model calls be made again that were stopped so", atMost(1, "one agent's name"), func(a asked) error {
		agent, trigger, err := w.of(a.args)
		if err != nil {
			return err
		}
		if err := a.client.ResumeModels(a.ctx, agent, trigger); err != nil {
			return err
		}
		return a.done(map[string]any{"resumed": map[string]string{"agent": agent, "trigger": trigger}}, "model calls go on: %s", stopped(budget.Stop{Agent: agent, Trigger: trigger}))
	})
	w.flags(cmd)
	return cmd
}

func aiHeartbeatsCommand(opts *globalOptions) *cobra.Command {
	var quiet int
	var day string
	var cmd *cobra.Command
	cmd = ask(opts, "heartbeats", "Say, or set, what agents may spend on waking up by themselves", cobra.NoArgs, func(a asked) error {
		b, err := a.client.ModelBudgets(a.ctx)
		if err != nil {
			return err
		}
		h, change := b.Heartbeats, false
		if cmd.Flags().Changed("quiet-hours") {
			h.QuietHours, change = quiet, true
		}
		if cmd.Flags().Changed("day-limit") {
			if h.DayLimit, err = price.ParseMoney(day); err != nil {
				return usageError{fmt.Errorf("--day-limit: %w", err)}
			}
			change = true
		}
		if change {
			if err := a.client.SetHeartbeats(a.ctx, h); err != nil {
				return err
			}
		}
		hours, limit := "never end by themselves", "cost what they cost"
		if h.QuietHours > 0 {
			hours = fmt.Sprintf("end after %s without a word of a user", plural(h.QuietHours, "hour", "hours"))
		}
		if h.DayLimit > 0 {
			limit = "cost each agent at most " + admin.Dollars(h.DayLimit) + " a day"
		}
		return a.done(h, "heartbeats %s, and %s", hours, limit)
	})
	cmd.Flags().IntVar(&quiet, "quiet-hours", 72, "without a word of a user, after which heartbeats end; 0: they never do")
	cmd.Flags().StringVar(&day, "day-limit", "0", "dollars that the heartbeats of each agent may cost in a day; 0: no limit")
	return cmd
}
