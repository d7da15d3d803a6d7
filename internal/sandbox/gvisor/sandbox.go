package gvisor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/control/client"
	"gvisor.dev/gvisor/pkg/urpc"
	"gvisor.dev/gvisor/runsc/boot"
	"gvisor.dev/gvisor/runsc/container"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/hostproc"
)

// Sandbox is one running gVisor sandbox. It implements [sandbox.Freezable].
type Sandbox struct {
	d   *Driver
	id  string
	pid int // of the sandbox's kernel, on the host
	c   *container.Container

	changing chan struct{} // holds one while the sandbox is paused, saved or resumed

	done   chan struct{} // closed when PID 1 has ended
	once   sync.Once
	result sandbox.Exit // readable when done is closed
}

func newSandbox(d *Driver, id string, c *container.Container) *Sandbox {
	return &Sandbox{d: d, id: id, pid: c.Sandbox.Getpid(), c: c, changing: make(chan struct{}, 1), done: make(chan struct{})}
}

// ID is the sandbox's name under its driver.
func (s *Sandbox) ID() string { return s.id }

// Wait waits for PID 1's end; see [sandbox.Sandbox].
func (s *Sandbox) Wait(ctx context.Context) (sandbox.Exit, error) {
	select {
	case <-s.done:
		return s.result, nil
	case <-ctx.Done():
		return sandbox.Exit{}, fmt.Errorf("wait for sandbox %s: %w", s.id, ctx.Err())
	}
}

func (s *Sandbox) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *Sandbox) alive() bool { return !s.ended() }

func (s *Sandbox) finish(e sandbox.Exit) {
	s.once.Do(func() {
		s.result = e
		close(s.done)
	})
}

// follow begins to watch a sandbox for its end and says whether its PID 1 runs.
func (s *Sandbox) follow(ctx context.Context) (alive bool, err error) {
	if !s.d.place(s.id).owns(s.pid) {
		return false, nil
	}
	conn, err := s.connect()
	if err != nil {
		return false, nil // it has no ear any more: dying, or never came to life
	}
	statuses := make(chan sandbox.Exit, 1)
	go func() {
		defer conn.Close()
		cid, ws := containerID, unix.WaitStatus(0)
		if err := conn.Call(boot.ContMgrWait, &cid, &ws); err != nil {
			statuses <- sandbox.Exit{}
			return
		}
		statuses <- exit(syscall.WaitStatus(ws))
	}()
	// Connections are accepted in order. An answer on a second one proves that
	// the first will be answered, however soon PID 1 ends now.
	state, err := ask(ctx, func() (boot.ContainerRuntimeState, error) {
		return s.c.Sandbox.ContainerRuntimeState(containerID)
	})
	if ctx.Err() != nil {
		conn.Close()
		return false, ctx.Err()
	}
	if err != nil {
		conn.Close()
		return false, nil
	}
	go s.watch(statuses)
	return state != boot.RuntimeStateStopped, nil
}

// watch waits for the end of PID 1 and then of the sandbox's kernel.
func (s *Sandbox) watch(statuses <-chan sandbox.Exit) {
	status := <-statuses
	hostproc.Await(context.Background(), s.pid, s.d.place(s.id).owns)
	s.finish(status)
}

// connect opens a connection to the sandbox's kernel.
func (s *Sandbox) connect() (*urpc.Client, error) {
	path := s.c.Sandbox.GetControlSocketPath()
	if path == "" {
		return nil, fmt.Errorf("sandbox %s has no control socket", s.id)
	}
	// A path may be longer than a socket's address; its descriptor's is not.
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return client.ConnectTo(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// Signal sends sig to PID 1; see [sandbox.Sandbox].
func (s *Sandbox) Signal(ctx context.Context, sig syscall.Signal) error {
	gone := fmt.Errorf("sandbox %s: %w", s.id, sandbox.ErrNotFound)
	if s.ended() {
		return gone
	}
	_, err := ask(ctx, func() (struct{}, error) {
		return struct{}{}, s.c.Sandbox.SignalContainer(containerID, sig, false)
	})
	if err == nil {
		return nil
	}
	if s.ended() || !s.d.place(s.id).owns(s.pid) {
		return gone
	}
	return fmt.Errorf("signal sandbox %s: %w", s.id, err)
}

// Usage says what the sandbox takes now: what its control group counts, or
// without one what gVisor does.
func (s *Sandbox) Usage(ctx context.Context) (sandbox.Usage, error) {
	if s.ended() {
		return sandbox.Usage{}, fmt.Errorf("sandbox %s: %w", s.id, sandbox.ErrNotFound)
	}
	if g, err := s.d.roster.Group(s.id); err == nil && g.Exists() {
		return g.Usage(), nil
	}
	out, err := ask(ctx, func() (*boot.EventOut, error) {
		return s.c.Sandbox.Event(containerID)
	})
	if err != nil {
		return sandbox.Usage{}, fmt.Errorf("ask sandbox %s for its usage: %w", s.id, err)
	}
	data := out.Event.Data
	return sandbox.Usage{
		MemoryBytes: int64(data.Memory.Usage.Usage),
		CPU:         time.Duration(out.ContainerUsage[containerID]),
		PIDs:        int64(data.Pids.Current),
	}, nil
}

// ask bounds a call to the sandbox's kernel, which cannot be cancelled, by ctx.
func ask[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := call()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// Destroy takes the sandbox away; see [sandbox.Sandbox].
func (s *Sandbox) Destroy(ctx context.Context) error {
	defer s.d.roster.Turn(s.id)()
	c, err := s.d.place(s.id).load()
	if err == nil && c.Sandbox.Getpid() != s.pid {
		return nil // this one is gone; a later one has its name
	}
	if err := s.d.roster.Clean(ctx, s.id); err != nil {
		return fmt.Errorf("destroy sandbox %s: %w", s.id, err)
	}
	s.finishKilled(ctx)
	return nil
}

// finishKilled makes Wait return after Destroy, with what PID 1's end was said
// to be if that was before.
func (s *Sandbox) finishKilled(ctx context.Context) {
	select {
	case <-s.done:
	case <-ctx.Done():
	case <-time.After(time.Second):
		s.finish(sandbox.Exit{})
	}
}

// load reads gVisor's state of the sandbox in p. It fails when there is none,
// or only a half-made one.
func (p place) load() (*container.Container, error) {
	if err := p.checkState(); err != nil {
		return nil, err
	}
	id := container.FullID{SandboxID: containerID, ContainerID: containerID}
	c, err := container.Load(p.state(), id, container.LoadOpts{Exact: true, SkipCheck: true})
	if err != nil {
		return nil, err
	}
	if c.Status != container.Running && c.Status != container.Paused {
		return nil, fmt.Errorf("sandbox %s was never started", p.id)
	}
	return c, nil
}

// checkState looks at gVisor's state file before gVisor does: Load makes a lock
// file where there is none, and panics over one without a sandbox in it.
func (p place) checkState() error {
	content, err := os.ReadFile(filepath.Join(p.state(), containerID+"_sandbox:"+containerID+".state"))
	if err != nil {
		return fmt.Errorf("read gVisor's state: %w", err)
	}
	var state struct {
		Sandbox *struct{ Pid int }
	}
	if err := json.Unmarshal(content, &state); err != nil {
		return fmt.Errorf("read gVisor's state: %w", err)
	}
	if state.Sandbox == nil || state.Sandbox.Pid <= 0 {
		return fmt.Errorf("gVisor's state of %s has no sandbox", p.id)
	}
	return nil
}
