package edge

import (
	"crypto/subtle"
	"net/http"
	"net/url"
	"strings"

	"github.com/moltworker/moltworker/internal/access"
)

// The control plane's pages may share a host name with the main agent's, whose
// pages are as hostile as what that agent was talked into. Browsers let both do
// the same, so a cookie alone opens nothing here:
//
//   - what changes something, and what a script fetches, must carry the proof that
//     only our own pages hold; a page that a person opens need not;
//   - a person's opening is told from a script's by what browsers say of a request
//     (Sec-Fetch-Dest), which they say over TLS and to this machine itself only, so
//     the pages are not served any other way;
//   - no page can be framed, or reached by the one that opened it (see ownHeaders),
//     and an agent's page cannot say otherwise for itself (see reviewResponse);
//   - no service worker can stand between (see refuseWorker).

// proofField carries [access.Principal.Proof] where no header can.
const (
	proofField = "proof"
	maxForm    = 1 << 20 // bytes of a form with a proof in it
)

const (
	signInPath = "/_admin/sign-in"
	planePath  = "/_admin/"
)

// letIntoPlane establishes who calls and notes it in the visit, or answers.
func (e *Edge) letIntoPlane(w http.ResponseWriter, r *http.Request, v *visit) bool {
	who, err := e.opts.Guard.Who(r, v.planePlace())
	if err == nil && who.Agent != "" {
		err = access.NotSignedIn() // for an agent's own pages only
	}
	switch {
	case err != nil:
		e.refusePlane(w, r, *v, err)
		return false
	case who.Explicit():
	case !v.place().Private():
		answer(w, r, problem{status: http.StatusForbidden, kind: "not_private", title: "Not over an open line",
			message: "The control plane opens over HTTPS, or on this machine itself.",
			remedy: "Set `MOLTWORKER_TLS_CERT` and `MOLTWORKER_TLS_KEY`; name a proxy that ends TLS in `MOLTWORKER_TRUSTED_PROXIES`; " +
				"or tunnel: `ssh -L 8787:localhost:8787 HOST` and open `http://localhost:8787/_admin/`."})
		return false
	case !e.meant(w, r, who):
		answer(w, r, problem{status: http.StatusForbidden, kind: "cross_origin", title: "Not from this page",
			message: "Something other than a page of the control plane asked your browser to do this, so it was not done.",
			remedy:  "Open `/_admin/` and do it there. Programs use a service token."})
		return false
	}
	v.who = who
	return true
}

// meant says whether a request that is authenticated by a cookie is a person's or
// one of our own pages'.
func (e *Edge) meant(w http.ResponseWriter, r *http.Request, who access.Principal) bool {
	if e.crossOrigin.Check(r) != nil {
		return false
	}
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	if reading && r.Header.Get("Sec-Fetch-Dest") == "document" && !isUpgrade(r) {
		return true
	}
	if who.Kind != access.KindPerson && r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return true // a program: on this machine in DEV_MODE, or one that Access vouches for
	}
	return who.Proof != "" && subtle.ConstantTimeCompare([]byte(proofOf(w, r)), []byte(who.Proof)) == 1
}

// proofOf finds the proof that a request carries.
func proofOf(w http.ResponseWriter, r *http.Request) string {
	if proof := r.Header.Get(access.ProofHeader); proof != "" {
		return proof
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return r.URL.Query().Get(proofField)
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return ""
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	return r.PostFormValue(proofField)
}

// refusePlane sends people to the sign-in and tells programs what is missing.
// Nobody is sent there from there, so nobody goes in circles.
func (e *Edge) refusePlane(w http.ResponseWriter, r *http.Request, v visit, err error) {
	refusal := asRefusal(err)
	e.opts.Denied(r, v.planePlace(), refusal)
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	if refusal.Status() == http.StatusUnauthorized && reading && isNavigation(r) && e.opts.Plane != nil && e.hosts.planes(v.agent) {
		redirect(w, signInPath+"?next="+url.QueryEscape(r.URL.RequestURI()))
		return
	}
	if refusal.Status() == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="moltworker"`)
	}
	answer(w, r, problem{status: refusal.Status(), kind: string(refusal.Reason), title: "Not for everybody",
		message: refusal.Message, remedy: refusal.Remedy, retryAfter: refusal.RetryAfter})
}

// toControl hands a request to the control plane. Its pages are on hosts of their
// own kind only; its API answers those who carry their credential in the request
// on any that is not one agent's.
func (e *Edge) toControl(w http.ResponseWriter, r *http.Request, v visit) {
	here := e.hosts.planes(v.agent)
	switch {
	case e.opts.Plane == nil:
		noSuchRoute(w, r)
	case here || v.agent == mainAgent && v.who.Explicit():
		r = r.WithContext(access.With(r.Context(), v.who, v.planePlace()))
		e.opts.Plane.ServeHTTP(w, r)
	case e.hosts.admin != "" && isNavigation(r) && r.Method == http.MethodGet:
		redirect(w, e.hosts.admin+planePath)
	default:
		answer(w, r, problem{status: http.StatusNotFound, kind: "not_found", title: "Not on this host",
			message: "The control plane is not on the host of an agent.",
			remedy:  "Open `/_admin/` on the address that `moltworker up` prints."})
	}
}

// toPlane answers paths that are nobody's on the control plane's own host.
func (e *Edge) toPlane(w http.ResponseWriter, r *http.Request) {
	if e.opts.Plane != nil && r.URL.Path == "/" && isNavigation(r) && r.Method != http.MethodPost {
		redirect(w, planePath)
		return
	}
	answer(w, r, problem{status: http.StatusNotFound, kind: "not_found", title: "Nothing lives here",
		message: "This host is the control plane's.", remedy: "It is at `/_admin/`."})
}

// refuseWorker answers a browser that wants to install a service worker where the
// control plane's pages are: a worker of an agent's making would see them all, and
// could write them anew.
func (e *Edge) refuseWorker(w http.ResponseWriter, r *http.Request, v visit) bool {
	if r.Header.Get("Service-Worker") == "" || e.opts.Plane == nil || !e.hosts.planes(v.agent) {
		return false
	}
	answer(w, r, problem{status: http.StatusForbidden, kind: "no_workers", title: "No service workers here",
		message: "The control plane's pages share this host name, so agents may not install service workers on it.",
		remedy:  "Give the control plane a host of its own with `MOLTWORKER_ADMIN_URL`."})
	return true
}
