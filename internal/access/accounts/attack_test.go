package accounts

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
)

const floods = 100_000

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

// However many guesses come from wherever with whichever names, few are tried,
// the tables stay small, and Ann gets in by the browser that she has used before.
func TestFloodOfPasswords(t *testing.T) {
	floods := floods
	if testing.Short() {
		floods /= 10
	}
	address4 := func(i int) string { return fmt.Sprintf("198.%d.%d.%d", 18+i>>16&1, i>>8&255, i&255) }
	address6 := func(i int) string { return fmt.Sprintf("2001:db8:%x:%x::%x", i>>16, i&0xffff, i&0xff) }
	tests := []struct {
		name    string
		address func(int) string
		guessed func(int) string
	}{
		{"one address, one name", func(int) string { return "198.51.100.1" }, func(int) string { return "Ann" }},
		{"one network of many addresses", func(i int) string { return fmt.Sprintf("2001:db8::%x:%x", i>>16, i&0xffff) }, func(i int) string { return fmt.Sprint("n", i) }},
		{"many addresses, one name", address4, func(int) string { return "aNn" }},
		{"many addresses, many names", address6, func(i int) string { return fmt.Sprint("n", i) }},
		{"many addresses, impossible names", address6, func(i int) string { return strings.Repeat("\x00", i%300) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			ann := w.first()
			delete(ann.jar, "__Host-moltworker-session") // only the device is known
			before := w.hasher.hashes.Load()
			r := w.browser().request()
			for i := range floods {
				at := access.Place{Host: "bot.example.com", Secure: true, Client: mustAddr(tt.address(i))}
				err := w.SignIn(nil, r.WithContext(access.With(t.Context(), access.Principal{}, at)), tt.guessed(i), "wrong password!")
				if got := reason(err); got != access.Wrong && got != access.Limited {
					t.Fatal(err)
				}
			}
			if n := w.hasher.hashes.Load() - before; n > budgetSize {
				t.Errorf("%d guesses were hashed", n)
			}
			if n := w.recorded("signin.denied"); n > budgetSize {
				t.Errorf("%d denials were recorded", n)
			}
			for _, l := range []*lockout{w.addresses, w.names, w.devices} {
				if len(l.failed) > maxLocked {
					t.Errorf("a table has %d entries", len(l.failed))
				}
			}
			ann.address = tt.address(floods - 1)
			if err := ann.signIn("ann", goodPassword); err != nil {
				t.Errorf("Ann, from her own browser: %v", err)
			}
		})
	}
}

// The device that is exempt from others' failures is not exempt from its own.
func TestKnownDeviceIsLimitedToo(t *testing.T) {
	w := newWorld(t)
	ann := w.first()
	for i := range 100 {
		err := ann.signIn("Ann", "wrong password!")
		if want := map[bool]access.Reason{true: access.Wrong, false: access.Limited}[i <= strict]; reason(err) != want {
			t.Fatalf("guess %d: %v, want %v", i, err, want)
		}
	}
	// It is known for Ann alone: another name is a stranger's.
	if err := ann.signIn("bob", "wrong password!"); reason(err) != access.Wrong {
		t.Errorf("another name: %v", err)
	}
	if n := len(w.addresses.failed); n != 1 {
		t.Errorf("%d addresses are counted", n)
	}
}

func TestLockoutGrows(t *testing.T) {
	w := newWorld(t)
	w.first()
	var waits []time.Duration
	for len(waits) < 14 {
		err := w.browser().signIn("Ann", "wrong password!")
		var r *access.Refusal
		if errors.As(err, &r) && r.Reason == access.Limited {
			waits = append(waits, r.RetryAfter)
			w.pass(r.RetryAfter)
		}
	}
	if waits[0] != firstWait || waits[1] != 2*firstWait || waits[13] != longest {
		t.Errorf("waits: %v", waits)
	}
	w.pass(time.Hour)
	if err := w.browser().signIn("Ann", goodPassword); err != nil {
		t.Errorf("after all that, the right one: %v", err)
	}
}

// A wrong name, a wrong password, a disabled person, one without a password: the
// same answer, and the same work.
func TestWrongAnswersAreAlike(t *testing.T) {
	w := newWorld(t)
	w.first()
	invite, _, err := w.Invite(w.owner())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.browser().enroll(Invite, invite, "dis", goodPassword); err != nil {
		t.Fatal(err)
	}
	if err := w.Disable(w.owner(), "dis"); err != nil {
		t.Fatal(err)
	}
	var want string
	for i, try := range [][2]string{{"ann", "wrong password!"}, {"nobody", goodPassword}, {"dis", goodPassword}, {"", ""}, {"ann", strings.Repeat("x", 5000)}, {strings.Repeat("x", 5000), "x"}} {
		before := w.hasher.hashes.Load()
		b := w.browser()
		b.address = fmt.Sprintf("192.0.2.%d", i)
		err := b.signIn(try[0], try[1])
		if reason(err) != access.Wrong {
			t.Fatalf("%.10q: %v", try, err)
		}
		if want == "" {
			want = err.Error()
		}
		if err.Error() != want || w.hasher.hashes.Load() != before+1 || len(b.jar) != 0 {
			t.Errorf("%.10q: %q, %d hashes, cookies %v", try, err, w.hasher.hashes.Load()-before, b.jar)
		}
	}
	for _, e := range w.events {
		if e.Action == "signin.denied" && e.Target == "nobody" {
			t.Error("what was entered as a name, and may be a password, was recorded")
		}
	}
}

func TestSessionFixation(t *testing.T) {
	w := newWorld(t)
	ann := w.first()
	const name = "__Host-moltworker-session"
	planted := ann.jar[name]
	if err := ann.signIn("Ann", goodPassword); err != nil {
		t.Fatal(err)
	}
	if ann.jar[name] == planted {
		t.Fatal("the value stayed at the sign-in")
	}
	thief := w.browser()
	thief.jar[name] = planted
	if p, err := thief.who(); reason(err) != access.SignedOut {
		t.Errorf("the value before the sign-in opens %+v, %v", p, err)
	}
	// A value that nobody handed out does not become a session by signing in with it.
	thief.jar[name] = newValue() + "." + randomText(16)
	made := thief.jar[name]
	if err := thief.signIn("Ann", goodPassword); err != nil {
		t.Fatal(err)
	}
	thief.jar[name] = made
	if _, err := thief.who(); reason(err) != access.SignedOut {
		t.Errorf("a made up value: %v", err)
	}
}

func TestCookiesOfAllKinds(t *testing.T) {
	w := newWorld(t)
	ann := w.first()
	const name = "__Host-moltworker-session"
	good := ann.jar[name]
	value, seed, _ := strings.Cut(good, ".")
	device := ann.jar["__Host-moltworker-device"]
	tests := []struct {
		name, header string
		want         access.Reason // "" when Ann is let in
	}{
		{"good", name + "=" + good, ""},
		{"good behind stale ones", strings.Repeat(name+"=stale; ", 3) + name + "=" + good, ""},
		{"good behind too many", strings.Repeat(name+"=stale; ", 4) + name + "=" + good, access.SignedOut},
		{"without its seed", name + "=" + value, access.SignedOut},
		{"with another seed", name + "=" + value + "." + randomText(16), access.SignedOut},
		{"other case", name + "=" + strings.ToLower(value) + "." + seed, access.SignedOut},
		{"empty", name + "=", access.SignedOut},
		{"a megabyte", name + "=" + strings.Repeat("x", 1<<20), access.SignedOut},
		{"a device's", name + "=" + device + "." + seed, access.SignedOut},
		{"the plain name over TLS", "moltworker-session=" + good, "nothing"},
		{"a visit's name", "__Host-moltworker-visit=" + good, "nothing"},
		{"none", "", "nothing"},
	}
	for _, tt := range tests {
		r := w.browser().request()
		r.Header.Set("Cookie", tt.header)
		p, err := w.Sessions().Authenticate(r, ann.place())
		got := reason(err)
		if errors.Is(err, access.ErrNothing) {
			got = "nothing"
		}
		if got != tt.want || (err == nil) != (p.Name == "Ann") {
			t.Errorf("%s: %q, %+v", tt.name, got, p)
		}
	}
}

func TestSessionsEndAndRotate(t *testing.T) {
	w := newWorld(t)
	ann := w.first()
	const name = "__Host-moltworker-session"
	renew := func(b *browser) {
		if err := b.do(func(rw http.ResponseWriter, r *http.Request) error { return w.Renew(rw, r) }); err != nil {
			t.Fatal(err)
		}
	}
	before, first := ann.jar[name], w.mustWho(ann)
	renew(ann)
	if ann.jar[name] != before {
		t.Fatal("rotated at once")
	}
	w.pass(rotateEvery)
	late := w.browser()
	late.jar[name] = before
	renew(ann)
	after := w.mustWho(ann)
	if ann.jar[name] == before || after.Proof != first.Proof || after.Session != first.Session {
		t.Fatalf("after an hour: %+v, before %+v", after, first)
	}
	renew(late) // in parallel, still with the old value: no second rotation
	if late.jar[name] != before {
		t.Error("rotated twice")
	}
	w.pass(grace - time.Second)
	if _, err := late.who(); err != nil {
		t.Errorf("a request under way: %v", err)
	}
	w.pass(time.Second)
	if _, err := late.who(); reason(err) != access.SignedOut {
		t.Errorf("the old value after its grace: %v", err)
	}
	// An answer that got lost takes nobody's session.
	w.pass(rotateEvery)
	lost := ann.jar[name]
	renew(ann)
	ann.jar[name] = lost
	w.pass(10 * time.Minute)
	w.mustWho(ann)
	w.pass(rotateEvery)
	renew(ann)
	w.mustWho(ann)
	if ann.jar[name] == lost {
		t.Error("never rotated again")
	}
	w.pass(sessionIdle)
	if _, err := ann.who(); reason(err) != access.SignedOut {
		t.Errorf("after a day without use: %v", err)
	}
	// Used all the time, it ends after thirty days.
	if err := ann.signIn("Ann", goodPassword); err != nil {
		t.Fatal(err)
	}
	for range 30*24 - 1 {
		w.pass(time.Hour)
		w.mustWho(ann)
	}
	w.pass(time.Hour)
	if _, err := ann.who(); reason(err) != access.SignedOut {
		t.Errorf("after thirty days: %v", err)
	}
}

func (w *world) mustWho(b *browser) access.Principal {
	w.Helper()
	p, err := b.who()
	if err != nil {
		w.Fatal(err)
	}
	return p
}

func TestManySessionsAndRevoking(t *testing.T) {
	w := newWorld(t)
	oldest := w.first()
	var newest *browser
	for range maxSessions {
		w.pass(time.Second)
		newest = w.browser()
		if err := newest.signIn("Ann", goodPassword); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := oldest.who(); reason(err) != access.SignedOut {
		t.Errorf("the oldest of too many: %v", err)
	}
	var list []SignedIn
	_ = newest.do(func(_ http.ResponseWriter, r *http.Request) (err error) {
		list, err = w.SignIns(r.Context())
		return err
	})
	if len(list) != maxSessions || !list[0].Current || !list[0].Mine || list[0].Address != "203.0.113.7" {
		t.Fatalf("%d sessions, first %+v", len(list), list[0])
	}
	// A new password ends all the others.
	if err := newest.do(func(_ http.ResponseWriter, r *http.Request) error {
		return w.SetPassword(r.Context(), goodPassword, "a wholly new password")
	}); err != nil {
		t.Fatal(err)
	}
	list, err := w.SignIns(w.owner())
	if err != nil || len(list) != 1 {
		t.Fatalf("%d sessions after a new password, %v", len(list), err)
	}
	if err := w.End(w.owner(), list[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := newest.who(); reason(err) != access.SignedOut {
		t.Errorf("a revoked session: %v", err)
	}
}

func TestSignOutIsTheServers(t *testing.T) {
	w := newWorld(t)
	ann := w.first()
	kept := ann.jar["__Host-moltworker-session"]
	if err := ann.do(func(rw http.ResponseWriter, r *http.Request) error { return w.SignOut(rw, r) }); err != nil {
		t.Fatal(err)
	}
	if _, err := ann.who(); !errors.Is(err, access.ErrNothing) {
		t.Errorf("the cookie stayed: %v", err)
	}
	ann.jar["__Host-moltworker-session"] = kept
	if _, err := ann.who(); reason(err) != access.SignedOut {
		t.Errorf("the session stayed: %v", err)
	}
}

// A ticket lets a browser in at one agent's host, once, for as long as the sign-in lasts.
func TestVisits(t *testing.T) {
	w := newWorld(t)
	ann := w.first()
	ticketFor := func(agent string) string {
		t.Helper()
		ticket, err := w.Ticket(t.Context(), w.mustWho(ann), agent)
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	redeem := func(b *browser, ticket string) error {
		return b.do(func(rw http.ResponseWriter, r *http.Request) error {
			return w.Redeem(r.Context(), ticket, b.agent, rw, b.place())
		})
	}
	at := func(agent string) *browser {
		b := w.browser()
		b.agent, b.host = agent, agent+".bot.example.com"
		return b
	}
	work, other := at("work"), at("other")
	ticket := ticketFor("work")
	if err := redeem(other, ticket); reason(err) != access.SignedOut {
		t.Errorf("another agent's ticket: %v", err)
	}
	if err := redeem(work, ticket); reason(err) != access.SignedOut {
		t.Errorf("a ticket that was tried elsewhere: %v", err)
	}
	late := ticketFor("work")
	w.pass(ticketLife)
	if err := redeem(work, late); reason(err) != access.SignedOut {
		t.Errorf("a late ticket: %v", err)
	}
	ticket = ticketFor("work")
	if err := redeem(work, ticket); err != nil {
		t.Fatal(err)
	}
	if err := redeem(at("work"), ticket); reason(err) != access.SignedOut {
		t.Errorf("a ticket used twice: %v", err)
	}
	p := w.mustWho(work)
	if p.Agent != "work" || !p.Opens("work") || p.Opens("other") || p.May(access.ReadAgents) || p.Proof != "" {
		t.Errorf("a visitor is %+v", p)
	}
	if _, err := w.Ticket(t.Context(), p, "other"); err == nil {
		t.Error("a visitor makes tickets")
	}
	// The visit's cookie is worth nothing elsewhere.
	visit := work.jar["__Host-moltworker-visit"]
	other.jar["__Host-moltworker-visit"] = visit
	if _, err := other.who(); reason(err) != access.SignedOut {
		t.Errorf("at another agent's host: %v", err)
	}
	plane := w.browser()
	plane.jar["__Host-moltworker-visit"], plane.jar["__Host-moltworker-session"] = visit, visit
	if _, err := plane.who(); reason(err) != access.SignedOut {
		t.Errorf("at the control plane: %v", err)
	}
	// Whoever works at the agent's is not idle; the visit ends with the sign-in.
	for range 30 {
		w.pass(time.Hour)
		w.mustWho(work)
	}
	w.mustWho(ann)
	if err := ann.do(func(rw http.ResponseWriter, r *http.Request) error { return w.SignOut(rw, r) }); err != nil {
		t.Fatal(err)
	}
	if _, err := work.who(); reason(err) != access.SignedOut {
		t.Errorf("after the sign-out: %v", err)
	}
}

func TestSomebodyElseVouches(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	if err := b.do(func(rw http.ResponseWriter, r *http.Request) error {
		return w.Begin(r.Context(), rw, r, "eve@example.com", access.ViaOIDC)
	}); err != nil {
		t.Fatal(err)
	}
	p := w.mustWho(b)
	if p.Name != "eve@example.com" || p.Via != access.ViaOIDC || p.Session == "" {
		t.Errorf("%+v", p)
	}
	err := b.do(func(_ http.ResponseWriter, r *http.Request) error { _, err := w.Passkeys(r.Context()); return err })
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("passkeys of somebody without an account: %v", err)
	}
}

func TestServiceTokens(t *testing.T) {
	w := newWorld(t)
	made, token, err := w.CreateServiceToken(w.owner(), "ci", "agents:*, secrets:read", 24*time.Hour)
	if err != nil || !wellFormed(token) {
		t.Fatalf("%q, %v", token, err)
	}
	ask := func(headers ...string) (access.Principal, error) {
		r := w.browser().request()
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		return w.ServiceTokens().Authenticate(r, access.Place{Client: mustAddr("203.0.113.9")})
	}
	for _, headers := range [][]string{{"Authorization", "Bearer " + token}, {"Authorization", "bearer  " + token},
		{"CF-Access-Client-Id", made.ID, "CF-Access-Client-Secret", token}} {
		p, err := ask(headers...)
		if err != nil || p.Name != "ci" || !p.May(access.ExecAgents) || !p.May(access.ReadSecrets) || p.May(access.WriteSecrets) || p.May(access.Accounts) || !p.Explicit() {
			t.Errorf("%v: %+v, %v", headers, p, err)
		}
	}
	for _, headers := range [][]string{{}, {"Authorization", "Bearer device-token"}, {"Authorization", "Basic " + token},
		{"CF-Access-Client-Id", "abc.access", "CF-Access-Client-Secret", "of another party"}, {"CF-Access-Client-Secret", token}} {
		if _, err := ask(headers...); !errors.Is(err, access.ErrNothing) {
			t.Errorf("%v: %v", headers, err)
		}
	}
	_, another, err := w.CreateServiceToken(w.owner(), "other", "*", 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, headers := range [][]string{{"Authorization", "Bearer " + newServiceToken()}, {"Authorization", "Bearer " + token[:20]},
		{"CF-Access-Client-Id", made.ID, "CF-Access-Client-Secret", another}, {"Authorization", "Bearer mws_" + strings.Repeat("x", 1<<20)}} {
		if _, err := ask(headers...); reason(err) != access.Wrong {
			t.Errorf("wrong %d: %v", i, err)
		}
	}
	limitedAt := 0
	for i := range 1000 {
		if _, err := ask("Authorization", "Bearer "+newServiceToken()); reason(err) == access.Limited && limitedAt == 0 {
			limitedAt = i
		}
	}
	if limitedAt == 0 || limitedAt > strict {
		t.Errorf("wrong tokens were limited after %d", limitedAt)
	}
	if _, err := ask("Authorization", "Bearer "+token); err != nil {
		t.Errorf("a right token beside a broken program: %v", err)
	}
	w.pass(24 * time.Hour)
	if _, err := ask("Authorization", "Bearer "+token); err == nil {
		t.Error("an expired token opens")
	}
	if err := w.RemoveServiceToken(w.owner(), "other"); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Hour)
	if _, err := ask("Authorization", "Bearer "+another); reason(err) != access.Wrong {
		t.Errorf("a removed token: %v", err)
	}
	list, err := w.ListServiceTokens(w.owner())
	if err != nil || len(list) != 1 || !list[0].Expired || list[0].Used.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
	for _, scopes := range []string{"", "accounts", "agents", "everything"} {
		if _, _, err := w.CreateServiceToken(w.owner(), "bad", scopes, 0); !errors.Is(err, ErrInvalid) {
			t.Errorf("scopes %q: %v", scopes, err)
		}
	}
}

// Two at a time are hashed, of them one of strangers, and few strangers wait.
func TestHashingIsBounded(t *testing.T) {
	h, err := newHasher(cost{memory: 8 << 10, time: 1})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	refused := 0
	for i := range 200 {
		wait.Go(func() {
			_, err := h.matches(t.Context(), "", "x", stranger)
			if reason(err) == access.Limited {
				mu.Lock()
				refused++
				mu.Unlock()
			}
			if i%50 == 0 {
				if _, err := h.hash(t.Context(), "x", known); err != nil {
					t.Errorf("somebody known: %v", err)
				}
			}
		})
	}
	wait.Wait()
	if cap(h.both) != 2 || cap(h.open) != 1 || h.waiting.Load() != 0 {
		t.Error("the queues are not as they should be")
	}
	t.Logf("%d of 200 were refused", refused)
}
