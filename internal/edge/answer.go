package edge

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

// problem is an answer of our own that is no success: a page for people, JSON for
// programs, with the same words.
type problem struct {
	status     int
	kind       string // for programs
	title      string // for people
	message    string // one sentence: what is the matter
	remedy     string // what to do about it; commands in backquotes
	form       bool   // offer to paste a token
	retryAfter time.Duration
	boot       *agent.Status // the agent's state, when that is the matter
	now        time.Time     // with boot
}

// answer writes a problem in the form that suits the caller.
func answer(w http.ResponseWriter, r *http.Request, p problem) {
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", seconds(p.retryAfter))
	}
	if isNavigation(r) {
		writePage(w, p)
		return
	}
	writeJSON(w, p.status, p.json())
}

type problemJSON struct {
	Error  errorJSON     `json:"error"`
	Agent  string        `json:"agent,omitempty"`
	State  agent.State   `json:"state,omitempty"`
	Phases []agent.Phase `json:"phases,omitempty"`
}

type errorJSON struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

func (p problem) json() problemJSON {
	body := problemJSON{Error: errorJSON{Type: p.kind, Message: p.message, Remedy: p.remedy}}
	if p.boot != nil {
		body.Agent, body.State, body.Phases = p.boot.Agent, p.boot.State, p.boot.Phases
	}
	return body
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	ownHeaders(w.Header())
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone: nothing to do about it
}

// ownHeaders are on everything that we say ourselves. The gateway's answers keep
// the headers that it chose.
func ownHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	if h.Get("Content-Security-Policy") == "" {
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	}
}
