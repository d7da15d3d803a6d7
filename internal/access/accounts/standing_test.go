package accounts

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
)

// opened is what a principal has open.
func (w *world) opened(p access.Principal) context.Context {
	ctx, cancel := w.While(w.Context(), p)
	w.Cleanup(cancel)
	return ctx
}

// ends waits until what is open has been ended for the right reason, and because it was
// said that it is to be: not until it is found out some time.
func ends(t *testing.T, what string, open context.Context) {
	t.Helper()
	select {
	case <-open.Done():
	case <-time.After(checkEvery / 2):
	}
	if err := context.Cause(open); !errors.Is(err, access.ErrEnded) {
		t.Errorf("%s: %v", what, err)
	}
}

// TestNothingOutlivesItsSignIn, whichever way that ends.
func TestNothingOutlivesItsSignIn(t *testing.T) {
	for what, end := range map[string]func(w *world, b *browser, p access.Principal) error{
		"signing out": func(w *world, b *browser, _ access.Principal) error { return b.do(w.SignOut) },
		"ended from elsewhere": func(w *world, _ *browser, p access.Principal) error {
			return w.End(w.owner(), p.Session)
		},
		"signing in again": func(_ *world, b *browser, _ access.Principal) error { return b.signIn("Ann", goodPassword) },
		"disabled":         func(w *world, _ *browser, _ access.Principal) error { return w.Disable(w.owner(), "Ann") },
		"removed":          func(w *world, _ *browser, _ access.Principal) error { return w.Remove(w.owner(), "Ann") },
		"another password": func(w *world, _ *browser, _ access.Principal) error {
			other := w.browser()
			if err := other.signIn("Ann", goodPassword); err != nil {
				return err
			}
			return w.SetPassword(access.With(w.Context(), w.mustWho(other), other.place()), goodPassword, "seven grey herons fly")
		},
		"recovered": func(w *world, _ *browser, _ access.Principal) error {
			token, _, err := w.Recovery(w.owner(), "Ann")
			if err != nil {
				return err
			}
			return w.browser().enroll(Recover, token, "Ann", goodPassword)
		},
		"its time is over": func(w *world, _ *browser, _ access.Principal) error {
			w.pass(sessionLife)
			w.recheck()
			return nil
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			b := w.first()
			p := w.mustWho(b)
			open := w.opened(p)
			ticket, err := w.Ticket(w.Context(), p, "ada")
			if err != nil {
				t.Fatal(err)
			}
			visitor := w.browser()
			visitor.host, visitor.agent = "ada.example.com", "ada"
			if err := visitor.do(func(rw http.ResponseWriter, r *http.Request) error {
				return w.Redeem(r.Context(), ticket, "ada", rw, visitor.place())
			}); err != nil {
				t.Fatal(err)
			}
			visited := w.opened(w.mustWho(visitor))
			if err := end(w, b, p); err != nil {
				t.Fatal(err)
			}
			ends(t, "at the control plane", open)
			ends(t, "at an agent", visited)
		})
	}
}

// TestWhatStandsStaysOpen: other sign-ins, a session that is used by nothing but what
// is open, and those whose right is not kept here.
func TestWhatStandsStaysOpen(t *testing.T) {
	w := newWorld(t)
	b := w.first()
	mine := w.opened(w.mustWho(b))
	token := access.Principal{Kind: access.KindHolder, Agent: "ada", Via: access.ViaToken}
	if ctx, _ := w.While(w.Context(), token); ctx != w.Context() {
		t.Error("a holder of a token is watched")
	}
	other := w.browser()
	if err := other.signIn("Ann", goodPassword); err != nil {
		t.Fatal(err)
	}
	theirs := w.mustWho(other)
	gone := w.opened(theirs)
	if err := w.End(w.owner(), theirs.Session); err != nil {
		t.Fatal(err)
	}
	ends(t, "the other", gone)
	for range 3 { // days on which nothing but this is open
		w.pass(sessionIdle - time.Minute)
		w.checkStanding()
	}
	if mine.Err() != nil {
		t.Errorf("ended: %v", context.Cause(mine))
	}
	if _, err := b.who(); err != nil {
		t.Errorf("the session is not in use: %v", err)
	}

	_, secret, err := w.CreateServiceToken(w.owner(), "ci", "agents:use", 0)
	if err != nil || secret == "" {
		t.Fatal(err)
	}
	program := w.opened(access.Principal{Kind: access.KindService, Name: "ci", Via: access.ViaService})
	w.checkStanding()
	if program.Err() != nil {
		t.Error("a good service token was ended")
	}
	if err := w.RemoveServiceToken(w.owner(), "ci"); err != nil {
		t.Fatal(err)
	}
	ends(t, "the program", program)
}

// TestNothingIsKeptOfWhatIsClosed.
func TestNothingIsKeptOfWhatIsClosed(t *testing.T) {
	w := newWorld(t)
	p := w.mustWho(w.first())
	_, first := w.While(t.Context(), p)
	_, second := w.While(t.Context(), p)
	first()
	first()
	second()
	w.standing.mu.Lock()
	defer w.standing.mu.Unlock()
	if len(w.standing.open) != 0 || w.standing.timer != nil {
		t.Errorf("%v, %v", w.standing.open, w.standing.timer)
	}
}
