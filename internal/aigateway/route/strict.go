package route

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxErrors = 50 // that are told; the others are counted
	maxShown  = 64 // bytes of a wrong value in an error
)

// reader reads values of JSON that is known to be well-formed, and collects what is
// wrong with them. "at" is the place in the words of an error: `route "x", step 2`;
// "" is the file itself.
type reader struct {
	errs []error
	more int // errors beyond maxErrors
}

func (r *reader) fail(at, member, format string, args ...any) {
	if len(r.errs) >= maxErrors {
		r.more++
		return
	}
	text := fmt.Sprintf(format, args...)
	for _, where := range []string{member, at} {
		if where != "" {
			text = where + ": " + text
		}
	}
	r.errs = append(r.errs, errors.New(text))
}

func (r *reader) err() error {
	if r.more > 0 {
		return errors.Join(append(r.errs, fmt.Errorf("and %d more", r.more))...)
	}
	return errors.Join(r.errs...)
}

// object reads the members of an object, of which only the known ones may be there.
func (r *reader) object(at, what string, raw json.RawMessage, known ...string) (map[string]json.RawMessage, bool) {
	all, ok := r.members(at, "", raw)
	members := make(map[string]json.RawMessage, len(known))
	for _, m := range all {
		if !slices.Contains(known, m.name) {
			r.fail(at, "", "%s is unknown; %s has %s", quote(m.name), what, enumerate(known))
			continue
		}
		members[m.name] = m.raw
	}
	return members, ok
}

// entry is a member of an object.
type entry struct {
	name string
	raw  json.RawMessage
}

// members reads an object, in its order. No name may be there twice: one of the two
// would count for nothing, and which one depends on who reads.
func (r *reader) members(at, member string, raw json.RawMessage) ([]entry, bool) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		r.fail(at, member, "%s is no object", show(raw))
		return nil, false
	}
	var all []entry
	seen := map[string]bool{}
	for d.More() {
		var m entry
		name, err := d.Token()
		if err == nil {
			err = d.Decode(&m.raw)
		}
		if err != nil {
			r.fail(at, member, "%v", err)
			return nil, false
		}
		if m.name, _ = name.(string); seen[m.name] {
			r.fail(at, member, "%s is there twice", quote(m.name))
			continue
		}
		seen[m.name] = true
		all = append(all, m)
	}
	return all, true
}

// list reads a list. Of one that has too many elements the rest is left out.
func (r *reader) list(at, member string, raw json.RawMessage, least, most int) []json.RawMessage {
	var list []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		r.fail(at, member, "%s is no list", show(raw))
		return nil
	}
	switch n := len(list); {
	case n < least: // which is 1 at most
		r.fail(at, member, "the list is empty")
	case n > most:
		r.fail(at, member, "there are %d, and %d are the most", n, most)
		list = list[:most]
	}
	return list
}

func (r *reader) text(at, member string, raw json.RawMessage) (string, bool) {
	s, ok := textOf(raw)
	if !ok {
		r.fail(at, member, "%s is no text", show(raw))
	}
	return s, ok
}

func textOf(raw json.RawMessage) (s string, ok bool) {
	return s, len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &s) == nil
}

// whole reads a whole number, written without fraction and exponent.
func (r *reader) whole(at, member string, raw json.RawMessage, least, most int) (int, bool) {
	n, err := strconv.Atoi(string(raw))
	if err != nil || n < least || n > most {
		r.fail(at, member, "%s is no whole number from %d to %d", show(raw), least, most)
		return 0, false
	}
	return n, true
}

// show is a value as errors have it.
func show(raw json.RawMessage) string {
	if s, ok := textOf(raw); ok {
		return quote(s)
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	}
	return clip(string(raw))
}

func quote(s string) string { return strconv.Quote(clip(s)) }

func clip(s string) string {
	if len(s) <= maxShown {
		return s
	}
	n := maxShown
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// enumerate gives "a, b and c".
func enumerate(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// lineOf is the line of an error of syntax.
func lineOf(doc []byte, err error) int {
	s, ok := errors.AsType[*json.SyntaxError](err)
	if !ok {
		return 1
	}
	return 1 + bytes.Count(doc[:min(max(s.Offset, 0), int64(len(doc)))], []byte("\n"))
}
