package link

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Listener is the host's end of the links of one guest: a Unix socket at which
// at most one session lives. A dialler that names the living session resumes
// it. Any other dialler that passes the handshake begins a fresh session, and
// the fresh session wins: the one before ends with ErrSessionLost. (A guest
// that was started anew must not wait for a dead one, and whoever can reach the
// socket is inside the same sandbox.)
type Listener struct {
	ln       net.Listener
	versions Versions
	log      *slog.Logger
	timeout  time.Duration // of a handshake

	mu      sync.Mutex // guards what follows
	shaking []net.Conn // transports in handshake, oldest first
	current *Conn
	since   time.Time // of current
	closed  bool

	complaints Sometimes
}

const (
	// maxShaking bounds the handshakes under way; one more ends the oldest.
	maxShaking = 16
	// minTenure is how long a session lives before a fresh one may replace it:
	// two diallers that know nothing of each other take turns slowly.
	minTenure = 100 * time.Millisecond
)

// Listen makes the socket dir/h.sock, readable by everybody: dir's parents are
// what keeps others out.
func Listen(dir string, versions Versions, log *slog.Logger) (*Listener, error) {
	ln, err := listenSocket(dir)
	if err != nil {
		return nil, err
	}
	return newListener(ln, versions, log), nil
}

func newListener(ln net.Listener, versions Versions, log *slog.Logger) *Listener {
	return &Listener{ln: ln, versions: versions, log: log, timeout: handshakeTimeout}
}

// Run accepts transports until ctx ends. It calls serve in its own goroutine
// for each fresh session; the session is closed when serve returns.
func (l *Listener) Run(ctx context.Context, serve func(*Session)) error {
	var running sync.WaitGroup
	defer running.Wait()
	defer l.Close() // the path is free when Run has returned
	defer context.AfterFunc(ctx, func() { l.ln.Close() })()
	var pause time.Duration
	for {
		t, err := l.ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				t.Close()
			}
			return ctx.Err()
		}
		if errors.Is(err, net.ErrClosed) {
			return ErrClosed
		}
		if err != nil {
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.complaints.Do(func() { l.log.Warn("link: cannot accept; trying on", "error", err) })
			sleep(ctx, pause)
			continue
		}
		pause = 0
		l.begin(t)
		running.Go(func() {
			if c := l.shake(ctx, t); c != nil {
				serveConn(c, false, l.log, serve)
			}
		})
	}
}

// Close closes the socket and ends the session.
func (l *Listener) Close() error {
	err := l.ln.Close()
	l.end()
	return err
}

func (l *Listener) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, t := range l.shaking {
		t.Close()
	}
	if l.current != nil {
		l.current.fail(ErrClosed)
	}
}

// begin notes a handshake; when there are too many, the oldest ends.
func (l *Listener) begin(t net.Conn) {
	t.SetDeadline(time.Now().Add(l.timeout))
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.shaking) >= maxShaking {
		l.shaking[0].Close()
		l.shaking = l.shaking[1:]
	}
	l.shaking = append(l.shaking, t)
}

// settled forgets a handshake. Needs mu.
func (l *Listener) settled(t net.Conn) {
	for i, other := range l.shaking {
		if other == t {
			l.shaking = append(l.shaking[:i:i], l.shaking[i+1:]...)
			return
		}
	}
}

// shake does one handshake and returns the fresh session's stream, or nil when
// a session was resumed or refused.
func (l *Listener) shake(ctx context.Context, t net.Conn) *Conn {
	h, err := readHello(t)
	var c *Conn
	if err == nil {
		c, err = l.admit(ctx, t, h)
	}
	l.mu.Lock()
	l.settled(t)
	l.mu.Unlock()
	if err == nil {
		return c
	}
	t.Close()
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		l.log.Debug("link: handshake failed", "error", err)
	}
	return nil
}

func (l *Listener) admit(ctx context.Context, t net.Conn, h hello) (*Conn, error) {
	version, ok := l.versions.settle(h.versions)
	if !ok {
		err := fmt.Errorf("%w: the guest speaks link versions %d to %d, this host %d to %d; restart the agent to give it this host's guest program",
			ErrRefused, h.versions.Min, h.versions.Max, l.versions.Min, l.versions.Max)
		t.Write(answer{verdict: refused, message: err.Error()}.encode())
		l.complaints.Do(func() { l.log.Warn("link: guest refused", "error", err) })
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if done, err := l.resume(t, h); done {
		return nil, err
	}
	if err := l.awaitTenure(ctx); err != nil {
		return nil, err
	}
	if l.closed {
		return nil, ErrClosed
	}
	return l.replace(t, version)
}

// resume puts the living session on t if the guest named it and both ends still
// have what the other misses. Needs mu.
func (l *Listener) resume(t net.Conn, h hello) (done bool, err error) {
	if l.current == nil || l.current.id != h.session {
		return false, nil
	}
	received, ok := l.current.freeze(h.received)
	if !ok {
		return false, nil
	}
	a := answer{verdict: resumed, version: l.current.version, session: h.session, received: received}
	if _, err := t.Write(a.encode()); err != nil {
		return true, fmt.Errorf("send link answer: %w", err)
	}
	t.SetDeadline(time.Time{})
	return true, l.current.attach(t, h.received)
}

// tenure is how much longer the living session may not be replaced. Needs mu.
func (l *Listener) tenure(now time.Time) time.Duration {
	if l.current == nil || l.current.Err() != nil {
		return 0
	}
	return minTenure - now.Sub(l.since)
}

// awaitTenure waits until the living session has had its time. Needs mu, which
// it lets go of while it waits.
func (l *Listener) awaitTenure(ctx context.Context) error {
	for {
		left := l.tenure(time.Now())
		if left <= 0 {
			return nil
		}
		l.mu.Unlock()
		err := sleep(ctx, left)
		l.mu.Lock()
		if err != nil {
			return err
		}
	}
}

// replace begins a fresh session on t. Needs mu.
func (l *Listener) replace(t net.Conn, version uint16) (*Conn, error) {
	var id SessionID
	rand.Read(id[:])
	a := answer{verdict: fresh, version: version, session: id}
	if _, err := t.Write(a.encode()); err != nil {
		return nil, fmt.Errorf("send link answer: %w", err)
	}
	t.SetDeadline(time.Time{})
	if l.current != nil {
		l.current.fail(ErrSessionLost)
	}
	c := newConn(id, version)
	l.current, l.since = c, time.Now()
	return c, c.attach(t, 0)
}
