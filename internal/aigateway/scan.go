package aigateway

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// Enough JSON to find one's way in a request body without decoding it: what is
// looked for is small and near the edges, what lies between may be megabytes.

// maxModelName bounds the model name that is logged.
const maxModelName = 128

// maxDepth bounds the nesting that is followed.
const maxDepth = 1000

// eachMember calls f with each key (quotes included) and value of the JSON object
// that doc begins with, in order, until f returns false. Values are not checked
// beyond where they end; at what cannot be read it stops.
func eachMember(doc []byte, f func(key, value []byte) bool) {
	p := skipSpace(doc)
	if len(p) == 0 || p[0] != '{' {
		return
	}
	p = skipSpace(p[1:])
	for len(p) > 0 && p[0] == '"' {
		key, rest, ok := cutString(p)
		if rest = skipSpace(rest); !ok || len(rest) == 0 || rest[0] != ':' {
			return
		}
		value := skipSpace(rest[1:])
		rest, ok = skipValue(value)
		if !ok {
			return
		}
		if !f(key, trimSpace(value[:len(value)-len(rest)])) {
			return
		}
		if p = skipSpace(rest); len(p) == 0 || p[0] != ',' {
			return
		}
		p = skipSpace(p[1:])
	}
}

// eachElement calls f with each element of the JSON array that doc begins with, in
// order, until f returns false; as eachMember does.
func eachElement(doc []byte, f func(value []byte) bool) {
	p := skipSpace(doc)
	if len(p) == 0 || p[0] != '[' {
		return
	}
	p = skipSpace(p[1:])
	for len(p) > 0 && p[0] != ']' {
		rest, ok := skipValue(p)
		if !ok || !f(trimSpace(p[:len(p)-len(rest)])) {
			return
		}
		if p = skipSpace(rest); len(p) == 0 || p[0] != ',' {
			return
		}
		p = skipSpace(p[1:])
	}
}

func modelName(p []byte) string {
	raw, _, ok := cutString(p)
	var name string
	if !ok || len(raw) > 8*maxModelName || json.Unmarshal(raw, &name) != nil {
		return ""
	}
	return shown(name)
}

// shown is a model's name as it is logged.
func shown(name string) string { return printable(name[:min(len(name), maxModelName)]) }

// printable keeps a name usable on one line.
func printable(s string) string {
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return strconv.QuoteToASCII(s)
		}
	}
	return s
}

func skipSpace(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\n' || p[0] == '\t' || p[0] == '\r') {
		p = p[1:]
	}
	return p
}

// trimSpace drops what stands behind a value: before a bracket, a scalar ends there.
func trimSpace(p []byte) []byte { return bytes.TrimRight(p, " \n\t\r") }

// isNamed says whether a key, quotes included, is a name however it is written:
// parsers differ in whether they see to case.
func isNamed(key []byte, name string) bool {
	if bytes.IndexByte(key, '\\') < 0 {
		return len(key) == len(name)+2 && bytes.EqualFold(key[1:len(key)-1], []byte(name))
	}
	var plain string
	return len(key) <= 8*len(name)+2 && json.Unmarshal(key, &plain) == nil && strings.EqualFold(plain, name)
}

// cutString splits p after the JSON string it begins with, quotes included.
func cutString(p []byte) (str, rest []byte, ok bool) {
	if len(p) == 0 || p[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(p); {
		j := bytes.IndexByte(p[i:], '"')
		if j < 0 {
			break
		}
		end := i + j
		slashes := 0
		for end-slashes > i && p[end-slashes-1] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return p[:end+1], p[end+1:], true
		}
		i = end + 1
	}
	return nil, nil, false
}

// skipValue drops the JSON value p begins with. It checks only what it needs to
// find the end.
func skipValue(p []byte) (rest []byte, ok bool) {
	depth := 0
	for len(p) > 0 {
		switch p[0] {
		case '"':
			if _, p, ok = cutString(p); !ok {
				return nil, false
			}
		case '{', '[':
			if depth++; depth > maxDepth {
				return nil, false
			}
			p = p[1:]
			continue
		case '}', ']':
			if depth--; depth < 0 {
				return nil, false
			}
			p = p[1:]
		default:
			n := bytes.IndexAny(p, `"{}[],`)
			if n < 0 {
				return nil, false
			}
			if n == 0 { // a comma
				if depth == 0 {
					return p, true
				}
				n = 1
			}
			p = p[n:]
		}
		if depth == 0 {
			return p, true
		}
	}
	return nil, false
}
