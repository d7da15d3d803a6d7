package aigateway

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// failure is an error the client is told about. msg is safe to show; cause is
// for the log.
type failure struct {
	status     int
	msg        string
	cause      error
	retryAfter string // Retry-After header; empty: none
	gone       bool   // the client went away: nobody can be told
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

// form is how one API words errors, and how its streams end.
type form struct {
	errorBody func(status int, msg string) []byte
	errorSSE  func(status int, msg string) []byte
	line      func(m *meter, line []byte) // looks at one line of a stream
}

var anthropicForm = &form{
	errorBody: anthropicError,
	errorSSE: func(status int, msg string) []byte {
		return sse("event: error\ndata: ", anthropicError(status, msg))
	},
	line: (*meter).anthropicLine,
}

var openaiForm = &form{
	errorBody: openaiError,
	errorSSE:  func(status int, msg string) []byte { return sse("data: ", openaiError(status, msg)) },
	line:      (*meter).openaiLine,
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

// marshal encodes what cannot fail: structs of strings.
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
	clear(h) // of an answer that did not come to be
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if f.retryAfter != "" {
		h.Set("Retry-After", f.retryAfter)
	}
	if f.status < 500 && f.status != http.StatusTooManyRequests && f.status != http.StatusRequestTimeout {
		h.Set("X-Should-Retry", "false") // both vendors' clients honour it
	}
	w.WriteHeader(f.status)
	n, _ := w.Write(body)
	return n
}
