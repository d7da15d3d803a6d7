package edge

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func echo(t testing.TB, c *websocket.Conn, text string) {
	t.Helper()
	if err := c.Write(testCtx(t), websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, got, err := c.Read(testCtx(t)); err != nil || string(got) != text {
		t.Fatalf("echo: %q, %v", got, err)
	}
}

// hello goes through the gateway's greeting and returns the answer to connect.
func hello(t testing.TB, c *websocket.Conn) string {
	t.Helper()
	ctx := testCtx(t)
	if _, challenge, err := c.Read(ctx); err != nil || !strings.Contains(string(challenge), "connect.challenge") {
		t.Fatalf("challenge: %q, %v", challenge, err)
	}
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"type":"req","id":"r1","method":"connect"}`)); err != nil {
		t.Fatal(err)
	}
	_, answer, err := c.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func TestSocketSaysHelloThenAnything(t *testing.T) {
	w := serve(t)
	c, _, err := w.dialSocket(t, "/?token="+testToken, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer := hello(t, c); !strings.Contains(answer, "hello-ok") {
		t.Fatalf("connect: %s", answer)
	}
	// After hello nothing is looked at: what reads like a refusal passes.
	echo(t, c, `{"type":"res","ok":false,"error":{"message":"m","details":{"code":"PAIRING_REQUIRED"}}}`)
	for i := range 1000 {
		echo(t, c, fmt.Sprint("frame ", i))
	}
}

func TestLargeMessagesPassBothWays(t *testing.T) {
	w := serve(t)
	c, _, err := w.dialSocket(t, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	hello(t, c)
	big := make([]byte, 25<<20)
	_, _ = rand.Read(big)
	sent := make(chan error, 1)
	go func() { sent <- c.Write(testCtx(t), websocket.MessageBinary, big) }()
	_, got, err := c.Read(testCtx(t))
	if err := errors.Join(err, <-sent); err != nil || !bytes.Equal(got, big) {
		t.Fatalf("25 MiB came back as %d bytes, %v", len(got), err)
	}
}

func TestPairingRefusalIsPutIntoOurWords(t *testing.T) {
	w := serve(t)
	for host, command := range map[string]string{
		"localhost":        "moltworker device approve " + testRequestID + ".",
		"second.localhost": "moltworker device approve " + testRequestID + " --agent second.",
	} {
		w.main.refuse, w.second.refuse = "PAIRING_REQUIRED", "PAIRING_REQUIRED"
		c, _, err := websocket.Dial(testCtx(t), "ws://"+w.addr+"/?token="+testToken, &websocket.DialOptions{Host: host})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		var answer struct {
			ID    string
			OK    *bool
			Error struct {
				Code, Message string
				Details       map[string]any
			}
		}
		if err := json.Unmarshal([]byte(hello(t, c)), &answer); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(answer.Error.Message, command) || answer.ID != "r1" || answer.OK == nil || *answer.OK || answer.Error.Code != "NOT_PAIRED" {
			t.Errorf("%s: %+v", host, answer)
		}
		// OpenClaw's page reads these: by them it keeps waiting.
		if d := answer.Error.Details; d["requestId"] != testRequestID || d["recommendedNextStep"] != "wait_then_retry" || d["code"] != "PAIRING_REQUIRED" {
			t.Errorf("%s: details %v", host, d)
		}
		if !strings.HasSuffix(answer.Error.Message, "[pairing required: device is not approved yet (requestId: "+testRequestID+")]") {
			t.Errorf("%s: message %q", host, answer.Error.Message)
		}
		_, _, err = c.Read(testCtx(t))
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != websocket.StatusPolicyViolation || !strings.Contains(closed.Reason, "moltworker device approve "+testRequestID) {
			t.Errorf("%s: closed by %v", host, err)
		}
	}
}

func TestUnknownRefusalPassesAsItIs(t *testing.T) {
	w := serve(t)
	w.main.refuse = "SOMETHING_NEW"
	c, _, err := w.dialSocket(t, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer := hello(t, c); !strings.Contains(answer, `"message":"pairing required: device is not approved yet"`) {
		t.Errorf("answer %s", answer)
	}
	_, _, err = c.Read(testCtx(t))
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Reason != "pairing required: device is not approved yet" {
		t.Errorf("closed by %v", err)
	}
}

// When the client goes away, the gateway hears of it; when the gateway goes, the
// client does.
func TestEitherEndEndsBoth(t *testing.T) {
	w := serve(t)
	c, _, err := w.dialSocket(t, "/raw", nil)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, c, "x")
	_ = c.Close(websocket.StatusNormalClosure, "bye")
	var closed websocket.CloseError
	if err := <-w.main.ended; !errors.As(err, &closed) || closed.Reason != "bye" {
		t.Errorf("the gateway read %v", err)
	}
	until(t, "the place is free", func() bool { return w.socketsOpen("main") == 0 })

	c, _, err = w.dialSocket(t, "/raw", nil)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, c, "x")
	c.CloseNow()
	<-w.main.ended
	until(t, "the place is free", func() bool { return w.socketsOpen("main") == 0 })
}

func (w *world) socketsOpen(name string) int {
	w.sockets.mu.Lock()
	defer w.sockets.mu.Unlock()
	return w.sockets.used[name]
}

// A client that closes its half still gets what was under way; one that keeps its
// half open and says nothing does not hold the line for ever.
func TestHalfOpenClient(t *testing.T) {
	w := serve(t, func(o *Options) { o.Limits.Drain = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /raw?token=%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", testToken)
	// Only after the upgrade: before it, servers take half a close for a whole one.
	in := bufio.NewReader(conn)
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
	// A masked text frame "hi", then the end of this half.
	_, _ = conn.Write([]byte{0x81, 0x82, 1, 2, 3, 4, 'h' ^ 1, 'i' ^ 2})
	_ = conn.(*net.TCPConn).CloseWrite()
	all, err := io.ReadAll(in)
	if err != nil {
		t.Fatalf("the line stays open: %v", err)
	}
	if !bytes.HasPrefix(all, []byte{0x81, 2, 'h', 'i'}) {
		t.Errorf("read %q", all)
	}
	<-w.main.ended
}

// A client that takes nothing slows the gateway down, and is dropped in the end.
func TestStalledClientIsDropped(t *testing.T) {
	w := serve(t, func(o *Options) { o.Limits.Stall = 100 * time.Millisecond })
	c, _, err := w.dialSocket(t, "/raw", nil)
	if err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, 1<<20)
	for range 64 {
		if c.Write(testCtx(t), websocket.MessageBinary, payload) != nil {
			break
		}
	}
	until(t, "the place is free", func() bool { return w.socketsOpen("main") == 0 })
}

func TestSocketsAreLimitedPerAgent(t *testing.T) {
	w := serve(t, func(o *Options) { o.Limits.WebSockets = 1 })
	c, _, err := w.dialSocket(t, "/raw", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, resp, err := w.dialSocket(t, "/raw", nil); err == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a second one: %v", err)
	}
	second, _, err := websocket.Dial(testCtx(t), "ws://"+w.addr+"/raw?token="+testToken, &websocket.DialOptions{Host: "second.localhost"})
	if err != nil {
		t.Fatalf("another agent's: %v", err)
	}
	second.CloseNow()
	c.CloseNow()
	until(t, "the place is free", func() bool { return w.socketsOpen("main") == 0 })
	if _, _, err := w.dialSocket(t, "/raw", nil); err != nil {
		t.Errorf("after the first left: %v", err)
	}
}

func TestUpgradeWithABodyIsRefused(t *testing.T) {
	w := serve(t)
	resp := w.raw(t, "GET /raw?token="+testToken+" HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 5\r\n\r\nGET /")
	if resp.StatusCode != 400 || w.main.reached() != 0 {
		t.Errorf("%s, %d requests reached the guest", resp.Status, w.main.reached())
	}
}
