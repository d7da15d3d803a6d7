package edge

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// clientEnd is the client's end of a line. Besides what the gateway sends, the
// line says things of its own where frames allow it.
type clientEnd struct {
	conn  *stallGuard
	since time.Time
	last  atomic.Int64 // when anything was written that pages see, in ns after since

	mu      sync.Mutex // guards what follows, and the order of writes
	between bool       // another frame may stand here
	whole   bool       // another message may stand here
	closed  bool       // a close frame of ours was the last one
}

var errClosedByEdge = errors.New("the edge has closed this WebSocket")

// pass writes what came from the gateway; at is where that ends.
func (c *clientEnd) pass(chunk []byte, at *passage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosedByEdge
	}
	c.between = at.between()
	c.whole = c.between && !at.open
	c.heard()
	_, err := c.conn.Write(chunk)
	return err
}

func (c *clientEnd) heard() { c.last.Store(int64(time.Since(c.since))) }

// silence is for how long nothing was written that pages see.
func (c *clientEnd) silence() time.Duration {
	return time.Since(c.since) - time.Duration(c.last.Load())
}

// insertMessage adds a message of our own, unless one of the gateway's is under
// way: then there is no place for it.
func (c *clientEnd) insertMessage(frame []byte) {
	if !c.mu.TryLock() {
		return // the gateway's are being written
	}
	defer c.mu.Unlock()
	c.heard()
	if c.whole && !c.closed {
		_, _ = c.conn.Write(frame) // a client that is gone ends its own direction
	}
}

// insert adds a control frame, unless the gateway's current frame is unfinished.
func (c *clientEnd) insert(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.between && !c.closed {
		_, _ = c.conn.Write(frame)
	}
}

// close adds a close frame, after which nothing is written. Where there is no
// place for it the end of the connection has to do.
func (c *clientEnd) close(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	if c.between {
		_, _ = c.conn.Write(frame)
	}
	closeWrite(c.conn)
}

// stallGuard fails a write that makes no headway for too long: a peer that stays
// connected and takes nothing would hold its buffers and its place for ever. One
// that is known to sleep has all the time it wants.
type stallGuard struct {
	net.Conn
	limit time.Duration

	mu      sync.Mutex // guards what follows, and the write deadline
	paused  bool
	writing bool
}

// Write writes p whole. One Write may be under way at a time.
func (s *stallGuard) Write(p []byte) (int, error) {
	if err := s.set(func() { s.writing = true }); err != nil {
		return 0, err
	}
	n, err := s.Conn.Write(p)
	s.mu.Lock()
	s.writing = false
	s.mu.Unlock()
	return n, err
}

// pause lets writes wait for as long as it takes, resume no longer.
func (s *stallGuard) pause()  { _ = s.set(func() { s.paused = true }) }
func (s *stallGuard) resume() { _ = s.set(func() { s.paused = false }) }

// set changes what the deadline hangs on, and the deadline of a write under way.
func (s *stallGuard) set(change func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	switch {
	case !s.writing:
		return nil
	case s.paused:
		return s.SetWriteDeadline(time.Time{})
	default:
		return s.SetWriteDeadline(time.Now().Add(s.limit))
	}
}

// closeWrite tells the other end that nothing more comes, and leaves it able to
// answer where the connection can do that.
func closeWrite(s *stallGuard) {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
		return
	}
	_ = s.Conn.Close()
}
