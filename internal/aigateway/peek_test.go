package aigateway

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestPeekModel(t *testing.T) {
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
		if got := peekModel([]byte(tt.doc)); got != tt.want {
			t.Errorf("%.60q: got %q, want %q", tt.doc, got, tt.want)
		}
	}
}

// For every document that is valid JSON, the first top-level "model" is found
// as a full decoder would find it; nothing makes it panic.
func FuzzPeekModel(f *testing.F) {
	f.Add([]byte(`{"model":"claude","messages":[{"content":"x\"y\\"}],"stream":true}`))
	f.Add([]byte(`{"a":[1,{"b":"]}"},[]],"c":-1e5,"d":false,"model":"m"}`))
	f.Add([]byte(`{"":"","model":""}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		got := peekModel(doc)
		want, ok := decodeModel(doc)
		if ok && got != want {
			t.Fatalf("%q: got %q, want %q", doc, got, want)
		}
	})
}

// decodeModel does by tokens what peekModel does by eye. It declines documents
// whose keys are written with escapes, which peekModel does not undo.
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
