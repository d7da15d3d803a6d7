package translate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// schemaNode is a JSON value that keeps the order of its members and the digits of its
// numbers.
type schemaNode struct {
	token   byte   // '{', '[' or 0
	plain   []byte // the value itself, where it is neither object nor list
	members []schemaMember
	items   []*schemaNode
}

type schemaMember struct {
	key   string
	value *schemaNode
}

// parseNode reads one value, in time linear to its size. Nesting is bounded by the
// document's decoder, which was there before.
func parseNode(raw []byte) (*schemaNode, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return readNode(d, 0)
}

const maxSchemaDepth = 10000 // encoding/json's own

func readNode(d *json.Decoder, depth int) (*schemaNode, error) {
	if depth > maxSchemaDepth {
		return nil, errors.New("a schema is nested too deeply")
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	n := &schemaNode{}
	switch token {
	case json.Delim('{'):
		n.token = '{'
	case json.Delim('['):
		n.token = '['
	default:
		n.plain, err = requestJSON(token)
		return n, err
	}
	for d.More() {
		var m schemaMember
		if n.token == '{' {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			m.key, _ = key.(string)
		}
		if m.value, err = readNode(d, depth+1); err != nil {
			return nil, err
		}
		if n.token == '{' {
			n.members = append(n.members, m)
		} else {
			n.items = append(n.items, m.value)
		}
	}
	_, err = d.Token() // the closing one
	return n, err
}

func (n *schemaNode) write(b *bytes.Buffer) error {
	switch n.token {
	case '{':
		b.WriteByte('{')
		for i, m := range n.members {
			if i > 0 {
				b.WriteByte(',')
			}
			key, err := requestJSON(m.key)
			if err != nil {
				return err
			}
			b.Write(key)
			b.WriteByte(':')
			if err := m.value.write(b); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	case '[':
		b.WriteByte('[')
		for i, item := range n.items {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := item.write(b); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	default:
		b.Write(n.plain)
	}
	return nil
}

// jsonSchema words a schema of Gemini's, which is a selection of OpenAPI 3.0
// (https://ai.google.dev/api/caching#Schema), as JSON Schema: types in small letters,
// "nullable" as one more type, counts as numbers where protobuf writes them as strings.
func jsonSchema(raw json.RawMessage) (json.RawMessage, error) {
	n, err := parseNode(raw)
	if err != nil {
		return nil, fmt.Errorf("a schema: %w", err)
	}
	n.toJSONSchema()
	var b bytes.Buffer
	if err := n.write(&b); err != nil {
		return nil, fmt.Errorf("a schema: %w", err)
	}
	return b.Bytes(), nil
}

// inner calls f for the schemas right inside of the member of a schema.
func (m schemaMember) inner(f func(*schemaNode)) {
	switch m.key {
	case "properties", "patternProperties", "$defs", "definitions", "defs":
		for _, property := range m.value.members {
			f(property.value)
		}
	case "anyOf", "oneOf", "allOf", "prefixItems":
		for _, item := range m.value.items {
			f(item)
		}
	case "items", "additionalProperties", "not":
		f(m.value)
	}
}

// closedSchema says of each object that it has no other members than those named, which
// Anthropic insists on in answers
// (https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations).
// What holds for the closed schema holds for the open one.
func closedSchema(raw json.RawMessage) (json.RawMessage, error) {
	n, err := parseNode(raw)
	if err != nil {
		return nil, fmt.Errorf("a schema: %w", err)
	}
	n.close()
	var b bytes.Buffer
	if err := n.write(&b); err != nil {
		return nil, fmt.Errorf("a schema: %w", err)
	}
	return b.Bytes(), nil
}

func (n *schemaNode) close() {
	object, open := false, true
	for _, m := range n.members {
		object = object || m.key == "properties" || m.key == "type" && string(m.value.plain) == `"object"`
		open = open && m.key != "additionalProperties"
		m.inner((*schemaNode).close)
	}
	if object && open {
		n.members = append(n.members, schemaMember{"additionalProperties", &schemaNode{plain: []byte("false")}})
	}
}

func (n *schemaNode) toJSONSchema() {
	if n.token != '{' {
		return
	}
	kept := n.members[:0]
	nullable := false
	for _, m := range n.members {
		switch m.key {
		case "nullable":
			nullable = string(m.value.plain) == "true"
			continue
		case "type":
			m.value.plain = bytes.ToLower(m.value.plain)
		case "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties":
			m.value.plain = bytes.Trim(m.value.plain, `"`)
			if !json.Valid(m.value.plain) && m.value.token == 0 {
				continue // no count
			}
		default:
			m.inner((*schemaNode).toJSONSchema)
		}
		kept = append(kept, m)
	}
	n.members = kept
	if nullable {
		n.allowNull()
	}
}

// allowNull adds "null" to a node's type, and to its enum, which would forbid it.
func (n *schemaNode) allowNull() {
	null := &schemaNode{plain: []byte(`"null"`)}
	for _, m := range n.members {
		switch {
		case m.key == "type" && m.value.token == 0:
			*m.value = schemaNode{token: '[', items: []*schemaNode{{plain: m.value.plain}, null}}
		case m.key == "enum" && m.value.token == '[':
			m.value.items = append(m.value.items, &schemaNode{plain: []byte("null")})
		case m.key == "anyOf" && m.value.token == '[':
			m.value.items = append(m.value.items, &schemaNode{
				token: '{', members: []schemaMember{{"type", null}},
			})
		}
	}
}

// objectSchema sees to it that a schema says that it is one of an object: Anthropic
// and Gemini insist on that, Chat does not. Others stay byte for byte.
func objectSchema(raw json.RawMessage) (json.RawMessage, error) {
	if !said(raw) {
		return json.RawMessage(`{"type":"object","properties":{}}`), nil
	}
	var top struct {
		Type json.RawMessage `json:"type"`
	}
	if !isObject(raw) {
		return nil, errors.New("a tool's schema is no object")
	}
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, fmt.Errorf("a tool's schema: %w", err)
	}
	if len(top.Type) > 0 {
		return raw, nil
	}
	rest := strings.TrimLeft(strings.TrimSpace(string(raw))[1:], " \t\r\n")
	if rest == "}" {
		return json.RawMessage(`{"type":"object"}`), nil
	}
	return json.RawMessage(`{"type":"object",` + rest), nil
}
