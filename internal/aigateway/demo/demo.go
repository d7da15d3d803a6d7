// Package demo owns the built-in model that answers when no API key is set. It
// speaks Anthropic's Messages API, says what it is and how to set a key, does
// arithmetic, and calls a tool when told to:
//
//	/demo tool NAME {"json": "input"}
//
// It needs no network, no time and no randomness: the same request gets the
// same answer. It must not know the gateway that calls it; to that it is one
// more upstream.
package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// Notice is what the demo model says of itself.
const Notice = "I am moltworker's built-in demo model, not a real one. To talk to Claude, set a key on the host: moltworker secret put ANTHROPIC_API_KEY"

// maxRequest bounds the request body the model reads.
const maxRequest = 32 << 20

// Model answers requests of the Messages API. It implements
// [http.RoundTripper], so that calls to it take the path of all others.
type Model struct{}

// RoundTrip answers one request.
func (Model) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		defer r.Body.Close()
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Body, maxRequest)); err != nil {
			return nil, err
		}
	}
	q, err := parse(body)
	if err != nil {
		return jsonResponse(r, http.StatusBadRequest, errorBody(err)), nil
	}
	m := message{id: idOf(body), model: q.Model, in: int64(len(body)/4 + 1), answer: answer(q, idOf(body))}
	if q.Stream {
		return response(r, http.StatusOK, "text/event-stream; charset=utf-8", -1, io.NopCloser(m.stream())), nil
	}
	return jsonResponse(r, http.StatusOK, m.json()), nil
}

// idOf derives the ids of an answer from its question.
func idOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:12])
}

func jsonResponse(r *http.Request, status int, body []byte) *http.Response {
	return response(r, status, "application/json", int64(len(body)), io.NopCloser(bytes.NewReader(body)))
}

func response(r *http.Request, status int, contentType string, length int64, body io.ReadCloser) *http.Response {
	h := http.Header{"Content-Type": {contentType}}
	if length >= 0 {
		h.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: body, ContentLength: length, Request: r,
	}
}

func errorBody(err error) []byte {
	return encode(map[string]any{"type": "error", "error": map[string]string{
		"type": "invalid_request_error", "message": err.Error(),
	}})
}

// encode marshals values that always can be.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("demo: encode answer: " + err.Error())
	}
	return b
}

// maxToolText bounds how much of a tool's answer is repeated.
const maxToolText = 100 << 10

// cut shortens s to n bytes at most, at a character's end, and says so.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "\n[cut; " + strconv.Itoa(len(s)-n) + " more bytes]"
}
