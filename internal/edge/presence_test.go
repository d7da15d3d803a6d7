package edge

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/agent"
)

// Only a browser's page that comes back by itself is left outside.
func TestWhoWakesByConnecting(t *testing.T) {
	w := serve(t)
	origin := "http://" + w.addr
	for _, tt := range []struct {
		name   string
		state  agent.State
		header http.Header
		wakes  bool
	}{
		{"a program", agent.StateAsleep, http.Header{}, true},
		{"a page with nobody before it", agent.StateAsleep, http.Header{"Origin": {origin}}, false},
		{"the same, a moment earlier", agent.StateSuspending, http.Header{"Origin": {origin}}, false},
		{"a page with somebody", agent.StateAsleep, http.Header{"Origin": {origin}, "Cookie": {"a=b; moltworker_present=1"}}, true},
		{"a page with nobody before it, awake", agent.StateAwake, http.Header{"Origin": {origin}}, false},
		{"a page while it wakes", agent.StateWaking, http.Header{"Origin": {origin}}, true},
	} {
		w.main.is(tt.state)
		w.main.usedFor()
		tt.header.Set(access.TokenHeader, testToken)
		result := make(chan *http.Response, 1)
		go func() { _, resp, _ := w.dialSocket(t, "/raw", tt.header); result <- resp }()
		if tt.wakes {
			until(t, tt.name+" is waited for", func() bool { return w.main.inUse() == 1 })
			w.main.is(agent.StateAwake)
			if resp := <-result; resp == nil || resp.StatusCode != http.StatusSwitchingProtocols {
				t.Errorf("%s: %v", tt.name, resp)
			}
			if got := w.main.last(t).Header.Get("Cookie"); strings.Contains(got, "moltworker") {
				t.Errorf("%s: the guest saw cookies %q", tt.name, got)
			}
			until(t, "the use is over", func() bool { return w.main.inUse() == 0 })
			continue
		}
		resp := <-result
		if tt.state == agent.StateAwake {
			if resp == nil || resp.StatusCode != http.StatusSwitchingProtocols || w.main.usedFor() != "" {
				t.Errorf("%s: %v", tt.name, resp)
			}
			continue
		}
		if resp == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Fatalf("%s: %v", tt.name, resp)
		}
		var body problemJSON
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Error.Type != "agent_asleep" || body.State != tt.state {
			t.Errorf("%s: %+v, %v", tt.name, body, err)
		}
		if got := w.main.usedFor(); got != "" || w.main.Status().State != tt.state {
			t.Errorf("%s used it for %q", tt.name, got)
		}
	}
}

// What a page fetches by itself is answered without keeping the agent awake.
func TestWhatPagesFetch(t *testing.T) {
	w := serve(t)
	fetch := func(cookie string) *http.Request {
		r := w.request(t, "GET", "/avatar", nil)
		r.Header.Set("Sec-Fetch-Mode", "cors")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		if cookie != "" {
			r.Header.Set("Cookie", cookie)
		}
		return r
	}
	if resp, _ := do(t, fetch("")); resp.StatusCode != 200 || w.main.usedFor() != "" {
		t.Errorf("awake: %s", resp.Status)
	}
	if resp, _ := do(t, fetch("moltworker_present=1")); resp.StatusCode != 200 || w.main.usedFor() != "a request" {
		t.Errorf("awake, somebody is there: %s", resp.Status)
	}
	w.main.is(agent.StateAsleep)
	if resp, body := do(t, fetch("")); resp.StatusCode != 503 || !strings.Contains(body, "agent_asleep") || w.main.usedFor() != "" {
		t.Errorf("asleep: %s %s", resp.Status, body)
	}
}

func TestSomebodyAtThePageWakes(t *testing.T) {
	w := serve(t)
	post := func(change func(*http.Request)) *http.Response {
		r := w.request(t, "POST", wakePath, nil)
		change(r)
		resp, _ := do(t, r)
		return resp
	}
	none := func(*http.Request) {}
	if resp := post(none); resp.StatusCode != 204 || w.main.usedFor() != "" {
		t.Errorf("awake: %s", resp.Status)
	}
	w.main.is(agent.StateAsleep)
	if resp := post(func(r *http.Request) { r.Header.Del(access.TokenHeader) }); resp.StatusCode != 401 {
		t.Errorf("a stranger: %s", resp.Status)
	}
	_, grant := signIn(t, w)
	if resp := post(func(r *http.Request) {
		r.Header.Del(access.TokenHeader)
		r.Header.Set("Cookie", grant)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}); resp.StatusCode != 403 {
		t.Errorf("another site's page: %s", resp.Status)
	}
	if resp, _ := do(t, w.request(t, "GET", wakePath, nil)); resp.StatusCode != 404 {
		t.Errorf("GET: %s", resp.Status)
	}
	if got := w.main.usedFor(); got != "" {
		t.Errorf("used for %q", got)
	}
	status := make(chan int, 1)
	go func() { status <- post(none).StatusCode }()
	until(t, "the agent is being woken", func() bool { return w.main.Status().State == agent.StateWaking })
	w.main.is(agent.StateAwake)
	if got := <-status; got != 200 || w.main.inUse() != 0 {
		t.Errorf("%d", got)
	}
}

// signIn returns the Cookie header of a browser that is signed in.
func signIn(t *testing.T, w *world) (*http.Response, string) {
	t.Helper()
	resp, _ := do(t, browse(mustRequest(t, "GET", "http://"+w.addr+"/?token="+testToken)))
	if len(resp.Cookies()) != 1 {
		t.Fatalf("cookies %v", resp.Cookies())
	}
	c := resp.Cookies()[0]
	return resp, c.Name + "=" + c.Value
}
