package otel

import (
	"bytes"
	"maps"
	"strings"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

const startMillis = 1_790_000_000_123

// aCall is a stream that went well.
func aCall() calllog.Call {
	return calllog.Call{ID: idAt(startMillis), Agent: "ada", Trigger: "cron", Provider: "anthropic",
		Model: "claude-sonnet-4-5", Asked: "claude-sonnet-4-5", Endpoint: "/v1/messages", Status: 200, Stream: true,
		Usage: usage.Usage{Input: 10, CacheRead: 200, CacheWrite5m: 30, CacheWrite1h: 4, AudioInput: 5, Output: 60, AudioOutput: 7,
			Reasoning: 20, Model: "claude-sonnet-4-5-20250929", Known: true},
		Cost: price.Dollar / 4, CostKnown: true, Took: 2500 * time.Millisecond, FirstByte: 320 * time.Millisecond,
		Attempts: 2, Cache: "miss", Key: "SECRETkey", Metadata: map[string]string{"SECRETmeta": "SECRETvalue"}, Event: "SECRETevent",
		Payload: &calllog.Payload{Request: []byte("SECRETask"), Response: []byte("SECRETanswer")}}
}

// Input: 10+200+30+4+5 = 249. Output: 60+7 = 67. Written: 30+4 = 34. A quarter of a
// dollar is 0.25.
func TestASpanSaysAllOfACallButNotWhatWasSaid(t *testing.T) {
	c := newCollector(t)
	e := begin(t, Options{Endpoint: c.URL + "/", Headers: map[string]string{"x-token": "abc"}, Version: "1.2.3"}, newWaits())
	e.Add(aCall())
	closeWell(t, e)

	spans := c.spans()
	if len(spans) != 1 {
		t.Fatalf("%d spans, want 1", len(spans))
	}
	s := spans[0]
	if s.Name != "chat claude-sonnet-4-5" || s.Kind != tracepb.Span_SPAN_KIND_CLIENT || len(s.TraceId) != 16 || len(s.SpanId) != 8 || len(s.ParentSpanId) != 0 {
		t.Errorf("span %v", s)
	}
	if s.StartTimeUnixNano != startMillis*1e6 || s.EndTimeUnixNano != startMillis*1e6+2_500_000_000 {
		t.Errorf("from %d to %d", s.StartTimeUnixNano, s.EndTimeUnixNano)
	}
	if s.Status.GetCode() != tracepb.Status_STATUS_CODE_UNSET {
		t.Errorf("status %v", s.Status)
	}
	want := map[string]any{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5",
		"gen_ai.response.model": "claude-sonnet-4-5-20250929", "gen_ai.agent.name": "ada", "gen_ai.request.stream": true,
		"gen_ai.response.time_to_first_chunk": 0.32, "http.response.status_code": int64(200),
		"gen_ai.usage.input_tokens": int64(249), "gen_ai.usage.output_tokens": int64(67),
		"gen_ai.usage.cache_read.input_tokens": int64(200), "gen_ai.usage.cache_creation.input_tokens": int64(34),
		"gen_ai.usage.cache_write.input_tokens": int64(34), "gen_ai.usage.reasoning.output_tokens": int64(20),
		"moltworker.trigger": "cron", "moltworker.cost_usd": 0.25, "moltworker.cost_known": true, "moltworker.cache": "miss",
		"moltworker.attempts": int64(2), "moltworker.stream": true, "moltworker.first_byte_ms": 320.0,
		"moltworker.call_id": idAt(startMillis).String(),
	}
	if got := attributes(s.Attributes); !maps.Equal(got, want) {
		t.Errorf("attributes\n%v, want\n%v", got, want)
	}
	r := c.traces[0].ResourceSpans[0]
	if got := attributes(r.Resource.Attributes); !maps.Equal(got, map[string]any{"service.name": "moltworker", "service.version": "1.2.3"}) {
		t.Errorf("resource %v", got)
	}
	if scope := r.ScopeSpans[0].Scope; scope.Name != nameOfScope || scope.Version != "1.2.3" || r.SchemaUrl != schema {
		t.Errorf("scope %v, schema %s", scope, r.SchemaUrl)
	}
	for i, q := range c.requests {
		h := q.Header
		if q.Method != "POST" || h.Get("X-Token") != "abc" || h.Get("Content-Type") != "application/x-protobuf" || h.Get("User-Agent") != "moltworker/1.2.3" {
			t.Errorf("request %s %v", q.Method, h)
		}
		if bytes.Contains(c.raw[i], []byte("SECRET")) {
			t.Errorf("%s tells what was said, or a key's name: %q", q.URL, c.raw[i])
		}
	}
}

func TestSpansOfOtherCalls(t *testing.T) {
	ended := func(status int, kind string) calllog.Call {
		return calllog.Call{ID: idAt(1), Provider: "openai", Asked: "m", Endpoint: "/chat/completions", Status: status, Error: kind}
	}
	estimated, free := ended(200, ""), ended(200, "")
	estimated.Usage = usage.Usage{Input: 3, Estimated: true}
	free.CostKnown = true
	unnamed := ended(200, "")
	unnamed.Asked, unnamed.Model, unnamed.Provider = "", "", ""
	counted := ended(200, "")
	counted.Asked, counted.Model = "", "by-model"
	broken := ended(200, "broken")
	broken.Stream, broken.FirstByte = true, time.Second
	absurd := ended(200, "")
	absurd.Usage = usage.Usage{Input: -5, Output: 1 << 62, CacheRead: 1 << 62, CacheWrite5m: 1 << 62, CacheWrite1h: 1 << 62, Reasoning: 1 << 62, Known: true}
	absurd.Took, absurd.Attempts, absurd.Cost, absurd.CostKnown = -time.Hour, -1, -price.Dollar, true

	const fails = tracepb.Status_STATUS_CODE_ERROR
	for name, tc := range map[string]struct {
		call   calllog.Call
		status tracepb.Status_StatusCode
		span   string
		want   map[string]any // nil: there is no such attribute
	}{
		"refused by the provider": {ended(404, "http_404"), fails, "chat other", map[string]any{"error.type": "404", "http.response.status_code": int64(404), "gen_ai.request.model": "m"}},
		"no word for it":          {ended(529, ""), fails, "chat other", map[string]any{"error.type": "529"}},
		"odd word for it":         {ended(500, "http_x"), fails, "chat other", map[string]any{"error.type": "http_x"}},
		"refused by a budget":     {ended(402, "budget"), fails, "chat other", map[string]any{"error.type": "budget"}},
		"no answer":               {ended(0, ""), fails, "chat other", map[string]any{"error.type": "unanswered", "http.response.status_code": nil}},
		"broken stream":           {broken, fails, "chat other", map[string]any{"error.type": "broken", "gen_ai.response.time_to_first_chunk": nil, "moltworker.first_byte_ms": 1000.0}},
		"nothing is known": {ended(200, ""), 0, "chat m", map[string]any{"error.type": nil, "gen_ai.usage.input_tokens": nil, "gen_ai.usage.output_tokens": nil,
			"moltworker.cost_usd": nil, "moltworker.cost_known": false, "gen_ai.request.stream": nil, "moltworker.stream": false, "moltworker.cache": nil,
			"moltworker.trigger": nil, "gen_ai.agent.name": nil, "gen_ai.response.model": nil}},
		"estimated":  {estimated, 0, "chat m", map[string]any{"gen_ai.usage.input_tokens": int64(3), "gen_ai.usage.output_tokens": int64(0), "moltworker.tokens_estimated": true}},
		"free":       {free, 0, "chat m", map[string]any{"moltworker.cost_usd": 0.0, "moltworker.cost_known": true}},
		"no names":   {unnamed, 0, "chat", map[string]any{"gen_ai.request.model": nil, "gen_ai.provider.name": "unknown"}},
		"counted as": {counted, 0, "chat by-model", map[string]any{"gen_ai.request.model": "by-model"}},
		// 1e12 of each kind, of which the sums are not more.
		"absurd numbers": {absurd, 0, "chat m", map[string]any{"gen_ai.usage.input_tokens": int64(1e12), "gen_ai.usage.output_tokens": int64(1e12),
			"gen_ai.usage.reasoning.output_tokens": int64(1e12), "gen_ai.usage.cache_creation.input_tokens": int64(1e12), "moltworker.cost_usd": 0.0, "moltworker.attempts": int64(0)}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t)
			e := begin(t, Options{Endpoint: c.URL}, newWaits())
			e.Add(tc.call)
			closeWell(t, e)
			s := c.spans()[0]
			if s.Name != tc.span || s.Status.GetCode() != tc.status || s.EndTimeUnixNano < s.StartTimeUnixNano {
				t.Errorf("span %q, status %v, from %d to %d", s.Name, s.Status, s.StartTimeUnixNano, s.EndTimeUnixNano)
			}
			got := attributes(s.Attributes)
			for key, want := range tc.want {
				if got[key] != want {
					t.Errorf("%s is %v, want %v", key, got[key], want)
				}
			}
		})
	}
}

// A call without an ID took a second until now, 2026-01-02 03:04:05.
func TestACallWithoutIDEndedNow(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c := newCollector(t)
	e := begin(t, Options{Endpoint: c.URL, Now: func() time.Time { return now }}, newWaits())
	e.Add(calllog.Call{Endpoint: "/v1/messages", Status: 200, Took: time.Second})
	closeWell(t, e)
	s := c.spans()[0]
	if s.EndTimeUnixNano != uint64(now.UnixNano()) || s.StartTimeUnixNano != uint64(now.Add(-time.Second).UnixNano()) {
		t.Errorf("from %d to %d", s.StartTimeUnixNano, s.EndTimeUnixNano)
	}
	if _, has := attributes(s.Attributes)["moltworker.call_id"]; has {
		t.Error("an ID was made up")
	}
}

func TestOperations(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/messages":       "chat",
		"/chat/completions":  "chat",
		"/responses/compact": "chat",
		"/v1/responses":      "chat",
		"/v2/chat":           "chat",
		"/model/anthropic.claude-v2:0/converse-stream":         "chat",
		"/publishers/anthropic/models/claude:streamRawPredict": "chat",
		"/completions":  "text_completion",
		"/api/generate": "text_completion",
		"/v1beta/models/gemini-3-pro:generateContent":       "generate_content",
		"/v1beta/models/gemini-3-pro:streamGenerateContent": "generate_content",
		"/v1beta/models/embedding-001:batchEmbedContents":   "embeddings",
		"/embeddings":               "embeddings",
		"/v2/embed":                 "embeddings",
		"/v2/rerank":                "rerank",
		"/images/edits":             "image_generation",
		"/audio/speech":             "text_to_speech",
		"/audio/transcriptions":     "speech_to_text",
		"/v1/messages/count_tokens": "count_tokens",
		"/publishers/anthropic/models/count-tokens:rawPredict": "count_tokens",
		"/models":                        "list_models",
		"/@cf/meta/llama-3.1-8b":         "other",
		"":                               "other",
		"/":                              "other",
		":":                              "other",
		"/chat":                          "chat",
		strings.Repeat("/messages", 500): "chat",
	} {
		if got := operation(path); got != want {
			t.Errorf("operation(%.60q) = %q, want %q", path, got, want)
		}
	}
}

func TestProviders(t *testing.T) {
	for name, want := range map[string]string{
		"anthropic": "anthropic", "openai": "openai", "aws-bedrock": "aws.bedrock", "azure-openai": "azure.ai.openai",
		"google-ai-studio": "gcp.gemini", "google-vertex-ai": "gcp.vertex_ai", "grok": "x_ai", "groq": "groq", "mistral": "mistral_ai",
		"deepseek": "deepseek", "perplexity-ai": "perplexity", "cohere": "cohere", "ollama": "ollama", "": "unknown",
	} {
		if got := providerName(name); got != want {
			t.Errorf("providerName(%q) = %q, want %q", name, got, want)
		}
	}
}
