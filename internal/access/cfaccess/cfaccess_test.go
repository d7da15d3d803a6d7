package cfaccess

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/test/fakeaccess"
)

const (
	issuer   = "https://team.cloudflareaccess.com"
	audience = "32eafc7626e974616deaf0dc3ce63d7bcbed58a2731e84d06bc3cdf1b53c4228"
)

// clock is a time that only the test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// world is a team of Access and an authenticator that believes it.
type world struct {
	t     testing.TB
	team  *fakeaccess.Team
	clock *clock
	*Authenticator
}

func newWorld(t testing.TB, allow ...string) *world {
	w := &world{t: t, team: fakeaccess.New(issuer), clock: newClock()}
	w.team.Now = w.clock.now
	w.Authenticator = w.make(allow...)
	return w
}

func (w *world) make(allow ...string) *Authenticator {
	w.t.Helper()
	a, err := New(Options{TeamDomain: "team.cloudflareaccess.com", Audience: audience, Allow: allow, HTTP: &http.Client{Transport: w.team}, Now: w.clock.now})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *world) ann() fakeaccess.Claims { return w.team.Person(audience, "Ann@example.com") }

// request carries header, if it is not empty, and cookies.
func request(t testing.TB, header string, cookies ...string) *http.Request {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/_admin/", nil)
	if header != "" {
		r.Header.Set(Header, header)
	}
	for _, c := range cookies {
		r.Header.Add("Cookie", "CF_Authorization="+c)
	}
	return r
}

func (w *world) byHeader(token string) (access.Principal, error) {
	return w.Authenticate(request(w.t, token), access.Place{})
}

func (w *world) refusal(err error) *access.Refusal {
	w.t.Helper()
	var refused *access.Refusal
	if !errors.As(err, &refused) {
		w.t.Fatalf("%v is no refusal", err)
	}
	return refused
}

func TestWhomAccessVouchesFor(t *testing.T) {
	w := newWorld(t)
	p, err := w.byHeader(w.team.Token(w.ann()))
	if err != nil || p.Kind != access.KindPerson || p.Name != "ann@example.com" || p.Via != access.ViaAccess || p.Explicit() || len(p.Proof) != 64 {
		t.Errorf("a person: %+v, %v", p, err)
	}
	q, err := w.Authenticate(request(t, "", w.team.Token(w.ann())), access.Place{Agent: "work"})
	if err != nil || q.Agent != "work" || q.May(access.ReadAgents) || !q.Opens("work") || q.Opens("main") || q.Explicit() || q.Proof != "" {
		t.Errorf("a person on an agent's pages, by a cookie: %+v, %v", q, err)
	}
	s, err := w.byHeader(w.team.Token(w.team.Service(audience, "0f2e.access")))
	if err != nil || s.Kind != access.KindService || s.Name != "0f2e.access" || !s.May(access.WriteAgents) || s.May(access.Accounts) || s.Proof == p.Proof {
		t.Errorf("a service: %+v, %v", s, err)
	}
	if again, err := w.Authenticate(request(t, "", w.team.Token(w.ann())), access.Place{}); err != nil || again.Proof != p.Proof {
		t.Errorf("the proof is not the same each time: %v", err)
	}
	other, err := w.make().Authenticate(request(t, w.team.Token(w.ann())), access.Place{})
	if err != nil || other.Proof == p.Proof {
		t.Errorf("another process makes the same proof: %v", err)
	}
	for name, claims := range map[string]fakeaccess.Claims{
		"one audience as a string":   w.ann().With(fakeaccess.Claims{"aud": audience}),
		"several audiences":          w.ann().With(fakeaccess.Claims{"aud": []string{"x", audience}}),
		"no nbf and iat":             w.ann().With(fakeaccess.Claims{"nbf": nil, "iat": nil}),
		"a clock that runs ahead":    w.ann().With(fakeaccess.Claims{"nbf": w.clock.now().Unix() + 59, "iat": w.clock.now().Unix() + 59}),
		"a minute after it ended":    w.ann().With(fakeaccess.Claims{"exp": w.clock.now().Unix() - 60}),
		"a time with a fraction":     w.ann().With(fakeaccess.Claims{"exp": float64(w.clock.now().Unix()) + 5.5}),
		"claims that nobody knows":   w.ann().With(fakeaccess.Claims{"custom": map[string]any{"x": 1}}),
		"a person who is also named": w.ann().With(fakeaccess.Claims{"common_name": "x"}),
	} {
		if p, err := w.byHeader(w.team.Token(claims)); err != nil || p.Kind != access.KindPerson {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if w.team.Fetches() != 2 {
		t.Errorf("two authenticators fetched the keys %d times", w.team.Fetches())
	}
}

func TestNothingOfItsKind(t *testing.T) {
	w := newWorld(t)
	for _, r := range []*http.Request{request(t, ""), {Header: http.Header{"Cookie": {"cf_authorization=x; other=y"}, "Authorization": {"Bearer x"}}}} {
		if _, err := w.Authenticate(r, access.Place{}); !errors.Is(err, access.ErrNothing) {
			t.Errorf("%v", err)
		}
	}
	if w.team.Fetches() != 0 {
		t.Error("the keys were fetched for nothing")
	}
}

// hs256 is a token whose signature is a MAC with a secret of the attacker's choice.
func hs256(header string, claims any, secret []byte) string {
	token := fakeaccess.Forge(header, claims, nil)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(strings.TrimSuffix(token, ".")))
	return token + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func TestTokensThatDoNotCount(t *testing.T) {
	w := newWorld(t)
	key, foreign := w.team.Current(), fakeaccess.NewKey()
	public, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := w.team.Token(w.ann())
	parts := strings.Split(good, ".")
	with := func(name string, value any) string {
		return w.team.Token(w.ann().With(fakeaccess.Claims{name: value}))
	}
	now := w.clock.now().Unix()
	kid := `"kid":"` + key.ID + `"`
	for name, c := range map[string]struct {
		token, detail string
		status        int
	}{
		"not a token":                     {"hunter22", "not a token", 403},
		"two parts":                       {parts[0] + "." + parts[1], "not a token", 403},
		"five parts":                      {good + ".x.y", "not a token", 403},
		"as JSON":                         {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, "not a token", 403},
		"a space":                         {good[:9] + " " + good[9:], "not a token", 403},
		"nothing signed":                  {fakeaccess.Forge(`{"alg":"none",`+kid+`}`, w.ann(), nil), "none", 403},
		"alg None":                        {fakeaccess.Forge(`{"alg":"None",`+kid+`}`, w.ann(), nil), "not a token signed with RS256", 403},
		"no alg":                          {fakeaccess.Forge(`{`+kid+`}`, w.ann(), nil), "not a token signed with RS256", 403},
		"no signature":                    {parts[0] + "." + parts[1] + ".", "signature does not fit", 403},
		"a MAC with the public key":       {hs256(`{"alg":"HS256",`+kid+`}`, w.ann(), asPEM), "HS256", 403},
		"a MAC said to be RS256":          {hs256(`{"alg":"RS256",`+kid+`}`, w.ann(), asPEM), "signature does not fit", 403},
		"the right key, PS256":            {fakeaccess.Sign(key.Private, "PS256", key.ID, w.ann()), "PS256", 403},
		"the right key, RS512":            {fakeaccess.Sign(key.Private, "RS512", key.ID, w.ann()), "RS512", 403},
		"an elliptic curve":               {fakeaccess.Sign(curve, "ES256", key.ID, w.ann()), "ES256", 403},
		"another key, the right ID":       {fakeaccess.Sign(foreign.Private, "RS256", key.ID, w.ann()), "signature does not fit", 403},
		"another key, its own ID":         {fakeaccess.Sign(foreign.Private, "RS256", foreign.ID, w.ann()), "none of this team's", 403},
		"no key ID":                       {fakeaccess.Sign(key.Private, "RS256", "", w.ann()), "names no key", 403},
		"a long key ID":                   {fakeaccess.Sign(key.Private, "RS256", strings.Repeat("k", 300), w.ann()), "names no key, or one of 300", 403},
		"it brings its own key":           {fakeaccess.Forge(map[string]any{"alg": "RS256", "jwk": fakeaccess.KeySet(foreign)}, w.ann(), []byte("x")), "", 403},
		"a critical extension":            {fakeaccess.Forge(`{"alg":"RS256","crit":["x"],"x":1,`+kid+`}`, w.ann(), []byte("x")), "", 403},
		"claims changed":                  {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"email":"eve@example.com"}`)) + "." + parts[2], "signature does not fit", 403},
		"changed and expired":             {fakeaccess.Forge(`{"alg":"RS256",`+kid+`}`, w.ann().With(fakeaccess.Claims{"exp": 1}), []byte("x")), "signature does not fit", 403},
		"another team":                    {with("iss", "https://evil.cloudflareaccess.com"), "issued by", 403},
		"the team with a slash":           {with("iss", issuer+"/"), "issued by", 403},
		"no issuer":                       {with("iss", nil), "issued by", 403},
		"another application":             {with("aud", []string{"deadbeef"}), "for the applications", 403},
		"another application as a string": {with("aud", "deadbeef"), "for the applications", 403},
		"no application":                  {with("aud", nil), "for the applications", 403},
		"an empty list of applications":   {with("aud", []string{}), "for the applications", 403},
		"an application within a list":    {with("aud", []any{[]string{audience}}), "cannot be read", 403},
		"expired":                         {with("exp", now-61), "expired at", 401},
		"expired long ago":                {with("exp", 0), "expired at", 401},
		"no expiry":                       {with("exp", nil), "no time of expiry", 403},
		"expiry in words":                 {with("exp", "never"), "cannot be read", 403},
		"expiry past all numbers":         {with("exp", 1e300), "cannot be read", 403},
		"not yet":                         {with("nbf", now+61), "counts from", 403},
		"issued in the future":            {with("iat", now+61), "issued at", 403},
		"nobody":                          {with("email", nil), "names neither", 403},
		"an empty name":                   {with("email", ""), "names neither", 403},
		"a list of names":                 {with("email", []string{"ann@example.com"}), "cannot be read", 403},
		"another spelling of email":       {w.team.Token(w.ann().With(fakeaccess.Claims{"email": nil, "Email": "ann@example.com"})), "names neither", 403},
		"a name that is no address":       {with("email", "ann"), "cannot be used", 403},
		"two addresses":                   {with("email", "ann@example.com@evil.example"), "cannot be used", 403},
		"an address with a line break":    {with("email", "ann@example.com\nlevel=info"), "cannot be used", 403},
		"a service with a line break":     {w.team.Token(w.team.Service(audience, "x\ny")), "cannot be used", 403},
		"claims that are no object":       {fakeaccess.Sign(key.Private, "RS256", key.ID, "hello"), "cannot be read", 403},
		"an audience given twice":         {fakeaccess.Sign(key.Private, "RS256", key.ID, `{"aud":"x","aud":"`+audience+`","iss":"`+issuer+`"}`), "cannot be read", 403},
		"too long":                        {with("x", strings.Repeat("x", maxToken)), "the token has", 403},
	} {
		_, err := w.byHeader(c.token)
		if err == nil {
			t.Errorf("%s: let in", name)
			continue
		}
		r := w.refusal(err)
		if r.Status() != c.status || !r.Final || !strings.Contains(r.Detail, c.detail) {
			t.Errorf("%s: %d, final %v, %s", name, r.Status(), r.Final, r.Detail)
		}
		if c.status == 403 && r.Error() != reject("").Error() {
			t.Errorf("%s: the words tell more than those of other refusals: %s", name, r)
		}
		if len(r.Detail) > 1000 || strings.ContainsAny(r.Detail, "\n\r") {
			t.Errorf("%s: the detail is no line of a log: %q", name, r.Detail)
		}
		if _, err := w.Authenticate(request(t, "", c.token), access.Place{}); !errors.Is(err, access.ErrNothing) { // some are no cookie at all
			if r := w.refusal(err); r.Final || r.Status() != c.status {
				t.Errorf("%s as a cookie: %d, final %v", name, r.Status(), r.Final)
			}
		}
	}
	if n := w.team.Fetches(); n != 1 {
		t.Errorf("forged tokens made it fetch the keys %d times", n)
	}
}

func TestWhichTokenOfSeveralCounts(t *testing.T) {
	w := newWorld(t)
	good, old := w.team.Token(w.ann()), w.team.Token(w.ann().With(fakeaccess.Claims{"exp": 1}))
	for name, c := range map[string]struct {
		r      *http.Request
		status int
		final  bool
	}{
		"a good header and a bad cookie":  {request(t, good, "x"), 0, false},
		"a bad header and a good cookie":  {request(t, "x", good), 403, true},
		"an old header and a good cookie": {request(t, old, good), 401, true},
		"the last of four cookies":        {request(t, "", "x", old, "y", good), 0, false},
		"the fifth cookie":                {request(t, "", old, "x", "y", "z", good), 401, false},
		"the first refusal is told":       {request(t, "", old, "x"), 401, false},
	} {
		_, err := w.Authenticate(c.r, access.Place{})
		if c.status == 0 {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if r := w.refusal(err); r.Status() != c.status || r.Final != c.final {
			t.Errorf("%s: %d, final %v", name, r.Status(), r.Final)
		}
	}
	r := request(t, good)
	r.Header.Add(Header, good)
	if _, err := w.Authenticate(r, access.Place{}); w.refusal(err).Status() != 403 {
		t.Errorf("two headers: %v", err)
	}
}

func TestTheListOfThoseWhoMayComeIn(t *testing.T) {
	w := newWorld(t, "ann@example.com", "@Staff.example", "0f2e.access")
	for name, claims := range map[string]fakeaccess.Claims{
		"listed": w.ann(), "domain": w.team.Person(audience, "bob@STAFF.example"), "service": w.team.Service(audience, "0f2e.access"),
	} {
		if _, err := w.byHeader(w.team.Token(claims)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, claims := range map[string]fakeaccess.Claims{
		"stranger": w.team.Person(audience, "eve@example.com"), "subdomain": w.team.Person(audience, "bob@x.staff.example"), "service": w.team.Service(audience, "beef.access"),
		"a service that looks like a person": w.team.Service(audience, "bob@staff.example"),
	} {
		_, err := w.byHeader(w.team.Token(claims))
		if r := w.refusal(err); r.Status() != 403 || !strings.Contains(r.Remedy, "MOLTWORKER_ACCESS_ALLOW") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestOptionsThatLetNobodyIn(t *testing.T) {
	for _, o := range []Options{
		{Audience: "a"}, {TeamDomain: "t.example"}, {TeamDomain: "https://t.example/x", Audience: "a"}, {TeamDomain: "ftp://t.example", Audience: "a"},
		{TeamDomain: "u@t.example", Audience: "a"}, {TeamDomain: "t.example", Audience: "a", Allow: []string{"@"}},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), "set ") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, team := range []string{"T.example", "https://t.example/", "https://t.example"} {
		if a, err := New(Options{TeamDomain: team, Audience: "a"}); err != nil || a.issuer != "https://t.example" {
			t.Errorf("%s: %v", team, err)
		}
	}
}

func FuzzAuthenticate(f *testing.F) {
	w := newWorld(f)
	key := w.team.Current()
	good := w.team.Token(w.ann())
	f.Add(good, true)
	f.Add(good[:len(good)-1], false)
	f.Add(fakeaccess.Forge(`{"alg":"none","kid":"`+key.ID+`"}`, w.ann(), nil), true)
	f.Add(hs256(`{"alg":"HS256","kid":"`+key.ID+`"}`, w.ann(), []byte("x")), false)
	f.Add("a.b.c", true)
	f.Add(`{"payload":"","signatures":[]}`, false)
	f.Fuzz(func(t *testing.T, token string, header bool) {
		r := &http.Request{Header: http.Header{}}
		if header {
			r.Header[Header] = []string{token}
		} else {
			r.Header["Cookie"] = []string{"CF_Authorization=" + token}
		}
		p, err := w.Authenticate(r, access.Place{})
		var refused *access.Refusal
		switch {
		case err == nil && (p.Name != "ann@example.com" || !strings.Contains(token, good[:strings.LastIndex(good, ".")])):
			t.Errorf("%q lets %v in", token, p)
		case err != nil && p.Kind != "":
			t.Error("a refused caller has a name")
		case err != nil && !errors.Is(err, access.ErrNothing) && (!errors.As(err, &refused) || refused.Status() < 400):
			t.Errorf("%v", err)
		}
	})
}

// FuzzClaims are claims whose signature is good: no others may be read than those
// that say what is asked for.
func FuzzClaims(f *testing.F) {
	w := newWorld(f)
	f.Add(`{"aud":["` + audience + `"],"iss":"` + issuer + `","exp":99999999999,"email":"ann@example.com"}`)
	f.Add(`{"aud":1}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, claims string) {
		p, refused := w.identify([]byte(claims))
		var said map[string]any
		if refused == nil && (json.Unmarshal([]byte(claims), &said) != nil || said["exp"] == nil || said["iss"] != issuer ||
			!strings.Contains(fmt.Sprint(said["aud"]), audience) || p.Name == "" || p.Kind == "") {
			t.Errorf("%q lets %v in", claims, p)
		}
	})
}
