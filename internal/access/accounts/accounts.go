// Package accounts owns the built-in sign-in: the people who may administer this
// moltworker, what they sign in with (passkeys, passwords, links that work once),
// the sessions of everybody who signed in whichever way, and the service tokens of
// programs. It offers an [access.Authenticator] for sessions and one for tokens.
//
// It must not know pages or routes (signin), nor agents beyond their names. Every
// value that it hands out is random, and kept as a hash only.
package accounts

import (
	"cmp"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/store"
)

// Errors that callers tell apart. Those of wrong credentials are [*access.Refusal].
var (
	ErrInvalid  = errors.New("not acceptable")   // what was entered; the text says what is wrong
	ErrNotFound = errors.New("no such")          // person, passkey, session or token
	ErrTaken    = errors.New("already there")    // a name
	ErrFull     = errors.New("too many")         // as many of a kind as there may be
	ErrLast     = errors.New("the last way in")  // somebody would lock themselves or everybody out
	ErrLink     = errors.New("no such link now") // used, too old, replaced, or never made
)

// Recorder keeps what happened.
type Recorder interface {
	// Record keeps an event durably, or fails.
	Record(ctx context.Context, e audit.Event) error
	// Denied keeps a refusal, of which there may be any number, in bounded room.
	Denied(ctx context.Context, e audit.Event)
}

// Options are what accounts are made of. All fields are required but Now.
type Options struct {
	DB     *store.DB
	Audit  Recorder
	RPName string           // by which name browsers offer passkeys
	Now    func() time.Time // time.Now when nil
}

// Accounts is the built-in sign-in. Its methods may be called from anywhere.
type Accounts struct {
	db     *store.DB
	audit  Recorder
	rpName string
	now    func() time.Time

	hasher    *hasher
	addresses *lockout // of wrong passwords and links, by address
	names     *lockout // of wrong passwords, by name
	devices   *lockout // of wrong passwords, by the device of a former sign-in
	programs  *lockout // of wrong service tokens and passkeys, by kind and address
	strangers *budget  // of passwords tried by unknown devices, all together

	sealing cipher.AEAD // of what a browser keeps for us between two steps

	standing standing

	mu      sync.Mutex           // guards the two below
	spent   map[string]time.Time // challenges that were answered rightly, until they are too old anyway
	tickets map[string]ticket    // by hash
}

// New returns the accounts in a database.
func New(opts Options) (*Accounts, error) {
	if opts.DB == nil || opts.Audit == nil || opts.RPName == "" {
		return nil, errors.New("accounts need a database, an audit log and a name")
	}
	now := opts.Now
	if now == nil {
		now = time.Now
	}
	h, err := newHasher(passwordCost)
	if err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	sealing, err := newSealing(key)
	if err != nil {
		return nil, err
	}
	return &Accounts{
		db: opts.DB, audit: opts.Audit, rpName: opts.RPName, now: now,
		hasher: h, sealing: sealing,
		addresses: newLockout(now), names: newLockout(now), devices: newLockout(now), programs: newLockout(now),
		strangers: &budget{now: now},
		standing:  standing{open: map[holding]map[*context.CancelCauseFunc]bool{}},
		spent:     map[string]time.Time{}, tickets: map[string]ticket{},
	}, nil
}

// A Person is one who may sign in, as others see them.
type Person struct {
	Name     string    `json:"name"`
	Created  time.Time `json:"created"`
	Disabled bool      `json:"disabled"`
	Password bool      `json:"password"` // they have one
	Passkeys int       `json:"passkeys"`
	LastSeen time.Time `json:"lastSeen,omitzero"` // among their present sessions
}

// People lists everybody.
func (a *Accounts) People(ctx context.Context) ([]Person, error) {
	if err := mayManage(ctx); err != nil {
		return nil, err
	}
	rows, err := a.db.People(ctx)
	if err != nil {
		return nil, err
	}
	sessions, err := a.db.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	people := make([]Person, 0, len(rows))
	for _, row := range rows {
		keys, err := a.db.Passkeys(ctx, row.ID)
		if err != nil {
			return nil, err
		}
		p := Person{Name: row.Name, Created: row.Created, Disabled: !row.Disabled.IsZero(),
			Password: row.Password != "", Passkeys: len(keys)}
		for _, s := range sessions {
			if s.Person == row.ID && s.Used.After(p.LastSeen) {
				p.LastSeen = s.Used
			}
		}
		people = append(people, p)
	}
	return people, nil
}

// Disable lets a person in no more and ends their sessions, at once. Only the owner
// of this machine may disable the last person who can sign in.
func (a *Accounts) Disable(ctx context.Context, name string) error {
	return a.dismiss(ctx, name, "user.disable", func(p store.Person, keepOne bool) error {
		return a.db.DisablePerson(ctx, p.ID, a.now(), keepOne)
	})
}

// Remove forgets a person. Only the owner of this machine may remove the last one
// who can sign in.
func (a *Accounts) Remove(ctx context.Context, name string) error {
	return a.dismiss(ctx, name, "user.remove", func(p store.Person, keepOne bool) error {
		return a.db.RemovePerson(ctx, p.ID, keepOne)
	})
}

func (a *Accounts) dismiss(ctx context.Context, name, action string, do func(p store.Person, keepOne bool) error) error {
	if err := mayManage(ctx); err != nil {
		return err
	}
	p, err := a.db.PersonNamed(ctx, name)
	if err != nil {
		return explain(err, "person "+name)
	}
	if err := do(p, access.From(ctx).Kind != access.KindOwner); err != nil {
		return explain(err, "person "+name)
	}
	a.recheck()
	return a.note(ctx, audit.Event{Action: action, Target: p.Name})
}

// SetPassword changes the password of the person who is signed in, whose other
// sessions it ends. now is the present one, "" if there is none.
func (a *Accounts) SetPassword(ctx context.Context, now, next string) error {
	p, s, err := a.self(ctx)
	if err != nil {
		return err
	}
	if err := checkPassword(p.Name, next); err != nil {
		return err
	}
	if p.Password != "" {
		undo, wait, ok := a.devices.take("session "+s.ID, patient)
		if !ok {
			return limited(wait)
		}
		right, err := a.hasher.matches(ctx, p.Password, now, known)
		if err != nil {
			return err
		}
		if !right {
			a.noteDenied(ctx, audit.Event{Action: "password.denied", Target: p.Name})
			return invalid("that is not your present password", "ask for a recovery link if you no longer know it: `moltworker user recover NAME` on the host")
		}
		undo()
	}
	hash, err := a.hasher.hash(ctx, next, known)
	if err != nil {
		return err
	}
	if err := a.db.SetPassword(ctx, p.ID, hash, s.ID); err != nil {
		return explain(err, "person "+p.Name)
	}
	a.recheck()
	return a.note(ctx, audit.Event{Action: "password.set", Target: p.Name})
}

// self is the person who is signed in. Those whom another party vouches for have
// nothing to keep here: ErrNotFound.
func (a *Accounts) self(ctx context.Context) (store.Person, store.Session, error) {
	who := access.From(ctx)
	if who.Kind != access.KindPerson || who.Agent != "" || who.Session == "" {
		return store.Person{}, store.Session{}, fmt.Errorf("%w account of yours here: your sign-in is kept elsewhere", ErrNotFound)
	}
	s, err := a.db.Session(ctx, who.Session)
	if err == nil && s.Person == "" {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Person{}, s, explain(err, "account of yours here")
	}
	p, err := a.db.Person(ctx, s.Person)
	return p, s, explain(err, "account of yours here")
}

// HasAccount says whether the caller signed in with an account that is kept here.
func (a *Accounts) HasAccount(ctx context.Context) bool {
	_, _, err := a.self(ctx)
	return err == nil
}

// HasPassword says whether the caller's account has a password.
func (a *Accounts) HasPassword(ctx context.Context) bool {
	p, _, err := a.self(ctx)
	return err == nil && p.Password != ""
}

// mayManage refuses callers who may not manage accounts.
func mayManage(ctx context.Context) error {
	if who := access.From(ctx); !who.May(access.Accounts) {
		if who.Kind == "" {
			return access.NotSignedIn()
		}
		r := access.NotAllowed(who, access.Accounts)
		r.Message, r.Remedy = "Accounts are managed by people.", "Sign in at `/_admin/account`, or run `moltworker user` on the host."
		return r
	}
	return nil
}

// namePattern keeps names to what looks like itself, in URLs and in records.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$`)

func checkName(name string) error {
	if namePattern.MatchString(name) {
		return nil
	}
	return invalid("that name does not do", "use up to 64 letters, digits and . _ @ + -, the first one a letter or digit")
}

func invalid(what, how string) error { return remedy.With(fmt.Errorf("%w: %s", ErrInvalid, what), how) }

// explain turns the database's errors into ours. what follows "no such".
func explain(err error, what string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrUsed):
		return deadLink()
	case errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("%w %s", ErrNotFound, what)
	case errors.Is(err, store.ErrTaken):
		return remedy.With(fmt.Errorf("%s is %w", what, ErrTaken), "choose another name")
	case errors.Is(err, store.ErrFull):
		return remedy.With(fmt.Errorf("%w: %s", ErrFull, what), "remove one that is no longer needed")
	case errors.Is(err, store.ErrLast):
		return remedy.With(fmt.Errorf("%s is %w", what, ErrLast), "make another way in first; whoever owns the host may do this with `moltworker user`")
	}
	return err
}

// note records what happened, by whom the context says unless e does.
func (a *Accounts) note(ctx context.Context, e audit.Event) error {
	return a.audit.Record(ctx, a.signed(ctx, e))
}

// noteDenied records what was refused.
func (a *Accounts) noteDenied(ctx context.Context, e audit.Event) {
	a.audit.Denied(ctx, a.signed(ctx, e))
}

func (a *Accounts) signed(ctx context.Context, e audit.Event) audit.Event {
	by := audit.By(ctx)
	e.Actor, e.Via, e.From = cmp.Or(e.Actor, by.Actor), cmp.Or(e.Via, by.Via), cmp.Or(e.From, by.From)
	return e
}
