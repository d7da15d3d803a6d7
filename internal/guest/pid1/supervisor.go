package pid1

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/guest/proto"
)

const (
	defaultBootTimeout = 5 * time.Minute
	// defaultGrace is what a process gets to end when nobody said otherwise.
	defaultGrace = 10 * time.Second
	maxGrace     = 10 * time.Minute
)

// supervisor keeps one process running. What it is to do comes as orders; one
// goroutine, in run, carries them out and lives the process's life.
type supervisor struct {
	reaper  *reaper
	journal *journal
	backoff backoff
	orders  chan order
	done    chan struct{} // closed when run has returned
	warned  bool          // the run before ended with a fatal code; belongs to run

	mu     sync.Mutex // guards what follows
	want   *proto.Process
	status proto.Status
	booted bool // ready was reached since Attempt was last counted from 1
}

// order is a change of what is to run.
type order struct {
	process *proto.Process // nil: as before
	stop    bool           // run nothing any more
	grace   time.Duration  // between SIGTERM and SIGKILL
	begun   chan<- struct{}
}

func newSupervisor(r *reaper, j *journal) *supervisor {
	return &supervisor{
		reaper:  r,
		journal: j,
		backoff: newBackoff(),
		orders:  make(chan order),
		done:    make(chan struct{}),
		status:  proto.Status{Phase: proto.PhaseIdle},
	}
}

// supervised is what is kept running now.
func (s *supervisor) supervised() proto.Supervised {
	s.mu.Lock()
	defer s.mu.Unlock()
	return proto.Supervised{Process: s.want, Status: s.status, LastSeq: s.journal.last()}
}

var errEnding = errors.New("the guest is ending")

// give hands an order over and waits until it is being carried out.
func (s *supervisor) give(ctx context.Context, o order) error {
	begun := make(chan struct{})
	o.begun = begun
	o.grace = min(max(o.grace, 0), maxGrace)
	select {
	case s.orders <- o:
	case <-s.done:
		return errEnding
	case <-ctx.Done():
		return ctx.Err()
	}
	<-begun
	return nil
}

// supervise sets what is kept running. What runs already stays as it is.
func (s *supervisor) supervise(ctx context.Context, p *proto.Process) error {
	if p == nil || len(p.Args) == 0 {
		return refuse("invalid", "no process given to supervise")
	}
	now := s.supervised()
	if now.Process.Same(*p) && now.Status.Phase != proto.PhaseFailed && now.Status.Phase != proto.PhaseBackoff {
		return nil
	}
	return s.give(ctx, order{process: p, grace: defaultGrace})
}

// restart ends what runs and starts it again.
func (s *supervisor) restart(ctx context.Context, grace time.Duration) error {
	if s.supervised().Process == nil {
		return refuse("invalid", "nothing is supervised yet")
	}
	return s.give(ctx, order{grace: grace})
}

// run carries out orders until one says stop. When ctx ends, what runs is
// killed.
func (s *supervisor) run(ctx context.Context) {
	defer close(s.done)
	next := s.wait(ctx, nil)
	for next != nil {
		if s.accept(next); next.stop {
			s.update(func(st *proto.Status) { *st = proto.Status{Phase: proto.PhaseIdle, LastExit: st.LastExit} })
			return
		}
		next = s.live(ctx)
	}
}

// wait waits for an order, or for a time to pass, which is an order to go on.
func (s *supervisor) wait(ctx context.Context, until <-chan time.Time) *order {
	select {
	case o := <-s.orders:
		close(o.begun)
		return &o
	case <-until:
		return &order{}
	case <-ctx.Done():
		return nil
	}
}

// accept takes an order's process over.
func (s *supervisor) accept(o *order) {
	if o.process == nil {
		return
	}
	s.backoff.reset()
	s.warned = false
	s.mu.Lock()
	defer s.mu.Unlock()
	s.want = o.process
	s.status = proto.Status{Phase: proto.PhaseIdle}
}

// live runs the process once, from its start to the next order.
func (s *supervisor) live(ctx context.Context) *order {
	s.update(func(st *proto.Status) {
		if s.booted {
			st.Attempt, s.booted = 0, false
		}
		st.Attempt++
		st.Phase, st.Started, st.RetryAt = proto.PhaseStarting, s.journal.now(), time.Time{}
	})
	p := s.supervised().Process
	l, err := s.begin(p)
	if err != nil {
		s.say(err.Error())
		return s.retry(ctx, err.Error(), 0)
	}
	s.update(func(st *proto.Status) { st.PID = l.child.pid })
	o, why := s.watch(ctx, l, p)
	o = s.end(l, o, why)
	if ctx.Err() != nil {
		return nil
	}
	exit := l.describe(why)
	s.say(exit)
	if o != nil {
		s.update(func(st *proto.Status) { st.PID, st.LastExit = 0, exit })
		return o
	}
	fatal := why == "" && slices.Contains(p.FatalCodes, l.child.status.ExitStatus())
	if fatal && s.warned && l.ready.IsZero() {
		s.warned = false
		s.update(func(st *proto.Status) { st.Phase, st.PID, st.LastExit = proto.PhaseFailed, 0, exit })
		return s.wait(ctx, nil)
	}
	s.warned = fatal
	return s.retry(ctx, exit, l.readyFor(s.journal.now()))
}

// retry waits before the process is started again.
func (s *supervisor) retry(ctx context.Context, exit string, ready time.Duration) *order {
	pause := s.backoff.next(ready)
	s.update(func(st *proto.Status) {
		st.Phase, st.PID, st.LastExit = proto.PhaseBackoff, 0, exit
		st.RetryAt = s.journal.now().Add(pause)
		st.Restarts++
	})
	timer := time.NewTimer(pause)
	defer timer.Stop()
	return s.wait(ctx, timer.C)
}

// watch follows a run until it ends, its boot takes too long (why), an order
// comes or ctx ends.
func (s *supervisor) watch(ctx context.Context, l *life, p *proto.Process) (o *order, why string) {
	probing, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan struct{})
	go probeBoot(probing, p, func(phase proto.Phase) { s.reached(l, phase, ready) })
	limit := time.Duration(p.BootTimeout)
	if limit <= 0 {
		limit = defaultBootTimeout
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	booted := (<-chan struct{})(ready)
	for {
		select {
		case <-l.child.done:
			return nil, ""
		case o := <-s.orders:
			close(o.begun)
			return &o, ""
		case <-timer.C:
			return nil, fmt.Sprintf("not ready within %v", limit)
		case <-booted:
			timer.Stop()
			booted = nil
		case <-ctx.Done():
			return nil, "the guest ends"
		}
	}
}

// reached notes how far a boot has come.
func (s *supervisor) reached(l *life, phase proto.Phase, ready chan<- struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.over {
		return
	}
	s.status.Phase = phase
	if phase == proto.PhaseReady {
		l.ready = s.journal.now()
		s.booted = true
		close(ready)
	}
	s.journal.status(s.status)
}

// end sees to it that a run is over: in order if it was ordered, at once if it
// hangs. It returns what is to be done then: orders may come while it waits.
func (s *supervisor) end(l *life, o *order, why string) *order {
	s.mu.Lock()
	l.over = true
	s.mu.Unlock()
	for o != nil && !l.child.ended() {
		s.update(func(st *proto.Status) { st.Phase = proto.PhaseStopping })
		s.reaper.kill(l.child, unix.SIGTERM)
		newer := s.awaitEnd(l.child, o.grace)
		if newer == nil {
			break
		}
		if newer.process == nil {
			newer.process = o.process
		}
		o = newer
	}
	if o != nil || why != "" {
		s.reaper.kill(l.child, unix.SIGKILL)
	}
	<-l.child.done
	l.output.Wait()
	return o
}

// awaitEnd gives a process time to end. It breaks off for a newer order.
func (s *supervisor) awaitEnd(c *child, grace time.Duration) *order {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
	case o := <-s.orders:
		close(o.begun)
		return &o
	}
	return nil
}

func (s *supervisor) update(change func(*proto.Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
	s.journal.status(s.status)
}

// say notes PID 1's own words.
func (s *supervisor) say(text string) { s.journal.log("guest", text) }
