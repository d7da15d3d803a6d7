package signin

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/accounts"
	"github.com/moltworker/moltworker/internal/page"
)

// accountData is what the account's page shows.
type accountData struct {
	Kept        bool // the caller's account is one of ours
	HasPassword bool
	CanPasskey  bool
	Passkeys    []accounts.Passkey
	SignIns     []accounts.SignedIn
	People      []accounts.Person
	Invitation  string // a link that was just made
	Until       time.Time
}

func (p *pages) account(w http.ResponseWriter, r *http.Request) {
	p.showAccount(w, r, accountData{})
}

func (p *pages) showAccount(w http.ResponseWriter, r *http.Request, d accountData) {
	ctx := r.Context()
	d.Kept, d.HasPassword, d.CanPasskey = p.Accounts.HasAccount(ctx), p.Accounts.HasPassword(ctx), accounts.PasskeysWork(r)
	var err error
	if d.People, err = p.Accounts.People(ctx); err == nil {
		d.SignIns, err = p.Accounts.SignIns(ctx)
	}
	if err == nil && d.Kept {
		d.Passkeys, err = p.Accounts.Passkeys(ctx)
	}
	if err != nil {
		p.refused(w, r, err)
		return
	}
	p.set.Write(w, r, http.StatusOK, "account.html", page.View{Title: "Account", Area: "account", Data: d})
}

// act does what a form of the account's page asks and goes back there.
func (p *pages) act(w http.ResponseWriter, r *http.Request, done string, do func() error) {
	err := readForm(w, r)
	if err == nil {
		err = do()
	}
	if err == nil {
		page.Back(w, r, AccountPath, page.Flash{Text: done})
		return
	}
	_, _, message, how := p.words(w, r, err)
	page.Back(w, r, AccountPath, page.Flash{Bad: true, Text: message, Remedy: how})
}

func (p *pages) setPassword(w http.ResponseWriter, r *http.Request) {
	p.act(w, r, "The password is changed. Other browsers are signed out.", func() error {
		return p.Accounts.SetPassword(r.Context(), r.PostForm.Get("now"), r.PostForm.Get("password"))
	})
}

func (p *pages) removePasskey(w http.ResponseWriter, r *http.Request) {
	p.act(w, r, "The passkey is removed.", func() error { return p.Accounts.RemovePasskey(r.Context(), r.PostForm.Get("id")) })
}

func (p *pages) endSession(w http.ResponseWriter, r *http.Request) {
	p.act(w, r, "That browser is signed out.", func() error { return p.Accounts.End(r.Context(), r.PostForm.Get("id")) })
}

func (p *pages) disable(w http.ResponseWriter, r *http.Request) {
	p.act(w, r, "They can sign in no more.", func() error { return p.Accounts.Disable(r.Context(), r.PostForm.Get("name")) })
}

func (p *pages) remove(w http.ResponseWriter, r *http.Request) {
	p.act(w, r, "They are removed.", func() error { return p.Accounts.Remove(r.Context(), r.PostForm.Get("name")) })
}

// invite shows the link that it makes at once: it is told this one time.
func (p *pages) invite(w http.ResponseWriter, r *http.Request) {
	token, until, err := p.Accounts.Invite(r.Context())
	if err != nil {
		p.act(w, r, "", func() error { return err })
		return
	}
	scheme := "http://"
	if access.At(r.Context()).Secure {
		scheme = "https://"
	}
	p.showAccount(w, r, accountData{Invitation: scheme + r.Host + LinkPath(accounts.Invite, token), Until: until})
}

func (p *pages) beginAdd(w http.ResponseWriter, r *http.Request) (any, error) {
	return p.Accounts.BeginAdd(w, r)
}

func (p *pages) finishAdd(w http.ResponseWriter, r *http.Request) (any, error) {
	body, err := readAnswer(r)
	if err != nil {
		return nil, err
	}
	var e enrolling
	if json.Unmarshal(body, &e) != nil {
		return nil, badRequest("That cannot be read.")
	}
	return onwards(AccountPath), p.Accounts.FinishAdd(w, r, e.Key, e.Answer)
}
