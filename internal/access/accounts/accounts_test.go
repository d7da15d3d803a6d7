package accounts

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
)

// The first person comes in by the link, invites another, and is recovered by the
// owner of the host.
func TestStoryOfPeople(t *testing.T) {
	w := newWorld(t)
	ann := w.first()
	p, err := ann.who()
	if err != nil || p.Name != "Ann" || p.Kind != access.KindPerson || p.Via != access.ViaPassword || p.Proof == "" || !p.May(access.Accounts) {
		t.Fatalf("after setup: %+v, %v", p, err)
	}
	if token, err := w.SetupLink(t.Context()); token != "" || err != nil {
		t.Errorf("a second setup link: %q, %v", token, err)
	}
	var invited string
	if err := ann.do(func(_ http.ResponseWriter, r *http.Request) (err error) {
		invited, _, err = w.Invite(r.Context())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	bob := w.browser()
	if err := bob.enroll(Invite, invited, "aNN", goodPassword); !errors.Is(err, ErrTaken) {
		t.Errorf("the name of another in other case: %v", err)
	}
	if err := bob.enroll(Invite, invited, "bob@example.com", goodPassword); err != nil {
		t.Fatalf("a refused name used the invitation up: %v", err)
	}
	if err := w.browser().enroll(Invite, invited, "carl", goodPassword); !errors.Is(err, ErrLink) {
		t.Errorf("a used invitation: %v", err)
	}

	token, _, err := w.Recovery(w.owner(), "BOB@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.who(); reason(err) != access.SignedOut {
		t.Errorf("a recovery link left the sessions: %v", err)
	}
	if err := bob.enroll(Recover, token, "somebody else", "eleven brown otters"); err != nil {
		t.Fatal(err)
	}
	if p, err := bob.who(); err != nil || p.Name != "bob@example.com" {
		t.Errorf("recovered as %+v, %v", p, err)
	}
	if err := w.browser().signIn("bob@example.com", goodPassword); reason(err) != access.Wrong {
		t.Errorf("the password from before: %v", err)
	}

	if err := w.Disable(w.owner(), "bob@example.com"); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.who(); reason(err) != access.SignedOut {
		t.Errorf("a disabled person goes on: %v", err)
	}
	if err := bob.signIn("bob@example.com", "eleven brown otters"); reason(err) != access.Wrong {
		t.Errorf("a disabled person signs in: %v", err)
	}
	err = ann.do(func(_ http.ResponseWriter, r *http.Request) error { return w.Disable(r.Context(), "ann") })
	if !errors.Is(err, ErrLast) {
		t.Errorf("the last person disables herself: %v", err)
	}
	for _, action := range []string{"user.join", "user.invite", "user.recover", "user.recovered", "user.disable", "signin.ok", "signin.denied"} {
		if w.recorded(action) == 0 {
			t.Errorf("%s was not recorded", action)
		}
	}
}

func TestWhoMayManage(t *testing.T) {
	w := newWorld(t)
	w.first()
	everything := access.Principal{Kind: access.KindService, Name: "ci", Scopes: []access.Scope{access.Everything}}
	visitor := access.Principal{Kind: access.KindPerson, Name: "Ann", Agent: "main"}
	for _, p := range []access.Principal{{}, everything, visitor, {Kind: access.KindHolder, Agent: "main"}} {
		ctx := access.With(t.Context(), p, access.Place{})
		_, people := w.People(ctx)
		_, _, invite := w.Invite(ctx)
		_, _, recover := w.Recovery(ctx, "Ann")
		_, _, create := w.CreateServiceToken(ctx, "x", "*", 0)
		_, list := w.ListServiceTokens(ctx)
		_, sessions := w.SignIns(ctx)
		for i, err := range []error{people, invite, recover, create, list, sessions, w.Disable(ctx, "Ann"), w.Remove(ctx, "Ann"),
			w.RemoveServiceToken(ctx, "x"), w.End(ctx, "x"), w.SetPassword(ctx, goodPassword, "another fine password")} {
			if err == nil {
				t.Errorf("%v may do operation %d", p, i)
			}
		}
	}
	if _, _, err := w.Recovery(as(t.Context(), access.KindPerson, "Bob"), "Ann"); reason(err) != access.Forbidden {
		t.Errorf("one person recovers another: %v", err)
	}
}

func TestTwoRaceForOneLink(t *testing.T) {
	w := newWorld(t)
	token, err := w.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		b := w.browser()
		wait.Go(func() { errs[i] = b.enroll(Setup, token, "person"+string(rune('a'+i)), goodPassword) })
	}
	wait.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, ErrLink) && reason(err) != access.Limited:
			t.Errorf("a loser is told %v", err)
		}
	}
	people, err := w.People(w.owner())
	if won != 1 || err != nil || len(people) != 1 {
		t.Errorf("%d won, %d people, %v", won, len(people), err)
	}
}

func TestLinksEnd(t *testing.T) {
	w := newWorld(t)
	old, err := w.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	setup, err := w.SetupLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := w.browser()
	open := func(kind LinkKind, token string) error {
		return b.do(func(_ http.ResponseWriter, r *http.Request) error { _, err := w.OpenLink(r, kind, token); return err })
	}
	w.pass(90 * 24 * time.Hour)
	if err := open(Setup, setup); err != nil {
		t.Errorf("the setup link does not wait: %v", err)
	}
	invite, _, err := w.Invite(w.owner())
	if err != nil {
		t.Fatal(err)
	}
	w.pass(24 * time.Hour)
	for name, err := range map[string]error{
		"setup link of an earlier start": open(Setup, old),
		"invitation after a day":         open(Invite, invite),
		"invitation as setup":            open(Setup, invite),
		"setup as recovery":              open(Recover, setup),
		"nothing":                        open(Setup, ""),
		"long":                           open(Setup, strings.Repeat("x", 1<<20)),
	} {
		if !errors.Is(err, ErrLink) && reason(err) != access.Limited {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPasswordsThatDoNotDo(t *testing.T) {
	for _, password := range []string{"", "short", "ann@example.com", "ANN@example.com", "PasswordPassword", "aaaaaaaaaaaaaaa", strings.Repeat("ab", 513), "line\nbreaks are bad", "bad \xff bytes in it"} {
		if err := checkPassword("ann@example.com", password); !errors.Is(err, ErrInvalid) {
			t.Errorf("%.20q: %v", password, err)
		}
	}
	for _, password := range []string{goodPassword, "einäugige Kröten", strings.Repeat("ab", 512)} {
		if err := checkPassword("ann@example.com", password); err != nil {
			t.Errorf("%.20q: %v", password, err)
		}
	}
}

func TestNamesThatDoNotDo(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "a b", "<b>", "аnn", strings.Repeat("a", 65), "a\x00", "-x"} {
		if checkName(name) == nil {
			t.Errorf("%q does", name)
		}
	}
}
