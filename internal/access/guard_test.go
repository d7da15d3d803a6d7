package access

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

const token = "correct-horse-battery-staple"

var here = netip.MustParseAddr("203.0.113.7")

// door is a guard whose token and clock the test holds.
type door struct {
	*Guard
	token string
	now   time.Time
}

func newDoor() *door {
	d := &door{token: token, now: time.Unix(1_800_000_000, 0)}
	d.Guard = NewGuard(NewTokens(func(string) string { return d.token }, func() time.Time { return d.now }))
	return d
}

func (d *door) cookie(t *testing.T, agent string, secure bool) *http.Cookie {
	t.Helper()
	w := httptest.NewRecorder()
	d.Grant(w, agent, secure)
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("Grant set %d cookies", len(cookies))
	}
	return cookies[0]
}

func reasonOf(t *testing.T, err error) Reason {
	t.Helper()
	if err == nil {
		return ""
	}
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("Check returned %T, want *Refusal", err)
	}
	return r.Reason
}

func TestWhoIsLetIn(t *testing.T) {
	d := newDoor()
	good, other := d.cookie(t, "main", false), d.cookie(t, "other", false)
	stale := &http.Cookie{Name: cookieName, Value: "00"}
	tests := []struct {
		name    string
		target  string
		header  string
		bearer  string
		cookies []*http.Cookie
		source  Source
		reason  Reason
	}{
		{name: "nothing", reason: Missing},
		{name: "query", target: "?token=" + token, source: SourceQuery},
		{name: "query among others", target: "?a=b&token=" + token + "&c", source: SourceQuery},
		{name: "wrong query", target: "?token=nope", reason: Wrong},
		{name: "longer than the token", target: "?token=" + token + "x", reason: Wrong},
		{name: "empty query", target: "?token=", reason: Missing},
		{name: "header", header: token, source: SourceHeader},
		{name: "wrong header", header: "nope", reason: Wrong},
		{name: "bearer", bearer: "Bearer " + token, source: SourceBearer},
		{name: "bearer in lower case", bearer: "bearer " + token, source: SourceBearer},
		{name: "basic is not ours", bearer: "Basic " + token, reason: Missing},
		{name: "wrong bearer", bearer: "Bearer device-token", reason: Wrong},
		{name: "cookie", cookies: []*http.Cookie{good}, source: SourceCookie},
		{name: "stale cookie", cookies: []*http.Cookie{stale}, reason: Expired},
		{name: "stale cookie beside the good one", cookies: []*http.Cookie{stale, good}, source: SourceCookie},
		{name: "cookie of another agent", cookies: []*http.Cookie{other}, reason: Expired},
		{name: "wrong query beats good cookie", target: "?token=nope", cookies: []*http.Cookie{good}, reason: Wrong},
		{name: "wrong header beats good cookie", header: "nope", cookies: []*http.Cookie{good}, reason: Wrong},
		{name: "a device token in Authorization leaves it to the cookie", bearer: "Bearer device-token", cookies: []*http.Cookie{good}, source: SourceCookie},
		{name: "the token in Authorization is explicit, cookie or not", bearer: "Bearer " + token, cookies: []*http.Cookie{good}, source: SourceBearer},
		{name: "the cookie's value is no token", header: good.Value, reason: Wrong},
		{name: "the token is no cookie", cookies: []*http.Cookie{{Name: cookieName, Value: token}}, reason: Expired},
		{name: "too many cookies", cookies: []*http.Cookie{stale, stale, stale, stale, good}, reason: Expired},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "http://main.localhost/"+tt.target, nil)
			r.Header.Set("Authorization", tt.bearer)
			r.Header.Set(TokenHeader, tt.header)
			for _, c := range tt.cookies {
				r.AddCookie(c)
			}
			who, err := d.Who(r, Place{Agent: "main", Client: here})
			if reason := reasonOf(t, err); reason != tt.reason || who.Source != tt.source {
				t.Errorf("source %q, reason %q; want %q, %q", who.Source, reason, tt.source, tt.reason)
			}
		})
	}
}

func TestRotationCountsAtOnce(t *testing.T) {
	d := newDoor()
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(d.cookie(t, "main", false))
	if _, err := d.Who(r, Place{Agent: "main", Client: here}); err != nil {
		t.Fatal(err)
	}
	d.token = "another"
	if _, err := d.Who(r, Place{Agent: "main", Client: here}); reasonOf(t, err) != Expired {
		t.Errorf("cookie of the old token: %v", err)
	}
	d.token = ""
	r = httptest.NewRequest("GET", "/?token=", nil)
	r.AddCookie(d.cookie(t, "main", false))
	if _, err := d.Who(r, Place{Agent: "main", Client: here}); reasonOf(t, err) != Unconfigured {
		t.Errorf("an agent without a token let somebody in: %v", err)
	}
}

func TestCookieFlags(t *testing.T) {
	d := newDoor()
	plain, secure := d.cookie(t, "main", false), d.cookie(t, "main", true)
	for _, c := range []*http.Cookie{plain, secure} {
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 30*24*3600 {
			t.Errorf("cookie %v", c)
		}
	}
	if plain.Secure || plain.Name != "moltworker" || !secure.Secure || secure.Name != "__Host-moltworker" {
		t.Errorf("plain %v, secure %v", plain, secure)
	}
	if plain.Value == d.token {
		t.Error("the cookie is the token")
	}
}

func TestFailuresAreLimited(t *testing.T) {
	d := newDoor()
	try := func(given string, from string) Reason {
		_, err := d.CheckToken(given, "main", netip.MustParseAddr(from))
		return reasonOf(t, err)
	}
	for range 1000 {
		if got := try(token, "203.0.113.7"); got != "" {
			t.Fatalf("a right token was refused: %s", got)
		}
	}
	for i := range burst {
		if got := try("nope", "203.0.113.7"); got != Wrong {
			t.Fatalf("failure %d: %s", i, got)
		}
	}
	if got := try("nope", "203.0.113.7"); got != Limited {
		t.Errorf("after the burst: %s", got)
	}
	if got := try(token, "203.0.113.7"); got != Limited {
		t.Errorf("a limited address learns that its guess is right: %q", got)
	}
	if got := try("nope", "203.0.113.8"); got != Wrong {
		t.Errorf("another address pays for it: %s", got)
	}
	_, err := d.CheckToken(token, "main", here)
	var r *Refusal
	if !errors.As(err, &r) || r.RetryAfter <= 0 || r.RetryAfter > refill || r.Status() != 429 {
		t.Fatalf("refusal %+v", r)
	}
	d.now = d.now.Add(r.RetryAfter)
	if got := try(token, "203.0.113.7"); got != "" {
		t.Errorf("after Retry-After: %s", got)
	}
}

func TestValidCookiePassesWhileLimited(t *testing.T) {
	d := newDoor()
	for range burst + 1 {
		_, _ = d.CheckToken("nope", "main", here)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(d.cookie(t, "main", true))
	if _, err := d.Who(r, Place{Agent: "main", Client: here}); err != nil {
		t.Errorf("somebody who was let in before is locked out: %v", err)
	}
}

func TestLimiterKeys(t *testing.T) {
	l := newLimiter(func() time.Time { return time.Unix(0, 0) })
	exhaust := func(addr string) (n int) {
		for n = 0; n < 1000; n++ {
			if _, ok := l.take(netip.MustParseAddr(addr)); !ok {
				return n
			}
		}
		return n
	}
	for _, tt := range []struct {
		addr string
		want int
	}{
		{"198.51.100.1", burst},
		{"::ffff:198.51.100.1", 0}, // the same client
		{"2001:db8:1:2::1", burst},
		{"2001:db8:1:2:ffff::9", 0}, // the same /64
		{"2001:db8:1:3::1", burst},
		{"127.0.0.1", loopbackBurst},
		{"::1", loopbackBurst},
	} {
		if got := exhaust(tt.addr); got != tt.want {
			t.Errorf("%s: %d attempts, want %d", tt.addr, got, tt.want)
		}
	}
	if _, ok := l.take(netip.Addr{}); !ok {
		t.Error("an unknown address has no bucket")
	}
}

func TestLimiterIsBounded(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLimiter(func() time.Time { return now })
	for i := range 3 * maxAddresses {
		l.take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if n := len(l.full); n > maxAddresses {
		t.Errorf("%d addresses remembered, bound is %d", n, maxAddresses)
	}
}

func TestStrip(t *testing.T) {
	r := httptest.NewRequest("GET", "/x?a=%41&token=T&tok=1&%74oken=T2&b", nil)
	r.Header.Set(TokenHeader, "T")
	r.Header.Set("Authorization", "Bearer D")
	r.Header.Set("Cookie", `a=1; moltworker=x;__Host-moltworker=y ; b="2; moltworkers=z`)
	Strip(r)
	if r.URL.RawQuery != "a=%41&tok=1&b" {
		t.Errorf("query %q", r.URL.RawQuery)
	}
	if got := r.Header.Get("Cookie"); got != `a=1; b="2; moltworkers=z` {
		t.Errorf("cookies %q", got)
	}
	if r.Header.Get(TokenHeader) != "" || r.Header.Get("Authorization") != "Bearer D" {
		t.Errorf("headers %v", r.Header)
	}
	r.Header.Set("Cookie", "moltworker=x")
	if Strip(r); r.Header["Cookie"] != nil {
		t.Errorf("an empty Cookie header is left: %v", r.Header)
	}
	for line, want := range map[string]string{
		"moltworker_present=1; CF_Authorization=x":              "",
		"a=1; moltworker_present=1; b=2":                        "a=1; b=2",
		"__Host-moltworker-session=1;moltworker-visit=2;mine=3": "mine=3",
		"a=moltworker_present=1":                                "a=moltworker_present=1",
		" moltworker_present ; a=1":                             "a=1",
	} {
		r.Header.Set("Cookie", line)
		if Strip(r); r.Header.Get("Cookie") != want {
			t.Errorf("%q became %q", line, r.Header.Get("Cookie"))
		}
	}
	h := http.Header{"Set-Cookie": {"a=1; Path=/", "moltworker=evil", "__Host-moltworker=evil; Secure"}}
	if StripSetCookie(h); len(h["Set-Cookie"]) != 1 || h.Get("Set-Cookie") != "a=1; Path=/" {
		t.Errorf("Set-Cookie %v", h)
	}
}

// Whatever the query looks like, no parser may find a token in what is left, and
// nothing else may be lost.
func FuzzWithoutToken(f *testing.F) {
	f.Add("token=a&b=c")
	f.Add("%74%6f%6b%65%6e=a;token=b&&=&token")
	f.Fuzz(func(t *testing.T, raw string) {
		left := WithoutToken(raw)
		before, _ := url.ParseQuery(raw)
		after, _ := url.ParseQuery(left)
		if _, found := after[queryToken]; found {
			t.Fatalf("%q keeps a token as %q", raw, left)
		}
		delete(before, queryToken)
		if len(before) != len(after) {
			t.Fatalf("%q became %q", raw, left)
		}
	})
}

func TestDevModeIsForThisMachine(t *testing.T) {
	d := newDoor()
	g := NewGuard(d.Tokens, Developer())
	r := httptest.NewRequest("GET", "/", nil)
	who, err := g.Who(r, Place{Client: netip.MustParseAddr("127.0.0.1")})
	if err != nil || who.Kind != KindDeveloper || who.Explicit() || who.Proof == "" || !who.May(Accounts) || !who.Opens("main") {
		t.Errorf("%+v, %v", who, err)
	}
	if _, err := g.Who(r, Place{Client: here}); reasonOf(t, err) != SignedOut {
		t.Errorf("somebody from elsewhere: %v", err)
	}
}

func TestWhatPrincipalsMay(t *testing.T) {
	service := Principal{Kind: KindService, Scopes: []Scope{"devices:*", ReadAgents}}
	for _, tt := range []struct {
		who    Principal
		may    []Scope
		mayNot []Scope
		opens  string // agents of main and work
	}{
		{who: Principal{}, mayNot: []Scope{ReadAgents}},
		{who: Principal{Kind: KindHolder, Agent: "main"}, mayNot: []Scope{ReadAgents, UseAgents}, opens: "main"},
		{who: Principal{Kind: KindHolder}, mayNot: []Scope{ReadAgents}},
		{who: Principal{Kind: KindPerson}, may: []Scope{ReadAgents, Accounts}, opens: "main work"},
		{who: Principal{Kind: KindPerson, Agent: "work"}, mayNot: []Scope{ReadAgents, Accounts}, opens: "work"},
		{who: Principal{Kind: KindOwner}, may: []Scope{WriteSecrets, Accounts}, opens: "main work"},
		{who: service, may: []Scope{ReadDevices, WriteDevices, ReadAgents}, mayNot: []Scope{WriteAgents, UseAgents, Accounts}},
		{who: Principal{Kind: KindService, Scopes: []Scope{Everything}}, may: []Scope{ExecAgents, ReadAudit}, mayNot: []Scope{Accounts}, opens: "main work"},
	} {
		for _, s := range tt.may {
			if !tt.who.May(s) {
				t.Errorf("%+v may not %s", tt.who, s)
			}
		}
		for _, s := range tt.mayNot {
			if tt.who.May(s) {
				t.Errorf("%+v may %s", tt.who, s)
			}
		}
		for _, name := range []string{"main", "work"} {
			if opens := strings.Contains(tt.opens, name); tt.who.Opens(name) != opens {
				t.Errorf("%+v opens %s: %v", tt.who, name, !opens)
			}
		}
	}
	for list, want := range map[string]int{"agents:read, devices:*": 2, "*": 1, "": 0, "agents:fly": 0, "accounts": 0, "*:read": 0, "agents:": 0} {
		if got, err := ParseScopes(list); len(got) != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
}

// visitor stands in for somebody who has signed in.
type visitor struct{ Principal }

func (v visitor) Authenticate(*http.Request, Place) (Principal, error) { return v.Principal, nil }

// Somebody who has signed in on a browser that also has the token's cookie is known
// by name; a token in the request itself counts as what it is.
func TestAPersonIsMoreThanAHolder(t *testing.T) {
	d := newDoor()
	cookie := d.cookie(t, "main", false)
	for _, tt := range []struct {
		name   string
		person Principal
		target string
		want   Kind
	}{
		{"a person", Principal{Kind: KindPerson, Name: "ann", Source: SourceCookie}, "/", KindPerson},
		{"a person of another agent's pages", Principal{Kind: KindPerson, Agent: "work", Source: SourceCookie}, "/", KindHolder},
		{"a service", Principal{Kind: KindService, Source: SourceBearer}, "/", KindHolder},
		{"a person with the token's link", Principal{Kind: KindPerson, Source: SourceCookie}, "/?token=" + token, KindHolder},
	} {
		r := httptest.NewRequest("GET", tt.target, nil)
		r.AddCookie(cookie)
		who, err := NewGuard(d.Tokens, visitor{tt.person}).Who(r, Place{Agent: "main", Client: here})
		if err != nil || who.Kind != tt.want {
			t.Errorf("%s: %+v, %v", tt.name, who, err)
		}
	}
}
