package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/guest"
	"github.com/moltworker/moltworker/internal/guest/link"
	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// captured is a driver whose sandboxes hold nothing but a guest that does as it
// likes: behave is called with each of its sessions.
type captured struct {
	link   string
	behave func(*link.Session)

	mu     sync.Mutex
	made   int
	latest *cell
}

type cell struct {
	ended chan struct{}
	end   func()
}

func (*captured) Name() string                         { return "captured" }
func (*captured) Probe(context.Context) sandbox.Report { return sandbox.Report{Available: true} }
func (*captured) List(context.Context) ([]string, error) {
	return nil, nil
}

func (d *captured) Start(context.Context, sandbox.Spec) (sandbox.Sandbox, error) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &cell{ended: make(chan struct{}), end: cancel}
	dialer := &link.Dialer{
		Path:     filepath.Join(d.link, guest.SocketName),
		Versions: link.Versions{Min: proto.MinVersion, Max: proto.Version},
		Log:      slog.New(slog.DiscardHandler),
	}
	go func() {
		defer close(c.ended)
		dialer.Run(ctx, d.behave)
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.made++
	d.latest = c
	return c, nil
}

func (d *captured) Open(context.Context, string) (sandbox.Sandbox, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.latest == nil {
		return nil, sandbox.ErrNotFound
	}
	select {
	case <-d.latest.ended:
		return nil, sandbox.ErrNotFound
	default:
		return d.latest, nil
	}
}

func (d *captured) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.made
}

func (*cell) ID() string { return "captured" }
func (c *cell) Wait(ctx context.Context) (sandbox.Exit, error) {
	select {
	case <-c.ended:
		return sandbox.Exit{}, nil
	case <-ctx.Done():
		return sandbox.Exit{}, ctx.Err()
	}
}
func (c *cell) Signal(context.Context, syscall.Signal) error { return nil }
func (c *cell) Usage(context.Context) (sandbox.Usage, error) { return sandbox.Usage{}, nil }
func (c *cell) Destroy(context.Context) error {
	c.end()
	<-c.ended
	return nil
}

// capture runs an agent with a guest that answers each of the host's requests
// with answer, or not at all when it is nil.
func capture(t *testing.T, answer func(proto.Request, *link.Stream)) (*Agent, *captured, func()) {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	d := &captured{link: linkDir(dir), behave: func(s *link.Session) {
		stream, err := s.OpenStream(context.Background())
		if err != nil {
			return
		}
		var resp proto.Response
		proto.WriteMessage(stream, proto.Request{Op: proto.OpHello, Hello: &proto.Hello{BootID: "0123456789"}})
		proto.ReadMessage(stream, &resp)
		for {
			stream, err := s.Accept(context.Background())
			if err != nil {
				return
			}
			go func() {
				var req proto.Request
				if proto.ReadMessage(stream, &req) == nil {
					answer(req, stream)
				}
			}()
		}
	}}
	rt := runtime.Runtime{Version: "1.2.3", Dir: dir}
	now := &settings{now: openclaw.Settings{Token: "a-token", Providers: openclaw.Providers(false, false)}}
	w := &world{t: t, opts: Options{
		Name: "main", Dir: dir, ID: "captured", Driver: d,
		Runtime:  func(context.Context, func(string)) (runtime.Runtime, error) { return rt, nil },
		Binary:   "/nowhere/bin/moltworker",
		Settings: now.get, AI: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler),
	}}
	a, stop := w.run(func(a *Agent) { a.patience.grace, a.patience.lastCall = 100*time.Millisecond, 100*time.Millisecond })
	return a, d, stop
}

// polite answers what must be answered for a boot, then tells events.
func polite(events func(send func(proto.Event) error)) func(proto.Request, *link.Stream) {
	return func(req proto.Request, s *link.Stream) {
		switch req.Op {
		case proto.OpRead:
			proto.WriteMessage(s, proto.Response{Error: "none", Code: "not_found"})
		case proto.OpStatus:
			proto.WriteMessage(s, proto.Response{Supervised: &proto.Supervised{}})
		case proto.OpEvents:
			proto.WriteMessage(s, proto.Response{})
			events(func(e proto.Event) error { return proto.WriteMessage(s, e) })
		default:
			proto.WriteMessage(s, proto.Response{})
		}
	}
}

func TestGuestThatAnswersGarbageIsReplaced(t *testing.T) {
	a, d, stop := capture(t, func(_ proto.Request, s *link.Stream) {
		s.Write([]byte("\x00\x00\x00\x05\x1b[2J!"))
		s.Close()
	})
	s := await(t, a, "in a second sandbox", func(s Status) bool { return s.Error != "" && d.count() > 1 })
	if s.State != StateBooting || strings.Contains(s.Error, "\x1b") {
		t.Errorf("shows %+v", s)
	}
	stop()
}

func TestGuestThatEndsEverySessionIsReplaced(t *testing.T) {
	a, d, stop := capture(t, func(_ proto.Request, s *link.Stream) { s.Close() })
	await(t, a, "in a second sandbox", func(Status) bool { return d.count() > 1 })
	stop()
}

func TestStatusFloodIsBounded(t *testing.T) {
	a, _, _ := capture(t, polite(func(send func(proto.Event) error) {
		phases := []proto.Phase{proto.PhaseStopping, proto.PhaseStarting, proto.PhaseLive, "odd\x1b[2J", proto.PhaseBackoff}
		for seq := uint64(1); seq <= 300; seq++ {
			if send(proto.Event{Seq: seq, Status: &proto.Status{Phase: phases[seq%5], Attempt: int(seq), LastExit: "\x1b[2J"}}) != nil {
				return
			}
		}
	}))
	s := await(t, a, "flooded", func(s Status) bool { return s.Attempt > 50 })
	if len(s.Phases) > 10 {
		t.Errorf("the timeline has grown to %d phases", len(s.Phases))
	}
	if strings.ContainsRune(s.Reason+s.Error, '\x1b') {
		t.Errorf("shows %q, %q", s.Reason, s.Error)
	}
}

func TestGiantAndSteeringLogLinesAreTamed(t *testing.T) {
	a, _, _ := capture(t, polite(func(send func(proto.Event) error) {
		for seq := uint64(1); seq <= 20; seq++ {
			send(proto.Event{Seq: seq, Log: &proto.LogLine{Stream: "\x1b[2J" + strings.Repeat("s", 100), Text: "\x1b]0;x\a" + strings.Repeat("x", 1<<20)}})
		}
	}))
	_, later, err := a.Logs(soon(t), 0, true)
	if err != nil {
		t.Fatal(err)
	}
	e, open := <-later
	if !open {
		t.Fatal("no line arrived")
	}
	if len(e.Text) > proto.MaxLogLine+8 || len(e.Stream) > 32 || strings.ContainsAny(e.Text+e.Stream, "\x1b\a") {
		t.Errorf("kept %d bytes of %q: %.60q", len(e.Text), e.Stream, e.Text)
	}
}

// Stopping is asked of the guest, but does not depend on it.
func TestGuestThatAnswersNothingIsStopped(t *testing.T) {
	asked := make(chan proto.Op, 100)
	_, d, stop := capture(t, func(req proto.Request, s *link.Stream) { asked <- req.Op })
	<-asked
	done := make(chan struct{})
	go func() { defer close(done); stop() }()
	select {
	case <-done:
	case <-soon(t).Done():
		t.Fatal("the guest's silence holds the host up")
	}
	if _, err := d.Open(t.Context(), ""); !errors.Is(err, sandbox.ErrNotFound) {
		t.Error("the sandbox is still there")
	}
}

func TestAllowanceSlowsTalkersOnly(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b := newAllowance(now)
	for range 2000 { // a whole memory of short lines, as after a new start of ours
		if wait := b.spend(now, cost(proto.Event{Log: &proto.LogLine{Text: strings.Repeat("x", 200)}})); wait != 0 {
			t.Fatalf("an ordinary boot waits %s", wait)
		}
	}
	var total time.Duration
	for range 1000 {
		wait := b.spend(now, cost(proto.Event{Status: &proto.Status{}}))
		now, total = now.Add(wait), total+wait
	}
	if total < 30*time.Second {
		t.Errorf("a thousand statuses wait %s in all", total)
	}
	now = now.Add(time.Minute)
	if wait := b.spend(now, 1000); wait != 0 {
		t.Errorf("after a quiet minute waits %s", wait)
	}
}

// An answer that was overtaken by an event must not hide it.
func TestOlderStatusDoesNotHideANewer(t *testing.T) {
	var n newest
	var got []string
	take := func(boot string, seq uint64, again bool, what string) {
		n.take(boot, seq, again, func() { got = append(got, what) })
	}
	take("one", 5, false, "live")
	take("one", 7, false, "ready")
	take("one", 5, true, "an old answer")
	take("one", 7, false, "a repeated event")
	take("one", 7, true, "the same by an answer")
	take("two", 1, false, "another guest")
	if want := "live,ready,the same by an answer,another guest"; strings.Join(got, ",") != want {
		t.Errorf("took %v; want %s", got, want)
	}
}

func TestAskingNobodyEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &Agent{opts: Options{Name: "main"}, requests: make(chan request), ended: make(chan struct{}), track: newTracker("main", time.Now)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := a.Restart(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
