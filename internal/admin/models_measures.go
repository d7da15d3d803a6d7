package admin

import (
	"context"
	"math"
	"sync"

	"github.com/moltworker/moltworker/internal/aigateway/calllog"
)

// maxTold bounds how many agents, and models, the metrics tell apart.
const maxTold = 50

// ModelMeasures are the sums of all recorded calls, for the metrics.
type ModelMeasures struct {
	Agents  []ModelMeasure // by agent and trigger
	Models  []ModelMeasure // by provider and model
	Log     ModelLog
	Budgets []BudgetState
}

// ModelMeasure is the sums of some calls, and what they have in common.
type ModelMeasure struct {
	Agent, Trigger, Provider, Model string
	ModelSums
}

// tally remembers which names the metrics told apart: one that had been counted among
// the others, or not, must stay where it was, as counters would fall else.
type tally struct {
	mu    sync.Mutex // guards named
	named map[string]bool
	full  map[string]int // by kind
}

// told is the name that what is called so is counted under.
func (t *tally) told(kind, name string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.named == nil {
		t.named, t.full = map[string]bool{}, map[string]int{}
	}
	key := kind + "\x00" + name
	if _, known := t.named[key]; !known {
		// Names beyond those are not kept: they are counted with the others each time,
		// as the places do not become free.
		if t.full[kind] >= maxTold {
			return calllog.Other
		}
		t.full[kind]++
		t.named[key] = true
	}
	return name
}

// measures reads sums alone, never calls.
func (m *Models) measures(ctx context.Context) (*ModelMeasures, error) {
	stats := m.Calls.Stats()
	out := &ModelMeasures{Log: ModelLog{stats.Calls, stats.Dropped, stats.Failing}, Budgets: budgetStates(m.Budget.State().Rules)}
	var err error
	if out.Agents, err = m.cross(ctx, calllog.ByAgent, calllog.ByTrigger); err != nil {
		return nil, err
	}
	out.Models, err = m.cross(ctx, calllog.ByProvider, calllog.ByModel)
	return out, err
}

// cross adds up all calls by two groups: agents and their triggers, or providers and
// their models. The most expensive are named first.
func (m *Models) cross(ctx context.Context, outer, inner calllog.Group) ([]ModelMeasure, error) {
	tops, err := m.Calls.Top(ctx, calllog.Query{}, outer, MaxTop)
	if err != nil {
		return nil, err
	}
	if inner == calllog.ByModel { // the dearest of all providers have the places
		dear, err := m.Calls.Top(ctx, calllog.Query{}, inner, maxTold)
		if err != nil {
			return nil, err
		}
		for _, d := range dear {
			m.names.told(string(inner), d.Group)
		}
	}
	sums := map[ModelMeasure]*ModelSums{}
	var order []ModelMeasure
	count := func(at ModelMeasure, s calllog.Sums) {
		if sums[at] == nil {
			sums[at] = &ModelSums{}
			order = append(order, at)
		}
		sums[at].add(sumsOf(s))
	}
	for _, top := range tops {
		name := m.names.told(string(outer), top.Group)
		if name == calllog.Other || top.Group == "" && outer == calllog.ByProvider { // "" would mean all of them
			count(named(outer, name, inner, calllog.Other), top.Sums)
			continue
		}
		q := calllog.Query{Provider: top.Group}
		if outer == calllog.ByAgent {
			q = calllog.Query{Agents: []string{top.Group}}
		}
		parts, err := m.Calls.Top(ctx, q, inner, math.MaxInt)
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			count(named(outer, name, inner, m.names.told(string(inner), part.Group)), part.Sums)
		}
	}
	out := make([]ModelMeasure, 0, len(order))
	for _, at := range order {
		at.ModelSums = *sums[at]
		out = append(out, at)
	}
	return out, nil
}

// named is a place for sums, called so by two groups.
func named(outer calllog.Group, o string, inner calllog.Group, i string) (at ModelMeasure) {
	for group, name := range map[calllog.Group]string{outer: o, inner: i} {
		switch group {
		case calllog.ByAgent:
			at.Agent = name
		case calllog.ByTrigger:
			at.Trigger = name
		case calllog.ByProvider:
			at.Provider = name
		case calllog.ByModel:
			at.Model = name
		}
	}
	return at
}

// add adds what can be added: quantiles cannot.
func (s *ModelSums) add(o ModelSums) {
	s.Calls += o.Calls
	s.Errors += o.Errors
	s.Unpriced += o.Unpriced
	s.Hits += o.Hits
	s.Misses += o.Misses
	s.Cost = s.Cost.Add(o.Cost)
	s.Saved = s.Saved.Add(o.Saved)
	s.Tokens.Input += o.Tokens.Input
	s.Tokens.CacheRead += o.Tokens.CacheRead
	s.Tokens.CacheWrite += o.Tokens.CacheWrite
	s.Tokens.AudioInput += o.Tokens.AudioInput
	s.Tokens.Output += o.Tokens.Output
	s.Tokens.AudioOutput += o.Tokens.AudioOutput
}
