package edge

import (
	"net/http"
	"strings"

	"github.com/moltworker/moltworker/internal/access"
)

// A rule says who may have what lies at a path of moltworker's own. A path that no
// rule is for does not exist.
type rule struct {
	path  string // with everything below it when it ends in a slash
	guard guard
	plane bool // it is the control plane's, not an agent's
	serve func(*Edge, http.ResponseWriter, *http.Request, visit)
}

// guard is what a caller has to be.
type guard int

const (
	anybody  guard = iota // it tells nothing, or asks for credentials itself
	agents                // somebody who may use the agent of this host
	scrapers              // a service that may, or a program on this very machine
	callers               // a program with a token for the AI gateway
	signedIn              // somebody known to the control plane; what they may do there it decides
)

// table holds the rules. The first one for a path counts. Everything that is not
// moltworker's own belongs to the agent, and is guarded like the agents' rules.
var table = []rule{
	{tokenPath, anybody, false, (*Edge).takeToken},
	{enterPath, anybody, false, (*Edge).enter},
	{scriptPath, anybody, false, (*Edge).script},
	{wakePath, agents, false, (*Edge).wake},
	{eventsPath, agents, false, (*Edge).events},

	{"/_admin/sign-in", anybody, true, (*Edge).toControl},
	{"/_admin/sign-in/", anybody, true, (*Edge).toControl},
	{"/_admin/setup", anybody, true, (*Edge).toControl},
	{"/_admin/invite", anybody, true, (*Edge).toControl},
	{"/_admin/recover", anybody, true, (*Edge).toControl},
	{"/_admin/static/", anybody, true, (*Edge).toControl},
	{"/_admin", signedIn, true, (*Edge).toControl},
	{"/_admin/", signedIn, true, (*Edge).toControl},
	{"/api/admin/", signedIn, true, (*Edge).toControl},
	{debugPath, signedIn, true, (*Edge).toControl},
	{"/ai/", callers, true, (*Edge).toModels},
	{"/v1/", callers, true, (*Edge).toModels},
	{"/metrics", scrapers, true, (*Edge).toControl},
}

// debugPath is where nothing is unless it was asked for.
const debugPath = "/debug/"

// ruleFor finds the rule for a path of our own, in its plain spelling.
func ruleFor(own string) (rule, bool) {
	if own == "" {
		return rule{}, false
	}
	for _, r := range table {
		if own == r.path || strings.HasSuffix(r.path, "/") && strings.HasPrefix(own, r.path) {
			return r, true
		}
	}
	return rule{}, false
}

// serveRule leads a request to what its rule says, once its guard lets it in.
func (e *Edge) serveRule(w http.ResponseWriter, r *http.Request, v visit, to rule) {
	if to.path == debugPath && !e.opts.Debug {
		noSuchRoute(w, r)
		return
	}
	switch to.guard {
	case anybody:
	case agents:
		if !e.letIn(w, r, &v) {
			return
		}
	case callers:
		if !e.letCall(w, r, &v) {
			return
		}
	case scrapers:
		if isScraper(r, v) {
			v.who = access.Scraper()
		} else if !e.letIntoPlane(w, r, &v) {
			return
		}
	case signedIn:
		if !e.letIntoPlane(w, r, &v) {
			return
		}
	}
	if r.Method == http.MethodGet { // what changes something is brief, and may be what ends the sign-in
		ctx, done := e.opts.While(r.Context(), v.who)
		defer done()
		r = r.WithContext(ctx)
	}
	to.serve(e, w, r, v)
}

// isScraper says whether a request without credentials is that of a program on this
// very machine: not of a front that passes others' on, nor of a browser, which shows
// the pages of others.
func isScraper(r *http.Request, v visit) bool {
	if !peerAddr(r).IsLoopback() || !v.place().Private() {
		return false
	}
	for _, name := range []string{"Authorization", "Cookie", "Origin", "Referer", "Sec-Fetch-Site", "Sec-Fetch-Mode",
		"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Cf-Connecting-Ip", access.ProofHeader, access.TokenHeader} {
		if r.Header.Get(name) != "" {
			return false
		}
	}
	return r.URL.RawQuery == ""
}
