package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/store"
)

// LinkKind is what a link lets somebody do, once.
type LinkKind string

// The kinds.
const (
	Setup   LinkKind = store.LinkSetup   // become the first person
	Invite  LinkKind = store.LinkInvite  // become a further one
	Recover LinkKind = store.LinkRecover // get a new way in
)

const (
	inviteLife  = 24 * time.Hour
	recoverLife = time.Hour
	maxLinks    = 100 // of each kind at once
)

// A Link is what somebody who holds its token may do.
type Link struct {
	Kind   LinkKind
	Person string    // Recover: the name of whom it is for
	By     string    // who made it
	Until  time.Time // zero: until it is used
	token  string
	person store.Person
}

// An Invitation is a link as it is told to whom it is to be sent by.
type Invitation struct {
	Link  string    `json:"link"` // an address to open
	Until time.Time `json:"until"`
}

// Proof is what the pages of a link carry: who can only make a browser send
// requests does not know it.
func (l Link) Proof() string {
	mac := hmac.New(sha256.New, []byte(l.token))
	mac.Write([]byte("moltworker link proof v1"))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func deadLink() error {
	return remedy.With(ErrLink, "ask for a new one: links work once, and not for long; on the host, `moltworker user` makes them")
}

// SetupLink makes the token of the link by which the first person comes in; it
// replaces the one before. It is "" once there is anybody.
func (a *Accounts) SetupLink(ctx context.Context) (string, error) {
	if any, err := a.db.AnyPeople(ctx); err != nil || any {
		return "", err
	}
	token := newValue()
	err := a.db.AddLink(ctx, store.Link{Hash: hashOf(token), Kind: store.LinkSetup, By: "start", Created: a.now()}, maxLinks)
	if errors.Is(err, store.ErrTaken) {
		return "", nil
	}
	return token, err
}

// Invite makes the token of a link by which one more person comes in.
func (a *Accounts) Invite(ctx context.Context) (token string, until time.Time, err error) {
	if err := mayManage(ctx); err != nil {
		return "", until, err
	}
	token, until = newValue(), a.now().Add(inviteLife)
	l := store.Link{Hash: hashOf(token), Kind: store.LinkInvite, By: access.From(ctx).String(), Created: a.now(), Expires: until}
	if err := a.db.AddLink(ctx, l, maxLinks); err != nil {
		return "", until, explain(err, "invitations that nobody has used yet")
	}
	return token, until, a.note(ctx, audit.Event{Action: "user.invite"})
}

// Recovery makes the token of a link that gives a person a new way in, and ends
// their sessions. Only the owner of this machine may: people could become each
// other by it.
func (a *Accounts) Recovery(ctx context.Context, name string) (token string, until time.Time, err error) {
	if err := mayManage(ctx); err != nil {
		return "", until, err
	}
	if who := access.From(ctx); who.Kind != access.KindOwner {
		r := access.NotAllowed(who, access.Accounts)
		r.Message, r.Remedy = "Recovery links are made on the host.", "Run `moltworker user recover NAME` there."
		return "", until, r
	}
	p, err := a.db.PersonNamed(ctx, name)
	if err != nil {
		return "", until, explain(err, "person "+name)
	}
	token, until = newValue(), a.now().Add(recoverLife)
	l := store.Link{Hash: hashOf(token), Kind: store.LinkRecover, Person: p.ID, By: access.From(ctx).String(), Created: a.now(), Expires: until}
	if err := a.db.AddLink(ctx, l, maxLinks); err != nil {
		return "", until, explain(err, "recovery links that nobody has used yet")
	}
	return token, until, a.note(ctx, audit.Event{Action: "user.recover", Target: p.Name})
}

// OpenLink says what a link's token is good for, without using it up. Wrong tokens
// lock their address out.
func (a *Accounts) OpenLink(r *http.Request, kind LinkKind, token string) (Link, error) {
	ctx := r.Context()
	address, free := addressKey(access.At(ctx).Client)
	undo, wait, ok := a.addresses.take(address, free)
	if !ok {
		return Link{}, limited(wait)
	}
	l := Link{Kind: kind, token: token}
	row, err := store.Link{}, error(store.ErrNotFound)
	if len(token) == valueSize {
		row, err = a.db.Link(ctx, hashOf(token), string(kind), a.now())
	}
	if err == nil && row.Person != "" {
		l.person, err = a.db.Person(ctx, row.Person)
	}
	if errors.Is(err, store.ErrNotFound) {
		a.noteDenied(ctx, audit.Event{Action: "signin.denied", Via: "link", Detail: string(kind) + " link is not good"})
		return l, deadLink()
	}
	undo()
	l.Person, l.By, l.Until = l.person.Name, row.By, row.Expires
	return l, err
}

// Enroll uses a link up with a password: a new person of that name, or the one
// whom a recovery is for, has it from now on, and is signed in. Of two who come at
// once one succeeds.
func (a *Accounts) Enroll(w http.ResponseWriter, r *http.Request, l Link, name, password string) error {
	ctx := r.Context()
	p := a.newPerson(l, name)
	if err := checkName(p.Name); err != nil {
		return err
	}
	if err := checkPassword(p.Name, password); err != nil {
		return err
	}
	if err := a.nameIsFree(ctx, l, p.Name); err != nil {
		return err
	}
	hash, err := a.hasher.hash(ctx, password, known)
	if err != nil {
		return err
	}
	p.Password = hash
	return a.useUp(w, r, l, p, nil, access.ViaPassword)
}

func (a *Accounts) newPerson(l Link, name string) store.Person {
	if l.Kind == Recover {
		return l.person
	}
	return store.Person{ID: randomText(24), Name: name, Created: a.now()}
}

func (a *Accounts) nameIsFree(ctx context.Context, l Link, name string) error {
	if l.Kind == Recover {
		return nil
	}
	_, err := a.db.PersonNamed(ctx, name)
	if err == nil {
		return explain(store.ErrTaken, "a person called "+name)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// useUp uses a link up and signs its person in.
func (a *Accounts) useUp(w http.ResponseWriter, r *http.Request, l Link, p store.Person, key *store.Passkey, via string) error {
	ctx := r.Context()
	var err error
	action := "user.join"
	if l.Kind == Recover {
		action = "user.recovered"
		_, err = a.db.Recover(ctx, hashOf(l.token), a.now(), p.Password, key)
	} else {
		_, err = a.db.Join(ctx, hashOf(l.token), string(l.Kind), p, key)
	}
	if errors.Is(err, store.ErrUsed) {
		a.noteDenied(ctx, audit.Event{Action: "signin.denied", Via: "link", Detail: string(l.Kind) + " link was used meanwhile"})
		return deadLink()
	}
	if err != nil {
		return explain(err, "a person called "+p.Name)
	}
	a.recheck()
	a.names.forgive(foldName(p.Name))
	detail := string(l.Kind) + " link"
	if l.By != "" {
		detail += " by " + l.By
	}
	if err := a.note(ctx, audit.Event{Action: action, Actor: string(access.KindPerson) + " " + p.Name, Via: via, Target: p.Name, Detail: detail}); err != nil {
		return err
	}
	return a.admit(w, r, p, via)
}

// Empty says whether nobody has an account yet.
func (a *Accounts) Empty(ctx context.Context) (bool, error) {
	any, err := a.db.AnyPeople(ctx)
	return !any, err
}
