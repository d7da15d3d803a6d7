package openclaw

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/tailscale/hujson"
)

// MaxConfig is the largest openclaw.json that is read.
const MaxConfig = 1 << 20

// maxDepth bounds nesting: parsers recurse, and the file is the agent's.
const maxDepth = 200

// ConfigError says why an openclaw.json cannot be read. It was left as it is.
type ConfigError struct {
	Line, Column int // from 1; 0 when no place can be named
	Problem      string
}

func (e *ConfigError) Error() string {
	where := ""
	if e.Line > 0 {
		where = fmt.Sprintf(" at line %d, column %d", e.Line, e.Column)
	}
	return fmt.Sprintf("the agent's openclaw.json cannot be read%s: %s", where, e.Problem)
}

// Remedy says what a person can do about it.
func (e *ConfigError) Remedy() string {
	return "correct " + ConfigPath + " in the sandbox, or delete it to start from defaults, then restart the agent"
}

// document is an openclaw.json that keeps its comments and layout while values
// in it change. In an object with a name twice, the last one counts, as it does
// for OpenClaw.
type document struct {
	root    hujson.Value
	indent  string
	changed bool
}

func parseDocument(data []byte) (*document, error) {
	if len(data) > MaxConfig {
		return nil, &ConfigError{Problem: fmt.Sprintf("it is larger than %d KiB", MaxConfig>>10)}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return &document{root: hujson.Value{Value: &hujson.Object{AfterExtra: hujson.Extra("\n")}, AfterExtra: hujson.Extra("\n")}, indent: "  ", changed: true}, nil
	}
	if at, deep := tooDeep(data); deep {
		return nil, errorAt(data, at, "nested too deeply")
	}
	root, err := hujson.Parse(slices.Clone(data))
	if err != nil {
		if root, err = parseJSON5(data); err != nil {
			return nil, err
		}
	}
	if _, ok := root.Value.(*hujson.Object); !ok {
		return nil, &ConfigError{Line: 1, Column: 1, Problem: "it must be an object, { ... }"}
	}
	return &document{root: root, indent: indentOf(&root)}, nil
}

// indentOf is the white space before the first member's line: the unit of
// indentation.
func indentOf(root *hujson.Value) string {
	obj := root.Value.(*hujson.Object)
	if len(obj.Members) == 0 {
		return "  "
	}
	extra := obj.Members[0].Name.BeforeExtra
	_, line, found := bytes.Cut(extra, []byte("\n"))
	indent := line[:len(line)-len(bytes.TrimLeft(line, " \t"))]
	if !found || len(indent) == 0 || len(indent) > 8 {
		return "  "
	}
	return string(indent)
}

// inOneLine says whether the members of an object stand side by side.
func inOneLine(obj *hujson.Object) bool {
	if len(obj.Members) == 0 || bytes.Contains(obj.AfterExtra, []byte("\n")) {
		return false
	}
	for _, m := range obj.Members {
		if bytes.Contains(m.Name.BeforeExtra, []byte("\n")) {
			return false
		}
	}
	return true
}

// member is the value of the last member with a name.
func member(obj *hujson.Object, name string) *hujson.Value {
	for i := len(obj.Members) - 1; i >= 0; i-- {
		if lit, ok := obj.Members[i].Name.Value.(hujson.Literal); ok && lit.String() == name {
			return &obj.Members[i].Value
		}
	}
	return nil
}

// get finds a value; nil when it is not there or something that is no object is
// in the way.
func (d *document) get(path ...string) *hujson.Value {
	v := &d.root
	for _, name := range path {
		obj, ok := v.Value.(*hujson.Object)
		if !ok {
			return nil
		}
		if v = member(obj, name); v == nil {
			return nil
		}
	}
	return v
}

// blocked says whether something that is no object is in the way to path.
func (d *document) blocked(path ...string) bool {
	v := &d.root
	for _, name := range path {
		obj, ok := v.Value.(*hujson.Object)
		if !ok {
			return true
		}
		if v = member(obj, name); v == nil {
			return false
		}
	}
	return false
}

// set makes the value at path equal to want, replacing whatever is in the way.
// It touches nothing when the value is equal already.
func (d *document) set(path []string, want any) {
	if v := d.get(path...); v != nil && equal(v, want) {
		return
	}
	d.changed = true
	v := &d.root
	for depth, name := range path {
		obj, ok := v.Value.(*hujson.Object)
		if !ok {
			obj = &hujson.Object{}
			v.Value = obj
		}
		next := member(obj, name)
		if next == nil {
			next = d.append(obj, name, depth+1)
		}
		v = next
	}
	v.Value = d.literal(want, len(path))
}

// append adds a member after the last, in the layout of the file. A comment that
// follows the last member stays with it.
func (d *document) append(obj *hujson.Object, name string, depth int) *hujson.Value {
	m := hujson.ObjectMember{Name: hujson.Value{Value: hujson.String(name)}}
	m.Value = hujson.Value{BeforeExtra: hujson.Extra(" "), Value: hujson.Literal("null")}
	before, after := "\n"+strings.Repeat(d.indent, depth), "\n"+strings.Repeat(d.indent, depth-1)
	if inOneLine(obj) {
		before, after = " ", ""
	}
	m.Name.BeforeExtra = hujson.Extra(before)
	if comment := bytes.TrimRight(obj.AfterExtra, " \t\r\n"); len(comment) > 0 {
		m.Name.BeforeExtra = append(slices.Clone(comment), before...)
		obj.AfterExtra = nil
	}
	if n := len(obj.Members); n > 0 && obj.Members[n-1].Value.AfterExtra != nil {
		m.Value.AfterExtra = hujson.Extra{} // keeps the trailing comma
	}
	if !bytes.Contains(obj.AfterExtra, []byte("\n")) {
		obj.AfterExtra = hujson.Extra(after)
	}
	obj.Members = append(obj.Members, m)
	return &obj.Members[len(obj.Members)-1].Value
}

// literal is a value of ours laid out for its depth.
func (d *document) literal(want any, depth int) hujson.ValueTrimmed {
	text, err := json.MarshalIndent(want, strings.Repeat(d.indent, depth), d.indent)
	if err != nil {
		panic(fmt.Sprintf("render openclaw.json: %v", err)) // our own types only
	}
	v, err := hujson.Parse(text)
	if err != nil {
		panic(fmt.Sprintf("render openclaw.json: %v", err))
	}
	return v.Value
}

// remove deletes every member with a name from the object at path.
func (d *document) remove(path []string, name string) {
	v := d.get(path...)
	if v == nil {
		return
	}
	obj, ok := v.Value.(*hujson.Object)
	if !ok || member(obj, name) == nil {
		return
	}
	d.changed = true
	trailing := obj.Members[len(obj.Members)-1].Value.AfterExtra != nil
	obj.Members = slices.DeleteFunc(obj.Members, func(m hujson.ObjectMember) bool {
		lit, ok := m.Name.Value.(hujson.Literal)
		return ok && lit.String() == name
	})
	if n := len(obj.Members); n > 0 && !trailing {
		last := &obj.Members[n-1].Value
		obj.AfterExtra = append(slices.Clone(last.AfterExtra), obj.AfterExtra...)
		last.AfterExtra = nil
	}
}

// decode gives the value as encoding/json would.
func decode(v *hujson.Value) any {
	c := v.Clone()
	c.BeforeExtra, c.AfterExtra = nil, nil
	c.Standardize()
	var out any
	if json.Unmarshal(c.Pack(), &out) != nil {
		return nil
	}
	return out
}

func equal(v *hujson.Value, want any) bool {
	text, err := json.Marshal(want)
	if err != nil {
		return false
	}
	var w any
	if json.Unmarshal(text, &w) != nil {
		return false
	}
	return reflect.DeepEqual(decode(v), w)
}
