package fakemodel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// problem is why a call is refused.
type problem struct {
	status  int
	kind    string // Anthropic's error type
	message string
	details []any // Gemini: google.rpc messages
}

func bad(format string, a ...any) *problem {
	return refuse(http.StatusBadRequest, "invalid_request_error", fmt.Sprintf(format, a...))
}

func refuse(status int, kind, message string) *problem {
	return &problem{status: status, kind: kind, message: message}
}

// check judges a call as the real API would.
func (m *Model) check(c *Call, readErr error) *problem {
	_, method := place(c.Path)
	switch {
	case method == "":
		return refuse(http.StatusNotFound, "not_found_error", "Not Found")
	case c.Method != method:
		return refuse(http.StatusMethodNotAllowed, "invalid_request_error", "Method Not Allowed")
	case readErr != nil:
		return bad("the body broke off: %v", readErr)
	case len(c.Body) > MaxBody:
		return refuse(http.StatusRequestEntityTooLarge, "request_too_large", "Request exceeds the maximum size")
	}
	if p := m.checkKey(c); p != nil {
		return p
	}
	if c.Method == http.MethodGet {
		return nil
	}
	if t, _, _ := mime.ParseMediaType(c.Header.Get("Content-Type")); t != "application/json" {
		return bad("content-type: must be application/json, not %q", t)
	}
	if e := c.Header.Get("Content-Encoding"); e != "" {
		return bad("content-encoding: %q is not supported", e)
	}
	switch c.API {
	case OpenAI:
		return checkOpenAI(c)
	case Gemini:
		return checkGemini(c)
	}
	if v := c.Header.Get("Anthropic-Version"); v != "2023-06-01" {
		return bad("anthropic-version: %q is not a valid version", v)
	}
	return checkAnthropic(c)
}

// checkKey wants exactly one credential, where this API has it.
func (m *Model) checkKey(c *Call) *problem {
	if c.API == Gemini {
		return m.checkGoogleKey(c)
	}
	refused := func(msg string) *problem {
		return refuse(http.StatusUnauthorized, "authentication_error", msg)
	}
	xkey, auth := c.Header.Values("X-Api-Key"), c.Header.Values("Authorization")
	got := xkey
	if c.API == OpenAI {
		got, xkey = auth, nil
		if len(c.Header.Values("X-Api-Key")) > 0 {
			return refused("x-api-key is another API's header")
		}
	} else if len(auth) > 0 {
		return refused("authorization and x-api-key are both set")
	}
	if len(got) != 1 {
		return refused(fmt.Sprintf("%d API keys given, not one", len(got)))
	}
	key, isBearer := strings.CutPrefix(got[0], "Bearer ")
	if isBearer != (c.API == OpenAI) || key == "" || m.Key != "" && key != m.Key {
		return refused("invalid x-api-key")
	}
	return nil
}

// object decodes a JSON object and refuses fields that are not known.
func object(doc []byte, known []string, into any) *problem {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(doc, &fields); err != nil {
		return bad("the body is not a JSON object: %v", err)
	}
	for name := range fields {
		if !slices.Contains(known, name) {
			return bad("%s: Extra inputs are not permitted", name)
		}
	}
	if err := json.Unmarshal(doc, into); err != nil {
		return bad("wrong type: %v", err)
	}
	return nil
}

// isString reports whether a JSON value is a string, and returns it.
func isString(raw json.RawMessage) (string, bool) {
	var s string
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

func isObject(raw json.RawMessage) bool {
	raw = bytes.TrimSpace(raw)
	return len(raw) > 0 && raw[0] == '{'
}

// answerError words an error as the API does.
func answerError(w http.ResponseWriter, c *Call, p *problem) {
	w.Header().Set("Content-Type", "application/json")
	var body []byte
	switch c.API {
	case OpenAI:
		body = encode(fields{"error": fields{"message": p.message, "type": "invalid_request_error", "param": nil, "code": nil}})
	case Gemini:
		w.Header().Set("Content-Type", geminiJSON)
		body = geminiError(c, p)
	default:
		body = encode(fields{"type": "error", "error": fields{"type": p.kind, "message": p.message}, "request_id": "req_fake"})
	}
	w.WriteHeader(p.status)
	c.count(body)
	_, _ = w.Write(body)
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("fakemodel: encode: " + err.Error())
	}
	return b
}
