package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// tab is OpenClaw's page in a browser as far as the gateway and the edge see it:
// one WebSocket of a paired device that stays open and on which everything
// arrives.
type tab struct {
	conn   *websocket.Conn
	cancel context.CancelFunc
	ended  chan struct{} // closed when nothing more arrives; err says why

	mu      sync.Mutex // guards what follows
	next    int        // number of the next request
	waiting map[string]chan response
	turns   map[string]*turn // by the idempotency key of their question
	ticks   int
	last    time.Time     // when anything arrived
	silence time.Duration // the longest between two arrivals
	err     error
}

// response is the answer to a request.
type response struct {
	OK      bool
	Error   refusal
	Payload json.RawMessage
}

// turn is what came back for a question.
type turn struct {
	finals int           // how often it was answered
	text   string        // of the last answer
	failed string        // why it was not answered
	over   chan struct{} // closed with the first answer or failure
}

// request has its fields in the order in which OpenClaw's clients write them, by
// which the edge knows what a tab does by itself.
type request struct {
	Type   string `json:"type"`
	ID     string `json:"id"`
	Method string `json:"method"`
	Params any    `json:"params"`
}

// openTab opens one as the visitor, whose device must be paired, and listens to
// the main conversation. The agent has to be awake.
func openTab(ctx context.Context, v *visitor) (*tab, error) {
	conn, _, err := websocket.Dial(ctx, v.origin+"/", &websocket.DialOptions{HTTPClient: v.client, HTTPHeader: http.Header{
		"Origin": {v.origin}, "Cookie": {v.cookie + "; moltworker_present=1"},
	}})
	if err != nil {
		return nil, fmt.Errorf("open a tab: %w", err)
	}
	conn.SetReadLimit(32 << 20)
	reading, cancel := context.WithCancel(context.Background())
	t := &tab{
		conn: conn, cancel: cancel, ended: make(chan struct{}), last: time.Now(),
		waiting: map[string]chan response{}, turns: map[string]*turn{},
	}
	if err := t.signIn(ctx, v); err != nil {
		cancel()
		conn.CloseNow()
		return nil, fmt.Errorf("open a tab: %w", err)
	}
	go t.read(reading)
	if err := t.call(ctx, "sessions.messages.subscribe", map[string]string{"key": "main"}, nil); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *tab) signIn(ctx context.Context, v *visitor) error {
	var challenge struct {
		Payload struct {
			Nonce string
			TS    float64
		}
	}
	if err := readJSON(ctx, t.conn, &challenge); err != nil {
		return err
	}
	connect, err := json.Marshal(v.connect(challenge.Payload.Nonce, int64(challenge.Payload.TS)))
	if err != nil {
		return err
	}
	if err := t.conn.Write(ctx, websocket.MessageText, connect); err != nil {
		return err
	}
	for {
		var answer struct {
			Type string
			response
		}
		if err := readJSON(ctx, t.conn, &answer); err != nil {
			return err
		}
		switch {
		case answer.Type != "res":
		case !answer.OK:
			return &answer.Error
		default:
			return nil
		}
	}
}

// read takes all that arrives.
func (t *tab) read(ctx context.Context) {
	defer close(t.ended)
	for {
		_, data, err := t.conn.Read(ctx)
		t.mu.Lock()
		if err != nil {
			t.err = err
			t.mu.Unlock()
			return
		}
		now := time.Now()
		t.silence, t.last = max(t.silence, now.Sub(t.last)), now
		t.take(data)
		t.mu.Unlock()
	}
}

// take needs mu.
func (t *tab) take(data []byte) {
	var f struct {
		Type, ID, Event string
		response
	}
	if json.Unmarshal(data, &f) != nil {
		return
	}
	switch {
	case f.Type == "res":
		if waiting := t.waiting[f.ID]; waiting != nil {
			delete(t.waiting, f.ID)
			waiting <- f.response
		}
	case f.Event == "tick":
		t.ticks++
	case f.Event == "chat":
		t.chat(f.Payload)
	}
}

// chat takes an event of the conversation. It needs mu.
func (t *tab) chat(payload json.RawMessage) {
	var p struct {
		RunID, State, ErrorMessage string
		Message                    message
	}
	if json.Unmarshal(payload, &p) != nil || t.turns[p.RunID] == nil {
		return
	}
	turn := t.turns[p.RunID]
	switch p.State {
	case "final":
		turn.finals++
		turn.text = p.Message.text()
	case "error", "aborted":
		turn.failed = p.State + ": " + p.ErrorMessage
	default:
		return
	}
	select {
	case <-turn.over:
	default:
		close(turn.over)
	}
}

// message is one of a conversation.
type message struct {
	Role    string
	Content json.RawMessage
}

// text is what a message says, whichever of OpenClaw's two forms it has.
func (m message) text() string {
	var plain string
	if json.Unmarshal(m.Content, &plain) == nil {
		return plain
	}
	var parts []struct{ Type, Text string }
	if json.Unmarshal(m.Content, &parts) != nil {
		return ""
	}
	var b strings.Builder
	for _, p := range parts {
		if p.Type == "text" {
			b.WriteString(p.Text)
		}
	}
	return b.String()
}

// send sends a request and gives the channel on which its answer will be.
func (t *tab) send(ctx context.Context, method string, params any) (<-chan response, error) {
	t.mu.Lock()
	t.next++
	id := fmt.Sprintf("bench-%d", t.next)
	answer := make(chan response, 1)
	t.waiting[id] = answer
	t.mu.Unlock()
	data, err := json.Marshal(request{"req", id, method, params})
	if err != nil {
		return nil, err
	}
	if err := t.conn.Write(ctx, websocket.MessageText, data); err != nil {
		return nil, fmt.Errorf("send %s: %w", method, err)
	}
	return answer, nil
}

// call sends a request and waits for its answer. result may be nil.
func (t *tab) call(ctx context.Context, method string, params, result any) error {
	answer, err := t.send(ctx, method, params)
	if err != nil {
		return err
	}
	select {
	case r := <-answer:
		if !r.OK {
			return fmt.Errorf("%s: %w", method, &r.Error)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(r.Payload, result)
	case <-t.ended:
		return fmt.Errorf("%s: the tab's WebSocket ended: %w", method, t.why())
	case <-ctx.Done():
		return fmt.Errorf("wait for the answer to %s: %w", method, ctx.Err())
	}
}

// ask sends a message to the agent under a key of its own and waits for the
// answer.
func (t *tab) ask(ctx context.Context, key, question string) (string, error) {
	turn := &turn{over: make(chan struct{})}
	t.mu.Lock()
	t.turns[key] = turn
	t.mu.Unlock()
	params := map[string]string{"sessionKey": "main", "message": question, "idempotencyKey": key}
	if err := t.call(ctx, "chat.send", params, nil); err != nil {
		return "", err
	}
	select {
	case <-turn.over:
	case <-t.ended:
		return "", fmt.Errorf("wait for the answer to %q: the tab's WebSocket ended: %w", question, t.why())
	case <-ctx.Done():
		return "", fmt.Errorf("wait for the answer to %q: %w", question, ctx.Err())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if turn.failed != "" {
		return "", errors.New("the agent did not answer: " + turn.failed)
	}
	return turn.text, nil
}

// history is the main conversation as the gateway keeps it, oldest first.
func (t *tab) history(ctx context.Context) ([]message, error) {
	var page struct{ Messages []message }
	return page.Messages, t.call(ctx, "chat.history", map[string]any{"sessionKey": "main", "limit": 1000}, &page)
}

// answeredTwice are the keys of questions with another number of answers than
// one.
func (t *tab) notAnsweredOnce() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var keys []string
	for key, turn := range t.turns {
		if turn.finals != 1 {
			keys = append(keys, fmt.Sprintf("%s: %d times", key, turn.finals))
		}
	}
	return keys
}

// heard is how many ticks came since it was last asked, and the longest silence.
func (t *tab) heard() (ticks int, silence time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ticks, silence = t.ticks, max(t.silence, time.Since(t.last))
	t.ticks, t.silence, t.last = 0, 0, time.Now()
	return ticks, silence
}

// open says whether the WebSocket is.
func (t *tab) open() bool {
	select {
	case <-t.ended:
		return false
	default:
		return true
	}
}

func (t *tab) why() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

func (t *tab) close() {
	t.cancel()
	t.conn.CloseNow()
	<-t.ended
}
