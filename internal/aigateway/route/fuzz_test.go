package route

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// like is what a pattern means, letter by letter: row[j] says whether what was read
// of the pattern fits the first j bytes of the text.
func like(pattern, text string) bool {
	row := make([]bool, len(text)+1)
	row[0] = true
	for _, c := range []byte(pattern) {
		next := make([]bool, len(text)+1)
		for j := range next {
			if c == '*' {
				next[j] = row[j] || j > 0 && next[j-1]
			} else {
				next[j] = j > 0 && row[j-1] && text[j-1] == c
			}
		}
		row = next
	}
	return row[len(text)]
}

var pairs = [][2]string{
	{"", ""}, {"", "a"}, {"*", ""}, {"*", "a/b"}, {"**", "x"}, {"a*", "a"}, {"a*", "ba"}, {"*a", "ba"}, {"*a", "ab"},
	{"a*a", "a"}, {"a*a", "aa"}, {"ab*ba", "aba"}, {"*ab*", "xxabyy"}, {"*ab*ab*", "ab"}, {"*ab*ab*", "abab"}, {"a*b*c", "abcbc"},
	{"a*bc*bc", "abc"}, {"*aab*", "aaab"}, {"?", "x"}, {"[a]", "a"}, {`\*`, "*"}, {`\*`, `\x`}, {"a*é", "aé"}, {"*\xa9", "é"},
	{"anthropic/*", "anthropic/claude/x"}, {"*/claude-*-5", "anthropic/claude-sonnet-5"}, {"*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaac"},
}

func TestPatterns(t *testing.T) {
	for _, c := range pairs {
		if p := compile(c[0]); p.matches(c[1]) != like(c[0], c[1]) {
			t.Errorf("%q on %q: %v", c[0], c[1], p.matches(c[1]))
		}
	}
	// And by hand, as the reference is code too.
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"ab*ba", "aba", false}, // the b cannot be both
		{"ab*ba", "abba", true},
		{"*ab*ab*", "xabyabz", true},
		{"a*b*c", "acb", false},
		{"*", "", true},
		{"?", "x", false},
	} {
		if p := compile(c.pattern); p.matches(c.text) != c.want || like(c.pattern, c.text) != c.want {
			t.Errorf("%q on %q: %v, reference %v", c.pattern, c.text, p.matches(c.text), like(c.pattern, c.text))
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, c := range pairs {
		f.Add(c[0], c[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > maxPattern || len(text) > 1000 {
			return
		}
		if p := compile(pattern); p.matches(text) != like(pattern, text) {
			t.Errorf("%q on %q: %v", pattern, text, p.matches(text))
		}
	})
}

// plainFile is a file that is right, as encoding/json reads it.
type plainFile struct {
	Routes []struct {
		Name string
		When *struct {
			Agents, Models, Triggers *[]string
			Metadata                 map[string][]string
		}
		Steps []struct {
			Model *string
			Split []struct{ Model *string }
		}
	}
}

func anyLike(patterns *[]string, text string) bool {
	return patterns == nil || slices.ContainsFunc(*patterns, func(p string) bool { return like(p, text) })
}

// find goes through the routes one by one.
func (f *plainFile) find(c Call) string {
	for _, r := range f.Routes {
		if r.When == nil || !anyLike(r.When.Agents, c.Agent) || !anyLike(r.When.Models, c.Model) || !anyLike(r.When.Triggers, c.Trigger) {
			continue
		}
		holds := true
		for name, patterns := range r.When.Metadata {
			value, ok := c.Metadata[name]
			holds = holds && ok && anyLike(&patterns, value)
		}
		if holds {
			return r.Name
		}
	}
	return ""
}

func FuzzParse(f *testing.F) {
	for _, doc := range []string{house, steps(okStep), split("a", "call", 1, 2), when(`{"metadata": {"a": ["*x*"]}, "agents": ["a*", "b"]}`),
		`{"routes": []}`, `{"routes": [{"name": "\n", "x": [[[{}]]]}]}`, `{"routes": [{"name": "a", "Name": "b"}]}`, `{`, "\xff", "null",
		`{"routes": [{"name": "a", "when": {"agents": ["work", "*"]}, "steps": [{"split": [{"weight": 1}]}, {"on": ["any"]}]}]}`} {
		f.Add([]byte(doc), "work", "user", "anthropic/claude-sonnet-5-5", "plan", "paid")
		f.Add([]byte(doc), "@b", "", "a/b", "a", "1")
	}
	f.Fuzz(func(t *testing.T, doc []byte, agent, trigger, model, name, value string) {
		if len(agent)+len(trigger)+len(model)+len(value) > 1000 {
			return
		}
		table, err := Parse(doc)
		if err != nil {
			checkErrors(t, err)
			return
		}
		var plain plainFile
		if err := json.Unmarshal(doc, &plain); err != nil {
			t.Fatalf("taken, though encoding/json says %v", err)
		}
		c := Call{Agent: agent, Trigger: trigger, Model: model, Metadata: map[string]string{name: value}, Draw: uint64(len(doc))}
		if !strings.HasPrefix(model, Prefix) {
			p, ok := table.Find(c)
			if want := plain.find(c); ok != (want != "") || p.Route != want {
				t.Errorf("%+v: %v %q, want %q", c, ok, p.Route, want)
			}
			checkPlan(t, p, model)
		}
		for i, name := range table.Names() {
			c.Model = Prefix + name
			p, ok := table.Find(c)
			if !table.Has(name) || name != plain.Routes[i].Name || ok && p.Route != name {
				t.Errorf("%q: %v %+v", name, ok, p)
			}
			checkPlan(t, p, "")
		}
	})
}

// checkErrors sees that errors are few, short and of one line each.
func checkErrors(t *testing.T, err error) {
	lines := strings.Split(err.Error(), "\n")
	if len(lines) > maxErrors+1 {
		t.Errorf("%d errors", len(lines))
	}
	for _, line := range lines {
		// A value of 64 bytes, of which each is 4 at most when quoted (\x00), in a text
		// below 250.
		if len(line) == 0 || len(line) > 64*4+250 || !utf8.ValidString(line) {
			t.Errorf("%q", line)
		}
	}
}

// checkPlan sees that every step says what to try, and that steps lead onward only.
func checkPlan(t *testing.T, p Plan, own string) {
	for i, s := range p.Steps {
		if s.Model != own && !isModel(s.Model) || strings.HasPrefix(s.Model, Prefix) || s.Number <= i || s.Number > maxSteps ||
			s.Arm < -1 || s.Arm >= maxArms || s.Retries < -1 || s.Retries > maxRetries || s.Timeout < 0 || s.Timeout > maxTimeout {
			t.Errorf("%+v", s)
		}
		for _, why := range []Failure{Limited, Unavailable, Timeout, Unauthorized, Refused, Budget, "other", ""} {
			if next, ok := p.Next(i, why); ok && (next <= i || next >= len(p.Steps) || why == "") {
				t.Errorf("after %d, %q: %d", i, why, next)
			}
		}
	}
}
