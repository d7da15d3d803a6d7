package edge

import (
	"net/http"
	"net/url"

	"github.com/moltworker/moltworker/internal/access"
)

// enter lets somebody in who is signed in at the control plane: a ticket, good
// once and for a minute, becomes a cookie of this agent's host.
func (e *Edge) enter(w http.ResponseWriter, r *http.Request, v visit) {
	ticket := r.URL.Query().Get("ticket")
	if e.opts.Enter == nil || ticket == "" || r.Method != http.MethodGet {
		noSuchRoute(w, r)
		return
	}
	if err := e.opts.Enter(w, r, v.place(), ticket); err != nil {
		e.refuse(w, r, v, err)
		return
	}
	e.welcome(w, v, &url.URL{Path: "/"})
}

// enteredCookie notes that this browser was given the gateway's token lately.
const (
	enteredCookie = "moltworker-entered"
	enteredLife   = 3600 // seconds
)

// giveToken sees to it that OpenClaw's page has the gateway's token when its
// reader came without one: signed in, instead. The page keeps what it finds in the
// fragment; servers never see that.
func (e *Edge) giveToken(w http.ResponseWriter, r *http.Request, v visit) bool {
	if v.who.Kind != access.KindPerson && v.who.Kind != access.KindDeveloper {
		return false
	}
	if r.Method != http.MethodGet || !isNavigation(r) || r.Header.Get("Sec-Fetch-Dest") == "iframe" {
		return false
	}
	if _, err := r.Cookie(enteredCookie); err == nil {
		return false
	}
	e.welcome(w, v, r.URL)
	return true
}

func (e *Edge) welcome(w http.ResponseWriter, v visit, to *url.URL) {
	http.SetCookie(w, &http.Cookie{Name: enteredCookie, Value: "1", Path: "/", MaxAge: enteredLife,
		Secure: v.tls, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	redirect(w, withFragment(to, e.opts.Guard.Current(v.agent)))
}
