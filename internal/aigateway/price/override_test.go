package price

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

func TestOverrides(t *testing.T) {
	table := load(t, `{
		"models": [
			{"provider": "anthropic", "model": "claude-sonnet-4-5", "from": "2026-12-01", "input": 2.40, "output": "12"},
			{"provider": "anthropic", "model": "*", "output": 10},
			{"provider": "anthropic", "model": "claude-haiku-*", "output": 4},
			{"provider": "Azure-OpenAI", "model": "Our-GPT-*", "input": "1.25", "cache_read": "0.125", "output": "10",
			 "tiers": [{"above": 272000, "input": 2.5, "output": 15}]},
			{"provider": "replicate", "model": "*", "second": 0.000225, "note": "T4"},
			{"provider": "google", "model": "gemini-2.5-pro", "tiers": []},
			{"provider": "openai", "model": "gpt-5", "input": 0, "output": 0, "cache_read": 0},
			{"provider": "deepseek", "model": "deepseek-v4-pro", "output": 1}
		]
	}`)
	december := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	million := usage.Usage{Input: 1e6, Output: 1e6}
	small := usage.Usage{Input: 100_000, Output: 100_000}
	for _, c := range []struct {
		name, provider, model string
		at                    time.Time
		usage                 usage.Usage
		want                  string
	}{
		// until its day the rule for all counts: 100k x 3 = 30 c, 100k x 10 = 100 c
		{"before its day", "anthropic", "claude-sonnet-4-5", noon, small, "1.3"},
		// 100k x 2.40 = 24 c, 100k x 12 = 120 c
		{"from its day", "anthropic", "claude-sonnet-4-5", december, small, "1.44"},
		{"by the name of the row", "anthropic", "claude-sonnet-4-5-20250929", december, small, "1.44"},
		// its tier stays as listed: 1M x 6 + 1M x 22.50
		{"with the tier of the table", "anthropic", "claude-sonnet-4-5", december, million, "28.5"},
		// 100k x 1 = 10 c, 100k x 4 = 40 c
		{"the longer pattern", "anthropic", "claude-haiku-4-5", noon, small, "0.5"},
		// 100k x 1.25 = 12.5 c, 100k x 10 = 100 c
		{"unknown to the table", "azure", "our-gpt-prod", noon, small, "1.125"},
		// 1M x 2.50 + 1M x 15
		{"with a tier", "azure", "our-gpt-prod", noon, million, "17.5"},
		// in that tier the cache costs what it does below: 300k x 0.125 = 3.75 c
		{"with a tier that is not whole", "azure", "our-gpt-prod", noon, usage.Usage{CacheRead: 300_000}, "0.0375"},
		// 40 s x 0.0225 c = 0.9 c
		{"by the second", "replicate", "stability/sdxl", noon, usage.Usage{Seconds: 40}, "0.009"},
		// 1M x 1.25 + 1M x 10
		{"without tiers", "google", "gemini-2.5-pro", noon, million, "11.25"},
		{"free", "openai", "gpt-5", noon, million, "0"},
		// its hours stay: 100k x 0.66 = 6.6 c at noon, 100k x 1.32 = 13.2 c at 2, and 100k x 1 = 10 c
		{"at noon", "deepseek", "deepseek-v4-pro", noon, small, "0.166"},
		{"at 2", "deepseek", "deepseek-v4-pro", noon.Add(-10 * time.Hour), small, "0.232"},
	} {
		r := find(t, table, c.provider, c.model, c.at)
		got, missing := r.Cost(c.usage)
		if want := dollars(t, c.want); got != want || missing != 0 || r.Source != "override" {
			t.Errorf("%s: %v from %s (missing %v), want %v", c.name, got, r.Source, missing, want)
		}
	}
	if r := find(t, table, "replicate", "a/b", noon); r.Note != "T4" || r.Provider != "replicate" || r.Model != "a/b" {
		t.Errorf("%+v", r)
	}
	if r := find(t, table, "openai", "gpt-4o", noon); r.Source == "override" {
		t.Error("an entry counts for another model")
	}
	// the shared table is not changed by a file
	if got, _ := find(t, load(t, ""), "openai", "gpt-5", noon).Cost(usage.Usage{Input: 1e6}); got == 0 {
		t.Error("the embedded table is changed")
	}
}

func TestOverridesRefused(t *testing.T) {
	entry := func(s string) string { return "{\"models\": [\n" + s + "\n]}" }
	for _, c := range []struct{ file, line, reason string }{
		{`[]`, "line 1", "begins with"},
		{`{"model": []}`, "line 1", "begins with"},
		{`{"models": {}}`, "line 1", "begins with"},
		{"{\"models\": [\n{\"provider\": \"a\",\n \"model\": \"b\" \"input\": 1}\n]}", "line 3", "invalid character"},
		{"{\"models\": [\n{\"provider\":\n", "line 3", "breaks off"},
		{entry(`{"provider":"a","model":"b","input":1}`) + "x", "line 3", "more after the end"},
		{strings.Replace(entry(`{"provider":"a","model":"b","input":1}`), "]}", `], "also": 1}`, 1), "line 3", "nothing but models"},
		{entry(`{"provider":"a","model":"b","input":1},` + "\n\n" + `{"provider":"a","model":"b","inptu":1}`), "line 4", "inptu"},
		{entry(`{"provider":"a","model":"b","input":1},` + "\n" + `{"provider":"A","model":"B","output":1}`), "line 3", "already"},
		{`{"models"`, "line 1", "breaks off"},
		{`{"models": [`, "line 1", "breaks off"},
		{`{"models": [{"provider":"a","model":"b","input":1}`, "line 1", "breaks off"},
		{entry(`5`), "line 2", "cannot unmarshal"},
		{entry(`{"model":"b","input":1}`), "line 2", "a provider and a model"},
		{entry(`{"provider":"a","input":1}`), "line 2", "a provider and a model"},
		{entry(`{"provider":"a","model":"b"}`), "line 2", "has a price"},
		{entry(`{"provider":"a","model":"b","input":-1}`), "line 2", "below zero"},
		{entry(`{"provider":"a","model":"b","input":"three"}`), "line 2", "not a decimal number"},
		{entry(`{"provider":"a","model":"b","input":true}`), "line 2", "not a decimal number"},
		{entry(`{"provider":"a","model":"b","input":0.1234567}`), "line 2", "too many decimals"},
		{entry(`{"provider":"a","model":"b","input":1e60}`), "line 2", "too large"},
		{entry(`{"provider":"a","model":"b","hour":1,"second":1}`), "line 2", "either"},
		{entry(`{"provider":"a","model":"b","second":-1}`), "line 2", "second"},
		{entry(`{"provider":"a","model":"b","second":9000}`), "line 2", "too large"},
		{entry(`{"provider":"a","model":"b","input":1,"from":"soon"}`), "line 2", "not a day"},
		{entry(`{"provider":"a","model":"b","input":1,"tiers":[{"above":0,"input":2}]}`), "line 2", "rising"},
		{entry(`{"provider":"a","model":"b","input":1,"tiers":[{"above":9,"input":2},{"above":9,"input":2}]}`), "line 2", "rising"},
		{strings.Repeat(" ", maxOverrideFile+1), "", "larger than"},
		{entry(strings.TrimSuffix(manyEntries(maxOverrides+1), ",\n")), "line 1002", "more than 1000"},
		// units: cents, per token, per thousand tokens
		{entry(`{"provider":"a","model":"b","input":1001}`), "line 2", "sure"},
		{entry(`{"provider":"a","model":"b","output":0.000015}`), "line 2", "sure"},
		{entry(`{"provider":"a","model":"b","web_search":5000}`), "line 2", "sure"},
		{entry(`{"provider":"openai","model":"gpt-5","input":126}`), "line 2", "more than 100 times"},
		{entry(`{"provider":"openai","model":"gpt-5","output":0.01}`), "line 2", "less than 1/100"},
		{entry(`{"provider":"cohere","model":"*","input":251}`), "line 2", "more than 100 times"},
		{entry(`{"provider":"a","model":"b","tiers":[{"above":9,"input":2000}]}`), "line 2", "sure"},
	} {
		_, err := Load([]byte(c.file))
		if err == nil || !strings.Contains(err.Error(), c.line) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%.90s: %v, want %s and %q", c.file, err, c.line, c.reason)
		}
	}
}

func manyEntries(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"provider":"a","model":"m%d","input":1},`+"\n", i)
	}
	return b.String()
}

func TestOverridesSure(t *testing.T) {
	table := load(t, `{"models":[
		{"provider":"openai","model":"gpt-5","input":126,"sure":true},
		{"provider":"openai","model":"gpt-5-mini","input":25.0,"output":0.02},
		{"provider":"a","model":"b","input":"1.5e3","sure":true}
	]}`)
	// 126 per million is 12,600,000 cents of a millionth
	for model, want := range map[string]Money{"gpt-5": 126_000_000, "gpt-5-mini": 25_000_000} {
		if m, _ := find(t, table, "openai", model, noon).Prices.Of(Input); m != want {
			t.Errorf("%s: %d, want %d", model, m, want)
		}
	}
}

func TestWild(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"gpt-5", "gpt-5", true}, {"gpt-5", "gpt-50", false}, {"*", "", true}, {"*", "a/b", true}, {"gpt-*", "gpt-5", true},
		{"gpt-*", "xgpt-5", false}, {"*-mini", "gpt-5-mini", true}, {"*-mini", "gpt-5-mini-x", false}, {"a*b*c", "a1b2c", true},
		{"a*b*c", "a1c2b", false}, {"a*a", "a", false}, {"**", "x", true}, {"", "", true}, {"", "x", false},
	} {
		if got := wild(c.pattern, c.s); got != c.want {
			t.Errorf("%q fits %q: %v", c.pattern, c.s, got)
		}
	}
}

func FuzzOverrides(f *testing.F) {
	for _, s := range []string{
		``, `{"models":[]}`, `{"models":[{"provider":"openai","model":"gpt-5","input":1,"tiers":[{"above":5,"output":"2"}]}]}`,
		`{"models":[{"provider":"*","model":"*","from":"2026-01-01","second":1e-9,"sure":true}]}`, `{"models":[{"provider":"a"`,
		"{\"models\":[\n{\"provider\":1}]}", `{"models":[null]}`, `{"models":[{"tiers":null,"input":null}]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, file string) {
		table, err := Load([]byte(file))
		if err != nil {
			return
		}
		u := usage.Usage{Input: 1 << 40, Output: 1 << 40, Seconds: 1e9, Images: 1 << 40, WebSearches: 1 << 40}
		for _, o := range table.overrides {
			for _, m := range []Money{o.rates.Ceiling(1<<40, 1<<40), first(o.rates.Cost(u))} {
				if m < 0 {
					t.Errorf("a call costs %v", m)
				}
			}
		}
		if _, ok := table.Find("openai", "gpt-5", noon); !ok {
			t.Error("a file takes a model away")
		}
	})
}

func first(m Money, _ Missing) Money { return m }

func TestCustom(t *testing.T) {
	u := usage.Usage{Input: 1000, CacheRead: 5000, CacheWrite5m: 300, CacheWrite1h: 200, AudioInput: 10, Output: 2000, AudioOutput: 5}
	for _, c := range []struct {
		header, want string
		missing      Missing
	}{
		// all 6,510 tokens read x 0.0001 c, all 2,005 written x 0.0002 c
		{`{"per_token_in":0.000001,"per_token_out":0.000002}`, "0.01052", 0},
		// 1,010 x 0.0001 c = 0.101 c, 5,000 x 0.00001 c = 0.05 c, 500 x 0.00005 c = 0.025 c, 2,005 x 0.0002 c = 0.401 c
		{`{"per_token_in": 0.000001, "per_token_out": 0.000002, "per_cache_read_token": 0.0000001, "per_cache_write_token": 0.0000005}`, "0.00577", 0},
		// the other price of a cache is that of input: 1,510 x 0.0001 c, 5,000 x 0.00001 c, 2,005 x 0.0002 c
		{`{"per_token_in": 1e-6, "per_token_out": 2e-6, "per_cache_read_token": 1e-7}`, "0.00602", 0},
		{`{"total_cost": "0.0125"}`, "0.0125", 0},
		{`{"total_cost": 0}`, "0", 0},
		{`{"per_token_out":0.000002}`, "0.00401", 1<<Input | 1<<CacheRead | 1<<CacheWrite5m},
		// below Money: 2,005 x 1e-15 is 2.005 millionths of a millionth, and 3
		{`{"per_token_in":0,"per_token_out":1e-15}`, "0.000000000003", 0},
	} {
		v, err := ParseCustom(c.header)
		if err != nil {
			t.Errorf("%s: %v", c.header, err)
			continue
		}
		if got, missing := v.Cost(u); got != dollars(t, c.want) || missing != c.missing {
			t.Errorf("%s: %v (missing %v), want %v", c.header, got, missing, c.want)
		}
	}
	for _, s := range []string{
		``, `0.25`, `null`, `[]`, `{}`, `{"total_cost":1,"per_token_in":1e-6}`, `{"per_request":1}`, `{"per_token_in":-1e-6}`, `{"per_token_in":3}`,
		`{"total_cost":-1}`, `{"total_cost":10001}`, `{"total_cost":"free"}`, `{"total_cost":1e-13}`, `{"per_token_in":1e-19}`, `{"total_cost":1}{}`,
		`{"total_cost":1` + strings.Repeat(" ", maxCustom) + `}`, `{"total_cost":1}]`,
	} {
		if v, err := ParseCustom(s); err == nil {
			t.Errorf("%.40s is taken as %+v", s, v)
		}
	}
}

func FuzzCustom(f *testing.F) {
	for _, s := range []string{`{"per_token_in":0.000001,"per_token_out":"2e-6"}`, `{"total_cost":0.01}`, `{"per_cache_read_token":1e-7}`, `{`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		c, err := ParseCustom(header)
		if err != nil {
			return
		}
		if m, _ := c.Cost(usage.Usage{Input: 1 << 60, CacheRead: 1 << 60, Output: 1 << 60}); m < 0 {
			t.Errorf("a call costs %v", m)
		}
	})
}

func TestPartNames(t *testing.T) {
	names := partNames[:numParts]
	for p := range numParts {
		if slices.Index(names, p.String()) != int(p) || p.String() == "" {
			t.Errorf("part %d is called %q", p, p)
		}
	}
}
