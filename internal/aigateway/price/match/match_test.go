package match

import (
	"slices"
	"strings"
	"testing"
)

func TestFits(t *testing.T) {
	for _, c := range []struct {
		rule, name string
		about      int
		ok         bool
	}{
		{`{"equals":"GPT-5"}`, "gpt-5", 5, true},
		{`{"equals":"gpt-5"}`, "gpt-5-mini", 5, false},
		{`{"starts_with":"Claude-"}`, "claude-2", 7, true},
		{`{"ends_with":":free"}`, "a/b:free", 5, true},
		{`{"contains":"sonnet"}`, "x-sonnet-y", 6, true},
		{`{"regex":"^claude-opus-5-\\d{8}$"}`, "claude-opus-5-20260901", 22, true},
		{`{"regex":"^claude-opus-5-\\d{8}$"}`, "claude-opus-5-5", 15, false},
		{`{"or":[{"equals":"a"},{"starts_with":"ab"},{"contains":"b"}]}`, "abc", 2, true}, // the longest that fits
		{`{"or":[]}`, "abc", 0, false},
		{`{"and":[{"starts_with":"gemini"},{"not":{"regex":"-tts(?:$|-)"}}]}`, "gemini-2.5-pro", 6, true},
		{`{"and":[{"starts_with":"gemini"},{"not":{"regex":"-tts(?:$|-)"}}]}`, "gemini-2.5-pro-tts", 0, false},
		{`{"and":[]}`, "abc", 0, false},
	} {
		r, err := Parse([]byte(c.rule))
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
			continue
		}
		if about, ok := r.Fits(c.name); ok != c.ok || ok && about != c.about {
			t.Errorf("%s fits %s: %d %v, want %d %v", c.rule, c.name, about, ok, c.about, c.ok)
		}
	}
	if _, ok := (Rule{}).Fits("abc"); ok {
		t.Error("the zero rule fits")
	}
}

func TestNames(t *testing.T) {
	r, err := Parse([]byte(`{"or":[{"equals":"A"},{"starts_with":"b"},{"or":[{"equals":"c"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Names(); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("names %v", got)
	}
}

func TestRefused(t *testing.T) {
	for _, s := range []string{
		``, `[]`, `{}`, `{"equals":1}`, `{"equals":""}`, `{"equals":"a","contains":"b"}`,
		`{"like":"a"}`, `{"regex":"("}`, `{"or":{}}`, `{"or":[1]}`, `{"not":"a"}`,
		strings.Repeat(`{"not":`, 12) + `{"equals":"a"}` + strings.Repeat(`}`, 12),
	} {
		if r, err := Parse([]byte(s)); err == nil {
			t.Errorf("%s is taken as %v", s, r)
		}
	}
}
