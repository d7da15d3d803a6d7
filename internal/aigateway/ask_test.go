package aigateway

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestAskedModel(t *testing.T) {
	tests := []struct{ doc, want string }{
		{`{"model":"claude-x","messages":[]}`, "claude-x"},
		{` { "stream" : true , "model" : "m" } `, "m"},
		{`{"messages":[{"role":"user","content":"\"model\":\"no\" {[ \\"}],"n":-1.5e3,"z":null,"model":"yes"}`, "yes"},
		{`{"metadata":{"model":"inner"},"model":"outer"}`, "outer"},
		{`{"metadata":{"model":"inner"}}`, ""},
		{`{"model":"caf\u00e9\n"}`, `"caf\u00e9\n"`},
		{`{"model":7}`, ""},
		{`{"model":"open`, ""},
		{`{"a":[[[}`, ""},
		{`{"a" "model":"x"}`, ""},
		{`["model","x"]`, ""},
		{``, ""},
		{`{}`, ""},
		{`{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,"model":"x"}`, ""},
		{`{"model":"` + strings.Repeat("m", 500) + `"}`, strings.Repeat("m", maxModelName)},
	}
	for _, tt := range tests {
		if got := readAsk([]byte(tt.doc)).model; got != tt.want {
			t.Errorf("%.60q: got %q, want %q", tt.doc, got, tt.want)
		}
	}
}

// For every document that is valid JSON, the first top-level "model" is found
// as a full decoder would find it; nothing makes it panic.
func FuzzAskedModel(f *testing.F) {
	f.Add([]byte(`{"model":"claude","messages":[{"content":"x\"y\\"}],"stream":true}`))
	f.Add([]byte(`{"a":[1,{"b":"]}"},[]],"c":-1e5,"d":false,"model":"m"}`))
	f.Add([]byte(`{"":"","model":""}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		got := readAsk(doc).model
		want, ok := decodeModel(doc)
		if ok && got != want {
			t.Fatalf("%q: got %q, want %q", doc, got, want)
		}
	})
}

// decodeModel does by tokens what readAsk does by eye. It declines documents
// whose keys are written with escapes, which readAsk does not undo.
func decodeModel(doc []byte) (string, bool) {
	if !json.Valid(doc) || bytes.Contains(doc, []byte(`\`)) || bytes.Count(doc, []byte("["))+bytes.Count(doc, []byte("{")) > maxDepth {
		return "", false
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	if tok, err := d.Token(); err != nil || tok != json.Delim('{') {
		return "", err == nil
	}
	for d.More() {
		key, err := d.Token()
		var raw json.RawMessage
		if err != nil || d.Decode(&raw) != nil {
			return "", false
		}
		if key == "model" {
			return modelName(raw), true
		}
	}
	return "", true
}

func TestWhatIsAsked(t *testing.T) {
	long := strings.Repeat("é", 400)
	for name, tt := range map[string]struct {
		doc  string
		want ask
	}{
		"Anthropic, with a tool's answer last": {`{"model":"m","max_tokens":8192,"stream":true,"messages":[
			{"role":"user","content":"first"},{"role":"assistant","content":[{"type":"text","text":"no"}]},
			{"role":"user","content":[{"type":"text","text":"second \u00e9"}]},{"role":"user","content":[{"type":"text","text":"third"},{"type":"text","text":"more"}]},
			{"role":"assistant","content":[{"type":"tool_use","id":"1","name":"x","input":{}}]},
			{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"text","text":"done"}]}]}]}`,
			ask{model: "m", maxOutput: 8192, stream: true, prompt: Prompt{"first", "third", "second é"}}},
		"OpenAI chat": {`{"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"hello"}],"model":"gpt","max_completion_tokens":10,"n":3}`,
			ask{model: "gpt", maxOutput: 10, answers: 3, prompt: Prompt{First: "hello", Last: "hello"}}},
		"OpenAI responses, one text":    {`{"model":"gpt","input":"hello","max_output_tokens":7}`, ask{model: "gpt", maxOutput: 7, prompt: Prompt{First: "hello", Last: "hello"}}},
		"OpenAI responses, items":       {`{"model":"gpt","input":[{"role":"user","content":[{"type":"input_text","text":"a"}]},{"type":"function_call_output","output":"b"}]}`, ask{model: "gpt", prompt: Prompt{First: "a", Last: "a"}}},
		"Google":                        {`{"contents":[{"role":"user","parts":[{"text":"a"}]}],"generationConfig":{"maxOutputTokens":99}}`, ask{maxOutput: 99, prompt: Prompt{First: "a", Last: "a"}}},
		"Amazon":                        {`{"messages":[{"role":"user","content":[{"text":"a"}]}],"inferenceConfig":{"maxTokens":5}}`, ask{maxOutput: 5, prompt: Prompt{First: "a", Last: "a"}}},
		"a long text is cut":            {`{"messages":[{"role":"user","content":"` + long + `"}]}`, ask{prompt: Prompt{First: long[:510], Last: long[:510]}}},
		"no sensible numbers":           {`{"max_tokens":-5,"max_output_tokens":1e3,"max_completion_tokens":"9","n":99999999999999999999999}`, ask{}},
		"the largest of several counts": {`{"max_tokens":5,"max_completion_tokens":9}`, ask{maxOutput: 9}},
		"no JSON":                       {`hello`, ask{}},
		"cut off":                       {`{"model":"m","messages":[{"role":"user","content":"a`, ask{model: "m"}},
	} {
		if got := readAsk([]byte(tt.doc)); got != tt.want {
			t.Errorf("%s: %+v\nwant %+v", name, got, tt.want)
		}
	}
}
