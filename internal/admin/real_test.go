package admin_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/openclaw/openclawtest"
)

// real is an agent whose OpenClaw is a real one, without a sandbox.
type real struct {
	*admintest.Agent
	t        testing.TB
	gateway  *openclawtest.Gateway
	settings func() openclaw.Settings
	record   []byte // what was last rendered
}

func (r *real) config() string { return filepath.Join(r.gateway.Home, ".openclaw", "openclaw.json") }

func (r *real) Reconfigure(context.Context) error {
	current, err := os.ReadFile(r.config())
	if err != nil {
		return err
	}
	next, record, err := openclaw.Merge(current, r.record, r.settings())
	if err != nil {
		return err
	}
	r.record = record
	return atomicfile.Write(r.config(), next, 0o600)
}

func (r *real) Restart(ctx context.Context) error {
	r.t.Log("the gateway is restarted")
	config, err := os.ReadFile(r.config())
	if err != nil {
		return err
	}
	r.gateway.Stop()
	r.gateway, err = openclawtest.StartGateway(openclawtest.Runtime(r.t), r.gateway.Home, r.settings().Port, config)
	return err
}

func (r *real) DialGateway(ctx context.Context) (net.Conn, error) { return r.gateway.Dial(ctx) }

func (r *real) Gateway(ctx context.Context, do func(*gateway.Client) error) error {
	c, err := gateway.Dial(ctx, r.DialGateway, r.Token())
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

type onlyAgents struct{ one admin.Agent }

func (o onlyAgents) All() []admin.Agent               { return []admin.Agent{o.one} }
func (o onlyAgents) Agent(string) (admin.Agent, bool) { return o.one, true }

// device is a browser's key.
type device struct{ private ed25519.PrivateKey }

func (d device) id() string {
	sum := sha256.Sum256(d.private.Public().(ed25519.PublicKey))
	return hex.EncodeToString(sum[:])
}

// greeting is what the gateway answers to a connect.
type greeting struct {
	OK    bool `json:"ok"`
	Error struct {
		Code    string         `json:"code"`
		Message string         `json:"message"`
		Details map[string]any `json:"details"`
	} `json:"error"`
	Payload struct {
		Auth struct {
			DeviceToken string `json:"deviceToken"`
		} `json:"auth"`
	} `json:"payload"`
}

// connect says hello as the Control UI does; the connection stays open.
func (d device) connect(ctx context.Context, addr, token string) (g greeting, conn *websocket.Conn, err error) {
	conn, _, err = websocket.Dial(ctx, "ws://"+addr+"/", &websocket.DialOptions{HTTPHeader: http.Header{
		"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"localhost:8787"}, "Origin": {"http://localhost:8787"},
	}})
	if err != nil {
		return g, nil, err
	}
	conn.SetReadLimit(4 << 20)
	read := func(v any) error {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		return json.Unmarshal(data, v)
	}
	var challenge struct {
		Payload struct {
			Nonce string  `json:"nonce"`
			TS    float64 `json:"ts"`
		} `json:"payload"`
	}
	if err := read(&challenge); err != nil {
		return g, conn, err
	}
	scopes, ts := []string{"operator.read", "operator.write"}, int64(challenge.Payload.TS)
	signed := fmt.Sprintf("v3|%s|openclaw-control-ui|webchat|operator|%s|%d|%s|%s|linux|", d.id(), strings.Join(scopes, ","), ts, token, challenge.Payload.Nonce)
	encode := base64.RawURLEncoding.EncodeToString
	hello, err := json.Marshal(map[string]any{"type": "req", "id": "1", "method": "connect", "params": map[string]any{
		"minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": scopes, "caps": []string{},
		"client": map[string]string{"id": "openclaw-control-ui", "version": "1", "platform": "linux", "mode": "webchat"},
		"auth":   map[string]string{"token": token},
		"device": map[string]any{"id": d.id(), "publicKey": encode(d.private.Public().(ed25519.PublicKey)),
			"signature": encode(ed25519.Sign(d.private, []byte(signed))), "signedAt": ts, "nonce": challenge.Payload.Nonce},
	}})
	if err != nil {
		return g, conn, err
	}
	if err := conn.Write(ctx, websocket.MessageText, hello); err != nil {
		return g, conn, err
	}
	return g, conn, read(&g)
}

// A real gateway is given a new token while a device is paired and connected. What
// OpenClaw makes of the device then is what docs and people are told.
func TestRealTokenRotation(t *testing.T) {
	rt := openclawtest.Runtime(t)
	port, err := openclawtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	model := openclawtest.NewModel()
	defer model.Close()
	var agents onlyAgents
	w := admintest.New(t, func(o *admin.Options) {
		o.Agents, o.TakeUp, o.BootTimeout = &agents, time.Minute, openclawtest.BootLimit
	})
	r := &real{Agent: w.Main, t: t, settings: func() openclaw.Settings { return openclawtest.Settings(port, w.Main.Token(), model) }}
	agents.one = r
	config, record, err := openclaw.Merge(nil, nil, r.settings())
	if err != nil {
		t.Fatal(err)
	}
	r.record = record
	if r.gateway, err = openclawtest.StartGateway(rt, t.TempDir(), port, config); err != nil {
		t.Fatal(err)
	}
	defer func() { r.gateway.Stop() }()
	w.Main.Become(agent.StateAwake)
	ctx, cancel := context.WithTimeout(admintest.Owner(t.Context()), 2*openclawtest.BootLimit)
	defer cancel()

	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := device{private}
	old := w.Main.Token()
	asked, conn, err := d.connect(ctx, r.gateway.Addr, old)
	if err != nil || asked.Error.Code != "NOT_PAIRED" {
		t.Fatalf("%+v, %v", asked, err)
	}
	conn.CloseNow()
	list, err := w.Devices(ctx, "main")
	if err != nil || len(list.Pending) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if _, err := w.ApproveDevice(ctx, "main", list.Pending[0].RequestID); err != nil {
		t.Fatal(err)
	}
	if err := w.RenameDevice(ctx, "main", d.id(), "the phone"); err != nil {
		t.Fatal(err)
	}
	in, live, err := d.connect(ctx, r.gateway.Addr, old)
	if err != nil || !in.OK {
		t.Fatalf("%+v, %v", in, err)
	}
	defer live.CloseNow()
	if list, err := w.Devices(ctx, "main"); err != nil || len(list.Paired) != 1 || !list.Paired[0].Connected || list.Paired[0].Name != "the phone" {
		t.Fatalf("%+v, %v", list, err)
	}

	began := time.Now()
	rotation, err := w.RotateToken(ctx, "main")
	if err != nil || !rotation.Verified || !rotation.OldRefused || rotation.Devices != 1 || rotation.Lost != 0 {
		t.Fatalf("%+v, %v\n%s", rotation, err, r.gateway.Log())
	}
	t.Logf("after %v, restarted: %t: %s", time.Since(began), rotation.Restarted, rotation.Message)

	for err == nil { // events may be waiting
		reading, stop := context.WithTimeout(ctx, 20*time.Second)
		_, _, err = live.Read(reading)
		stop()
	}
	var closed websocket.CloseError
	t.Logf("the device's connection ended: %t, with %v", errors.As(err, &closed) || !errors.Is(err, context.DeadlineExceeded), err)
	for name, token := range map[string]string{"the old token": old, "its device token": in.Payload.Auth.DeviceToken, "the new token": w.Main.Token()} {
		if token == "" {
			t.Logf("with %s: there is none", name)
			continue
		}
		g, conn, err := d.connect(ctx, r.gateway.Addr, token)
		t.Logf("with %s: let in %t, %s %v, %v", name, g.OK, g.Error.Message, g.Error.Details["code"], err)
		if conn != nil {
			conn.CloseNow()
		}
		if let := name == "the new token"; g.OK != let {
			t.Errorf("with %s: %+v", name, g)
		}
	}
	// A removed device is thrown out.
	in, live, err = d.connect(ctx, r.gateway.Addr, w.Main.Token())
	if err != nil || !in.OK {
		t.Fatalf("%+v, %v", in, err)
	}
	defer live.CloseNow()
	if err := w.RevokeDevice(ctx, "main", d.id()); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, _, err = live.Read(ctx)
	}
	t.Logf("the removed device's connection ended with %v", err)
}
