package main

import (
	"encoding/json"
	"math/big"
	"testing"
)

// dollars makes prices of names and decimal numbers.
func dollars(t *testing.T, pairs ...string) prices {
	t.Helper()
	p := prices{}
	for i := 0; i < len(pairs); i += 2 {
		v, err := rat(pairs[i+1])
		if err != nil {
			t.Fatal(err)
		}
		p[pairs[i]] = v
	}
	return p
}

func line(t *testing.T, r *row) string {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestJoin has a case for each rule of join.
func TestJoin(t *testing.T) {
	d := func(pairs ...string) prices { return dollars(t, pairs...) }
	genai := func(model, rule string, periods ...period) *row {
		r := &row{Provider: "x", Model: model, Prices: periods}
		if rule != "" {
			r.Match = json.RawMessage(rule)
		}
		return r
	}
	rows := []*row{
		genai("same", "", period{Source: "g", Prices: d("input", "1", "output", "2", "web_search", "0.01")}),
		genai("moved", "", period{Source: "g", Prices: d("input", "2", "cache_read", "0.2", "output", "8", "web_search", "0.01"),
			Tiers: []tier{{1000, d("input", "4", "cache_read", "0.4", "output", "12")}}}),
		genai("tiered", "", period{Source: "g", Prices: d("input", "1", "output", "2")}),
		genai("hourly", "", period{Source: "g", Prices: d("input", "1", "output", "2")}, period{Source: "g", Hours: "01:00-02:00", Prices: d("input", "2", "output", "4")}),
		genai("ruled", `{"starts_with":"ruled-"}`, period{Source: "g", Prices: d("input", "1", "output", "2")}),
	}
	offers := []offer{
		{"x", "Same", d("input", "1", "output", "2"), nil},
		{"x", "moved", d("input", "1", "output", "6"), nil},
		{"x", "tiered", d("input", "1", "output", "2"), []tier{{500, d("input", "3", "output", "5")}}},
		{"x", "hourly", d("input", "2", "output", "4"), nil},
		{"x", "ruled-same", d("input", "1", "output", "2"), nil},
		{"x", "ruled-other", d("input", "1", "output", "3"), nil},
		{"bedrock", "a.b", d("input", "1"), nil},
		{"bedrock", "us.a.b", d("input", "1.1"), nil},
		{"bedrock", "global.a.b", d("input", "1"), nil},
	}
	got, err := join(rows, offers)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"same": `{"provider":"x","model":"same","prices":[{"source":"g","input":1,"output":2,"web_search":0.01}]}`,
		// half the input: so is the cache, and the tier; the output is 6/8, and so is the tier's: 12 x 6/8 = 9
		"moved": `{"provider":"x","model":"moved","prices":[{"source":"g","input":2,"cache_read":0.2,"output":8,"web_search":0.01,"tiers":[{"above":1000,"input":4,"cache_read":0.4,"output":12}]},` +
			`{"source":"pi-ai","from":"` + piSource.Date + `","input":1,"cache_read":0.1,"output":6,"web_search":0.01,"tiers":[{"above":1000,"input":2,"cache_read":0.2,"output":9}]}]}`,
		"tiered": `{"provider":"x","model":"tiered","prices":[{"source":"g","input":1,"output":2},` +
			`{"source":"pi-ai","from":"` + piSource.Date + `","input":1,"output":2,"tiers":[{"above":500,"input":3,"output":5}]}]}`,
		"hourly":      `{"provider":"x","model":"hourly","prices":[{"source":"g","input":1,"output":2},{"source":"g","hours":"01:00-02:00","input":2,"output":4}]}`,
		"ruled":       `{"provider":"x","model":"ruled","match":{"starts_with":"ruled-"},"prices":[{"source":"g","input":1,"output":2}]}`,
		"ruled-other": `{"provider":"x","model":"ruled-other","prices":[{"source":"pi-ai","input":1,"output":3}]}`,
		"a.b":         `{"provider":"bedrock","model":"a.b","prices":[{"source":"pi-ai","input":1.1}]}`,
		"us.a.b":      `{"provider":"bedrock","model":"us.a.b","prices":[{"source":"pi-ai","input":1.1}]}`,
		"global.a.b":  `{"provider":"bedrock","model":"global.a.b","prices":[{"source":"pi-ai","input":1}]}`,
	}
	if len(got) != len(want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
	for _, r := range got {
		if s := line(t, r); s != want[r.Model] {
			t.Errorf("%s:\n%s, want\n%s", r.Model, s, want[r.Model])
		}
	}
}

func TestAnthropicWrites(t *testing.T) {
	cached := &row{Model: "us.Claude-x", Prices: []period{{
		Prices: dollars(t, "input", "4", "cache_read", "0.4", "cache_write", "4.9"),
		Tiers:  []tier{{1000, dollars(t, "input", "8", "cache_read", "0.8")}},
	}}}
	plain := &row{Model: "claude-2", Prices: []period{{Prices: dollars(t, "input", "8")}}}
	other := &row{Model: "gpt", Prices: []period{{Prices: dollars(t, "input", "1", "cache_read", "0.1")}}}
	anthropicWrites([]*row{cached, plain, other})
	p := cached.Prices[0]
	// what is published stays; 4 x 2 = 8, and in the tier 8 x 1.25 = 10 and 8 x 2 = 16
	if !p.Prices.same(dollars(t, "input", "4", "cache_read", "0.4", "cache_write", "4.9", "cache_write_1h", "8")) ||
		!p.Tiers[0].Prices.same(dollars(t, "input", "8", "cache_read", "0.8", "cache_write", "10", "cache_write_1h", "16")) {
		t.Errorf("%s", line(t, cached))
	}
	if len(p.Derived) != 2 {
		t.Errorf("derived %v", p.Derived)
	}
	if len(plain.Prices[0].Prices) != 1 || len(other.Prices[0].Prices) != 2 {
		t.Error("a model without a cache, or of another maker, has prices of writes")
	}
}

func TestRule(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"equals":"id"}`, ``},
		{`{"equals":"other"}`, `{"equals":"other"}`},
		{`{"and":[{"contains":"<"},{"regex":"^(?!.*-tts$)"}]}`, `{"and":[{"contains":"<"},{"not":{"regex":"^.*-tts$"}}]}`},
	} {
		var m map[string]any
		if err := json.Unmarshal([]byte(c.in), &m); err != nil {
			t.Fatal(err)
		}
		if got, err := rule(m, "id"); string(got) != c.want || err != nil {
			t.Errorf("%s is %s (%v), want %s", c.in, got, err, c.want)
		}
	}
	for _, m := range []map[string]any{{"regex": "("}, {"regex": "a(?=b)"}, {"or": []any{1}}, {"equals": 5}} {
		if got, err := rule(m, "id"); err == nil {
			t.Errorf("%v is taken as %s", m, got)
		}
	}
}

func TestDecimal(t *testing.T) {
	for _, c := range []struct {
		v    *big.Rat
		want string
	}{
		{big.NewRat(3, 1), "3"}, {big.NewRat(100, 1), "100"}, {big.NewRat(1, 12), "0.083333"}, {big.NewRat(2, 3), "0.666667"}, {big.NewRat(0, 1), "0"}, {big.NewRat(29, 8000), "0.003625"},
	} {
		if got := decimal(c.v); got != c.want {
			t.Errorf("%v is %s, want %s", c.v, got, c.want)
		}
	}
}
