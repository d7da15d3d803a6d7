package route

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of a file of routes.
const (
	maxFile    = 1 << 20 // bytes
	maxRoutes  = 100
	maxName    = 63 // bytes of a route's name
	maxSteps   = 10 // of a route
	maxArms    = 20 // of a split
	maxWeight  = 1_000_000
	maxEntries = 20  // of the metadata that a route asks about
	maxChoices = 100 // patterns of one condition
	maxPattern = 256 // bytes of one, of a model's name, and of an entry's
	maxRetries = 5

	minTimeout = 100 * time.Millisecond
	maxTimeout = 10 * time.Minute
)

// same is the model that the call asked for.
const same = "same"

// Parse reads a file of routes, strict JSON:
//
//	{"routes": [
//	  {"name": "careful",
//	   "when": {"agents": ["work", "home-*"], "models": ["anthropic/*"],
//	            "triggers": ["user"], "metadata": {"plan": ["paid", "trial-*"]}},
//	   "steps": [
//	     {"model": "anthropic/claude-sonnet-5-5", "timeout": "30s", "retries": 1},
//	     {"split": [{"weight": 80, "model": "openai/gpt-5.5"}, {"weight": 20, "model": "same"}],
//	      "by": "metadata:user", "on": ["limited", "timeout"]},
//	     {"model": "ollama/qwen3", "on": ["any"]}
//	   ]}
//	]}
//
// "when": a call takes the first route all of whose conditions hold, and a condition
// holds when one of its patterns does; * in them is any text. What is left out holds
// always, so {} is for every call. An entry of the metadata must be there to hold. A
// route without "when" is only for calls that ask for it by name.
//
// "model" is a provider's name and a model's, or "same" for what the call asked for,
// which is also what is meant where it is left out. It cannot be another route.
//
// "split" chooses an arm by weight, 1 to 1,000,000: by "agent", so that one keeps its
// arm, by an entry "metadata:NAME", or by "call".
//
// "on" names the Failures of the steps before that lead to this one; left out, they
// are limited, unavailable, timeout and unauthorized.
//
// "timeout" is 100ms to 10m until the answer begins, or 0 for the usual. "retries" is
// 0 to 5.
//
// The error has everything that is wrong with the file, 50 at most, one a line, each
// with the route and the member that it is about. There is no table then.
func Parse(doc []byte) (*Table, error) {
	if len(doc) > maxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	if !utf8.Valid(doc) {
		return nil, errors.New("it is not in UTF-8")
	}
	var raw json.RawMessage
	if err := json.Unmarshal(doc, &raw); err != nil {
		return nil, fmt.Errorf("line %d: %w", lineOf(doc, err), err)
	}
	var r reader
	t := r.table(raw)
	if err := r.err(); err != nil {
		return nil, err
	}
	return t, nil
}

// table is of use only when nothing failed.
func (r *reader) table(raw json.RawMessage) *Table {
	t := &Table{byName: map[string]int{}}
	m, ok := r.object("", "the file", raw, "routes")
	if !ok {
		return t
	}
	if m["routes"] == nil {
		r.fail("", "routes", "it is missing")
		return t
	}
	for i, raw := range r.list("", "routes", m["routes"], 0, maxRoutes) {
		r.route(t, i, raw)
	}
	return t
}

// route reads route i, and puts it into the table.
func (r *reader) route(t *Table, i int, raw json.RawMessage) {
	at := fmt.Sprintf("route %d", i+1)
	var named struct{ Name json.RawMessage }
	if json.Unmarshal(raw, &named) == nil { // errors are told of below
		if name, ok := textOf(named.Name); ok && isName(name) {
			at = fmt.Sprintf("route %q", name)
		}
	}
	m, ok := r.object(at, "a route", raw, "name", "when", "steps")
	if !ok {
		return
	}
	rt := route{name: r.name(at, m["name"])}
	if rt.name != "" {
		if first, taken := t.byName[rt.name]; taken {
			r.fail(at, "name", "routes %d and %d both have it", first+1, i+1)
		} else {
			t.byName[rt.name] = i
		}
	}
	if m["when"] != nil {
		w := r.when(at+", when", m["when"])
		rt.metadata = w.metadata
		t.agents.add(i, w.agents)
		t.models.add(i, w.models)
		t.triggers.add(i, w.triggers)
	}
	if m["steps"] == nil {
		r.fail(at, "steps", "it is missing")
		return
	}
	for n, raw := range r.list(at, "steps", m["steps"], 1, maxSteps) {
		rt.steps = append(rt.steps, r.step(fmt.Sprintf("%s, step %d", at, n+1), raw, n == 0, m["when"] == nil))
	}
	t.routes = append(t.routes, rt)
}

func (r *reader) name(at string, raw json.RawMessage) string {
	if raw == nil {
		r.fail(at, "name", "it is missing")
		return ""
	}
	name, ok := r.text(at, "name", raw)
	if ok && !isName(name) {
		r.fail(at, "name", "%s is not 1 to %d of a-z, 0-9 and dash, the first no dash", quote(name), maxName)
		return ""
	}
	return name
}

func isName(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return s != "" && len(s) <= maxName && s[0] != '-'
}

// conditions of a route; nil patterns hold always.
type conditions struct {
	agents, models, triggers []pattern
	metadata                 []member
}

func (r *reader) when(at string, raw json.RawMessage) (w conditions) {
	m, _ := r.object(at, `"when"`, raw, "agents", "models", "triggers", "metadata")
	w.agents = r.patterns(at, "agents", m["agents"])
	w.models = r.patterns(at, "models", m["models"])
	w.triggers = r.patterns(at, "triggers", m["triggers"])
	for i, p := range w.models {
		if strings.HasPrefix(p.source, Prefix) {
			r.fail(at, "models", "pattern %d: %s can never hold: a route that is asked for by name is taken whatever its conditions", i+1, quote(p.source))
		}
	}
	if m["metadata"] == nil {
		return w
	}
	entries, _ := r.members(at, "metadata", m["metadata"])
	if n := len(entries); n > maxEntries {
		r.fail(at, "metadata", "there are %d, and %d are the most", n, maxEntries)
		entries = entries[:maxEntries]
	}
	for _, e := range entries {
		if len(e.name) > maxPattern {
			r.fail(at, "metadata "+quote(e.name), "the name is longer than %d bytes", maxPattern)
			continue
		}
		w.metadata = append(w.metadata, member{e.name, r.patterns(at, "metadata "+quote(e.name), e.raw)})
	}
	return w
}

// patterns reads a list of them, that has one at least; nil where there is no list.
func (r *reader) patterns(at, member string, raw json.RawMessage) []pattern {
	if raw == nil {
		return nil
	}
	var all []pattern
	for i, raw := range r.list(at, member, raw, 1, maxChoices) {
		source, ok := r.text(at, fmt.Sprintf("%s: pattern %d", member, i+1), raw)
		if len(source) > maxPattern {
			r.fail(at, fmt.Sprintf("%s: pattern %d", member, i+1), "it is longer than %d bytes", maxPattern)
			continue
		}
		if ok {
			all = append(all, compile(source))
		}
	}
	return all
}

// step reads a step. first: nothing failed before it. named: the route is only used
// by name, so that there is no model of the call's own.
func (r *reader) step(at string, raw json.RawMessage, first, named bool) step {
	s := step{on: usualFailure, retries: -1}
	m, ok := r.object(at, "a step", raw, "model", "split", "by", "on", "timeout", "retries")
	if !ok {
		return s
	}
	switch {
	case m["split"] == nil:
		s.model = r.model(at, m["model"], named)
	case m["model"] != nil:
		r.fail(at, "split", "a step has a model or a split, not both")
	default:
		for i, raw := range r.list(at, "split", m["split"], 1, maxArms) {
			s.split = append(s.split, r.arm(fmt.Sprintf("%s, arm %d", at, i+1), raw, named))
		}
	}
	if m["by"] != nil {
		if m["split"] == nil {
			r.fail(at, "by", "there is no split")
		}
		s.by = r.by(at, m["by"])
	}
	if first {
		s.on = 0
	}
	if m["on"] != nil {
		if first {
			r.fail(at, "on", "nothing failed before the first step")
		}
		s.on = r.on(at, m["on"])
	}
	if m["timeout"] != nil {
		s.timeout = r.timeout(at, m["timeout"])
	}
	if m["retries"] != nil {
		if n, ok := r.whole(at, "retries", m["retries"], 0, maxRetries); ok {
			s.retries = n
		}
	}
	return s
}

func (r *reader) arm(at string, raw json.RawMessage, named bool) (a arm) {
	m, ok := r.object(at, "an arm", raw, "weight", "model")
	if !ok {
		return a
	}
	if m["weight"] == nil {
		r.fail(at, "weight", "it is missing")
	} else if n, ok := r.whole(at, "weight", m["weight"], 1, maxWeight); ok {
		a.weight = uint64(n)
	}
	a.model = r.model(at, m["model"], named)
	return a
}

// model reads "provider/model"; "" is the call's own.
func (r *reader) model(at string, raw json.RawMessage, named bool) string {
	name := same
	if raw != nil {
		var ok bool
		if name, ok = r.text(at, "model", raw); !ok {
			return ""
		}
	}
	switch {
	case name == same && named:
		r.fail(at, "model", `a route without "when" is asked for by name, so that there is no %q model`, same)
		return ""
	case name == same:
		return ""
	case strings.HasPrefix(name, Prefix):
		r.fail(at, "model", "%s: a route cannot lead to another", quote(name))
	case !isModel(name):
		r.fail(at, "model", "%s is not %q, and no provider's name, a slash and a model's name", quote(name), same)
	}
	return name
}

// isModel reports whether a name has the form "provider/model", which may have
// further slashes: a provider is of a-z, 0-9 and dash, a model of what prints in
// ASCII, but *, which would be meant for a pattern.
func isModel(s string) bool {
	provider, model, _ := strings.Cut(s, "/")
	for _, c := range []byte(model) {
		if c <= ' ' || c > '~' || c == '*' {
			return false
		}
	}
	return isName(provider) && model != "" && len(s) <= maxPattern
}

func (r *reader) by(at string, raw json.RawMessage) by {
	text, ok := r.text(at, "by", raw)
	if !ok {
		return by{}
	}
	name, metadata := strings.CutPrefix(text, "metadata:")
	switch {
	case text == "agent":
		return by{}
	case text == "call":
		return by{call: true}
	case metadata && name != "" && len(name) <= maxPattern:
		return by{member: name}
	}
	r.fail(at, "by", `%s is not "agent", "call", or "metadata:" and a name`, quote(text))
	return by{}
}

// on reads the failures that lead to a step.
func (r *reader) on(at string, raw json.RawMessage) (on failures) {
	const most = 7 // there are no more
	for _, raw := range r.list(at, "on", raw, 1, most) {
		text, ok := r.text(at, "on", raw)
		bit := Failure(text).bit()
		switch {
		case text == "any":
			on = anyFailure
		case ok && (bit == 0 || bit == onOther):
			r.fail(at, "on", "%s is no failure; they are limited, unavailable, timeout, unauthorized, refused, budget and any", quote(text))
		default:
			on |= bit
		}
	}
	return on
}

func (r *reader) timeout(at string, raw json.RawMessage) time.Duration {
	if string(raw) == "0" {
		return 0
	}
	text, _ := textOf(raw)
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		r.fail(at, "timeout", "%s is no duration", show(raw))
	case d != 0 && (d < minTimeout || d > maxTimeout):
		r.fail(at, "timeout", "%s is not 100ms to 10m", show(raw))
	}
	return d
}
