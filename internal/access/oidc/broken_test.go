package oidc

import (
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/secret"
	"github.com/moltworker/moltworker/test/fakeoidc"
)

// only lets fail what fails at one endpoint.
func only(path string, how http.HandlerFunc) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, path) {
			return false
		}
		how(w, r)
		return true
	}
}

func down(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusBadGateway) }
func slow(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
func huge(w http.ResponseWriter, _ *http.Request) {
	w.Write([]byte(`{"x":"` + strings.Repeat("x", maxAnswer)))
}
func garbage(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>\nWelcome")) }
func away(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "https://evil.example/", http.StatusTemporaryRedirect)
}

func TestAProviderThatIsBroken(t *testing.T) {
	for _, path := range []string{fakeoidc.Discovery, fakeoidc.Token, fakeoidc.Keys} {
		for name, how := range map[string]http.HandlerFunc{"down": down, "slow": slow, "huge": huge, "garbage": garbage, "away": away} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.provider.Broken = only(path, how)
				began := time.Now() // in the bubble
				_, _, err := w.signIn("/")
				if err == nil {
					t.Errorf("%s %s: let in", path, name)
					return
				}
				r := w.refusal(err)
				if s := r.Status(); s != 503 && (s != 403 || path != fakeoidc.Token || name != "garbage") {
					t.Errorf("%s %s: %d %s (%s)", path, name, s, r, r.Detail)
				}
				if waited := time.Since(began); waited > requestTimeout || name == "slow" && waited != requestTimeout {
					t.Errorf("%s %s: gave up after %v", path, name, waited)
				}
				for _, request := range w.provider.Requests() {
					if strings.Contains(request, "evil") {
						t.Errorf("%s %s: it went to %s", path, name, request)
					}
				}
				// The key set gives its answer out a moment before it counts the
				// request as over; who asks in that moment shares the answer.
				synctest.Wait()
				w.provider.Broken = nil
				w.pass(maxPause)
				if _, _, err := w.signIn("/"); err != nil {
					t.Errorf("%s %s: it does not recover: %v", path, name, err)
				}
			})
		}
	}
}

func TestAProviderThatIsDownIsAskedSeldom(t *testing.T) {
	w := newWorld(t)
	w.provider.Broken = only("", down)
	for range 600 { // ten minutes, somebody each second
		if _, err := w.start("/"); w.refusal(err).Status() != 503 {
			t.Fatal(err)
		}
		w.pass(time.Second)
	}
	if n := len(w.provider.Requests()); n < 10 || n > 20 {
		t.Errorf("%d requests", n)
	}
	w.provider.Broken = nil
	w.pass(maxPause)
	if _, _, err := w.signIn("/"); err != nil {
		t.Error(err)
	}
	w.provider.Broken = only(fakeoidc.Discovery, down) // what is known counts on
	w.pass(knownFor)
	before := len(w.provider.Requests())
	for range 5 {
		if _, _, err := w.signIn("/"); err != nil {
			t.Error(err)
		}
	}
	if n := w.provider.Count("GET /realm" + fakeoidc.Discovery); n < 10 || len(w.provider.Requests())-before != 1+5*2 {
		t.Errorf("requests %q", w.provider.Requests()[before:])
	}
}

func TestManyWhoComeAtOnceAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		release := make(chan struct{})
		w.provider.Broken = func(http.ResponseWriter, *http.Request) bool { <-release; return false }
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if err := w.client.Start(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), "/"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
		if n := len(w.provider.Requests()); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

func TestOnlySoManyComeBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		to, err := w.start("/")
		if err != nil {
			t.Fatal(err)
		}
		back, cookie := w.visit(to), w.jar[flowCookie+"1"]
		release := make(chan struct{})
		w.provider.Broken = only(fakeoidc.Token, func(rw http.ResponseWriter, r *http.Request) { <-release; down(rw, r) })
		var all sync.WaitGroup
		var mu sync.Mutex
		byStatus := map[int]int{}
		for range 3 * maxBusy {
			all.Go(func() {
				r := httptest.NewRequest(http.MethodGet, back.String(), nil)
				r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
				_, _, err := w.client.Finish(httptest.NewRecorder(), r)
				mu.Lock()
				defer mu.Unlock()
				byStatus[w.refusal(err).Status()]++
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
		if byStatus[429] != 2*maxBusy || byStatus[503] != maxBusy {
			t.Errorf("%v", byStatus)
		}
	})
}

// TestNobodyIsSentRoundInACircle follows every redirect there is, with providers
// broken in every way, from one click on.
func TestNobodyIsSentRoundInACircle(t *testing.T) {
	for _, deny := range []string{"access_denied", "login_required", "server_error", "temporarily_unavailable", "invalid_request", "unauthorized_client", "invalid_scope", "made_up"} {
		w := newWorld(t)
		w.provider.Deny = deny
		_, _, err := w.signIn("/_admin/")
		r := w.refusal(err)
		if s := r.Status(); s != 403 && s != 503 || !strings.Contains(r.Detail, deny) || strings.Contains(r.Error(), deny) || strings.Contains(r.Error(), "because the test") {
			t.Errorf("%s: %d %s (%s)", deny, s, r, r.Detail)
		}
		if n := w.provider.Count("GET /realm" + fakeoidc.Authorize); n != 1 {
			t.Errorf("%s: the browser was sent to the provider %d times by one click", deny, n)
		}
	}
	w := newWorld(t)
	w.provider.ClientSecret = "changed"
	_, _, err := w.signIn("/")
	if r := w.refusal(err); r.Status() != 503 || !strings.Contains(r.Remedy, "MOLTWORKER_OIDC_CLIENT_SECRET") {
		t.Errorf("a secret that changed: %d %s", r.Status(), r)
	}
	if n := w.provider.Count("POST /realm" + fakeoidc.Token); n != 1 {
		t.Errorf("the code was offered %d times", n)
	}
}

func TestHowAProviderDescribesItself(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*world)
		detail string // "" when all is well
	}{
		"a slash more":       {func(w *world) { w.provider.Issuer += "/" }, ""},
		"a slash less":       {func(w *world) { w.options.Issuer += "/"; w.restart() }, ""},
		"no secret":          {func(w *world) { w.provider.ClientSecret, w.options.ClientSecret = "", none; w.restart() }, ""},
		"another name":       {func(w *world) { w.publish("issuer", "https://other.example") }, `calls itself "https://other.example"`},
		"tokens by http":     {func(w *world) { w.publish("token_endpoint", "http://idp.example/token") }, "token_endpoint"},
		"no keys":            {func(w *world) { w.publish("jwks_uri", "") }, "jwks_uri"},
		"a page of a script": {func(w *world) { w.publish("authorization_endpoint", "javascript:alert(1)") }, "authorization_endpoint"},
	} {
		w := newWorld(t)
		c.change(w)
		_, _, err := w.signIn("/")
		if c.detail == "" {
			if err != nil {
				t.Errorf("%s: %v (%s)", name, err, w.refusal(err).Detail)
			}
			continue
		}
		if r := w.refusal(err); r.Status() != 503 || !strings.Contains(r.Detail, c.detail) || strings.Contains(r.Error(), "example") {
			t.Errorf("%s: %d %s (%s)", name, r.Status(), r, r.Detail)
		}
	}
}

func (w *world) publish(name string, value any) {
	w.provider.Publish = func(d map[string]any) { d[name] = value }
}

// TestByTheNetwork is the whole way with servers that listen.
func TestByTheNetwork(t *testing.T) {
	mux := http.NewServeMux()
	ours := httptest.NewServer(mux)
	defer ours.Close()
	provider, theirs := fakeoidc.Start(ours.URL + "/in/callback")
	defer theirs.Close()
	w := newWorld(t)
	w.options.Issuer, w.options.HTTP, w.options.Now = provider.Issuer, nil, nil
	w.options.RedirectURL = func(r *http.Request) string { return "http://" + r.Host + "/in/callback" }
	w.restart()
	mux.HandleFunc("/in", func(rw http.ResponseWriter, r *http.Request) {
		if err := w.client.Start(rw, r, "/there"); err != nil {
			t.Error(err)
		}
	})
	mux.HandleFunc("/in/callback", func(rw http.ResponseWriter, r *http.Request) {
		who, next, err := w.client.Finish(rw, r)
		if err != nil || next != "/there" {
			t.Errorf("%q, %v", next, err)
		}
		rw.Write([]byte(who.Email))
	})
	browser := &http.Client{Jar: newJar(t)}
	resp, err := browser.Get(ours.URL + "/in")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if u := resp.Request.URL; u.Path != "/in/callback" {
		t.Errorf("ended at %s", u)
	}
	if u, err := url.Parse(ours.URL + "/in/callback"); err != nil || len(browser.Jar.Cookies(u)) != 0 {
		t.Errorf("cookies are left, %v", err)
	}
}

func newJar(t *testing.T) http.CookieJar {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return jar
}

// none is a secret that is not set.
var none secret.Value
