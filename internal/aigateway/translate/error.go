package translate

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// StreamError is what a provider says of an error inside an answer that had begun as
// a good one.
type StreamError struct {
	Status  int    // the HTTP status that the error would have had; 502 where nothing tells
	Type    string // the provider's own word, such as "overloaded_error"; may be empty
	Message string // never empty
}

func (e *StreamError) Error() string { return e.Message }

// maxMessage is how many bytes of a provider's message are kept.
const maxMessage = 4096

// Error turns an error body of a provider's API into one of the API that the client
// speaks. The message stays; the kind follows from the status. A body that is not of
// from's form, such as a proxy's page, counts for nothing, or for its text if that is
// plain. If status is none of an error, what doc says of it is taken.
func Error(doc []byte, status int, from, to API) []byte {
	e := newStreamError(doc, from)
	if status < 400 || status > 599 {
		status = e.Status
	}
	message := e.Message
	if saidMessage(doc) == "" {
		message = plainMessage(doc, status)
	}
	return ErrorBody(to, status, message)
}

// ErrorBody is an error as an API words it. The kind follows from the status. Of APIs
// that are not known it is OpenAI's, which most others took.
func ErrorBody(api API, status int, message string) []byte {
	var body any
	switch api {
	case Anthropic:
		body = anthropicErrorOut{"error", anthropicErrorDetail{anthropicErrorType(status), message}}
	case Gemini:
		body = geminiErrorOut{geminiErrorDetail{status, message, geminiErrorStatus(status)}}
	default:
		body = chatErrorOut{chatErrorDetailOf(status, message)}
	}
	out, err := marshalPlain(body)
	if err != nil {
		return []byte(`{}`) // there is nothing in it that could fail
	}
	return out
}

// errorBody has what the errors of all three APIs have, and those of most servers
// that say they speak one of them.
type errorBody struct {
	Error   json.RawMessage `json:"error"` // an object, or a string
	Message looseString     `json:"message"`
	Type    looseString     `json:"type"`
	Detail  looseString     `json:"detail"` // FastAPI's
	Code    json.RawMessage `json:"code"`
}

type errorDetail struct {
	Message looseString     `json:"message"`
	Type    looseString     `json:"type"`
	Status  looseString     `json:"status"` // Google's
	Code    json.RawMessage `json:"code"`   // Google's and OpenRouter's status, or a word
}

func readError(doc []byte) (d errorDetail) {
	doc = bytes.TrimSpace(doc)
	if bytes.HasPrefix(doc, []byte("[")) { // Google's, where a stream was asked for without alt=sse
		var list []json.RawMessage
		if json.Unmarshal(doc, &list) != nil || len(list) == 0 {
			return d
		}
		doc = list[0]
	}
	var b errorBody
	if json.Unmarshal(doc, &b) != nil {
		return d
	}
	if json.Unmarshal(b.Error, &d) == nil && d.Message != "" {
		return d
	}
	d.Message = looseString(literalOf(b.Error).string())
	for _, s := range []looseString{b.Message, b.Detail} {
		if d.Message == "" {
			d.Message = s
		}
	}
	if len(d.Code) == 0 {
		d.Code = b.Code
	}
	if d.Type == "" && b.Type != "error" {
		d.Type = b.Type
	}
	return d
}

func saidMessage(doc []byte) string { return string(readError(doc).Message) }

// newStreamError reads an error of one API's.
func newStreamError(doc []byte, from API) *StreamError {
	d := readError(doc)
	code := string(literalOf(d.Code).string())
	e := &StreamError{Status: http.StatusBadGateway, Type: string(d.Type), Message: clip(string(d.Message))}
	if e.Type == "" {
		e.Type = string(d.Status)
	}
	if e.Type == "" {
		e.Type = code
	}
	switch n, err := strconv.Atoi(string(d.Code)); {
	case err == nil && n >= 400 && n <= 599:
		e.Status = n
	case statusOf(code) != 0:
		e.Status = statusOf(code)
	case statusOf(e.Type) != 0:
		e.Status = statusOf(e.Type)
	}
	e.Type = e.Type[:min(len(e.Type), 64)]
	if e.Message == "" {
		e.Message = "The provider reported an error without a message."
	}
	return e
}

// statusOf is the HTTP status that goes with a word for an error, 0 where none does.
// https://docs.anthropic.com/en/api/errors, google.rpc.Code, and
// https://platform.openai.com/docs/guides/error-codes
func statusOf(word string) int {
	switch word {
	case "invalid_request_error", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE", "context_length_exceeded":
		return http.StatusBadRequest
	case "authentication_error", "UNAUTHENTICATED", "invalid_api_key":
		return http.StatusUnauthorized
	case "billing_error":
		return http.StatusPaymentRequired
	case "permission_error", "PERMISSION_DENIED":
		return http.StatusForbidden
	case "not_found_error", "NOT_FOUND", "model_not_found":
		return http.StatusNotFound
	case "request_too_large":
		return http.StatusRequestEntityTooLarge
	case "rate_limit_error", "RESOURCE_EXHAUSTED", "rate_limit_exceeded", "insufficient_quota", "requests", "tokens":
		return http.StatusTooManyRequests
	case "api_error", "server_error", "INTERNAL", "UNKNOWN", "DATA_LOSS":
		return http.StatusInternalServerError
	case "UNAVAILABLE":
		return http.StatusServiceUnavailable
	case "timeout_error", "DEADLINE_EXCEEDED":
		return http.StatusGatewayTimeout
	case "overloaded_error":
		return statusOverloaded
	}
	return 0
}

const statusOverloaded = 529 // Anthropic's own

// plainMessage is for bodies that have no message where one should be.
func plainMessage(doc []byte, status int) string {
	s := strings.TrimSpace(string(doc))
	if s != "" && s[0] != '<' && s[0] != '{' && s[0] != '[' && utf8.ValidString(s) {
		return clip(s)
	}
	if s = http.StatusText(status); s == "" {
		s = "Status " + strconv.Itoa(status)
	}
	return "The provider answered: " + s
}

// clip cuts a message that is too long, between characters.
func clip(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage], "") + "..."
}

type anthropicErrorOut struct {
	Type  string               `json:"type"`
	Error anthropicErrorDetail `json:"error"`
}

type anthropicErrorDetail struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

func anthropicErrorType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusPaymentRequired:
		return "billing_error"
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
	case statusOverloaded:
		return "overloaded_error"
	}
	if status < 500 {
		return "invalid_request_error"
	}
	return "api_error"
}

type chatErrorOut struct {
	Error chatErrorDetail `json:"error"`
}

type chatErrorDetail struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func chatErrorDetailOf(status int, message string) chatErrorDetail {
	d := chatErrorDetail{Message: message, Type: "server_error"}
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
	return d
}

type geminiErrorOut struct {
	Error geminiErrorDetail `json:"error"`
}

type geminiErrorDetail struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Status  string `json:"status"`
}

// geminiErrorStatus is a name of google.rpc.Code.
func geminiErrorStatus(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusTooManyRequests:
		return "RESOURCE_EXHAUSTED"
	case http.StatusInternalServerError:
		return "INTERNAL"
	case http.StatusGatewayTimeout:
		return "DEADLINE_EXCEEDED"
	}
	if status < 500 {
		return "INVALID_ARGUMENT"
	}
	return "UNAVAILABLE"
}
