package translate

import (
	"encoding/json"
	"strings"
	"testing"
)

var directions = [][2]API{{Anthropic, Chat}, {Anthropic, Gemini}, {Chat, Anthropic}, {Chat, Gemini}, {Gemini, Anthropic}, {Gemini, Chat}}

// Whatever a provider answers, the client gets an error or a document of its API,
// which can be translated again.
func FuzzAnswer(f *testing.F) {
	for _, test := range wholeTests {
		f.Add([]byte(test.doc))
	}
	f.Add([]byte(`{"choices":[{"message":{"content":"\ud800","tool_calls":[{"index":99999999,"function":{"name":"n","arguments":"{\"a\":1e999}"}}]},"finish_reason":"stop"}]}`))
	f.Add([]byte("{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\xff\xfe\"}]},\"finishReason\":\"STOP\",\"finishReason\":null}]}"))
	f.Add([]byte(`{"type":"message","content":[{"type":"text","text":null},{"type":"tool_use","name":"n","input":{"a":{"a":1},"a":2}}],"stop_reason":"tool_use"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, d := range directions {
			out, _, err := Answer(doc, d[0], d[1], answerOptions)
			if err != nil {
				continue
			}
			if !json.Valid(out) {
				t.Fatalf("%s to %s is no JSON: %s", d[0], d[1], out)
			}
			if _, _, err := Answer(out, d[1], d[0], answerOptions); err != nil {
				t.Fatalf("%s to %s: %v in %s", d[0], d[1], err, out)
			}
		}
	})
}

// Whatever a provider streams, how it is cut changes nothing, and what is complete
// for the client is a stream of its API.
func FuzzStream(f *testing.F) {
	for _, test := range streamTests {
		f.Add([]byte(test.in), 100)
		f.Add([]byte(test.in[:len(test.in)/2]), 7)
	}
	f.Add([]byte(chatCalls("tool_calls", call(`"index":0,"id":"a","function":{"name":"f","arguments":"{"}`), call(`"id":"b","function":{"name":"g"}`), `{"content":"x"}`)), 50)
	f.Add([]byte("{\n\"error\":{\"message\":\"x\"}}"), 2)
	f.Add([]byte(": c\r\rdata:[DONE]\rdata\revent: error\n\ndata: {}"), 2)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		cut = min(max(cut, 0), len(in))
		for _, d := range directions {
			whole, _, err := run(string(in), d[0], d[1])
			pieces, _, again := run(string(in), d[0], d[1], cut)
			if whole != pieces || (err == nil) != (again == nil) {
				t.Fatalf("%s to %s cut at %d:\n%q, %v\n%q, %v", d[0], d[1], cut, whole, err, pieces, again)
			}
			if err != nil {
				continue
			}
			if _, _, err := run(whole, d[1], d[0]); err != nil && !strings.Contains(err.Error(), "arguments of") {
				t.Fatalf("%s to %s: %v in %s", d[0], d[1], err, whole)
			}
		}
	})
}

// BenchmarkStreamDelta is what a token costs.
func BenchmarkStreamDelta(b *testing.B) {
	starts := map[API]string{
		Anthropic: named(`{"type":"message_start","message":{"id":"m"}}`, `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`),
		Chat:      events(`{"id":"c","choices":[{"index":0,"delta":{"role":"assistant"}}]}`),
		Gemini:    events(`{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"responseId":"r"}`),
	}
	tokens := map[API]string{
		Anthropic: named(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" token"}}`),
		Chat:      events(`{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1677652288,"model":"gpt-5.5","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}`),
		Gemini:    events(`{"candidates":[{"content":{"parts":[{"text":" token"}],"role":"model"},"index":0}],"modelVersion":"gemini-3.1-pro","responseId":"r"}`),
	}
	for _, d := range directions {
		b.Run(string(d[0]+"-"+d[1]), func(b *testing.B) {
			s := NewStream(d[0], d[1], answerOptions)
			if _, err := s.Write([]byte(starts[d[0]])); err != nil {
				b.Fatal(err)
			}
			token := []byte(tokens[d[0]])
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Write(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
