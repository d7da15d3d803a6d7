package signin

import (
	"net/http"
	"net/url"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/accounts"
	"github.com/moltworker/moltworker/internal/page"
)

// formData is what the form of signing in shows.
type formData struct {
	Next, Query string // where to go afterwards, plain and as a query
	Name        string
	Message     string // what went wrong
	Remedy      string
	Who         string // who is signed in already
	Empty       bool   // nobody has an account
	Passkeys    bool
	Provider    string // the provider's name, "" without one
	Access      bool
}

func (p *pages) form(w http.ResponseWriter, r *http.Request) {
	p.showForm(w, r, http.StatusOK, formData{Next: local(r.URL.Query().Get("next"))})
}

func (p *pages) showForm(w http.ResponseWriter, r *http.Request, status int, d formData) {
	d.Query = url.Values{"next": {d.Next}}.Encode()
	if who, err := p.Accounts.Sessions().Authenticate(r, access.At(r.Context())); err == nil && who.Agent == "" {
		d.Who = who.Name
	}
	empty, err := p.Accounts.Empty(r.Context())
	if err != nil {
		p.Log.Error("cannot look for people", "err", err)
	}
	d.Empty = err == nil && empty
	d.Passkeys = accounts.PasskeysWork(r)
	if d.Access = p.AccessConfigured; p.OIDC != nil {
		if d.Provider = p.OIDCName; d.Provider == "" {
			d.Provider = "your provider"
		}
	}
	p.set.Write(w, r, status, "sign-in.html", page.View{Title: "Sign in", Plain: true, Data: d})
}

func (p *pages) password(w http.ResponseWriter, r *http.Request) {
	d := formData{Next: home}
	err := readForm(w, r)
	if err == nil {
		d.Next, d.Name = local(r.PostForm.Get("next")), r.PostForm.Get("name")
		err = p.Accounts.SignIn(w, r, d.Name, r.PostForm.Get("password"))
	}
	if err != nil {
		var status int
		status, _, d.Message, d.Remedy = p.words(w, r, err)
		p.showForm(w, r, status, d)
		return
	}
	goTo(w, r, d.Next)
}

// goTo sends the browser to a path of our own.
func goTo(w http.ResponseWriter, r *http.Request, path string) {
	page.Guard(w.Header())
	http.Redirect(w, r, path, http.StatusSeeOther)
}

func (p *pages) beginPasskey(w http.ResponseWriter, r *http.Request) (any, error) {
	return p.Accounts.BeginPasskey(w, r)
}

func (p *pages) finishPasskey(w http.ResponseWriter, r *http.Request) (any, error) {
	answer, err := readAnswer(r)
	if err != nil {
		return nil, err
	}
	return onwards(local(r.URL.Query().Get("next"))), p.Accounts.FinishPasskey(w, r, answer)
}

// onwards tells a script where to go.
func onwards(path string) any { return map[string]string{"next": path} }

func (p *pages) startProvider(w http.ResponseWriter, r *http.Request) {
	if p.OIDC == nil {
		p.problem(w, r, http.StatusNotFound, "No such way in", "No sign-in provider is configured.", "Go to `/_admin/sign-in`.")
		return
	}
	if err := p.OIDC.Start(w, r, local(r.URL.Query().Get("next"))); err != nil {
		p.refused(w, r, err)
	}
}

func (p *pages) finishProvider(w http.ResponseWriter, r *http.Request) {
	if p.OIDC == nil {
		p.problem(w, r, http.StatusNotFound, "No such way in", "No sign-in provider is configured.", "Go to `/_admin/sign-in`.")
		return
	}
	who, next, err := p.OIDC.Finish(w, r)
	if err == nil {
		err = p.Accounts.Begin(r.Context(), w, r, who.Email, access.ViaOIDC)
	} else {
		p.Accounts.NoteRefused(r.Context(), access.ViaOIDC, err)
	}
	if err != nil {
		p.refused(w, r, err)
		return
	}
	goTo(w, r, local(next))
}

// refused shows that a sign-in elsewhere did not count, and offers to begin again:
// by a link, not by a redirect.
func (p *pages) refused(w http.ResponseWriter, r *http.Request, err error) {
	status, _, message, how := p.words(w, r, err)
	p.problem(w, r, status, "That did not let you in", message, how)
}

func (p *pages) signOut(w http.ResponseWriter, r *http.Request) {
	if err := p.Accounts.SignOut(w, r); err != nil {
		p.refused(w, r, err)
		return
	}
	goTo(w, r, Path)
}
