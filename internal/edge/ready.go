package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

// use wakes the agent for a request and keeps it awake until done is called. It
// waits as long as the caller's kind of request is worth waiting for; the waking
// goes on after that, and the loading page shows how it ends. A stopped or failed
// agent is not waited for.
func (e *Edge) use(r *http.Request, v visit) (done func(), err error) {
	wait, what := e.opts.Limits.WaitCall, "a request"
	switch {
	case isNavigation(r):
		wait = e.opts.Limits.WaitPage
	case isUpgrade(r):
		what = "a connection"
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	defer context.AfterFunc(e.stopping, cancel)()
	return v.backend.Use(ctx, what)
}

// notReady tells the caller why there is no gateway to talk to.
func (e *Edge) notReady(w http.ResponseWriter, r *http.Request, s agent.Status) {
	answer(w, r, e.bootProblem(s))
}

// bootProblem puts an agent's state into words.
func (e *Edge) bootProblem(s agent.Status) problem {
	p := problem{status: http.StatusServiceUnavailable, kind: "agent_not_ready", boot: &s, now: e.opts.Now(), remedy: s.Remedy}
	switch s.State {
	case agent.StateFailed:
		p.kind, p.title = "agent_failed", s.Agent+" needs your help"
		p.message = sentence("Agent %s could not start: %s", s.Agent, firstOf(s.Error, s.Reason))
		p.remedy = firstOf(s.Remedy, fmt.Sprintf("See why with `moltworker agent logs %s`, then run `moltworker agent restart %s`.", s.Agent, s.Agent))
		p.retryAfter = 30 * time.Second
	case agent.StateStopped:
		p.kind, p.title = "agent_stopped", s.Agent+" is stopped"
		p.message = sentence("Agent %s is not running: %s", s.Agent, firstOf(s.Reason, "nobody started it"))
		p.remedy = firstOf(s.Remedy, fmt.Sprintf("Start it with `moltworker agent restart %s`.", s.Agent))
		p.retryAfter = 10 * time.Second
	case agent.StateAwake:
		p.kind, p.title = "gateway_unreachable", "Reconnecting to "+s.Agent
		p.message = fmt.Sprintf("Agent %s is running, but its gateway did not take the connection.", s.Agent)
		p.remedy = firstOf(s.Remedy, fmt.Sprintf("This mends itself in a moment; if not, run `moltworker agent restart %s`.", s.Agent))
		p.retryAfter = time.Second
	case agent.StateSuspending:
		p.title = "Waking " + s.Agent
		p.message = sentence("Agent %s is finishing its way to sleep, and wakes right after that: %s", s.Agent, firstOf(s.Reason, "a moment"))
		p.remedy = firstOf(s.Remedy, "Try again in a second.")
		p.retryAfter = time.Second
	case agent.StateAsleep:
		p.title = "Waking " + s.Agent
		p.message = fmt.Sprintf("Agent %s is asleep and is being woken now.", s.Agent)
		p.remedy = firstOf(s.Remedy, "Try again in a second.")
		p.retryAfter = time.Second
	case agent.StateWaking:
		p.title = "Waking " + s.Agent
		p.message = sentence("Agent %s is waking: %s", s.Agent, firstOf(s.Reason, "a moment"))
		p.remedy = firstOf(s.Remedy, "Try again in a second.")
		p.retryAfter = time.Second
	default:
		p.title = "Starting " + s.Agent
		p.message = sentence("Agent %s is starting: %s", s.Agent, firstOf(s.Reason, "its sandbox is on the way"))
		p.remedy = firstOf(s.Remedy, "Try again in a few seconds.")
		p.retryAfter = 2 * time.Second
	}
	return p
}

// sentence formats and sees to it that one full stop ends it.
func sentence(format string, args ...any) string {
	return strings.TrimRight(strings.TrimSpace(fmt.Sprintf(format, args...)), ".") + "."
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

const (
	maxEventStreams  = 64 // per agent
	eventStreamLife  = 10 * time.Minute
	eventStreamPulse = 15 * time.Second
)

// events sends the loading page what has changed, as server-sent events, until
// the agent is awake. Each one holds the part of the page to replace: what there
// is to see is decided in one place, the template.
func (e *Edge) events(w http.ResponseWriter, r *http.Request, v visit) {
	release, ok := e.watchers.acquire(v.agent)
	if !ok {
		answer(w, r, problem{status: http.StatusServiceUnavailable, kind: "too_many_watchers", title: "Too many watchers",
			message: "Too many pages are watching this agent.", remedy: "Close some of them.", retryAfter: 10 * time.Second})
		return
	}
	defer release()
	ctx, cancel := context.WithTimeout(r.Context(), eventStreamLife)
	defer cancel()
	defer context.AfterFunc(e.stopping, cancel)()
	ownHeaders(w.Header())
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	e.sendEvents(ctx, w, v.backend)
}

func (e *Edge) sendEvents(ctx context.Context, w http.ResponseWriter, b Backend) {
	out, pulse := http.NewResponseController(w), time.NewTicker(eventStreamPulse)
	defer pulse.Stop()
	changes := b.Watch(ctx)
	for {
		select {
		case s, open := <-changes:
			if !open {
				return
			}
			if _, err := fmt.Fprintf(w, "data: %s\n\n", e.event(s)); err != nil || s.State == agent.StateAwake {
				return
			}
		case <-pulse.C:
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil {
				return
			}
		}
		if out.Flush() != nil {
			return
		}
	}
}

// event is one change as the page's script reads it.
func (e *Edge) event(s agent.Status) []byte {
	p := e.bootProblem(s)
	body, _ := json.Marshal(struct {
		State agent.State `json:"state"`
		Title string      `json:"title"`
		HTML  string      `json:"html"`
	}{s.State, p.title, renderBoot(p)})
	return body
}
