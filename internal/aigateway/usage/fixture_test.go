package usage

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fixtures have the shapes that the APIs' documentation shows, some with numbers
// of the test's own so that no two parts are alike. The text is what Estimate
// would count.
var fixtures = []struct {
	file string // in testdata
	kind Kind
	text int64 // bytes
	want Usage
}{
	// docs.anthropic.com/en/docs/build-with-claude/streaming, "with web search".
	// The last input that was said is 10682, of which nothing was cached; the cache
	// read was only said at the start, and null leaves the cache writes as they were.
	// Text: `I'll check "usage": {"output_tokens": 9} in ` is 44 bytes, é and 中 are
	// 2 and 3; `{"query":` is 9: together 58.
	{"anthropic.sse", Anthropic, 58, Usage{Input: 10682, CacheRead: 12000, Output: 510, WebSearches: 1,
		Model: "claude-sonnet-4-5-20250929", Tier: "standard", Known: true}},
	// docs.anthropic.com/en/api/messages, and .../build-with-claude/compaction: the
	// compaction is billed besides: input 45000+180000, output 1234+3500. Cache
	// writes 456 = 56 + 400, once. Text: `Hi! {"usage":1}` is 15 bytes.
	{"anthropic.json", Anthropic, 15, Usage{Input: 225000, CacheRead: 100188, CacheWrite5m: 56, CacheWrite1h: 400, Output: 4734,
		Model: "claude-opus-4-6", Tier: "priority", Known: true}},
	// platform.openai.com/docs/api-reference/chat-streaming, and .../guides/prompt-caching:
	// 2006 - 1920 = 86; 192 of the 300 are reasoning.
	{"chat.sse", Chat, 5, Usage{Input: 86, CacheRead: 1920, Output: 300, Reasoning: 192,
		Model: "gpt-4o-mini-2024-07-18", Tier: "standard", Known: true}},
	// platform.openai.com/docs/guides/audio: 117 - 100 = 17 and 60 - 44 = 16.
	{"chat-audio.json", Chat, 0, Usage{Input: 17, AudioInput: 100, Output: 16, AudioOutput: 44,
		Model: "gpt-4o-audio-preview-2024-10-01", Known: true}},
	// api-docs.deepseek.com/guides/kv_cache: 1250 = 1024 + 226. Text: 9.8, Compare.
	{"deepseek.json", Chat, 10, Usage{Input: 226, CacheRead: 1024, Output: 410, Reasoning: 380, Model: "deepseek-reasoner", Known: true}},
	// docs.x.ai/docs/guides/reasoning: 32 + 9 + 94 = 135, so 9 + 94 = 103 were
	// written; 32 - 6 = 26; 318319000 ticks of 1e-10 dollars are 0.0318319 dollars.
	{"xai.json", Chat, 57, Usage{Input: 26, CacheRead: 6, Output: 103, Reasoning: 94, Stated: 31_831_900_000, Model: "grok-3-mini-fast", Known: true}},
	// console.groq.com/docs/text-chat, as its SDKs' tests have it.
	{"groq.sse", Chat, 3, Usage{Input: 18, Output: 439, Model: "gemma2-9b-it", Known: true}},
	// docs.mistral.ai/api: usage in a last chunk that has choices.
	{"mistral.sse", Chat, 7, Usage{Input: 93, Output: 27, Model: "mistral-small-latest", Known: true}},
	// docs.perplexity.ai/getting-started/models/models/sonar-deep-research: what was
	// cited was read too: 33 + 20903; what was thought is beside the completion, whose
	// total has none of it: 7163 + 73395. It cost 0.409 dollars.
	{"perplexity.json", Chat, 9, Usage{Input: 20936, Output: 80558, Reasoning: 73395, WebSearches: 18, Stated: 409_000_000_000,
		Model: "sonar-deep-research", Known: true}},
	// openrouter.ai/docs/use-cases/usage-accounting: 10339 - 10318 - 11 = 10. With a
	// key of one's own, 0.00014125 is the fee, and 0.0000193 what the model cost.
	{"openrouter.sse", Chat, 2, Usage{Input: 10, CacheRead: 10318, CacheWrite5m: 11, Output: 60, Stated: 160_550_000,
		Model: "anthropic/claude-sonnet-4.5", Known: true}},
	// platform.openai.com/docs/api-reference/responses-streaming, and
	// .../guides/tools-web-search: of two calls one was a search. 328 - 128 = 200.
	{"responses.sse", Responses, 2, Usage{Input: 200, CacheRead: 128, Output: 52, Reasoning: 32, WebSearches: 1,
		Model: "gpt-4.1-2025-04-14", Tier: "standard", Known: true}},
	// platform.openai.com/docs/api-reference/embeddings
	{"embeddings.json", Embeddings, 0, Usage{Input: 8, Model: "text-embedding-ada-002", Known: true}},
	// platform.openai.com/docs/api-reference/images: two pictures.
	{"images.json", Images, 0, Usage{Input: 90, ImageInput: 80, Output: 4160, Images: 2, Known: true}},
	{"images.sse", Images, 0, Usage{Input: 50, ImageInput: 40, Output: 50, Images: 1, Known: true}},
	// platform.openai.com/docs/api-reference/audio: 14 - 10 = 4; billed seconds
	// before the file's own duration.
	{"transcription.json", Audio, 24, Usage{Input: 4, AudioInput: 10, Output: 101, Known: true}},
	{"whisper.json", Audio, 29, Usage{Seconds: 9, Known: true}},
	{"transcription.sse", Audio, 12, Usage{AudioInput: 14, Output: 45, Known: true}},
	// ai.google.dev/api/generate-content#UsageMetadata: cached 1024 of 1500, of the
	// other 476 tokens 256 - 56 = 200 are audio, which leaves 276; tools read 15 more:
	// 291. Output 40 + 150 thoughts.
	{"gemini.sse", Gemini, 15, Usage{Input: 291, CacheRead: 1024, AudioInput: 200, Output: 190, Reasoning: 150, WebSearches: 2,
		Model: "gemini-2.5-flash", Known: true}},
	// The same method without alt=sse answers with an array.
	{"gemini-array.json", Gemini, 9, Usage{Input: 9, Output: 13, Model: "gemini-2.0-flash", Known: true}},
	// docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html: the
	// parts are disjoint, as 125 + 60 + 1000 + 300 = 1485.
	{"converse.json", Converse, 14, Usage{Input: 125, CacheRead: 1000, CacheWrite5m: 100, CacheWrite1h: 200, Output: 60, Tier: "flex", Known: true}},
	{"converse.events", Converse, 11, Usage{Input: 21, Output: 10, Known: true}},
	// docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html
	{"bedrock.events", BedrockRaw, 5, Usage{Input: 11, CacheRead: 2048, Output: 27, Model: "claude-haiku-4-5-20251001", Known: true}},
	// .../model-parameters-meta.html
	{"bedrock-llama.events", BedrockRaw, 2, Usage{Input: 19, Output: 5, Known: true}},
	// docs.cohere.com/v2/reference/chat, chat-stream, rerank: what is billed counts.
	{"cohere.json", Cohere, 14, Usage{Input: 5, Output: 418, Known: true}},
	{"cohere.sse", Cohere, 3, Usage{Input: 3, Output: 71, Known: true}},
	{"rerank.json", Cohere, 0, Usage{SearchUnits: 1, Known: true}},
	// developers.cloudflare.com/workers-ai
	{"workers-ai.sse", WorkersAI, 5, Usage{Input: 30, Output: 12, Known: true}},
	{"workers-ai.json", WorkersAI, 5, Usage{Input: 26, Output: 7, Known: true}},
	// huggingface.github.io/text-generation-inference: the two tokens of prefill are
	// the prompt. Text: ` a` and `</s>`.
	{"tgi.sse", HuggingFace, 6, Usage{Input: 17, Output: 2, Known: true}},
	{"tgi.json", HuggingFace, 0, Usage{Input: 2, Output: 1, Known: true}},
	// replicate.com/docs/reference/http#predictions.get and .../docs/reference/streaming.
	// The stream says nothing of use; its text has 16 + 10 bytes.
	{"replicate.json", Replicate, 5, Usage{Input: 15, Output: 42, Seconds: 1.25, Model: "meta/meta-llama-3-70b-instruct", Known: true}},
	{"replicate.sse", Replicate, 26, Usage{}},
	// github.com/ollama/ollama/blob/main/docs/api.md: 26 - 20 = 6.
	{"ollama.ndjson", Ollama, 3, Usage{Input: 6, CacheRead: 20, Output: 282, Model: "llama3.2", Known: true}},
}

// load is a fixture's bytes and framing. Files of events are made binary.
func load(t testing.TB, file string, k Kind) ([]byte, Framing) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	switch filepath.Ext(file) {
	case ".sse":
		return b, SSE
	case ".ndjson":
		return b, NDJSON
	case ".events":
		return events(string(b), k == BedrockRaw), EventStream
	}
	return b, JSON
}

// events encodes lines of an event's type and its payload as an event stream.
func events(lines string, wrapped bool) []byte {
	var out []byte
	for line := range strings.Lines(lines) {
		kind, body, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if wrapped {
			b, _ := json.Marshal(map[string]string{"bytes": base64.StdEncoding.EncodeToString([]byte(body)), "p": "abcdef"})
			body = string(b)
		}
		out = append(out, message(body, ":event-type", kind, ":content-type", "application/json", ":message-type", "event")...)
	}
	return out
}

func message(body string, header ...string) []byte {
	var h []byte
	for i := 0; i < len(header); i += 2 {
		h = append(h, byte(len(header[i])))
		h = append(h, header[i]...)
		h = append(h, 7)
		h = binary.BigEndian.AppendUint16(h, uint16(len(header[i+1])))
		h = append(h, header[i+1]...)
	}
	m := binary.BigEndian.AppendUint32(nil, uint32(16+len(h)+len(body)))
	m = binary.BigEndian.AppendUint32(m, uint32(len(h)))
	m = binary.BigEndian.AppendUint32(m, crc32.ChecksumIEEE(m))
	m = append(append(m, h...), body...)
	return binary.BigEndian.AppendUint32(m, crc32.ChecksumIEEE(m))
}

// pieces feeds b to a new meter in pieces whose lengths next says.
func pieces(k Kind, f Framing, b []byte, next func() int) *Meter {
	m := NewMeter(k, f)
	for len(b) > 0 {
		n := min(max(1, next()), len(b))
		p := bytes.Clone(b[:n])
		m.Write(p)
		clear(p) // the meter keeps nothing of it
		b = b[n:]
	}
	return m
}

func TestFixtures(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, tt := range fixtures {
		t.Run(tt.file, func(t *testing.T) {
			b, f := load(t, tt.file, tt.kind)
			check := func(how string, m *Meter) {
				t.Helper()
				if got := m.Usage(); got != tt.want {
					t.Errorf("%s:\n got %+v\nwant %+v", how, got, tt.want)
				}
				if m.text != tt.text {
					t.Errorf("%s: %d bytes of text, not %d", how, m.text, tt.text)
				}
				if !m.Complete() || m.Gap() != "" {
					t.Errorf("%s: complete %v, gap %q", how, m.Complete(), m.Gap())
				}
			}
			check("whole", pieces(tt.kind, f, b, func() int { return len(b) }))
			check("byte by byte", pieces(tt.kind, f, b, func() int { return 1 }))
			for range 30 {
				check("at random", pieces(tt.kind, f, b, func() int { return r.IntN(90) }))
			}
			if f == SSE {
				crlf := bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
				m := pieces(tt.kind, f, crlf, func() int { return r.IntN(90) })
				if m.Usage() != tt.want || !m.Complete() {
					t.Errorf("with CRLF: %+v", m.Usage())
				}
			}
			if m := pieces(tt.kind, f, b[:len(b)/2], func() int { return len(b) }); m.Complete() {
				t.Error("half of it is complete")
			}
		})
	}
}

// Two responses of one WebSocket. The first read 132, of which 64 from the cache,
// 4 of those audio: audio 13 - 4 = 9, text 132 - 64 - 9 = 59. It wrote 121, 91 of it
// audio: 30. The second read 20 and wrote 10: 59 + 20 = 79 and 30 + 10 = 40.
func TestRealtimeAddsUpResponses(t *testing.T) {
	b, _ := load(t, "realtime.ndjson", Realtime)
	m := NewMeter(Realtime, Unframed)
	for line := range bytes.Lines(b) {
		m.Message(line)
	}
	m.Message([]byte(`{"type":"response.done","response":{"usage":{"input_tokens":5000,`))
	m.Message([]byte(`{"type":"rate_limits.updated","response":{"usage":{"input_tokens":5000}}}`))
	want := Usage{Input: 79, CacheRead: 64, AudioInput: 9, Output: 40, AudioOutput: 91, Model: "gpt-realtime-2025-08-28", Known: true}
	if got := m.Usage(); got != want || !m.Complete() {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
