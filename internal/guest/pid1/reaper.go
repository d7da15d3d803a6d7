package pid1

import (
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// reaper is the only one that waits for children: those that were started
// through it, whose ends it hands out, and, as PID 1, those that lost their
// parent. os/exec must not be used beside it: it waits by itself.
type reaper struct {
	all bool // reap orphans too

	mu       sync.Mutex // held from fork to registration, and while reaping
	children map[int]*child
}

// child is a process that the reaper started, the leader of its own process
// group. The group does not outlive it.
type child struct {
	pid    int
	done   chan struct{}   // closed when status is set
	status unix.WaitStatus // how it ended
}

// ended says whether c has ended.
func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func newReaper(all bool) *reaper {
	return &reaper{all: all, children: map[int]*child{}}
}

// watch reaps until stop is called. Nothing runs while no child ends.
func (r *reaper) watch() (stop func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	quit := make(chan struct{})
	go func() {
		r.reap()
		for {
			select {
			case <-ended:
				r.reap()
			case <-quit:
				return
			}
		}
	}()
	return func() { signal.Stop(ended); close(quit) }
}

// start runs fork, which starts a process and returns its ID.
func (r *reaper) start(fork func() (int, error)) (*child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := fork()
	if err != nil {
		return nil, err
	}
	c := &child{pid: pid, done: make(chan struct{})}
	r.children[pid] = c
	return c, nil
}

// reap takes all that have ended.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all {
		for r.wait(-1) {
		}
		return
	}
	for pid := range r.children {
		r.wait(pid)
	}
}

// wait takes one that has ended, if there is one. Needs mu.
func (r *reaper) wait(pid int) bool {
	var status unix.WaitStatus
	for {
		got, err := unix.Wait4(pid, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || got <= 0 {
			return false
		}
		if c := r.children[got]; c != nil {
			delete(r.children, got)
			unix.Kill(-got, unix.SIGKILL) // what it leaves behind
			c.status = status
			close(c.done)
		}
		return true
	}
}

// kill sends sig to the process group that c leads, unless c has ended: then
// its group was killed, and its number may be another's.
func (r *reaper) kill(c *child, sig unix.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.children[c.pid] == c {
		unix.Kill(-c.pid, sig)
	}
}
