package edge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/agent"
)

const tickMessage = `{"type":"event","event":"tick"}`

// sleepy makes an edge that knows polls from messages and says ticks soon.
func sleepy(o *Options) {
	o.Passive = func(m []byte) bool { return bytes.HasPrefix(m, []byte("poll")) }
	o.Tick = func(time.Time) []byte { return []byte(tickMessage) }
	o.Limits.Tick = 5 * time.Millisecond
}

// tab is an open page's WebSocket to agent main, on a gateway that echoes.
func (w *world) tab(t testing.TB) *websocket.Conn {
	t.Helper()
	c, _, err := w.dialSocket(t, "/raw", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func say(t testing.TB, c *websocket.Conn, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := c.Write(testCtx(t), websocket.MessageText, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
}

func hear(t testing.TB, c *websocket.Conn) string {
	t.Helper()
	_, message, err := c.Read(testCtx(t))
	if err != nil {
		t.Fatal(err)
	}
	return string(message)
}

// hearTicks waits for n ticks, with nothing among them. The first one says that
// the line knows of the sleep.
func hearTicks(t testing.TB, c *websocket.Conn, n int) {
	t.Helper()
	for range n {
		if got := hear(t, c); got != tickMessage {
			t.Fatalf("heard %q during the sleep", got)
		}
	}
}

// hearAnswers reads what the gateway says, ticks aside.
func hearAnswers(t testing.TB, c *websocket.Conn, wants ...string) {
	t.Helper()
	for _, want := range wants {
		got := hear(t, c)
		for got == tickMessage {
			got = hear(t, c)
		}
		if got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	}
}

func TestOpenTabSleepsAlong(t *testing.T) {
	w := serve(t, sleepy)
	c := w.tab(t)
	echo(t, c, "hello")
	if got := w.main.usedFor(); got != "a connection, a message" {
		t.Errorf("used for %s", got)
	}
	w.main.is(agent.StateSuspending)
	hearTicks(t, c, 1)
	w.main.is(agent.StateAsleep)
	hearTicks(t, c, 3)
	say(t, c, "poll 1", "poll 2")
	hearTicks(t, c, 3)
	w.main.is(agent.StateAwake) // for another reason, such as a cron job
	hearAnswers(t, c, "poll 1", "poll 2")
	echo(t, c, "poll 3")
	if got := w.main.usedFor(); got != "" || w.main.inUse() != 0 {
		t.Errorf("an open tab was %q", got)
	}
}

func TestMessageWakes(t *testing.T) {
	w := serve(t, sleepy)
	c := w.tab(t)
	for range 3 { // sleeps
		w.main.is(agent.StateAsleep)
		hearTicks(t, c, 1)
		w.main.usedFor()
		say(t, c, "poll 1", "poll 2", "do it", "poll 3", "and more")
		until(t, "the agent is being woken", func() bool { return w.main.Status().State == agent.StateWaking })
		hearTicks(t, c, 2)
		w.main.is(agent.StateAwake)
		hearAnswers(t, c, "poll 1", "poll 2", "do it", "poll 3", "and more")
		until(t, "nothing is in use", func() bool { return w.main.inUse() == 0 })
		if got := w.main.usedFor(); got != "a message, a message" {
			t.Errorf("used for %q", got)
		}
	}
}

func TestTabsOfASleepingAgent(t *testing.T) {
	const tabs = 200
	w := serve(t, quiet, sleepy, func(o *Options) { o.Limits.Tick = 50 * time.Millisecond })
	var open []*websocket.Conn
	for range tabs {
		open = append(open, w.tab(t))
	}
	w.main.usedFor()
	w.main.is(agent.StateAsleep)
	all := func(do func(i int, c *websocket.Conn)) {
		var tabs sync.WaitGroup
		for i, c := range open {
			tabs.Go(func() { do(i, c) })
		}
		tabs.Wait()
	}
	all(func(i int, c *websocket.Conn) { hearTicks(t, c, 2); say(t, c, fmt.Sprint("poll ", i)) })
	if got := w.main.usedFor(); got != "" {
		t.Errorf("tabs were %q", got)
	}
	say(t, open[17], "do it")
	until(t, "the agent is being woken", func() bool { return w.main.Status().State == agent.StateWaking })
	w.main.is(agent.StateAwake)
	all(func(i int, c *websocket.Conn) { hearAnswers(t, c, fmt.Sprint("poll ", i)) })
	hearAnswers(t, open[17], "do it")
	if got := w.main.usedFor(); got != "a message" {
		t.Errorf("used for %q", got)
	}
}

func TestWakeThatFailsClosesTheLine(t *testing.T) {
	for name, tt := range map[string]struct {
		patience time.Duration
		message  bool
		after    func(*fakeAgent)
		code     websocket.StatusCode
		reason   string
	}{
		"failed":         {time.Minute, true, func(f *fakeAgent) { fail(f) }, 1013, "agent main is failed: no room on the disk"},
		"failed unasked": {time.Minute, false, func(f *fakeAgent) { fail(f) }, 1013, "agent main is failed: no room on the disk"},
		"stopped":        {time.Minute, false, func(f *fakeAgent) { f.is(agent.StateStopped) }, 1013, "agent main is stopped: see `moltworker agent ls`"},
		"too slow":       {time.Millisecond, true, func(*fakeAgent) {}, 1013, "agent main did not wake in time: try again"},
		"booted anew":    {time.Minute, true, func(f *fakeAgent) { f.is(agent.StateBooting) }, 1012, "agent main is starting anew: connect again"},
	} {
		w := serve(t, sleepy, func(o *Options) { o.Limits.WaitCall = tt.patience })
		c := w.tab(t)
		w.main.is(agent.StateAsleep)
		hearTicks(t, c, 1)
		if tt.message {
			say(t, c, "do it")
			until(t, "the agent is being woken", func() bool { return w.main.Status().State == agent.StateWaking })
		}
		tt.after(w.main)
		var closed websocket.CloseError
		var err error
		for err == nil {
			_, _, err = c.Read(testCtx(t))
		}
		if !errors.As(err, &closed) || closed.Code != tt.code || closed.Reason != tt.reason {
			t.Errorf("%s: closed by %v", name, err)
		}
		until(t, name+": the place is free", func() bool { return w.socketsOpen("main") == 0 && w.main.inUse() == 0 })
	}
}

func fail(f *fakeAgent) {
	f.set(func(s *agent.Status) { s.State, s.Error = agent.StateFailed, "no room on the disk" })
}

func TestTooMuchForASleepingAgent(t *testing.T) {
	w := serve(t, sleepy)
	for _, message := range []string{"poll", "poll " + strings.Repeat("x", maxPassive-5)} {
		w.main.is(agent.StateAwake)
		c := w.tab(t)
		w.main.usedFor()
		w.main.is(agent.StateAsleep)
		hearTicks(t, c, 1)
		for range maxKeptMessages + 1 {
			if c.Write(testCtx(t), websocket.MessageText, []byte(message)) != nil {
				break
			}
		}
		var err error
		for err == nil {
			_, _, err = c.Read(testCtx(t))
		}
		if websocket.CloseStatus(err) != closeTryLater {
			t.Errorf("closed by %v", err)
		}
		if got := w.main.usedFor(); got != "" {
			t.Errorf("used for %s", got)
		}
	}
}

// frame makes a client's frame.
func clientFrame(opcode byte, fin bool, payload string) []byte {
	frame, mask := []byte(part(opcode, fin, payload)), []byte{1, 2, 3, 4}
	h, _ := parseHead(frame)
	masked := append(bytes.Clone(frame[:h.size]), mask...)
	masked[1] |= 0x80
	for i, b := range frame[h.size:] {
		masked = append(masked, b^mask[i&3])
	}
	return masked
}

// bareTab is a tab of which every byte is the test's.
func (w *world) bareTab(t testing.TB) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "GET /raw?token=%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", testToken)
	in := bufio.NewReader(conn)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
	return conn, in
}

func TestControlFramesDuringTheSleep(t *testing.T) {
	w := serve(t, sleepy)
	conn, in := w.bareTab(t)
	w.main.usedFor()
	w.main.is(agent.StateAsleep)
	next := func() []byte {
		t.Helper()
		for {
			h, err := peekHead(in)
			if err != nil {
				t.Fatal(err)
			}
			frame := make([]byte, h.size+int(h.length))
			if _, err := io.ReadFull(in, frame); err != nil {
				t.Fatal(err)
			}
			if string(frame) != text(tickMessage) {
				return frame
			}
		}
	}
	// Ticks are among them, which says that frames stay whole.
	h, err := peekHead(in)
	if err != nil || h.opcode() != opText {
		t.Fatalf("no tick: %v", err)
	}
	_, _ = conn.Write(clientFrame(opPong, true, "nobody asked"))
	for i := range 10 {
		_, _ = conn.Write(clientFrame(opPing, true, fmt.Sprint(i)))
		if got := next(); string(got) != string(serverFrame(opPong, []byte(fmt.Sprint(i)))) {
			t.Fatalf("answer to a ping: %q", got)
		}
	}
	_, _ = conn.Write(clientFrame(opClose, true, "\x03\xe9bye"))
	if got := next(); string(got) != closing(1001, "bye") {
		t.Errorf("answer to a close: %q", got)
	}
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("after the close: %q, %v", rest, err)
	}
	conn.Close()
	<-w.main.ended // the gateway's end is closed, too
	until(t, "the place is free", func() bool { return w.socketsOpen("main") == 0 })
	if got := w.main.usedFor(); got != "" {
		t.Errorf("used for %q", got)
	}
}

func TestMessageInFragmentsWakesOnceAndStaysWhole(t *testing.T) {
	w := serve(t, sleepy)
	conn, in := w.bareTab(t)
	w.main.usedFor()
	w.main.is(agent.StateAsleep)
	if _, err := peekHead(in); err != nil { // a tick
		t.Fatal(err)
	}
	_, _ = conn.Write(clientFrame(opText, false, "poll"))
	until(t, "the agent is being woken", func() bool { return w.main.Status().State == agent.StateWaking })
	w.main.is(agent.StateAwake)
	_, _ = conn.Write(clientFrame(opContinuation, false, " and "))
	_, _ = conn.Write(clientFrame(opPing, true, "between"))
	if w.main.inUse() != 1 {
		t.Error("the agent may fall asleep within a message")
	}
	_, _ = conn.Write(clientFrame(opContinuation, true, "more"))
	var got []byte
	for !bytes.HasSuffix(got, []byte(text("poll and more"))) {
		b, err := in.ReadByte()
		if err != nil {
			t.Fatalf("%q, %v", got, err)
		}
		got = append(got, b)
	}
	until(t, "nothing is in use", func() bool { return w.main.inUse() == 0 })
	if got := w.main.usedFor(); got != "a message" {
		t.Errorf("used for %q", got)
	}
}

// A write that waits for a sleeping peer is no stall; from its wake on it is.
func TestStallGuardKnowsSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		guard := &stallGuard{Conn: near, limit: time.Minute}
		failed := make(chan time.Time, 1)
		write := func() { _, _ = guard.Write([]byte("x")); failed <- time.Now() }
		start := time.Now()
		go write()
		time.Sleep(30 * time.Second)
		guard.pause()
		time.Sleep(24 * time.Hour)
		guard.resume()
		if took := (<-failed).Sub(start); took != 24*time.Hour+90*time.Second {
			t.Errorf("failed after %s", took)
		}
		guard.pause()
		go write()
		time.Sleep(24 * time.Hour)
		if _, err := far.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		<-failed
	})
}

func TestRequestsWaitForTheWake(t *testing.T) {
	w := serve(t)
	w.main.is(agent.StateAsleep)
	body := strings.Repeat("every byte ", 100_000)
	answer := make(chan string, 1)
	go func() { _, got := do(t, w.request(t, "POST", "/echo", strings.NewReader(body))); answer <- got }()
	until(t, "the agent is being woken", func() bool { return w.main.Status().State == agent.StateWaking })
	if w.main.reached() != 0 {
		t.Error("the request did not wait")
	}
	// A person gets a page meanwhile, and the waking goes on.
	resp, page := do(t, browse(w.request(t, "GET", "/", nil)))
	if contains(t, "page", page, "Waking main"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	w.main.is(agent.StateAwake)
	if got := <-answer; got != body {
		t.Errorf("%d bytes came back", len(got))
	}
	if resp, _ := do(t, browse(w.request(t, "GET", "/", nil))); resp.StatusCode != 200 {
		t.Errorf("the page after that: %s", resp.Status)
	}
	until(t, "nothing is in use", func() bool { return w.main.inUse() == 0 })
	if got := w.main.usedFor(); got != "a request, a request, a request" {
		t.Errorf("used for %q", got)
	}
}

func TestAskingForHealthWakesNobody(t *testing.T) {
	w := serve(t)
	w.main.is(agent.StateAsleep)
	for path, want := range map[string]string{"/healthz": `"status":"live"`, "/readyz": `"ready":true`, "/api/status": `"status":"running"`, "/sandbox-health": `"ok"`} {
		if resp, body := do(t, mustRequest(t, "GET", "http://"+w.addr+path)); resp.StatusCode != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
	if got := w.main.usedFor(); got != "" || w.main.Status().State != agent.StateAsleep {
		t.Errorf("used for %q", got)
	}
}

// The clock of a wait runs from where the waiting begins.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		p := &patience{parent: parent, limit: time.Minute}
		time.Sleep(time.Hour)
		if p.Err() != nil {
			t.Fatal("over before it began")
		}
		start := time.Now()
		child, stop := context.WithCancel(p)
		defer stop()
		<-child.Done()
		if took := time.Since(start); took != time.Minute || !errors.Is(p.Err(), context.DeadlineExceeded) || context.Cause(child) != context.DeadlineExceeded {
			t.Errorf("%s, %v", took, p.Err())
		}
		p = &patience{parent: parent, limit: time.Minute}
		cancel()
		if <-p.Done(); !errors.Is(p.Err(), context.Canceled) {
			t.Errorf("%v", p.Err())
		}
		p.over()
	})
}
