package aigateway

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/route"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// failure is an error the client is told about. msg is safe to show; cause is
// for the log.
type failure struct {
	status     int
	msg        string
	cause      error
	kind       string        // for the record: "budget", "busy" ...; empty: after the status
	retryAfter string        // Retry-After header; empty: none
	final      bool          // trying again soon is of no use, whatever the status
	why        route.Failure // by which a call may fall back; "": it does not
	sent       bool          // the provider was asked: it is its failure, and not the request's
	gone       bool          // the client went away: nobody can be told
}

func (f *failure) Error() string {
	if f.cause == nil {
		return f.msg
	}
	return f.msg + ": " + f.cause.Error()
}

func (f *failure) Unwrap() error { return f.cause }

func fail(status int, msg string) *failure { return &failure{status: status, msg: msg} }

// statusClientGone is logged for calls whose client went away; nobody receives it.
const statusClientGone = 499

// form is how one API words errors, in an answer and at the end of a stream.
type form struct {
	errorBody func(status int, msg string) []byte
	errorSSE  func(status int, msg string) []byte
}

var anthropicForm = &form{
	errorBody: anthropicError,
	errorSSE: func(status int, msg string) []byte {
		return sse("event: error\ndata: ", anthropicError(status, msg))
	},
}

var openaiForm = &form{
	errorBody: openaiError,
	errorSSE:  func(status int, msg string) []byte { return sse("data: ", openaiError(status, msg)) },
}

var googleForm = &form{
	errorBody: googleError,
	errorSSE:  func(status int, msg string) []byte { return sse("data: ", googleError(status, msg)) },
}

// formOf is the form of the API whose answers are of a kind. Most took OpenAI's.
func formOf(kind usage.Kind) *form {
	switch kind {
	case usage.Anthropic:
		return anthropicForm
	case usage.Gemini:
		return googleForm
	}
	return openaiForm
}

func sse(head string, data []byte) []byte {
	return append(append([]byte(head), data...), "\n\n"...)
}

func anthropicError(status int, msg string) []byte {
	type detail struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	return marshal(struct {
		Type  string `json:"type"`
		Error detail `json:"error"`
	}{"error", detail{anthropicErrorType(status), msg}})
}

func anthropicErrorType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusGatewayTimeout:
		return "timeout_error"
	case 529:
		return "overloaded_error"
	}
	if status < 500 {
		return "invalid_request_error"
	}
	return "api_error"
}

func openaiError(status int, msg string) []byte {
	type detail struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	d := detail{Message: msg, Type: "server_error"}
	code := func(s string) { d.Code = &s }
	switch {
	case status == http.StatusUnauthorized:
		d.Type = "invalid_request_error"
		code("invalid_api_key")
	case status == http.StatusTooManyRequests:
		d.Type = "requests"
		code("rate_limit_exceeded")
	case status < 500:
		d.Type = "invalid_request_error"
	}
	return marshal(struct {
		Error detail `json:"error"`
	}{d})
}

// googleError is the form of google.rpc.Status, as Google's APIs have it in JSON.
func googleError(status int, msg string) []byte {
	type detail struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Status  string `json:"status"`
	}
	names := map[int]string{http.StatusUnauthorized: "UNAUTHENTICATED", http.StatusForbidden: "PERMISSION_DENIED",
		http.StatusNotFound: "NOT_FOUND", http.StatusTooManyRequests: "RESOURCE_EXHAUSTED", http.StatusGatewayTimeout: "DEADLINE_EXCEEDED",
		http.StatusBadGateway: "UNAVAILABLE", http.StatusServiceUnavailable: "UNAVAILABLE", http.StatusInternalServerError: "INTERNAL"}
	name, ok := names[status]
	if !ok {
		name = "INVALID_ARGUMENT"
	}
	return marshal(struct {
		Error detail `json:"error"`
	}{detail{status, msg, name}})
}

// marshal encodes what cannot fail: structs of strings, and strings.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("aigateway: encode error body: " + err.Error())
	}
	return b
}

// writeTo answers with the failure in the API's own form.
func (f *failure) writeTo(w http.ResponseWriter, fm *form) int {
	body := fm.errorBody(f.status, f.msg)
	h := w.Header()
	for name := range h { // of an answer that did not come to be
		if !strings.HasPrefix(name, ownPrefix) {
			delete(h, name)
		}
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if f.retryAfter != "" {
		h.Set("Retry-After", f.retryAfter)
	}
	if f.final || f.status < 500 && f.status != http.StatusTooManyRequests && f.status != http.StatusRequestTimeout {
		h.Set("X-Should-Retry", "false") // both vendors' clients honour it
	}
	w.WriteHeader(f.status)
	n, _ := w.Write(body)
	return n
}
