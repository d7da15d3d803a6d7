// Package gateway owns the client of OpenClaw's own WebSocket RPC (protocol 4) in
// its host form: a connection that reaches the gateway on the sandbox's loopback,
// without a device identity and with the shared token, which OpenClaw takes for
// its owner. It must not know how that connection comes about (the caller dials)
// nor what the answers are used for.
//
// The gateway runs with the agent and is not to be trusted: every frame, queue
// and wait is bounded, and text from it is cleaned before people see it.
package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// The bounds of a client.
const (
	maxFrame      = 25 << 20 // what the gateway may send in one message
	maxPending    = 256      // calls under way at once
	eventQueue    = 1024     // events a subscription may be behind
	writeTimeout  = 15 * time.Second
	callTimeout   = 60 * time.Second // of a call whose context has no deadline
	maxStarting   = 120              // connects tried while the gateway still starts
	minRetryAfter = 100 * time.Millisecond
	maxRetryAfter = 5 * time.Second
)

// ErrClosed: the connection ended. The error that wraps it says why.
var ErrClosed = errors.New("gateway connection closed")

// Server is what the gateway said of itself.
type Server struct {
	Version string `json:"version"`
	BootID  string `json:"bootId"`
	ConnID  string `json:"connId"`
}

// A Client is one connection to a gateway. Its methods may be called
// concurrently.
type Client struct {
	Server Server

	conn   *websocket.Conn
	cancel context.CancelFunc
	done   chan struct{} // closed when the reader has ended

	mu      sync.Mutex
	next    uint64                     // guarded by mu: number of the last call
	pending map[string]chan frame      // guarded by mu; nil once closed
	subs    map[*Subscription]struct{} // guarded by mu
	err     error                      // guarded by mu: why the connection ended
}

// frame is any message of the protocol.
type frame struct {
	Type    string          `json:"type"`
	ID      string          `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	OK      bool            `json:"ok,omitempty"`
	Event   string          `json:"event,omitempty"`
	Payload json.RawMessage `json:"payload,omitempty"`
	Error   *wireError      `json:"error,omitempty"`
}

func (c *Client) receive(ctx context.Context) (frame, error) {
	kind, data, err := c.conn.Read(ctx)
	if err != nil {
		return frame{}, err
	}
	if kind != websocket.MessageText {
		return frame{}, errors.New("the gateway sent a binary message")
	}
	var f frame
	if err := json.Unmarshal(data, &f); err != nil {
		return frame{}, fmt.Errorf("the gateway sent a message that is not of its protocol: %w", err)
	}
	return f, nil
}

func encode(f frame) ([]byte, error) {
	data, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	if len(data) > maxFrame {
		return nil, fmt.Errorf("the request is larger than %d MiB", maxFrame>>20)
	}
	return data, nil
}

// read hands out what arrives until the connection ends, then fails all that
// still waits.
func (c *Client) read(ctx context.Context) {
	defer close(c.done)
	for {
		f, err := c.receive(ctx)
		if err != nil {
			c.fail(fmt.Errorf("%w: %w", ErrClosed, err))
			return
		}
		switch f.Type {
		case "res":
			c.answer(f)
		case "event":
			c.publish(f)
		}
	}
}

func (c *Client) answer(f frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.pending[f.ID]; ch != nil {
		delete(c.pending, f.ID)
		ch <- f // has room for the one answer
	}
}

func (c *Client) fail(err error) {
	c.cancel()
	c.conn.CloseNow()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	for _, ch := range c.pending {
		close(ch)
	}
	c.pending = nil
	for s := range c.subs {
		s.end(err)
	}
	c.subs = nil
}

// Close ends the connection. Calls under way fail with ErrClosed.
func (c *Client) Close() error {
	c.fail(fmt.Errorf("%w by this side", ErrClosed))
	<-c.done
	return nil
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Call makes one request and reads its answer into result, which may be nil. A
// refusal is a *RPCError.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	if params == nil {
		params = struct{}{}
	}
	id, ch, err := c.expect()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	if err := c.request(frame{Type: "req", ID: id, Method: method, Params: params}); err != nil {
		c.forget(id)
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case <-ctx.Done():
		c.forget(id)
		return fmt.Errorf("%s: no answer from the gateway: %w", method, context.Cause(ctx))
	case f, ok := <-ch:
		if !ok {
			return fmt.Errorf("%s: %w", method, c.reason())
		}
		return finish(f, method, result)
	}
}

// request writes under a time limit of its own: a context that ends during a
// write takes the whole connection with it, as a write that fails does.
func (c *Client) request(f frame) error {
	data, err := encode(f)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, data); err != nil {
		c.fail(fmt.Errorf("%w: %w", ErrClosed, err))
		return c.reason()
	}
	return nil
}

func finish(f frame, method string, result any) error {
	if !f.OK {
		return fmt.Errorf("%s: %w", method, f.Error.typed())
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(f.Payload, result); err != nil {
		return fmt.Errorf("%s: read the gateway's answer: %w", method, err)
	}
	return nil
}

func (c *Client) expect() (string, chan frame, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending == nil {
		return "", nil, c.err
	}
	if len(c.pending) >= maxPending {
		return "", nil, fmt.Errorf("%d calls are under way already", maxPending)
	}
	c.next++
	id := fmt.Sprintf("m%d", c.next)
	ch := make(chan frame, 1)
	c.pending[id] = ch
	return id, ch, nil
}

func (c *Client) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

func (c *Client) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
