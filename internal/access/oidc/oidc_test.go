package oidc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/secret"
	"github.com/moltworker/moltworker/test/fakeoidc"
)

const (
	issuer   = "https://idp.example/realm"
	callback = "https://molt.example/_admin/sign-in/oidc/callback"
)

// clock is a time that only the test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

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

// world is a provider, our client and a browser.
type world struct {
	t testing.TB
	*clock
	provider *fakeoidc.Provider
	client   *Client
	jar      map[string]*http.Cookie
	options  Options
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, clock: &clock{at: time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)}, jar: map[string]*http.Cookie{}}
	w.provider = fakeoidc.New(issuer, callback)
	w.provider.Now = w.now
	w.options = Options{Issuer: issuer, ClientID: "moltworker", ClientSecret: secret.NewValue("hush"), Allow: []string{"ann@example.com", "@Staff.example"},
		RedirectURL: func(*http.Request) string { return callback }, HTTP: &http.Client{Transport: w.provider}, Now: w.now}
	w.restart()
	return w
}

// restart makes the client anew.
func (w *world) restart() {
	w.t.Helper()
	c, err := New(w.t.Context(), w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	w.client = c
}

// start sends the browser off, and returns where to.
func (w *world) start(next string) (*url.URL, error) {
	w.t.Helper()
	answer := httptest.NewRecorder()
	if err := w.client.Start(answer, httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, "https://molt.example/_admin/sign-in/oidc", nil), next); err != nil {
		if answer.Code != 200 || len(answer.Header()) > 0 {
			w.t.Errorf("a refused start wrote %d %v", answer.Code, answer.Header())
		}
		return nil, err
	}
	resp := answer.Result()
	w.keep(resp)
	to, err := resp.Location()
	if err != nil || resp.StatusCode != http.StatusSeeOther {
		w.t.Fatalf("%s, %v", resp.Status, err)
	}
	return to, nil
}

// keep is what a browser does with cookies.
func (w *world) keep(resp *http.Response) {
	for _, c := range resp.Cookies() {
		if c.Path != "/_admin/sign-in/oidc/callback" || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.MaxAge > 600 || len(c.Raw) > 4096 {
			w.t.Errorf("cookie %s", c.Raw)
		}
		if c.MaxAge < 0 {
			delete(w.jar, c.Name)
			continue
		}
		w.jar[c.Name] = c
	}
}

// visit opens a page of the provider and returns where that sends the browser.
func (w *world) visit(page *url.URL) *url.URL {
	w.t.Helper()
	resp, err := w.provider.RoundTrip(httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, page.String(), nil))
	if err != nil {
		w.t.Fatal(err)
	}
	to, err := resp.Location()
	if err != nil {
		w.t.Fatalf("%s: %v", resp.Status, err)
	}
	return to
}

// finish lets the browser come back to that address.
func (w *world) finish(to *url.URL) (Person, string, error) {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, to.String(), nil)
	for _, c := range w.jar {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	answer := httptest.NewRecorder()
	who, next, err := w.client.Finish(answer, r)
	if answer.Code != 200 || answer.Body.Len() > 0 || answer.Header().Get("Location") != "" {
		w.t.Errorf("Finish wrote %d, %v", answer.Code, answer.Header())
	}
	w.keep(answer.Result())
	return who, next, err
}

// signIn is the whole way.
func (w *world) signIn(next string) (Person, string, error) {
	w.t.Helper()
	to, err := w.start(next)
	if err != nil {
		return Person{}, "", err
	}
	return w.finish(w.visit(to))
}

func (w *world) refusal(err error) *access.Refusal {
	w.t.Helper()
	var refused *access.Refusal
	if !errors.As(err, &refused) {
		w.t.Fatalf("%v is no refusal", err)
	}
	if refused.Remedy == "" || !strings.HasSuffix(refused.Message, ".") || strings.ContainsAny(refused.Detail, "\n\r") || len(refused.Detail) > 1500 {
		w.t.Errorf("refusal %+v", refused)
	}
	return refused
}

func TestSigningIn(t *testing.T) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		w := newWorld(t)
		w.provider.Algorithm = algorithm
		who, next, err := w.signIn("/_admin/agents?x=1#y")
		if err != nil || who != (Person{"248289761001", "ann@example.com", "Ann Example"}) || next != "/_admin/agents?x=1#y" {
			t.Errorf("%s: %+v, %q, %v", algorithm, who, next, err)
		}
		if len(w.jar) != 0 {
			t.Errorf("cookies are left: %v", w.jar)
		}
	}
}

func TestWhoMaySignIn(t *testing.T) {
	user := fakeoidc.User{Subject: "1", Email: "ann@example.com", Verified: true}
	with := func(change func(*fakeoidc.User)) fakeoidc.User { u := user; change(&u); return u }
	for name, c := range map[string]struct {
		user   fakeoidc.User
		status int
		words  string
	}{
		"listed":               {user, 0, ""},
		"capitals":             {with(func(u *fakeoidc.User) { u.Email = "ANN@Example.com" }), 0, ""},
		"of a listed domain":   {with(func(u *fakeoidc.User) { u.Email = "bob@staff.EXAMPLE" }), 0, ""},
		"verified as text":     {with(func(u *fakeoidc.User) { u.Verified = "true" }), 0, ""},
		"a strange name":       {with(func(u *fakeoidc.User) { u.Name = "Ann\n<script>" }), 0, ""},
		"not listed":           {with(func(u *fakeoidc.User) { u.Email = "eve@example.com" }), 403, "MOLTWORKER_OIDC_ALLOW"},
		"of a subdomain":       {with(func(u *fakeoidc.User) { u.Email = "bob@x.staff.example" }), 403, "MOLTWORKER_OIDC_ALLOW"},
		"two addresses":        {with(func(u *fakeoidc.User) { u.Email = "eve@evil.example,bob@staff.example" }), 403, "does not count"},
		"not verified":         {with(func(u *fakeoidc.User) { u.Verified = false }), 403, "does not say that ann@example.com is yours"},
		"not said":             {with(func(u *fakeoidc.User) { u.Verified = nil }), 403, "docs/sign-in.md"},
		"verified by a 1":      {with(func(u *fakeoidc.User) { u.Verified = 1 }), 403, "email_verified"},
		"verified: false":      {with(func(u *fakeoidc.User) { u.Verified = "false" }), 403, "email_verified"},
		"no address":           {with(func(u *fakeoidc.User) { u.Email = "" }), 403, "scope email"},
		"no subject":           {with(func(u *fakeoidc.User) { u.Subject = "" }), 403, "does not count"},
		"an endless subject":   {with(func(u *fakeoidc.User) { u.Subject = strings.Repeat("x", 256) }), 403, "does not count"},
		"an unlisted stranger": {fakeoidc.User{Subject: "2", Email: "x@y", Verified: false}, 403, "email_verified"},
	} {
		w := newWorld(t)
		w.provider.User = c.user
		who, _, err := w.signIn("")
		if c.status == 0 {
			if err != nil || who.Name == "" || strings.ContainsAny(who.Name, "\n<") || who.Email != strings.ToLower(c.user.Email) {
				t.Errorf("%s: %+v, %v", name, who, err)
			}
			continue
		}
		if r := w.refusal(err); r.Status() != c.status || !strings.Contains(r.Error(), c.words) || who != (Person{}) {
			t.Errorf("%s: %d %s", name, r.Status(), r)
		}
	}
}

func TestStatementsThatDoNotCount(t *testing.T) {
	other := fakeoidc.New("https://evil.example")
	set := func(name string, value any) func(*world) {
		return func(w *world) {
			w.provider.Change = func(c map[string]any) {
				if c[name] = value; value == nil {
					delete(c, name)
				}
			}
		}
	}
	forge := func(how func(w *world, claims map[string]any) string) func(*world) {
		return func(w *world) {
			said := map[string]any{}
			w.provider.Change = func(c map[string]any) { maps.Copy(said, c) }
			w.provider.Forge = func(string) string { return how(w, said) }
		}
	}
	for name, break_ := range map[string]func(*world){
		"another issuer":      set("iss", "https://evil.example"),
		"another client":      set("aud", "someone-else"),
		"no client":           set("aud", nil),
		"many clients":        set("aud", []string{"moltworker", "someone-else"}),
		"another party":       set("azp", "someone-else"),
		"expired":             set("exp", 1),
		"no expiry":           set("exp", nil),
		"not yet":             set("nbf", time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).Unix()),
		"from the future":     set("iat", time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).Unix()),
		"another nonce":       set("nonce", "0123456789abcdef"),
		"no nonce":            set("nonce", nil),
		"another token":       set("at_hash", "xxxxxxxxxxxxxxxxxxxxxx"),
		"an address in a map": set("email", map[string]string{"x": "ann@example.com"}),
		"no statement":        func(w *world) { w.provider.Answer = func(a map[string]any) { delete(a, "id_token") } },
		"no token":            forge(func(*world, map[string]any) string { return "hunter22" }),
		"alg none": forge(func(w *world, c map[string]any) string {
			parts := strings.Split(fakeoidc.Sign(w.provider.Key(), "RS256", "key-RS256", c), ".")
			return "eyJhbGciOiJub25lIn0." + parts[1] + "."
		}),
		"another key": forge(func(w *world, c map[string]any) string {
			return fakeoidc.Sign(other.Key(), "RS256", "key-RS256", c)
		}),
		"an algorithm that is not pinned": forge(func(w *world, c map[string]any) string {
			return fakeoidc.Sign(w.provider.Key(), "PS256", "key-RS256", c)
		}),
		"a MAC with the client's secret": forge(func(w *world, c map[string]any) string {
			return fakeoidc.Sign([]byte("hush-hush-hush-hush-hush-hush-hush"), "HS256", "key-RS256", c)
		}),
	} {
		w := newWorld(t)
		break_(w)
		_, _, err := w.signIn("/_admin/")
		if err == nil {
			t.Errorf("%s: let in", name)
			continue
		}
		if r := w.refusal(err); r.Status() != 403 || strings.Contains(r.Error(), "evil") || r.Detail == "" {
			t.Errorf("%s: %d %s (%s)", name, r.Status(), r, r.Detail)
		}
		if len(w.jar) != 0 {
			t.Errorf("%s: the flow can be tried again", name)
		}
	}
	w := newWorld(t)
	w.provider.Change = func(c map[string]any) { c["aud"], c["azp"] = []string{"moltworker", "x"}, "moltworker" }
	if _, _, err := w.signIn(""); err != nil {
		t.Errorf("issued to us among others: %v", err)
	}
}

func TestComingBackInAnotherWay(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world, *url.URL, url.Values)
		status int
	}{
		"no state":        {func(_ *world, _ *url.URL, q url.Values) { q.Del("state") }, 401},
		"another state":   {func(_ *world, _ *url.URL, q url.Values) { q.Set("state", "x") }, 401},
		"two states":      {func(_ *world, _ *url.URL, q url.Values) { q.Add("state", q.Get("state")) }, 403},
		"two codes":       {func(_ *world, _ *url.URL, q url.Values) { q.Add("code", "x") }, 403},
		"no code":         {func(_ *world, _ *url.URL, q url.Values) { q.Del("code") }, 403},
		"another code":    {func(_ *world, _ *url.URL, q url.Values) { q.Set("code", "x") }, 401},
		"another issuer":  {func(_ *world, _ *url.URL, q url.Values) { q.Set("iss", "https://evil.example") }, 403},
		"an empty issuer": {func(_ *world, _ *url.URL, q url.Values) { q.Set("iss", "") }, 403},
		"another browser": {func(w *world, _ *url.URL, _ url.Values) { clear(w.jar) }, 401},
		"after a restart": {func(w *world, _ *url.URL, _ url.Values) { w.restart() }, 401},
		"too late":        {func(w *world, _ *url.URL, _ url.Values) { w.pass(flowLife) }, 401},
		"a code too old":  {func(w *world, _ *url.URL, _ url.Values) { w.pass(time.Minute) }, 401},
		"a cookie broken": {func(w *world, _ *url.URL, _ url.Values) {
			w.each(func(c *http.Cookie) { c.Value = "A" + c.Value[1:] + "A" })
		}, 401},
		"a cookie renamed":   {func(w *world, _ *url.URL, _ url.Values) { w.each(func(c *http.Cookie) { c.Name = flowCookie + "2" }) }, 401},
		"an error and codes": {func(_ *world, _ *url.URL, q url.Values) { q.Set("error", "access_denied") }, 403},
		"a broken query":     {func(_ *world, to *url.URL, _ url.Values) { to.Host = "%" }, 403},
	} {
		w := newWorld(t)
		to, err := w.start("/")
		if err != nil {
			t.Fatal(err)
		}
		back := w.visit(to)
		q := back.Query()
		c.change(w, back, q)
		back.RawQuery = q.Encode()
		if back.Host == "%" {
			back.Host, back.RawQuery = "molt.example", "state=%zz"
		}
		_, _, err = w.finish(back)
		if err == nil {
			t.Errorf("%s: let in", name)
			continue
		}
		if r := w.refusal(err); r.Status() != c.status {
			t.Errorf("%s: %d %s (%s)", name, r.Status(), r, r.Detail)
		}
	}
}

func (w *world) each(change func(*http.Cookie)) {
	for _, c := range w.jar {
		change(c)
	}
}

func TestAFlowCountsOnce(t *testing.T) {
	w := newWorld(t)
	to, err := w.start("/")
	if err != nil {
		t.Fatal(err)
	}
	back, kept := w.visit(to), maps.Clone(w.jar)
	if _, _, err := w.finish(back); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.finish(back); w.refusal(err).Status() != 401 {
		t.Errorf("loaded again: %v", err)
	}
	w.jar = kept // somebody kept the cookie: the provider knows that the code is used
	if _, _, err := w.finish(back); w.refusal(err).Status() != 401 {
		t.Errorf("with the old cookie: %v", err)
	}
	r := httptest.NewRequest(http.MethodPost, back.String(), nil)
	if _, _, err := w.client.Finish(httptest.NewRecorder(), r); w.refusal(err).Status() != 403 {
		t.Errorf("by POST: %v", err)
	}
}

func TestThreeFlowsInOneBrowser(t *testing.T) {
	w := newWorld(t)
	var ways []*url.URL
	for i := range 4 {
		to, err := w.start(fmt.Sprintf("/%d", i))
		if err != nil {
			t.Fatal(err)
		}
		ways = append(ways, to)
	}
	if len(w.jar) != maxFlows {
		t.Errorf("%d cookies", len(w.jar))
	}
	for i, to := range slices.Backward(ways) {
		_, next, err := w.finish(w.visit(to))
		if i == 0 {
			if w.refusal(err).Status() != 401 {
				t.Errorf("the oldest flow: %v", err)
			}
			continue
		}
		if err != nil || next != fmt.Sprintf("/%d", i) {
			t.Errorf("flow %d: %q, %v", i, next, err)
		}
	}
}

func TestOwnPath(t *testing.T) {
	for next, want := range map[string]bool{
		"/": true, "/_admin/agents?x=//y": true, "/a%20b": true, "/x?next=https://evil.example": true,
		"": false, "x": false, "//evil.example": false, "/\\evil.example": false, "https://evil.example": false, "javascript:alert(1)": false,
		"/\t/evil.example": false, "/\n/evil.example": false, " /": false, "/%2f%2fevil.example/": false, "/%2f/evil": false, "/%5cevil.example": false, "/%zz": false,
		"/" + strings.Repeat("x", maxNext): false,
	} {
		if got := ownPath(next); got != "" && got != next || (got != "") != want {
			t.Errorf("%q: %q", next, got)
		}
	}
}

func FuzzOwnPath(f *testing.F) {
	f.Add("/x")
	f.Add("//evil.example")
	f.Add("/\\evil")
	base, err := url.Parse("https://molt.example/_admin/sign-in")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, next string) {
		path := ownPath(next)
		if path == "" {
			return
		}
		to, err := base.Parse(path)
		if err != nil || to.Host != "molt.example" || to.Scheme != "https" || strings.ContainsAny(path, "\\\r\n\t") || strings.HasPrefix(path, "//") {
			t.Errorf("%q leads to %v, %v", next, to, err)
		}
	})
}

// FuzzFinish is whatever a browser may come back with.
func FuzzFinish(f *testing.F) {
	w := newWorld(f)
	to, err := w.start("/")
	if err != nil {
		f.Fatal(err)
	}
	cookie := w.jar[flowCookie+"1"].Value
	f.Add(to.RawQuery, flowCookie+"1="+cookie)
	f.Add("state=x&code=y", flowCookie+"0="+cookie)
	f.Add("error=access_denied&state="+to.Query().Get("state"), flowCookie+"1=x")
	f.Fuzz(func(t *testing.T, query, cookies string) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/", RawQuery: query}, Header: http.Header{"Cookie": {cookies}}}
		var refused *access.Refusal
		if who, _, err := w.client.Finish(httptest.NewRecorder(), r.WithContext(t.Context())); !errors.As(err, &refused) || who != (Person{}) {
			t.Errorf("%q lets %v in: %v", query, who, err)
		}
	})
}

func TestOptionsThatCannotWork(t *testing.T) {
	good := newWorld(t).options
	for name, change := range map[string]func(*Options){
		"MOLTWORKER_OIDC_ISSUER":    func(o *Options) { o.Issuer = "http://idp.example" },
		"an https URL":              func(o *Options) { o.Issuer = "" },
		"MOLTWORKER_OIDC_CLIENT_ID": func(o *Options) { o.ClientID = "" },
		"MOLTWORKER_OIDC_ALLOW":     func(o *Options) { o.Allow = []string{"@", " "} },
		"come back":                 func(o *Options) { o.RedirectURL = nil },
	} {
		o := good
		change(&o)
		if _, err := New(context.Background(), o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := newWorld(t)
	for _, bad := range []string{"", "/callback", "ftp://x/y", "https://molt.example", "https://x/" + strings.Repeat("x", maxRedirect)} {
		w.client.RedirectURL = func(*http.Request) string { return bad }
		if _, err := w.start("/"); w.refusal(err).Status() != 503 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
