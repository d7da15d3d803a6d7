package signin

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/accounts"
	"github.com/moltworker/moltworker/internal/page"
)

// linkCookie keeps a link's token, as KIND.TOKEN, while its page is open: out of
// the URL, and out of every script's reach. The link itself is used up only once
// an account is made, so that those who look a link up beforehand, as chat
// programs do, do not spoil it.
const (
	linkCookie     = "moltworker-link"
	linkCookieLife = 3600 // seconds
)

func (p *pages) keepToken(w http.ResponseWriter, r *http.Request, kind accounts.LinkKind, token string) {
	c := &http.Cookie{Name: linkCookieName(r), Value: string(kind) + "." + token, Path: "/", MaxAge: linkCookieLife,
		Secure: access.At(r.Context()).Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if token == "" {
		c.Value, c.MaxAge = "", -1
	}
	http.SetCookie(w, c)
}

func linkCookieName(r *http.Request) string {
	if access.At(r.Context()).Secure {
		return "__Host-" + linkCookie
	}
	return linkCookie
}

// kept is the token that the browser keeps for us, "" if none of that kind.
func kept(r *http.Request, kind accounts.LinkKind) string {
	c, err := r.Cookie(linkCookieName(r))
	if err != nil {
		return ""
	}
	of, token, _ := strings.Cut(c.Value, ".")
	if of != string(kind) {
		return ""
	}
	return token
}

// plausible says whether a text can be a token, so that nothing else gets into
// a cookie.
func plausible(token string) bool {
	return token != "" && len(token) <= 64 && strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// linkData is what the page of a link shows.
type linkData struct {
	Kind     accounts.LinkKind
	Path     string
	Proof    string // "" as long as there is no token: the page asks for it
	Name     string
	Fixed    bool // the name is not to be chosen
	By       string
	Message  string
	Remedy   string
	Passkeys bool
}

func (d linkData) title() string {
	switch {
	case d.Kind == accounts.Setup:
		return "Welcome to moltworker"
	case d.Kind == accounts.Invite:
		return "You are invited"
	}
	return "A new way in"
}

func (p *pages) showLink(w http.ResponseWriter, r *http.Request, status int, d linkData) {
	d.Path, d.Passkeys = linkPage(d.Kind), accounts.PasskeysWork(r)
	p.set.Write(w, r, status, "link.html", page.View{Title: d.title(), Plain: true, Data: d})
}

// link shows the page of a link: it asks for the token, or for a name and a
// password or passkey.
func (p *pages) link(kind accounts.LinkKind) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("token") {
			if token := r.URL.Query().Get("token"); plausible(token) {
				p.keepToken(w, r, kind, token)
			}
			goTo(w, r, linkPage(kind))
			return
		}
		token := kept(r, kind)
		if token == "" {
			p.showLink(w, r, http.StatusOK, linkData{Kind: kind})
			return
		}
		if !isNavigation(r) {
			p.problem(w, r, http.StatusForbidden, "Not for scripts", "This page is shown to people only.", "Open the link in a current browser.")
			return
		}
		l, err := p.Accounts.OpenLink(r, kind, token)
		if err != nil {
			p.dead(w, r, kind, err)
			return
		}
		p.showLink(w, r, http.StatusOK, linkData{Kind: kind, Proof: l.Proof(), Name: l.Person, Fixed: kind == accounts.Recover, By: l.By})
	}
}

// dead shows that a link is of no use, and forgets it if so; another one can be
// given.
func (p *pages) dead(w http.ResponseWriter, r *http.Request, kind accounts.LinkKind, err error) {
	if errors.Is(err, accounts.ErrLink) {
		p.keepToken(w, r, "", "")
	}
	d := linkData{Kind: kind}
	var status int
	status, _, d.Message, d.Remedy = p.words(w, r, err)
	p.showLink(w, r, status, d)
}

// useLink takes a token, or makes the account with a password.
func (p *pages) useLink(kind accounts.LinkKind) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := readForm(w, r); err != nil {
			p.dead(w, r, kind, err)
			return
		}
		if token := tokenIn(r.PostForm.Get("token")); token != "" {
			if plausible(token) {
				p.keepToken(w, r, kind, token)
			}
			goTo(w, r, linkPage(kind))
			return
		}
		l, err := p.shown(r, kind, r.PostForm.Get("link"))
		if err != nil {
			p.dead(w, r, kind, err)
			return
		}
		d := linkData{Kind: kind, Proof: l.Proof(), Name: r.PostForm.Get("name"), By: l.By}
		if kind == accounts.Recover {
			d.Name, d.Fixed = l.Person, true
		}
		if err := p.Accounts.Enroll(w, r, l, d.Name, r.PostForm.Get("password")); err != nil {
			var status int
			if status, _, d.Message, d.Remedy = p.words(w, r, err); status == http.StatusGone {
				p.dead(w, r, kind, err)
				return
			}
			p.showLink(w, r, status, d)
			return
		}
		p.keepToken(w, r, "", "")
		goTo(w, r, home)
	}
}

// tokenIn finds the token in what somebody pasted: it, or the whole link.
func tokenIn(pasted string) string {
	pasted = strings.TrimSpace(pasted)
	for _, mark := range []string{"#", "token="} {
		if _, after, ok := strings.Cut(pasted, mark); ok {
			return after
		}
	}
	return pasted
}

// shown is the link of the browser's cookie, provided that the request comes from
// the link's own page.
func (p *pages) shown(r *http.Request, kind accounts.LinkKind, proof string) (accounts.Link, error) {
	l, err := p.Accounts.OpenLink(r, kind, kept(r, kind))
	if err == nil && subtle.ConstantTimeCompare([]byte(l.Proof()), []byte(proof)) != 1 {
		err = &access.Refusal{Reason: access.Forbidden, Message: "This did not come from the link's own page.", Remedy: "Open the link again."}
	}
	return l, err
}

// enrolling is what a script of the link's page sends.
type enrolling struct {
	Kind   accounts.LinkKind `json:"kind"`
	Link   string            `json:"link"` // the proof
	Name   string            `json:"name"`
	Key    string            `json:"key"` // what the passkey is to be called
	Answer json.RawMessage   `json:"answer"`
}

func (p *pages) readEnrolling(r *http.Request) (e enrolling, l accounts.Link, err error) {
	body, err := readAnswer(r)
	if err != nil {
		return e, l, err
	}
	if json.Unmarshal(body, &e) != nil {
		return e, l, badRequest("That cannot be read.")
	}
	l, err = p.shown(r, e.Kind, e.Link)
	return e, l, err
}

func (p *pages) beginEnroll(w http.ResponseWriter, r *http.Request) (any, error) {
	e, l, err := p.readEnrolling(r)
	if err != nil {
		return nil, err
	}
	return p.Accounts.BeginEnroll(w, r, l, e.Name)
}

func (p *pages) finishEnroll(w http.ResponseWriter, r *http.Request) (any, error) {
	e, l, err := p.readEnrolling(r)
	if err != nil {
		return nil, err
	}
	if err := p.Accounts.FinishEnroll(w, r, l, e.Key, e.Answer); err != nil {
		return nil, err
	}
	p.keepToken(w, r, "", "")
	return onwards(home), nil
}
