package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// visitor is somebody at an agent's page: a browser that holds the token's cookie,
// and OpenClaw's page in it, which is a device with a key.
type visitor struct {
	origin string // http://HOST:PORT
	token  string
	cookie string
	client *http.Client // each request has a connection of its own
	key    ed25519.PrivateKey
}

// visit opens the link to an agent as a browser does, which wakes nobody: it gets
// the cookie.
func visit(ctx context.Context, link string) (*visitor, error) {
	u, err := url.Parse(link)
	if err != nil || u.Query().Get("token") == "" {
		return nil, fmt.Errorf("%q is no link to an agent", link)
	}
	v := &visitor{origin: "http://" + u.Host, token: u.Query().Get("token")}
	if _, v.key, err = ed25519.GenerateKey(nil); err != nil {
		return nil, err
	}
	v.client = &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+u.Port()) // NAME.localhost need not resolve
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "text/html")
	resp, err := v.client.Do(r)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if len(resp.Cookies()) != 1 {
		return nil, fmt.Errorf("open %s: %s and %d cookies", v.origin, resp.Status, len(resp.Cookies()))
	}
	v.cookie = resp.Cookies()[0].Name + "=" + resp.Cookies()[0].Value
	return v, nil
}

// notReady is the answer in place of an agent that is not awake yet.
type notReady struct{ said string }

func (e *notReady) Error() string { return "not ready: " + e.said }

// get fetches the page as a program does, which waits while the agent wakes. The
// error is a *notReady when that took too long for the edge.
func (v *visitor) get(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.origin+"/", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "*/*")
	r.Header.Set("Cookie", v.cookie)
	resp, err := v.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusServiceUnavailable:
		return &notReady{string(said[:min(len(said), 300)])}
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("GET %s/: %s: %s", v.origin, resp.Status, said[:min(len(said), 300)])
	}
	return nil
}

// patiently does it again while the agent is not ready.
func patiently(ctx context.Context, do func(context.Context) error) error {
	for {
		err := do(ctx)
		var unready *notReady
		if !errors.As(err, &unready) {
			return err
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return err
		}
	}
}

// refusal is the gateway's answer to a connect that it turned down.
type refusal struct {
	Code    string
	Message string
	Details struct{ Code, RequestID string }
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the gateway refused: %s %s (%s)", r.Code, r.Details.Code, r.Message)
}

// hello opens a WebSocket as OpenClaw's page does with a person before it, and
// returns when the gateway has said hello-ok. The error may be a *refusal.
func (v *visitor) hello(ctx context.Context) error {
	conn, resp, err := websocket.Dial(ctx, v.origin+"/", &websocket.DialOptions{HTTPClient: v.client, HTTPHeader: http.Header{
		"Origin": {v.origin},
		// The second cookie is what our script on the page sets for a person's act:
		// without it a WebSocket wakes nobody.
		"Cookie": {v.cookie + "; moltworker_present=1"},
	}})
	if err != nil {
		if resp != nil && resp.StatusCode == http.StatusServiceUnavailable {
			return &notReady{err.Error()}
		}
		return err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(4 << 20)
	var challenge struct {
		Payload struct {
			Nonce string
			TS    float64
		}
	}
	if err := readJSON(ctx, conn, &challenge); err != nil {
		return fmt.Errorf("read the gateway's challenge: %w", err)
	}
	connect, err := json.Marshal(v.connect(challenge.Payload.Nonce, int64(challenge.Payload.TS)))
	if err != nil {
		return err
	}
	if err := conn.Write(ctx, websocket.MessageText, connect); err != nil {
		return err
	}
	for {
		var answer struct {
			Type    string
			OK      bool
			Error   refusal
			Payload struct{ Type string }
		}
		if err := readJSON(ctx, conn, &answer); err != nil {
			return fmt.Errorf("read the gateway's answer: %w", err)
		}
		switch {
		case answer.Type != "res":
			continue
		case !answer.OK:
			return &answer.Error
		case answer.Payload.Type != "hello-ok":
			return fmt.Errorf("the gateway answered %q, not hello-ok", answer.Payload.Type)
		}
		return nil
	}
}

func readJSON(ctx context.Context, conn *websocket.Conn, v any) error {
	_, data, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// connect is the request with which a device introduces itself.
func (v *visitor) connect(nonce string, ts int64) any {
	public := v.key.Public().(ed25519.PublicKey)
	sum := sha256.Sum256(public)
	id, encode := hex.EncodeToString(sum[:]), base64.RawURLEncoding.EncodeToString
	scopes := []string{"operator.read", "operator.write"}
	signed := fmt.Sprintf("v3|%s|openclaw-control-ui|webchat|operator|%s|%d|%s|%s|linux|", id, strings.Join(scopes, ","), ts, v.token, nonce)
	return map[string]any{"type": "req", "id": "1", "method": "connect", "params": map[string]any{
		"minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": scopes, "caps": []string{},
		// Pages of the gateway's own origin must name their build; "dev" is one that
		// is no release's.
		"client": map[string]string{"id": "openclaw-control-ui", "version": "1", "buildId": "dev", "platform": "linux", "mode": "webchat"},
		"auth":   map[string]string{"token": v.token},
		"device": map[string]any{
			"id": id, "publicKey": encode(public), "signature": encode(ed25519.Sign(v.key, []byte(signed))),
			"signedAt": ts, "nonce": nonce,
		},
	}}
}

// pair has the visitor's device let in by the administrator of u.
func (v *visitor) pair(ctx context.Context, u *up, agent string) error {
	var refused *refusal
	err := v.hello(ctx)
	if !errors.As(err, &refused) || refused.Details.RequestID == "" {
		return fmt.Errorf("a new device was not asked to pair: %v", err)
	}
	if _, err := u.admin.Approve(ctx, agent, refused.Details.RequestID); err != nil {
		return fmt.Errorf("approve the device: %w", err)
	}
	return v.hello(ctx)
}
