package edge

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestHostMeansAgent(t *testing.T) {
	known, err := newHosts(".Agents.Example.com", "https://bot.example.com:8443/x", "")
	if err != nil {
		t.Fatal(err)
	}
	bare, _ := newHosts("", "", "")
	tests := []struct {
		hosts hosts
		host  string
		agent string // "" when the host is none of ours
	}{
		{known, "localhost", "main"},
		{known, "LocalHost.:8787", "main"},
		{known, "127.0.0.1:8787", "main"},
		{known, "[::1]:8787", "main"},
		{known, "[::1]", "main"},
		{known, "192.168.1.20", "main"},
		{known, "bob.localhost:8787", "bob"},
		{known, "Bob.LOCALHOST", "bob"},
		{known, "main.localhost", "main"},
		{known, "agents.example.com", "main"},
		{known, "bob.agents.example.com", "bob"},
		{known, "bot.example.com", "main"},
		{known, "bot.example.com.:443", "main"},
		{known, "a.b.localhost", ""},
		{known, "a.b.agents.example.com", ""},
		{known, "bob.example.com", ""},
		{known, "evilagents.example.com", ""},
		{known, "localhost.evil.example", ""},
		{known, "127.0.0.1.evil.example", ""},
		{known, "-x.localhost", ""},
		{known, "..localhost", ""},
		{known, ".localhost", ""},
		{known, "bob_1.localhost", ""},
		{known, "", ""},
		{known, ":8787", ""},
		{bare, "localhost", "main"},
		{bare, "bob.localhost", "bob"},
		{bare, "anything", ""},
		{bare, ".", ""},
		{bare, "x.", ""},
	}
	for _, tt := range tests {
		name, ok := tt.hosts.agent(tt.host)
		if !ok {
			name = ""
		}
		if name != tt.agent {
			t.Errorf("%q means %q, want %q", tt.host, name, tt.agent)
		}
	}
}

func TestPublicURLIsChecked(t *testing.T) {
	for _, bad := range []string{"bot.example.com", "ftp://bot.example.com", "https://", "http://a b"} {
		if _, err := newHosts("", bad, ""); err == nil || !strings.Contains(err.Error(), "WORKER_URL") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Whatever the Host header says, it names at most an agent whose name is a DNS
// label, and an outsider's domain names none.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"localhost:1", "[::1%25x]:1", "a.agents.example.com", "a.localhost.", "[", "]:", "xn--a.localhost", "admin.localhost"} {
		f.Add(s)
	}
	h, _ := newHosts("agents.example.com", "https://bot.example.com", "")
	f.Fuzz(func(t *testing.T, host string) {
		name, ok := h.agent(host)
		if ok && name != "" && !isLabel(name) {
			t.Fatalf("%q means agent %q", host, name)
		}
		if name, ok := h.agent("x" + host + ".evil.example"); ok {
			t.Fatalf("an outsider's host means agent %q", name)
		}
	})
}

func guarded(own string) bool {
	to, found := ruleFor(own)
	return found && (to.guard == signedIn || to.guard == scrapers) && to.path != debugPath
}

func TestReservedPathsNeverReachTheGuest(t *testing.T) {
	w := serve(t)
	for _, path := range []string{
		"/_admin", "/_admin/", "/_admin/x", "/_ADMIN/x", "//_admin/", "/./_admin/", "/x/../_admin/", "/_admin;x=1/", "/_admin/..;/", "/x/..;/_admin/", "/x;/../_admin",
		"/%5fadmin/", "/%255fadmin/", "/%2e/_admin", "/_admin%2fx", "/_admin%5cx", `/\_admin`, "/ _admin/",
		"/api/admin", "/api/admin/devices", "//api/admin", "/api//admin", "/API/Admin/x", "/api/./admin", "/api/status/", "/api/_moltworker", "/api/_moltworker/x", "/API/STATUS",
		"/debug", "/debug/env", "/cdp/json/version", "/metrics", "/ai/openai/v1/models",
		"/telegram/webhook", "/slack/events", "/hooks/x", "/v1/acc/gw/anthropic/v1/messages",
		"/_moltworker", "/_moltworker/", "/_moltworker/nothing", "/_moltworker/Token", "/x/%2e%2e/_moltworker/token",
	} {
		head := "GET " + strings.ReplaceAll(path, " ", "%20") + " HTTP/1.1\r\nHost: localhost\r\nX-Moltworker-Token: " + testToken + "\r\n\r\n"
		want := http.StatusNotFound
		if u, err := url.Parse(path); err == nil && guarded(ownPath(u)) {
			want = http.StatusUnauthorized
		}
		if resp := w.raw(t, head); resp.StatusCode != want {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if n := w.main.reached(); n != 0 {
		t.Errorf("%d requests reached the guest", n)
	}
	for _, path := range []string{"/", "/chat", "/v1/chat/completions", "/v1/models", "/api/v1/admin/rpc", "/admin", "/assets/debug.js", "/__openclaw__/x"} {
		if resp, _ := do(t, w.request(t, "GET", path, nil)); resp.StatusCode != http.StatusOK || w.main.last(t).URL.Path != path {
			t.Errorf("%s did not reach the gateway: %s", path, resp.Status)
		}
	}
}

func TestHostsAndAgentsOverHTTP(t *testing.T) {
	w := serve(t)
	for _, tt := range []struct {
		host   string
		status int
		says   string
	}{
		{"main.localhost", 200, ""},
		{"bot.example.com", 200, ""},
		{"evil.example", 421, "MOLTWORKER_BASE_DOMAIN"},
		{"nobody.localhost", 404, "moltworker agent ls"},
	} {
		r := w.request(t, "GET", "/", nil)
		r.Host = tt.host
		resp, body := do(t, r)
		if resp.StatusCode != tt.status || !strings.Contains(body, tt.says) {
			t.Errorf("%s: %s %s", tt.host, resp.Status, body)
		}
	}
	r := w.request(t, "GET", "/hello", nil)
	r.Host = "second.localhost"
	do(t, r)
	if got := w.second.last(t); got.URL.Path != "/hello" || got.Host != "second.localhost" {
		t.Errorf("second saw %s %s", got.Host, got.URL)
	}
}

func TestHealthNeedsNoTokenAndTellsLittle(t *testing.T) {
	w := serve(t)
	for path, want := range map[string]string{
		"/healthz":        `{"ok":true,"status":"live"}`,
		"/readyz":         `{"ready":true}`,
		"/sandbox-health": `{"gateway_port":18789,"service":"moltbot-sandbox","status":"ok"}`,
		"/api/status":     `{"ok":true,"status":"running"}`,
	} {
		r, _ := http.NewRequest("GET", "http://"+w.addr+path, nil)
		r.Host = "probe.invalid"
		if resp, body := do(t, r); resp.StatusCode != 200 || strings.TrimSpace(body) != want {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
		r.Method = "POST"
		if resp, _ := do(t, r); resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %s", path, resp.Status)
		}
	}
}
