package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Dialer keeps a guest connected to its host: it dials, resumes the session or
// begins a fresh one, and dials again whenever the transport is lost.
type Dialer struct {
	// Path is the host's socket.
	Path string
	// Versions is what this end speaks.
	Versions Versions
	Log      *slog.Logger
	// Anew, if set, makes it give its transport up and dial again, whenever a
	// value comes: a transport may be lost without this end being told.
	Anew <-chan struct{}

	dial    func(ctx context.Context) (net.Conn, error) // Path when nil
	timeout time.Duration                               // of a handshake; handshakeTimeout when 0
	steady  time.Duration                               // steady when 0
}

// The pauses between attempts to dial. The first attempt after a loss is made
// at once.
const (
	minRedial = 10 * time.Millisecond
	maxRedial = time.Second
	// steady is how long a transport must have lasted for its loss to count as
	// the first.
	steady = time.Second
)

// Run keeps connected until ctx ends. It calls serve in its own goroutine for
// each fresh session; the session is closed when serve returns.
func (d *Dialer) Run(ctx context.Context, serve func(*Session)) error {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	var conn *Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	pause := redial{steady: d.steady}
	if d.steady == 0 {
		pause.steady = steady
	}
	for {
		if err := pause.wait(ctx); err != nil {
			return err
		}
		next, err := d.connect(ctx, conn)
		if err != nil {
			pause.failed(d.Log, err)
			continue
		}
		if next != conn {
			conn = next
			sessions.Go(func() { serveConn(next, true, d.Log, serve) })
		}
		pause.connected(time.Now())
		if err := d.awaitLoss(ctx, conn); err != nil {
			return err
		}
		pause.disconnected(time.Now())
	}
}

func (d *Dialer) awaitLoss(ctx context.Context, c *Conn) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.Anew:
		c.hangUp()
		<-c.lost
	case <-c.lost:
	case <-c.done:
	}
	return nil
}

// connect makes one attempt. It returns old when that was resumed, and a new
// Conn when a fresh session begins; then old has ended.
func (d *Dialer) connect(ctx context.Context, old *Conn) (*Conn, error) {
	t, err := d.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("dial link: %w", err)
	}
	c, err := d.shake(ctx, t, old)
	if err != nil {
		t.Close()
	}
	return c, err
}

func (d *Dialer) open(ctx context.Context) (net.Conn, error) {
	if d.dial != nil {
		return d.dial(ctx)
	}
	return dialSocket(ctx, d.Path)
}

func (d *Dialer) shake(ctx context.Context, t net.Conn, old *Conn) (*Conn, error) {
	timeout := d.timeout
	if timeout == 0 {
		timeout = handshakeTimeout
	}
	t.SetDeadline(time.Now().Add(timeout))
	defer context.AfterFunc(ctx, func() { t.Close() })()

	h := hello{versions: d.Versions}
	if old != nil {
		h.session, h.received = old.position()
	}
	if _, err := t.Write(h.encode()); err != nil {
		return nil, fmt.Errorf("send link handshake: %w", err)
	}
	a, err := readAnswer(t)
	if err != nil {
		return nil, err
	}
	if a.verdict == refused {
		return nil, fmt.Errorf("%w: %s", ErrRefused, a.message)
	}
	if a.version < d.Versions.Min || a.version > d.Versions.Max {
		return nil, fmt.Errorf("%w: host settled on version %d, offered %d to %d", ErrProtocol, a.version, d.Versions.Min, d.Versions.Max)
	}
	t.SetDeadline(time.Time{})
	return take(t, old, a)
}

// take puts the session that the answer names on t.
func take(t net.Conn, old *Conn, a answer) (*Conn, error) {
	if a.verdict == resumed {
		if old == nil || a.session != old.id {
			return nil, fmt.Errorf("%w: host resumed a session that was not asked for", ErrProtocol)
		}
		err := old.attach(t, a.received)
		if errors.Is(err, ErrSessionLost) {
			old.fail(err)
		}
		return old, err
	}
	if old != nil {
		old.fail(ErrSessionLost)
	}
	c := newConn(a.session, a.version)
	return c, c.attach(t, 0)
}

// position is what a handshake says of the stream: the zero session once it
// has ended.
func (c *Conn) position() (SessionID, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return SessionID{}, 0
	}
	return c.id, c.received
}

// redial paces the attempts to connect.
type redial struct {
	steady time.Duration
	pause  time.Duration
	since  time.Time // of the current transport
	said   string    // the last failure that was logged
}

func (r *redial) wait(ctx context.Context) error {
	if r.pause == 0 {
		return ctx.Err()
	}
	return sleep(ctx, r.pause)
}

// failed lengthens the pause, and logs what is new.
func (r *redial) failed(log *slog.Logger, err error) {
	r.pause = min(max(2*r.pause, minRedial), maxRedial)
	if text := err.Error(); text != r.said && !errors.Is(err, io.EOF) {
		r.said = text
		log.Warn("link: cannot connect to the host; trying on", "error", err)
	}
}

func (r *redial) connected(now time.Time) { r.since = now }

// disconnected lets the next attempt come at once, unless transports do not
// last.
func (r *redial) disconnected(now time.Time) {
	if now.Sub(r.since) >= r.steady {
		r.pause, r.said = 0, ""
		return
	}
	r.pause = min(max(2*r.pause, minRedial), maxRedial)
}
