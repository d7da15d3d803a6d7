package realtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// closeTimeout is how long an end may take: the sending of close frames and the wait
// for their answers, and the wait of one direction for the other.
const closeTimeout = 5 * time.Second

// session is both directions of a WebSocket.
type session struct {
	o                Options
	began            time.Time
	moved            atomic.Int64 // when bytes were last passed, in nanoseconds since began
	client, upstream *side
	up, down         *lane
	stopped          chan struct{} // closed when nothing more is to be passed

	mu  sync.Mutex
	err error  // guarded by mu; the first is why the session ended
	end ending // guarded by mu; meant when stopped is closed
}

// ending is how a session that is stopped takes its leave.
type ending struct {
	client, upstream closing // what each is told
	hurry            bool    // answers were waited for already
}

func newSession(client, upstream io.ReadWriteCloser, o Options) *session {
	s := &session{o: o, began: time.Now(), stopped: make(chan struct{})}
	s.client = newSide(client, s.began, false)
	s.upstream = newSide(upstream, s.began, true)
	s.up = newLane(s, s.client, s.upstream, o.Up)
	s.up.client, s.up.frames.masked = true, true
	s.down = newLane(s, s.upstream, s.client, o.Down)
	s.down.guard = newGuard(o.Withheld)
	return s
}

// note keeps why the session ends; the first to say so is right.
func (s *session) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil && !s.isStopped() {
		s.err = err
	}
}

// stop ends the session, without an error if err is nil and there was none.
func (s *session) stop(err error, e ending) {
	s.note(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isStopped() {
		s.end = e
		close(s.stopped)
		if s.o.Stopped != nil {
			s.o.Stopped()
		}
	}
}

func (s *session) isStopped() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}

// supervise returns when both directions are done or the session is stopped.
func (s *session) supervise(ctx context.Context) {
	idle := time.NewTimer(s.o.Idle)
	defer idle.Stop()
	late := time.NewTimer(0)
	late.Stop()
	defer late.Stop()
	up, down := s.up.done, s.down.done
	for up != nil || down != nil {
		select {
		case <-s.stopped:
			return
		case <-ctx.Done():
			s.stop(context.Cause(ctx), farewell(ctx))
		case <-idle.C:
			if quiet := s.quiet(); quiet < s.o.Idle {
				idle.Reset(s.o.Idle - quiet)
				break
			}
			c := closing{codeGoingAway, fmt.Sprintf("nothing was sent for %v", s.o.Idle)}
			s.stop(ErrIdle, ending{client: c, upstream: c})
		case <-late.C:
			c := closing{codeGoingAway, "the other side has ended"}
			s.stop(nil, ending{client: c, upstream: c, hurry: true})
		case <-up:
			up = nil
			late.Reset(closeTimeout)
		case <-down:
			down = nil
			late.Reset(closeTimeout)
		}
	}
}

func farewell(ctx context.Context) ending {
	c := closing{codeGoingAway, "the session was ended"}
	if cause := context.Cause(ctx); !errors.Is(cause, ctx.Err()) {
		c.reason = cause.Error()
	}
	return ending{client: c, upstream: closing{codeGoingAway, "the session was ended"}}
}

// quiet is for how long nothing moved, or a write has not ended.
func (s *session) quiet() time.Duration {
	now := time.Since(s.began)
	quiet := now - time.Duration(s.moved.Load())
	for _, to := range []*side{s.client, s.upstream} {
		if since := to.since.Load(); since != 0 {
			quiet = max(quiet, now-time.Duration(since))
		}
	}
	return quiet
}

// part takes leave of both sides at once and closes their connections.
func (s *session) part() {
	s.mu.Lock()
	end := s.end
	s.mu.Unlock()
	if !s.isStopped() { // both have said all
		s.client.close()
		s.upstream.close()
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.client.leave(end.client, end.hurry, s.up.done) })
	wg.Go(func() { s.upstream.leave(end.upstream, end.hurry, s.down.done) })
	wg.Wait()
}

// side is one of the two connections, as it is written to.
type side struct {
	conn      io.ReadWriteCloser
	began     time.Time
	masked    bool         // it is a server, so what it gets is masked
	since     atomic.Int64 // when the current write began, in nanoseconds since began; 0: there is none
	closeOnce sync.Once

	turn    chan struct{} // held (it is full) while writing, which can take long
	between bool          // held by turn; what was written ends with a frame
	closed  bool          // held by turn; a close frame was written: nothing may follow
	failed  bool          // held by turn; a write failed: nothing can follow
}

// newSide takes away what deadlines the handshake left: here only waiting ends.
func newSide(conn io.ReadWriteCloser, began time.Time, masked bool) *side {
	if c, ok := conn.(interface{ SetDeadline(time.Time) error }); ok {
		_ = c.SetDeadline(time.Time{}) // a connection that fails here fails at once again
	}
	return &side{conn: conn, began: began, masked: masked, turn: make(chan struct{}, 1), between: true}
}

var errParted = errors.New("the session has taken leave")

// write passes bytes on, after which the connection is between frames or not, or has
// had its close frame.
func (s *side) write(p []byte, between, closes bool) (int, error) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	return s.writeInTurn(p, between, closes)
}

func (s *side) writeInTurn(p []byte, between, closes bool) (int, error) {
	if s.closed || s.failed {
		return 0, errParted
	}
	s.since.Store(max(1, int64(time.Since(s.began))))
	n, err := s.conn.Write(p)
	s.since.Store(0)
	s.between, s.closed, s.failed = between, closes, err != nil
	return n, err
}

// bye sends a close frame if one can be sent, and reports whether one has been.
func (s *side) bye(c closing) bool {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.between && !s.closed && !s.failed {
		_, _ = s.writeInTurn(c.frame(s.masked), true, true)
	}
	return s.closed && !s.failed
}

// wasTold reports whether a close frame was written.
func (s *side) wasTold() bool {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	return s.closed
}

// leave says goodbye to a side, waits for what is read from it to end, and closes it.
func (s *side) leave(c closing, hurry bool, read <-chan struct{}) {
	timeout := time.NewTimer(closeTimeout)
	defer timeout.Stop()
	said := make(chan bool, 1)
	go func() { said <- s.bye(c) }()
	select {
	case ok := <-said:
		if ok && !hurry {
			select {
			case <-read:
			case <-timeout.C:
			}
		}
		s.close()
	case <-timeout.C:
		s.close() // which ends a write that is stuck
		<-said
	}
}

func (s *side) close() { s.closeOnce.Do(func() { _ = s.conn.Close() }) }
