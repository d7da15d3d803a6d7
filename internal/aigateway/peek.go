package aigateway

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// maxModelName bounds the model name that is logged.
const maxModelName = 128

// maxDepth bounds the nesting peekModel follows.
const maxDepth = 1000

// peekModel finds the top-level "model" of a JSON request without decoding the
// rest; usually it is the first key and a few bytes are looked at. What it
// cannot read it calls "": the upstream judges the body, not the gateway.
func peekModel(doc []byte) string {
	p := skipSpace(doc)
	if len(p) == 0 || p[0] != '{' {
		return ""
	}
	p = skipSpace(p[1:])
	for len(p) > 0 && p[0] == '"' {
		key, rest, ok := cutString(p)
		if rest = skipSpace(rest); !ok || len(rest) == 0 || rest[0] != ':' {
			return ""
		}
		rest = skipSpace(rest[1:])
		if string(key) == `"model"` {
			return modelName(rest)
		}
		if p, ok = skipValue(rest); !ok {
			return ""
		}
		if p = skipSpace(p); len(p) == 0 || p[0] != ',' {
			return ""
		}
		p = skipSpace(p[1:])
	}
	return ""
}

func modelName(p []byte) string {
	raw, _, ok := cutString(p)
	var name string
	if !ok || len(raw) > 8*maxModelName || json.Unmarshal(raw, &name) != nil {
		return ""
	}
	if len(name) > maxModelName {
		name = name[:maxModelName]
	}
	return printable(name)
}

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
