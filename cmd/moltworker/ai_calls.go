package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
)

func aiCallsCommand(opts *globalOptions) *cobra.Command {
	var c chosen
	var f calllog.Filter
	var minCost, before string
	var csv bool
	var limit int
	cmd := ask(opts, "calls", "List model calls, newest first", cobra.NoArgs, func(a asked) (err error) {
		if f.From, f.To, err = c.times(); err != nil {
			return err
		}
		f.Agents, f.Trigger, f.Provider, f.Model = c.agents, c.trigger, c.provider, c.model
		if minCost != "" {
			if f.MinCost, err = price.ParseMoney(minCost); err != nil {
				return usageError{fmt.Errorf("--min-cost: %w", err)}
			}
		}
		switch {
		case limit < 1 || csv && a.json:
			return usageError{errors.New("-n takes numbers from 1, and --csv goes without --json")}
		case csv:
			return a.client.ExportModelCalls(a.ctx, f, calllog.CSV, a.out)
		}
		return a.calls(f, before, limit)
	})
	c.flags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.Status, "status", "", "only those that ended so: 429, 4xx, broken, none, error")
	flags.StringVar(&f.Cache, "cache", "", "only those for which our cache was a hit or miss, or was bypassed (bypass)")
	flags.StringVar(&f.Event, "event", "", "only those of this ID of the client's")
	flags.StringVar(&f.Text, "text", "", "only those with this in their metadata")
	flags.StringVar(&minCost, "min-cost", "", "only those that cost so many dollars")
	flags.StringVar(&before, "before", "", "only those before this call")
	flags.BoolVar(&csv, "csv", false, "print all of them, whatever their number, as CSV")
	flags.IntVarP(&limit, "limit", "n", 50, "at most so many")
	return cmd
}

// calls lists at most limit calls.
func (a asked) calls(f calllog.Filter, before string, limit int) error {
	all := admin.ModelCalls{Calls: []admin.ModelCall{}, Next: before}
	for {
		page, err := a.client.ModelCalls(a.ctx, f, all.Next, min(limit-len(all.Calls), 500))
		if err != nil {
			return err
		}
		all.Calls, all.Next = append(all.Calls, page.Calls...), page.Next
		if len(all.Calls) >= limit || all.Next == "" {
			break
		}
	}
	if a.json {
		return printJSON(a.out, all)
	}
	rows := []string{"TIME\tCALL\tAGENT\tTRIGGER\tMODEL\tENDED\tTOKENS\tCOST\tTOOK"}
	for _, c := range all.Calls {
		rows = append(rows, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", c.Time.Local().Format(exact), c.ID, shown(c.Agent, 30), shown(c.Trigger, 20),
			shown(c.Provider+"/"+c.Model, 50), ended(c), tokens(c), c.Spent(), took(c.Took)))
	}
	if err := a.table(rows...); err != nil || all.Next == "" {
		return err
	}
	_, err := fmt.Fprintf(a.out, "for more: --before %s\n", all.Next)
	return err
}

// ended is how a call ended, in a few words.
func ended(c admin.ModelCall) string {
	words := fmt.Sprint(c.Status)
	if c.Status == 0 {
		words = "no answer"
	}
	if c.Error != "" {
		words += " " + shown(c.Error, 30)
	}
	if c.Cache == "hit" {
		words += " cached"
	}
	return words
}

func tokens(c admin.ModelCall) string {
	switch {
	case c.Estimated:
		return "about " + admin.Thousands(c.Tokens.Total)
	case !c.TokensKnown:
		return "-"
	}
	return admin.Thousands(c.Tokens.Total)
}

func aiCallCommand(opts *globalOptions) *cobra.Command {
	var payload bool
	cmd := ask(opts, "call ID", "Show all that is kept of a model call", exactly(1, "one call's ID; `moltworker ai calls` lists them"), func(a asked) error {
		if payload {
			said, err := a.client.ModelPayload(a.ctx, a.args[0])
			if err != nil || a.json {
				return errors.Join(err, a.printed(said, err))
			}
			_, err = fmt.Fprintf(a.out, "%s\n\n%s\n", tamedText(said.Request), tamedText(said.Response))
			return err
		}
		c, err := a.client.ModelCall(a.ctx, a.args[0])
		if err != nil || a.json {
			return errors.Join(err, a.printed(c, err))
		}
		return a.table(callRows(c)...)
	})
	cmd.Flags().BoolVar(&payload, "payload", false, "show what was said in it, where that is kept; that you did is recorded")
	return cmd
}

// printed prints a result as JSON, unless there is none.
func (a asked) printed(v any, err error) error {
	if err != nil {
		return nil
	}
	return printJSON(a.out, v)
}

// tamedText is a text of many lines that orders no terminal about.
func tamedText(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = shown(line, 100_000)
		}
	}
	return strings.Join(lines, "\n")
}

func callRows(c admin.ModelCall) []string {
	rows := []string{}
	add := func(name string, format string, args ...any) {
		rows = append(rows, name+"\t"+fmt.Sprintf(format, args...))
	}
	add("call", "%s", c.ID)
	add("began", "%s", c.Time.Local().Format("2006-01-02 15:04:05.000"))
	add("agent", "%s", shown(c.Agent, 128))
	add("trigger", "%s", shown(c.Trigger, 128))
	add("model", "%s", shown(c.Provider+"/"+c.Model, 300))
	add("asked for", "%s", shown(c.Asked, 128))
	add("answered by", "%s", shown(c.Answered, 128))
	add("endpoint", "%s", shown(c.Endpoint, 256))
	add("ended", "%s", ended(c))
	add("attempts", "%d, fallback %d", c.Attempts, c.Step)
	add("cost", "%s", c.Spent())
	if c.Saved > 0 {
		add("saved", "%s", admin.Dollars(c.Saved))
	}
	t := c.Tokens
	add("tokens", "%s", tokens(c))
	for _, part := range []struct {
		name string
		n    int64
	}{{"input", t.Input}, {"cache read", t.CacheRead}, {"cache written", t.CacheWrite}, {"audio in", t.AudioInput}, {"output", t.Output}, {"of it thinking", t.Reasoning}, {"audio out", t.AudioOutput}} {
		if part.n > 0 {
			add("  "+part.name, "%s", admin.Thousands(part.n))
		}
	}
	add("took", "%s, the answer began after %s", took(c.Took), took(c.FirstByte))
	add("bytes", "%s asked, %s answered", size(c.RequestBytes), size(c.ResponseBytes))
	add("key", "%s", shown(c.Key, 128))
	add("our cache", "%s", shown(c.Cache, 20))
	if c.Event != "" {
		add("event", "%s", shown(c.Event, 128))
	}
	for _, k := range slices.Sorted(maps.Keys(c.Metadata)) {
		add("metadata", "%s = %s", shown(k, 64), shown(c.Metadata[k], 256))
	}
	for _, g := range c.Guards {
		add("noted", "%s", shown(g, 160))
	}
	if f := c.Feedback; f != nil {
		add("rated", "%s %s", map[int]string{-1: "bad", 0: "-", 1: "good"}[f.Vote], shown(f.Comment, 300))
	}
	return rows
}

func aiRateCommand(opts *globalOptions) *cobra.Command {
	var comment string
	score := -1
	cmd := ask(opts, "rate ID good|bad|none", "Say what you think of a call's answer", exactly(2, "a call's ID, and good, bad or none"), func(a asked) error {
		vote, ok := map[string]int{"good": 1, "bad": -1, "none": 0}[a.args[1]]
		if !ok || score > 100 || score < -1 {
			return usageError{errors.New("want good, bad or none, and a score from 0 to 100")}
		}
		f := admin.ModelFeedback{Vote: vote, Comment: comment}
		if score >= 0 {
			f.Score = &score
		}
		if err := a.client.RateModelCall(a.ctx, a.args[0], f); err != nil {
			return err
		}
		return a.done(map[string]any{"rated": a.args[0], "vote": vote}, "call %s is rated %s", a.args[0], a.args[1])
	})
	cmd.Flags().StringVar(&comment, "comment", "", "why")
	cmd.Flags().IntVar(&score, "score", -1, "0 to 100")
	return cmd
}

// until says when a period ends.
func until(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04")
}
