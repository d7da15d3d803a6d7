package translate

import (
	"strings"
	"testing"
)

func TestSigned(t *testing.T) {
	const (
		ours   = `{"type":"thinking","thinking":"of mine","signature":""}`
		theirs = `{"type":"thinking","thinking":"of theirs","signature":"EqQB"}`
		text   = `{"type":"text","text":"so: \"signature\":\"\""}`
	)
	say := func(blocks ...string) string {
		return `{"model":"c", "messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[` + strings.Join(blocks, ",") + `]},{"role":"user","content":[` + text + `]}],"max_tokens": 1e400}`
	}
	for name, tt := range map[string][2]string{
		"nothing of the kind":  {say(theirs, text), say(theirs, text)},
		"one":                  {say(ours, text), say(text)},
		"between others":       {say(theirs, ours, text), say(theirs, text)},
		"nothing else":         {say(ours), say(`{"type":"text","text":"..."}`)},
		"in what a user wrote": {`{"messages":[{"role":"user","content":[` + ours + `]}]}`, `{"messages":[{"role":"user","content":[` + ours + `]}]}`},
		"no JSON":              {`{"messages":"signature":""`, `{"messages":"signature":""`},
		"of another shape":     {`{"messages":[{"role":"assistant","content":"x"}],"signature":""}`, `{"messages":[{"role":"assistant","content":"x"}],"signature":""}`},
	} {
		if got := string(Signed([]byte(tt[0]))); got != tt[1] {
			t.Errorf("%s: %s\nwant %s", name, got, tt[1])
		}
	}
}

// FuzzSigned: whatever comes, what is no such block is not touched.
func FuzzSigned(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":""},{"type":"text","text":"y"}]}]}`))
	f.Add([]byte(`{"messages":[{"role":"assistant","content":[{"signature":""}]}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		out := Signed(doc)
		if again := Signed(out); string(again) != string(out) {
			t.Errorf("%q, and again %q", out, again)
		}
	})
}
