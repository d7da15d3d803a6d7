package signin

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/accounts"
	"github.com/moltworker/moltworker/internal/access/accounts/passkeytest"
	"github.com/moltworker/moltworker/internal/access/oidc"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/store"
)

const (
	origin       = "https://bot.example.com"
	goodPassword = "seven grey herons wade"
)

// world is the pages behind something that does what the edge does.
type world struct {
	*testing.T
	accounts *accounts.Accounts
	handler  http.Handler
	place    access.Place
}

func newWorld(t *testing.T, provider Provider) *world {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	now := time.Now() // and it stays: a lock-out does not end while a slow machine takes its time
	a, err := accounts.New(accounts.Options{DB: db, Audit: audit.New(db, time.Now), RPName: "moltworker", Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	pages := Handler(Options{Accounts: a, OIDC: provider, Log: log})
	api := API(APIOptions{Accounts: a, Link: func(path string) string { return origin + path }, Log: log})
	w := &world{T: t, accounts: a, place: access.Place{Host: "bot.example.com", Secure: true, Client: netip.MustParseAddr("203.0.113.7")}}
	w.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		who, err := a.Sessions().Authenticate(r, w.place)
		closed := strings.HasPrefix(r.URL.Path, AccountPath) || r.URL.Path == OutPath || r.URL.Path == home
		switch {
		case !closed:
			who = access.Principal{}
		case err != nil:
			http.Redirect(rw, r, Path+"?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
			return
		case r.Method == http.MethodPost && r.FormValue("proof") != who.Proof && r.Header.Get("X-Moltworker-Proof") != who.Proof:
			http.Error(rw, "no proof", http.StatusForbidden)
			return
		}
		r = r.WithContext(access.With(r.Context(), who, w.place))
		switch {
		case r.URL.Path == home:
			_, _ = io.WriteString(rw, "the control plane of "+who.Name)
		case strings.HasPrefix(r.URL.Path, "/api/"):
			r = r.WithContext(access.With(r.Context(), access.Principal{Kind: access.KindOwner, Name: "root"}, w.place))
			api.ServeHTTP(rw, r)
		default:
			pages.ServeHTTP(rw, r)
		}
	})
	return w
}

// visitor is a browser that keeps cookies, follows redirects by hand and says what browsers say.
type visitor struct {
	w   *world
	jar map[string]string
	at  string // the page it is on
}

func (w *world) browser() *visitor { return &visitor{w, map[string]string{}, ""} }

type answer struct {
	*httptest.ResponseRecorder
	body string
}

func (b *visitor) send(method, path string, body string, headers ...string) answer {
	b.w.Helper()
	r := httptest.NewRequest(method, origin+path, strings.NewReader(body))
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Dest", "document")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	for name, value := range b.jar {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	rec := httptest.NewRecorder()
	b.w.handler.ServeHTTP(rec, r.WithContext(b.w.Context()))
	for _, c := range rec.Result().Cookies() {
		if c.MaxAge < 0 {
			delete(b.jar, c.Name)
		} else {
			b.jar[c.Name] = c.Value
		}
	}
	b.at = path
	if rec.Header().Get("Location") == "" && !strings.Contains(path, "/api/") && path != home && rec.Header().Get("Content-Security-Policy") == "" && rec.Code != http.StatusMethodNotAllowed {
		b.w.Errorf("%s %s: no policy", method, path)
	}
	return answer{rec, rec.Body.String()}
}

// follow follows redirects, of which there must be few.
func (b *visitor) follow(a answer) answer {
	b.w.Helper()
	for range 4 {
		to := a.Header().Get("Location")
		if to == "" {
			return a
		}
		a = b.send("GET", to, "")
	}
	b.w.Fatal("redirected in a circle")
	return a
}

func (b *visitor) get(path string) answer { b.w.Helper(); return b.follow(b.send("GET", path, "")) }

func (b *visitor) post(path string, form url.Values, headers ...string) answer {
	b.w.Helper()
	return b.send("POST", path, form.Encode(), headers...)
}

func (b *visitor) script(path, body string, headers ...string) answer {
	return b.send("POST", path, body, append([]string{"Content-Type", "application/json", "Accept", "application/json", "Sec-Fetch-Dest", "empty"}, headers...)...)
}

func field(t *testing.T, a answer, name string) string {
	t.Helper()
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(a.body)
	if m == nil {
		t.Fatalf("no field %s in:\n%s", name, a.body)
	}
	return html.UnescapeString(m[1])
}

func (w *world) setupToken() string {
	w.Helper()
	token, err := w.accounts.SetupLink(w.Context())
	if err != nil || token == "" {
		w.Fatal(token, err)
	}
	return token
}

// first makes Ann without JavaScript and returns her browser.
func (w *world) first() *visitor {
	w.Helper()
	b := w.browser()
	page := b.get("/_admin/setup?token=" + w.setupToken())
	done := b.post("/_admin/setup", url.Values{"link": {field(w.T, page, "link")}, "name": {"Ann"}, "password": {goodPassword}})
	if got := b.follow(done); got.body != "the control plane of Ann" {
		w.Fatalf("after setup: %d %s", got.Code, got.body)
	}
	return b
}

func TestStoryWithoutJavaScript(t *testing.T) {
	w := newWorld(t, nil)
	if page := w.browser().get(home); !strings.Contains(page.body, "Nobody has an account here yet") {
		t.Error("the first visitor is not told what to do")
	}
	ann := w.first()
	if b := ann.jar["__Host-moltworker-link"]; b != "" {
		t.Error("the link's cookie stayed")
	}
	account := ann.get(AccountPath)
	proof := field(t, account, "proof")
	invited := ann.post(AccountPath+"/invite", url.Values{"proof": {proof}})
	link := regexp.MustCompile(`https://[^<]*/_admin/invite#[A-Za-z0-9_-]+`).FindString(invited.body)
	if link == "" {
		t.Fatalf("no invitation in %s", invited.body)
	}

	bob := w.browser()
	page := bob.follow(bob.post("/_admin/invite", url.Values{"token": {" " + link + "\n"}}))
	if strings.Contains(bob.at, "token") {
		t.Errorf("the token stayed in the URL: %s", bob.at)
	}
	short := bob.post("/_admin/invite", url.Values{"link": {field(t, page, "link")}, "name": {"bob"}, "password": {"short"}})
	if short.Code != http.StatusBadRequest || !strings.Contains(short.body, "at least 12") || !strings.Contains(short.body, `value="bob"`) {
		t.Errorf("a short password: %d %s", short.Code, short.body)
	}
	taken := bob.post("/_admin/invite", url.Values{"link": {field(t, page, "link")}, "name": {"ann"}, "password": {goodPassword}})
	if taken.Code != http.StatusConflict {
		t.Errorf("Ann's name: %d", taken.Code)
	}
	if got := bob.follow(bob.post("/_admin/invite", url.Values{"link": {field(t, page, "link")}, "name": {"bob"}, "password": {goodPassword}})); got.body != "the control plane of bob" {
		t.Fatalf("%d %s", got.Code, got.body)
	}

	out := ann.follow(ann.post(OutPath, url.Values{"proof": {proof}}))
	if out.Code != http.StatusOK || !strings.Contains(out.body, "<h1>Sign in</h1>") || strings.Contains(out.body, "You are signed in") {
		t.Errorf("after signing out: %d %s", out.Code, out.body)
	}
	page = ann.get("/_admin/account?x=1")
	back := ann.post(Path, url.Values{"next": {field(t, page, "next")}, "name": {"ANN"}, "password": {goodPassword}})
	if back.Code != http.StatusSeeOther || back.Header().Get("Location") != "/_admin/account?x=1" {
		t.Errorf("signed in to %d %s", back.Code, back.Header().Get("Location"))
	}
	account = ann.get(AccountPath)
	for _, want := range []string{"Ann", "bob", "this browser", "203.0.113.7"} {
		if !strings.Contains(account.body, want) {
			t.Errorf("the account's page lacks %q", want)
		}
	}
	wrong := w.browser().post(Path, url.Values{"name": {`"><b>`}, "password": {"not this one, no"}})
	if wrong.Code != http.StatusUnauthorized || strings.Contains(wrong.body, "<b>") || strings.Contains(wrong.body, "not this one") {
		t.Errorf("a wrong one: %d %s", wrong.Code, wrong.body)
	}
	// Everything of the account's page by its forms.
	proof = field(t, account, "proof")
	for path, form := range map[string]url.Values{
		"/password": {"now": {goodPassword}, "password": {"another fine password"}}, "/disable": {"name": {"bob"}}, "/remove": {"name": {"bob"}},
		"/passkey/remove": {"id": {"AAAA"}}, "/session/end": {"id": {"none"}},
	} {
		form.Set("proof", proof)
		if got := ann.follow(ann.post(AccountPath+path, form)); got.Code != http.StatusOK || !strings.Contains(got.body, `class="flash`) {
			t.Errorf("%s: %d %s", path, got.Code, got.body)
		}
	}
}

func TestStoryWithPasskeys(t *testing.T) {
	w := newWorld(t, nil)
	var phone, laptop passkeytest.Device
	ann := w.browser()
	page := ann.get("/_admin/setup?token=" + w.setupToken())
	who := map[string]any{"kind": "setup", "link": field(t, page, "link"), "name": "Ann"}
	made := func(b *visitor, d *passkeytest.Device, begin, finish string, who map[string]any, headers ...string) answer {
		t.Helper()
		options := b.script(begin, asJSON(t, who), headers...)
		if options.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", begin, options.Code, options.body)
		}
		made, err := d.Create(origin, []byte(options.body))
		if err != nil {
			t.Fatal(err)
		}
		who["answer"] = json.RawMessage(made)
		return b.script(finish, asJSON(t, who), headers...)
	}
	if got := made(ann, &phone, Path+"/passkey/enroll/begin", Path+"/passkey/enroll/finish", who); strings.TrimSpace(got.body) != `{"next":"/_admin/"}` {
		t.Fatalf("%d %s", got.Code, got.body)
	}
	if got := ann.get(home); got.body != "the control plane of Ann" {
		t.Fatal(got.body)
	}
	account := ann.get(AccountPath)
	proof := []string{"X-Moltworker-Proof", field(t, account, "proof")}
	if got := made(ann, &laptop, AccountPath+"/passkey/begin", AccountPath+"/passkey/finish", map[string]any{"key": "My <laptop>"}, proof...); got.Code != http.StatusOK {
		t.Fatalf("%d %s", got.Code, got.body)
	}
	if account = ann.get(AccountPath); !strings.Contains(account.body, "My &lt;laptop&gt;") {
		t.Error("the new passkey is not listed")
	}
	for _, d := range []*passkeytest.Device{&phone, &laptop} {
		b := w.browser()
		options := b.script(Path+"/passkey/begin", "{}")
		signed, err := d.Get(origin, []byte(options.body))
		if err != nil {
			t.Fatal(err)
		}
		got := b.script(Path+"/passkey/finish?next=//evil.example", string(signed))
		if strings.TrimSpace(got.body) != `{"next":"/_admin/"}` || b.get(home).body != "the control plane of Ann" {
			t.Errorf("%d %s", got.Code, got.body)
		}
	}
	if js := w.browser().send("GET", Path+"/passkey.js", ""); js.Code != http.StatusOK || !strings.HasPrefix(js.Header().Get("Content-Type"), "text/javascript") {
		t.Errorf("the script: %d", js.Code)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Scripts of an agent's pages on the same host, and other sites, get nothing out of
// a link that a person has open.
func TestLinkPagesBetweenHostileOnes(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	page := b.get("/_admin/setup?token=" + w.setupToken())
	proof := field(t, page, "link")
	if got := b.send("GET", "/_admin/setup", "", "Sec-Fetch-Dest", "empty"); strings.Contains(got.body, proof) || got.Code != http.StatusForbidden {
		t.Errorf("a script reads the page: %d", got.Code)
	}
	if got := b.send("GET", "/_admin/setup", "", "Sec-Fetch-Dest", "iframe"); strings.Contains(got.body, proof) {
		t.Error("a frame shows the page")
	}
	form := url.Values{"name": {"mallory"}, "password": {goodPassword}}
	if got := b.post("/_admin/setup", form); got.Code != http.StatusForbidden {
		t.Errorf("without the proof: %d", got.Code)
	}
	form.Set("link", proof)
	for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "", "Origin", "https://evil.example"}} {
		if got := b.post("/_admin/setup", form, headers...); got.Code != http.StatusForbidden {
			t.Errorf("%v: %d", headers, got.Code)
		}
		if got := b.post(Path, form, headers...); got.Code != http.StatusForbidden {
			t.Errorf("sign-in, %v: %d", headers, got.Code)
		}
	}
	if got := b.script(Path+"/passkey/enroll/begin", `{"kind":"setup","link":"x","name":"mallory"}`); got.Code != http.StatusForbidden {
		t.Errorf("a passkey without the proof: %d", got.Code)
	}
	if empty, err := w.accounts.Empty(t.Context()); err != nil || !empty {
		t.Error("somebody came in")
	}
}

func TestLinksThatAreOfNoUse(t *testing.T) {
	w := newWorld(t, nil)
	token := w.setupToken()
	ann, slow := w.browser(), w.browser()
	page := ann.get("/_admin/setup?token=" + token)
	slow.get("/_admin/setup?token=" + token)
	form := url.Values{"link": {field(t, page, "link")}, "name": {"Ann"}, "password": {goodPassword}}
	if got := ann.post("/_admin/setup", form); got.Code != http.StatusSeeOther {
		t.Fatal(got.Code)
	}
	form.Set("name", "second")
	if got := slow.post("/_admin/setup", form); got.Code != http.StatusGone || !strings.Contains(got.body, "no longer good") {
		t.Errorf("the second at one link: %d", got.Code)
	}
	for _, path := range []string{"/_admin/setup?token=" + token, "/_admin/invite?token=" + token, "/_admin/recover?token=x", "/_admin/recover?token=" + strings.Repeat("x", 60)} {
		b := w.browser()
		got := b.get(path)
		if got.Code != http.StatusGone && got.Code != http.StatusTooManyRequests || b.jar["__Host-moltworker-session"] != "" {
			t.Errorf("%s: %d", path, got.Code)
		}
	}
	for _, path := range []string{"/_admin/setup?token=%0d%0aSet-Cookie:x", "/_admin/setup?token=" + strings.Repeat("x", 1<<16), "/_admin/setup?token="} {
		b := w.browser()
		if got := b.get(path); got.Code != http.StatusOK || len(b.jar) != 0 {
			t.Errorf("%.40s: %d, cookies %v", path, got.Code, b.jar)
		}
	}
	if got := w.browser().send("POST", "/_admin/setup", "token="+strings.Repeat("x", 1<<20)); got.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a megabyte: %d", got.Code)
	}
}

func TestNextIsLocal(t *testing.T) {
	tests := map[string]string{
		"":                                 home,
		"/":                                "/",
		"/_admin/":                         "/_admin/",
		"/_admin/agents?x=1&y=%2F":         "/_admin/agents?x=1&y=%2F",
		"/a/b":                             "/a/b",
		"/search?q=//x":                    "/search?q=//x",
		"/a#b":                             "/a",
		"//evil.example":                   home,
		"///evil.example":                  home,
		`/\evil.example`:                   home,
		`\\evil.example`:                   home,
		"/\t/evil.example":                 home,
		"/\n/evil.example":                 home,
		"\t//evil.example":                 home,
		" //evil.example":                  home,
		"/%09/evil.example":                home,
		"/%5cevil.example":                 home,
		"/%2f/evil.example":                home,
		"/%2fevil.example":                 home,
		"/.//evil.example":                 home,
		"/a/..//evil.example":              home,
		"/..":                              home,
		"/a/../_admin/sign-out":            home,
		"/a//b":                            home,
		"https://evil.example":             home,
		"https:evil.example":               home,
		"javascript:alert(1)":              home,
		"data:text/html,x":                 home,
		"evil.example":                     home,
		"@evil.example":                    home,
		"/_admin/sign-in":                  home,
		"/_admin/sign-in?next=/_admin/x":   home,
		"/_admin/Sign-In/oidc":             home,
		"/_admin/sign-out":                 home,
		"/_admin/%73ign-out":               home,
		"/_admin/setup?token=x":            home,
		"/é":                               home,
		"/a\x00b":                          home,
		"/%00":                             home,
		"/%zz":                             home,
		"/" + strings.Repeat("a", maxNext): home,
	}
	for next, want := range tests {
		if got := local(next); got != want {
			t.Errorf("local(%.60q) = %q, want %q", next, got, want)
		}
	}
}

func FuzzNextIsLocal(f *testing.F) {
	for _, next := range []string{"/a", "//x", `/\x`, "/%2f/x", "/?//x", "/.//x", "http:/x"} {
		f.Add(next)
	}
	base := &url.URL{Scheme: "https", Host: "bot.example.com", Path: "/_admin/sign-in"}
	f.Fuzz(func(t *testing.T, next string) {
		got := local(next)
		u, err := base.Parse(got)
		if err != nil || u.Host != base.Host || u.Scheme != "https" || strings.HasPrefix(u.Path, "//") || !strings.HasPrefix(got, "/") || strings.ContainsAny(got, "\\\r\n\t\x00 ") {
			t.Errorf("local(%q) = %q, which is %v, %v", next, got, u, err)
		}
	})
}

// broken is a provider that never works.
type broken struct{ person oidc.Person }

func (b *broken) Start(http.ResponseWriter, *http.Request, string) error {
	return &access.Refusal{Reason: access.Unconfigured, Message: "The sign-in provider cannot be reached.", Remedy: "Try again.", Detail: "dial refused"}
}

func (b *broken) Finish(http.ResponseWriter, *http.Request) (oidc.Person, string, error) {
	if b.person.Email != "" {
		return b.person, "//evil.example", nil
	}
	return oidc.Person{}, "", errors.New("secret detail")
}

// With a provider that fails, nobody is sent in a circle; follow sees to that.
func TestBrokenProvider(t *testing.T) {
	provider := &broken{}
	w := newWorld(t, provider)
	b := w.browser()
	if page := b.get("/_admin/account"); !strings.Contains(page.body, `href="/_admin/sign-in/oidc?next=%2f_admin%2faccount"`) {
		t.Errorf("no way to the provider in %s", page.body)
	}
	if got := b.get(Path + "/oidc?next=/_admin/account"); got.Code != http.StatusServiceUnavailable || !strings.Contains(got.body, "cannot be reached") || strings.Contains(got.body, "dial refused") {
		t.Errorf("%d %s", got.Code, got.body)
	}
	if got := b.get(Path + "/oidc/callback?code=x&state=y"); got.Code != http.StatusInternalServerError || strings.Contains(got.body, "secret detail") {
		t.Errorf("%d %s", got.Code, got.body)
	}
	provider.person = oidc.Person{Subject: "1", Email: "eve@example.com", Name: "Eve"}
	if got := b.get(Path + "/oidc/callback?code=x&state=y"); got.body != "the control plane of eve@example.com" {
		t.Errorf("%d %s", got.Code, got.body)
	}
	if got := b.get(AccountPath); got.Code != http.StatusOK || strings.Contains(got.body, "New password") {
		t.Errorf("the account of somebody without one: %d", got.Code)
	}
	// Without one there is no such way.
	if got := newWorld(t, nil).browser().get(Path + "/oidc"); got.Code != http.StatusNotFound {
		t.Errorf("%d", got.Code)
	}
}

func TestNothingOverAnOpenLine(t *testing.T) {
	w := newWorld(t, nil)
	w.place.Secure = false
	for _, path := range []string{Path, "/_admin/setup", Path + "/oidc"} {
		if got := w.browser().get(path); got.Code != http.StatusForbidden || strings.Contains(got.body, "<form") {
			t.Errorf("%s: %d", path, got.Code)
		}
	}
	for _, host := range []string{"localhost", "work.localhost", "127.0.0.1", "::1"} {
		w.place.Host = host
		if got := w.browser().get(Path); got.Code != http.StatusOK {
			t.Errorf("%s: %d", host, got.Code)
		}
	}
}

func TestLockoutIsSaid(t *testing.T) {
	w := newWorld(t, nil)
	w.first()
	for range 6 {
		w.browser().post(Path, url.Values{"name": {"Ann"}, "password": {"wrong password!"}})
	}
	got := w.browser().post(Path, url.Values{"name": {"Ann"}, "password": {goodPassword}})
	if got.Code != http.StatusTooManyRequests || got.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", got.Code, got.Header())
	}
}

func TestAPI(t *testing.T) {
	w := newWorld(t, nil)
	w.first()
	b := w.browser()
	call := func(method, path, body string) answer {
		return b.send(method, "/api/admin/"+path, body, "Content-Type", "application/json")
	}
	steps := []struct {
		method, path, body string
		status             int
		holds              string
	}{
		{"GET", "users", "", 200, `"name":"Ann"`},
		{"POST", "users/invite", "", 201, origin + "/_admin/invite#"},
		{"POST", "users/ann/recover", "", 201, origin + "/_admin/recover#"},
		{"POST", "users/nobody/recover", "", 404, `"type":"not_found"`},
		{"POST", "service-tokens", `{"name":"ci","scopes":"agents:read","expires":"90d"}`, 201, `"token":"mws_`},
		{"POST", "service-tokens", `{"name":"ci","scopes":"agents:read"}`, 409, `"type":"taken"`},
		{"POST", "service-tokens", `{"name":"x","scopes":"nonsense"}`, 400, `o scope is called`},
		{"POST", "service-tokens", `{"name":"x","scopes":"*","expires":"soon"}`, 400, `90d`},
		{"POST", "service-tokens", `{`, 400, `Want`},
		{"POST", "service-tokens", `{"name":"` + strings.Repeat("x", 1<<20) + `"}`, 413, `too long`},
		{"GET", "service-tokens", "", 200, `"scopes":["agents:read"]`},
		{"DELETE", "service-tokens/ci", "", 204, ""},
		{"DELETE", "service-tokens/ci", "", 404, `not_found`},
		{"POST", "users/ann/disable", "", 204, ""},
		{"DELETE", "users/ann", "", 204, ""},
		{"GET", "users", "", 200, `{"users":[]}`},
	}
	for _, s := range steps {
		got := call(s.method, s.path, s.body)
		if got.Code != s.status || !strings.Contains(got.body, s.holds) || strings.Contains(got.body, "argon2") {
			t.Errorf("%s %s: %d %s", s.method, s.path, got.Code, got.body)
		}
	}
	if strings.Contains(fmt.Sprint(call("GET", "service-tokens", "").body), "mws_") {
		t.Error("a token is told twice")
	}
}
