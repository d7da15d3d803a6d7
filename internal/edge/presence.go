package edge

import (
	"fmt"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

// A page that is open does things by itself: it connects again when its line was
// lost, and fetches a picture when an answer names one. That must neither wake an
// agent nor keep it awake; a person who acts must do both. Browsers do not say
// which of the two a request is, so our script on the page notes it in a cookie
// that lives for a minute: set when the page becomes visible and when somebody
// presses a key or a button on it. It opens nothing and means nothing to the
// guest, which does not get to see it.
const (
	presenceCookie = "moltworker_present"
	presenceLife   = 60 // seconds
)

// unattended says whether a request was made by a page of a browser with nobody
// before it: a WebSocket, or a part that the page fetches. Programs send neither
// Origin nor Sec-Fetch-Site with those. Browsers leave Sec-Fetch out on plain HTTP
// to other machines than their own, so there every fetch counts as somebody's.
func unattended(r *http.Request) bool {
	switch {
	case isUpgrade(r):
		if r.Header.Get("Origin") == "" {
			return false
		}
	case r.Method != http.MethodGet && r.Method != http.MethodHead, isNavigation(r), r.Header.Get("Sec-Fetch-Site") != "same-origin":
		return false
	}
	_, err := r.Cookie(presenceCookie)
	return err != nil
}

// leaveAsleep answers an unattended request to an agent that sleeps. OpenClaw's
// page takes a refused WebSocket for a lost one: it says "Disconnected" and tries
// again with growing pauses of at most 15 s, without end. Once somebody acts on the
// page, our script has the agent woken and then makes the page try at once; when
// the agent wakes for another reason the page gets in with its next try. An open
// WebSocket does not get here: it stays open through the sleep.
func (e *Edge) leaveAsleep(w http.ResponseWriter, r *http.Request, v visit) {
	s := v.backend.Status()
	p := e.bootProblem(s)
	p.kind, p.title = "agent_asleep", v.agent+" is asleep"
	p.message = fmt.Sprintf("Agent %s is asleep, and an open page alone does not wake it.", v.agent)
	p.remedy = "Click on the page or type something: that wakes it."
	p.retryAfter = 15 * time.Second
	answer(w, r, p)
}

// wake answers our script, which says that somebody is at the page: 200 once the
// agent has woken for it, 204 when it is awake anyway.
func (e *Edge) wake(w http.ResponseWriter, r *http.Request, v visit) {
	if r.Method != http.MethodPost {
		noSuchRoute(w, r)
		return
	}
	if v.backend.Status().State == agent.StateAwake {
		ownHeaders(w.Header())
		w.WriteHeader(http.StatusNoContent)
		return
	}
	done, err := e.use(r, v)
	if err != nil {
		e.notReady(w, r, v.backend.Status())
		return
	}
	done()
	writeJSON(w, http.StatusOK, map[string]any{"woken": true})
}
