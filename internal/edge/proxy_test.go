package edge

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

// Each event reaches the client before the gateway is allowed to send the next.
func TestStreamsAreNotHeldBack(t *testing.T) {
	w := serve(t)
	more, body := io.Pipe()
	resp, err := http.DefaultTransport.RoundTrip(w.request(t, "POST", "/stream", more))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for range 3 {
		if line, err := in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
			t.Fatalf("%q, %v", line, err)
		}
		_, _ = in.ReadString('\n')
		if _, err := body.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	body.Close()
}

func TestLargeBodiesPassBothWays(t *testing.T) {
	w := serve(t)
	size := int64(32 << 20)
	resp, err := http.DefaultTransport.RoundTrip(w.request(t, "POST", "/echo", io.LimitReader(zeros{}, size)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("%d bytes came back, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestHalfAnAnswerNeverLooksWhole(t *testing.T) {
	w := serve(t)
	resp, err := http.DefaultTransport.RoundTrip(w.request(t, "GET", "/broken", nil))
	if err != nil {
		return // cut before the header: as good
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("read %q without an error", body)
	}
}

func TestGatewayThatDistrustsUs(t *testing.T) {
	w := serve(t)
	resp, body := do(t, w.request(t, "GET", "/misattributed", nil))
	if resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, "moltworker agent restart main") {
		t.Errorf("%s: %s", resp.Status, body)
	}
	if log := w.logged.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "trustedProxies") {
		t.Errorf("the log is quiet: %s", log)
	}
	if _, resp, err := w.dialSocket(t, "/misattributed", nil); err == nil || resp.StatusCode != http.StatusBadGateway {
		t.Errorf("WebSocket: %v", err)
	}
	if resp, body := do(t, w.request(t, "GET", "/forbidden", nil)); resp.StatusCode != 403 || !strings.HasSuffix(body, `o"}}`) || len(body) < 6000 {
		t.Errorf("another refusal was changed: %s, %d bytes", resp.Status, len(body))
	}
}

func TestGatewayHeadersAreLeftAlone(t *testing.T) {
	w := serve(t)
	resp, body := do(t, w.request(t, "GET", "/x", nil))
	if got := resp.Header.Get("Content-Security-Policy"); got != "default-src 'self'; script-src 'self' 'sha256-x'" {
		t.Errorf("policy %q", got)
	}
	if c := resp.Cookies(); len(c) != 1 || c[0].Name != "theirs" {
		t.Errorf("cookies %v: the guest may not set ours", c)
	}
	if strings.Contains(body, scriptPath) {
		t.Error("a script's request got the page's addition")
	}
}

func TestPageGetsTheScript(t *testing.T) {
	w := serve(t)
	resp, body := do(t, browse(w.request(t, "GET", "/chat", nil)))
	if !strings.HasSuffix(body, scriptTag) || resp.ContentLength != int64(len(body)) {
		t.Errorf("%d of %d bytes: %s", len(body), resp.ContentLength, body)
	}
	if w.main.last(t).Header.Get("Accept-Encoding") != "" {
		t.Error("the gateway was offered compression")
	}
	for host, want := range map[string]string{"localhost": `var suffix = "";`, "second.localhost": `var suffix = " --agent second";`} {
		r := mustRequest(t, "GET", "http://"+w.addr+scriptPath)
		r.Host = host
		if resp, body := do(t, r); resp.StatusCode != 200 || !strings.Contains(body, want) || strings.Contains(body, "%!") {
			t.Errorf("%s: %s %.200s", host, resp.Status, body)
		}
	}
}

func TestUpgradesToOtherProtocolsAreNotOffered(t *testing.T) {
	w := serve(t)
	r := w.request(t, "GET", "/", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "tcp")
	do(t, r)
	if h := w.main.last(t).Header; h.Get("Upgrade") != "" {
		t.Errorf("gateway saw %v", h)
	}
}

func TestGatewayThatDoesNotAnswer(t *testing.T) {
	w := serve(t)
	w.main.dialErr = errors.New("link lost")
	resp, body := do(t, w.request(t, "GET", "/", nil))
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(body, "gateway_unreachable") {
		t.Errorf("%s: %s", resp.Status, body)
	}
	if strings.Contains(body, "link lost") {
		t.Error("an inner error is told to the client")
	}
}

func TestNotReady(t *testing.T) {
	w := serve(t, func(o *Options) { o.Limits.WaitCall = time.Millisecond })
	for _, tt := range []struct {
		set  func(*agent.Status)
		page []string
		json []string
	}{
		{func(s *agent.Status) {
			s.State, s.Reason, s.Attempt = agent.StateBooting, "loading OpenClaw", 2
			s.Error = "the <b>last</b> one"
			s.Phases = []agent.Phase{{Name: "sandbox", Label: "Making the sandbox", Started: time.Now(), Ended: time.Now()}, {Name: "gateway", Label: "Loading OpenClaw", Started: time.Now()}}
		}, []string{"Starting main", "Loading OpenClaw", "attempt 2", "the &lt;b&gt;last&lt;/b&gt; one", "data-events", "http-equiv=\"refresh\""},
			[]string{`"state":"booting"`, `"type":"agent_not_ready"`, `"phases":[{"name":"sandbox"`, `"agent":"main"`}},
		{func(s *agent.Status) {
			s.State, s.Error, s.Remedy = agent.StateFailed, "no key for the model", "Set one with `moltworker secret put ANTHROPIC_API_KEY`."
		}, []string{"main needs your help", "no key for the model", "<code>moltworker secret put ANTHROPIC_API_KEY</code>"},
			[]string{`"type":"agent_failed"`, `no key for the model`, `"remedy":"Set one with`}},
		{func(s *agent.Status) { *s = agent.Status{Agent: "main", State: agent.StateSuspending} },
			[]string{"Waking main", "finishing its way to sleep", `class="bar"`}, []string{`"state":"suspending"`, `"type":"agent_not_ready"`}},
		{func(s *agent.Status) { *s = agent.Status{Agent: "main", State: agent.StateAsleep} },
			[]string{"Waking main", "is asleep and is being woken now"}, []string{`"state":"asleep"`, `"type":"agent_not_ready"`}},
		{func(s *agent.Status) {
			*s = agent.Status{Agent: "main", State: agent.StateWaking, Reason: "reading its image", Phases: []agent.Phase{{Name: "restore", Label: "Reading its memory", Started: time.Now()}}}
		}, []string{"Waking main", "reading its image", `class="active"`}, []string{`"state":"waking"`, `"phases":[{"name":"restore"`}},
		{func(s *agent.Status) { *s = agent.Status{Agent: "main", State: agent.StateStopped} },
			[]string{"main is stopped", "moltworker agent restart main"}, []string{`"type":"agent_stopped"`}},
	} {
		w.main.stuck = true
		w.main.set(tt.set)
		resp, page := do(t, browse(w.request(t, "GET", "/", nil)))
		contains(t, "page", page, tt.page...)
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %v", resp.Status, resp.Header)
		}
		resp, body := do(t, w.request(t, "GET", "/api/x", nil))
		contains(t, "JSON", body, tt.json...)
		if resp.StatusCode != 503 {
			t.Errorf("%s", resp.Status)
		}
		if _, resp, err := w.dialSocket(t, "/", nil); err == nil || resp.StatusCode != 503 {
			t.Errorf("WebSocket: %v", err)
		}
	}
}

func contains(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %q: %s", what, want, text)
		}
	}
}

func TestCallsWaitForABootingAgent(t *testing.T) {
	w := serve(t)
	w.main.set(func(s *agent.Status) { s.State = agent.StateBooting })
	status := make(chan int, 2)
	for _, ws := range []bool{false, true} {
		go func() {
			if ws {
				_, resp, _ := w.dialSocket(t, "/", nil)
				status <- resp.StatusCode
				return
			}
			resp, err := http.DefaultTransport.RoundTrip(w.request(t, "GET", "/api/x", nil))
			if err != nil {
				status <- 0
				return
			}
			resp.Body.Close()
			status <- resp.StatusCode
		}()
	}
	until(t, "both wait", func() bool { return w.main.watching() == 2 })
	w.main.set(func(s *agent.Status) { s.State = agent.StateAwake })
	if a, b := <-status, <-status; a+b != 101+200 {
		t.Errorf("%d and %d", a, b)
	}
}

func (f *fakeAgent) watching() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watchers)
}

func TestEventsFollowTheBoot(t *testing.T) {
	w := serve(t)
	w.main.set(func(s *agent.Status) { s.State, s.Reason = agent.StateBooting, "making the sandbox" })
	resp, err := http.DefaultTransport.RoundTrip(w.request(t, "GET", eventsPath, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	next := func(wants ...string) {
		t.Helper()
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		contains(t, "event", line, append(wants, "data: {")...)
		_, _ = in.ReadString('\n')
	}
	next(`"state":"booting"`, "making the sandbox")
	w.main.set(func(s *agent.Status) { s.Reason = "loading </script>" })
	next(`loading `)
	w.main.set(func(s *agent.Status) { s.State = agent.StateAwake })
	next(`"state":"awake"`)
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("the stream goes on: %q, %v", rest, err)
	}
	bare := mustRequest(t, "GET", "http://"+w.addr+eventsPath)
	if resp, _ := do(t, bare); resp.StatusCode != 401 {
		t.Errorf("events without a token: %s", resp.Status)
	}
}

// The policy names style and script by hash: what the template puts out must be
// exactly what was hashed, or browsers drop it.
func TestPageKeepsItsOwnPolicy(t *testing.T) {
	w := serve(t)
	w.main.set(func(s *agent.Status) { s.State = agent.StateBooting })
	resp, page := do(t, browse(w.request(t, "GET", "/", nil)))
	contains(t, "page", page, "<style>"+pageStyle+"</style>", "<script>"+bootScript+"</script>")
	contains(t, "policy", resp.Header.Get("Content-Security-Policy"), cspHash(pageStyle), cspHash(bootScript), "default-src 'none'", "frame-ancestors 'none'")
	for _, external := range []string{"http://", "https://", "src="} {
		if strings.Contains(strings.ReplaceAll(page, "http://www.w3.org/2000/svg", ""), external) {
			t.Errorf("the page refers to something outside: %s", external)
		}
	}
}
