package admintest

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/route"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// prices are read once: the table is large.
var prices = sync.OnceValues(func() (*price.Table, error) { return price.Load(nil) })

// NewModels makes records of model calls that are the real ones, in a directory of the
// test's, and empty.
func NewModels(t testing.TB, now func() time.Time) *admin.Models {
	t.Helper()
	dir := t.TempDir()
	table, err := prices()
	if err != nil {
		t.Fatal(err)
	}
	calls, err := calllog.Open(t.Context(), calllog.Options{Path: filepath.Join(dir, "calls.sqlite"), MaxPayloadBytes: 16 << 20, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = calls.Close() })
	ledger, err := budget.Open(budget.Options{Dir: filepath.Join(dir, "budget"), Zone: time.UTC, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ledger.Close() })
	routes, err := route.Parse([]byte(someRoutes))
	if err != nil {
		t.Fatal(err)
	}
	return &admin.Models{Calls: calls, Budget: ledger, Prices: func() *price.Table { return table }, Routes: func() *route.Table { return routes }}
}

// someRoutes has a route for what a person asks of Claude, and one by name.
const someRoutes = `{"routes": [
  {"name": "careful", "when": {"models": ["anthropic/*"], "triggers": ["user"]},
   "steps": [{"timeout": "30s", "retries": 1}, {"split": [{"weight": 1, "model": "openai/gpt-5.5"}]}, {"model": "ollama/qwen3", "on": ["any"]}]},
  {"name": "cheap", "steps": [{"model": "groq/llama-3.3-70b-versatile"}]}]}`

// FilledDays is how many days before now, and now's, [FilledModels] has calls of.
const FilledDays = 40

// FilledModels are records with calls of [FilledDays] days up to now, always the same
// ones; what others choose is what says says.
//
// Every whole day has, at noon, 10 calls: of main 6 by the user at $0.02 (one from the cache, at nothing), 1000 tokens
// each of text in and 200 out, 4000 from the provider's cache, and 2 heartbeats at
// $0.005; of second 1 by cron that failed, at no cost, and 1 from outside of a model
// whose price is not known. Today has the same, a minute ago.
func FilledModels(t testing.TB, now time.Time, says func(string) string) *admin.Models {
	t.Helper()
	at := now
	m := NewModels(t, func() time.Time { return at })
	if err := m.Budget.SetRules([]budget.Rule{
		{ID: "daily", Name: short(says("Every day")), Period: budget.Day, Limit: 5 * price.Dollar, Each: true},
		{ID: "main-month", Match: budget.Match{Agent: "main"}, Period: budget.Month, Limit: 20 * price.Dollar, Tokens: 10_000_000},
	}); err != nil {
		t.Fatal(err)
	}
	year, month, day := now.UTC().Date()
	for ago := FilledDays - 1; ago >= 0; ago-- {
		at = time.Date(year, month, day, 12, 0, 0, 0, time.UTC).AddDate(0, 0, -ago)
		if ago == 0 {
			at = now.Add(-time.Minute)
		}
		for i := range 10 {
			add(t, m, at, ago, i, says)
		}
		if err := m.Calls.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	at = now
	return m
}

// short is a name as the ledger takes one: of what is printable, at most 100 bytes.
func short(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, name)
	return strings.ToValidUTF8(name[:min(len(name), 100)], "")
}

// add puts one of a day's calls into the records.
func add(t testing.TB, m *admin.Models, at time.Time, ago, i int, says func(string) string) {
	t.Helper()
	c := calllog.Call{
		ID: m.Calls.NewID(), Agent: "main", Trigger: "user", Provider: "anthropic", Model: says("claude-sonnet-4-5"), Asked: says("claude-sonnet-4-5"),
		Endpoint: "/v1/messages", Status: 200, Stream: true, Attempts: 1, Cache: "miss", Key: "ANTHROPIC_API_KEY",
		Usage: usage.Usage{Input: 1000, CacheRead: 4000, Output: 200, Model: says("claude-sonnet-4-5-20250929"), Known: true},
		Cost:  price.Dollar / 50, CostKnown: true,
		Took: time.Duration(2000+100*((ago+i)%9)) * time.Millisecond, FirstByte: time.Duration(400+20*i) * time.Millisecond,
		RequestBytes: 21_000, ResponseBytes: 3_400,
	}
	switch {
	case i == 6 || i == 7:
		c.Trigger, c.Cost, c.Model, c.Asked = "heartbeat", price.Dollar/200, "claude-haiku-4-5", "claude-haiku-4-5"
	case i == 8:
		c.Agent, c.Trigger, c.Status, c.Error, c.Cost, c.Usage = "second", "cron", 529, "overloaded", 0, usage.Usage{}
		c.Attempts = 3
	case i == 9:
		c.Agent, c.Trigger, c.Provider, c.Model, c.Asked, c.CostKnown, c.Cost = "second", "outside", "ollama", says("my-model"), says("my-model"), false, 0
		c.Metadata, c.Event = map[string]string{says("project"): says("garden")}, says("run-17")
	}
	if i == 0 {
		c.Payload = &calllog.Payload{Request: []byte(`{"messages":[{"role":"user","content":"` + "hello" + `"}]}`), Response: []byte(says("Good morning."))}
	}
	if i == 1 {
		c.Cache, c.Cost, c.Saved = "hit", 0, price.Dollar/50
	}
	most := c.Cost
	r, err := m.Budget.Reserve(budget.Call{ID: fmt.Sprintf("c-%d-%d", ago, i), Agent: c.Agent, Provider: c.Provider, Model: c.Model, Trigger: c.Trigger, At: at, LastUser: at}, most, c.Usage.Total())
	if err != nil {
		t.Fatal(err)
	}
	if c.CostKnown {
		r.Settle(c.Cost, c.Usage.Total())
	} else {
		r.SettleUnknown(c.Usage.Total())
	}
	m.Calls.Add(c)
}
