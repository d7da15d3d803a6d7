package translate

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
)

// Whatever comes, there is either an error and nothing else, or a document that the
// target's own reader takes and that is the same each time.
func FuzzRequest(f *testing.F) {
	for _, agent := range agents {
		f.Add([]byte(agent.doc), uint8(0), agent.model)
		f.Add([]byte(agent.doc), uint8(5), "claude-opus-4-7")
	}
	for _, doc := range []string{
		`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":"data:,%"}]}]}`,
		`{"messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a.txt","file_data":"YQ"}}]}],"tools":[{}]}`,
		`{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"","content":[{"type":"document","source":{"type":"text","data":"x"}}]}]}]}`,
		`{"contents":[{"role":"model","parts":[{"function_call":{"name":"f","args":{"a_b":1}}}]},{"parts":[{"function_response":{"response":{"error":{}}}}]}],"tools":[{"function_declarations":[{"name":"f","parameters":{"type":"OBJECT","nullable":true,"properties":{"a":null},"items":[],"minItems":"x"}}]}]}`,
		`{"contents":[{"parts":[{"inlineData":{"data":"-_=","mimeType":"text/plain"}}]}],"generationConfig":{"seed":1e99,"thinkingConfig":{"thinkingBudget":-1}}}`,
	} {
		f.Add([]byte(doc), uint8(3), "m")
	}
	directions := [][2]API{{Anthropic, Chat}, {Anthropic, Gemini}, {Chat, Anthropic}, {Chat, Gemini}, {Gemini, Anthropic}, {Gemini, Chat}}
	f.Fuzz(func(t *testing.T, doc []byte, direction uint8, model string) {
		d := directions[int(direction)%len(directions)]
		o := RequestOptions{Model: model}
		out, lost, err := Request(doc, d[0], d[1], o)
		if err != nil {
			if out != nil || lost != nil {
				t.Fatal("there is something besides the error")
			}
			return
		}
		if !json.Valid(out) {
			t.Fatalf("no JSON: %s", out)
		}
		again, _, err := Request(doc, d[0], d[1], o)
		if err != nil || string(again) != string(out) {
			t.Fatalf("not the same twice: %v\n%s\n%s", err, out, again)
		}
		if err := readRequest(&conversation{}, out, d[1]); err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, out)
		}
	})
}

// A schema that is taken apart and put together again is the same value.
func FuzzSchema(f *testing.F) {
	f.Add([]byte(`{"b":[1e400,{"a":"<&>\u2028"}],"a":null}`))
	f.Add([]byte(`{"type":"OBJECT","properties":{"x":{"type":"STRING","nullable":true}}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return
		}
		out, err := jsonSchema(raw)
		if err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		if !json.Valid(out) {
			t.Fatalf("no JSON: %s", out)
		}
		again, err := jsonSchema(out)
		if err != nil || string(again) != string(out) {
			t.Fatalf("JSON Schema became something else: %v\n%s\n%s", err, out, again)
		}
	})
}

// An agent's call late in a long conversation, with an image of a megabyte.
func BenchmarkRequest(b *testing.B) {
	turn := `{"role":"assistant","content":[{"type":"tool_use","id":"t%","name":"look","input":{"path":"a/b/c"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t%","content":"` + strings.Repeat("some text ", 200) + `"}]},`
	var doc strings.Builder
	doc.WriteString(`{"max_tokens":4096,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + strings.Repeat("A", 1<<20) + `"}}]},`)
	for i := range 200 {
		doc.WriteString(strings.ReplaceAll(turn, "%", strconv.Itoa(i)))
	}
	doc.WriteString(`{"role":"assistant","content":"So"}]}`)
	for _, to := range []API{Chat, Gemini} {
		b.Run(string(to), func(b *testing.B) {
			b.SetBytes(int64(doc.Len()))
			for b.Loop() {
				if _, _, err := Request([]byte(doc.String()), Anthropic, to, RequestOptions{Model: "m"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
