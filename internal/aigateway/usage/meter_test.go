package usage

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"unsafe"
)

func TestMeterKnowsWhenAnAnswerIsComplete(t *testing.T) {
	tests := []struct {
		kind     Kind
		framing  Framing
		stream   string
		complete bool
	}{
		{Anthropic, SSE, "", false},
		{Anthropic, SSE, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", true},
		{Anthropic, SSE, "event: message_stop\r\ndata: {\"type\":\"message_stop\"}\r\n\r\n", true},
		{Anthropic, SSE, "event:message_stop\ndata:{}\n\n", true},
		{Anthropic, SSE, "data: {\"type\": \"message_stop\"}\n\n", true}, // a server that names no events
		{Anthropic, SSE, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n", false},
		{Anthropic, SSE, "event: message_stop\ndata: {\"type\":\"mess", false},
		{Anthropic, SSE, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"message_stop\",\"text\":\"message_stop\"}}\n\n", false},
		{Anthropic, SSE, "event: content_block_delta\ndata: {\"text\":\"event: message_stop\\n\\n\"}\n\n", false},
		{Anthropic, SSE, "event: error\ndata: {\"type\":\"error\"}\n\n", true},
		{Anthropic, SSE, "event: ping\ndata: {}\n\n", false},
		{Anthropic, SSE, "data: [DONE]\n\n", false},
		{Chat, SSE, "data: {\"choices\":[]}\n\n", false},
		{Chat, SSE, "data: {\"choices\":[]}\n\ndata: [DONE]\n\n", true},
		{Chat, SSE, "data:[DONE]\r\n", true},
		{Chat, SSE, "data: [DONE]", true},
		{Chat, SSE, "data: [DON", false},
		{Chat, SSE, "data: [DONE]x\n\n", false},
		{Chat, SSE, "data: {\"choices\":[{\"delta\":{\"content\":\"data: [DONE]\"}}]}\n\n", false},
		{Chat, SSE, "data: {\"error\":{\"message\":\"x\"}}\n\n", true},
		{Chat, SSE, "data: {\"id\":\"1\",\"error\":null}\n\n", false},
		{Chat, SSE, ": comment\n\n", false},
		{Chat, SSE, "data: {\"a\":1}\ndata: {\"b\":2}\ndata: [DONE]\n", true}, // no blank lines
		{Chat, SSE, "data\ndata:\nid\n\n", false},
		{Responses, SSE, "data: {\"type\":\"response.incomplete\",\"response\":{}}\n\n", true},
		{Responses, SSE, "event: response.failed\ndata: {\"type\":\n\n", true},
		{Responses, SSE, "data: {\"type\":\"response.in_progress\"}\n\n", false},
		{Gemini, SSE, "data: {\"candidates\":[{\"finishReason\":\"MAX_TOKENS\"}]}\r\n\r\n", true},
		{Gemini, SSE, "data: {\"candidates\":[{\"finishReason\":null}]}\n\n", false},
		{Gemini, SSE, "data: {\"promptFeedback\":\ndata: {\"blockReason\":\"SAFETY\"}}\n\n", true}, // one document in two lines
		{Cohere, SSE, "event: message-end\n\n", true},
		{Replicate, SSE, "event: done\ndata: {}\n\n", true},
		{HuggingFace, SSE, "data:{\"error\":\"overloaded\"}\n\n", true},
		{Ollama, NDJSON, "{\"done\":false}\n", false},
		{Ollama, NDJSON, "{\"done\":false}\n{\"done\":true}", true},
		{Ollama, NDJSON, "{\"done\":tr\n{\"done\":fal\n", false},
		{Ollama, NDJSON, "{\"done\":true", false},
		{Ollama, NDJSON, "broken\n{\"error\":\"x\"}\n", true},
		{Chat, JSON, "", false},
		{Chat, JSON, "{\"a\":[1,{}]", false},
		{Chat, JSON, " {\"a\":\"}\"} ", true},
		{Chat, JSON, "\"text\"", true},
		{Chat, JSON, "} no JSON", true},
		{Opaque, JSON, "{\"a\":{}", false},
		{Opaque, JSON, "{\"a\":{}}", true},
		{Opaque, Unframed, "", true},
		{Audio, Unframed, "RIFF", true},
		{Converse, EventStream, string(events("messageStop {}", false)), false},
		{Converse, EventStream, string(events("metadata {}\nmessageStop {}", false)), true},
		{Converse, EventStream, string(events("metadata {}\nmessageStop {}", false)) + "\x00", false},
		{Converse, EventStream, string(message("{}", ":exception-type", "throttlingException", ":message-type", "exception")), true},
		{BedrockRaw, EventStream, string(message("{}", ":message-type", "event")), false},
	}
	for _, tt := range tests {
		for size := 1; size <= len(tt.stream)+1; size++ {
			m := pieces(tt.kind, tt.framing, []byte(tt.stream), func() int { return size })
			if m.Complete() != tt.complete {
				t.Errorf("%s %q in pieces of %d: complete %v", tt.kind, tt.stream, size, m.Complete())
			}
		}
	}
}

func TestGap(t *testing.T) {
	for stream, want := range map[string]string{"": "", "data: {}\n\n": "", "data: {}\n": "\n", "data: {": "\n\n", "d": "\n\n", "\r": "\n\n", ":\r\n": "\n"} {
		if got := pieces(Chat, SSE, []byte(stream), func() int { return 1 }).Gap(); got != want {
			t.Errorf("%q: %q", stream, got)
		}
	}
}

func event(data string) string { return "data: " + data + "\n\n" }

// What others' gateways got wrong.
func TestUsageThatIsEasilyMiscounted(t *testing.T) {
	tests := []struct {
		what   string
		kind   Kind
		stream string
		want   Usage
	}{
		{"cache fields that only come at the end; the split is part of the sum and no second count", Anthropic,
			event(`{"type":"message_start","message":{"usage":{"input_tokens":3,"output_tokens":1}}}`) +
				event(`{"type":"message_delta","usage":{"output_tokens":42,"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"cache_creation":{"ephemeral_5m_input_tokens":20}}}`),
			Usage{Input: 3, CacheRead: 100, CacheWrite5m: 20, Output: 42, Known: true}},
		// The start said 100 for an hour; tools wrote 300 more, of the same kind.
		{"a split that is older than the sum", Anthropic,
			event(`{"type":"message_start","message":{"usage":{"input_tokens":3,"cache_creation_input_tokens":100,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":100},"output_tokens":1}}}`) +
				event(`{"type":"message_delta","usage":{"cache_creation_input_tokens":400,"output_tokens":7}}`),
			Usage{Input: 3, CacheWrite1h: 400, Output: 7, Known: true}},
		// 10 + 30 were said of 80: the other 40 are 10 for five minutes, 30 for an hour.
		{"a mixed split that is older than the sum", Anthropic,
			event(`{"message":{"usage":{"cache_creation_input_tokens":40,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":30},"input_tokens":0}}}`) +
				event(`{"usage":{"cache_creation_input_tokens":80,"output_tokens":7}}`),
			Usage{CacheWrite5m: 20, CacheWrite1h: 60, Output: 7, Known: true}},
		{"a split by iterations that are newer than the start's", Anthropic,
			event(`{"message":{"usage":{"cache_creation_input_tokens":10,"cache_creation":{"ephemeral_5m_input_tokens":10},"input_tokens":5}}}`) +
				event(`{"usage":{"cache_creation_input_tokens":50,"output_tokens":7,"iterations":[{"cache_creation":{"ephemeral_5m_input_tokens":10},"type":"message"},{"type":"message","cache_creation":{"ephemeral_1h_input_tokens":40}}]}}`),
			Usage{Input: 5, CacheWrite5m: 10, CacheWrite1h: 40, Output: 7, Known: true}},
		{"a split larger than the sum", Anthropic,
			event(`{"usage":{"input_tokens":1,"output_tokens":1,"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":3}}}`),
			Usage{Input: 1, Output: 1, CacheWrite5m: 2, CacheWrite1h: 3, Known: true}},
		{"usage beside choices in the last chunk", Chat,
			event(`{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":8}}}`),
			Usage{Input: 2, CacheRead: 8, Output: 4, Known: true}},
		{"usage that grows with each chunk", Chat,
			event(`{"usage":{"prompt_tokens":10,"completion_tokens":1}}`) + event(`{"usage":{"prompt_tokens":10,"completion_tokens":2}}`),
			Usage{Input: 10, Output: 2, Known: true}},
		{"more from the cache than was read", Chat,
			event(`{"usage":{"prompt_tokens":10,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":50,"audio_tokens":9}}}`),
			Usage{CacheRead: 10, Output: 1, Known: true}},
		{"no usage", Chat, event(`{"choices":[{"delta":{"content":"\"usage\":{\"prompt_tokens\":5}"}}],"usage":null}`), Usage{}},
		{"usage that breaks off", Chat, event(`{"choices":[],"usage":{"prompt_tokens":`), Usage{}},
		{"a broken event before", Chat, event(`{"usage":]`) + event(`{"usage":{"prompt_tokens":1,"completion_tokens":2}}`), Usage{Input: 1, Output: 2, Known: true}},
		{"numbers that are none", Chat,
			event(`{"usage":{"prompt_tokens":-5,"completion_tokens":"12","total_tokens":1.5,"prompt_tokens_details":{"cached_tokens":99999999999999999999},"num_search_queries":1e300}}`), Usage{}},
		{"whole numbers with a point", Chat, event(`{"usage":{"prompt_tokens":12.0,"completion_tokens":1e2}}`), Usage{Input: 12, Output: 100, Known: true}},
		{"values of other types", Chat, event(`{"usage":[[{"prompt_tokens":{}}],null,7],"model":5,"service_tier":{"a":1},"choices":"x"}`), Usage{}},
		{"a model that is markup", Chat, event(`{"model":"<script>","usage":{"prompt_tokens":1}}`), Usage{Input: 1, Known: true}},
		{"a model in escapes", Chat, event(`{"model":"openai\/gpt\u002d4","usage":{"prompt_tokens":1}}`), Usage{Input: 1, Model: "openai/gpt-4", Known: true}},
		{"a model too long to be one", Chat, event(`{"model":"` + strings.Repeat("m", 200) + `","usage":{"prompt_tokens":1}}`), Usage{Input: 1, Known: true}},
		{"a stated cost below zero", Chat, event(`{"usage":{"prompt_tokens":1,"cost":-3}}`), Usage{Input: 1, Known: true}},
	}
	for _, tt := range tests {
		for size := 1; size <= 40; size++ {
			m := pieces(tt.kind, SSE, []byte(tt.stream), func() int { return size })
			if got := m.Usage(); got != tt.want {
				t.Fatalf("%s, in pieces of %d:\n got %+v\nwant %+v", tt.what, size, got, tt.want)
			}
		}
	}
}

func TestEstimate(t *testing.T) {
	start := event(`{"type":"message_start","message":{"usage":{"input_tokens":300,"cache_read_input_tokens":50,"output_tokens":2}}}`)
	delta := event(`{"type":"content_block_delta","delta":{"type":"text_delta","text":"` + strings.Repeat("a", 41) + `"}}`)
	tests := []struct {
		what    string
		kind    Kind
		framing Framing
		stream  string
		want    Usage
	}{
		// 41 bytes are 11 tokens, begun ones counted.
		{"broken off: the input was said", Anthropic, SSE, start + delta, Usage{Input: 300, CacheRead: 50, Output: 11, Known: true, Estimated: true}},
		{"broken off before there was text", Anthropic, SSE, start, Usage{Input: 300, CacheRead: 50, Output: 2, Known: true}},
		{"all was said", Anthropic, SSE, start + delta + event(`{"type":"message_delta","usage":{"output_tokens":9}}`), Usage{Input: 300, CacheRead: 50, Output: 9, Known: true}},
		// 1001 bytes of request are 251 tokens.
		{"nothing was said", Chat, SSE, event(`{"choices":[{"delta":{"content":"12345\n78\u4e2d"}}]}`), Usage{Input: 251, Output: 3, Estimated: true}},
		{"nothing came", Chat, SSE, "", Usage{Input: 251, Estimated: true}},
		{"an unknown form: 12 bytes", Opaque, JSON, `{"a":"1234"}`, Usage{Input: 251, Output: 3, Estimated: true}},
		{"sound", Audio, Unframed, strings.Repeat("x", 400), Usage{Input: 251, Estimated: true}},
		{"paid by the second", Audio, JSON, `{"text":"abc","duration":"8.5"}`, Usage{Seconds: 8.5, Known: true}},
		{"vectors, of which only the input is counted", Embeddings, JSON, `{"usage":{"prompt_tokens":8}}`, Usage{Input: 8, Known: true}},
	}
	for _, tt := range tests {
		m := NewMeter(tt.kind, tt.framing)
		m.Write([]byte(tt.stream))
		if got := m.Estimate(1001); got != tt.want {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.what, got, tt.want)
		}
		if got := m.Estimate(-1); got.Input < 0 || got.Output < 0 {
			t.Errorf("%s: negative: %+v", tt.what, got)
		}
	}
}

// Whatever is big costs no memory: a meter has no part that grows, so it is enough
// that writing allocates nothing. What comes behind is still seen.
func TestBigThingsCostNoMemory(t *testing.T) {
	tail := `"usage":{"input_tokens":7,"output_tokens":9}}`
	big := map[string]string{
		"picture":       `{"data":[{"b64_json":"` + strings.Repeat("iVBORw0KGgo+/", 1<<16) + `"}],` + tail,
		"escapes":       `{"x":"` + strings.Repeat(`\"\\\u00e9`, 1<<15) + `",` + tail,
		"key":           `{"` + strings.Repeat("k", 1<<18) + `":1,` + tail,
		"number":        `{"created":` + strings.Repeat("9", 1<<18) + `,` + tail,
		"deep, unknown": `{"x":` + strings.Repeat(`[{"a":`, 1<<15) + "1" + strings.Repeat("}]", 1<<15) + "," + tail,
		"deep, known":   `{"data":` + strings.Repeat(`[`, 1<<17) + strings.Repeat("]", 1<<17) + "," + tail,
		"long":          `{"data":[` + strings.Repeat(`{},`, 1<<16) + `{}],` + tail,
		"white space":   strings.Repeat(" \n\t\r", 1<<16) + `{` + tail,
	}
	for what, doc := range big {
		for _, f := range []Framing{JSON, SSE} {
			b := []byte(doc)
			if f == SSE {
				b = []byte(event(strings.ReplaceAll(doc, "\n", " ")))
			}
			var u Usage
			allocs := testing.AllocsPerRun(1, func() {
				m := NewMeter(Images, f)
				for p := b; len(p) > 0; p = p[min(len(p), 32<<10):] {
					m.Write(p[:min(len(p), 32<<10)])
				}
				u = m.Usage()
			})
			if u.Input != 7 || u.Output != 9 {
				t.Errorf("%s, %d: %+v", what, f, u)
			}
			if allocs > 2 { // the meter, and what the runtime adds
				t.Errorf("%s, %d: %v allocations", what, f, allocs)
			}
		}
	}
	if n := unsafe.Sizeof(Meter{}); n > 5<<10 {
		t.Errorf("a meter has %d bytes", n)
	}
}

func TestEventStreamThatIsDamaged(t *testing.T) {
	b, _ := load(t, "converse.events", Converse)
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 0x40
		m := pieces(Converse, EventStream, bad, func() int { return 13 })
		if m.Complete() {
			t.Fatalf("a wrong byte at %d goes unnoticed", i)
		}
	}
	// A message that would have 4 GiB, and one whose headers are longer than it is.
	for _, prelude := range []string{"\xff\xff\xff\xff\x00\x00\x00\x10", "\x00\x00\x00\x20\x00\x00\x01\x00"} {
		m := NewMeter(Converse, EventStream)
		m.Write(append([]byte(prelude), crcOf(prelude)...))
		m.Write(b)
		if m.msgs.stage != lost || m.Complete() {
			t.Errorf("%x is believed", prelude)
		}
	}
	// Headers of other types, and more of them than are kept.
	long := message(`{"usage":{"inputTokens":3}}`, ":message-type", "event", "x", strings.Repeat("y", 5000), ":event-type", "metadata")
	if u := pieces(Converse, EventStream, long, func() int { return 100 }).Usage(); u.Input != 3 {
		t.Errorf("long headers: %+v", u)
	}
}

func TestFramingOf(t *testing.T) {
	for ct, want := range map[string]Framing{
		"application/json; charset=utf-8": JSON, "Text/Event-Stream;charset=utf-8": SSE, "application/x-ndjson": NDJSON,
		"application/vnd.amazon.eventstream": EventStream, "application/problem+json": JSON, "application/stream+json": NDJSON,
		"audio/mpeg": Unframed, "": Unframed, ";": Unframed, "text/html": Unframed,
	} {
		if got := FramingOf(ct); got != want {
			t.Errorf("%q: %v", ct, got)
		}
	}
}

// Usage is asked for while an answer passes; that changes nothing.
func TestReadingChangesNothing(t *testing.T) {
	for _, tt := range fixtures {
		b, f := load(t, tt.file, tt.kind)
		m := NewMeter(tt.kind, f)
		for _, c := range b {
			m.Write([]byte{c})
			m.Usage()
			m.Estimate(5)
			m.Complete()
			m.Gap()
		}
		if m.Usage() != tt.want {
			t.Errorf("%s: %+v", tt.file, m.Usage())
		}
	}
}

// Bedrock counts in the header where a model's own form of answer says nothing, and
// only there.
func TestBedrockCountsInTheHeader(t *testing.T) {
	h := http.Header{"X-Amzn-Bedrock-Input-Token-Count": {"17"}, "X-Amzn-Bedrock-Output-Token-Count": {"5"}}
	silent := NewMeter(BedrockRaw, JSON)
	silent.Headed(h)
	silent.Write([]byte(`{"generation":"five tokens of text"}`))
	if u := silent.Usage(); !u.Known || u.Input != 17 || u.Output != 5 {
		t.Errorf("by the header: %+v", u)
	}
	tells := NewMeter(BedrockRaw, JSON)
	tells.Headed(h)
	tells.Write([]byte(`{"type":"message","usage":{"input_tokens":9,"output_tokens":3}}`))
	if u := tells.Usage(); u.Input != 9 || u.Output != 3 {
		t.Errorf("the answer's own counts: %+v", u)
	}
	other := NewMeter(Chat, JSON)
	other.Headed(h)
	if u := other.Usage(); u.Known {
		t.Errorf("a foreign header counts: %+v", u)
	}
	wrong := NewMeter(BedrockRaw, JSON)
	wrong.Headed(http.Header{"X-Amzn-Bedrock-Input-Token-Count": {"-4"}, "X-Amzn-Bedrock-Output-Token-Count": {"1e3"}})
	if u := wrong.Usage(); u.Known {
		t.Errorf("nonsense counts: %+v", u)
	}
}

// TestFailed: a stream that ends in an error is complete, and no answer.
func TestFailed(t *testing.T) {
	for _, tt := range []struct {
		kind   Kind
		stream string
		want   bool
	}{
		{Anthropic, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n", true},
		{Anthropic, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", false},
		{Chat, "data: {\"error\":{\"message\":\"no\"}}\n\ndata: [DONE]\n\n", true},
		{Chat, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"error\":null}\n\ndata: [DONE]\n\n", false},
		{Gemini, "data: {\"error\":{\"code\":503}}\n\n", true},
		{Gemini, "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n", false},
	} {
		m := NewMeter(tt.kind, SSE)
		m.Write([]byte(tt.stream))
		if m.Failed() != tt.want {
			t.Errorf("%s: failed %v: %q", tt.kind, m.Failed(), tt.stream)
		}
	}
}
