package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/hostproc"
)

var _ sandbox.Pausable = (*Sandbox)(nil)

// pausePatience bounds how long the guest's processes may take to stop: one that
// is in the middle of a system call stops when that is done.
const pausePatience = 10 * time.Second

// Pause stops every process of the guest with SIGSTOP; see [sandbox.Pausable]. A
// process that the guest itself had stopped runs on after the next Resume. When
// Pause fails, what was stopped runs on.
func (s *Sandbox) Pause(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pausePatience, errors.New("its processes do not stop"))
	defer cancel()
	err := s.halt(ctx)
	if err == nil {
		return nil
	}
	s.signalAll(unix.SIGCONT)
	if !s.alive() {
		err = sandbox.ErrNotFound
	}
	return fmt.Errorf("pause sandbox %s: %w", s.id, err)
}

// halt stops the guest's processes until there is none that runs: one that was
// not stopped yet may have made another meanwhile.
func (s *Sandbox) halt(ctx context.Context) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if !s.alive() {
			return sandbox.ErrNotFound
		}
		if s.stopMore() {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// stopMore has those stop that do not yet, and says whether there was none. A
// process that has made another with vfork stops only when that one has gone its
// own way, which it cannot when it was stopped first: it is let go for a moment.
func (s *Sandbox) stopMore() (done bool) {
	done = true
	inside := s.processes()
	for pid := range inside {
		switch stateOf(pid) {
		case stopped:
			continue
		case waiting:
			for child, parent := range inside {
				if parent == pid {
					unix.Kill(child, unix.SIGCONT)
				}
			}
		}
		done = false
		unix.Kill(pid, unix.SIGSTOP)
	}
	return done
}

// Resume lets the guest's processes run on; see [sandbox.Pausable].
func (s *Sandbox) Resume(context.Context) error {
	if !s.alive() {
		return fmt.Errorf("resume sandbox %s: %w", s.id, sandbox.ErrNotFound)
	}
	s.signalAll(unix.SIGCONT)
	return nil
}

func (s *Sandbox) signalAll(sig unix.Signal) {
	for pid := range s.processes() {
		unix.Kill(pid, sig)
	}
}

// processes are the guest's PID 1 and all that descends from it, with their
// parents, as the host numbers them: whoever loses its parent inside becomes PID
// 1's child.
func (s *Sandbox) processes() map[int]int {
	parents := map[int]int{}
	hostproc.Find(func(pid int) bool {
		if stat, err := hostproc.ReadStat(pid); err == nil && stat.State != 'Z' {
			parents[pid] = stat.Parent
		}
		return false
	})
	if !s.record.Init.alive() {
		return nil
	}
	inside := map[int]int{}
	for pid, parent := range parents {
		for at, steps := pid, 0; at > 1 && steps < len(parents); at, steps = parents[at], steps+1 {
			if at == s.record.Init.PID {
				inside[pid] = parent
				break
			}
		}
	}
	return inside
}

// state is how far a process is on its way to a stop.
type state int

const (
	runs    state = iota
	waiting       // for the kernel, or for a child made with vfork; the latter may never end
	stopped       // every thread of it, or they have ended
)

func stateOf(pid int) state {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return stopped // it has ended
	}
	all := stopped
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		stat, err := hostproc.ReadThread(pid, tid)
		switch {
		case err != nil || strings.IndexByte("TtZX", stat.State) >= 0:
		case stat.State == 'D':
			all = min(all, waiting)
		default:
			all = runs
		}
	}
	return all
}
