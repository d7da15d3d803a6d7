package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// A DialFunc connects to the gateway's port on the loopback inside the sandbox.
type DialFunc func(ctx context.Context) (net.Conn, error)

// Dial connects and signs in with the gateway's token. While the gateway is
// still starting it tries again, as the gateway asks, until ctx ends.
func Dial(ctx context.Context, dial DialFunc, token string) (*Client, error) {
	for attempt := 1; ; attempt++ {
		c, err := connect(ctx, dial, token)
		var refused *RPCError
		if err == nil || !errors.As(err, &refused) || !refused.starting() || attempt == maxStarting {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the gateway to start: %w", context.Cause(ctx))
		case <-time.After(min(max(refused.RetryAfter, minRetryAfter), maxRetryAfter)):
		}
	}
}

func connect(ctx context.Context, dial DialFunc, token string) (*Client, error) {
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableKeepAlives: true,
	}
	conn, res, err := websocket.Dial(ctx, "ws://127.0.0.1/", &websocket.DialOptions{
		HTTPClient:      &http.Client{Transport: transport},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, explainUpgrade(res, err)
	}
	conn.SetReadLimit(maxFrame)
	life, cancel := context.WithCancel(context.Background())
	c := &Client{
		conn:    conn,
		cancel:  cancel,
		done:    make(chan struct{}),
		pending: map[string]chan frame{},
		subs:    map[*Subscription]struct{}{},
	}
	if err := c.hello(ctx, token); err != nil {
		cancel()
		conn.CloseNow()
		return nil, err
	}
	go c.read(life)
	return c, nil
}

// hello signs in before the reader runs.
func (c *Client) hello(ctx context.Context, token string) error {
	challenge, err := c.receive(ctx)
	if err != nil {
		return fmt.Errorf("wait for the gateway's challenge: %w", err)
	}
	if challenge.Type != "event" || challenge.Event != "connect.challenge" {
		return fmt.Errorf("the gateway began with %q instead of a challenge", clean(challenge.Type+" "+challenge.Event))
	}
	request, err := encode(frame{Type: "req", ID: "connect", Method: "connect", Params: signIn(token)})
	if err != nil {
		return err
	}
	if err := c.conn.Write(ctx, websocket.MessageText, request); err != nil {
		return fmt.Errorf("sign in to the gateway: %w", err)
	}
	for {
		f, err := c.receive(ctx)
		if err != nil {
			return fmt.Errorf("sign in to the gateway: %w", err)
		}
		if f.Type != "res" || f.ID != "connect" {
			continue
		}
		if !f.OK {
			return fmt.Errorf("sign in to the gateway: %w", f.Error.typed())
		}
		var hello struct {
			Protocol int    `json:"protocol"`
			Server   Server `json:"server"`
		}
		if err := json.Unmarshal(f.Payload, &hello); err != nil {
			return fmt.Errorf("read the gateway's greeting: %w", err)
		}
		if hello.Protocol != protocol {
			return fmt.Errorf("the gateway speaks protocol %d, want %d", hello.Protocol, protocol)
		}
		c.Server = Server{clean(hello.Server.Version), clean(hello.Server.BootID), clean(hello.Server.ConnID)}
		return nil
	}
}

const protocol = 4

// signIn is the host's form of connect: OpenClaw grants it the requested scopes
// because it comes from loopback, unforwarded, with the shared token.
func signIn(token string) any {
	return map[string]any{
		"minProtocol": protocol, "maxProtocol": protocol,
		"client": map[string]string{"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend"},
		"role":   "operator",
		"scopes": []string{"operator.read", "operator.write", "operator.admin", "operator.approvals", "operator.pairing"},
		"caps":   []string{}, "locale": "en-US", "userAgent": "moltworker",
		"auth": map[string]string{"token": token},
	}
}
