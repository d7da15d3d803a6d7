package aigateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// talker is a realtime model: it answers every "response.create" with a text and what
// it consumed, 100 tokens read and 20 written.
type talker struct {
	*httptest.Server
	asked chan *http.Request
}

const done = `{"type":"response.done","response":{"usage":{"total_tokens":120,"input_tokens":100,"output_tokens":20,"input_token_details":{"text_tokens":100},"output_token_details":{"text_tokens":20}}}}`

func startTalker(t *testing.T) *talker {
	t.Helper()
	s := &talker{asked: make(chan *http.Request, 8)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked <- r
		if r.URL.Query().Get("model") == "unknown" {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":{"message":"no such model"}}`)
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"realtime"}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			_, message, err := c.Read(r.Context())
			if err != nil {
				return
			}
			if strings.Contains(string(message), "response.create") {
				for _, m := range []string{`{"type":"response.output_text.delta","delta":"héllo"}`, done} {
					if c.Write(r.Context(), websocket.MessageText, []byte(m)) != nil {
						return
					}
				}
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// dial opens a session as a guest would.
func dial(t *testing.T, r *rig, query string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	c, resp, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(r.url, "http")+"/openai/realtime"+query, &websocket.DialOptions{
		HTTPHeader:   http.Header{"Authorization": {"Bearer " + placeholder}, "Openai-Beta": {"realtime=v1"}},
		Subprotocols: []string{"realtime", "openai-insecure-api-key." + placeholder},
	})
	if c != nil {
		t.Cleanup(func() { _ = c.CloseNow() })
	}
	return c, resp, err
}

// turn asks for an answer and reads all of it.
func turn(ctx context.Context, c *websocket.Conn) (string, error) {
	if err := c.Write(ctx, websocket.MessageText, []byte(`{"type":"response.create"}`)); err != nil {
		return "", err
	}
	var all string
	for {
		_, message, err := c.Read(ctx)
		if err != nil {
			return all, err
		}
		if all += string(message); strings.Contains(string(message), "response.done") {
			return all, nil
		}
	}
}

// TestRealtime: a session goes to the provider with the real key, its messages pass as
// they are, and what its answers consumed is counted, answer by answer.
func TestRealtime(t *testing.T) {
	b := newBooks(t, daily(price.Dollar))
	s := startTalker(t)
	r := newRig(t, says(""), b.use)
	r.secrets.put("OPENAI_BASE_URL", s.URL+"/v1")
	c, resp, err := dial(t, r, "?model=gpt-x")
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Cf-Aig-Log-Id") == "" || c.Subprotocol() != "realtime" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	up := <-s.asked
	if up.Header.Get("Authorization") != "Bearer "+openaiKey || strings.Contains(fmt.Sprint(up.Header), placeholder) || up.URL.Path != "/v1/realtime" || up.Header.Get("Openai-Beta") == "" {
		t.Errorf("%s %v", up.URL, up.Header)
	}
	for range 2 {
		text, err := turn(t.Context(), c)
		if err != nil || !strings.Contains(text, "héllo") || !strings.HasSuffix(text, done) {
			t.Fatalf("%q %v", text, err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	row := b.recorded(1)[0]
	// Two answers of 100 tokens at $1 and 20 at $10 for a million.
	if want := 600 * price.Dollar / 1e6; row.Cost != want || b.spent() != want || row.Usage.Total() != 240 || row.Usage.Estimated {
		t.Errorf("cost %v, spent %v, usage %+v", row.Cost, b.spent(), row.Usage)
	}
	if row.Status != 101 || row.Model != "gpt-x" || row.Error != "" || row.ResponseBytes == 0 || !row.Stream {
		t.Errorf("%+v", row)
	}
}

// TestARealtimeSessionEndsWithTheMoney: the answer that spends what there was is given,
// and there is no other.
func TestARealtimeSessionEndsWithTheMoney(t *testing.T) {
	// One answer costs $0.0003. The most that one can cost is $0.32768, as 32,768 tokens
	// may be written unasked: with a limit of a hundredth of a cent above that, the
	// second is not held any more.
	b := newBooks(t, daily(327_780*price.Dollar/1e6))
	s := startTalker(t)
	r := newRig(t, says(""), b.use)
	r.secrets.put("OPENAI_BASE_URL", s.URL+"/v1")
	c, _, err := dial(t, r, "?model=gpt-x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := turn(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	_, err = turn(t.Context(), c)
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != websocket.StatusPolicyViolation {
		t.Errorf("the session ended with %v", err)
	}
	if row := b.recorded(1)[0]; row.Error != "budget" || row.Cost != 300*price.Dollar/1e6 || b.spent() != row.Cost {
		t.Errorf("%+v, spent %v", row, b.spent())
	}
	if held := b.ledger.State().Rules[0].Reserved; held != 0 {
		t.Errorf("%v is still held", held)
	}
	if _, resp, err := dial(t, r, "?model=gpt-x"); err == nil || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusBadRequest {
		t.Errorf("another session: %v", err)
	}
}

// TestRealtimeIsRefused: what is no handshake, what the provider refuses, and what an
// agent may not use or say.
func TestRealtimeIsRefused(t *testing.T) {
	s := startTalker(t)
	r := newRig(t, says(""), guarded(t, guardrail.Policy{Models: []string{"gpt-*", "unknown"}, Rules: []guardrail.Rule{{Check: guardrail.Secrets, Direction: guardrail.Request, Action: guardrail.Redact}}}))
	r.secrets.put("OPENAI_BASE_URL", s.URL+"/v1")
	if _, resp, err := dial(t, r, "?model=unknown"); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("the provider's refusal: %v", err)
	}
	if _, resp, err := dial(t, r, "?model=o9"); err == nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("a model that may not be used: %v", err)
	}
	req, _ := http.NewRequest(http.MethodGet, r.url+"/openai/realtime?model=gpt-x", nil)
	if got := r.do(req); got.StatusCode != http.StatusBadRequest {
		t.Errorf("no handshake: %d %q", got.StatusCode, got.body)
	}
	c, _, err := dial(t, r, "?model=gpt-x")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Write(t.Context(), websocket.MessageText, []byte(`{"text":"my token is ghp_abcdefghijklmnopqrstuvwxyz0123456789"}`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("the session went on: %v", err)
	}
}
