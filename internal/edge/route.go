package edge

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"unicode"

	"github.com/moltworker/moltworker/internal/access"
)

// visit is what is known about a request once it is let in.
type visit struct {
	agent   string
	backend Backend
	client  netip.Addr
	host    string // asked for, without a port
	tls     bool   // the browser's connection is encrypted
	who     access.Principal
}

// place is the visit as access sees it.
func (v visit) place() access.Place {
	return access.Place{Agent: v.agent, Client: v.client, Host: v.host, Secure: v.tls}
}

// planePlace is the same where the control plane's pages are, which are no
// agent's.
func (v visit) planePlace() access.Place {
	at := v.place()
	at.Agent = ""
	return at
}

func (v visit) scheme() string {
	if v.tls {
		return "https"
	}
	return "http"
}

// route leads a request to its answer.
func (e *Edge) route(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect || !strings.HasPrefix(r.URL.Path, "/") {
		answer(w, r, problem{status: http.StatusBadRequest, kind: "bad_request", title: "Not a request for a web server",
			message: "This is no proxy.", remedy: "Ask for a path, such as `/`."})
		return
	}
	if e.health(w, r) {
		return // unguarded and without detail, so the host name does not matter
	}
	name, ours := e.hosts.agent(r.Host)
	if !ours {
		e.misdirected(w, r)
		return
	}
	v := visit{agent: name, client: e.clientAddr(r), tls: e.secure(r), host: normalHost(r.Host)}
	own := ownPath(r.URL)
	if name == "" && own == "" {
		e.toPlane(w, r)
		return
	}
	if rule, found := ruleFor(own); found && rule.plane {
		e.serveRule(w, r, v, rule)
		return
	}
	if v.backend, ours = e.opts.Lookup(name); !ours {
		unknownAgent(w, r, name)
		return
	}
	if rule, found := ruleFor(own); found {
		e.serveRule(w, r, v, rule)
		return
	}
	if own != "" {
		noSuchRoute(w, r)
		return
	}
	if e.letIn(w, r, &v) && !e.refuseWorker(w, r, v) && !e.tokenToCookie(w, r, v) && !e.giveToken(w, r, v) {
		ctx, done := e.opts.While(r.Context(), v.who)
		defer done()
		e.forward(w, r.WithContext(ctx), v)
	}
}

// The edge's own paths. Events are under /api because the service worker that
// OpenClaw's page leaves in the browser copies every other answer into its cache,
// and would go on reading an endless one after its page is gone.
const (
	ownName    = "_moltworker"
	tokenPath  = "/" + ownName + "/token"
	enterPath  = "/" + ownName + "/enter"
	scriptPath = "/" + ownName + "/page.js"
	eventsPath = "/api/" + ownName + "/events"
	wakePath   = "/api/" + ownName + "/wake"
)

// reserved are the first segments of paths that are moltworker's own, whether or
// not anything answers there yet. They never reach the guest: OpenClaw, or an
// agent that was talked into it, must not be able to stand in for them.
var reserved = map[string]bool{
	ownName: true, "_admin": true, "debug": true, "cdp": true, "metrics": true, "ai": true,
	"telegram": true, "slack": true, "hooks": true,
}

// ownPath returns a path that is moltworker's own as it is to be routed, or "". A
// path counts as ours on its most generous reading (decoded, lower case, no empty
// segments, no parameters, dot segments resolved or not), so that no spelling
// that some server might take for a reserved path slips by. A spelling other than
// the plain one is ours too, but finds nothing.
func ownPath(u *url.URL) string {
	plain := u.EscapedPath()
	literal := segments(plain)
	resolved := segments(path.Clean("/" + strings.Join(literal, "/")))
	ours := isReserved(literal) || isReserved(resolved)
	switch {
	case !ours:
		return ""
	case isPlain(plain):
		return plain
	default:
		return "?" + plain
	}
}

// isPlain says whether a reserved path is spelled in the one way that counts: the
// reserved segments as they are written in the table, none empty but the last, none
// that stands for another place or hides a separator.
func isPlain(plain string) bool {
	parts := strings.Split(strings.TrimPrefix(plain, "/"), "/")
	for i, part := range parts {
		name, err := url.PathUnescape(part)
		switch {
		case err != nil, name == ".", name == "..", strings.ContainsAny(name, `/\;%`), strings.ContainsFunc(name, unicode.IsControl):
			return false
		case name == "" && i < len(parts)-1:
			return false
		case (i == 0 || i == 1 && parts[0] == "api") && part != strings.ToLower(name):
			return false
		}
	}
	return true
}

func isReserved(segments []string) bool {
	switch {
	case len(segments) == 0:
		return false
	case segments[0] == "api":
		// moltworker's own, not OpenClaw's /api/v1/...
		return len(segments) > 1 && (segments[1] == "admin" || segments[1] == "status" || segments[1] == ownName)
	case segments[0] == "v1":
		// the AI gateway's /v1/{account}/{gateway}/{provider}/...; OpenClaw's own
		// /v1/chat/completions is shorter
		return len(segments) > 3
	}
	return reserved[segments[0]]
}

// segments splits a path after undoing every way of hiding a segment's name.
func segments(p string) []string {
	var kept []string
	for s := range strings.SplitSeq(decoded(p), "/") {
		s, _, _ = strings.Cut(s, ";")
		if s = strings.TrimSpace(s); s != "" && s != "." {
			kept = append(kept, s)
		}
	}
	return kept
}

// decoded undoes percent-encoding as often as anybody might, and makes slashes
// and letters uniform.
func decoded(p string) string {
	for range 3 {
		once, err := url.PathUnescape(p)
		if err != nil || once == p {
			break
		}
		p = once
	}
	return strings.ToLower(strings.ReplaceAll(p, `\`, "/"))
}

func noSuchRoute(w http.ResponseWriter, r *http.Request) {
	answer(w, r, problem{status: http.StatusNotFound, kind: "not_found", title: "Nothing lives here",
		message: "This path belongs to moltworker, and nothing answers there.",
		remedy:  "The agent is at `/`."})
}

func unknownAgent(w http.ResponseWriter, r *http.Request, name string) {
	answer(w, r, problem{status: http.StatusNotFound, kind: "unknown_agent", title: "No such agent",
		message: fmt.Sprintf("There is no agent named %s here.", name),
		remedy:  "See which agents there are with `moltworker agent ls`."})
}

// misdirected answers a host name that nobody said is ours.
func (e *Edge) misdirected(w http.ResponseWriter, r *http.Request) {
	host := normalHost(r.Host)
	if len(host) > 100 {
		host = host[:100]
	}
	answer(w, r, problem{status: http.StatusMisdirectedRequest, kind: "unknown_host", title: "This name is not known here",
		message: fmt.Sprintf("A request came for host %q, and moltworker was not told that this is its name.", host),
		remedy: "If it is, set `WORKER_URL` to the address that people use, such as `WORKER_URL=https://bot.example.com`, " +
			"or `MOLTWORKER_BASE_DOMAIN` to the domain whose subdomains are agents, and start `moltworker up` again."})
}
