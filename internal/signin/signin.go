// Package signin owns the pages and routes of signing in: the form, passkeys, the
// links that let somebody in once, signing out, one's own account, and the API by
// which the command line manages people and service tokens.
//
// It must not know how credentials are checked or kept (accounts, oidc). It sends
// a browser somewhere else only after something was done, never because it is not
// signed in: nobody goes in circles.
//
// Its open pages may share their host name with an agent's, whose scripts are
// hostile. A link's token is therefore in a cookie that no script reads, and its
// page shows the proof that using the link takes to navigations only.
package signin

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/accounts"
	"github.com/moltworker/moltworker/internal/access/oidc"
	"github.com/moltworker/moltworker/internal/page"
	"github.com/moltworker/moltworker/internal/remedy"
)

// Paths of the pages.
const (
	Path        = "/_admin/sign-in"
	OutPath     = "/_admin/sign-out"
	AccountPath = "/_admin/account"
	home        = "/_admin/"
)

// LinkPath is where a link's token is taken, as a path. The token is behind a #:
// browsers keep that to themselves, so that it stands in no log on the way.
func LinkPath(kind accounts.LinkKind, token string) string {
	return linkPage(kind) + "#" + token
}

func linkPage(kind accounts.LinkKind) string { return home + string(kind) }

// Provider signs people in elsewhere; *oidc.Client is one.
type Provider interface {
	// Start sends the browser to the provider; an error is shown.
	Start(w http.ResponseWriter, r *http.Request, next string) error
	// Finish takes a browser that came back. The error may be a *access.Refusal.
	Finish(w http.ResponseWriter, r *http.Request) (who oidc.Person, next string, err error)
}

// Options are what the pages are about.
type Options struct {
	Accounts         *accounts.Accounts
	OIDC             Provider // nil without one
	OIDCName         string   // how the provider is called on the button; "your provider" when empty
	AccessConfigured bool     // there is a Cloudflare Access in front, which signs people in before they come here
	Log              *slog.Logger
}

//go:embed pages
var files embed.FS

// Bounds of what a request may bring.
const (
	maxForm   = 32 << 10
	maxAnswer = 64 << 10 // of an authenticator
	patience  = 15 * time.Second
)

type pages struct {
	Options
	set         *page.Set
	crossOrigin *http.CrossOriginProtection
}

// Handler serves the pages. The context of a request says where it arrived and,
// below AccountPath and OutPath, whose it is; whoever mounts it lets nobody there
// who is not signed in, nor a request without the proof.
func Handler(opts Options) http.Handler {
	p := &pages{Options: opts, set: page.NewSet(files, "pages/*.html"), crossOrigin: http.NewCrossOriginProtection()}
	mux := http.NewServeMux()
	open := func(pattern string, h func(http.ResponseWriter, *http.Request)) { mux.Handle(pattern, p.inPrivate(h)) }
	open("GET "+Path, p.form)
	open("POST "+Path, p.password)
	open("GET "+Path+"/passkey.js", p.script)
	open("POST "+Path+"/passkey/begin", p.json(p.beginPasskey))
	open("POST "+Path+"/passkey/finish", p.json(p.finishPasskey))
	open("POST "+Path+"/passkey/enroll/begin", p.json(p.beginEnroll))
	open("POST "+Path+"/passkey/enroll/finish", p.json(p.finishEnroll))
	open("GET "+Path+"/oidc", p.startProvider)
	open("GET "+Path+"/oidc/callback", p.finishProvider)
	for _, kind := range []accounts.LinkKind{accounts.Setup, accounts.Invite, accounts.Recover} {
		open("GET "+linkPage(kind), p.link(kind))
		open("POST "+linkPage(kind), p.useLink(kind))
	}
	open("POST "+OutPath, p.signOut)
	open("GET "+AccountPath, p.account)
	open("POST "+AccountPath+"/password", p.setPassword)
	open("POST "+AccountPath+"/passkey/remove", p.removePasskey)
	open("POST "+AccountPath+"/passkey/begin", p.json(p.beginAdd))
	open("POST "+AccountPath+"/passkey/finish", p.json(p.finishAdd))
	open("POST "+AccountPath+"/session/end", p.endSession)
	open("POST "+AccountPath+"/invite", p.invite)
	open("POST "+AccountPath+"/disable", p.disable)
	open("POST "+AccountPath+"/remove", p.remove)
	mux.Handle("/", p.inPrivate(func(w http.ResponseWriter, r *http.Request) {
		p.problem(w, r, http.StatusNotFound, "Nothing lives here", "This page does not exist.", "Go to `/_admin/`.")
	}))
	return mux
}

// inPrivate serves only where nobody can listen, bounds what a request may bring,
// and refuses what another site's page sends.
func (p *pages) inPrivate(h func(http.ResponseWriter, *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !access.At(r.Context()).Private() {
			p.problem(w, r, http.StatusForbidden, "Not over an open line", "Signing in works over HTTPS, or on this machine itself.",
				"Open the HTTPS address, or tunnel: `ssh -L 8787:localhost:8787 HOST` and open `http://localhost:8787/_admin/`.")
			return
		}
		if err := p.crossOrigin.Check(r); err != nil {
			p.problem(w, r, http.StatusForbidden, "Not from this page", "A page of another site asked your browser to do this, so it was not done.",
				"Open `/_admin/` and do it there.")
			return
		}
		if r.Method == http.MethodPost {
			r.Body = http.MaxBytesReader(w, r.Body, maxAnswer)
			// A body that trickles in holds its connection only, and not for long.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(patience))
		}
		h(w, r)
	})
}

// isNavigation says whether a person, not a script, is about to see the answer.
func isNavigation(r *http.Request) bool { return r.Header.Get("Sec-Fetch-Dest") == "document" }

// wantsPage says whether the answer is to be a page rather than JSON.
func wantsPage(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

func (p *pages) problem(w http.ResponseWriter, r *http.Request, status int, title, message, remedy string) {
	if !wantsPage(r) {
		writeJSON(w, status, failure{failed{"refused", message, remedy}})
		return
	}
	p.set.Write(w, r, status, "problem.html", page.View{Title: title, Plain: true, Data: map[string]string{"Message": message, "Remedy": remedy}})
}

// words are an error as a person may read it. What is not theirs to know is for
// the log.
func (p *pages) words(w http.ResponseWriter, r *http.Request, err error) (status int, kind, message, how string) {
	var refused *access.Refusal
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &refused):
		if refused.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refused.RetryAfter.Seconds()))))
		}
		return refused.Status(), string(refused.Reason), refused.Message, refused.Remedy
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, "invalid", "That is too long.", ""
	case errors.Is(err, accounts.ErrInvalid):
		return http.StatusBadRequest, "invalid", sentence(err, accounts.ErrInvalid), sentence(errors.New(remedy.Of(err)), nil)
	case errors.Is(err, accounts.ErrLink):
		return http.StatusGone, "link_gone", "This link is no longer good.", sentence(errors.New(remedy.Of(err)), nil)
	case errors.Is(err, accounts.ErrNotFound):
		return http.StatusNotFound, "not_found", sentence(err, nil), ""
	case errors.Is(err, accounts.ErrTaken):
		return http.StatusConflict, "taken", sentence(err, nil), sentence(errors.New(remedy.Of(err)), nil)
	case errors.Is(err, accounts.ErrFull):
		return http.StatusConflict, "full", sentence(err, nil), sentence(errors.New(remedy.Of(err)), nil)
	case errors.Is(err, accounts.ErrLast):
		return http.StatusConflict, "last", sentence(err, nil), sentence(errors.New(remedy.Of(err)), nil)
	}
	p.Log.Error("sign-in failed of itself", "path", r.URL.Path, "err", err)
	return http.StatusInternalServerError, "failed", "This did not work.", "The reason is in moltworker's log."
}

// sentence is an error's text as a sentence, without the words of its kind.
func sentence(err, kind error) string {
	text := err.Error()
	if kind != nil {
		text = strings.TrimPrefix(text, kind.Error()+": ")
	}
	if text == "" {
		return ""
	}
	text = strings.ToUpper(text[:1]) + text[1:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

type failed struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

type failure struct {
	Error failed `json:"error"`
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	page.Guard(w.Header())
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone: nothing to do about it
}

// json serves a script of ours: what h returns, or the error.
func (p *pages) json(h func(http.ResponseWriter, *http.Request) (any, error)) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := h(w, r)
		if err != nil {
			status, kind, message, how := p.words(w, r, err)
			writeJSON(w, status, failure{failed{kind, message, how}})
			return
		}
		writeJSON(w, http.StatusOK, v)
	}
}

// readForm reads a small form.
func readForm(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return err
		}
		return badRequest("The form cannot be read.")
	}
	return nil
}

func badRequest(message string) error {
	return remedy.With(fmt.Errorf("%w: %s", accounts.ErrInvalid, message), "try again")
}

func readAnswer(r *http.Request) ([]byte, error) { return io.ReadAll(r.Body) }

// script serves what the pages need for passkeys.
func (p *pages) script(w http.ResponseWriter, r *http.Request) {
	body, err := files.ReadFile("pages/passkey.js")
	if err != nil {
		p.problem(w, r, http.StatusInternalServerError, "This did not work", "The script is missing.", "")
		return
	}
	page.Guard(w.Header())
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	_, _ = w.Write(body)
}
