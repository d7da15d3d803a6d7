package price

import (
	"math"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// noon is after the date of the table, and in no hour that has a price of its own.
var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func load(t testing.TB, overrides string) *Table {
	t.Helper()
	table, err := Load([]byte(overrides))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func find(t testing.TB, table *Table, provider, model string, at time.Time) Rates {
	t.Helper()
	r, ok := table.Find(provider, model, at)
	if !ok {
		t.Fatalf("%s/%s is not known", provider, model)
	}
	return r
}

func dollars(t testing.TB, s string) Money {
	t.Helper()
	m, err := ParseMoney(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestCost has for each provider what a call costs in cents by its list of prices,
// which are dollars per million tokens.
func TestCost(t *testing.T) {
	plain := usage.Usage{Input: 100_000, Output: 10_000}
	for _, c := range []struct {
		provider, model string
		usage           usage.Usage
		want            string
	}{
		// 10k x 3 = 3.0 c, 100k read x 0.30 = 3.0 c, 20k written x 3.75 = 7.5 c, 10k for an hour x 6 = 6.0 c,
		// 2k x 15 = 3.0 c
		{"anthropic", "claude-sonnet-4-5-20250929", usage.Usage{
			Input: 10_000, CacheRead: 100_000, CacheWrite5m: 20_000, CacheWrite1h: 10_000, Output: 2_000}, "0.225"},
		// 10k x 2 = 2.0 c, 10k for an hour x 2 x 2 = 4.0 c, 1k x 10 = 1.0 c
		{"anthropic", "claude-sonnet-5-5", usage.Usage{Input: 10_000, CacheWrite1h: 10_000, Output: 1_000}, "0.07"},
		// 100k x 1.25 = 12.5 c, 200k read x 0.125 = 2.5 c, 5k x 10 = 5.0 c, 2 searches x 1 c
		{"openai", "gpt-5-2025-08-07", usage.Usage{Input: 100_000, CacheRead: 200_000, Output: 5_000, Reasoning: 4_000, WebSearches: 2}, "0.22"},
		// 1 hour x 36 c
		{"openai", "whisper-1", usage.Usage{Seconds: 3600}, "0.36"},
		// 100 x 5 = 0.05 c, 4k of an image x 32 = 12.8 c
		{"openai", "gpt-image-1.5", usage.Usage{Input: 100, Output: 4_000, Images: 1}, "0.1285"},
		// 50k x 0.30 = 1.5 c, 10k of audio x 1 = 1.0 c, 2k x 2.50 = 0.5 c
		{"google-ai-studio", "models/gemini-2.5-flash", usage.Usage{Input: 50_000, AudioInput: 10_000, Output: 2_000}, "0.03"},
		// 100k x 1.25 = 12.5 c, 10k x 10 = 10 c
		{"openrouter", "openai/gpt-5", plain, "0.225"},
		// 100k x 0.59 = 5.9 c, 10k x 0.79 = 0.79 c
		{"groq", "llama-3.3-70b-versatile", plain, "0.0669"},
		// 40 s of 11.1 c an hour: 40 / 3600 x 11.1 = 0.12333... c
		{"groq", "whisper-large-v3", usage.Usage{Seconds: 40}, "0.001233333334"},
		// 10 s at least: 10 / 3600 x 11.1 = 0.030833... c
		{"groq", "whisper-large-v3", usage.Usage{Seconds: 1.5}, "0.000308333334"},
		// 100k x 0.50 = 5 c, 10k x 1.50 = 1.5 c
		{"mistral", "mistral-large-latest", plain, "0.065"},
		// 100k x 0.66 = 6.6 c, 10k x 1.98 = 1.98 c
		{"deepseek", "deepseek-v4-pro", plain, "0.0858"},
		// 100k x 1.25 = 12.5 c, 10k x 2.50 = 2.5 c
		{"xai", "grok-4.3", plain, "0.15"},
		// 100k x 0.35 = 3.5 c, 10k x 0.75 = 0.75 c
		{"cerebras", "gpt-oss-120b", plain, "0.0425"},
		// 100k x 2.50 = 25 c, 10k read x 1.25 = 1.25 c, 10k x 10 = 10 c
		{"azure-openai", "gpt-4o", usage.Usage{Input: 100_000, CacheRead: 10_000, Output: 10_000}, "0.3625"},
		// 100k x 3.30 = 33 c, 10k x 16.50 = 16.5 c
		{"aws-bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", plain, "0.495"},
		// 100k x 3 = 30 c, 10k x 15 = 15 c
		{"google-vertex-ai", "claude-sonnet-4-5@20250929", plain, "0.45"},
		// 100k x 2.50 = 25 c, 10k x 10 = 10 c
		{"cohere", "command-a-03-2025", plain, "0.35"},
		// 100k x 3 = 30 c, 10k x 15 = 15 c, and 1.4 c for the call
		{"perplexity-ai", "sonar-pro", plain, "0.464"},
		// 2k x 8 = 1.6 c, 8k of thinking x 3 = 2.4 c, 5 searches x 0.5 c = 2.5 c
		{"perplexity", "sonar-deep-research", usage.Usage{Output: 10_000, Reasoning: 8_000, WebSearches: 5}, "0.065"},
		// 100k x 0.27 = 2.7 c, 10k x 1 = 1 c
		{"huggingface", "deepseek-ai/DeepSeek-V3.1", plain, "0.037"},
		// 100k x 0.60 = 6 c, 10k x 1.70 = 1.7 c
		{"huggingface", "deepseek-ai/DeepSeek-V3.1:together", plain, "0.077"},
		// 100k x 0.0509 = 0.509 c, 10k x 0.335 = 0.335 c
		{"workers-ai", "@cf/qwen/qwen3-30b-a3b-fp8", plain, "0.00844"},
		{"openrouter", "some/model:free", plain, "0"},
		{"demo", "demo", usage.Usage{Input: 1, AudioOutput: 1, Images: 1, WebSearches: 1, Seconds: 1}, "0"},
	} {
		got, missing := find(t, load(t, ""), c.provider, c.model, noon).Cost(c.usage)
		if want := dollars(t, c.want); got != want || missing != 0 {
			t.Errorf("%s %s: %v (missing %v), want %v", c.provider, c.model, got, missing, want)
		}
	}
}

func TestTiers(t *testing.T) {
	table := load(t, "")
	for _, c := range []struct {
		provider, model string
		usage           usage.Usage
		want            string
	}{
		// up to 200,000: 200,000 x 3 = 60 c, 1,000 x 15 = 1.5 c
		{"anthropic", "claude-sonnet-4-5", usage.Usage{Input: 200_000, Output: 1_000}, "0.615"},
		// one more, and all of it costs twice: 200,001 x 6 = 120.0006 c, 1,000 x 22.50 = 2.25 c
		{"anthropic", "claude-sonnet-4-5", usage.Usage{Input: 200_001, Output: 1_000}, "1.222506"},
		// what is read from the cache counts: 1 x 6 = 0.0006 c, 200,000 x 0.60 = 12 c
		{"anthropic", "claude-sonnet-4-5", usage.Usage{Input: 1, CacheRead: 200_000}, "0.120006"},
		// and what is written: 100,001 x 7.50 = 75.00075 c, 100,000 for an hour x 12 = 120 c
		{"anthropic", "claude-sonnet-4-5", usage.Usage{CacheWrite5m: 100_001, CacheWrite1h: 100_000}, "1.9500075"},
		// what is written by the model does not: 1,000 x 3 = 0.3 c, 300,000 x 15 = 450 c
		{"anthropic", "claude-sonnet-4-5", usage.Usage{Input: 1_000, Output: 300_000}, "4.503"},
		// 200,000 x 1.25 = 25 c; 200,001 x 2.50 = 50.00025 c
		{"google", "gemini-2.5-pro", usage.Usage{Input: 200_000}, "0.25"},
		{"google", "gemini-2.5-pro", usage.Usage{Input: 200_001}, "0.5000025"},
		// 272,000 x 2.50 = 68 c; 272,001 x 5 = 136.0005 c
		{"openai", "gpt-5.4", usage.Usage{Input: 272_000}, "0.68"},
		{"openai", "gpt-5.4", usage.Usage{Input: 272_001}, "1.360005"},
	} {
		got, missing := find(t, table, c.provider, c.model, noon).Cost(c.usage)
		if want := dollars(t, c.want); got != want || missing != 0 {
			t.Errorf("%s %+v: %v (missing %v), want %v", c.model, c.usage, got, missing, want)
		}
	}
}

func TestDates(t *testing.T) {
	table := load(t, "")
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		provider, model, at string
		input               int64
		want                string
	}{
		// long prompts of Opus 4.6 cost twice until 2026-03-13: 300k x 10 = 300 c, then x 5 = 150 c
		{"anthropic", "claude-opus-4-6", "2026-03-12T23:59:59Z", 300_000, "3"},
		{"anthropic", "claude-opus-4-6", "2026-03-13T00:00:00Z", 300_000, "1.5"},
		{"anthropic", "claude-opus-4-6", "2026-03-13T01:30:00+02:00", 300_000, "3"}, // the day is that of UTC
		// 100k x 1 = 10 c, from 2026-07-30 on x 0.20 = 2 c
		{"openai", "gpt-5.6-luna", "2026-07-29T12:00:00Z", 100_000, "0.1"},
		{"openai", "gpt-5.6-luna", "2026-07-30T12:00:00Z", 100_000, "0.02"},
		{"openai", "gpt-5.6-luna", "1960-01-01T12:00:00Z", 100_000, "0.1"},
		// DeepSeek's hours: 100k x 0.66 = 6.6 c, from 1 to 4 and 6 to 10 x 1.32 = 13.2 c
		{"deepseek", "deepseek-v4-pro", "2026-11-26T00:59:59Z", 100_000, "0.066"},
		{"deepseek", "deepseek-v4-pro", "2026-11-26T01:00:00Z", 100_000, "0.132"},
		{"deepseek", "deepseek-v4-pro", "2026-11-26T03:59:59Z", 100_000, "0.132"},
		{"deepseek", "deepseek-v4-pro", "2026-11-26T04:00:00Z", 100_000, "0.066"},
		{"deepseek", "deepseek-v4-pro", "2026-11-26T09:00:00Z", 100_000, "0.132"},
		// before 2026-08-17 it had no hours: 100k x 0.435 = 4.35 c
		{"deepseek", "deepseek-v4-pro", "2026-08-16T03:00:00Z", 100_000, "0.0435"},
	} {
		got, _ := find(t, table, c.provider, c.model, at(c.at)).Cost(usage.Usage{Input: c.input})
		if want := dollars(t, c.want); got != want {
			t.Errorf("%s at %s: %v, want %v", c.model, c.at, got, want)
		}
	}
}

func TestServices(t *testing.T) {
	table := load(t, "")
	u := usage.Usage{Input: 100_000, Output: 10_000, WebSearches: 1}
	for _, c := range []struct {
		provider, model, service, want string
		missing                        Missing
	}{
		// 12.5 c + 10 c for tokens, and 1 c for the search, which has no discount
		{"openai", "gpt-5", "", "0.235", 0},
		{"openai", "gpt-5", "standard", "0.235", 0},
		{"openai", "gpt-5", "batch", "0.1225", 0},
		{"openai", "gpt-5", "flex", "0.1225", 0},
		{"openai", "gpt-5", "priority", "0.46", 0},
		{"openai", "gpt-5", "whatever", "0.235", 1 << Service},
		// (100k x 5 = 50 c + 10k x 30 = 30 c) x 2.5 = 200 c, and 1 c
		{"openai", "gpt-5.5", "priority", "2.01", 0},
		// 100k x 3 = 30 c + 10k x 15 = 15 c, and 1 c
		{"anthropic", "claude-sonnet-4-6", "batch", "0.235", 0},
		{"anthropic", "claude-sonnet-4-6", "priority", "0.46", 1 << Service},
		// 100k x 0.15 = 1.5 c + 10k x 0.60 = 0.6 c; it has no price of a search
		{"groq", "openai/gpt-oss-120b", "flex", "0.021", 1 << WebSearch},
	} {
		u.Tier = c.service
		got, missing := find(t, table, c.provider, c.model, noon).Cost(u)
		if want := dollars(t, c.want); got != want || missing != c.missing {
			t.Errorf("%s %q: %v (missing %v), want %v (%v)", c.model, c.service, got, missing, want, c.missing)
		}
	}
	if percent, known := find(t, table, "openai", "gpt-5", noon).Share("batch"); percent != 50 || !known {
		t.Errorf("share of a batch: %d %v", percent, known)
	}
}

func TestMissing(t *testing.T) {
	table := load(t, `{"models":[
		{"provider":"own","model":"text","input":1,"output":2},
		{"provider":"own","model":"writes","input":1,"cache_write":1.25,"output":2},
		{"provider":"own","model":"image","image":0.04},
		{"provider":"own","model":"embed","input":1}
	]}`)
	set := func(parts ...Part) (m Missing) {
		for _, p := range parts {
			m |= 1 << p
		}
		return m
	}
	for _, c := range []struct {
		model   string
		usage   usage.Usage
		want    string
		missing Missing
	}{
		// without a price of the cache its tokens cost what others do: 3 x 1
		{"text", usage.Usage{CacheRead: 1e6, CacheWrite5m: 1e6, CacheWrite1h: 1e6}, "3", 0},
		{"writes", usage.Usage{CacheWrite1h: 1e6}, "1.25", set(CacheWrite1h)},
		{"text", usage.Usage{AudioInput: 1e6, AudioOutput: 1e6}, "3", set(AudioInput, AudioOutput)},
		{"text", usage.Usage{Output: 1e6, Reasoning: 5e5, Images: 2, Seconds: 7}, "2", 0}, // by the token
		{"text", usage.Usage{Images: 2, Seconds: 7}, "0", set(Image, Hour)},
		{"text", usage.Usage{WebSearches: 1}, "0", set(WebSearch)},
		{"image", usage.Usage{Images: 2}, "0.08", 0},
		{"image", usage.Usage{Images: 1, Input: 5}, "0.04", set(Input)},
		{"embed", usage.Usage{Input: 1e6, Output: 3, Reasoning: 2}, "1", set(Output)},
		{"embed", usage.Usage{Input: -5, Output: -5, Images: -5, Seconds: math.NaN()}, "0", 0},
		{"text", usage.Usage{Input: 1e6, Output: 10, Reasoning: 1 << 40}, "1.00002", 0}, // no more thinking than output
	} {
		got, missing := find(t, table, "own", c.model, noon).Cost(c.usage)
		if want := dollars(t, c.want); got != want || missing != c.missing {
			t.Errorf("%s %+v: %v (missing %v), want %v (%v)", c.model, c.usage, got, missing, want, c.missing)
		}
	}
	if s := set(AudioInput, Service).String(); s != "audio_input, service_tier" {
		t.Errorf("the set is called %q", s)
	}
}

func TestHugeCounts(t *testing.T) {
	r := find(t, load(t, ""), "openai", "o1-pro", noon)
	u := usage.Usage{Input: math.MaxInt64, CacheRead: math.MaxInt64, Output: math.MaxInt64, Seconds: math.Inf(1), Tier: "priority"}
	if got, _ := r.Cost(u); got != maxMoney {
		t.Errorf("%v", got)
	}
	if got := r.Ceiling(math.MaxInt64, math.MaxInt64); got != maxMoney {
		t.Errorf("%v", got)
	}
}

func TestCeiling(t *testing.T) {
	table := load(t, "")
	for _, c := range []struct {
		provider, model string
		prompt, output  int64
		want            string
	}{
		// all written to the cache for an hour: 100k x 6 = 60 c, 10k x 15 = 15 c
		{"anthropic", "claude-sonnet-4-5", 100_000, 10_000, "0.75"},
		// 300k x 12 = 360 c, 10k x 22.50 = 22.5 c
		{"anthropic", "claude-sonnet-4-5", 300_000, 10_000, "3.825"},
		// 10k x 3 = 3 c, 1k x 15 = 1.5 c, 1.4 c for the call
		{"perplexity", "sonar-pro", 10_000, 1_000, "0.059"},
		{"demo", "demo", 1 << 40, 1 << 40, "0"},
		{"anthropic", "claude-sonnet-4-5", -1, -1, "0"},
	} {
		if got, want := find(t, table, c.provider, c.model, noon).Ceiling(c.prompt, c.output), dollars(t, c.want); got != want {
			t.Errorf("%s %d %d: %v, want %v", c.model, c.prompt, c.output, got, want)
		}
	}
}

// TestCeilingHolds tries every model of the table with prompts of all kinds.
func TestCeilingHolds(t *testing.T) {
	for _, r := range load(t, "").Models(noon) {
		for _, prompt := range []int64{1, 99_999, 100_001, 200_000, 200_001, 900_000} {
			const output = 5_000
			ceiling := r.Ceiling(prompt, output)
			for _, u := range []usage.Usage{
				{Input: prompt, Output: output}, {CacheRead: prompt, AudioOutput: output}, {CacheWrite5m: prompt, Output: output, Reasoning: output},
				{CacheWrite1h: prompt, Output: output}, {AudioInput: prompt, Output: output, Images: 1}, {Input: prompt / 2, Output: 1},
			} {
				if cost, _ := r.Cost(u); cost > ceiling {
					t.Errorf("%s/%s: %+v costs %v, over %v", r.Provider, r.Model, u, cost, ceiling)
				}
			}
		}
	}
}
