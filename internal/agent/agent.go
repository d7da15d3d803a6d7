// Package agent owns the life of an agent: its directory, its sandbox, the
// gateway inside, and the one picture of all that which everybody else is shown.
// For each agent there is one keeper, the only writer, which makes the world
// agree with what is wanted: it adopts a sandbox that is running already, starts
// one that is missing, brings the gateway up, and does so again when either ends.
//
// It must not know how requests reach it (edge, admin) nor how a sandbox is made
// (the drivers). What OpenClaw needs is asked of package openclaw, never spelled
// out here.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/guest"
	"github.com/moltworker/moltworker/internal/guest/link"
	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/image"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// Options say what an agent is made of. All fields are required unless marked.
type Options struct {
	Name   string // DNS label
	Dir    string // the agent's directory on the host, made if missing
	ID     string // sandbox ID, unique on this machine
	Driver sandbox.Driver
	Limits sandbox.Limits

	// Runtime waits for the OpenClaw runtime to be installed and returns it. While
	// it waits it tells, in words for people, how far that is.
	Runtime func(ctx context.Context, tell func(progress string)) (runtime.Runtime, error)
	// Binary is the host path of our own program, which becomes PID 1. It must
	// stay in place as long as the sandbox may run.
	Binary string
	// Settings returns what OpenClaw is to be configured with now; it is asked
	// at every start of the gateway and at [Agent.Reconfigure].
	Settings func() (openclaw.Settings, error)
	// AI serves what OpenClaw sends to its model providers.
	AI http.Handler

	// SleepAfter is how long nobody must have used the agent before it sleeps; 0
	// means never.
	SleepAfter time.Duration
	// Images keeps what the agent sleeps as. Optional: without it, or with a driver
	// that makes no images, an agent that slept boots.
	Images *image.Store

	// Turns bounds how many of the agents that share it come back from their images
	// at once: each takes a core for as long as it takes, and all of them together
	// would keep each other from answering. Optional: without it there is no bound.
	Turns chan struct{}
	// Boots is the same for boots of OpenClaw, which take longer: after a restart of
	// the machine every agent that was awake boots, and all at once would be in time
	// with none. A boot has its turn until the gateway answers, or as long as one may
	// take.
	Boots chan struct{}

	// Prepare is called before a sandbox is started, when the agent has nothing in
	// its home: a state that is kept elsewhere can be put there. It tells, in words
	// for people, how far that is. Optional. When it fails the agent boots all the
	// same.
	Prepare func(ctx context.Context, home string, tell func(progress string)) error

	Env []string // optional: more of OpenClaw's environment, NAME=value

	BootTimeout time.Duration // of one boot of the gateway
	TimeZone    string        // optional: the agent's, e.g. "Europe/Vienna"; UTC when empty
	Log         *slog.Logger
	Now         func() time.Time // optional: time.Now
}

// An Agent is one named OpenClaw. Its methods may be called concurrently.
type Agent struct {
	opts     Options
	log      *slog.Logger
	track    *tracker
	book     *logbook
	host     *guest.Host
	patience patience
	requests chan request  // to the keeper
	known    chan struct{} // closed when the keeper has found out what there is of the agent
	ended    chan struct{} // closed when the keeper takes no more requests
	gone     chan struct{} // closed when nothing of the agent runs any more, after ended
	serveAI  func() error  // serves the link's AI connections until closeAI
	closeAI  func() error

	activity *activity
	ledger   *ledger
	images   *image.Store

	complaints link.Sometimes // about the log on disk

	told newest // of the guest's statuses

	// Of the keeper alone.
	calm   *calm     // the gateway's promise that the agent sleeps with
	roused time.Time // when the wake under way began; zero when none is

	mu      sync.Mutex // guards current
	current sandbox.Sandbox
}

// request asks the keeper for something between two of its own steps.
type request struct {
	kind kind
	do   func() error // of holdStill and replace
	done chan error
}

type kind int

const (
	reconfigure kind = iota // render the configuration anew
	restart                 // restart the gateway after that
	sleepNow
	holdStill // halt what writes to the home, call do, let it go on
	replace   // end the sandbox, call do, boot
)

// New prepares an agent; nothing runs until [Agent.Run].
func New(opts Options) (*Agent, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	for _, dir := range []string{opts.Dir, homeDir(opts.Dir), linkDir(opts.Dir)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make agent directory: %w", err)
		}
	}
	if err := atomicfile.Sweep(opts.Dir); err != nil {
		return nil, err
	}
	book, err := openLogbook(filepath.Join(opts.Dir, "logs", "agent.log"))
	if err != nil {
		return nil, err
	}
	a := &Agent{
		opts:     opts,
		log:      opts.Log.With("agent", opts.Name),
		track:    newTracker(opts.Name, opts.Now),
		book:     book,
		patience: usualPatience,
		requests: make(chan request),
		known:    make(chan struct{}),
		ended:    make(chan struct{}),
		gone:     make(chan struct{}),
		activity: newActivity(opts.Now),
		images:   opts.Images,
	}
	if _, ok := opts.Driver.(sandbox.Imager); !ok {
		a.images = nil
	}
	if a.ledger, err = openLedger(opts.Dir); err != nil {
		a.log.Warn("it is not known what the agent was about", "err", err)
	}
	a.track.update(func(s *Status) { s.Driver = opts.Driver.Name() })
	a.host, err = guest.Listen(guest.Options{Dir: linkDir(opts.Dir), Services: a.services(), Log: a.log})
	if err != nil {
		book.close()
		return nil, fmt.Errorf("listen for the guest of %s: %w", opts.Name, err)
	}
	return a, nil
}

func homeDir(dir string) string { return filepath.Join(dir, "home") }
func linkDir(dir string) string { return filepath.Join(dir, "link") }

// renderedPath is where it is kept what we last wrote into openclaw.json.
func renderedPath(dir string) string { return filepath.Join(dir, "rendered.json") }

// Images is the store of the agent's images; nil when none are made.
func (a *Agent) Images() *image.Store { return a.images }

// ImageChanged tells that the image was compressed or removed.
func (a *Agent) ImageChanged() {
	if a.images != nil {
		a.showImage()
	}
}

// Home is the host path of the agent's home. What is in there is the agent's to
// replace by anything.
func (a *Agent) Home() string { return homeDir(a.opts.Dir) }

// Name is the agent's name.
func (a *Agent) Name() string { return a.opts.Name }

// Status is the current picture.
func (a *Agent) Status() Status { return a.describe(a.track.get()) }

// Watch returns a channel with the current status and then the newest one after
// each change, closed when ctx ends.
func (a *Agent) Watch(ctx context.Context) <-chan Status { return a.track.watch(ctx) }

// Logs returns up to n of the newest log entries and, with follow, a channel of
// later ones that is closed when ctx ends.
func (a *Agent) Logs(ctx context.Context, n int, follow bool) ([]LogEntry, <-chan LogEntry, error) {
	if follow {
		return a.book.follow(ctx, n)
	}
	entries, err := a.book.tail(n)
	return entries, nil, err
}

// DialGateway connects to OpenClaw's gateway port inside the sandbox.
func (a *Agent) DialGateway(ctx context.Context) (net.Conn, error) {
	return a.host.DialPort(ctx, openclaw.GatewayPort)
}

// ErrNotAwake: the agent's gateway cannot be asked now. Its Status says why.
var ErrNotAwake = errors.New("agent is not awake")

// Awake waits until the gateway answers. It returns early with ErrNotAwake when
// the agent is stopped or needs a person.
func (a *Agent) Awake(ctx context.Context) error {
	if a.track.get().State == StateAwake {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for s := range a.Watch(ctx) {
		switch s.State {
		case StateAwake:
			return nil
		case StateFailed:
			return fmt.Errorf("%w: %s", ErrNotAwake, s.Reason)
		case StateStopped:
			if a.over() { // else it is about to begin
				return fmt.Errorf("%w: %s", ErrNotAwake, s.Reason)
			}
		}
	}
	return fmt.Errorf("%w: %s: %w", ErrNotAwake, a.Status().Reason, context.Cause(ctx))
}

// Known waits until it has been found out what an earlier process left of the agent:
// whoever comes before would be taken for somebody who needs it awake.
func (a *Agent) Known(ctx context.Context) {
	select {
	case <-a.known:
	case <-a.ended:
	case <-ctx.Done():
	}
}

// over says whether the keeper has ended.
func (a *Agent) over() bool {
	select {
	case <-a.ended:
		return true
	default:
		return false
	}
}

// Gateway wakes the agent and calls do with an admin connection to its gateway. The
// agent stays awake meanwhile.
func (a *Agent) Gateway(ctx context.Context, do func(*gateway.Client) error) error {
	done, err := a.Use(ctx, "administration")
	if err != nil {
		return err
	}
	defer done()
	client, err := a.dialGateway(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	return do(client)
}

func (a *Agent) dialGateway(ctx context.Context) (*gateway.Client, error) {
	settings, err := a.opts.Settings()
	if err != nil {
		return nil, err
	}
	return gateway.Dial(ctx, a.DialGateway, settings.Token)
}

// Exec wakes the agent and runs a command inside, as the agent's user. The
// gateway need not run for it. Without a guest to run it, and none on its way out
// of a sleep, the error is ErrNotAwake.
func (a *Agent) Exec(ctx context.Context, cmd proto.Exec, stdin io.Reader, stdout, stderr io.Writer) (proto.ExecExit, error) {
	before := a.track.get().State
	done, err := a.hold(ctx, "a command")
	if err != nil {
		return proto.ExecExit{}, err
	}
	defer done()
	if before == StateSuspending || before == StateAsleep || before == StateWaking {
		if err := a.awaitGuest(ctx); err != nil {
			return proto.ExecExit{}, err
		}
	}
	exit, err := a.host.Exec(ctx, cmd, stdin, stdout, stderr)
	if errors.Is(err, guest.ErrNoGuest) {
		err = fmt.Errorf("%w: %s", ErrNotAwake, a.Status().Reason)
	}
	return exit, err
}

// awaitGuest waits for the guest of an agent that is being woken, which may take a
// boot.
func (a *Agent) awaitGuest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.patience.greet)
	defer cancel()
	if err := a.awaitRestored(ctx); err != nil {
		return err
	}
	if err := a.host.Connected(ctx); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNotAwake, a.Status().Reason, context.Cause(ctx))
	}
	return nil
}

// awaitRestored waits as long as it is not known whether the image is of use.
func (a *Agent) awaitRestored(ctx context.Context) error {
	for s := range a.Watch(ctx) {
		if s.State != StateSuspending && s.State != StateAsleep && s.State != StateWaking {
			return nil
		}
	}
	return fmt.Errorf("%w: %s: %w", ErrNotAwake, a.Status().Reason, context.Cause(ctx))
}

// Restart renders the configuration anew, then restarts the gateway; a sandbox
// that is not running is started at once rather than after its back-off, and an
// agent that sleeps boots. It returns when the restart has begun, or is sure to
// come with the boot that is under way.
func (a *Agent) Restart(ctx context.Context) error { return a.ask(ctx, request{kind: restart}) }

// Reconfigure renders the configuration anew, for an agent that sleeps when it
// wakes. OpenClaw takes most changes up by itself.
func (a *Agent) Reconfigure(ctx context.Context) error { return a.ask(ctx, request{kind: reconfigure}) }

func (a *Agent) ask(ctx context.Context, r request) error {
	r.done = make(chan error, 1)
	select {
	case a.requests <- r:
	case <-a.ended:
		return fmt.Errorf("%w: %s", ErrNotAwake, a.Status().Reason)
	case <-ctx.Done():
		return fmt.Errorf("agent %s is busy: %w", a.opts.Name, context.Cause(ctx))
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Usage says what the agent's sandbox takes now; sandbox.ErrNotFound when there is
// none.
func (a *Agent) Usage(ctx context.Context) (sandbox.Usage, error) {
	a.mu.Lock()
	sb := a.current
	a.mu.Unlock()
	if sb == nil {
		return sandbox.Usage{}, sandbox.ErrNotFound
	}
	return sb.Usage(ctx)
}

func (a *Agent) setCurrent(sb sandbox.Sandbox) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current = sb
}
