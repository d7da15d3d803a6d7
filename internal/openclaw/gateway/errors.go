package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// RPCError is a refusal by the gateway.
type RPCError struct {
	Code       string          // e.g. "INVALID_REQUEST", "UNAVAILABLE"
	Message    string          // cleaned and of bounded length
	Details    json.RawMessage // as sent, at most maxDetails bytes
	Retryable  bool
	RetryAfter time.Duration
}

const (
	maxDetails = 16 << 10
	maxText    = 512
)

func (e *RPCError) Error() string {
	if d := e.DetailCode(); d != "" && d != e.Code {
		return fmt.Sprintf("the gateway refused (%s, %s): %s", e.Code, d, e.Message)
	}
	return fmt.Sprintf("the gateway refused (%s): %s", e.Code, e.Message)
}

// details are the fields of error.details that we read.
type details struct {
	Code      string `json:"code"`
	Reason    string `json:"reason"`
	RequestID string `json:"requestId"`
}

func (e *RPCError) details() (d details) {
	if json.Unmarshal(e.Details, &d) != nil {
		return details{}
	}
	return details{clean(d.Code), clean(d.Reason), clean(d.RequestID)}
}

// DetailCode is the finer code, e.g. "AUTH_TOKEN_MISMATCH"; empty if none.
func (e *RPCError) DetailCode() string { return e.details().Code }

// DetailReason is the reason in the details, e.g. [SuspendReason]; empty if none.
func (e *RPCError) DetailReason() string { return e.details().Reason }

// RequestID is that of the pairing request which the refusal made, if any.
func (e *RPCError) RequestID() string { return e.details().RequestID }

// starting says whether the gateway asks to come back when it has started.
func (e *RPCError) starting() bool {
	return e.Code == "UNAVAILABLE" && e.details().Reason == "startup-sidecars"
}

type wireError struct {
	Code         string          `json:"code"`
	Message      string          `json:"message"`
	Details      json.RawMessage `json:"details"`
	Retryable    bool            `json:"retryable"`
	RetryAfterMS float64         `json:"retryAfterMs"`
}

func (w *wireError) typed() *RPCError {
	if w == nil {
		return &RPCError{Code: "UNKNOWN", Message: "no reason given"}
	}
	e := &RPCError{Code: clean(w.Code), Message: clean(w.Message), Retryable: w.Retryable}
	if len(w.Details) <= maxDetails {
		e.Details = w.Details
	}
	// A day bounds the arithmetic; who waits has bounds of their own.
	ms := min(max(w.RetryAfterMS, 0), 86_400_000)
	e.RetryAfter = time.Duration(ms * float64(time.Millisecond))
	return e
}

// explainUpgrade reads why the gateway refused to speak WebSocket at all.
func explainUpgrade(res *http.Response, err error) error {
	if res == nil || res.Body == nil || res.StatusCode == http.StatusSwitchingProtocols {
		return fmt.Errorf("connect to the gateway: %w", err)
	}
	var refusal struct {
		Error struct {
			Type    string `json:"type"`
			Message string `json:"message"`
		} `json:"error"`
	}
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxDetails))
	if json.Unmarshal(body, &refusal) == nil && refusal.Error.Type != "" {
		return fmt.Errorf("connect to the gateway: %w",
			&RPCError{Code: clean(refusal.Error.Type), Message: clean(refusal.Error.Message)})
	}
	return fmt.Errorf("connect to the gateway: it answered HTTP %d: %w", res.StatusCode, err)
}

// clean makes text from inside fit for a terminal and a log line.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(clip(s), ""))
	return strings.TrimSpace(s)
}

func clip(s string) string {
	if len(s) > maxText {
		return s[:maxText]
	}
	return s
}
