package accounts

import (
	"errors"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/accounts/passkeytest"
)

// make goes through the two steps of making a passkey.
func (b *browser) make(d *passkeytest.Device, begin func(http.ResponseWriter, *http.Request) (any, error), finish func(http.ResponseWriter, *http.Request, []byte) error) error {
	b.w.Helper()
	var options any
	if err := b.do(func(w http.ResponseWriter, r *http.Request) (err error) { options, err = begin(w, r); return err }); err != nil {
		return err
	}
	answer, err := d.Create(b.origin(), asJSON(b.w.TB, options))
	if err != nil {
		return err
	}
	return b.do(func(w http.ResponseWriter, r *http.Request) error { return finish(w, r, answer) })
}

func (b *browser) add(d *passkeytest.Device) error {
	return b.make(d, b.w.BeginAdd, func(w http.ResponseWriter, r *http.Request, answer []byte) error {
		return b.w.FinishAdd(w, r, "key", answer)
	})
}

func (b *browser) enrollPasskey(d *passkeytest.Device, kind LinkKind, token, name string) error {
	var l Link
	err := b.do(func(_ http.ResponseWriter, r *http.Request) (err error) {
		l, err = b.w.OpenLink(r, kind, token)
		return err
	})
	if err != nil {
		return err
	}
	return b.make(d, func(w http.ResponseWriter, r *http.Request) (any, error) { return b.w.BeginEnroll(w, r, l, name) },
		func(w http.ResponseWriter, r *http.Request, answer []byte) error {
			return b.w.FinishEnroll(w, r, l, "", answer)
		})
}

// challenge is the first step of signing in.
func (b *browser) challenge() []byte {
	b.w.Helper()
	var options any
	if err := b.do(func(w http.ResponseWriter, r *http.Request) (err error) {
		options, err = b.w.BeginPasskey(w, r)
		return err
	}); err != nil {
		b.w.Fatal(err)
	}
	return asJSON(b.w.TB, options)
}

func (b *browser) answer(answer []byte) error {
	return b.do(func(w http.ResponseWriter, r *http.Request) error { return b.w.FinishPasskey(w, r, answer) })
}

func (b *browser) withPasskey(d *passkeytest.Device, origin string) error {
	answer, err := d.Get(origin, b.challenge())
	if err != nil {
		return err
	}
	return b.answer(answer)
}

func TestStoryOfPasskeys(t *testing.T) {
	w := newWorld(t)
	token, err := w.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var phone, laptop passkeytest.Device
	ann := w.browser()
	if err := ann.enrollPasskey(&phone, Setup, token, "Ann"); err != nil {
		t.Fatal(err)
	}
	if p := w.mustWho(ann); p.Name != "Ann" || p.Via != access.ViaPasskey {
		t.Fatalf("%+v", p)
	}
	w.pass(time.Second) // the list is by age
	if err := ann.add(&laptop); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*passkeytest.Device{&phone, &laptop, &phone} {
		b := w.browser()
		w.pass(time.Minute)
		if err := b.withPasskey(d, b.origin()); err != nil {
			t.Fatal(err)
		}
		if p := w.mustWho(b); p.Name != "Ann" || p.Via != access.ViaPasskey {
			t.Errorf("%+v", p)
		}
	}
	var keys []Passkey
	remove := func(i int) error {
		return ann.do(func(_ http.ResponseWriter, r *http.Request) (err error) {
			if keys, err = w.Passkeys(r.Context()); err != nil {
				return err
			}
			return w.RemovePasskey(r.Context(), keys[i].ID)
		})
	}
	if err := remove(0); err != nil || keys[0].Host != "bot.example.com" || keys[0].Used.Equal(keys[0].Created) {
		t.Fatalf("%+v, %v", keys, err)
	}
	if err := remove(0); !errors.Is(err, ErrLast) {
		t.Errorf("the last way in was removed: %v", err)
	}
	b := w.browser()
	if err := b.withPasskey(&phone, b.origin()); reason(err) != access.Wrong {
		t.Errorf("a removed passkey: %v", err)
	}
	// Recovery by another passkey ends the sessions.
	var found passkeytest.Device
	recovery, _, err := w.Recovery(w.owner(), "ann")
	if err != nil {
		t.Fatal(err)
	}
	again := w.browser()
	if err := again.enrollPasskey(&found, Recover, recovery, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := ann.who(); reason(err) != access.SignedOut {
		t.Errorf("a session outlived the recovery: %v", err)
	}
	if p := w.mustWho(again); p.Name != "Ann" {
		t.Errorf("%+v", p)
	}
}

func TestPasskeysThatDoNotOpen(t *testing.T) {
	w := newWorld(t)
	ann := w.first()
	var key passkeytest.Device
	if err := ann.add(&key); err != nil {
		t.Fatal(err)
	}
	at := func(i byte) *browser {
		b := w.browser()
		b.address = "192.0.2." + string('0'+i%10)
		return b
	}
	t.Run("another origin", func(t *testing.T) {
		for _, origin := range []string{"https://evil.example", "http://bot.example.com", "https://bot.example.com:8443", "https://work.bot.example.com"} {
			if err := at(0).withPasskey(&key, origin); reason(err) == "" {
				t.Errorf("%s: %v", origin, err)
			}
		}
	})
	t.Run("another host's", func(t *testing.T) {
		b := at(1)
		options := b.challenge()
		b.host = "other.example.com"
		answer, err := key.Get(b.origin(), options)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.answer(answer); reason(err) != access.Wrong {
			t.Errorf("%v", err)
		}
	})
	t.Run("unverified user", func(t *testing.T) {
		key.Unverified = true
		defer func() { key.Unverified = false }()
		if b := at(2); reason(b.withPasskey(&key, b.origin())) != access.Wrong {
			t.Error("let in")
		}
	})
	t.Run("replay", func(t *testing.T) {
		b := at(3)
		answer, err := key.Get(b.origin(), b.challenge())
		if err != nil {
			t.Fatal(err)
		}
		step := maps.Clone(b.jar)
		if err := b.answer(answer); err != nil {
			t.Fatal(err)
		}
		thief := at(4)
		thief.jar = step
		if err := thief.answer(answer); reason(err) != access.Wrong {
			t.Errorf("given twice: %v", err)
		}
	})
	t.Run("late", func(t *testing.T) {
		b := at(5)
		answer, err := key.Get(b.origin(), b.challenge())
		if err != nil {
			t.Fatal(err)
		}
		w.pass(stepLife)
		if err := b.answer(answer); !errors.Is(err, ErrInvalid) {
			t.Errorf("%v", err)
		}
	})
	t.Run("no step, another's step, a forged step", func(t *testing.T) {
		b := at(6)
		answer, err := key.Get(b.origin(), b.challenge())
		if err != nil {
			t.Fatal(err)
		}
		other := at(6)
		other.challenge()
		if err := other.answer(answer); reason(err) != access.Wrong {
			t.Errorf("another's step: %v", err)
		}
		b.jar["__Host-moltworker-step"] = "AAAA" + b.jar["__Host-moltworker-step"]
		if err := b.answer(answer); !errors.Is(err, ErrInvalid) {
			t.Errorf("forged: %v", err)
		}
		delete(b.jar, "__Host-moltworker-step")
		if err := b.answer(answer); !errors.Is(err, ErrInvalid) {
			t.Errorf("none: %v", err)
		}
	})
	t.Run("rubbish", func(t *testing.T) {
		for _, answer := range []string{"", "{}", "null", `{"id":"AA","rawId":"AA","type":"public-key","response":{}}`} {
			b := at(7)
			b.challenge()
			if err := b.answer([]byte(answer)); reason(err) != access.Wrong && reason(err) != access.Limited {
				t.Errorf("%q: %v", answer, err)
			}
		}
	})
}

// A copy of a passkey is noticed by its counter, and no passkey opens for somebody
// who was shut out.
func TestPasskeysThatOpenNoMore(t *testing.T) {
	w := newWorld(t)
	ann := w.first()
	var key passkeytest.Device
	if err := ann.add(&key); err != nil {
		t.Fatal(err)
	}
	t.Run("counter that goes back", func(t *testing.T) {
		key.Counting, key.Counter = true, 10
		b := w.browser()
		if err := b.withPasskey(&key, b.origin()); err != nil {
			t.Fatal(err)
		}
		key.Counter = 3
		if err := b.withPasskey(&key, b.origin()); reason(err) != access.Wrong {
			t.Errorf("let in: %v", err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		last := w.events[len(w.events)-1]
		if last.Action != "signin.denied" || last.Target != "Ann" || last.Detail != "the passkey's counter went back: there may be a copy of it" {
			t.Errorf("recorded: %+v", last)
		}
	})
	t.Run("disabled person", func(t *testing.T) {
		if err := w.Disable(w.owner(), "Ann"); err != nil {
			t.Fatal(err)
		}
		key.Counter = 100
		if b := w.browser(); reason(b.withPasskey(&key, b.origin())) != access.Wrong {
			t.Error("let in")
		}
	})
}

func TestWherePasskeysWork(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		host   string
		secure bool
		want   bool
	}{
		{"bot.example.com", true, true}, {"bot.example.com", false, false}, {"localhost", false, true}, {"work.localhost", false, true},
		{"127.0.0.1", false, false}, {"192.0.2.1", true, false}, {"::1", true, false}, {"", true, false},
	} {
		b := w.browser()
		r := b.request()
		r = r.WithContext(access.With(r.Context(), access.Principal{}, access.Place{Host: tt.host, Secure: tt.secure}))
		if got := PasskeysWork(r); got != tt.want {
			t.Errorf("%q, secure %v: %v", tt.host, tt.secure, got)
		}
	}
}
