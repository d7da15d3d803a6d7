// Package admintest owns what tests of the control plane stand on: an agent that
// is no more than a state, and a gateway that speaks OpenClaw's protocol with
// devices and senders in memory. It refuses what the real one refuses.
package admintest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Gateway is an OpenClaw in memory.
type Gateway struct {
	server *httptest.Server

	mu      sync.Mutex // guards what follows
	token   string
	pending []map[string]any
	paired  []map[string]any
	senders []map[string]any
	conns   map[*websocket.Conn]struct{}
	calls   []string
}

// NewGateway starts a gateway that takes a token.
func NewGateway(t testing.TB, token string) *Gateway {
	t.Helper()
	g := &Gateway{token: token, conns: map[*websocket.Conn]struct{}{}}
	g.server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(func() {
		g.Drop()
		g.server.Close()
	})
	return g
}

// Dial connects to it.
func (g *Gateway) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", g.server.Listener.Addr().String())
}

// SetToken is what a restart with other settings does.
func (g *Gateway) SetToken(token string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.token = token
}

// Drop closes every connection.
func (g *Gateway) Drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		c.CloseNow()
	}
}

// Calls are the methods that were called so far, in order, with their parameters.
func (g *Gateway) Calls() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.calls)
}

// Connections is how many there are.
func (g *Gateway) Connections() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

// Ask makes a device wait, as a browser does that is not paired.
func (g *Gateway) Ask(requestID, deviceID, name string) {
	g.mu.Lock()
	g.pending = append(g.pending, map[string]any{
		"requestId": requestID, "deviceId": deviceID, "displayName": name, "clientId": "openclaw-control-ui", "clientMode": "webchat",
		"platform": "linux", "remoteIp": "192.0.2.7", "role": "operator", "scopes": []string{"operator.read"}, "ts": 1.7e12,
	})
	g.mu.Unlock()
	g.Tell("device.pair.requested")
}

// Approved makes a paired device one that was approved at a time, by whomever.
func (g *Gateway) Approved(deviceID string, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.paired {
		if d["deviceId"] == deviceID {
			d["approvedAtMs"] = float64(at.UnixMilli())
		}
	}
}

// Write makes a sender wait.
func (g *Gateway) Write(requestID, senderID, username string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.senders = append(g.senders, map[string]any{
		"requestId": requestID, "channel": "telegram", "accountId": "default", "senderId": senderID, "senderLabel": "telegramUserId",
		"metadata": map[string]string{"username": username}, "createdAt": "2026-01-02T03:04:05.000Z", "expiresAt": "2026-01-02T04:04:05.000Z",
	})
}

// Tell sends an event to everybody.
func (g *Gateway) Tell(event string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"type":"event","event":%q,"payload":{}}`, event))
		cancel()
	}
}

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		g.serveHTTP(w, r)
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	ctx := r.Context()
	conn.Write(ctx, websocket.MessageText, []byte(`{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}`))
	for signedIn := false; ; {
		var call struct {
			ID     string          `json:"id"`
			Method string          `json:"method"`
			Params json.RawMessage `json:"params"`
		}
		_, data, err := conn.Read(ctx)
		if err != nil || json.Unmarshal(data, &call) != nil {
			g.forget(conn)
			return
		}
		if !signedIn && call.Method != "connect" {
			return
		}
		result, refused := g.answer(call.Method, call.Params)
		answer := map[string]any{"type": "res", "id": call.ID, "ok": refused == nil, "payload": result}
		if refused != nil {
			answer["error"] = refused
		}
		body, err := json.Marshal(answer)
		if err != nil || conn.Write(ctx, websocket.MessageText, body) != nil {
			g.forget(conn)
			return
		}
		if call.Method == "connect" && refused != nil {
			return
		}
		if call.Method == "connect" {
			signedIn = true
			g.mu.Lock()
			g.conns[conn] = struct{}{}
			g.mu.Unlock()
		}
	}
}

func (g *Gateway) forget(conn *websocket.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, conn)
}

// serveHTTP is its own HTTP: it tells what came, so that tests see what was sent.
func (g *Gateway) serveHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	token := g.token
	g.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+token:
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/away":
		http.Redirect(w, r, "http://elsewhere.example/", http.StatusFound)
	case r.URL.Path == "/text":
		fmt.Fprint(w, "my token is "+token)
	default:
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		json.NewEncoder(w).Encode(map[string]string{"path": r.URL.RequestURI()})
	}
}

func refusal(code, message, detail string) map[string]any {
	return map[string]any{"code": code, "message": message, "details": map[string]string{"code": detail}}
}

// answer is what a call comes to.
func (g *Gateway) answer(method string, params json.RawMessage) (result any, refused map[string]any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var p struct {
		RequestID string `json:"requestId"`
		DeviceID  string `json:"deviceId"`
		Label     string `json:"label"`
		Channel   string `json:"channel"`
		AccountID string `json:"accountId"`
		Auth      struct {
			Token string `json:"token"`
		} `json:"auth"`
	}
	json.Unmarshal(params, &p)
	if method == "connect" {
		if p.Auth.Token != g.token {
			return nil, refusal("INVALID_REQUEST", "unauthorized", "AUTH_TOKEN_MISMATCH")
		}
		return map[string]any{"type": "hello-ok", "protocol": 4, "server": map[string]string{"version": "1.2.3"}}, nil
	}
	g.calls = append(g.calls, method+" "+string(params))
	take := func(list *[]map[string]any, key, value string) map[string]any {
		i := slices.IndexFunc(*list, func(d map[string]any) bool { return d[key] == value && value != "" })
		if i < 0 {
			return nil
		}
		found := (*list)[i]
		*list = slices.Delete(slices.Clone(*list), i, i+1)
		return found
	}
	var found map[string]any
	switch method {
	case "health":
		return map[string]bool{"ok": true}, nil
	case "device.pair.list":
		return map[string]any{"pending": g.pending, "paired": g.paired}, nil
	case "channels.pairing.list":
		return map[string]any{"requests": g.senders}, nil
	case "device.pair.approve":
		if found = take(&g.pending, "requestId", p.RequestID); found != nil {
			found["approvedAtMs"], found["createdAtMs"], found["connected"] = 1.7e12+1, 1.7e12, true
			delete(found, "requestId")
			g.paired = append(g.paired, found)
			return map[string]any{"requestId": p.RequestID, "device": found}, nil
		}
	case "device.pair.reject":
		if found = take(&g.pending, "requestId", p.RequestID); found != nil {
			return map[string]any{"requestId": p.RequestID, "deviceId": found["deviceId"]}, nil
		}
	case "device.pair.rename":
		if n := len([]rune(p.Label)); n < 1 || n > 64 {
			return nil, refusal("INVALID_REQUEST", "invalid device.pair.rename params", "")
		}
		if found = take(&g.paired, "deviceId", p.DeviceID); found != nil {
			found["operatorLabel"] = strings.TrimSpace(p.Label)
			g.paired = append(g.paired, found)
			return map[string]any{"deviceId": p.DeviceID, "label": p.Label}, nil
		}
	case "device.pair.remove":
		if found = take(&g.paired, "deviceId", p.DeviceID); found != nil {
			return map[string]any{"deviceId": p.DeviceID}, nil
		}
	case "channels.pairing.approve", "channels.pairing.dismiss":
		if p.Channel == "telegram" && p.AccountID == "default" {
			found = take(&g.senders, "requestId", p.RequestID)
		}
		if found != nil {
			return map[string]any{"requestId": p.RequestID, "senderId": found["senderId"]}, nil
		}
	}
	return nil, refusal("INVALID_REQUEST", "unknown "+method, "")
}
