package edge

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

// Ticks and pongs stand where frames allow it and nowhere else.
func TestNothingIsPutIntoAMessage(t *testing.T) {
	end := &recordingConn{}
	e := &Edge{opts: Options{Tick: func(time.Time) []byte { return []byte("t") }, Now: time.Now}, stopping: context.Background()}
	l := e.newLine(visit{}, end, &recordingConn{})
	at := passage{}
	var want string
	for _, step := range []struct {
		chunk      string
		tick, pong bool // expected after it
	}{
		{text("whole"), true, true},
		{part(opText, false, "a"), false, true},
		{part(opPing, true, "p"), false, true},
		{part(opContinuation, false, "b")[:1], false, true}, // cut in the head: it stays back
		{part(opContinuation, false, "b")[:2], false, false},
		{"b", false, true},
		{part(opContinuation, true, "c"), true, true},
		{text("half")[:4], false, false},
		{"lf", true, true},
		{"\xff\x00", false, false}, // no frame that we know
		{text("x"), false, false},
	} {
		n := at.walk([]byte(step.chunk))
		if n > 0 {
			_ = l.passDown([]byte(step.chunk[:n]), &at)
			want += step.chunk[:n]
		}
		l.tick()
		if step.tick {
			want += text("t")
		}
		l.client.insert(serverFrame(opPong, nil))
		if step.pong {
			want += string(serverFrame(opPong, nil))
		}
		if string(end.written) != want {
			t.Fatalf("after %q: %q, want %q", step.chunk, end.written, want)
		}
	}
	l.end(closeTryLater, "no")
	if l.tick(); string(end.written) != want {
		t.Errorf("something after the end: %q", end.written)
	}
}

// readyBackend is always there, whatever the line believes.
type readyBackend struct {
	Backend
	uses int
}

func (b *readyBackend) Use(context.Context, string) (func(), error) {
	b.uses++
	return func() {}, nil
}
func (b *readyBackend) Status() agent.Status { return agent.Status{State: agent.StateAwake} }

// climb runs a stream through the client's direction of a line.
func climb(stream io.Reader, awake, opaque bool) (toGateway, toClient string, uses int) {
	client, gateway, backend := &recordingConn{}, &recordingConn{}, &readyBackend{}
	opts := Options{Passive: func(m []byte) bool { return bytes.HasPrefix(m, []byte("poll")) }}
	opts.Limits = opts.Limits.withDefaults()
	l := (&Edge{opts: opts, stopping: context.Background()}).newLine(visit{agent: "main", backend: backend}, client, gateway)
	defer l.cancel()
	l.opaque = opaque
	l.awake.Store(awake)
	u := &upstream{line: l, in: bufio.NewReaderSize(stream, copyBufferSize), at: passage{fromClient: true}}
	_ = u.run()
	return string(gateway.written), string(client.written), backend.uses
}

func TestClientFrames(t *testing.T) {
	f := func(op byte, s string) string { return string(clientFrame(op, true, s)) }
	poll, message := f(opText, "poll"), f(opText, "message")
	for name, tt := range map[string]struct {
		stream        string
		awake, opaque bool
		gateway       string // "=" for all of it
		uses          int
	}{
		"awake":                {poll + message + f(opPing, "") + poll, true, false, "=", 1},
		"polls asleep":         {poll + poll, false, false, "", 0},
		"asleep":               {poll + f(opPing, "x") + message + poll, false, false, poll + message, 1},
		"binary":               {f(2, "poll"), false, false, "=", 1},
		"a large poll":         {f(opText, "poll"+strings.Repeat("x", maxPassive)), false, false, "=", 1},
		"in fragments":         {string(clientFrame(opText, false, "poll")) + f(opContinuation, "x") + poll, false, false, string(clientFrame(opText, false, "poll")) + f(opContinuation, "x"), 1},
		"not masked":           {text("poll"), false, false, "=", 1},
		"compressed":           {"\xc1\x80\x00\x00\x00\x00" + poll, false, false, "=", 1},
		"stray continuation":   {f(opContinuation, "x"), false, false, "=", 1},
		"text within text":     {string(clientFrame(opText, false, "x")) + poll, false, false, "=", 2},
		"a long ping":          {f(opPing, strings.Repeat("x", 126)), false, false, "=", 1},
		"polls before bytes":   {poll + text("poll"), false, false, "=", 1},
		"with an extension":    {poll, false, true, "=", 1},
		"cut in the head":      {message + message[:3], true, false, "=", 1},
		"cut in the payload":   {f(opText, strings.Repeat("x", maxJudged))[:maxJudged], true, false, "=", 0},
		"cut after that":       {f(opText, strings.Repeat("x", 2*maxJudged))[:2*maxJudged], true, false, "=", 1},
		"a poll that is cut":   {poll[:8], true, false, "=", 0},
		"the same, asleep":     {poll[:8], false, false, "", 0},
		"a message of nothing": {f(opText, ""), false, false, "=", 1},
	} {
		if tt.gateway == "=" {
			tt.gateway = tt.stream
		}
		if got, _, uses := climb(strings.NewReader(tt.stream), tt.awake, tt.opaque); got != tt.gateway || uses != tt.uses {
			t.Errorf("%s: the gateway got %q, want %q; %d uses, want %d", name, got, tt.gateway, uses, tt.uses)
		}
	}
}

// Any stream reaches a gateway that is awake unchanged; to one that sleeps, what
// passes stays frames, and so does what the client is told.
func FuzzClientFrames(f *testing.F) {
	f.Add(clientFrame(opText, true, "poll"), uint8(0))
	f.Add(append(clientFrame(opText, false, "m"), clientFrame(opPing, true, "x")...), uint8(1))
	f.Add(append(clientFrame(opClose, true, "\x03\xe8"), clientFrame(opPong, true, "x")...), uint8(2))
	f.Add([]byte("\x81\xff\x00\x00\x00\x00\x00\x01\x00\x00"), uint8(3))
	f.Fuzz(func(t *testing.T, stream []byte, chunk uint8) {
		in := func() io.Reader {
			if chunk%2 == 1 {
				return &pieces{stream, int(chunk)}
			}
			return bytes.NewReader(stream)
		}
		if got, told, _ := climb(in(), true, chunk%4 > 1); got != string(stream) || told != "" {
			t.Fatalf("%q became %q; the client was told %q", stream, got, told)
		}
		got, told, _ := climb(in(), false, false)
		if len(got) > len(stream) {
			t.Fatalf("%q became %q", stream, got)
		}
		at := passage{}
		if n := at.walk([]byte(told)); at.lost || n != len(told) || !at.between() {
			t.Fatalf("%q: the client was told %q", stream, told)
		}
	})
}

// pieces reads b in pieces of n bytes.
type pieces struct {
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.b[:min(p.n, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}

// A day's sleep in the middle of a write: the gateway takes nothing, the client
// hears from us every 20 s, and in the end the message arrives.
func TestLineOutlivesADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab, client := net.Pipe()
		guest, gateway := net.Pipe()
		main := &fakeAgent{watchers: map[chan agent.Status]struct{}{}, status: agent.Status{State: agent.StateAwake}}
		stopping, stop := context.WithCancel(t.Context())
		defer stop()
		opts := Options{Tick: func(time.Time) []byte { return []byte("tick") }, Now: time.Now, Explain: silent}
		opts.Limits = opts.Limits.withDefaults()
		l := (&Edge{opts: opts, stopping: stopping}).newLine(visit{agent: "main", backend: main}, client, gateway)
		over := make(chan struct{})
		go func() { l.run(bufio.NewReader(client), bufio.NewReader(gateway)); close(over) }()

		var ticks []time.Time
		go func() {
			frame := make([]byte, len(text("tick")))
			for {
				if _, err := io.ReadFull(tab, frame); err != nil {
					return
				}
				ticks = append(ticks, time.Now())
			}
		}()
		message := clientFrame(opText, true, "is anybody there?")
		go func() { _, _ = tab.Write(message) }()
		time.Sleep(time.Minute)
		if len(ticks) > 0 {
			t.Error("a tick while the agent was awake")
		}
		main.is(agent.StateAsleep)
		time.Sleep(24 * time.Hour)
		main.is(agent.StateWaking)
		main.is(agent.StateAwake)
		got := make([]byte, len(message))
		if _, err := io.ReadFull(guest, got); err != nil || !bytes.Equal(got, message) {
			t.Fatalf("%q, %v", got, err)
		}
		synctest.Wait()
		if want := 24*60*3 + 1; len(ticks) < want-1 || len(ticks) > want {
			t.Errorf("%d ticks, want %d", len(ticks), want)
		}
		for i := 1; i < len(ticks); i++ {
			if pause := ticks[i].Sub(ticks[i-1]); pause < 20*time.Second || pause > 21*time.Second {
				t.Fatalf("tick %d after %s", i, pause)
			}
		}
		guest.Close()
		tab.Close()
		<-over
	})
}
