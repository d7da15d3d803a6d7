package realtime

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// gateway serves WebSockets by passing them to an upstream, the way a caller would.
// It puts what Run returns into done.
func gateway(t testing.TB, o Options, upstream http.Handler) (addr string, done chan result) {
	t.Helper()
	model := httptest.NewServer(upstream)
	t.Cleanup(model.Close)
	done = make(chan result, 16)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := Handshake(r.Header); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), http.MethodGet, model.URL+r.URL.Path, nil)
		if err != nil {
			t.Error(err)
			return
		}
		out.Header = UpstreamHeader(r.Header)
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			t.Error(err)
			return
		}
		if err := CheckAnswer(resp, r.Header.Get(keyField)); err != nil {
			t.Error(err)
			return
		}
		conn, in, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		var head bytes.Buffer
		head.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
		_ = resp.Header.Write(&head)
		head.WriteString("\r\n")
		if _, err := conn.Write(head.Bytes()); err != nil {
			t.Error(err)
			return
		}
		client := struct {
			io.Reader
			io.WriteCloser
		}{in, conn}
		stats, err := Run(context.Background(), client, resp.Body.(io.ReadWriteCloser), o)
		done <- result{stats, err}
	}))
	t.Cleanup(front.Close)
	return front.URL, done
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testPatience)
	t.Cleanup(cancel)
	return ctx
}

func dial(t testing.TB, addr string, o *websocket.DialOptions) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(testContext(t), addr, o)
	must(t, err)
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// server is a model that hands each WebSocket to a function.
func server(t testing.TB, serve func(*websocket.Conn, *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"realtime"}, CompressionMode: websocket.CompressionContextTakeover})
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		serve(c, r)
	})
}

// echoes sends every message back in fragments of at most 10,000 bytes.
func echoes(t testing.TB) http.Handler {
	return server(t, func(c *websocket.Conn, r *http.Request) {
		for {
			kind, p, err := c.Read(r.Context())
			if err != nil {
				return
			}
			w, err := c.Writer(r.Context(), kind)
			for err == nil && len(p) > 0 {
				n := min(len(p), 10_000)
				_, err = w.Write(p[:n])
				p = p[n:]
			}
			if err != nil || w.Close() != nil {
				return
			}
		}
	})
}

func TestConversation(t *testing.T) {
	var mu sync.Mutex
	var up, down []string
	keep := func(to *[]string) func([]byte) error {
		return func(m []byte) error {
			mu.Lock()
			defer mu.Unlock()
			*to = append(*to, string(m))
			return nil
		}
	}
	addr, done := gateway(t, Options{Up: keep(&up), Down: keep(&down), Withheld: [][]byte{[]byte(strings.Repeat("secret", 4))}}, echoes(t))
	c := dial(t, addr, &websocket.DialOptions{Subprotocols: []string{"realtime", "openai-insecure-api-key.sk-1"}, CompressionMode: websocket.CompressionContextTakeover})
	if c.Subprotocol() != "realtime" {
		t.Errorf("protocol %q", c.Subprotocol())
	}
	ctx := testContext(t)
	var want []string
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536, 100_000, 5 << 20} {
		for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			m := bytes.Repeat([]byte("secre"), size/5+1)[:size]
			if kind == websocket.MessageBinary {
				_, _ = rand.Read(m)
			}
			sent := make(chan error, 1)
			go func() { sent <- c.Write(ctx, kind, m) }()
			got, p, err := c.Read(ctx)
			if err := errors.Join(err, <-sent); err != nil || got != kind || !bytes.Equal(p, m) {
				t.Fatalf("%d bytes came back as %d, %v", size, len(p), err)
			}
			if kind == websocket.MessageText && size <= defaultMaxMessage {
				want = append(want, string(m))
			}
		}
	}
	read := c.CloseRead(ctx) // which answers pings
	must(t, c.Ping(ctx))
	must(t, c.Close(websocket.StatusNormalClosure, "bye"))
	<-read.Done()
	r := <-done
	if r.err != nil || r.stats.Unseen != 2 { // 5 MiB up and down
		t.Errorf("%+v", r)
	}
	if fmt.Sprint(up) != fmt.Sprint(want) || fmt.Sprint(down) != fmt.Sprint(want) {
		t.Errorf("heard %d up and %d down instead of %d", len(up), len(down), len(want))
	}
}

func TestCloseCodePasses(t *testing.T) {
	seen := make(chan websocket.StatusCode, 1)
	addr, done := gateway(t, Options{}, server(t, func(c *websocket.Conn, r *http.Request) {
		if r.URL.Path == "/mine" {
			_ = c.Close(4001, "mine")
			return
		}
		_, _, err := c.Read(r.Context())
		seen <- websocket.CloseStatus(err)
	}))
	must(t, dial(t, addr, nil).Close(4002, "yours"))
	if code := <-seen; code != 4002 {
		t.Errorf("the upstream got %d", code)
	}
	_, _, err := dial(t, addr+"/mine", nil).Read(testContext(t))
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != 4001 || closed.Reason != "mine" {
		t.Errorf("the client got %v", err)
	}
	for range 2 {
		if r := <-done; r.err != nil {
			t.Error(r.err)
		}
	}
}

func TestAbruptEnds(t *testing.T) {
	seen := make(chan websocket.StatusCode, 1)
	addr, done := gateway(t, Options{}, server(t, func(c *websocket.Conn, r *http.Request) {
		if r.URL.Path == "/crash" {
			return // without a close frame
		}
		_, _, err := c.Read(r.Context())
		seen <- websocket.CloseStatus(err)
	}))
	must(t, dial(t, addr, nil).CloseNow())
	if code := <-seen; code != websocket.StatusGoingAway {
		t.Errorf("the upstream got %d", code)
	}
	var e *Error
	if r := <-done; !errors.As(r.err, &e) || !e.Client || !errors.Is(e, ErrGone) {
		t.Error(r.err)
	}
	_, _, err := dial(t, addr+"/crash", nil).Read(testContext(t))
	if code := websocket.CloseStatus(err); code != websocket.StatusInternalError {
		t.Errorf("the client got %v", err)
	}
	if r := <-done; !errors.As(r.err, &e) || e.Client || !errors.Is(e, ErrGone) {
		t.Error(r.err)
	}
}

func TestRefusalReachesTheClient(t *testing.T) {
	addr, done := gateway(t, Options{Up: func(m []byte) error {
		if bytes.Contains(m, []byte("response.create")) {
			return errors.New("the budget is used up")
		}
		return nil
	}}, echoes(t))
	c, ctx := dial(t, addr, nil), testContext(t)
	must(t, c.Write(ctx, websocket.MessageText, []byte(`{"type":"session.update"}`)))
	if _, _, err := c.Read(ctx); err != nil {
		t.Fatal(err)
	}
	must(t, c.Write(ctx, websocket.MessageText, []byte(`{"type":"response.create"}`)))
	_, _, err := c.Read(ctx)
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != websocket.StatusPolicyViolation || closed.Reason != "the budget is used up" {
		t.Errorf("the client got %v", err)
	}
	if r := <-done; r.stats.UpFrames != 1 {
		t.Errorf("%+v", r)
	}
}

func TestSecretInFragmentsOfALiveConnection(t *testing.T) {
	const key = "sk-proj-0123456789abcdef"
	addr, done := gateway(t, Options{Withheld: [][]byte{[]byte(key)}}, server(t, func(c *websocket.Conn, r *http.Request) {
		w, err := c.Writer(r.Context(), websocket.MessageText)
		for _, b := range []byte("your key is " + key) {
			if err == nil {
				_, err = w.Write([]byte{b})
			}
		}
		if err == nil {
			_ = w.Close()
		}
		_, _, _ = c.Read(r.Context())
	}))
	c := dial(t, addr, nil)
	_, p, err := c.Read(testContext(t))
	if websocket.CloseStatus(err) == -1 || bytes.Contains(p, []byte(key)) {
		t.Errorf("the client got %q, %v", p, err)
	}
	if r := <-done; !errors.Is(r.err, ErrWithheld) {
		t.Error(r.err)
	}
}

// tcp is two ends of a loopback connection.
func tcp(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	a, err := l.Accept()
	must(t, err)
	t.Cleanup(func() { c.Close(); a.Close() })
	return c.(*net.TCPConn), a.(*net.TCPConn)
}

// A client that only stops sending still gets what the upstream had to say.
func TestHalfClose(t *testing.T) {
	client, nearClient := tcp(t)
	nearUpstream, upstream := tcp(t)
	done := make(chan result, 1)
	go func() {
		stats, err := Run(context.Background(), nearClient, nearUpstream, Options{})
		done <- result{stats, err}
	}()
	write(t, client, text(true, "question"))
	must(t, client.CloseWrite())
	read(t, upstream, text(true, "question"))
	told := make([]byte, 2+4+2+len("the client is gone"))
	if _, err := io.ReadFull(upstream, told); err != nil {
		t.Fatal(err)
	}
	if c := stripClose(t, told, nil, true); c != (closing{1001, "the client is gone"}) {
		t.Errorf("%+v", c)
	}
	answer := join(text(false, strings.Repeat("answer", 100_000)), closeFrame(false, 1001, ""))
	go func() { _, _ = upstream.Write(answer) }()
	got, err := io.ReadAll(client)
	if err != nil || !bytes.Equal(got, answer) {
		t.Errorf("%d bytes came, %v", len(got), err)
	}
	if r := <-done; !errors.Is(r.err, ErrGone) || r.stats.DownBytes != int64(len(answer)) {
		t.Errorf("%+v", r)
	}
}

// A client that takes its time loses nothing, and what it has not taken is held by
// the connections, not by the session.
func TestSlowReader(t *testing.T) {
	client, nearClient := tcp(t)
	nearUpstream, upstream := tcp(t)
	done := make(chan result, 1)
	go func() {
		stats, err := Run(context.Background(), nearClient, nearUpstream, Options{})
		done <- result{stats, err}
	}()
	message := make([]byte, 100_000)
	const messages = 100
	go func() {
		for i := range messages {
			binary.BigEndian.PutUint64(message, uint64(i))
			_, _ = upstream.Write(frame(false, true, opBinary, string(message)))
		}
		_, _ = upstream.Write(closeFrame(false, 1000, ""))
	}()
	part := make([]byte, 1+8+1+100_000)
	for i := range messages {
		for at := 0; at < len(part); { // 5000 bytes at a time
			n, err := client.Read(part[at:min(len(part), at+5000)])
			must(t, err)
			at += n
		}
		if got := binary.BigEndian.Uint64(part[10:]); got != uint64(i) {
			t.Fatalf("message %d is %d", i, got)
		}
	}
	read(t, client, closeFrame(false, 1000, ""))
	write(t, client, closeFrame(true, 1000, ""))
	// Each message has a head of 2+8 bytes.
	if r := <-done; r.err != nil || r.stats.DownBytes != messages*100_010+4 || r.stats.DownFrames != messages+1 {
		t.Errorf("%+v", r)
	}
}
