package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/openclaw/gateway"
)

// request is what a fake gateway reads; it refuses unknown fields, as the real
// one does.
type request struct {
	Type   string          `json:"type"`
	ID     string          `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

const greeting = `{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}`

func helloOK(id string) string {
	return fmt.Sprintf(`{"type":"res","id":%q,"ok":true,"payload":{"type":"hello-ok","protocol":4,"server":{"version":"1.2.3\u001b[31m","bootId":"b"}}}`, id)
}

func ok(id, payload string) string {
	return fmt.Sprintf(`{"type":"res","id":%q,"ok":true,"payload":%s}`, id, payload)
}

// fake starts a gateway that handles each connection by serve and gives the way
// to dial it.
func fake(t *testing.T, serve func(ctx context.Context, c *fakeConn)) gateway.DialFunc {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if strings.HasPrefix(name, "X-Forwarded") || name == "Forwarded" || name == "X-Real-Ip" || name == "Origin" {
				t.Errorf("the host's client sent %s", name)
			}
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(64 << 20)
		serve(r.Context(), &fakeConn{t: t, conn: conn})
	}))
	t.Cleanup(srv.Close)
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", srv.Listener.Addr().String())
	}
}

type fakeConn struct {
	t    *testing.T
	conn *websocket.Conn
}

func (c *fakeConn) send(ctx context.Context, text string) bool {
	return c.conn.Write(ctx, websocket.MessageText, []byte(text)) == nil
}

func (c *fakeConn) receive(ctx context.Context) (r request, ok bool) {
	_, data, err := c.conn.Read(ctx)
	if err != nil {
		return r, false
	}
	dec := json.NewDecoder(strings.NewReader(string(data)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil || r.Type != "req" || r.ID == "" {
		c.t.Errorf("request %s: %v", data, err)
	}
	return r, true
}

// signIn plays the gateway's part of the handshake.
func (c *fakeConn) signIn(ctx context.Context) bool {
	c.send(ctx, greeting)
	r, okay := c.receive(ctx)
	return okay && c.send(ctx, helloOK(r.ID))
}

// answering serves calls by method; a method without an answer stays unanswered.
func answering(answers map[string]string) func(context.Context, *fakeConn) {
	return func(ctx context.Context, c *fakeConn) {
		if !c.signIn(ctx) {
			return
		}
		for {
			r, okay := c.receive(ctx)
			if !okay {
				return
			}
			if a := answers[r.Method]; a != "" {
				c.send(ctx, strings.ReplaceAll(a, `"ID"`, strconv.Quote(r.ID)))
			}
		}
	}
}

func mustDial(t *testing.T, dial gateway.DialFunc) *gateway.Client {
	t.Helper()
	c, err := gateway.Dial(within(t), dial, "T")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestDialSignsInAsTheHost(t *testing.T) {
	params := make(chan string, 1)
	c := mustDial(t, fake(t, func(ctx context.Context, c *fakeConn) {
		c.send(ctx, greeting)
		r, _ := c.receive(ctx)
		params <- r.Method + " " + string(r.Params)
		c.send(ctx, `{"type":"event","event":"presence","payload":{}}`)
		c.send(ctx, helloOK(r.ID))
		c.receive(ctx)
	}))
	if c.Server.Version != "1.2.3 [31m" {
		t.Errorf("version %q reaches terminals", c.Server.Version)
	}
	got := <-params
	for _, want := range []string{"connect {", `"minProtocol":4`, `"id":"gateway-client"`, `"mode":"backend"`, `"operator.admin"`, `"operator.pairing"`, `"auth":{"token":"T"}`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

func TestDialWaitsWhileTheGatewayStarts(t *testing.T) {
	var attempts atomic.Int32
	mustDial(t, fake(t, func(ctx context.Context, c *fakeConn) {
		if attempts.Add(1) < 3 {
			c.send(ctx, greeting)
			r, _ := c.receive(ctx)
			c.send(ctx, fmt.Sprintf(`{"type":"res","id":%q,"ok":false,"error":{"code":"UNAVAILABLE","message":"gateway starting","details":{"reason":"startup-sidecars"},"retryable":true,"retryAfterMs":-5}}`, r.ID))
			c.conn.Close(1013, "gateway starting")
			return
		}
		answering(nil)(ctx, c)
	}))
	if attempts.Load() != 3 {
		t.Errorf("%d attempts", attempts.Load())
	}
}

func TestDialFailures(t *testing.T) {
	refuse := func(code, details string) func(context.Context, *fakeConn) {
		return func(ctx context.Context, c *fakeConn) {
			c.send(ctx, greeting)
			r, _ := c.receive(ctx)
			c.send(ctx, fmt.Sprintf(`{"type":"res","id":%q,"ok":false,"error":{"code":%q,"message":"no\u001b]0;x\u0007","details":%s}}`, r.ID, code, details))
			c.conn.Close(1008, "no")
		}
	}
	for name, tt := range map[string]struct {
		serve func(context.Context, *fakeConn)
		want  string
	}{
		"wrong token":          {refuse("INVALID_REQUEST", `{"code":"AUTH_TOKEN_MISMATCH"}`), "the gateway refused (INVALID_REQUEST, AUTH_TOKEN_MISMATCH): no ]0;x"},
		"unavailable for good": {refuse("UNAVAILABLE", `{"reason":"gateway-suspending"}`), "UNAVAILABLE"},
		"no reason": {func(ctx context.Context, c *fakeConn) {
			c.send(ctx, greeting)
			r, _ := c.receive(ctx)
			c.send(ctx, fmt.Sprintf(`{"type":"res","id":%q}`, r.ID))
		}, "no reason given"},
		"other protocol": {func(ctx context.Context, c *fakeConn) {
			c.send(ctx, greeting)
			r, _ := c.receive(ctx)
			c.send(ctx, ok(r.ID, `{"protocol":5}`))
		}, "protocol 5, want 4"},
		"no challenge": {func(ctx context.Context, c *fakeConn) { c.send(ctx, `{"type":"res"}`) }, "instead of a challenge"},
		"garbage":      {func(ctx context.Context, c *fakeConn) { c.send(ctx, `hello`) }, "not of its protocol"},
		"binary":       {func(ctx context.Context, c *fakeConn) { c.conn.Write(ctx, websocket.MessageBinary, []byte(greeting)) }, "binary"},
		"hangs up":     {func(ctx context.Context, c *fakeConn) {}, "challenge"},
		"floods":       {func(ctx context.Context, c *fakeConn) { c.send(ctx, `"`+strings.Repeat("x", 26<<20)+`"`) }, "read limit"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := gateway.Dial(within(t), fake(t, tt.serve), "T")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\x1b\x07") {
				t.Errorf("control characters reach terminals: %q", err)
			}
		})
	}
}

func TestDialRefusedByHTTP(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":{"type":"proxy_attribution_required","message":"m"}}`: "proxy_attribution_required",
		`<html>`: "HTTP 403",
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, body)
		}))
		defer srv.Close()
		_, err := gateway.Dial(within(t), func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", srv.Listener.Addr().String())
		}, "T")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestDialThatCannotConnect(t *testing.T) {
	down := errors.New("the agent is stopped")
	_, err := gateway.Dial(within(t), func(context.Context) (net.Conn, error) { return nil, down }, "T")
	if !errors.Is(err, down) {
		t.Errorf("%v", err)
	}
}

func TestCalls(t *testing.T) {
	c := mustDial(t, fake(t, answering(map[string]string{
		"good":   ok("ID", `{"n":7}`),
		"bad":    `{"type":"res","id":"ID","ok":false,"error":{"code":"INVALID_REQUEST","message":"unknown requestId","retryable":true,"retryAfterMs":1500.5}}`,
		"odd":    ok("ID", `{"n":"seven"}`),
		"health": ok("ID", `{"ok":false}`),
	})))
	var result struct{ N int }
	if err := c.Call(within(t), "good", map[string]int{"a": 1}, &result); err != nil || result.N != 7 {
		t.Errorf("%+v, %v", result, err)
	}
	var refused *gateway.RPCError
	if err := c.Call(within(t), "bad", nil, nil); !errors.As(err, &refused) || refused.Code != "INVALID_REQUEST" || !refused.Retryable || refused.RetryAfter.Milliseconds() != 1500 {
		t.Errorf("%v: %+v", err, refused)
	}
	if err := c.Call(within(t), "odd", nil, &result); err == nil || errors.As(err, &refused) && refused.Code == "" {
		t.Errorf("odd answer: %v", err)
	}
	if err := c.Health(within(t)); err == nil {
		t.Error("an ill gateway passes for well")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Call(ctx, "silent", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := c.Call(within(t), "good", nil, &result); err != nil {
		t.Errorf("a call given up takes the connection with it: %v", err)
	}
}

// Answers out of order, unknown ones and doubles reach who asked, once.
func TestConcurrentCallsGetTheirOwnAnswers(t *testing.T) {
	const n = 100
	c := mustDial(t, fake(t, func(ctx context.Context, c *fakeConn) {
		c.signIn(ctx)
		var held []request
		for len(held) < n {
			r, okay := c.receive(ctx)
			if !okay {
				return
			}
			held = append(held, r)
		}
		c.send(ctx, ok("unknown", `{}`))
		for i := range held {
			r := held[n-1-i]
			a := ok(r.ID, string(r.Params))
			c.send(ctx, a)
			c.send(ctx, a)
		}
		c.receive(ctx)
	}))
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			var got struct{ I int }
			if err := c.Call(within(t), "echo", map[string]int{"I": i}, &got); err != nil || got.I != i {
				t.Errorf("call %d got %d, %v", i, got.I, err)
			}
		})
	}
	wg.Wait()
}

func TestTheEndOfTheConnectionFailsAllThatWaits(t *testing.T) {
	const n = 10
	c := mustDial(t, fake(t, func(ctx context.Context, c *fakeConn) {
		c.signIn(ctx)
		for range n {
			c.receive(ctx)
		}
		c.conn.Close(1012, "service restart")
	}))
	sub := c.Subscribe()
	errs := make(chan error, n)
	for range n {
		go func() { errs <- c.Call(within(t), "silent", nil, nil) }()
	}
	for range n {
		if err := <-errs; !errors.Is(err, gateway.ErrClosed) || !strings.Contains(err.Error(), "service restart") {
			t.Errorf("%v", err)
		}
	}
	<-c.Done()
	if _, open := <-sub.Events(); open || !errors.Is(sub.Err(), gateway.ErrClosed) {
		t.Errorf("subscription: %v", sub.Err())
	}
	if err := c.Call(within(t), "late", nil, nil); !errors.Is(err, gateway.ErrClosed) {
		t.Errorf("late call: %v", err)
	}
	if _, open := <-c.Subscribe().Events(); open {
		t.Error("late subscription is open")
	}
}

func TestCallsUnderWayAreBounded(t *testing.T) {
	c := mustDial(t, fake(t, answering(nil)))
	errs := make(chan error, 300)
	for range 300 {
		go func() { errs <- c.Call(within(t), "silent", nil, nil) }()
	}
	for range 300 - 256 {
		if err := <-errs; err == nil || !strings.Contains(err.Error(), "256 calls are under way") {
			t.Errorf("%v", err)
		}
	}
	c.Close()
	for range 256 {
		if err := <-errs; !errors.Is(err, gateway.ErrClosed) {
			t.Errorf("%v", err)
		}
	}
}

func TestEvents(t *testing.T) {
	step := make(chan struct{})
	c := mustDial(t, fake(t, func(ctx context.Context, c *fakeConn) {
		c.signIn(ctx)
		<-step
		c.send(ctx, `{"type":"event","event":"other","payload":1}`)
		c.send(ctx, `{"type":"event","event":"wanted","payload":{"a":2}}`)
		<-step
		for range 3000 {
			c.send(ctx, `{"type":"event","event":"flood","payload":0}`)
		}
		r, _ := c.receive(ctx)
		c.send(ctx, ok(r.ID, `{"ok":true}`))
		c.receive(ctx)
	}))
	wanted, flood := c.Subscribe("wanted"), c.Subscribe("flood")
	step <- struct{}{}
	if e := <-wanted.Events(); e.Name != "wanted" || string(e.Payload) != `{"a":2}` {
		t.Errorf("%s %s", e.Name, e.Payload)
	}
	step <- struct{}{}
	if err := c.Health(within(t)); err != nil {
		t.Errorf("a slow reader holds others up: %v", err)
	}
	n := 0
	for range flood.Events() {
		n++
	}
	if !errors.Is(flood.Err(), gateway.ErrSlow) || n != 1024 {
		t.Errorf("%d events, %v", n, flood.Err())
	}
	wanted.Close()
	wanted.Close()
	if _, open := <-wanted.Events(); open || wanted.Err() != nil {
		t.Errorf("after Close: %v", wanted.Err())
	}
}

func TestDevicesAreBoundedAndCleaned(t *testing.T) {
	one := `{"requestId":"r\u001b[2J","deviceId":"` + strings.Repeat("d", 5000) + `","clientId":"c","remoteIp":"192.0.2.1","scopes":["` + strings.Repeat(`s","`, 100) + `s"],"ts":1e300}`
	list := `{"pending":[` + strings.Repeat(one+",", 1999) + one + `],"paired":null}`
	c := mustDial(t, fake(t, answering(map[string]string{"device.pair.list": ok("ID", list)})))
	d, err := c.Devices(within(t))
	if err != nil || len(d.Pending) != 1000 || d.Paired == nil {
		t.Fatalf("%d pending, %v", len(d.Pending), err)
	}
	p := d.Pending[0]
	if p.RequestID != "r [2J" || len(p.DeviceID) > 512 || len(p.Scopes) != 32 || !p.Asked.IsZero() {
		t.Errorf("%+v", p)
	}
}

func TestChat(t *testing.T) {
	for end, want := range map[string]string{
		`{"type":"event","event":"chat","payload":{"runId":"R","state":"final","message":{"content":[{"type":"text","text":"six"},{"type":"image"},{"type":"text","text":"ty"}]}}}`: "sixty",
		`{"type":"event","event":"chat","payload":{"runId":"R","state":"error","errorMessage":"no model"}}`:                                                                         "the agent could not answer: no model",
		`{"type":"event","event":"chat","payload":{"runId":"R","state":"aborted"}}`:                                                                                                 "aborted",
	} {
		c := mustDial(t, fake(t, func(ctx context.Context, c *fakeConn) {
			c.signIn(ctx)
			r, _ := c.receive(ctx)
			c.send(ctx, ok(r.ID, `{}`))
			r, _ = c.receive(ctx)
			// The answer may overtake the acknowledgement.
			c.send(ctx, `{"type":"event","event":"chat","payload":{"runId":"other","state":"final"}}`)
			c.send(ctx, `{"type":"event","event":"chat","payload":"odd"}`)
			c.send(ctx, `{"type":"event","event":"chat","payload":{"runId":"R","state":"delta"}}`)
			c.send(ctx, end)
			c.send(ctx, ok(r.ID, `{"runId":"R"}`))
			c.receive(ctx)
		}))
		text, err := c.Chat(within(t), "main", "6*10?")
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, want) {
			t.Errorf("%q, want %q", text, want)
		}
	}
}
