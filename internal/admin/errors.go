package admin

import (
	"errors"
	"net/http"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
)

// Error is a refusal as it travels: {"error":{"type","message","remedy"}}.
type Error struct {
	Status  int    `json:"-"` // of HTTP
	Kind    string `json:"type"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// ErrNotConfigured: what was asked for needs settings that are not made. It is
// the cause of an [*Error] of the kind "not_configured".
var ErrNotConfigured = errors.New("not configured")

// Is makes an Error that came over the wire the same as the one that left.
func (e *Error) Is(target error) bool {
	return target == ErrNotConfigured && e.Kind == "not_configured"
}

// AsError gives every error of the control plane a status, a kind, and words that
// may be shown to the caller.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var refused *access.Refusal
	if errors.As(err, &refused) {
		return &Error{Status: refused.Status(), Kind: string(refused.Reason), Message: refused.Message, Remedy: refused.Remedy}
	}
	e = &Error{Status: http.StatusInternalServerError, Kind: "failed", Message: err.Error(), Remedy: remedy.Of(err)}
	switch {
	case errors.Is(err, agent.ErrNotAwake):
		e.Status, e.Kind = http.StatusServiceUnavailable, "not_awake"
		e.Remedy = "wait until `moltworker agent ls` says awake; `moltworker agent logs` shows what it is doing"
	case errors.Is(err, agent.ErrBusy):
		e.Status, e.Kind = http.StatusConflict, "busy"
		e.Remedy = "try again when that is done"
	case errors.Is(err, agent.ErrTaken):
		e.Status, e.Kind = http.StatusConflict, "taken"
	case errors.Is(err, secret.ErrNotFound), errors.Is(err, agent.ErrNoAgent):
		e.Status, e.Kind = http.StatusNotFound, "not_found"
	case errors.Is(err, secret.ErrInvalid), errors.Is(err, config.ErrInvalid), errors.Is(err, calllog.ErrFilter):
		e.Status, e.Kind = http.StatusBadRequest, "invalid"
	default:
		asBackupError(e, err)
	}
	return e
}
