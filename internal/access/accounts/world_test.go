package accounts

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/store"
)

const goodPassword = "seven grey herons wade"

// world is accounts with a clock and a record that the test holds.
type world struct {
	testing.TB
	*Accounts

	mu     sync.Mutex // guards the two below
	clock  time.Time
	events []audit.Event
}

func (w *world) Record(_ context.Context, e audit.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	return nil
}

func (w *world) Denied(ctx context.Context, e audit.Event) { _ = w.Record(ctx, e) }

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

func (w *world) recorded(action string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Action == action {
			n++
		}
	}
	return n
}

func newWorld(t testing.TB) *world {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	w := &world{TB: t, clock: time.UnixMilli(1_800_000_000_000).UTC()}
	w.Accounts, err = New(Options{DB: db, Audit: w, RPName: "moltworker", Now: func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.clock
	}})
	if err != nil {
		t.Fatal(err)
	}
	if w.hasher, err = newHasher(cost{memory: 64, time: 1}); err != nil { // cheap
		t.Fatal(err)
	}
	return w
}

// browser keeps cookies as one does for one host.
type browser struct {
	w       *world
	host    string
	secure  bool
	address string
	agent   string // whose own pages it is on
	jar     map[string]string
}

func (w *world) browser() *browser {
	return &browser{w: w, host: "bot.example.com", secure: true, address: "203.0.113.7", jar: map[string]string{}}
}

func (b *browser) place() access.Place {
	return access.Place{Agent: b.agent, Client: netip.MustParseAddr(b.address), Host: b.host, Secure: b.secure}
}

func (b *browser) origin() string {
	if b.secure {
		return "https://" + b.host
	}
	return "http://" + b.host
}

func (b *browser) request() *http.Request {
	r := httptest.NewRequest("POST", b.origin()+"/_admin/", nil)
	for name, value := range b.jar {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r.WithContext(access.With(b.w.Context(), access.Principal{}, b.place()))
}

// do calls f with a request of this browser and keeps the cookies of the answer.
func (b *browser) do(f func(http.ResponseWriter, *http.Request) error) error {
	b.w.Helper()
	rec, r := httptest.NewRecorder(), b.request()
	if p, err := b.w.Sessions().Authenticate(r, b.place()); err == nil {
		r = r.WithContext(access.With(r.Context(), p, b.place()))
	}
	err := f(rec, r)
	for _, c := range rec.Result().Cookies() {
		if b.secure != strings.HasPrefix(c.Name, "__Host-") || !c.HttpOnly || c.Path != "/" || c.Secure != b.secure || c.Domain != "" {
			b.w.Errorf("cookie %s is set carelessly: %v", c.Name, c.Raw)
		}
		if c.MaxAge < 0 {
			delete(b.jar, c.Name)
		} else {
			b.jar[c.Name] = c.Value
		}
	}
	return err
}

func (b *browser) who() (access.Principal, error) {
	return b.w.Sessions().Authenticate(b.request(), b.place())
}

func (b *browser) signIn(name, password string) error {
	return b.do(func(w http.ResponseWriter, r *http.Request) error { return b.w.SignIn(w, r, name, password) })
}

func (b *browser) enroll(kind LinkKind, token, name, password string) error {
	return b.do(func(w http.ResponseWriter, r *http.Request) error {
		l, err := b.w.OpenLink(r, kind, token)
		if err != nil {
			return err
		}
		return b.w.Enroll(w, r, l, name, password)
	})
}

// as is a context of somebody.
func as(ctx context.Context, kind access.Kind, name string) context.Context {
	return access.With(ctx, access.Principal{Kind: kind, Name: name, Via: "test"}, access.Place{})
}

func (w *world) owner() context.Context { return as(w.Context(), access.KindOwner, "root") }

// first makes the first person, ann, and returns her browser.
func (w *world) first() *browser {
	w.Helper()
	token, err := w.SetupLink(w.Context())
	if err != nil || token == "" {
		w.Fatalf("SetupLink: %q, %v", token, err)
	}
	b := w.browser()
	if err := b.enroll(Setup, token, "Ann", goodPassword); err != nil {
		w.Fatal(err)
	}
	return b
}

func reason(err error) access.Reason {
	var r *access.Refusal
	if errors.As(err, &r) {
		return r.Reason
	}
	return ""
}

func asJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
