package edge

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestClientAddress(t *testing.T) {
	e := &Edge{opts: Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}}}
	tests := []struct {
		peer, forwarded, want string
	}{
		{"198.51.100.1:999", "", "198.51.100.1"},
		{"198.51.100.1:999", "203.0.113.9", "198.51.100.1"}, // not trusted, not believed
		{"10.0.0.1:999", "203.0.113.9", "203.0.113.9"},
		{"10.0.0.1:999", "127.0.0.1, 203.0.113.9", "203.0.113.9"}, // the left part is the client's claim
		{"10.0.0.1:999", "203.0.113.9, 10.2.2.2", "203.0.113.9"},
		{"10.0.0.1:999", "10.9.9.9", "10.9.9.9"},
		{"10.0.0.1:999", "203.0.113.9:4711", "203.0.113.9"},
		{"10.0.0.1:999", "nonsense", "10.0.0.1"},
		{"10.0.0.1:999", "203.0.113.9, nonsense", "10.0.0.1"},
		{"10.0.0.1:999", "", "10.0.0.1"},
		{"[::1]:999", "2001:db8::1", "2001:db8::1"},
		{"[::ffff:198.51.100.1]:999", "", "198.51.100.1"},
		{"[fe80::1%eth0]:999", "", "fe80::1"},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tt.peer
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		if got := e.clientAddr(r).String(); got != tt.want {
			t.Errorf("%s forwarding %q: %s, want %s", tt.peer, tt.forwarded, got, tt.want)
		}
	}
}

// What clients say about themselves never reaches the gateway, by HTTP or by
// WebSocket; what we know does.
func TestForwardedHeaders(t *testing.T) {
	claims := http.Header{
		"Forwarded": {"for=127.0.0.1"}, "X-Forwarded-For": {"127.0.0.1", "10.0.0.1"}, "X-Forwarded-Host": {"evil"},
		"X-Forwarded-Proto": {"gopher"}, "X-Forwarded-Port": {"1"}, "X-Forwarded-User": {"root"}, "X-Real-Ip": {"127.0.0.1"},
		"x-openclaw-scopes": {"operator.admin"}, "X-Openclaw-Token": {"x"}, "Tailscale-User-Login": {"root@example.com"},
		"Cf-Access-Jwt-Assertion": {"jwt"}, "X-Moltworker-Token": {testToken},
		"Cookie": {"moltworker=abc; theirs=1"}, "X-Openclaw-Model": {"kept"}, "Accept-Language": {"de"},
	}
	check := func(t *testing.T, w *world, kind string) {
		got := w.main.last(t)
		for name, want := range map[string]string{
			"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "second.localhost",
			"Cookie": "theirs=1", "X-Openclaw-Model": "kept", "Accept-Language": "de", "Authorization": "Bearer " + testToken,
			"Forwarded": "", "X-Forwarded-Port": "", "X-Forwarded-User": "", "X-Real-Ip": "", "X-Openclaw-Scopes": "",
			"X-Openclaw-Token": "", "Tailscale-User-Login": "", "Cf-Access-Jwt-Assertion": "", "X-Moltworker-Token": "",
			"Origin": "http://second.localhost",
		} {
			if values := got.Header.Values(name); len(values) > 1 || got.Header.Get(name) != want {
				t.Errorf("%s: gateway saw %s %q, want %q", kind, name, values, want)
			}
		}
		if got.Host != "second.localhost" {
			t.Errorf("%s: Host %q", kind, got.Host)
		}
	}
	w := serve(t)
	w.main = w.second
	for _, kind := range []string{"HTTP", "WebSocket"} {
		r := w.request(t, "GET", "/?a=%41&token="+testToken+"&b=;c", nil)
		r.Host, r.Header = "second.localhost", claims.Clone()
		r.Header.Set("Origin", "http://second.localhost")
		if kind == "WebSocket" {
			r.Header.Set("Connection", "keep-alive, X-Forwarded-For, Upgrade")
			r.Header.Set("Upgrade", "websocket")
			r.Header.Set("Sec-Websocket-Version", "13")
			r.Header.Set("Sec-Websocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		check(t, w, kind)
		if got := w.main.last(t).URL.RawQuery; got != "a=%41&b=;c" {
			t.Errorf("%s: query %q", kind, got)
		}
	}
}

func TestTrustedFrontTellsClientAndScheme(t *testing.T) {
	w := serve(t, func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	r := w.request(t, "GET", "/", nil)
	r.Header.Set("X-Forwarded-For", "8.8.8.8, 203.0.113.9")
	r.Header.Set("X-Forwarded-Proto", "https")
	do(t, r)
	if h := w.main.last(t).Header; h.Get("X-Forwarded-For") != "203.0.113.9" || h.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("gateway saw %v", h)
	}
}

// A cookie lets a browser in; it never becomes the gateway's operator token.
func TestOnlyExplicitTokensTravelOn(t *testing.T) {
	w := serve(t)
	resp, _ := do(t, browse(mustRequest(t, "GET", "http://"+w.addr+"/?token="+testToken)))
	cookie := resp.Cookies()[0]
	for _, tt := range []struct {
		name   string
		set    func(*http.Request)
		bearer string
	}{
		{"cookie", func(r *http.Request) { r.AddCookie(cookie) }, ""},
		{"cookie and device token", func(r *http.Request) { r.AddCookie(cookie); r.Header.Set("Authorization", "Bearer device") }, "Bearer device"},
		{"query", func(r *http.Request) { r.URL.RawQuery = "token=" + testToken }, "Bearer " + testToken},
		{"query and device token", func(r *http.Request) {
			r.URL.RawQuery = "token=" + testToken
			r.Header.Set("Authorization", "Bearer device")
		}, "Bearer device"},
		{"bearer", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+testToken) }, "Bearer " + testToken},
	} {
		r := mustRequest(t, "GET", "http://"+w.addr+"/control-ui-config.json")
		tt.set(r)
		if resp, _ := do(t, r); resp.StatusCode != 200 {
			t.Errorf("%s: %s", tt.name, resp.Status)
			continue
		}
		if got := w.main.last(t).Header.Get("Authorization"); got != tt.bearer {
			t.Errorf("%s: gateway saw %q, want %q", tt.name, got, tt.bearer)
		}
	}
}

func mustRequest(t testing.TB, method, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
