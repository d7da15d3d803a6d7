package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/hostproc"
)

// monitorGrace is how long bubblewrap may take to note how PID 1 ended.
const monitorGrace = 5 * time.Second

// Sandbox is one running bubblewrap sandbox. It implements [sandbox.Sandbox].
type Sandbox struct {
	d      *Driver
	id     string
	record record

	done   chan struct{} // closed when PID 1 has ended
	result sandbox.Exit  // readable when done is closed
}

var _ sandbox.Sandbox = (*Sandbox)(nil)

// follow begins to watch a sandbox for its end.
func (d *Driver) follow(id string, r record) *Sandbox {
	s := &Sandbox{d: d, id: id, record: r, done: make(chan struct{})}
	status, err := os.Open(d.place(id).status())
	go func() {
		if err == nil {
			defer status.Close()
		}
		s.watch(status)
	}()
	return s
}

// watch waits for PID 1's end, then for bubblewrap's word on it. status is open
// since before, because Destroy may remove the file.
func (s *Sandbox) watch(status *os.File) {
	defer close(s.done)
	hostproc.Await(context.Background(), s.record.Init.PID, s.record.Init.is)
	ctx, cancel := context.WithTimeout(context.Background(), monitorGrace)
	defer cancel()
	hostproc.Await(ctx, s.record.Monitor.PID, s.record.Monitor.is)
	if status == nil {
		return
	}
	content := make([]byte, 4096)
	n, _ := status.ReadAt(content, 0)
	s.result = parseStatus(content[:n]).result()
}

// ID is the sandbox's name under its driver.
func (s *Sandbox) ID() string { return s.id }

func (s *Sandbox) ended() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

func (s *Sandbox) alive() bool { return !s.ended() && s.record.Init.alive() }

// Wait waits for PID 1's end; see [sandbox.Sandbox].
func (s *Sandbox) Wait(ctx context.Context) (sandbox.Exit, error) {
	select {
	case <-s.done:
		return s.result, nil
	case <-ctx.Done():
		return sandbox.Exit{}, fmt.Errorf("wait for sandbox %s: %w", s.id, ctx.Err())
	}
}

// Signal sends sig to PID 1; see [sandbox.Sandbox].
func (s *Sandbox) Signal(_ context.Context, sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(s.record.Init.PID, 0)
	if err == nil {
		defer unix.Close(fd)
		if s.record.Init.alive() {
			err = unix.PidfdSendSignal(fd, sig, nil, 0)
		} else {
			err = unix.ESRCH
		}
	}
	if err == unix.ESRCH {
		return fmt.Errorf("sandbox %s: %w", s.id, sandbox.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("signal sandbox %s: %w", s.id, err)
	}
	return nil
}

// Usage says what the sandbox's control group counts; without one nobody can
// tell.
func (s *Sandbox) Usage(context.Context) (sandbox.Usage, error) {
	if s.ended() {
		return sandbox.Usage{}, fmt.Errorf("sandbox %s: %w", s.id, sandbox.ErrNotFound)
	}
	if g, err := s.d.roster.Group(s.id); err == nil && g.Exists() {
		return g.Usage(), nil
	}
	return sandbox.Usage{MemoryBytes: -1, CPU: -1, PIDs: -1}, nil
}

// Destroy takes the sandbox away; see [sandbox.Sandbox].
func (s *Sandbox) Destroy(ctx context.Context) error {
	defer s.d.roster.Turn(s.id)()
	if r, err := s.d.place(s.id).record(); err == nil && r != s.record {
		return nil // this one is gone; a later one has its name
	}
	if err := s.d.roster.Clean(ctx, s.id); err != nil {
		return fmt.Errorf("destroy sandbox %s: %w", s.id, err)
	}
	_, err := s.Wait(ctx)
	return err
}

// kill ends the sandbox called id, alive, dead or half-made.
func (d *Driver) kill(ctx context.Context, id string) error {
	p := d.place(id)
	if r, err := p.record(); err == nil {
		// With PID 1 the kernel ends all of the guest, and then bubblewrap ends.
		hostproc.Kill(r.Init.PID, r.Init.is)
		if err := hostproc.Await(ctx, r.Init.PID, r.Init.is); err != nil {
			return fmt.Errorf("wait for PID 1 to end: %w", err)
		}
	}
	return p.kill(ctx)
}

// kill ends bubblewrap and its children where no record names them: the
// process that started the sandbox may have died before it wrote one.
func (p place) kill(ctx context.Context) error {
	for {
		monitors := hostproc.Find(p.owns)
		if len(monitors) == 0 {
			return nil
		}
		mine := func(pid int) bool {
			stat, err := hostproc.ReadStat(pid)
			return err == nil && stat.State != 'Z' && (p.owns(pid) || slices.Contains(monitors, stat.Parent))
		}
		// Children first: an orphan could not be told any more.
		for _, pid := range append(hostproc.Find(mine), monitors...) {
			hostproc.Kill(pid, mine)
			if err := hostproc.Await(ctx, pid, mine); err != nil {
				return fmt.Errorf("wait for process %d to end: %w", pid, err)
			}
		}
	}
}

// owns says whether pid is a bubblewrap process of the sandbox in p.
func (p place) owns(pid int) bool {
	args := hostproc.Args(pid)
	return len(args) > 0 && filepath.Base(args[0]) == "bwrap" && slices.Contains(args, p.etc())
}
