package aigateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
	"github.com/moltworker/moltworker/test/fakemodel"
)

// speaker is an API as a client speaks it, and as a route names a model of it.
type speaker struct {
	api    string // as the fake calls it
	model  string // "provider/model"
	path   string // with a place for Google's method
	first  string // a body that asks, with a place for whether as a stream
	second string // one that goes on after a tool was called, with places for the call's ID and its answer
	end    string // of a stream
}

var speakers = []speaker{
	{
		fakemodel.Anthropic, "anthropic/claude-x", "/anthropic/v1/messages",
		`{"model":"claude-x","max_tokens":100,"stream":%v,"tools":[{"name":"look","input_schema":{"type":"object","properties":{"at":{"type":"string"}}}}],"messages":[{"role":"user","content":"look at it"}]}`,
		`{"model":"claude-x","max_tokens":100,"stream":%v,"tools":[{"name":"look","input_schema":{"type":"object","properties":{"at":{"type":"string"}}}}],"messages":[{"role":"user","content":"look at it"},
			{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""},{"type":"tool_use","id":"toolu_1","name":"look","input":{"at":"it"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"it is red"}]}]}`,
		"event: message_stop",
	},
	{
		fakemodel.OpenAI, "openai/gpt-x", "/openai/v1/chat/completions",
		`{"model":"gpt-x","stream":%v,"tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object","properties":{"at":{"type":"string"}}}}}],"messages":[{"role":"user","content":"look at it"}]}`,
		`{"model":"gpt-x","stream":%v,"tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object","properties":{"at":{"type":"string"}}}}}],"messages":[{"role":"user","content":"look at it"},
			{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"look","arguments":"{\"at\":\"it\"}"}}]},{"role":"tool","tool_call_id":"call_1","content":"it is red"}]}`,
		"data: [DONE]",
	},
	{
		fakemodel.Gemini, "google-ai-studio/gemini-3-pro-preview", "/google-ai-studio/v1beta/models/gemini-3-pro-preview:%s",
		`{"tools":[{"functionDeclarations":[{"name":"look","parametersJsonSchema":{"type":"object","properties":{"at":{"type":"string"}}}}]}],"contents":[{"role":"user","parts":[{"text":"look at it"}]}]}`,
		`{"tools":[{"functionDeclarations":[{"name":"look","parametersJsonSchema":{"type":"object","properties":{"at":{"type":"string"}}}}]}],"contents":[{"role":"user","parts":[{"text":"look at it"}]},
			{"role":"model","parts":[{"functionCall":{"name":"look","args":{"at":"it"},"id":"c1"},"thoughtSignature":"AQID"}]},{"role":"user","parts":[{"functionResponse":{"name":"look","id":"c1","response":{"output":"it is red"}}}]}]}`,
		`"finishReason":"STOP"`,
	},
}

func (s speaker) request(url, body string, stream bool) *http.Request {
	path := s.path
	if s.api == fakemodel.Gemini {
		method := "generateContent"
		if stream {
			method = "streamGenerateContent?alt=sse"
		}
		path = fmt.Sprintf(path, method)
	} else {
		body = fmt.Sprintf(body, stream)
	}
	req, err := http.NewRequest(http.MethodPost, url+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if s.api == fakemodel.Anthropic {
		req.Header.Set("Anthropic-Version", anthropicVersion)
	}
	return req
}

// TestEveryAPIAcross: a client of each of the three APIs is answered by a model of each
// of the others, whole and as a stream, before and after a tool was called. The fakes
// are as strict as the providers.
func TestEveryAPIAcross(t *testing.T) {
	for _, from := range speakers {
		for _, to := range speakers {
			if from.api == to.api {
				continue
			}
			t.Run(from.api+" by "+to.api, func(t *testing.T) {
				b := newBooks(t)
				answer := fakemodel.Reply{Text: "it is <red> & \u00e9", Usage: fakemodel.Usage{In: 90, Out: 7}}
				tool := fakemodel.Reply{Tool: "look", Input: `{"at":"it"}`, Usage: fakemodel.Usage{In: 50, Out: 9}}
				r := newRig(t, func(c *fakemodel.Call) fakemodel.Reply {
					switch {
					case c.API != to.api:
						return fakemodel.Reply{Status: 503}
					case strings.Contains(string(c.Body), "it is red"):
						return answer
					}
					return tool
				}, b.use, routed(t, fmt.Sprintf(`{"routes":[{"name":"r","when":{"models":[%q]},"steps":[{},{"model":%q}]}]}`, from.model, to.model)))
				r.secrets.put("GEMINI_BASE_URL", r.model.URL)
				r.secrets.put("GEMINI_API_KEY", "AIzaSyTheRealKeyOfGoogle-0123456789abcd")
				for i, body := range []string{from.first, from.second} {
					for _, stream := range []bool{false, true} {
						got := r.do(from.request(r.url, body, stream))
						if got.StatusCode != 200 || got.end != nil {
							t.Fatalf("turn %d, stream %v: %d %v %q\nsent %s\nrefused: %s", i, stream, got.StatusCode, got.end, got.body, r.lastCall().Body, r.lastCall().Problem)
						}
						if stream != strings.HasPrefix(got.Header.Get("Content-Type"), "text/event-stream") || stream && !strings.Contains(got.body, from.end) {
							t.Errorf("turn %d, stream %v: %v %q", i, stream, got.Header, got.body)
						}
						want := []string{`look`, `it`}
						if i == 1 {
							want = []string{"it is <red>", "& é"}
						}
						plain := strings.ReplaceAll(joined(got.body), `\"`, `"`)
						for _, w := range want {
							if !strings.Contains(plain, w) {
								t.Errorf("turn %d, stream %v: %q is not in %q", i, stream, w, got.body)
							}
						}
						counted(t, from, got, stream, []usage.Usage{{Input: 50, Output: 9}, {Input: 90, Output: 7}}[i])
					}
				}
				for _, row := range b.recorded(4) {
					if row.Step != 1 || row.Status != 200 || row.Error != "" || !row.Usage.Known || row.Usage.Estimated {
						t.Errorf("%+v", row)
					}
				}
			})
		}
	}
}

// joined is an answer with the pieces of its text put together.
func joined(body string) string {
	var all strings.Builder
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, name := range []string{"delta", "message", "choices", "content", "candidates", "parts", "functionCall", "tool_calls", "function", "content_block"} {
				walk(v[name])
			}
			for _, name := range []string{"text", "content", "name", "arguments", "partial_json"} {
				if s, ok := v[name].(string); ok {
					all.WriteString(s)
				}
			}
			for _, name := range []string{"input", "args"} {
				if v[name] != nil {
					text, _ := json.Marshal(v[name])
					all.Write(text)
				}
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	for line := range strings.Lines(body) {
		var v any
		if json.Unmarshal([]byte(strings.TrimPrefix(strings.TrimSpace(line), "data: ")), &v) == nil {
			walk(v)
		}
	}
	return all.String()
}

// counted says whether an answer tells its client what it consumed, in the client's
// own way of counting. Chat Completions in a stream do so only where that is asked.
func counted(t *testing.T, s speaker, got answer, stream bool, want usage.Usage) {
	t.Helper()
	if stream && s.api == fakemodel.OpenAI {
		return
	}
	kind := map[string]usage.Kind{fakemodel.Anthropic: usage.Anthropic, fakemodel.OpenAI: usage.Chat, fakemodel.Gemini: usage.Gemini}[s.api]
	m := usage.NewMeter(kind, usage.FramingOf(got.Header.Get("Content-Type")))
	m.Write([]byte(got.body))
	if u := m.Usage(); !u.Known || u.Input != want.Input || u.Output != want.Output || !m.Complete() {
		t.Errorf("stream %v: the client counts %+v, want %d and %d: %q", stream, u, want.Input, want.Output, got.body)
	}
}

// TestThinkingOfAnotherModelDoesNotComeBack: what another model thought has no
// signature, and Anthropic refuses it with the client's next turn; so it stays behind,
// and all else goes as it came.
func TestThinkingOfAnotherModelDoesNotComeBack(t *testing.T) {
	b := newBooks(t)
	r := newRig(t, says("on we go"), b.use)
	s := speakers[0]
	if got := r.do(s.request(r.url, s.second, true)); got.StatusCode != 200 {
		t.Fatalf("%d %q", got.StatusCode, got.body)
	}
	want := strings.Replace(fmt.Sprintf(s.second, true), `{"type":"thinking","thinking":"hm","signature":""},`, "", 1)
	if sent := string(r.lastCall().Body); sent != want {
		t.Errorf("sent %s\nwant %s", sent, want)
	}
	if notes := strings.Join(b.recorded(1)[0].Guards, "; "); !strings.Contains(notes, "thinking of another model") {
		t.Errorf("notes %q", notes)
	}
}
