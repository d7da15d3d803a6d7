package price

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

func TestFind(t *testing.T) {
	table := load(t, "")
	for _, c := range []struct{ provider, model, want string }{
		{"anthropic", "claude-opus-5-5", "anthropic/claude-opus-5-5"},
		{"Anthropic", " Claude-Opus-5-5 ", "anthropic/claude-opus-5-5"},
		{"anthropic", "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5"},
		{"anthropic", "claude-3-5-haiku-latest", "anthropic/claude-3-5-haiku-latest"},
		{"anthropic", "claude-sonnet-5-5-20261010", "anthropic/claude-sonnet-5-5"}, // and not the rule of claude-sonnet-5
		{"anthropic", "claude-sonnet-5-5-latest", "anthropic/claude-sonnet-5-5"},
		{"anthropic", "claude-sonnet-5-20260630", "anthropic/claude-sonnet-5"},
		{"anthropic", "claude-opus-4-20250514", "anthropic/claude-opus-4-0"},
		{"openai", "gpt-5-2025-08-07", "openai/gpt-5"},
		{"openai", "gpt-4o-2024-05-13", "openai/gpt-4o-2024-05-13"}, // a snapshot with prices of its own
		{"openai", "gpt-4o-20241120", "openai/gpt-4o"},
		{"openai", "openai/gpt-5", "openai/gpt-5"},
		{"", "openai/gpt-5", "openai/gpt-5"},
		{"", "x-ai/grok-4.3", "xai/grok-4.3"},
		{"", "google-ai-studio/gemini-2.5-pro", "google/gemini-2.5-pro"},
		{"openrouter", "openai/gpt-5", "openrouter/openai/gpt-5"},
		{"openrouter", "openai/gpt-5:nitro", "openrouter/openai/gpt-5"},
		{"openrouter", "any/thing:free", "openrouter/:free"},
		{"google", "models/gemini-2.5-pro", "google/gemini-2.5-pro"},
		{"vertex", "gemini-2.5-pro", "google/gemini-2.5-pro"},
		{"vertex", "publishers/anthropic/models/claude-sonnet-4-5@20250929", "google/claude-sonnet-4-5"},
		{"vertex", "claude-opus-5-5@default", "google/claude-opus-5-5"},
		{"bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock/regional.anthropic.claude-sonnet-4-5-20250929-v1:0"},
		{"bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock/regional.anthropic.claude-sonnet-4-5-20250929-v1:0"},
		{"bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "bedrock/global.anthropic.claude-sonnet-4-5-20250929-v1:0"},
		{"bedrock", "eu.anthropic.claude-sonnet-5-5-v1:0", "bedrock/eu.anthropic.claude-sonnet-5-5"},
		{"bedrock", "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
			"bedrock/regional.anthropic.claude-sonnet-4-5-20250929-v1:0"},
		{"bedrock", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "bedrock/amazon.nova-pro-v1:0"},
		{"azure", "gpt-4o", "azure/gpt-4o"},
		{"azure", "gpt-35-turbo", "openai/gpt-3.5-turbo"},
		{"groq", "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"},
		{"huggingface", "deepseek-ai/DeepSeek-V3.1:fastest", "huggingface/deepseek-ai/DeepSeek-V3.1"},
		{"huggingface", "deepseek-ai/DeepSeek-V3.1:together", "huggingface/together/deepseek-ai/DeepSeek-V3.1"},
		{"demo", "anything", "demo/anything"},
	} {
		if r := find(t, table, c.provider, c.model, noon); r.Provider+"/"+r.Model != c.want {
			t.Errorf("%s %s is %s/%s, want %s", c.provider, c.model, r.Provider, r.Model, c.want)
		}
	}
}

// TestUnknown: no row is not a price of zero.
func TestUnknown(t *testing.T) {
	table := load(t, "")
	for _, c := range [][2]string{
		{"", ""}, {"", "gpt-5"}, {"", "nobody/gpt-5"}, {"openai", ""}, {"openai", "gpt-99"}, {"anthropic", "claude-99"},
		{"azure", "my-deployment"}, {"bedrock", "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"},
		{"replicate", "meta/meta-llama-3-70b-instruct"}, {"ollama", "llama3"}, {"vllm", "qwen"}, {"llama.cpp", "x"},
		{"huggingface", "deepseek-ai/DeepSeek-V3.1:nobody"}, {"google", "models/"}, {"cerebras", "qwen-3-coder-480b"}, // no price in the source
		{"openai", strings.Repeat("gpt-5", 200)}, {strings.Repeat("x", 600), "gpt-5"}, {"demon", "demo"},
	} {
		if r, ok := table.Find(c[0], c[1], noon); ok {
			t.Errorf("%q %q is %s/%s", c[0], c[1], r.Provider, r.Model)
		}
	}
}

func TestFindTwice(t *testing.T) {
	table := load(t, "")
	if n := testing.AllocsPerRun(100, func() { table.Find("bedrock", "us.anthropic.claude-sonnet-5-5-v1:0", noon) }); n != 0 {
		t.Errorf("a name that is known is found with %v allocations", n)
	}
	for i := range 3 * maxCache {
		table.Find("openai", fmt.Sprint("made-up-", i), noon)
	}
	if n := len(table.cache.known); n > maxCache {
		t.Errorf("%d names are remembered, over %d", n, maxCache)
	}
}

func TestFindTogether(t *testing.T) {
	table := load(t, "")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				if _, ok := table.Find("openai", "gpt-5", noon); !ok {
					t.Error("gpt-5 is not known")
				}
				table.Find("openai", fmt.Sprint("gpt-5-", i), noon)
			}
		})
	}
	wg.Wait()
}

// TestTableFile is of the file as it was generated.
func TestTableFile(t *testing.T) {
	table := load(t, "")
	if _, err := time.Parse(time.DateOnly, table.Date()); err != nil {
		t.Error(err)
	}
	for _, s := range table.Sources() {
		if _, err := time.Parse(time.DateOnly, s.Date); err != nil || s.Name == "" || s.Version == "" || s.Licence != "MIT" {
			t.Errorf("source %+v: %v", s, err)
		}
	}
	lines := strings.Split(strings.TrimSuffix(string(tableFile), "\n"), "\n")[1:]
	if len(lines) < 1500 {
		t.Errorf("%d models", len(lines))
	}
	last := ""
	for i, line := range lines {
		var l tableLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if k := l.Provider + "\x00" + l.Model; k <= last {
			t.Errorf("line %d is out of order", i+2)
		} else {
			last = k
		}
		checkRow(t, l)
	}
}

func TestTableDamaged(t *testing.T) {
	head := `{"format":1,"date":"2026-11-10"}` + "\n"
	a, b := `{"provider":"a","model":"x","prices":[{"input":1}]}`+"\n", `{"provider":"b","model":"y","prices":[{"input":1}]}`+"\n"
	table, err := parseTable([]byte(head + a + strings.TrimSuffix(b, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(table.Models(noon)); n != 2 {
		t.Errorf("%d models, want 2", n)
	}
	for _, s := range []string{"", a, `{"format":2}` + "\n", head + a + b + a, head + "\n", head + a + `{"model":"b"}`} {
		if _, err := parseTable([]byte(s)); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
	for _, s := range []string{
		`{"provider":"a"`, `{"prices":[{"input":-1}]}`, `{"prices":[{"from":"x"}]}`, `{"prices":[{"hours":"1-2"}]}`, `{"match":{"a":1}}`,
		`{"prices":[{"tiers":[{"above":-1}]}]}`, `{"prices":[{"derived":["x"]}]}`,
	} {
		if err := (&shelf{lines: []byte(s), exact: map[string]*row{}}).parse(); err == nil {
			t.Errorf("line %s is taken", s)
		}
	}
}

func checkRow(t *testing.T, l tableLine) {
	t.Helper()
	r, err := l.row()
	if err != nil {
		t.Fatalf("%s/%s: %v", l.Provider, l.Model, err)
	}
	if canonical(l.Provider) != l.Provider {
		t.Errorf("%s is not the name of a provider", l.Provider)
	}
	if len(r.entries) == 0 || r.entries[0].from != forever || r.entries[0].hours {
		t.Errorf("%s/%s has no price at some moment", l.Provider, l.Model)
	}
	for _, e := range r.entries {
		if e.rates.Prices.set == 0 {
			t.Errorf("%s/%s has no price", l.Provider, l.Model)
		}
		// no price is that of another unit: the same bounds as for people's files
		o := override{provider: l.Provider, model: l.Model, rates: e.rates}
		if err := (&Table{}).plausible(o); err != nil {
			t.Errorf("%s/%s: %v", l.Provider, l.Model, err)
		}
		last := int64(0)
		for _, tier := range e.rates.Tiers {
			if tier.Above <= last || tier.Above < 1000 || tier.Prices.set != e.rates.Prices.set {
				t.Errorf("%s/%s: tier %+v", l.Provider, l.Model, tier)
			}
			last = tier.Above
		}
	}
}

// TestAnthropicWrites: writes for an hour cost twice the input with all models of
// Anthropic that have a cache, published or derived.
func TestAnthropicWrites(t *testing.T) {
	n := 0
	for _, r := range load(t, "").Models(noon) {
		in, _ := r.Prices.Of(Input)
		read, cached := r.Prices.Of(CacheRead)
		if !strings.HasPrefix(r.Provider, "anthropic") || !cached {
			continue
		}
		n++
		short, _ := r.Prices.Of(CacheWrite5m)
		long, _ := r.Prices.Of(CacheWrite1h)
		if r.Model == "claude-3-haiku" {
			short = in * 5 / 4 // $0.30 is published, which is 1.2 times
		}
		if short*4 != in*5 || long != in*2 || read >= in {
			t.Errorf("%s: input %d, read %d, written for 5 minutes %d, for an hour %d", r.Model, in, read, short, long)
		}
	}
	if n < 15 {
		t.Errorf("only %d models of Anthropic have a cache", n)
	}
	r := find(t, load(t, ""), "anthropic", "claude-sonnet-5-5", noon)
	if !r.Derived.Has(CacheWrite1h) || r.Derived.Has(Input) {
		t.Errorf("derived: %v", r.Derived)
	}
}

func TestModels(t *testing.T) {
	table := load(t, `{"models":[
		{"provider":"replicate","model":"a/b","second":0.001},
		{"provider":"openai","model":"gpt-5","output":9},
		{"provider":"later","model":"x","from":"2027-01-01","input":1},
		{"provider":"groq","model":"*","note":"deal","input":0.1}
	]}`)
	list := table.Models(noon)
	byName := map[string]Rates{}
	last := ""
	for _, r := range list {
		k := r.Provider + "\x00" + r.Model
		if k <= last {
			t.Errorf("%s/%s is out of order", r.Provider, r.Model)
		}
		last = k
		byName[r.Provider+"/"+r.Model] = r
	}
	if m, _ := byName["openai/gpt-5"].Prices.Of(Output); m != 9_000_000 {
		t.Errorf("gpt-5 costs %d", m)
	}
	if m, _ := byName["replicate/a/b"].Prices.Of(Hour); m != 3*Dollar+6*Dollar/10 {
		t.Errorf("an hour costs %v", m)
	}
	if _, ok := byName["later/x"]; ok {
		t.Error("a price counts before its day")
	}
	if r := byName["groq/llama-3.1-8b-instant"]; r.Note != "deal" || r.Source != "override" {
		t.Errorf("%+v", r)
	}
	if want := len(load(t, "").Models(noon)) + 1; len(list) != want {
		t.Errorf("%d models, want %d", len(list), want)
	}
	b, err := json.Marshal(byName["replicate/a/b"])
	if want := `{"provider":"replicate","model":"a/b","source":"override","prices":{"hour":3.6}}`; string(b) != want || err != nil {
		t.Errorf("%s %v, want %s", b, err, want)
	}
}

func FuzzFind(f *testing.F) {
	table := load(f, "")
	for _, s := range [][2]string{
		{"anthropic", "claude-sonnet-4-5-20250929"}, {"bedrock", "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-x-v1:0"},
		{"vertex", "publishers/x/models/a@b"}, {"", "a/b"}, {"huggingface", "a/b:c"}, {"azure", "gpt-35"}, {"openrouter", "x:free"},
		{"google", "models/models/"}, {"openai", "-2025-08-07"}, {"openai", "gpt-5-latest-latest-latest"}, {"bedrock", ":0"},
	} {
		f.Add(s[0], s[1], int64(1))
	}
	f.Fuzz(func(t *testing.T, provider, model string, unix int64) {
		at := time.Unix(unix, 0)
		first, ok := table.Find(provider, model, at)
		again, okAgain := table.Find(provider, model, at)
		if ok != okAgain || first.Model != again.Model || first.Prices != again.Prices {
			t.Errorf("%q %q is two models", provider, model)
		}
		if ok && first.Prices.set == 0 {
			t.Errorf("%q %q has no price", provider, model)
		}
	})
}

func BenchmarkFindCost(b *testing.B) {
	table := load(b, "")
	u := usage.Usage{Input: 1000, CacheRead: 50_000, CacheWrite5m: 2000, Output: 800}
	b.ReportAllocs()
	for b.Loop() {
		r, _ := table.Find("anthropic", "claude-sonnet-4-5-20250929", noon)
		if cost, _ := r.Cost(u); cost == 0 {
			b.Fatal("free")
		}
	}
}

func BenchmarkFindNew(b *testing.B) {
	table := load(b, "")
	for b.Loop() {
		if table.resolve("openrouter", "anthropic/claude-something-20250929") != nil {
			b.Fatal("known")
		}
	}
}

func BenchmarkLoadFind(b *testing.B) {
	for b.Loop() {
		table, err := parseTable(tableFile)
		if err != nil {
			b.Fatal(err)
		}
		if _, ok := table.Find("anthropic", "claude-sonnet-4-5", noon); !ok {
			b.Fatal("unknown")
		}
	}
}

func BenchmarkLoadAll(b *testing.B) {
	for b.Loop() {
		table, err := parseTable(tableFile)
		if err != nil {
			b.Fatal(err)
		}
		if len(table.Models(noon)) == 0 {
			b.Fatal("empty")
		}
	}
}
