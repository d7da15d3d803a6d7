package aigateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// stage is a realtime model whose events the test sends.
type stage struct {
	*httptest.Server
	heard chan string   // messages of the client
	plays chan string   // events; closing it breaks the connection off
	left  chan struct{} // gets one for every client that is gone
}

func startStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{heard: make(chan string, 64), plays: make(chan string, 64), left: make(chan struct{}, 64)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"realtime"}})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			for {
				_, message, err := c.Read(r.Context())
				if err != nil {
					return
				}
				s.heard <- string(message)
			}
		}()
		for {
			select {
			case <-gone:
				s.left <- struct{}{}
				return
			case event, ok := <-s.plays:
				if !ok || c.Write(r.Context(), websocket.MessageText, []byte(event)) != nil {
					return
				}
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// scene is a session on a stage.
type scene struct {
	*stage
	t    *testing.T
	b    *books
	r    *rig
	c    *websocket.Conn
	gate *limit.Gate
	w    *limit.Window
}

// newScene opens a session under a budget of a dollar, with a gate for one call.
func newScene(t *testing.T, adjust ...func(*Options)) *scene {
	t.Helper()
	s := &scene{stage: startStage(t), t: t, b: newBooks(t, daily(price.Dollar)), gate: limit.NewGate(limit.GateOptions{Total: 1, Queue: 8, Wait: time.Minute})}
	var err error
	if s.w, err = limit.NewWindow(limit.WindowOptions{Rate: limit.Rate{Requests: 100, Per: time.Hour, Sliding: true}}); err != nil {
		t.Fatal(err)
	}
	s.r = newRig(t, says(""), append([]func(*Options){s.b.use, func(o *Options) { o.Gate, o.Windows = s.gate, []*limit.Window{s.w} }}, adjust...)...)
	s.r.secrets.put("OPENAI_BASE_URL", s.URL+"/v1")
	s.c = s.dial()
	return s
}

func (s *scene) dial() *websocket.Conn {
	s.t.Helper()
	c, _, err := dial(s.t, s.r, "?model=gpt-x")
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// says has the client send a message, which arrives.
func (s *scene) says(message string) {
	s.t.Helper()
	if err := s.c.Write(s.t.Context(), websocket.MessageText, []byte(message)); err != nil {
		s.t.Fatal(err)
	}
	select {
	case got := <-s.heard:
		if got != message {
			s.t.Fatalf("the model heard %q", got)
		}
	case <-s.left:
		_, _, err := s.c.Read(s.t.Context())
		s.t.Fatalf("%s was not passed on: %v", message, err)
	}
}

// sees has the model send an event, which arrives and is accounted for: that is done
// when it was passed on, and before the next is.
func (s *scene) sees(event string) {
	s.t.Helper()
	s.shows(event)
	s.shows(`{"type":"rate_limits.updated"}`)
}

// shows has the model send an event, which arrives.
func (s *scene) shows(event string) {
	s.t.Helper()
	s.plays <- event
	if _, got, err := s.c.Read(s.t.Context()); err != nil || string(got) != event {
		s.t.Fatalf("%q instead of %q: %v", got, event, err)
	}
}

// refused sends a message and returns why the session ended by it.
func (s *scene) refused(message string) string {
	s.t.Helper()
	if err := s.c.Write(s.t.Context(), websocket.MessageText, []byte(message)); err != nil {
		s.t.Fatal(err)
	}
	_, got, err := s.c.Read(s.t.Context())
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != websocket.StatusPolicyViolation {
		s.t.Fatalf("after %s: %q, %v", message, got, err)
	}
	<-s.left
	return closed.Reason
}

func (s *scene) holds() price.Money { return s.b.ledger.State().Rules[0].Reserved }

func (s *scene) running() int { n, _ := s.gate.Load(); return n }

// leaves closes the session and returns its row. Nothing is held then.
func (s *scene) leaves() (cost price.Money, estimated bool, tokens int64) {
	s.t.Helper()
	s.c.CloseNow()
	row := s.b.recorded(1)[0]
	eventually(s.t, "all is given back", func() bool {
		run, wait := s.gate.Load()
		return s.b.ledger.State().InFlight == 0 && run+wait == 0
	})
	if row.Cost != s.b.spent() {
		s.t.Errorf("the record says %v, the ledger %v", row.Cost, s.b.spent())
	}
	return row.Cost, row.Usage.Estimated, row.Usage.Total()
}

const (
	create = `{"type":"response.create"}` // 26 bytes, which are 7 tokens
	micro  = price.Dollar / 1e6
)

// TestRealtimeAnswersThatAreLeftArePaid: of an answer that is left before it says what
// it consumed, that is worked out from what has passed.
func TestRealtimeAnswersThatAreLeftArePaid(t *testing.T) {
	const created = `{"type":"response.created","response":{"id":"r1","conversation_id":"c"}}`
	text := `{"type":"response.output_text.delta","response_id":"r1","delta":"` + strings.Repeat("word ", 200) + `"}`
	// 64,000 bytes of base64 are 48,000 of speech: a second, for which 20 tokens are spoken.
	speech := `{"type":"response.output_audio.delta","response_id":"r1","delta":"` + strings.Repeat("A", 64_000) + `"}`
	narrow := `{"type":"session.updated","session":{"audio":{"output":{"format":{"type":"audio/pcmu"}}}}}`
	for _, tt := range []struct {
		name   string
		events []string
		output int64
		begun  bool
	}{
		{"nothing came", nil, 0, false},
		{"it had begun", []string{created}, 0, true},
		{"text", []string{created, text, text}, 500, true}, // 2,000 bytes
		{"text without a beginning", []string{text}, 250, true},
		{"speech", []string{created, speech}, 20, true},
		{"speech at a sixth of the bytes", []string{narrow, created, speech}, 120, true},
		{"a transcript, and a call of a function", []string{created,
			`{"type":"response.audio_transcript.delta","response_id":"r1","delta":"1234"}`,
			`{"type":"response.function_call_arguments.delta","response_id":"r1","delta":"12345"}`}, 3, true},
		{"what is said besides", []string{`{"type":"input_audio_buffer.speech_started"}`, `{"type":"response.output_item.added","response_id":"r1"}`, `no JSON`}, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			s.c.SetReadLimit(1 << 20)
			s.says(create)
			for _, e := range tt.events {
				s.sees(e)
			}
			cost, estimated, tokens := s.leaves()
			want, n := price.Money(0), int64(0)
			if tt.begun { // 7 tokens read at a dollar for a million, the rest written at ten
				want, n = price.Money(7+10*tt.output)*micro, 7+tt.output
			}
			if cost != want || estimated != tt.begun || tokens != n {
				t.Errorf("%v for %d tokens, estimated %t; want %v for %d", cost, tokens, estimated, want, n)
			}
		})
	}
}

// TestRealtimeEstimatesAreAdded to what is known of the answers before.
func TestRealtimeEstimatesAreAdded(t *testing.T) {
	s := newScene(t)
	s.says(create)
	s.sees(done) // 100 tokens read, 20 written: 300 millionths of a dollar
	s.says(create)
	s.sees(`{"type":"response.output_text.delta","delta":"12345678"}`)
	s.sees(`{"type":"response.created","response":{}}`) // and the one before never ended
	s.sees(`{"type":"response.output_text.delta","delta":"1234"}`)
	// The second read the 120 tokens of the first and 7 of the client's, and wrote 2: 147.
	// The third read those 129, and wrote one: 139.
	if cost, estimated, tokens := s.leaves(); cost != (300+147+139)*micro || !estimated || tokens != 120+129+130 {
		t.Errorf("%v for %d tokens, estimated %t", cost, tokens, estimated)
	}
}

// TestRealtimeHolds: while an answer is under way, what it can cost is held: all that
// was said before, what the client said since, and as much as it may answer.
func TestRealtimeHolds(t *testing.T) {
	s := newScene(t)
	if s.holds() != 0 || s.running() != 0 {
		t.Fatalf("an idle session holds %v and %d places", s.holds(), s.running())
	}
	holds := func(what string, prompt, output int64) {
		t.Helper()
		if want := price.Money(prompt+10*output) * micro; s.holds() != want || s.running() != 1 {
			t.Errorf("%s: %v is held instead of %v, and %d places", what, s.holds(), want, s.running())
		}
	}
	free := func(what string) {
		t.Helper()
		eventually(t, what, func() bool { return s.holds() == 0 && s.running() == 0 })
	}
	s.says(create)
	holds("the first", 7, usualOutput)
	s.sees(done)
	free("the first is complete")

	s.says(`{"type":"session.update","session":{"max_output_tokens":100}}`) // 61 bytes: with the next 26, 22 tokens
	s.says(create)
	holds("100 tokens at most", 120+22, 100)
	s.sees(done)
	free("the second is complete")

	// A second of speech, 10 tokens, and 14 for 54 bytes.
	s.says(`{"type":"input_audio_buffer.append","audio":"` + strings.Repeat("A", 64_000) + `"}`)
	s.says(`{"type":"response.create","response":{"max_response_output_tokens":"inf"}}`) // 73 bytes: 19 tokens
	holds("speech, and no bound", 120+10+19, usualOutput)
	s.sees(`{"type":"error","error":{"event_id":null,"message":"no"}}`)
	free("the third is refused")

	s.says(`{"type":"response.create","event_id":"e1","response":{"max_output_tokens":5}}`) // 77 bytes: with 73, 38 tokens
	holds("five tokens", 120+10+38, 5)
	s.sees(`{"type":"error","error":{"event_id":"e2"}}`)
	holds("another request is refused", 120+10+38, 5)
	s.sees(`{"type":"error","error":{"event_id":"e1"}}`)
	free("the fourth is refused")
	if cost, estimated, _ := s.leaves(); cost != 600*micro || estimated {
		t.Errorf("%v, estimated %t", cost, estimated)
	}
}

// TestRealtimeTakesATurnAnAnswer in the windows.
func TestRealtimeTakesATurnAnAnswer(t *testing.T) {
	w, err := limit.NewWindow(limit.WindowOptions{Rate: limit.Rate{Tokens: 40_000, Requests: 3, Per: time.Hour, Sliding: true}})
	if err != nil {
		t.Fatal(err)
	}
	s := newScene(t, func(o *Options) { o.Windows = []*limit.Window{w} })
	for range 3 {
		s.says(create)
		s.sees(done)
	}
	if why := s.refused(create); !strings.Contains(why, "requests") {
		t.Errorf("ended for %q", why)
	}
	if cost, _, tokens := s.leaves(); cost != 900*micro || tokens != 360 {
		t.Errorf("%v, %d tokens", cost, tokens)
	}
	if _, resp, err := dial(t, s.r, "?model=gpt-x"); err == nil || resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("another session: %v", err)
	}
}

// TestRealtimeStop: a stop is one for the session that is open, whoever begins the next
// answer. What of it came before it was found out is counted.
func TestRealtimeStop(t *testing.T) {
	for _, byItself := range []bool{false, true} {
		s := newScene(t)
		s.says(create)
		s.sees(done)
		if err := s.b.ledger.Stop(budget.Stop{Agent: "ada"}); err != nil {
			t.Fatal(err)
		}
		if byItself {
			s.shows(`{"type":"response.created","response":{"id":"r2"}}`)
			if _, _, err := s.c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
				t.Errorf("the session ended with %v", err)
			}
		} else {
			s.refused(create)
		}
		s.c.CloseNow()
		// Nothing can be held for a stopped agent: the ledger does not know of the 120
		// tokens that the second answer read.
		want := map[bool]int64{false: 120, true: 240}[byItself]
		if row := s.b.recorded(1)[0]; row.Error != "stopped" || row.Usage.Total() != want || s.b.spent() != 300*micro {
			t.Errorf("begun by itself %t: %+v, spent %v", byItself, row, s.b.spent())
		}
		if n := s.b.ledger.State().InFlight; n != 0 || s.running() != 0 {
			t.Errorf("%d in flight, %d places", n, s.running())
		}
	}
}

// TestRealtimeAnswersThatBeginByThemselves are held and counted as others, and what
// there is no money for ends the session.
func TestRealtimeAnswersThatBeginByThemselves(t *testing.T) {
	s := newScene(t)
	s.sees(`{"type":"response.created","response":{"id":"r1"}}`)
	eventually(t, "it is held", func() bool { return s.holds() == 10*usualOutput*micro && s.running() == 1 })
	s.sees(`{"type":"response.done","response":{"id":"r1","status":"cancelled","usage":{"input_tokens":7,"output_tokens":3}}}`)
	s.sees(`{"type":"response.output_text.delta","response_id":"r1","delta":"late"}`)
	s.sees(`{"type":"response.created","response":{"id":"r2"}}`)
	s.sees(`{"type":"response.done","response":{"id":"r2","status":"failed","usage":null}}`)
	eventually(t, "nothing is held", func() bool { return s.holds() == 0 && s.running() == 0 })
	if err := s.b.ledger.SetRules([]budget.Rule{daily(40 * micro)}); err != nil { // 37 are spent
		t.Fatal(err)
	}
	s.shows(`{"type":"response.created","response":{"id":"r3"}}`)
	if _, _, err := s.c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("the session ended with %v", err)
	}
	// The third read the ten tokens of the first.
	if cost, estimated, _ := s.leaves(); cost != (37+10)*micro || !estimated {
		t.Errorf("%v, estimated %t", cost, estimated)
	}
}

// TestRealtimeAnswersSideBySide share the session's place in the gate, are told apart
// by their names, and are bounded.
func TestRealtimeAnswersSideBySide(t *testing.T) {
	s := newScene(t)
	s.says(`{"type":"session.update","session":{"max_output_tokens":10}}`)
	for i := range maxUnderWay {
		s.says(create)
		s.sees(fmt.Sprintf(`{"type":"response.created","response":{"id":"r%d"}}`, i))
	}
	if s.running() != 1 {
		t.Errorf("%d places", s.running())
	}
	s.sees(`{"type":"response.done","response":{"id":"r3","conversation_id":null,"usage":{"input_tokens":50,"output_tokens":5}}}`)
	s.says(create)
	s.sees(`{"type":"response.created","response":{"id":"r9"}}`)
	if why := s.refused(create); !strings.Contains(why, "too many answers") {
		t.Errorf("ended for %q", why)
	}
	// r0 read 15 tokens of 60 bytes and 7 of 26; in all, 60 and 26 bytes for each before:
	// 22, 28, 35, (r3) 41, 48, 54, 61, and 74 after nine. r3 says 100 for 50 and 5 itself.
	var want price.Money
	for i := range 9 {
		if i != 3 {
			want += price.Money((60+26*(i+1)+3)/4) * micro
		}
	}
	if cost, _, _ := s.leaves(); cost != want+100*micro {
		t.Errorf("%v instead of %v", cost, want+100*micro)
	}
}

// TestRealtimeWaitsForTheGate: an idle session keeps nobody out, an answer under way
// does, and who waits stops waiting when the session ends.
func TestRealtimeWaitsForTheGate(t *testing.T) {
	s := newScene(t)
	leave, err := s.gate.Enter(t.Context(), limit.Key{Agent: "bob"}) // though the session is open
	if err != nil {
		t.Fatal(err)
	}
	waiting := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d wait", n), func() bool { _, w := s.gate.Load(); return w == n })
	}
	ask := func() {
		t.Helper()
		if err := s.c.Write(t.Context(), websocket.MessageText, []byte(create)); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	waiting(1)
	s.sees(`{"type":"rate_limits.updated"}`) // the other direction goes on
	leave()
	<-s.heard
	s.sees(done)
	eventually(t, "the place is given back", func() bool { return s.running() == 0 })

	if leave, err = s.gate.Enter(t.Context(), limit.Key{Agent: "bob"}); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	lone := liveSession(s.r.gw, ctx, usage.Realtime)
	ended := make(chan error)
	go func() { ended <- lone.overhear([]byte(create)) }()
	go func() { ended <- lone.account([]byte(`{"type":"response.created","response":{"id":"r1"}}`)) }()
	waiting(1) // both, for the same place
	end()
	for range 2 {
		if err := <-ended; err == nil {
			t.Error("an answer was given to a session that had ended")
		}
	}
	waiting(0)
	leave()
	lone.end()
	s.c.CloseNow()
	eventually(t, "all is given back", func() bool { return s.b.ledger.State().InFlight == 0 && s.running() == 0 })
}

// TestRealtimeAnswersCountWhenTheyAreGiven: on the day that it is then.
func TestRealtimeAnswersCountWhenTheyAreGiven(t *testing.T) {
	var later atomic.Int64
	s := newScene(t, func(o *Options) {
		o.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	})
	s.says(create)
	s.sees(done)
	eventually(t, "it is counted", func() bool { return s.b.spent() == 300*micro })
	later.Store(int64(48 * time.Hour))
	s.says(create)
	s.sees(done)
	s.c.CloseNow()
	if row := s.b.recorded(1)[0]; row.Cost != 600*micro || s.b.spent() != 300*micro {
		t.Errorf("the session cost %v, today %v", row.Cost, s.b.spent())
	}
}

// TestRealtimeSocketsAreBounded for one caller; another has its own.
func TestRealtimeSocketsAreBounded(t *testing.T) {
	s := startTalker(t)
	s.asked = make(chan *http.Request, 64)
	r := newRig(t, says(""))
	r.secrets.put("OPENAI_BASE_URL", s.URL+"/v1")
	var open []*websocket.Conn
	for range maxSockets {
		c, _, err := dial(t, r, "?model=gpt-x")
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if _, resp, err := dial(t, r, "?model=gpt-x"); err == nil || resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("one more: %v", err)
	}
	open[0].CloseNow()
	eventually(t, "there is room for one", func() bool {
		_, _, err := dial(t, r, "?model=gpt-x")
		return err == nil
	})
}

// TestRealtimePanicGivesBack what was held, ends that session, and no more.
func TestRealtimePanicGivesBack(t *testing.T) {
	var broken atomic.Bool
	s := newScene(t, func(o *Options) {
		o.Now = func() time.Time {
			if broken.CompareAndSwap(true, false) {
				panic("on purpose")
			}
			return time.Now()
		}
	})
	s.says(create)
	broken.Store(true)
	if why := s.refused(create); !strings.Contains(why, "failed") {
		t.Errorf("ended for %q", why)
	}
	if cost, _, _ := s.leaves(); cost != 0 {
		t.Errorf("%v for nothing", cost)
	}
	s.c = s.dial()
	s.says(create)
	s.sees(done)
}
