package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/openclaw/gateway"
)

// A browser is what the Control UI is to the gateway: a device with a key of its
// own that comes through a proxy.
type browser struct {
	private ed25519.PrivateKey
	addr    string
	token   string
	origin  string
}

func newBrowser(t *testing.T, addr, token string) *browser {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{private: private, addr: addr, token: token, origin: "http://localhost:8787"}
}

func (b *browser) id() string {
	sum := sha256.Sum256(b.private.Public().(ed25519.PublicKey))
	return hex.EncodeToString(sum[:])
}

// answer is the gateway's answer to a connect.
type answer struct {
	OK    bool `json:"ok"`
	Error struct {
		Code    string         `json:"code"`
		Message string         `json:"message"`
		Details map[string]any `json:"details"`
	} `json:"error"`
	closeReason string
}

func (b *browser) connect(ctx context.Context) (a answer, err error) {
	conn, _, err := websocket.Dial(ctx, "ws://"+b.addr+"/", &websocket.DialOptions{HTTPHeader: http.Header{
		"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"localhost:8787"}, "Origin": {b.origin},
	}})
	if err != nil {
		return a, err
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 20)
	var challenge struct {
		Payload struct {
			Nonce string  `json:"nonce"`
			TS    float64 `json:"ts"`
		} `json:"payload"`
	}
	if err := readJSON(ctx, conn, &challenge); err != nil {
		return a, err
	}
	hello, err := json.Marshal(b.hello(challenge.Payload.Nonce, int64(challenge.Payload.TS)))
	if err != nil {
		return a, err
	}
	if err := conn.Write(ctx, websocket.MessageText, hello); err != nil {
		return a, err
	}
	if err := readJSON(ctx, conn, &a); err != nil || a.OK {
		return a, err
	}
	var closed websocket.CloseError
	if _, _, err := conn.Read(ctx); errors.As(err, &closed) {
		a.closeReason = closed.Reason
	}
	return a, nil
}

func readJSON(ctx context.Context, conn *websocket.Conn, v any) error {
	_, data, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

func (b *browser) hello(nonce string, ts int64) any {
	scopes := []string{"operator.read", "operator.write"}
	signed := fmt.Sprintf("v3|%s|openclaw-control-ui|webchat|operator|%s|%d|%s|%s|linux|", b.id(), strings.Join(scopes, ","), ts, b.token, nonce)
	encode := base64.RawURLEncoding.EncodeToString
	return map[string]any{"type": "req", "id": "1", "method": "connect", "params": map[string]any{
		"minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": scopes, "caps": []string{},
		"client": map[string]string{"id": "openclaw-control-ui", "version": "1", "platform": "linux", "mode": "webchat"},
		"auth":   map[string]string{"token": b.token},
		"device": map[string]any{
			"id": b.id(), "publicKey": encode(b.private.Public().(ed25519.PublicKey)),
			"signature": encode(ed25519.Sign(b.private, []byte(signed))), "signedAt": ts, "nonce": nonce,
		},
	}}
}

// A browser asks, the host approves, the browser is in, the host removes it.
func TestRealPairing(t *testing.T) {
	g, c := dialShared(t)
	sub := c.Subscribe("device.pair.requested", "device.pair.resolved")
	defer sub.Close()
	b := newBrowser(t, g.Addr, g.Token)
	a, err := b.connect(within(t))
	if err != nil || a.OK || a.Error.Code != "NOT_PAIRED" || a.Error.Details["code"] != "PAIRING_REQUIRED" {
		t.Fatalf("%+v, %v", a, err)
	}
	t.Logf("refused: %q, %v, closed with %q", a.Error.Message, a.Error.Details, a.closeReason)
	asked := pending(t, c, b.id())
	if asked.RequestID != a.Error.Details["requestId"] || asked.Client != "openclaw-control-ui" || asked.Address != "192.0.2.7" || asked.Asked.IsZero() {
		t.Errorf("%+v", asked)
	}
	if e := <-sub.Events(); e.Name != "device.pair.requested" {
		t.Errorf("event %s", e.Name)
	}
	device, err := c.ApproveDevice(within(t), asked.RequestID)
	if err != nil || device.DeviceID != b.id() || device.Approved.IsZero() {
		t.Fatalf("%+v, %v", device, err)
	}
	if a, err := b.connect(within(t)); err != nil || !a.OK {
		t.Fatalf("after approval: %+v, %v", a, err)
	}
	if err := c.RemoveDevice(within(t), b.id()); err != nil {
		t.Fatal(err)
	}
	if a, err := b.connect(within(t)); err != nil || a.OK {
		t.Fatalf("after removal: %+v, %v", a, err)
	}
	if rejected, err := c.RejectDevice(within(t), pending(t, c, b.id()).RequestID); err != nil || rejected != b.id() {
		t.Fatalf("rejected %q, %v", rejected, err)
	}
	devices, err := c.Devices(within(t))
	if err != nil || len(devices.Pending) != 0 || len(devices.Paired) != 0 {
		t.Errorf("%+v, %v", devices, err)
	}
}

func pending(t *testing.T, c *gateway.Client, deviceID string) gateway.PendingDevice {
	t.Helper()
	devices, err := c.Devices(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range devices.Pending {
		if p.DeviceID == deviceID {
			return p
		}
	}
	t.Fatalf("%s is not pending: %+v", deviceID, devices)
	return gateway.PendingDevice{}
}

func TestRealRefusalOfAnOrigin(t *testing.T) {
	g, _ := dialShared(t)
	b := newBrowser(t, g.Addr, g.Token)
	b.origin = "http://elsewhere.example"
	a, err := b.connect(within(t))
	if err != nil || a.OK || a.Error.Details["code"] != "CONTROL_UI_ORIGIN_NOT_ALLOWED" {
		t.Errorf("%+v, %v", a, err)
	}
	t.Logf("refused: %q, closed with %q", a.Error.Message, a.closeReason)
}
