package fakemodel

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
)

// Google's APIs read JSON as messages of their protocol buffers: names in
// camelCase or snake_case, unknown ones refused at any depth, every fault of a
// document told at once, with its place in snake_case.

const (
	maxDepth      = 100 // of nested values, as protocol buffers have it
	maxViolations = 100 // told in one answer
	messageType   = "type.googleapis.com/google.ai.generativelanguage.v1beta."
)

// jsonValue is any JSON value. Members keep their order, since places count them.
type jsonValue struct {
	kind  byte        // one of { [ " 0 t n
	text  string      // of a scalar: a string's content, else as it is written
	names []string    // of an object's members
	items []jsonValue // members of an object or elements of a list
}

// jsonObject is a google.protobuf.Struct: an object of any content.
type jsonObject struct{ jsonValue }

var errDepth = errors.New("nesting is too deep")

func parseJSON(doc []byte) (jsonValue, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	v, err := readValue(d, maxDepth)
	if err != nil {
		return v, err
	}
	if _, err := d.Token(); err != io.EOF {
		return v, errors.New("more than one value")
	}
	return v, nil
}

func readValue(d *json.Decoder, depth int) (jsonValue, error) {
	t, err := d.Token()
	if err != nil {
		return jsonValue{}, err
	}
	switch t := t.(type) {
	case json.Delim:
		return readItems(d, byte(t), depth)
	case string:
		return jsonValue{kind: '"', text: t}, nil
	case json.Number:
		return jsonValue{kind: '0', text: t.String()}, nil
	case bool:
		return jsonValue{kind: 't', text: strconv.FormatBool(t)}, nil
	}
	return jsonValue{kind: 'n', text: "null"}, nil
}

func readItems(d *json.Decoder, open byte, depth int) (jsonValue, error) {
	v := jsonValue{kind: open}
	if depth == 0 {
		return v, errDepth
	}
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return v, err
			}
			v.names = append(v.names, name.(string)) // the decoder lets nothing else through
		}
		item, err := readValue(d, depth-1)
		if err != nil {
			return v, err
		}
		v.items = append(v.items, item)
	}
	_, err := d.Token() // the closing one
	return v, err
}

// violation is a google.rpc.BadRequest.FieldViolation.
type violation struct {
	Field       string `json:"field,omitempty"`
	Description string `json:"description"`
}

// reader fills messages, which are structs: a field's JSON name is its tag, or
// its own name in lower camel case. The tag "oneof" names the set of which only
// one may be given; "enum" the enumeration a string is of.
type reader struct{ faults []violation }

// readMessage fills into, a pointer to a struct, from a document.
func readMessage(doc []byte, into any) *problem {
	v, err := parseJSON(doc)
	if err != nil {
		return bad("Invalid JSON payload received. %v", err)
	}
	r := &reader{}
	r.read(v, reflect.ValueOf(into).Elem(), "", "")
	if len(r.faults) == 0 {
		return nil
	}
	said := make([]string, len(r.faults))
	for i, f := range r.faults {
		said[i] = f.Description
	}
	return &problem{http.StatusBadRequest, "invalid_request_error", strings.Join(said, "\n"),
		[]any{fields{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": r.faults}}}
}

func (r *reader) fault(place, format string, a ...any) {
	if len(r.faults) < maxViolations {
		r.faults = append(r.faults, violation{place, fmt.Sprintf(format, a...)})
	}
}

func (r *reader) unknown(place, name, why string) {
	at := ""
	if place != "" {
		at = " at '" + place + "'"
	}
	r.fault(place, "Invalid JSON payload received. Unknown name %q%s: %s", short(name), at, why)
}

// short bounds what an answer repeats of a request.
func short(s string) string { return s[:min(len(s), 100)] }

func (r *reader) wrong(place, kind string, v jsonValue) {
	shown := short(v.text)
	if v.kind == '"' {
		shown = strconv.Quote(shown)
	}
	r.fault(place, "Invalid value at '%s' (%s), %s", place, kind, shown)
}

var (
	anyValue  = reflect.TypeFor[jsonValue]()
	anyObject = reflect.TypeFor[jsonObject]()
	octets    = reflect.TypeFor[[]byte]()
)

// read fills one value. null leaves what is absent absent.
func (r *reader) read(v jsonValue, into reflect.Value, place, enum string) {
	t := into.Type()
	switch {
	case t == anyValue:
		into.Set(reflect.ValueOf(v))
	case v.kind == 'n':
	case t == anyObject:
		if r.opens(v, place, "type.googleapis.com/google.protobuf.Struct") {
			into.Set(reflect.ValueOf(jsonObject{v}))
		}
	case t == octets:
		r.octets(v, into, place)
	case t.Kind() == reflect.Pointer:
		into.Set(reflect.New(t.Elem()))
		r.read(v, into.Elem(), place, enum)
	case t.Kind() == reflect.Struct:
		if r.opens(v, place, messageName(t)) {
			r.members(v, into, place)
		}
	case t.Kind() == reflect.Slice:
		r.list(v, into, place, enum)
	case t.Kind() == reflect.Map:
		r.entries(v, into, place)
	default:
		r.scalar(v, into, place, enum)
	}
}

func messageName(t reflect.Type) string {
	if t.Name() == "" {
		return "TYPE_MESSAGE"
	}
	return messageType + strings.TrimPrefix(t.Name(), "gemini")
}

// opens tells whether an object stands where one belongs.
func (r *reader) opens(v jsonValue, place, kind string) bool {
	switch v.kind {
	case '{':
		return true
	case '[':
		dot := strings.LastIndexByte(place, '.')
		r.unknown(place[:max(dot, 0)], place[dot+1:], "Proto field is not repeating, cannot start list.")
	default:
		r.wrong(place, kind, v)
	}
	return false
}

func (r *reader) members(v jsonValue, into reflect.Value, place string) {
	given := map[string]bool{} // fields, and sets of which only one may be
	for i, name := range v.names {
		f, ok := fieldOf(into.Type(), name)
		if !ok {
			r.unknown(place, name, "Cannot find field.")
			continue
		}
		if v.items[i].kind == 'n' && f.Type != anyValue {
			continue
		}
		only, set := "_"+snake(nameOf(f)), f.Tag.Get("oneof")
		if set != "" {
			only = set
		}
		if given[only] {
			r.fault(place, "Invalid value at '%s' (oneof), oneof field '%s' is already set. Cannot set '%s'", place, only, name)
			continue
		}
		given[only] = true
		at := snake(nameOf(f))
		if place != "" {
			at = place + "." + at
		}
		r.read(v.items[i], into.FieldByIndex(f.Index), at, f.Tag.Get("enum"))
	}
}

// list reads a repeated field; one message alone counts as a list of one.
func (r *reader) list(v jsonValue, into reflect.Value, place, enum string) {
	elem := into.Type().Elem()
	if v.kind == '{' && elem.Kind() == reflect.Struct {
		one := reflect.New(elem).Elem()
		r.read(v, one, place, enum)
		into.Set(reflect.Append(into, one))
		return
	}
	if v.kind != '[' {
		r.wrong(place, "repeated", v)
		return
	}
	all := reflect.MakeSlice(into.Type(), len(v.items), len(v.items))
	for i, item := range v.items {
		at := fmt.Sprintf("%s[%d]", place, i)
		if item.kind == 'n' {
			r.wrong(at, "repeated", item)
			continue
		}
		r.read(item, all.Index(i), at, enum)
	}
	into.Set(all)
}

func (r *reader) entries(v jsonValue, into reflect.Value, place string) {
	if !r.opens(v, place, "map") {
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for i, name := range v.names {
		value := reflect.New(into.Type().Elem()).Elem()
		r.read(v.items[i], value, fmt.Sprintf("%s[%d].value", place, i), "")
		into.SetMapIndex(reflect.ValueOf(name), value)
	}
}

// scalar reads strings, enumerations, flags and numbers. Numbers may stand in
// quotes, as int64 ones do in Google's own answers.
func (r *reader) scalar(v jsonValue, into reflect.Value, place, enum string) {
	number := v.kind == '0' || v.kind == '"'
	switch into.Kind() {
	case reflect.String:
		switch {
		case enum != "":
			name := strings.ToUpper(v.text)
			if v.kind != '"' || !enums[enum][name] {
				r.wrong(place, messageType+enum, v)
				return
			}
			into.SetString(name)
		case v.kind == '"':
			into.SetString(v.text)
		default:
			r.wrong(place, "TYPE_STRING", v)
		}
	case reflect.Bool:
		if v.kind != 't' {
			r.wrong(place, "TYPE_BOOL", v)
			return
		}
		into.SetBool(v.text == "true")
	case reflect.Float64:
		f, err := strconv.ParseFloat(v.text, 64)
		if !number || err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			r.wrong(place, "TYPE_FLOAT", v)
			return
		}
		into.SetFloat(f)
	default: // int32 and int64
		n, err := strconv.ParseInt(v.text, 10, into.Type().Bits())
		if !number || err != nil {
			r.wrong(place, fmt.Sprintf("TYPE_INT%d", into.Type().Bits()), v)
			return
		}
		into.SetInt(n)
	}
}

// octets reads base64, of either alphabet, padded or not.
func (r *reader) octets(v jsonValue, into reflect.Value, place string) {
	if v.kind != '"' {
		r.wrong(place, "TYPE_BYTES", v)
		return
	}
	std := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(v.text, "="))
	b, err := base64.RawStdEncoding.DecodeString(std)
	if err != nil {
		r.fault(place, "Invalid value at '%s' (TYPE_BYTES), Base64 decoding failed for %q", place, short(v.text))
		return
	}
	into.SetBytes(b)
}

// fieldOf finds a message's field by either form of its name.
func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); nameOf(f) == name || snake(nameOf(f)) == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func nameOf(f reflect.StructField) string {
	if tag := f.Tag.Get("json"); tag != "" {
		return tag
	}
	return strings.ToLower(f.Name[:1]) + f.Name[1:]
}

// snake is a name in lower camel case as the protocol buffer has it.
func snake(name string) string {
	var b strings.Builder
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			b.WriteByte('_')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}
