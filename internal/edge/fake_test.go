package edge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/agent"
)

const (
	testToken     = "correct-horse-battery-staple"
	testRequestID = "0b0a7c53-94d4-4f5e-9f9b-0a4b8c1d2e3f"
)

// fakeAgent is a Backend whose gateway is a real HTTP server, as strict about
// forwarded headers as OpenClaw's. What it was asked is kept.
type fakeAgent struct {
	addr string

	mu       sync.Mutex // guards what follows
	status   agent.Status
	watchers map[chan agent.Status]struct{}
	uses     []string // what for, all of them in order
	using    int      // not given back yet
	stuck    bool     // whoever needs the sleeping agent does not wake it by that
	seen     []*http.Request
	dialErr  error
	refuse   string // error code with which connect is refused
	ended    chan error
}

func newFakeAgent(t testing.TB, name string) *fakeAgent {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeAgent{addr: l.Addr().String(), watchers: map[chan agent.Status]struct{}{}, ended: make(chan error, 16)}
	f.status = agent.Status{Agent: name, State: agent.StateAwake, Driver: "fake", Runtime: "2026.9.6"}
	srv := &http.Server{Handler: f}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })
	return f
}

func (f *fakeAgent) DialGateway(ctx context.Context) (net.Conn, error) {
	f.mu.Lock()
	err := f.dialErr
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", f.addr)
}

// Use wakes the agent as agents do: it is waking at once, and awake when the test
// says so.
func (f *fakeAgent) Use(ctx context.Context, what string) (func(), error) {
	f.mu.Lock()
	f.uses = append(f.uses, what)
	f.using++
	asleep, awake := f.status.State == agent.StateAsleep && !f.stuck, f.status.State == agent.StateAwake
	f.mu.Unlock()
	if awake {
		return f.used, nil
	}
	if asleep {
		f.set(func(s *agent.Status) { s.State = agent.StateWaking })
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for s := range f.Watch(ctx) {
		switch s.State {
		case agent.StateAwake:
			return f.used, nil
		case agent.StateFailed, agent.StateStopped:
			f.used()
			return nil, fmt.Errorf("%w: %s", agent.ErrNotAwake, s.Reason)
		}
	}
	f.used()
	return nil, context.Cause(ctx)
}

func (f *fakeAgent) used() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.using--
}

// is puts the agent into a state.
func (f *fakeAgent) is(state agent.State) { f.set(func(s *agent.Status) { s.State = state }) }

// usedFor is what the agent was used for since it was asked last.
func (f *fakeAgent) usedFor() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	uses := f.uses
	f.uses = nil
	return strings.Join(uses, ", ")
}

func (f *fakeAgent) inUse() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.using
}

func (f *fakeAgent) Status() agent.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fakeAgent) Watch(ctx context.Context) <-chan agent.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := make(chan agent.Status, 1)
	ch <- f.status
	f.watchers[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, ch)
		close(ch)
	})
	return ch
}

func (f *fakeAgent) set(change func(*agent.Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.status)
	for ch := range f.watchers {
		select {
		case <-ch:
		default:
		}
		ch <- f.status
	}
}

func (f *fakeAgent) last(t testing.TB) *http.Request {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) == 0 {
		t.Fatal("nothing reached the gateway")
	}
	return f.seen[len(f.seen)-1]
}

func (f *fakeAgent) reached() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.seen)
}

// attributed holds OpenClaw's rule: exactly one forwarded address, of somebody
// else than the machine itself, and no other claims.
func attributed(r *http.Request) bool {
	addr, err := netip.ParseAddr(strings.Join(r.Header.Values("X-Forwarded-For"), ","))
	return err == nil && !addr.IsLoopback() && r.Header.Get("Forwarded") == "" && r.Header.Get("X-Real-Ip") == ""
}

func (f *fakeAgent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen = append(f.seen, r.Clone(context.Background()))
	f.mu.Unlock()
	if !attributed(r) || r.URL.Path == "/misattributed" {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"error":{"type":"proxy_attribution_required","message":"Configure gateway.trustedProxies"}}`)
		return
	}
	switch {
	case isUpgrade(r):
		f.serveSocket(w, r)
	case r.URL.Path == "/stream":
		f.serveStream(w, r)
	case r.URL.Path == "/broken":
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, "half an answer")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case r.URL.Path == "/hostile": // what an agent's page might say to get at the control plane's
		for name, value := range map[string]string{"Cross-Origin-Opener-Policy": "same-origin", "Service-Worker-Allowed": "/",
			"Clear-Site-Data": "*", "Set-Cookie": "moltworker-session=mallory"} {
			w.Header().Set(name, value)
		}
	case r.URL.Path == "/echo":
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	case r.URL.Path == "/forbidden":
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"error":{"type":"forbidden","message":"no `+strings.Repeat("o", 6000)+`"}}`)
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'self'; script-src 'self' 'sha256-x'")
		http.SetCookie(w, &http.Cookie{Name: "moltworker", Value: "evil"})
		http.SetCookie(w, &http.Cookie{Name: "theirs", Value: "1"})
		fmt.Fprintf(w, "<!doctype html><title>OpenClaw</title>%s", r.URL.Path)
		if r.URL.Path == "/pairing" { // what OpenClaw's page looks like then
			fmt.Fprint(w, `<section class="login-gate__failure" data-kind="pairing-required"><div class="login-gate__hero">
				<span>Run on the Gateway host</span><code>openclaw devices approve `+testRequestID+`</code></div></section>`)
		}
	}
}

// serveStream sends an event, waits for the test to have seen it (by the next
// byte of the request's body) and sends another.
func (f *fakeAgent) serveStream(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex()
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range 3 {
		fmt.Fprintf(w, "data: %d\n\n", i)
		_ = rc.Flush()
		if _, err := r.Body.Read(make([]byte, 1)); err != nil {
			return
		}
	}
}

// serveSocket speaks the gateway's protocol up to hello-ok and echoes what
// follows. /raw echoes at once; /close waits for the client to end first.
func (f *fakeAgent) serveSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	c.SetReadLimit(64 << 20)
	ctx := r.Context()
	if r.URL.Path != "/raw" && !f.greet(ctx, c) {
		return
	}
	for {
		kind, message, err := c.Read(ctx)
		if err != nil {
			f.ended <- err
			c.CloseNow()
			return
		}
		if c.Write(ctx, kind, message) != nil {
			return
		}
	}
}

func (f *fakeAgent) greet(ctx context.Context, c *websocket.Conn) bool {
	_ = c.Write(ctx, websocket.MessageText, []byte(`{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}`))
	if _, _, err := c.Read(ctx); err != nil {
		return false
	}
	f.mu.Lock()
	refuse := f.refuse
	f.mu.Unlock()
	if refuse == "" {
		_ = c.Write(ctx, websocket.MessageText, []byte(`{"type":"res","id":"r1","ok":true,"payload":{"type":"hello-ok","protocol":4}}`))
		return true
	}
	message := map[string]any{"type": "res", "id": "r1", "ok": false, "error": map[string]any{
		"code": "NOT_PAIRED", "message": "pairing required: device is not approved yet", "retryable": true,
		"details": map[string]any{"code": refuse, "requestId": testRequestID, "reason": "not-paired", "recommendedNextStep": "wait_then_retry"}}}
	text, _ := json.Marshal(message)
	_ = c.Write(ctx, websocket.MessageText, text)
	_ = c.Close(websocket.StatusPolicyViolation, "pairing required: device is not approved yet")
	return false
}

// world is an edge behind a listener with two agents, main and second.
type world struct {
	*Edge
	addr         string
	main, second *fakeAgent
	logged       *safeBuffer
	stop         func() error // ends serving, returns what Serve returned
}

func explainForTest(code, requestID, name string) (string, bool) {
	if code != "PAIRING_REQUIRED" {
		return "", false
	}
	return "This browser is not approved yet: run " + approveCommand(requestID, name) + ".", true
}

func serve(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{main: newFakeAgent(t, "main"), second: newFakeAgent(t, "second"), logged: &safeBuffer{}}
	agents := map[string]*fakeAgent{"main": w.main, "second": w.second}
	opts := Options{
		Lookup: func(name string) (Backend, bool) { a, ok := agents[name]; return a, ok },
		Guard:  access.NewGuard(access.NewTokens(func(string) string { return testToken }, time.Now)),
		Log:    slog.New(slog.NewTextHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Limits: Limits{WaitPage: time.Millisecond, WaitCall: 20 * time.Second},
		// The usual names, and the explanation of one refusal.
		BaseDomain: "agents.example.com", PublicURL: "https://bot.example.com", Explain: explainForTest,
	}
	for _, f := range change {
		f(&opts)
	}
	var err error
	if w.Edge, err = New(opts); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Serve(ctx, l) }()
	w.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = w.stop() })
	return w
}

// request makes a request with the good token in the header.
func (w *world) request(t testing.TB, method, path string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+w.addr+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(access.TokenHeader, testToken)
	return r
}

// do sends a request without following redirects and reads the answer.
func do(t testing.TB, r *http.Request) (*http.Response, string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// raw sends a request's head as it stands and reads the answer's.
func (w *world) raw(t testing.TB, head string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", head, err)
	}
	return resp
}

// browse makes a request look like a browser that loads a page.
func browse(r *http.Request) *http.Request {
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	return r
}

// dialSocket opens a WebSocket through the edge.
func (w *world) dialSocket(t testing.TB, path string, header http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	if header == nil {
		header = http.Header{access.TokenHeader: {testToken}}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, "ws://"+w.addr+path, &websocket.DialOptions{HTTPHeader: header})
	if err == nil {
		c.SetReadLimit(64 << 20)
		t.Cleanup(func() { c.CloseNow() })
	}
	return c, resp, err
}

// until waits for a condition.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func testCtx(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
