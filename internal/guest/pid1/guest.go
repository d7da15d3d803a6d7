package pid1

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/guest/link"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

// Options say what a guest needs to know when it starts.
type Options struct {
	Socket   string         // the host's
	Forwards map[int]string // loopback port -> host service
	Env      []string       // of commands that the host runs
	Orphans  bool           // reap processes that lost their parent
	Log      *slog.Logger
}

// Guest is a running PID 1.
type Guest struct {
	socket   string
	forwards map[int]string
	env      []string
	log      *slog.Logger
	bootID   string

	reaper     *reaper
	journal    *journal
	supervisor *supervisor
	anew       chan struct{} // makes the link dial again
	quit       chan struct{} // closed by stop, which ends Run
	stop       func()

	complaints link.Sometimes

	mu      sync.Mutex // guards what follows
	session *link.Session
	changed chan struct{} // closed and replaced when session is set
}

// New makes a guest that waits for Run.
func New(opts Options) *Guest {
	reaper, journal := newReaper(opts.Orphans), newJournal(time.Now)
	quit := make(chan struct{})
	return &Guest{
		socket:     opts.Socket,
		forwards:   opts.Forwards,
		env:        opts.Env,
		log:        opts.Log,
		bootID:     rand.Text(),
		reaper:     reaper,
		journal:    journal,
		supervisor: newSupervisor(reaper, journal),
		anew:       make(chan struct{}, 1),
		quit:       quit,
		stop:       sync.OnceFunc(func() { close(quit) }),
		changed:    make(chan struct{}),
	}
}

// requestTimeout bounds the wait for a stream to say what it is for.
const requestTimeout = 10 * time.Second

// Run does what the host asks until Shutdown, an order of the host to shut down,
// or the end of ctx, which kills what is supervised.
func (g *Guest) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer stopOn(cancel, g.quit, nil)()
	listeners, err := g.listen()
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	defer g.reaper.watch()()
	for port, ln := range listeners {
		running.Go(func() { g.forward(ctx, ln, g.forwards[port]) })
	}
	var supervising sync.WaitGroup
	defer supervising.Wait()
	supervising.Go(func() { g.supervisor.run(ctx) })
	dialer := &link.Dialer{
		Path:     g.socket,
		Versions: link.Versions{Min: proto.MinVersion, Max: proto.Version},
		Log:      g.log,
		Anew:     g.anew,
	}
	dialer.Run(ctx, func(s *link.Session) { g.serve(ctx, s) })
	return nil
}

// Redial makes the guest give its connection to the host up and dial anew. Streams
// go on.
func (g *Guest) Redial() {
	select {
	case g.anew <- struct{}{}:
	default:
	}
}

// Shutdown stops what is supervised, giving it grace to end by itself, and then
// the guest.
func (g *Guest) Shutdown(ctx context.Context, grace time.Duration) error {
	err := g.halt(ctx, grace)
	g.stop()
	return err
}

// halt stops what is supervised, for good.
func (g *Guest) halt(ctx context.Context, grace time.Duration) error {
	err := g.supervisor.give(ctx, order{stop: true, grace: grace})
	if err != nil && !errors.Is(err, errEnding) {
		return err
	}
	select {
	case <-g.supervisor.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serve sees one session through.
func (g *Guest) serve(ctx context.Context, s *link.Session) {
	if err := g.hello(ctx, s); err != nil {
		g.log.Warn("the host did not take the greeting", "error", err)
		return
	}
	g.set(s)
	g.log.Info("connected to the host", "session", s.ID().String(), "version", s.Version())
	var streams sync.WaitGroup
	defer streams.Wait()
	defer s.Close() // so that the streams end
	for {
		stream, err := s.Accept(ctx)
		if err != nil {
			g.log.Info("disconnected from the host", "reason", err)
			return
		}
		streams.Go(func() { g.answer(ctx, s, stream) })
	}
}

// hello says which guest this is.
func (g *Guest) hello(ctx context.Context, s *link.Session) error {
	stream, err := s.OpenStream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	build := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		build = info.Main.Version
	}
	return ask(stream, proto.Request{Op: proto.OpHello, Hello: &proto.Hello{BootID: g.bootID, Build: build}})
}

// ask sends a request and takes the answer.
func ask(stream *link.Stream, req proto.Request) error {
	if err := proto.WriteMessage(stream, req); err != nil {
		return err
	}
	var resp proto.Response
	if err := proto.ReadMessage(stream, &resp); err != nil {
		return err
	}
	if resp.Error != "" {
		return errors.New(resp.Error)
	}
	return nil
}

func (g *Guest) set(s *link.Session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.session = s
	close(g.changed)
	g.changed = make(chan struct{})
}

// await returns the session, waiting for one that lives.
func (g *Guest) await(ctx context.Context) (*link.Session, error) {
	for {
		g.mu.Lock()
		s, changed := g.session, g.changed
		g.mu.Unlock()
		if s != nil && !ended(s) {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the host: %w", ctx.Err())
		}
	}
}

func ended(s *link.Session) bool {
	select {
	case <-s.Done():
		return true
	default:
		return false
	}
}

// listen opens the ports of all forwards.
func (g *Guest) listen() (map[int]net.Listener, error) {
	listeners := map[int]net.Listener{}
	for port, service := range g.forwards {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			for _, ln := range listeners {
				ln.Close()
			}
			return nil, fmt.Errorf("forward port %d to %s: %w", port, service, err)
		}
		listeners[port] = ln
	}
	return listeners, nil
}
