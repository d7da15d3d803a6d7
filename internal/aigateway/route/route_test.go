package route

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
)

const house = `{"routes": [
	{"name": "careful",
	 "when": {"agents": ["work", "home-*"], "models": ["anthropic/claude-sonnet-*"], "triggers": ["user", "channel"], "metadata": {"plan": ["paid", "trial-*"]}},
	 "steps": [{"model": "anthropic/claude-sonnet-5-5"}]},
	{"name": "by-name", "steps": [{"model": "openai/gpt-5.5"}]},
	{"name": "unknown-why", "when": {"triggers": [""], "agents": ["night"]}, "steps": [{}]},
	{"name": "two-entries", "when": {"metadata": {"a": ["1"], "b": ["*"]}}, "steps": [{}]},
	{"name": "programs", "when": {"agents": ["@*"]}, "steps": [{"model": "ollama/qwen3"}]},
	{"name": "sonnets", "when": {"models": ["*/*sonnet*"]}, "steps": [{}, {"model": "ollama/qwen3"}]},
	{"name": "never-reached", "when": {"agents": ["@backup"]}, "steps": [{}]}
]}`

func TestFindTakesTheFirstThatHolds(t *testing.T) {
	table := parse(t, house)
	paid := map[string]string{"plan": "paid"}
	for _, c := range []struct {
		call Call
		want string
	}{
		{Call{Agent: "work", Trigger: "user", Model: "anthropic/claude-sonnet-5-5", Metadata: paid}, "careful"},
		{Call{Agent: "home-", Trigger: "channel", Model: "anthropic/claude-sonnet-", Metadata: map[string]string{"plan": "trial-9", "x": "y"}}, "careful"},
		// One condition each that does not hold.
		{Call{Agent: "worker", Trigger: "user", Model: "anthropic/claude-sonnet-5-5", Metadata: paid}, "sonnets"},
		{Call{Agent: "work", Trigger: "cron", Model: "anthropic/claude-sonnet-5-5", Metadata: paid}, "sonnets"},
		{Call{Agent: "work", Trigger: "user", Model: "anthropic/claude-opus-5-5", Metadata: paid}, ""},
		{Call{Agent: "work", Trigger: "user", Model: "anthropic/claude-sonnet-5-5", Metadata: map[string]string{"plan": "free"}}, "sonnets"},
		{Call{Agent: "work", Trigger: "user", Model: "anthropic/claude-sonnet-5-5"}, "sonnets"},
		// Case counts.
		{Call{Agent: "Work", Trigger: "user", Model: "Anthropic/claude-sonnet-5-5", Metadata: paid}, "sonnets"},

		{Call{Agent: "night", Model: "demo/hello"}, "unknown-why"},
		{Call{Agent: "night", Trigger: "cron", Model: "demo/hello"}, ""},
		{Call{Model: "demo/hello", Metadata: map[string]string{"a": "1", "b": ""}}, "two-entries"},
		{Call{Model: "demo/hello", Metadata: map[string]string{"a": "1"}}, ""}, // * needs an entry too
		{Call{Model: "demo/hello", Metadata: map[string]string{"b": "1"}}, ""},
		{Call{Agent: "@backup", Model: "a/sonnet"}, "programs"}, // sonnets and never-reached hold as well
		{Call{Agent: "x@y", Model: "openrouter/anthropic/claude-sonnet-5-5:free"}, "sonnets"},
		{Call{Agent: "x", Model: "sonnet"}, ""}, // no slash
		{Call{}, ""},

		// By name, conditions are not asked.
		{Call{Agent: "x", Model: "dynamic/careful"}, "careful"},
		{Call{Model: "dynamic/by-name"}, "by-name"},
		{Call{Agent: "@backup", Model: "dynamic/"}, ""},
		{Call{Agent: "@backup", Model: "dynamic/no-sonnet"}, ""}, // and no other route instead
		{Call{Agent: "@backup", Model: "dynamic/careful/x"}, ""},
		{Call{Model: "dynamic/unknown-why"}, ""}, // all it has is the same model
	} {
		p, ok := table.Find(c.call)
		if p.Route != c.want && (ok || c.want != "") || ok != (c.want != "") {
			t.Errorf("%+v: %v %q, want %q", c.call, ok, p.Route, c.want)
		}
	}
	p, _ := table.Find(Call{Model: "dynamic/sonnets"})
	if len(p.Steps) != 1 || p.Steps[0].Number != 2 || p.Steps[0].Model != "ollama/qwen3" {
		t.Errorf("without the same model: %+v", p)
	}
}

// Of as many routes as there may be, each is found, by what is looked up and by what
// is compared.
func TestFindAmongMany(t *testing.T) {
	table := parse(t, crowd(`{"agents": ["a#", "b#-*"], "models": ["p/*"]}`))
	for i := range maxRoutes {
		for _, agent := range []string{fmt.Sprintf("a%d", i), fmt.Sprintf("b%d-x", i)} {
			if p, _ := table.Find(Call{Agent: agent, Model: "p/m"}); p.Route != fmt.Sprintf("r-%d", i) {
				t.Errorf("%s: %q", agent, p.Route)
			}
			if p, ok := table.Find(Call{Agent: agent, Model: "q/m"}); ok {
				t.Errorf("%s of q: %q", agent, p.Route)
			}
		}
	}
}

func TestNames(t *testing.T) {
	table := parse(t, house)
	want := []string{"careful", "by-name", "unknown-why", "two-entries", "programs", "sonnets", "never-reached"}
	if got := table.Names(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, name := range want {
		if !table.Has(name) || table.Has(Prefix+name) {
			t.Error(name)
		}
	}
	if table.Has("") || table.Has("carefu") {
		t.Error("has what was never there")
	}
}

func TestNilTable(t *testing.T) {
	var table *Table
	if _, ok := table.Find(Call{Model: "a/b"}); ok || table.Has("") || table.Names() != nil {
		t.Error("a nil table has routes")
	}
}

func TestNext(t *testing.T) {
	table := parse(t, steps(`{"model": "a/0"}, {"model": "a/1", "on": ["budget"]}, {"model": "a/2"}, {"model": "a/3", "on": ["refused", "timeout"]}, {"model": "a/4", "on": ["any"]}`))
	p, _ := table.Find(Call{Model: "a/b"})
	const other Failure = "other"
	for _, c := range []struct {
		after int
		why   Failure
		want  int // -1: none
	}{
		{0, Limited, 2}, {0, Unavailable, 2}, {0, Timeout, 2}, {0, Unauthorized, 2}, {0, Refused, 3}, {0, Budget, 1}, {0, other, 4},
		{1, Budget, 4}, {1, Timeout, 2}, {2, Timeout, 3}, {2, Limited, 4}, {2, Refused, 3}, {3, Refused, 4}, {3, other, 4},
		{4, Limited, -1}, {0, "", -1}, {3, "", -1},
		{-1, Limited, 2}, {math.MinInt, Budget, 1}, {5, Limited, -1}, {math.MaxInt, Limited, -1}, // never 0: nothing leads to the first
	} {
		got, ok := p.Next(c.after, c.why)
		if ok != (c.want >= 0) || ok && got != c.want {
			t.Errorf("after %d, %q: %d %v, want %d", c.after, c.why, got, ok, c.want)
		}
	}
	if _, ok := (Plan{}).Next(0, Limited); ok {
		t.Error("a step of an empty plan")
	}
}

// A table is read by many calls at once.
func TestConcurrentFind(t *testing.T) {
	table := parse(t, house)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 200 {
				p, ok := table.Find(Call{Agent: fmt.Sprintf("@p%d", i*n), Trigger: "outside", Model: "openai/gpt-5.5"})
				if !ok || p.Route != "programs" {
					t.Error(p)
				}
			}
		})
	}
	wg.Wait()
}

func TestFindAllocates(t *testing.T) {
	table := parse(t, house)
	miss := Call{Agent: "work", Trigger: "user", Model: "anthropic/claude-opus-5-5", Metadata: map[string]string{"a": "2", "b": ""}}
	hit := Call{Agent: "@p", Trigger: "outside", Model: "openai/gpt-5.5"}
	for _, c := range []struct {
		call Call
		want float64
	}{
		{miss, 0},
		{Call{Model: "dynamic/no"}, 0},
		{hit, 1}, // the steps
	} {
		if got := testing.AllocsPerRun(100, func() { table.Find(c.call) }); got != c.want {
			t.Errorf("%+v: %v allocations, want %v", c.call, got, c.want)
		}
	}
}

// A plan in turn goes on after every failure, and ends.
func TestInTurn(t *testing.T) {
	p := InTurn(2)
	for _, why := range []Failure{Limited, Unavailable, Timeout, Unauthorized, Refused, Budget} {
		if next, ok := p.Next(0, why); !ok || next != 1 {
			t.Errorf("after %s: %d, %v", why, next, ok)
		}
		if _, ok := p.Next(1, why); ok {
			t.Errorf("after the last one's %s there is another", why)
		}
	}
	if _, ok := p.Next(0, ""); ok {
		t.Error("without a failure there is another step")
	}
}
