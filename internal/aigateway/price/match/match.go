// Package match owns rules that say which names of models mean the same model: the
// form that genai-prices publishes them in, and "not".
//
// It must not know models, providers or prices.
package match

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// maxDepth bounds rules within rules.
const maxDepth = 8

// Rule is one rule. The zero value fits nothing.
type Rule struct {
	op   string
	text string // of all but and, or, not; lower case
	re   *regexp.Regexp
	subs []Rule // of and, or, not
}

// Parse reads a rule: an object with one of equals, starts_with, ends_with and
// contains, which ignore case; regex, which is not anchored; not, with a rule; and
// and or, with lists of them.
func Parse(data []byte) (Rule, error) { return parse(data, 0) }

func parse(data []byte, depth int) (Rule, error) {
	if depth > maxDepth {
		return Rule{}, fmt.Errorf("rules more than %d deep", maxDepth)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return Rule{}, err
	}
	if len(object) != 1 {
		return Rule{}, errors.New("a rule has exactly one key")
	}
	for op, value := range object {
		return parseOp(op, value, depth)
	}
	panic("unreachable")
}

func parseOp(op string, value json.RawMessage, depth int) (Rule, error) {
	r := Rule{op: op}
	var parts []json.RawMessage
	switch op {
	case "equals", "starts_with", "ends_with", "contains", "regex":
		if err := json.Unmarshal(value, &r.text); err != nil {
			return Rule{}, err
		}
		if r.text == "" {
			return Rule{}, fmt.Errorf("%s of nothing", op)
		}
		if op != "regex" {
			r.text = strings.ToLower(r.text)
			return r, nil
		}
		var err error
		r.re, err = regexp.Compile(r.text)
		return r, err
	case "not":
		parts = []json.RawMessage{value}
	case "and", "or":
		if err := json.Unmarshal(value, &parts); err != nil {
			return Rule{}, err
		}
	default:
		return Rule{}, fmt.Errorf("no rule is called %q", op)
	}
	for _, p := range parts {
		sub, err := parse(p, depth+1)
		if err != nil {
			return Rule{}, err
		}
		r.subs = append(r.subs, sub)
	}
	return r, nil
}

// Fits reports whether a name in lower case fits, and how many characters of it the
// rule is about: of two rules that fit, the one about more knows the name better.
func (r Rule) Fits(name string) (about int, ok bool) {
	switch r.op {
	case "equals":
		return len(r.text), name == r.text
	case "starts_with":
		return len(r.text), strings.HasPrefix(name, r.text)
	case "ends_with":
		return len(r.text), strings.HasSuffix(name, r.text)
	case "contains":
		return len(r.text), strings.Contains(name, r.text)
	case "regex":
		return len(name), r.re.MatchString(name)
	case "not":
		_, ok := r.subs[0].Fits(name)
		return 0, !ok
	case "and":
		for _, sub := range r.subs {
			n, ok := sub.Fits(name)
			if !ok {
				return 0, false
			}
			about = max(about, n)
		}
		return about, len(r.subs) > 0
	case "or":
		any := false
		for _, sub := range r.subs {
			if n, ok := sub.Fits(name); ok {
				about, any = max(about, n), true
			}
		}
		return about, any
	}
	return 0, false
}

// Names are the names that fit by being equal, in lower case.
func (r Rule) Names() []string {
	switch r.op {
	case "equals":
		return []string{r.text}
	case "or":
		var names []string
		for _, sub := range r.subs {
			names = append(names, sub.Names()...)
		}
		return names
	}
	return nil
}
