package accounts

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/store"
)

// wrongSignIn is the one answer to whatever is wrong.
func wrongSignIn() *access.Refusal {
	return &access.Refusal{Reason: access.Wrong, Message: "That did not let you in.",
		Remedy: "Check the name and the password, or use a passkey. On the host, `moltworker user recover NAME` makes a link that lets you in."}
}

func limited(wait time.Duration) *access.Refusal {
	return &access.Refusal{Reason: access.Limited, Message: "Too many wrong attempts.", RetryAfter: wait, Final: true,
		Remedy: "Wait a moment. A passkey, or a browser that you have signed in from before, is not held up."}
}

// SignIn signs a person in by name and password, or returns a [*access.Refusal].
//
// Failures lock their address out, and the name, whether or not it exists. Who
// shows the device cookie or a session of that same person is counted apart: the
// failures of others do not lock the owner out of a browser they have used before.
func (a *Accounts) SignIn(w http.ResponseWriter, r *http.Request, name, password string) error {
	ctx := r.Context()
	if len(name) > 256 {
		name = "" // nobody's
	}
	device, err := a.knownDevice(r, name)
	if err != nil {
		return err
	}
	succeeded, refused := a.pay(r, name, device)
	if refused != nil {
		a.noteDenied(ctx, audit.Event{Action: "signin.limited", Via: access.ViaPassword, Detail: "too many wrong passwords from there, for that name, or in all"})
		return refused
	}
	p, err := a.db.PersonNamed(ctx, name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	phc, queue := p.Password, stranger
	if !p.Disabled.IsZero() {
		phc = ""
	}
	if device != "" {
		queue = known
	}
	right, err := a.hasher.matches(ctx, phc, password, queue)
	if err != nil {
		var busy *access.Refusal
		if errors.As(err, &busy) {
			succeeded() // nothing was tried
		}
		return err
	}
	if !right {
		return a.denied(ctx, access.ViaPassword, p.Name, "wrong name or password", wrongSignIn())
	}
	succeeded()
	return a.admit(w, r, p, access.ViaPassword)
}

// pay takes the price of a wrong password in advance. succeeded gives it back.
func (a *Accounts) pay(r *http.Request, name, device string) (succeeded func(), refused *access.Refusal) {
	if device != "" {
		undo, wait, ok := a.devices.take(device, strict)
		if !ok {
			return nil, limited(wait)
		}
		return undo, nil
	}
	address, free := addressKey(access.At(r.Context()).Client)
	backAddress, wait, ok := a.addresses.take(address, free)
	if !ok {
		return nil, limited(wait)
	}
	backName, wait, ok := a.names.take(foldName(name), strict)
	if !ok {
		backAddress()
		return nil, limited(wait)
	}
	if wait, ok := a.strangers.take(); !ok {
		backAddress()
		backName()
		return nil, limited(wait)
	}
	return func() {
		backAddress()
		backName()
		a.strangers.giveBack()
	}, nil
}

// knownDevice names the device of a former sign-in of a person that the request
// comes from; "" when it comes from none, which is told without the database when
// there is no such cookie.
func (a *Accounts) knownDevice(r *http.Request, name string) (string, error) {
	ctx, secure := r.Context(), access.At(r.Context()).Secure
	if len(r.CookiesNamed(cookieName(deviceCookie, secure))) == 0 && len(r.CookiesNamed(cookieName(sessionCookie, secure))) == 0 {
		return "", nil
	}
	p, err := a.db.PersonNamed(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for value := range cookies(r, cookieName(deviceCookie, secure)) {
		if len(value) != valueSize {
			continue
		}
		hash := hashOf(value)
		if ok, err := a.db.DeviceOf(ctx, p.ID, hash, a.now().Add(-deviceLife)); err != nil || ok {
			return "device " + hex.EncodeToString(hash), err
		}
	}
	s, _, err := a.current(r, access.At(ctx))
	if errors.Is(err, store.ErrNotFound) || err == nil && s.Person != p.ID {
		return "", nil
	}
	return "session " + s.ID, err
}

// admit begins a session of a person who has proved who they are.
func (a *Accounts) admit(w http.ResponseWriter, r *http.Request, p store.Person, via string) error {
	if err := a.begin(r.Context(), w, r, p.ID, p.Name, via); err != nil {
		if errors.Is(err, store.ErrNotFound) { // disabled or removed this very moment
			return wrongSignIn()
		}
		return err
	}
	return a.know(w, r, p.ID)
}

// denied records a refused sign-in and is its answer. name is that of a person
// there is: what else was entered may be a password in the wrong field.
func (a *Accounts) denied(ctx context.Context, via, name, why string, answer *access.Refusal) error {
	a.noteDenied(ctx, audit.Event{Action: "signin.denied", Via: via, Target: name, Detail: why})
	answer.Detail = why
	return answer
}

// foldName is a name as it is counted by: in any case of its letters the same, and
// bounded.
func foldName(name string) string {
	if !namePattern.MatchString(name) {
		return ""
	}
	return strings.ToLower(name)
}

// NoteRefused records that another party's word for somebody did not count. What
// of a [*access.Refusal] is for the owner alone is recorded.
func (a *Accounts) NoteRefused(ctx context.Context, via string, err error) {
	why := err.Error()
	var refused *access.Refusal
	if errors.As(err, &refused) && refused.Detail != "" {
		why = refused.Detail
	}
	a.noteDenied(ctx, audit.Event{Action: "signin.denied", Via: via, Detail: why})
}
