package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/store"
)

// How long sessions last.
const (
	sessionLife = 30 * 24 * time.Hour
	sessionIdle = 24 * time.Hour
	rotateEvery = time.Hour
	grace       = time.Minute // for requests under way with the value before
	noteEvery   = time.Minute
	deviceLife  = 365 * 24 * time.Hour

	maxSessions = 50 // per person
	maxDevices  = 20 // per person
)

// Names of cookies. Over TLS each has the prefix __Host-, by which browsers
// promise that it was set by this very host.
const (
	sessionCookie = "moltworker-session"
	visitCookie   = "moltworker-visit"
	deviceCookie  = "moltworker-device"
	stepCookie    = "moltworker-step"
)

func cookieName(name string, secure bool) string {
	if secure {
		return "__Host-" + name
	}
	return name
}

// setCookie gives the browser a cookie for all of this host, or takes it away when
// value is "".
func setCookie(w http.ResponseWriter, secure bool, name, value string, life time.Duration, site http.SameSite) {
	c := &http.Cookie{Name: cookieName(name, secure), Value: value, Path: "/", MaxAge: int(life / time.Second),
		Secure: secure, HttpOnly: true, SameSite: site}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

const (
	maxCookies = 4 // of one name that a request may try
	valueSize  = 43
	seedSize   = 22
)

// cookies are the values of a name's cookies, as many as may be tried: a stale one
// beside the right one (set by a page of a sibling host, say) locks nobody out.
func cookies(r *http.Request, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		tried := 0
		for _, c := range r.CookiesNamed(name) {
			if tried++; tried > maxCookies || !yield(c.Value) {
				return
			}
		}
	}
}

// newValue is a random value of 256 bits; 43 characters.
func newValue() string { return randomText(32) }

func randomText(size int) string {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails: the program ends instead
	return base64.RawURLEncoding.EncodeToString(b)
}

func hashOf(value string) []byte {
	sum := sha256.Sum256([]byte(value))
	return sum[:]
}

// Begin begins a session of somebody for whom another party vouches (OIDC, Access).
// The context says where.
func (a *Accounts) Begin(ctx context.Context, w http.ResponseWriter, r *http.Request, name, via string) error {
	if name == "" || len(name) > 320 {
		return invalid("a sign-in needs a name", "check what the sign-in provider says of its users")
	}
	return a.begin(ctx, w, r, "", name, via)
}

// begin signs somebody in at this browser: always with a new value, and the
// session that the browser had ends.
func (a *Accounts) begin(ctx context.Context, w http.ResponseWriter, r *http.Request, person, name, via string) error {
	at, now := access.At(ctx), a.now()
	old, _, err := a.current(r, at)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err := a.note(ctx, audit.Event{Action: "signin.ok", Actor: string(access.KindPerson) + " " + name, Via: via}); err != nil {
		return err
	}
	value, seed := newValue(), randomText(16)
	s := store.Session{ID: randomText(12), Hash: hashOf(value), Seed: hashOf(seed), Rotated: now, Confirmed: now,
		Person: person, Name: name, Via: via, Created: now, Used: now, Expires: now.Add(sessionLife),
		Address: at.Client.String(), Client: clientOf(r)}
	if err := a.db.AddSession(ctx, s, now.Add(-sessionIdle), maxSessions); err != nil {
		return err
	}
	if old.ID != "" {
		if err := a.db.EndSession(ctx, old.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		a.recheck()
	}
	setCookie(w, at.Secure, sessionCookie, value+"."+seed, sessionLife, http.SameSiteLaxMode)
	return nil
}

// clientOf is what the browser calls itself, cut to what a list can show.
func clientOf(r *http.Request) string {
	client := strings.ToValidUTF8(r.UserAgent(), "")
	if len(client) > 256 {
		client = strings.ToValidUTF8(client[:256], "")
	}
	return client
}

// know notes that a person has signed in at this browser.
func (a *Accounts) know(w http.ResponseWriter, r *http.Request, person string) error {
	at, now := access.At(r.Context()), a.now()
	var last []byte
	for value := range cookies(r, cookieName(deviceCookie, at.Secure)) {
		if len(value) == valueSize {
			last = hashOf(value)
			break
		}
	}
	next := newValue()
	if err := a.db.KnowDevice(r.Context(), person, last, hashOf(next), now, maxDevices); err != nil {
		return err
	}
	setCookie(w, at.Secure, deviceCookie, next, deviceLife, http.SameSiteLaxMode)
	return nil
}

// lookUp finds the live session of a cookie's value; store.ErrNotFound without one.
func (a *Accounts) lookUp(ctx context.Context, cookie string) (store.Session, error) {
	value, seed, _ := strings.Cut(cookie, ".")
	if len(value) != valueSize || len(seed) != seedSize {
		return store.Session{}, store.ErrNotFound
	}
	hash := hashOf(value)
	s, err := a.db.SessionByValue(ctx, hash)
	if err != nil {
		return s, err
	}
	now := a.now()
	newest := subtle.ConstantTimeCompare(hash, s.Hash) == 1
	switch {
	case subtle.ConstantTimeCompare(hashOf(seed), s.Seed) != 1,
		!live(s, now),
		!newest && !s.Confirmed.IsZero() && now.Sub(s.Confirmed) >= grace:
		return store.Session{}, store.ErrNotFound
	}
	if s.Parent != "" {
		parent, err := a.db.Session(ctx, s.Parent)
		if err != nil {
			return s, err
		}
		if !live(parent, now) {
			return store.Session{}, store.ErrNotFound
		}
		s.Name, s.Via = parent.Name, parent.Via
	}
	first := newest && s.Confirmed.IsZero()
	if first || now.Sub(s.Used) >= noteEvery {
		if err := a.db.UseSession(ctx, s.ID, now, first); err != nil {
			return s, err
		}
	}
	return s, nil
}

// live says whether a session has ended by itself. A visit lives as its parent does.
func live(s store.Session, now time.Time) bool {
	return now.Before(s.Expires) && (s.Parent != "" || now.Sub(s.Used) < sessionIdle)
}

// current is the sign-in that a request's cookie shows, and that cookie.
func (a *Accounts) current(r *http.Request, at access.Place) (store.Session, string, error) {
	for cookie := range cookies(r, cookieName(sessionCookie, at.Secure)) {
		s, err := a.lookUp(r.Context(), cookie)
		if err == nil && s.Agent == "" {
			return s, cookie, nil
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return s, "", err
		}
	}
	return store.Session{}, "", store.ErrNotFound
}

// visiting is the visit to an agent's own host that a request's cookie shows.
func (a *Accounts) visiting(r *http.Request, at access.Place) (store.Session, string, error) {
	for cookie := range cookies(r, cookieName(visitCookie, at.Secure)) {
		s, err := a.lookUp(r.Context(), cookie)
		if err == nil && s.Agent != "" && s.Agent == at.Agent {
			return s, cookie, nil
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return s, "", err
		}
	}
	return store.Session{}, "", store.ErrNotFound
}

// Sessions authenticates by the cookie of a sign-in, or of a visit.
func (a *Accounts) Sessions() access.Authenticator { return bySession{a} }

type bySession struct{ *Accounts }

// Authenticate establishes which person's browser this is. On an agent's pages the
// principal is bound to that agent.
func (b bySession) Authenticate(r *http.Request, at access.Place) (access.Principal, error) {
	s, cookie, err := b.current(r, at)
	shown := len(r.CookiesNamed(cookieName(sessionCookie, at.Secure))) > 0
	if errors.Is(err, store.ErrNotFound) && at.Agent != "" {
		shown = shown || len(r.CookiesNamed(cookieName(visitCookie, at.Secure))) > 0
		s, cookie, err = b.visiting(r, at)
	}
	switch {
	case err == nil:
		_, seed, _ := strings.Cut(cookie, ".")
		p := access.Principal{Kind: access.KindPerson, Name: s.Name, Via: s.Via, Source: access.SourceCookie, Agent: at.Agent, Session: s.ID}
		if at.Agent == "" {
			p.Proof = proofOf(seed)
		}
		return p, nil
	case !errors.Is(err, store.ErrNotFound):
		return access.Principal{}, &access.Refusal{Reason: access.Unconfigured, Detail: err.Error(),
			Message: "The list of sign-ins cannot be read.", Remedy: "Look at moltworker's log."}
	case !shown:
		return access.Principal{}, access.ErrNothing
	}
	return access.Principal{}, &access.Refusal{Reason: access.SignedOut, Message: "Your sign-in has ended.", Remedy: "Sign in again at /_admin/."}
}

// proofOf is what pages carry. It stays when the value is rotated, and tells
// nothing of the cookie.
func proofOf(seed string) string {
	mac := hmac.New(sha256.New, []byte(seed))
	mac.Write([]byte("moltworker proof v1"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Renew gives the browser another value for its session when it has had the
// present one for an hour of use. It must be called before the answer begins, for
// requests whose answer's cookies a browser keeps. Failing is no reason not to
// answer.
func (a *Accounts) Renew(w http.ResponseWriter, r *http.Request) error {
	at, now := access.At(r.Context()), a.now()
	s, cookie, err := a.current(r, at)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if now.Sub(s.Rotated) < rotateEvery {
		return nil
	}
	shown, seed, _ := strings.Cut(cookie, ".")
	next := newValue()
	ok, err := a.db.RotateSession(r.Context(), s.ID, hashOf(shown), hashOf(next), s.Rotated, now)
	if err != nil || !ok {
		return err
	}
	setCookie(w, at.Secure, sessionCookie, next+"."+seed, s.Expires.Sub(now), http.SameSiteLaxMode)
	return nil
}

// Renewing renews the session of requests on their way to next. failed is told of
// a renewal that did not work.
func (a *Accounts) Renewing(next http.Handler, failed func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := access.From(r.Context())
		if who.Session != "" && who.Source == access.SourceCookie && r.Method == http.MethodGet && r.Header.Get("Upgrade") == "" {
			if err := a.Renew(w, r); err != nil {
				failed(err)
			}
		}
		next.ServeHTTP(w, r)
	})
}

// SignOut ends the session of this browser.
func (a *Accounts) SignOut(w http.ResponseWriter, r *http.Request) error {
	at := access.At(r.Context())
	s, _, err := a.current(r, at)
	setCookie(w, at.Secure, sessionCookie, "", 0, http.SameSiteLaxMode)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := a.db.EndSession(r.Context(), s.ID); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	a.recheck()
	return a.note(r.Context(), audit.Event{Action: "signout", Actor: string(access.KindPerson) + " " + s.Name, Via: s.Via})
}

// A SignedIn is one browser where somebody is signed in.
type SignedIn struct {
	ID      string    `json:"id"` // public
	Name    string    `json:"name"`
	Via     string    `json:"via"`
	Address string    `json:"address"`
	Client  string    `json:"client"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"`
	Expires time.Time `json:"expires"`
	Mine    bool      `json:"mine"`    // the caller's own
	Current bool      `json:"current"` // this very browser
}

// SignIns lists where somebody is signed in.
func (a *Accounts) SignIns(ctx context.Context) ([]SignedIn, error) {
	if err := mayManage(ctx); err != nil {
		return nil, err
	}
	rows, err := a.db.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	who, now := access.From(ctx), a.now()
	signedIn := make([]SignedIn, 0, len(rows))
	var me store.Session
	for _, s := range rows {
		if s.ID == who.Session {
			me = s
		}
	}
	for _, s := range rows {
		if live(s, now) {
			signedIn = append(signedIn, SignedIn{s.ID, s.Name, s.Via, s.Address, s.Client, s.Created, s.Used, s.Expires,
				me.ID != "" && s.Name == me.Name && s.Person == me.Person, s.ID == who.Session})
		}
	}
	return signedIn, nil
}

// End ends a session by its public ID.
func (a *Accounts) End(ctx context.Context, id string) error {
	if err := mayManage(ctx); err != nil {
		return err
	}
	s, err := a.db.Session(ctx, id)
	if err == nil {
		err = a.db.EndSession(ctx, id)
	}
	if err != nil {
		return explain(err, "session")
	}
	a.recheck()
	return a.note(ctx, audit.Event{Action: "session.end", Target: s.Name, Detail: fmt.Sprintf("at %s since %s", s.Address, s.Created.Format(time.RFC3339))})
}
