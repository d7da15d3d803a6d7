package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/moltworker/moltworker/test/browser"
	"github.com/moltworker/moltworker/test/fakeaccess"
	"github.com/moltworker/moltworker/test/fakeoidc"
)

// TestVouchedFor is about people and programs that others vouch for: an OpenID
// Connect provider, Cloudflare Access, a service token. Then the agent's own token
// is changed.
func TestVouchedFor(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	origin := "http://localhost:" + port
	provider, providerServer := fakeoidc.Start(origin + "/_admin/sign-in/oidc/callback")
	team, teamServer := fakeaccess.Start()
	t.Cleanup(func() { providerServer.Close(); teamServer.Close() })
	data := t.TempDir()
	settings := fmt.Sprintf(`MOLTWORKER_OIDC_ISSUER=%s
MOLTWORKER_OIDC_CLIENT_ID=%s
MOLTWORKER_OIDC_CLIENT_SECRET=%s
MOLTWORKER_OIDC_ALLOW=ann@example.com
CF_ACCESS_TEAM_DOMAIN=%s
CF_ACCESS_AUD=the-audience
DEBUG_ROUTES=true
`, provider.Issuer, provider.ClientID, provider.ClientSecret, team.Issuer)
	if err := os.WriteFile(filepath.Join(data, ".dev.vars"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	u := startUp(t, data, "--listen", address)
	link := u.link()

	t.Run("a provider signs somebody in", func(t *testing.T) {
		page := browser.Open(t)
		do(t, page, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(origin+"/_admin/audit"), chromedp.Click(`a[href^="/_admin/sign-in/oidc"]`))
		awaitPage(t, page, patience, "the page that was wanted", `location.pathname === "/_admin/audit" && document.body.innerText.includes("ann@example.com")`)
		awaitPage(t, page, patience, "the record of it", `document.body.innerText.includes("signin.ok")`)
		provider.Deny = "access_denied"
		do(t, page, chromedp.Navigate(origin+"/_admin/account"), chromedp.Click(`form[action="/_admin/sign-out"] button`))
		awaitPage(t, page, patience, "the sign-in page", `location.pathname === "/_admin/sign-in"`)
		do(t, page, chromedp.Click(`a[href^="/_admin/sign-in/oidc"]`))
		eventually(t, patience, "the provider is asked again", func() bool { return provider.Count("GET /authorize") == 2 })
		awaitPage(t, page, patience, "a refusal", `document.body.innerText.includes("did not let you in")`)
		if n := provider.Count("GET /authorize"); n != 2 {
			t.Errorf("round in a circle: the provider was asked %d times", n)
		}
	})

	t.Run("Access vouches for each request", func(t *testing.T) { accessVouches(t, origin, team) })

	t.Run("a service token does what its scopes say", func(t *testing.T) { scopesCount(t, u, origin) })

	u.awaitAwake(0)
	t.Run("debug routes look inside", func(t *testing.T) { debugLooksInside(t, u, origin) })

	t.Run("a token is changed for another", func(t *testing.T) {
		var rotated struct {
			Link       string `json:"link"`
			Verified   bool   `json:"verified"`
			OldRefused bool   `json:"old_refused"`
		}
		r := u.moltworker("token", "rotate", "--json")
		if err := json.Unmarshal([]byte(r.stdout), &rotated); err != nil || r.code != 0 || !rotated.Verified || !rotated.OldRefused {
			t.Fatalf("code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
		}
		for at, want := range map[string]int{link: 401, rotated.Link: 200} {
			parsed, err := url.Parse(at)
			if err != nil {
				t.Fatal(err)
			}
			if code, _ := get(t, at); code != want {
				t.Errorf("%s: %d", redactToken(parsed.String()), code)
			}
		}
	})

	t.Run("all of it is on record", func(t *testing.T) {
		r := u.moltworker("audit", "ls", "-n", "200")
		for _, action := range []string{"server.start", "signin.ok", "access.denied", "service-token.create", "token.rotate"} {
			if !strings.Contains(r.stdout, action) {
				t.Errorf("%s is not on record: %s%s", action, r.stdout, r.stderr)
			}
		}
		if r := u.moltworker("audit", "verify"); r.code != 0 {
			t.Errorf("code %d: %s%s", r.code, r.stdout, r.stderr)
		}
	})
}

func accessVouches(t *testing.T, origin string, team *fakeaccess.Team) {
	t.Helper()
	ask := func(path, token string, fields ...string) (int, string) {
		return get(t, origin+path, append(fields, "Cf-Access-Jwt-Assertion", token)...)
	}
	good := team.Token(team.Person("the-audience", "ann@example.com"))
	if code, body := ask("/_admin/", good, "Sec-Fetch-Dest", "document", "Accept", "text/html"); code != 200 || !strings.Contains(body, "ann@example.com") {
		t.Errorf("a page: %d %s", code, body)
	}
	if code, _ := ask("/_admin/", good, "Sec-Fetch-Dest", "empty"); code != 403 {
		t.Errorf("a script's fetch: %d", code)
	}
	service := team.Token(team.Service("the-audience", "robot.access"))
	if code, body := ask("/api/admin/agents", service); code != 200 {
		t.Errorf("a program: %d %s", code, body)
	}
	if code, _ := ask("/api/admin/agents", service, "Sec-Fetch-Site", "same-origin"); code != 403 {
		t.Errorf("a page that comes as a program: %d", code)
	}
	for name, token := range map[string]string{
		"another audience": team.Token(team.Person("another", "ann@example.com")),
		"another team":     fakeaccess.New("https://evil.example").Token(team.Person("the-audience", "ann@example.com")),
		"rubbish":          "a.b.c",
	} {
		code, body := ask("/_admin/", token, "Accept", "text/html", "Sec-Fetch-Dest", "document")
		if code != 403 || strings.Contains(body, "the-audience") {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
}

func scopesCount(t *testing.T, u *up, origin string) {
	t.Helper()
	var made struct {
		Token string `json:"token"`
	}
	r := u.moltworker("service-token", "create", "ci", "--scopes", "agents:read,debug:read,metrics:read", "--expires", "1d", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &made); err != nil || !strings.HasPrefix(made.Token, "mws_") {
		t.Fatalf("code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	for path, want := range map[string]int{
		"/api/admin/agents": 200, "/debug/version": 200, "/api/admin/secrets": 403, "/api/admin/users": 403, "/_admin/": 403, "/": 403,
		"/debug/gateway-api?path=/healthz": 403, "/metrics": 200,
	} {
		if code, body := get(t, origin+path, "Authorization", "Bearer "+made.Token); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, body := get(t, origin+"/metrics", "X-Forwarded-For", "192.0.2.1"); code != 401 {
		t.Errorf("a stranger behind a front reads the metrics: %d %s", code, body)
	}
	if code, body := get(t, origin+"/metrics", "Accept", "*/*"); code != 200 || !strings.Contains(body, `moltworker_agent_state{agent="main",state="`) || !strings.Contains(body, `moltworker_backup_state{state="ready"} 1`) {
		t.Errorf("a program on this machine reads the metrics: %d %.600s", code, body)
	}
	if r := u.moltworker("service-token", "rm", "ci"); r.code != 0 {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	if code, _ := get(t, origin+"/api/admin/agents", "Authorization", "Bearer "+made.Token); code != 401 {
		t.Errorf("a token that was removed: %d", code)
	}
}

func debugLooksInside(t *testing.T, u *up, origin string) {
	t.Helper()
	var made struct {
		Token string `json:"token"`
	}
	r := u.moltworker("service-token", "create", "all", "--scopes", "*", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &made); err != nil {
		t.Fatalf("code %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	for path, want := range map[string]string{
		"/debug/processes": "openclaw", "/debug/version": "2026.", "/debug/env": "has_", "/debug/cli?cmd=--version": "2026.",
		"/debug/gateway-api?path=/healthz": "live", "/debug/container-config": "gateway",
	} {
		code, body := get(t, origin+path, "Authorization", "Bearer "+made.Token)
		if code != 200 || !strings.Contains(body, want) || strings.Contains(body, "hush") {
			t.Errorf("%s: %d %.600s", path, code, body)
		}
	}
}

// freeAddress is an address of this machine where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// get asks as a program does, with header fields (name, value, ...), and follows
// nothing.
func get(t *testing.T, address string, fields ...string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(said)
}
