package edge

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
)

// letIn asks access who is calling and notes it in the visit, or answers the
// refusal.
func (e *Edge) letIn(w http.ResponseWriter, r *http.Request, v *visit) bool {
	who, err := e.opts.Guard.Who(r, v.place())
	if err == nil && !who.Opens(v.agent) {
		err = access.NotAllowed(who, access.UseAgents)
	}
	if err != nil {
		e.refuse(w, r, *v, err)
		return false
	}
	v.who = who
	if !who.Explicit() && !e.sameOrigin(r) {
		answer(w, r, problem{status: http.StatusForbidden, kind: "cross_origin", title: "Not from this page",
			message: "A page of another site asked your browser to do this, so it was not done.",
			remedy:  "Open the agent's own page and do it there."})
		return false
	}
	return true
}

// sameOrigin says whether a request that is authenticated by a cookie alone may
// act: another origin of the same site (a sibling agent's, say) gets the cookie
// sent along, but may neither change anything nor open a WebSocket.
func (e *Edge) sameOrigin(r *http.Request) bool {
	if !isUpgrade(r) {
		return e.crossOrigin.Check(r) == nil
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true // not a browser
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

func (e *Edge) refuse(w http.ResponseWriter, r *http.Request, v visit, err error) {
	refusal := asRefusal(err)
	e.opts.Denied(r, v.place(), refusal)
	p := problem{status: refusal.Status(), kind: string(refusal.Reason), title: "Who is there?",
		message: refusal.Message, remedy: refusal.Remedy, form: true, retryAfter: refusal.RetryAfter}
	switch refusal.Reason {
	case access.Wrong:
		p.title = "That token does not fit"
	case access.Expired:
		p.title = "The token has changed"
	case access.Limited:
		p.title, p.form = "A little slower, please", false
	case access.Unconfigured:
		p.title, p.form = "Nobody can enter yet", false
	case access.Unavailable:
		p.title, p.form = "The sign-in cannot be reached", false
	case access.Rejected, access.Forbidden:
		p.title, p.form = "Not for you", false
	}
	if p.status == http.StatusUnauthorized && !isNavigation(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="moltworker"`)
	}
	answer(w, r, p)
}

func asRefusal(err error) *access.Refusal {
	var refusal *access.Refusal
	if !errors.As(err, &refusal) {
		refusal = &access.Refusal{Reason: access.Missing, Message: "Access was refused.", Remedy: "Try again."}
	}
	return refusal
}

// tokenToCookie answers a navigation that carries its token in the URL: the
// browser gets a cookie and is sent to the same place with the token in the
// fragment. OpenClaw's page reads it there, and it appears in no log, Referer or
// server on the way.
func (e *Edge) tokenToCookie(w http.ResponseWriter, r *http.Request, v visit) bool {
	if v.who.Source != access.SourceQuery || !isNavigation(r) || r.Method == http.MethodPost {
		return false
	}
	e.opts.Guard.Grant(w, v.agent, v.tls)
	redirect(w, withFragment(r.URL, access.QueryToken(r.URL)))
	return true
}

// withFragment is u without its token, as a reference to our own host that no
// browser takes for another one ("//evil.example"), with the token in the
// fragment.
func withFragment(u *url.URL, token string) string {
	target := "/" + strings.TrimLeft(u.EscapedPath(), `/\`)
	if query := access.WithoutToken(u.RawQuery); query != "" {
		target += "?" + query
	}
	return target + "#token=" + url.QueryEscape(token)
}

func redirect(w http.ResponseWriter, location string) {
	ownHeaders(w.Header())
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
}

// takeToken answers the form of the 401 page. Another site that posts it needs
// to know the token already; it is refused all the same.
func (e *Edge) takeToken(w http.ResponseWriter, r *http.Request, v visit) {
	if r.Method != http.MethodPost {
		redirect(w, "/")
		return
	}
	if err := e.crossOrigin.Check(r); err != nil {
		answer(w, r, problem{status: http.StatusForbidden, kind: "cross_origin", title: "Not from this page",
			message: "The form was sent by a page of another site.", remedy: "Open `/` and paste the token there."})
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 8<<10)
	// A body that trickles in holds nothing but its own connection, and not for long.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(e.opts.Limits.ReadHeader))
	token := strings.TrimSpace(r.PostFormValue("token"))
	if _, err := e.opts.Guard.CheckToken(token, v.agent, v.client); err != nil {
		e.refuse(w, r, v, err)
		return
	}
	e.opts.Guard.Grant(w, v.agent, v.tls)
	redirect(w, withFragment(&url.URL{Path: "/"}, token))
}

// isNavigation says whether a person is about to look at the answer: a browser
// that loads a page, rather than a script, an image or a program.
func isNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost {
		return false
	}
	if isUpgrade(r) || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return false
	}
	mode := r.Header.Get("Sec-Fetch-Mode")
	return mode == "" || mode == "navigate"
}

func seconds(d time.Duration) string {
	return strconv.Itoa(int(math.Ceil(d.Seconds())))
}
