package edge

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestTokenInTheURLBecomesACookie(t *testing.T) {
	w := serve(t)
	for target, want := range map[string]string{
		"/?token=" + testToken:                              "/#token=" + testToken,
		"/chat?session=a%20b&token=" + testToken + "&x":     "/chat?session=a%20b&x#token=" + testToken,
		"//evil.example/x?token=" + testToken:               "/evil.example/x#token=" + testToken,
		"/%2f/evil.example?token=" + testToken:              "/%2f/evil.example#token=" + testToken,
		"///%5cevil.example/?token=" + testToken + "&token": "/%5cevil.example/#token=" + testToken,
	} {
		resp := w.raw(t, "GET "+target+" HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n")
		if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != want {
			t.Errorf("%s: %s to %s", target, resp.Status, resp.Header.Get("Location"))
		}
		if h := resp.Header; h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" || len(resp.Cookies()) != 1 {
			t.Errorf("%s: headers %v", target, h)
		}
	}
	if n := w.main.reached(); n != 0 {
		t.Errorf("%d requests reached the guest", n)
	}
	if strings.Contains(w.logged.String(), testToken) {
		t.Error("the log has the token")
	}
}

func TestRefusals(t *testing.T) {
	w := serve(t)
	bare := func(path string) *http.Request { return mustRequest(t, "GET", "http://"+w.addr+path) }
	resp, body := do(t, browse(bare("/")))
	if resp.StatusCode != 401 || !strings.Contains(body, "<form") || !strings.Contains(body, "moltworker up") {
		t.Errorf("navigation without token: %s %s", resp.Status, body)
	}
	if resp.Header.Get("WWW-Authenticate") != "" {
		t.Error("a navigation is asked for a password by the browser itself")
	}
	resp, body = do(t, bare("/api/x"))
	if resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") == "" || !strings.Contains(body, `"type":"token_missing"`) || !strings.Contains(body, `"remedy"`) {
		t.Errorf("API call without token: %s %s", resp.Status, body)
	}
	_, resp, err := w.dialSocket(t, "/", http.Header{})
	if err == nil || resp.StatusCode != 401 {
		t.Errorf("WebSocket without token: %v", err)
	}
	if resp, body = do(t, bare("/x?token=wrong")); resp.StatusCode != 401 || !strings.Contains(body, "token_wrong") {
		t.Errorf("wrong token: %s %s", resp.Status, body)
	}
	if n := w.main.reached(); n != 0 {
		t.Errorf("%d requests reached the guest", n)
	}
	for range 100 {
		if resp, _ = do(t, bare("/x?token=wrong")); resp.StatusCode == http.StatusTooManyRequests {
			break
		}
	}
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" {
		t.Errorf("after many wrong tokens: %s %v", resp.Status, resp.Header)
	}
}

func TestTokenForm(t *testing.T) {
	w := serve(t)
	post := func(token string, set func(http.Header)) (*http.Response, string) {
		r, _ := http.NewRequest("POST", "http://"+w.addr+tokenPath, strings.NewReader(url.Values{"token": {token}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if set != nil {
			set(r.Header)
		}
		return do(t, browse(r))
	}
	resp, _ := post(" "+testToken+"\n", nil)
	if resp.StatusCode != 303 || resp.Header.Get("Location") != "/#token="+testToken || len(resp.Cookies()) != 1 {
		t.Fatalf("right token: %s %v", resp.Status, resp.Header)
	}
	r := mustRequest(t, "GET", "http://"+w.addr+"/")
	r.AddCookie(resp.Cookies()[0])
	if resp, _ := do(t, r); resp.StatusCode != 200 {
		t.Errorf("with the cookie: %s", resp.Status)
	}
	if resp, body := post("wrong", nil); resp.StatusCode != 401 || !strings.Contains(body, "<form") {
		t.Errorf("wrong token: %s", resp.Status)
	}
	if resp, _ := post(testToken, func(h http.Header) { h.Set("Sec-Fetch-Site", "cross-site") }); resp.StatusCode != 403 {
		t.Errorf("posted by another site: %s", resp.Status)
	}
	if resp, _ := post(testToken, func(h http.Header) { h.Set("Origin", "http://evil.example") }); resp.StatusCode != 403 {
		t.Errorf("posted by another origin: %s", resp.Status)
	}
	if resp, _ := post(strings.Repeat("x", 8<<10), nil); resp.StatusCode != 401 {
		t.Errorf("huge form: %s", resp.Status)
	}
}

// A page of another origin of the same site gets the cookie sent along. It may
// look at nothing it could not look at anyway, but neither act nor connect.
func TestCookieAloneDoesNotActForOtherOrigins(t *testing.T) {
	w := serve(t)
	resp, _ := do(t, browse(mustRequest(t, "GET", "http://"+w.addr+"/?token="+testToken)))
	cookie := resp.Cookies()[0].String()
	cookie, _, _ = strings.Cut(cookie, ";")
	for _, tt := range []struct {
		origin string
		status int
	}{{"http://" + w.addr, 200}, {"", 200}, {"http://second.localhost", 403}, {"null", 403}} {
		r, _ := http.NewRequest("POST", "http://"+w.addr+"/echo", strings.NewReader("x"))
		r.Header.Set("Cookie", cookie)
		if tt.origin != "" {
			r.Header.Set("Origin", tt.origin)
		}
		if resp, _ := do(t, r); resp.StatusCode != tt.status {
			t.Errorf("POST from %q: %s", tt.origin, resp.Status)
		}
		h := http.Header{"Cookie": {cookie}}
		if tt.origin != "" {
			h.Set("Origin", tt.origin)
		}
		_, resp, err := w.dialSocket(t, "/", h)
		if (err == nil) != (tt.status == 200) {
			t.Errorf("WebSocket from %q: %v %v", tt.origin, err, resp)
		}
	}
	r, _ := http.NewRequest("POST", "http://"+w.addr+"/echo", strings.NewReader("explicit"))
	r.Header.Set("Authorization", "Bearer "+testToken)
	r.Header.Set("Origin", "http://second.localhost")
	if resp, body := do(t, r); resp.StatusCode != 200 || body != "explicit" {
		t.Errorf("explicit token from another origin: %s", resp.Status)
	}
}
