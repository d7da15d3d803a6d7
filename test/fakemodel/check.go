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
}

func bad(format string, a ...any) *problem {
	return &problem{http.StatusBadRequest, "invalid_request_error", fmt.Sprintf(format, a...)}
}

// check judges a call as the real API would.
func (m *Model) check(c *Call, readErr error) *problem {
	at, ok := apis[c.Path]
	switch {
	case !ok:
		return &problem{http.StatusNotFound, "not_found_error", "Not Found"}
	case c.Method != at.method:
		return &problem{http.StatusMethodNotAllowed, "invalid_request_error", "Method Not Allowed"}
	case readErr != nil:
		return bad("the body broke off: %v", readErr)
	case len(c.Body) > MaxBody:
		return &problem{http.StatusRequestEntityTooLarge, "request_too_large", "Request exceeds the maximum size"}
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
	if c.API == OpenAI {
		return checkOpenAI(c)
	}
	if v := c.Header.Get("Anthropic-Version"); v != "2023-06-01" {
		return bad("anthropic-version: %q is not a valid version", v)
	}
	return checkAnthropic(c)
}

// checkKey wants exactly one credential, where this API has it.
func (m *Model) checkKey(c *Call) *problem {
	refused := func(msg string) *problem {
		return &problem{http.StatusUnauthorized, "authentication_error", msg}
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
func answerError(w http.ResponseWriter, c *Call, status int, kind, msg string) {
	var v any = map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": msg}, "request_id": "req_fake"}
	if c.API == OpenAI {
		v = map[string]any{"error": map[string]any{"message": msg, "type": "invalid_request_error", "param": nil, "code": nil}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	p := encode(v)
	c.count(p)
	_, _ = w.Write(p)
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("fakemodel: encode: " + err.Error())
	}
	return b
}
