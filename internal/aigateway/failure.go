package aigateway

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/route"
	"github.com/moltworker/moltworker/internal/aigateway/translate"
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

// refused says that a step cannot be taken with this request; kind is for the record.
func refused(kind, msg string) *failure {
	return &failure{status: http.StatusBadRequest, kind: kind, why: route.Refused, msg: msg}
}

// statusClientGone is logged for calls whose client went away; nobody receives it.
const statusClientGone = 499

// form is how one API words errors, in an answer and at the end of a stream.
type form struct {
	api   translate.API
	event string // that begins an event of a stream
}

var (
	anthropicForm = &form{translate.Anthropic, "event: error\ndata: "}
	openaiForm    = &form{translate.Chat, "data: "}
	googleForm    = &form{translate.Gemini, "data: "}
)

func (f *form) errorBody(status int, msg string) []byte {
	return translate.ErrorBody(f.api, status, msg)
}

func (f *form) errorSSE(status int, msg string) []byte { return sse(f.event, f.errorBody(status, msg)) }

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
