package aigateway

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/test/fakemodel"
)

// The upstream gets the real key and nothing that came from the guest's
// credentials or from the way here.
func TestUpstreamGetsTheRealKeyOnly(t *testing.T) {
	r := newRig(t, func(c *fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{Text: "ok"} })
	for i, a := range apis {
		req := a.request(r.url, true)
		for _, h := range []string{"Cookie", "Proxy-Authorization", "X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via",
			"Te", "Upgrade", "Api-Key", "X-Goog-Api-Key", "Cf-Aig-Authorization", "Traceparent"} {
			req.Header.Set(h, placeholder)
		}
		req.Header.Set("Anthropic-Beta", "beta-1")
		req.Header.Set("Openai-Organization", "org")
		req.Header.Set("X-Stainless-Lang", "js")
		req.Header.Set("Connection", "X-Stainless-Lang")
		req.URL.RawQuery = "beta=true"
		if got := r.do(req); got.StatusCode != 200 {
			t.Fatalf("%s: %d %s", a.name, got.StatusCode, got.body)
		}
		c := r.lastCall()
		if all := fmt.Sprint(c.Header); strings.Contains(all, placeholder) {
			t.Errorf("%s: the guest's own got through: %s", a.name, all)
		}
		want := [2]string{anthropicKey, "Bearer " + openaiKey}[i]
		if got := c.Header.Get(a.key); got != want {
			t.Errorf("%s: key %q", a.name, got)
		}
		if other := c.Header.Get(apis[1-i].key); other != "" {
			t.Errorf("%s: the other API's key header: %q", a.name, other)
		}
		if c.Header.Get("Anthropic-Beta") != "beta-1" || c.Query != "beta=true" {
			t.Errorf("%s: lost what belongs to the API: %v %q", a.name, c.Header, c.Query)
		}
		if c.Header.Get("Openai-Organization") != "" {
			t.Errorf("%s: an agent chose whose account is used: %v", a.name, c.Header)
		}
		if c.Header.Get("X-Stainless-Lang") != "" || c.Header.Get("X-Idempotency-Key") != "" {
			t.Errorf("%s: hop-by-hop header passed: %v", a.name, c.Header)
		}
		if c.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("%s: accept-encoding %q", a.name, c.Header.Get("Accept-Encoding"))
		}
	}
}

// However the upstream or the network misbehaves, the key is in no answer and
// in no log.
func TestKeyNeverLeaks(t *testing.T) {
	echo := func(status int, contentType, format string) func(*fakemodel.Call) fakemodel.Reply {
		return func(c *fakemodel.Call) fakemodel.Reply {
			key := strings.TrimPrefix(c.Header.Get("X-Api-Key")+c.Header.Get("Authorization"), "Bearer ")
			return fakemodel.Reply{Status: status, Body: []byte(fmt.Sprintf(format, key)), RetryAfter: key, ChunkSize: 5,
				Header: http.Header{"Content-Type": {contentType}, "X-Request-Id": {"id-" + key}, "Location": {"https://evil.example/" + key}}}
		}
	}
	tests := map[string]func(*fakemodel.Call) fakemodel.Reply{
		"error body":           echo(401, "application/json", `{"error":{"message":"bad key %s"}}`),
		"error page":           echo(500, "text/html", `<p>%s`),
		"redirect":             echo(307, "text/plain", `%s`),
		"answer":               echo(200, "application/json", `{"content":"%s"}`),
		"stream":               echo(200, "text/event-stream", "data: %s\n\n"),
		"echo of the headers":  func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{EchoHeader: true} },
		"echo, small chunks":   func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{EchoHeader: true, ChunkSize: 3} },
		"reset":                func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{Cut: fakemodel.CutReset} },
		"nothing but trouble ": func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{Cut: fakemodel.CutAbort, AfterBytes: 50} },
	}
	for name, reply := range tests {
		for _, a := range apis {
			for _, stream := range []bool{true, false} {
				r := newRig(t, reply)
				got := r.do(a.request(r.url, stream))
				eventually(t, "the call is logged", func() bool { return strings.Contains(r.log.String(), "model call") })
				all := fmt.Sprint(got.body, got.Header, r.log.String())
				for _, key := range []string{anthropicKey, openaiKey} {
					for _, part := range []string{key, key[:20], key[len(key)-20:]} {
						if strings.Contains(all, part) {
							t.Errorf("%s, %s, stream %v: the key leaks: %s", name, a.name, stream, all)
						}
					}
				}
			}
		}
	}
}

// A broken transport may name what it was sent; the log must not repeat it.
func TestKeyIsTakenOutOfErrors(t *testing.T) {
	r := newRig(t, says(""), func(o *Options) {
		o.Transport = roundTripFunc(func(q *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("%w: cannot send %v", errBroken, q.Header)
		})
	})
	for _, a := range apis {
		r.do(a.request(r.url, true))
	}
	eventually(t, "both calls are logged", func() bool { return strings.Count(r.log.String(), "broken on purpose") == 2 })
	for _, key := range []string{anthropicKey, openaiKey} {
		if strings.Contains(r.log.String(), key) {
			t.Errorf("the key is in the log: %s", r.log.String())
		}
	}
}

// A redirect must not carry the key to another server.
func TestRedirectsAreNotFollowed(t *testing.T) {
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		t.Errorf("the thief was called with %v", q.Header)
	}))
	defer thief.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, a := range apis {
			r := newRig(t, func(*fakemodel.Call) fakemodel.Reply {
				return fakemodel.Reply{Status: status, Body: []byte("moved"), Header: http.Header{"Location": {thief.URL + "/v1/messages"}}}
			})
			got := r.do(a.request(r.url, true))
			if got.StatusCode != 502 || strings.Contains(got.body, thief.URL) || got.Header.Get("Location") != "" {
				t.Errorf("%s %d: %d %v %s", a.name, status, got.StatusCode, got.Header, got.body)
			}
		}
	}
}

// A key set while the gateway runs counts from the next call on.
func TestKeyCountsAtOnce(t *testing.T) {
	r := newRig(t, says("ok"))
	r.secrets.put("ANTHROPIC_API_KEY", "")
	if got := r.do(apis[0].request(r.url, true)); got.StatusCode != 401 || r.gw.Ready("anthropic") {
		t.Fatalf("%d, ready %v", got.StatusCode, r.gw.Ready("anthropic"))
	}
	r.secrets.put("ANTHROPIC_API_KEY", anthropicKey+"-2\n")
	if got := r.do(apis[0].request(r.url, true)); got.StatusCode != 200 || !r.gw.Ready("anthropic") {
		t.Fatalf("%d, ready %v", got.StatusCode, r.gw.Ready("anthropic"))
	}
	if got := r.lastCall().Header.Get("X-Api-Key"); got != anthropicKey+"-2" {
		t.Errorf("key %q", got)
	}
}

func FuzzKeyGuard(f *testing.F) {
	f.Add([]byte("data: s sk sk-a sk-ant-api03-THE"), uint8(3), uint8(7))
	f.Add([]byte("xx"+anthropicKey+"yy"), uint8(1), uint8(2))
	f.Add([]byte(strings.Repeat("sk-ant-", 20)), uint8(5), uint8(1))
	f.Fuzz(func(t *testing.T, doc []byte, a, b uint8) {
		g := newKeyGuard(anthropicKey)
		var out []byte
		for rest, i := doc, 0; len(rest) > 0; i++ {
			n := min(len(rest), 1+int([2]uint8{a, b}[i%2]))
			p, err := g.pass(append([]byte(nil), rest[:n]...))
			if err != nil {
				if !strings.Contains(string(doc), anthropicKey[:32]) {
					t.Fatalf("honest answer stopped: %q", doc)
				}
				return
			}
			out, rest = append(out, p...), rest[n:]
		}
		out = append(out, g.rest()...)
		if string(out) != string(doc) || strings.Contains(string(out), anthropicKey[:32]) {
			t.Fatalf("%q became %q", doc, out)
		}
	})
}
