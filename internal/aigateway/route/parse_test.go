package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// parse reads a file that must be right.
func parse(t testing.TB, doc string) *Table {
	t.Helper()
	table, err := Parse([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// steps makes a file of one route that has conditions.
func steps(list string) string {
	return `{"routes": [{"name": "careful", "when": {}, "steps": [` + list + `]}]}`
}

const okStep = `{"model": "openai/gpt-5.5"}`

func when(conditions string) string {
	return `{"routes": [{"name": "careful", "when": ` + conditions + `, "steps": [` + okStep + `]}]}`
}

// times gives n elements of a list.
func times(n int, element string) string {
	return strings.Join(slices.Repeat([]string{element}, n), ",")
}

func TestParseErrors(t *testing.T) {
	long := strings.Repeat("x", 257)
	clipped := strings.Repeat("x", 64) + "..."
	for _, c := range []struct{ doc, want string }{
		// The file.
		{``, `line 1: unexpected end of JSON input`},
		{"{\"routes\": [\n// none\n]}", `line 2: invalid character '/' looking for beginning of value`},
		{"{\"routes\": [\n\n]},", `line 3: invalid character ',' after top-level value`},
		{`{"routes": ["` + "\xff" + `"]}`, `it is not in UTF-8`},
		{strings.Repeat(" ", 1<<20) + "1", `it is larger than 1048576 bytes`},
		{strings.Repeat(`[`, 10_001), `line 1: invalid character '[' exceeded max depth`},
		{"{\"routes\": [\n\n", `line 3: unexpected end of JSON input`},
		{`[]`, `a list is no object`},
		{`null`, `null is no object`},
		{`{}`, `routes: it is missing`},
		{`{"routes": null}`, `routes: null is no list`},
		{`{"routes": [], "Routes": 1}`, `"Routes" is unknown; the file has routes`},
		{`{"routes": [], "routes": []}`, `"routes" is there twice`},
		{`{"routes": [` + times(101, `1`) + `]}`, `routes: there are 101, and 100 are the most`},

		// A route.
		{`{"routes": [7]}`, `route 1: 7 is no object`},
		{`{"routes": [{"steps": [` + okStep + `], "when": {}}]}`, `route 1: name: it is missing`},
		{`{"routes": [{"name": "a"}]}`, `route "a": steps: it is missing`},
		{`{"routes": [{"name": 1, "steps": [` + okStep + `]}]}`, `route 1: name: 1 is no text`},
		{`{"routes": [{"name": "A b", "steps": [` + okStep + `]}]}`, `route 1: name: "A b" is not 1 to 63 of a-z, 0-9 and dash, the first no dash`},
		{`{"routes": [{"name": "-a", "steps": [` + okStep + `]}]}`, `route 1: name: "-a" is not 1 to 63 of a-z, 0-9 and dash, the first no dash`},
		{`{"routes": [{"name": "", "steps": [` + okStep + `]}]}`, `route 1: name: "" is not 1 to 63 of a-z, 0-9 and dash, the first no dash`},
		{`{"routes": [{"name": "` + long + `", "steps": [` + okStep + `]}]}`, `route 1: name: "` + clipped + `" is not 1 to 63 of a-z, 0-9 and dash, the first no dash`},
		{`{"routes": [{"name": "a", "steps": [` + okStep + `]}, {"name": "a", "steps": [` + okStep + `]}]}`, `route "a": name: routes 1 and 2 both have it`},
		{`{"routes": [{"name": "a", "steps": [` + okStep + `], "wehn": {}}]}`, `route "a": "wehn" is unknown; a route has name, when and steps`},
		{`{"routes": [{"name": "a", "steps": [` + okStep + `], "steps": []}]}`, `route "a": "steps" is there twice`},

		// When.
		{when(`null`), `route "careful", when: null is no object`},
		{when(`{"agent": ["a"]}`), `route "careful", when: "agent" is unknown; "when" has agents, models, triggers and metadata`},
		{when(`{"agents": "work"}`), `route "careful", when: agents: "work" is no list`},
		{when(`{"agents": null}`), `route "careful", when: agents: null is no list`},
		{when(`{"triggers": []}`), `route "careful", when: triggers: the list is empty`},
		{when(`{"agents": ["a", 7]}`), `route "careful", when: agents: pattern 2: 7 is no text`},
		{when(`{"models": ["` + long + `"]}`), `route "careful", when: models: pattern 1: it is longer than 256 bytes`},
		{when(`{"models": [` + times(101, `"a"`) + `]}`), `route "careful", when: models: there are 101, and 100 are the most`},
		{when(`{"models": ["a", "dynamic/*"]}`), `route "careful", when: models: pattern 2: "dynamic/*" can never hold: a route that is asked for by name is taken whatever its conditions`},
		{when(`{"metadata": ["plan"]}`), `route "careful", when: metadata: a list is no object`},
		{when(`{"metadata": {"plan": "paid"}}`), `route "careful", when: metadata "plan": "paid" is no list`},
		{when(`{"metadata": {"plan": [true]}}`), `route "careful", when: metadata "plan": pattern 1: true is no text`},
		{when(`{"metadata": {"plan": ["a"], "plan": ["b"]}}`), `route "careful", when: metadata: "plan" is there twice`},
		{when(`{"metadata": {"` + long + `": ["a"]}}`), `route "careful", when: metadata "` + clipped + `": the name is longer than 256 bytes`},
		{when(`{"metadata": {` + members(21) + `}}`), `route "careful", when: metadata: there are 21, and 20 are the most`},

		// Steps.
		{steps(``), `route "careful": steps: the list is empty`},
		{steps(times(11, okStep)), `route "careful": steps: there are 11, and 10 are the most`},
		{steps(`"openai/gpt-5.5"`), `route "careful", step 1: "openai/gpt-5.5" is no object`},
		{steps(`{"modle": "a/b"}`), `route "careful", step 1: "modle" is unknown; a step has model, split, by, on, timeout and retries`},
		{steps(`{"model": null}`), `route "careful", step 1: model: null is no text`},
		{steps(`{"model": "gpt-5.5"}`), `route "careful", step 1: model: "gpt-5.5" is not "same", and no provider's name, a slash and a model's name`},
		{steps(`{"model": "openai/"}`), `route "careful", step 1: model: "openai/" is not "same", and no provider's name, a slash and a model's name`},
		{steps(`{"model": "/gpt"}`), `route "careful", step 1: model: "/gpt" is not "same", and no provider's name, a slash and a model's name`},
		{steps(`{"model": "openai/gpt-*"}`), `route "careful", step 1: model: "openai/gpt-*" is not "same", and no provider's name, a slash and a model's name`},
		{steps(`{"model": "openai/g pt"}`), `route "careful", step 1: model: "openai/g pt" is not "same", and no provider's name, a slash and a model's name`},
		{steps(`{"model": "openai/gpt\u00e9"}`), `route "careful", step 1: model: "openai/gpté" is not "same", and no provider's name, a slash and a model's name`},
		{steps(`{"model": "a/` + long + `"}`), `route "careful", step 1: model: "a/` + clipped[2:] + `" is not "same", and no provider's name, a slash and a model's name`},
		{steps(`{"model": "dynamic/other"}`), `route "careful", step 1: model: "dynamic/other": a route cannot lead to another`},
		{`{"routes": [{"name": "a", "steps": [` + okStep + `, {}]}]}`, `route "a", step 2: model: a route without "when" is asked for by name, so that there is no "same" model`},
		{`{"routes": [{"name": "a", "steps": [{"split": [{"weight": 1, "model": "same"}]}]}]}`, `route "a", step 1, arm 1: model: a route without "when" is asked for by name, so that there is no "same" model`},

		// On, timeout, retries.
		{steps(`{"on": ["any"]}`), `route "careful", step 1: on: nothing failed before the first step`},
		{steps(okStep + `, {"on": []}`), `route "careful", step 2: on: the list is empty`},
		{steps(okStep + `, {"on": "any"}`), `route "careful", step 2: on: "any" is no list`},
		{steps(okStep + `, {"on": [429]}`), `route "careful", step 2: on: 429 is no text`},
		{steps(okStep + `, {"on": ["limited", "Timeout"]}`), `route "careful", step 2: on: "Timeout" is no failure; they are limited, unavailable, timeout, unauthorized, refused, budget and any`},
		{steps(okStep + `, {"on": [""]}`), `route "careful", step 2: on: "" is no failure; they are limited, unavailable, timeout, unauthorized, refused, budget and any`},
		{steps(okStep + `, {"on": [` + times(8, `"any"`) + `]}`), `route "careful", step 2: on: there are 8, and 7 are the most`},
		{steps(okStep + `, {"timeout": "soon"}`), `route "careful", step 2: timeout: "soon" is no duration`},
		{steps(`{"timeout": 30}`), `route "careful", step 1: timeout: 30 is no duration`},
		{steps(`{"timeout": {}}`), `route "careful", step 1: timeout: an object is no duration`},
		{steps(`{"timeout": "99ms"}`), `route "careful", step 1: timeout: "99ms" is not 100ms to 10m`},
		{steps(`{"timeout": "10m1ns"}`), `route "careful", step 1: timeout: "10m1ns" is not 100ms to 10m`},
		{steps(`{"timeout": "-1s"}`), `route "careful", step 1: timeout: "-1s" is not 100ms to 10m`},
		{steps(`{"retries": 6}`), `route "careful", step 1: retries: 6 is no whole number from 0 to 5`},
		{steps(`{"retries": -1}`), `route "careful", step 1: retries: -1 is no whole number from 0 to 5`},
		{steps(`{"retries": "1"}`), `route "careful", step 1: retries: "1" is no whole number from 0 to 5`},
		{steps(`{"retries": 1.0}`), `route "careful", step 1: retries: 1.0 is no whole number from 0 to 5`},

		// Splits.
		{steps(`{"split": []}`), `route "careful", step 1: split: the list is empty`},
		{steps(`{"split": [` + times(21, `{"weight": 1}`) + `]}`), `route "careful", step 1: split: there are 21, and 20 are the most`},
		{steps(`{"split": [{"weight": 1}], "model": "a/b"}`), `route "careful", step 1: split: a step has a model or a split, not both`},
		{steps(`{"split": [1]}`), `route "careful", step 1, arm 1: 1 is no object`},
		{steps(`{"split": [{"weight": 1}, {"model": "a/b"}]}`), `route "careful", step 1, arm 2: weight: it is missing`},
		{steps(`{"split": [{"weight": 0}]}`), `route "careful", step 1, arm 1: weight: 0 is no whole number from 1 to 1000000`},
		{steps(`{"split": [{"weight": 1000001}]}`), `route "careful", step 1, arm 1: weight: 1000001 is no whole number from 1 to 1000000`},
		{steps(`{"split": [{"weight": 0.5}]}`), `route "careful", step 1, arm 1: weight: 0.5 is no whole number from 1 to 1000000`},
		{steps(`{"split": [{"weight": 1, "timeout": "1s"}]}`), `route "careful", step 1, arm 1: "timeout" is unknown; an arm has weight and model`},
		{steps(`{"split": [{"weight": 1, "model": "b"}]}`), `route "careful", step 1, arm 1: model: "b" is not "same", and no provider's name, a slash and a model's name`},
		{steps(`{"by": "agent"}`), `route "careful", step 1: by: there is no split`},
		{steps(`{"split": [{"weight": 1}], "by": 1}`), `route "careful", step 1: by: 1 is no text`},
		{steps(`{"split": [{"weight": 1}], "by": "user"}`), `route "careful", step 1: by: "user" is not "agent", "call", or "metadata:" and a name`},
		{steps(`{"split": [{"weight": 1}], "by": "metadata:"}`), `route "careful", step 1: by: "metadata:" is not "agent", "call", or "metadata:" and a name`},

		// What cannot be printed is not.
		{steps(`{"timeout": "\u0000\n\u202e"}`), `route "careful", step 1: timeout: "\x00\n\u202e" is no duration`},
		// Clipped between characters: 21 of 3 bytes are 63, and 22 were 66.
		{steps(`{"timeout": "` + strings.Repeat("€", 30) + `"}`), `route "careful", step 1: timeout: "` + strings.Repeat("€", 21) + `..." is no duration`},
	} {
		table, err := Parse([]byte(c.doc))
		if table != nil || err == nil {
			t.Errorf("taken: %.300s", c.doc)
		} else if got, _, _ := strings.Cut(err.Error(), "\n"); got != c.want {
			t.Errorf("%.300s\n got %s\nwant %s", c.doc, got, c.want)
		}
	}
}

// members gives n entries of metadata.
func members(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"m%d": ["a"]`, i))
	}
	return strings.Join(all, ",")
}

func TestAllErrorsAreTold(t *testing.T) {
	_, err := Parse([]byte(`{"routes": [
		{"name": "one", "when": {"agents": [], "x": 1}, "steps": [{"model": "a", "retries": 9}]},
		{"name": "two", "steps": [{"model": "a/b"}, {"split": [{"weight": 1, "model": "a/c"}, {}], "timeout": "1h"}]}], "y": 2}`))
	want := `"y" is unknown; the file has routes
route "one", when: "x" is unknown; "when" has agents, models, triggers and metadata
route "one", when: agents: the list is empty
route "one", step 1: model: "a" is not "same", and no provider's name, a slash and a model's name
route "one", step 1: retries: 9 is no whole number from 0 to 5
route "two", step 2, arm 2: weight: it is missing
route "two", step 2, arm 2: model: a route without "when" is asked for by name, so that there is no "same" model
route "two", step 2: timeout: "1h" is not 100ms to 10m`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}

	// 100 elements that are no route: 50 are told, 50 are left, and one line says so.
	_, err = Parse([]byte(`{"routes": [` + times(100, `1`) + `]}`))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 51 || lines[49] != "route 50: 1 is no object" || lines[50] != "and 50 more" {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
}

// What is at its bound is taken.
func TestBounds(t *testing.T) {
	name := strings.Repeat("z", 63)
	pattern := `"` + strings.Repeat("*", 256) + `"`
	model := `"a/` + strings.Repeat("m", 254) + `"`
	doc := steps(`{"timeout": "100ms", "retries": 0}, {"timeout": "10m", "retries": 5, "on": [` + times(7, `"any"`) + `]},
		{"split": [` + times(20, `{"weight": 1000000, "model": `+model+`}`) + `], "by": "metadata:` + strings.Repeat("x", 256) + `"},
		{"timeout": 0}, {"timeout": "0s"}, ` + times(5, okStep))
	doc = strings.Replace(doc, `{}`, `{"agents": [`+times(100, pattern)+`], "metadata": {`+members(20)+`}}`, 1)
	table := parse(t, strings.Replace(doc, "careful", name, 1))
	if !table.Has(name) {
		t.Fatal("no such route")
	}
	p, ok := table.Find(Call{Model: Prefix + name})
	// Of the 10 steps, 4 have the same model, which a call by name lacks.
	if !ok || len(p.Steps) != 6 || p.Steps[0].Number != 3 || p.Steps[5].Number != 10 {
		t.Errorf("%v %+v", ok, p)
	}

	var routes []string
	for i := range 100 {
		routes = append(routes, fmt.Sprintf(`{"name": "r%d", "steps": [%s]}`, i, okStep))
	}
	table = parse(t, `{"routes": [`+strings.Join(routes, ",")+`]}`)
	if names := table.Names(); len(names) != 100 || names[99] != "r99" {
		t.Error(names)
	}
	if table = parse(t, `{"routes": [ ]}`); len(table.Names()) != 0 {
		t.Error(table.Names())
	}
	if _, ok := table.Find(Call{Model: "a/b"}); ok {
		t.Error("a route of none")
	}
	// A file of exactly 1 MiB: 14 bytes and blanks.
	parse(t, `{"routes": []}`+strings.Repeat(" ", 1<<20-14))
}

func TestStepsAreRead(t *testing.T) {
	table := parse(t, steps(`{"timeout": "1m30s", "retries": 2}, {"model": "workers-ai/@cf/meta/llama:8b", "retries": 0}, {"model": "same"},
		{"split": [{"weight": 3}]}`))
	p, ok := table.Find(Call{Model: "anthropic/claude-sonnet-5-5"})
	want := []Step{
		{Number: 1, Arm: -1, Model: "anthropic/claude-sonnet-5-5", Timeout: 90 * time.Second, Retries: 2},
		{Number: 2, Arm: -1, Model: "workers-ai/@cf/meta/llama:8b", Retries: 0, on: usualFailure},
		{Number: 3, Arm: -1, Model: "anthropic/claude-sonnet-5-5", Retries: -1, on: usualFailure},
		{Number: 4, Arm: 0, Model: "anthropic/claude-sonnet-5-5", Retries: -1, on: usualFailure},
	}
	if !ok || p.Route != "careful" || !slices.Equal(p.Steps, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
}
