package translate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// literal is a JSON string as it is written, quotes and escapes included. Text goes
// from one API to another without being unquoted: a character that a provider cut in
// two, between the halves of a surrogate pair, is whole again at the client.
type literal []byte

// MarshalJSON writes it as it is.
func (t literal) MarshalJSON() ([]byte, error) {
	if t == nil {
		return []byte("null"), nil
	}
	return t, nil
}

// literalOf is raw if that is a string, and nil if it is anything else or absent.
func literalOf(raw json.RawMessage) literal {
	if len(raw) < 2 || raw[0] != '"' {
		return nil
	}
	if utf8.Valid(raw) {
		return literal(raw)
	}
	return quoted(literal(raw).string())
}

func quoted(s string) literal {
	b, err := marshalPlain(s)
	if err != nil {
		return literal(`""`) // strings can always be written
	}
	return b
}

// empty reports whether there is no text in it.
func (t literal) empty() bool { return len(t) <= 2 }

// string is the text it stands for.
func (t literal) string() string {
	var s string
	if t == nil || json.Unmarshal(t, &s) != nil {
		return ""
	}
	return s
}

// join puts more behind it. It may write into t's memory.
func (t literal) join(more literal) literal {
	switch {
	case more.empty():
		return t
	case t.empty():
		return bytes.Clone(more)
	}
	return append(t[:len(t)-1], more[1:]...)
}

// looseString reads a string and takes anything else for none.
type looseString string

// UnmarshalJSON never fails.
func (s *looseString) UnmarshalJSON(b []byte) error {
	*s = looseString(literalOf(b).string())
	return nil
}

// present reports whether an optional member says something.
func present(raw json.RawMessage) bool {
	switch string(raw) {
	case "", "null", "[]", "{}", `""`:
		return false
	}
	return true
}

// marshalPlain is json.Marshal without the escapes that HTML would need.
func marshalPlain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// objectText is the text of a JSON object without spaces between its parts. Numbers
// and the order of keys stay as they are. No value at all is an empty object.
func objectText(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return "{}", nil
	}
	var b bytes.Buffer
	if raw[0] != '{' || json.Compact(&b, raw) != nil {
		return "", errors.New("the arguments of a tool call are not a JSON object")
	}
	return b.String(), nil
}

// objectEnd finds the end of a JSON object that comes in pieces. It looks at the
// structure only; whether all of it is right is for others to say.
type objectEnd struct {
	depth    int
	inString bool
	escaped  bool
	begun    bool
	done     bool
}

func (o *objectEnd) feed(s string) error {
	for i := range len(s) {
		c := s[i]
		switch {
		case o.inString:
			o.inText(c)
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		case o.done:
			return errors.New("the arguments of a tool call go on behind their end")
		case !o.begun && c != '{':
			return errors.New("the arguments of a tool call are not a JSON object")
		default:
			o.begun = true
			o.structure(c)
		}
	}
	return nil
}

func (o *objectEnd) inText(c byte) {
	switch {
	case o.escaped:
		o.escaped = false
	case c == '\\':
		o.escaped = true
	case c == '"':
		o.inString = false
	}
}

func (o *objectEnd) structure(c byte) {
	switch c {
	case '"':
		o.inString = true
	case '{', '[':
		o.depth++
	case '}', ']':
		o.depth--
		o.done = o.depth == 0
	}
}

// madeCallID is for tool calls that come without an id. Equal answers give equal
// ids; the calls of different answers, and of one, differ.
func madeCallID(answer string, n int, name string) string {
	return "call_" + digest(fmt.Sprintf("%s\x00%d\x00%s", answer, n, name))
}

// anthropicCallID is id if Anthropic takes it in a later request: it insists on
// ^[a-zA-Z0-9_-]+$. Otherwise it is one that is always the same for the same id.
func anthropicCallID(id string) string {
	for i := range len(id) {
		c := id[i]
		if c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return "toolu_" + digest(id)
		}
	}
	return id
}

// chatCallID is id if OpenAI takes it in a later request: it refuses more than 40
// characters.
func chatCallID(id string) string {
	if len(id) > 40 {
		return "call_" + digest(id)
	}
	return id
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:12])
}
