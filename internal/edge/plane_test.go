package edge

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/access"
)

// sessions stands in for those who know how people sign in: a cookie and a bearer
// of fixed values.
type sessions struct{}

func (sessions) Authenticate(r *http.Request, at access.Place) (access.Principal, error) {
	p := access.Principal{Kind: access.KindPerson, Name: "ann", Via: access.ViaPasskey, Source: access.SourceCookie, Proof: "proof-of-ann"}
	if c, err := r.Cookie("moltworker-session"); err == nil && c.Value == "ann" {
		return p, nil
	}
	if c, err := r.Cookie("moltworker-session"); err == nil && c.Value == "proofless" {
		p.Proof = ""
		return p, nil
	}
	if c, err := r.Cookie("moltworker-visit"); err == nil && c.Value == "ann" {
		p.Agent = "main"
		return p, nil
	}
	switch r.Header.Get("Authorization") {
	case "Bearer mws_reader":
		return access.Principal{Kind: access.KindService, Name: "ci", Source: access.SourceBearer, Scopes: []access.Scope{access.ReadAgents}}, nil
	case "Bearer mws_user":
		return access.Principal{Kind: access.KindService, Name: "bot", Source: access.SourceBearer, Scopes: []access.Scope{access.UseAgents}}, nil
	}
	return access.Principal{}, access.ErrNothing
}

// withPlane serves a control plane that says who came.
func withPlane(o *Options) {
	o.Guard = access.NewGuard(o.Guard.Tokens, sessions{})
	o.Plane = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, at := access.From(r.Context()), access.At(r.Context())
		w.Header().Set("X-Who", p.String()+" at "+at.Agent+"/"+at.Host)
		w.WriteHeader(http.StatusTeapot)
	})
}

const fromDocument = "Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\nAccept: text/html\r\n"

func TestTheControlPlaneIsForThoseSignedIn(t *testing.T) {
	w := serve(t, withPlane)
	const (
		ann    = "Cookie: moltworker-session=ann\r\n"
		script = "Sec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\n"
		post   = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: "
	)
	for name, tt := range map[string]struct {
		line, host, rest string
		status           int
		says             string // in Location or X-Who
	}{
		"a stranger with a browser":            {"GET /_admin/agents?x=1", "localhost", fromDocument, 303, "/_admin/sign-in?next=%2F_admin%2Fagents%3Fx%3D1"},
		"a stranger's program":                 {"GET /_admin/", "localhost", "", 401, ""},
		"a stranger's post":                    {"POST /_admin/x", "localhost", "Accept: text/html\r\nContent-Length: 0\r\n", 401, ""},
		"the sign-in itself":                   {"GET /_admin/sign-in", "localhost", fromDocument, 418, "nobody at /localhost"},
		"its parts":                            {"GET /_admin/static/look.css", "localhost", "", 418, "nobody"},
		"a holder of the token":                {"GET /_admin/", "localhost", "X-Moltworker-Token: " + testToken + "\r\n", 401, ""},
		"somebody on an agent's own pages":     {"GET /_admin/", "localhost", "Cookie: moltworker-visit=ann\r\n" + fromDocument, 303, "/_admin/sign-in"},
		"a person":                             {"GET /_admin/", "localhost", ann + fromDocument, 418, "person ann at /localhost"},
		"a person on this machine's address":   {"GET /_admin/", "127.0.0.1", ann + fromDocument, 418, "person ann"},
		"a person on the plane's host":         {"GET /_admin/", "admin.localhost", ann + fromDocument, 418, "person ann"},
		"a person over an open line":           {"GET /_admin/", "192.0.2.7", ann + fromDocument, 403, ""},
		"a person on an agent's host":          {"GET /_admin/", "second.localhost", ann + fromDocument, 404, ""},
		"a script of the same origin":          {"GET /_admin/", "localhost", ann + script, 403, ""},
		"our page's script":                    {"GET /_admin/x", "localhost", ann + script + "X-Moltworker-Proof: proof-of-ann\r\n", 418, "person ann"},
		"our page's stream":                    {"GET /_admin/events?proof=proof-of-ann", "localhost", ann + script, 418, "person ann"},
		"a frame":                              {"GET /_admin/", "localhost", ann + "Sec-Fetch-Dest: iframe\r\nSec-Fetch-Mode: navigate\r\n", 403, ""},
		"an old browser":                       {"GET /_admin/", "localhost", ann, 403, ""},
		"a post of somebody without any":       {"POST /_admin/x?proof=", "localhost", "Cookie: moltworker-session=proofless\r\n" + fromDocument + post + "6\r\n\r\nproof=", 403, ""},
		"a post without proof":                 {"POST /_admin/x", "localhost", ann + fromDocument + post + "0\r\n", 403, ""},
		"a post with another's":                {"POST /_admin/x", "localhost", ann + fromDocument + post + "14\r\n\r\nproof=proof-of", 403, ""},
		"a post with proof":                    {"POST /_admin/x", "localhost", ann + fromDocument + post + "18\r\n\r\nproof=proof-of-ann", 418, "person ann"},
		"a post of another site with proof":    {"POST /_admin/x", "localhost", ann + "Sec-Fetch-Site: cross-site\r\n" + post + "18\r\n\r\nproof=proof-of-ann", 403, ""},
		"a proof in the query of a post":       {"POST /_admin/x?proof=proof-of-ann", "localhost", ann + fromDocument + post + "0\r\n", 403, ""},
		"a service":                            {"GET /api/admin/agents", "localhost", "Authorization: Bearer mws_reader\r\n", 418, "service ci"},
		"a service that changes things":        {"POST /api/admin/agents/main/restart", "localhost", "Authorization: Bearer mws_reader\r\nContent-Length: 0\r\n", 418, "service ci"},
		"a service on an agent's host":         {"GET /api/admin/agents", "second.localhost", "Authorization: Bearer mws_reader\r\n", 404, ""},
		"names in any case":                    {"POST /api/admin/devices/Ab%3A9/approve", "localhost", ann + "Content-Length: 0\r\nX-Moltworker-Proof: proof-of-ann\r\n", 418, "person ann"},
		"another way to write a guarded path":  {"GET /_admin/..;/", "localhost", ann + fromDocument, 404, ""},
		"another way to write the open one":    {"GET /_admin/sign-in/../agents", "localhost", ann + fromDocument, 404, ""},
		"an encoded separator":                 {"GET /_admin/static/%2e%2e%2fagents", "localhost", fromDocument, 404, ""},
		"a doubled slash":                      {"GET //_admin/agents", "localhost", ann + fromDocument, 404, ""},
		"a foreign host":                       {"GET /_admin/", "evil.example", ann + fromDocument, 421, ""},
		"a large cookie":                       {"GET /_admin/", "localhost", "Cookie: " + strings.Repeat("x", 1<<20) + "\r\n", 431, ""},
		"the plane's host itself":              {"GET /", "admin.localhost", fromDocument, 303, "/_admin/"},
		"something else there":                 {"GET /chat", "admin.localhost", ann + fromDocument, 404, ""},
		"debugging that nobody asked for":      {"GET /debug/env", "localhost", ann + fromDocument, 404, ""},
		"forwarded headers of nobody's making": {"GET /_admin/", "192.0.2.7", ann + fromDocument + "X-Forwarded-Proto: https\r\nX-Forwarded-Host: localhost\r\n", 403, ""},
	} {
		t.Run(name, func(t *testing.T) {
			head, body, _ := strings.Cut(tt.rest, "\r\n\r\n")
			resp := w.raw(t, tt.line+" HTTP/1.1\r\nHost: "+tt.host+"\r\n"+strings.TrimSuffix(head, "\r\n")+"\r\n\r\n"+body)
			got := resp.Header.Get("Location") + resp.Header.Get("X-Who")
			if resp.StatusCode != tt.status || !strings.HasPrefix(got, tt.says) {
				t.Errorf("%s, %q", resp.Status, got)
			}
		})
	}
	if n := w.main.reached() + w.second.reached(); n != 0 {
		t.Errorf("%d requests reached a guest", n)
	}
}

func TestDebugIsForThoseSignedInToo(t *testing.T) {
	w := serve(t, withPlane, func(o *Options) { o.Debug = true })
	for rest, want := range map[string]int{"": 401, "Cookie: moltworker-session=ann\r\n" + fromDocument: 418} {
		if resp := w.raw(t, "GET /debug/env HTTP/1.1\r\nHost: localhost\r\n"+rest+"\r\n"); resp.StatusCode != want {
			t.Errorf("%q: %s", rest, resp.Status)
		}
	}
}

func TestTheControlPlaneOnAHostOfItsOwn(t *testing.T) {
	w := serve(t, withPlane, func(o *Options) {
		o.AdminURL = "https://ops.example.com"
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	for name, tt := range map[string]struct {
		host, rest string
		status     int
		says       string
	}{
		"there":                   {"ops.example.com", "X-Forwarded-Proto: https\r\nCookie: moltworker-session=ann\r\n" + fromDocument, 418, "person ann"},
		"the main agent's host":   {"bot.example.com", "X-Forwarded-Proto: https\r\nCookie: moltworker-session=ann\r\n" + fromDocument, 303, "https://ops.example.com/_admin/"},
		"a stranger there":        {"bot.example.com", fromDocument, 401, ""},
		"a service may come here": {"bot.example.com", "Authorization: Bearer mws_reader\r\n", 418, "service ci"},
	} {
		resp := w.raw(t, "GET /_admin/ HTTP/1.1\r\nHost: "+tt.host+"\r\n"+tt.rest+"\r\n")
		if got := resp.Header.Get("Location") + resp.Header.Get("X-Who"); resp.StatusCode != tt.status || !strings.HasPrefix(got, tt.says) {
			t.Errorf("%s: %s, %q", name, resp.Status, got)
		}
	}
}

// An agent's pages cannot get at the control plane's by what browsers offer to
// pages of one origin.
func TestAgentsPagesAreKeptApart(t *testing.T) {
	w := serve(t, withPlane)
	resp, _ := do(t, w.request(t, "GET", "/hostile", nil))
	for _, name := range []string{"Cross-Origin-Opener-Policy", "Service-Worker-Allowed", "Clear-Site-Data", "Set-Cookie"} {
		if got := resp.Header.Get(name); got != "" {
			t.Errorf("%s: %s", name, got)
		}
	}
	r := w.request(t, "GET", "/sw.js", nil)
	r.Header.Set("Service-Worker", "script")
	if resp, _ := do(t, r); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a service worker where the plane is: %s", resp.Status)
	}
	r = w.request(t, "GET", "/sw.js", nil)
	r.Host = "second.localhost"
	r.Header.Set("Service-Worker", "script")
	if resp, _ := do(t, r); resp.StatusCode != http.StatusOK {
		t.Errorf("a service worker where it is not: %s", resp.Status)
	}
}

func TestSignedInPeopleNeedNoToken(t *testing.T) {
	w := serve(t, withPlane)
	r := browse(mustRequest(t, "GET", "http://"+w.addr+"/chat?a=1"))
	r.Header.Set("Cookie", "moltworker-session=ann")
	resp, _ := do(t, r)
	if resp.StatusCode != 303 || resp.Header.Get("Location") != "/chat?a=1#token="+testToken || len(resp.Cookies()) != 1 {
		t.Fatalf("%s, %q, %v", resp.Status, resp.Header.Get("Location"), resp.Cookies())
	}
	r.AddCookie(resp.Cookies()[0])
	if resp, _ = do(t, r); resp.StatusCode != 200 {
		t.Errorf("with the token in the page: %s", resp.Status)
	}
	if got := w.main.last(t).Header.Get("Cookie"); got != "" {
		t.Errorf("the guest sees %q", got)
	}
	for bearer, want := range map[string]int{"mws_user": 200, "mws_reader": 403} {
		r := mustRequest(t, "GET", "http://"+w.addr+"/v1/models")
		r.Header.Set("Authorization", "Bearer "+bearer)
		if resp, body := do(t, r); resp.StatusCode != want {
			t.Errorf("%s: %s %s", bearer, resp.Status, body)
		}
	}
	if got := w.main.last(t).Header.Get("Authorization"); got != "Bearer "+testToken {
		t.Errorf("in place of the service token the guest sees %q", got)
	}
}

func TestATicketOpensAnAgent(t *testing.T) {
	w := serve(t, withPlane, func(o *Options) {
		o.Enter = func(w http.ResponseWriter, _ *http.Request, at access.Place, ticket string) error {
			if ticket != "good" || at.Agent != "second" {
				return access.NotSignedIn()
			}
			http.SetCookie(w, &http.Cookie{Name: "moltworker-visit", Value: "ann"})
			return nil
		}
	})
	for path, want := range map[string]int{"/_moltworker/enter?ticket=good": 303, "/_moltworker/enter?ticket=bad": 401, "/_moltworker/enter": 404} {
		r := browse(mustRequest(t, "GET", "http://"+w.addr+path))
		r.Host = "second.localhost"
		resp, _ := do(t, r)
		if resp.StatusCode != want || want == 303 && resp.Header.Get("Location") != "/#token="+testToken {
			t.Errorf("%s: %s, %q", path, resp.Status, resp.Header.Get("Location"))
		}
	}
}

// No spelling of a guarded path finds an open rule, or an agent.
func FuzzGuardedPaths(f *testing.F) {
	for _, s := range []string{"/_admin/agents", "/_admin/sign-in/../agents", "/_admin/static/%2e%2e/agents", "/debug/cli", "/api/admin/x", "/_ADMIN/..;/x"} {
		f.Add(s)
	}
	mux := http.NewServeMux()
	open := ""
	for _, p := range []string{"/_admin/sign-in/", "/_admin/setup", "/_admin/invite", "/_admin/recover", "/_admin/static/"} {
		mux.HandleFunc(p, func(http.ResponseWriter, *http.Request) { open = p })
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := http.NewRequest("GET", "http://localhost"+path, nil)
		if err != nil || !strings.HasPrefix(r.URL.Path, "/") {
			return
		}
		own := ownPath(r.URL)
		to, found := ruleFor(own)
		if own == "" || !found || to.guard != anybody || !to.plane {
			return
		}
		open = ""
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, r)
		if open == "" && r.URL.Path != signInPath {
			t.Errorf("%q is open by the rule for %s, and leads elsewhere (%d %s)", path, to.path, rec.Code, rec.Header().Get("Location"))
		}
	})
}

// Only a program on this very machine reads the metrics without a credential: not
// what a front passes on, and no page that a browser here shows.
func TestScrapersAreOnThisMachine(t *testing.T) {
	var who access.Principal
	w := serve(t, func(o *Options) {
		o.Plane = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { who = access.From(r.Context()) })
	})
	ask := func(host string, headers ...string) int {
		r := w.request(t, "GET", "/metrics", nil)
		r.Header.Del(access.TokenHeader)
		r.Host = host
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		resp, _ := do(t, r)
		return resp.StatusCode
	}
	for _, host := range []string{"localhost", "127.0.0.1:8787", "[::1]"} {
		if code := ask(host); code != http.StatusOK || who.String() != access.Scraper().String() {
			t.Errorf("a program asks %s: %d as %s", host, code, who)
		}
	}
	if code := ask("bot.example.com"); code != http.StatusUnauthorized {
		t.Errorf("asked by a name of the world: %d", code)
	}
	for name, value := range map[string]string{
		"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=192.0.2.1", "Via": "1.1 front", "Origin": "http://localhost", "Sec-Fetch-Site": "same-origin",
		"Referer": "http://localhost/", "Cookie": "a=b", "Authorization": "Bearer x", access.TokenHeader: "x",
	} {
		if code := ask("localhost", name, value); code == http.StatusOK {
			t.Errorf("with %s: %d", name, code)
		}
	}
}
