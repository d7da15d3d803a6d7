package link

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// Conn is a byte stream between two ends that survives the loss of its
// transport. Write blocks when Window bytes are unacknowledged. Somebody must
// always be reading: acknowledgements arrive with the data.
//
// Read may be called by one goroutine at a time; all else concurrently.
type Conn struct {
	id      SessionID
	version uint16
	lost    chan struct{} // holds a token after the transport was lost
	done    chan struct{} // closed when err is set

	mu   sync.Mutex // guards what follows
	wake *sync.Cond // told of every change that Read or Write may wait for
	in   *inbound   // the transport's receiving half; nil while there is none
	err  error      // why the stream ended

	out      replay
	next     uint64 // stream offset of the next byte to put on the transport
	received uint64 // bytes handed to Read's caller
	told     uint64 // received as last told to the other end
	flushing bool   // somebody is writing to the transport
}

func newConn(id SessionID, version uint16) *Conn {
	c := &Conn{id: id, version: version, lost: make(chan struct{}, 1), done: make(chan struct{})}
	c.wake = sync.NewCond(&c.mu)
	return c
}

// attach puts the stream on a new transport whose other end has received so
// much. The other end must have been told this end's received.
func (c *Conn) attach(t net.Conn, received uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if !c.resumable(received) {
		return fmt.Errorf("%w: asked to resume at %d, have %d to %d", ErrSessionLost, received, c.out.start, c.next)
	}
	c.drop(c.in)
	c.out.release(received)
	c.next, c.told = received, c.received
	c.in = newInbound(t)
	c.wake.Broadcast()
	if c.pending() && !c.flushing {
		go c.pump()
	}
	return nil
}

// resumable says whether the other end can have received so much. Needs mu.
func (c *Conn) resumable(received uint64) bool {
	return received >= c.out.start && received <= c.next
}

// freeze lets go of the transport and says how much was received; that number
// stays until the next attach. It says false when the stream cannot resume.
func (c *Conn) freeze(peerReceived uint64) (uint64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || !c.resumable(peerReceived) {
		return 0, false
	}
	c.drop(c.in)
	return c.received, true
}

// drop lets go of the transport if it is still in. Needs mu.
func (c *Conn) drop(in *inbound) {
	if in == nil || c.in != in {
		return
	}
	in.t.Close()
	c.in = nil
	c.wake.Broadcast()
	select {
	case c.lost <- struct{}{}:
	default:
	}
}

// hangUp lets go of the transport, if there is one, and says so as for a loss.
func (c *Conn) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(c.in)
	select {
	case c.lost <- struct{}{}:
	default:
	}
}

// fail ends the stream for good; the first reason stays.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	c.drop(c.in)
	c.out = replay{}
	close(c.done)
	c.wake.Broadcast()
}

// Close ends the stream. The other end sees its transport go and finds at its
// next handshake that the session is no more.
func (c *Conn) Close() error {
	c.fail(ErrClosed)
	return nil
}

// Err says why the stream ended, or nil while it lasts.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Attached says whether the stream has a transport now.
func (c *Conn) Attached() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in != nil
}

func (c *Conn) awaitAttached(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.wake.Broadcast()
	})()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.in == nil && c.err == nil && ctx.Err() == nil {
		c.wake.Wait()
	}
	if c.err != nil {
		return c.err
	}
	return ctx.Err()
}

// Write sends p. It returns when p is kept for (re)transmission.
func (c *Conn) Write(p []byte) (int, error) { return c.write(p, nil) }

// write sends head and then body, in one frame where they fit.
func (c *Conn) write(head, body []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(head) + len(body)
	for len(head)+len(body) > 0 {
		if err := c.awaitRoom(); err != nil {
			return n - len(head) - len(body), err
		}
		head = c.keep(head)
		body = c.keep(body)
	}
	c.flush()
	return n, c.err
}

// keep takes what fits of p and returns the rest. Needs mu.
func (c *Conn) keep(p []byte) []byte {
	n := min(len(p), c.room())
	if n > 0 {
		c.out.append(p[:n])
	}
	return p[max(n, 0):]
}

func (c *Conn) room() int {
	if c.in == nil {
		return c.out.room()
	}
	return min(c.out.room(), maxUnsent-int(c.out.end()-c.next))
}

func (c *Conn) awaitRoom() error {
	for c.err == nil && c.room() <= 0 {
		if c.pending() && c.in != nil && !c.flushing {
			c.flush()
			continue
		}
		c.wake.Wait()
	}
	return c.err
}

// pending says whether there is anything to put on a transport. Needs mu.
func (c *Conn) pending() bool { return c.next < c.out.end() || c.received-c.told >= ackEvery }

func (c *Conn) pump() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
}

// flush writes frames until nothing is pending, unless somebody else is at it.
// Needs mu, which it lets go of during each write.
func (c *Conn) flush() {
	if c.flushing {
		return
	}
	c.flushing = true
	buf := frames.Get().(*frameBuf)
	for c.err == nil && c.in != nil && c.pending() {
		in := c.in
		b := c.fill(buf)
		c.mu.Unlock()
		_, err := in.t.Write(b)
		c.mu.Lock()
		if err != nil {
			c.drop(in)
		}
		c.wake.Broadcast()
	}
	frames.Put(buf)
	c.flushing = false
}

type frameBuf [frameSize + MaxPayload]byte

var frames = sync.Pool{New: func() any { return new(frameBuf) }}

// fill builds the next frame in buf. Needs mu.
func (c *Conn) fill(buf *frameBuf) []byte {
	n := int(min(c.out.end()-c.next, MaxPayload))
	frame{length: uint32(n), ack: c.received}.append(buf[:0])
	b := buf[:frameSize+n]
	c.out.copyAt(b[frameSize:], c.next)
	c.next += uint64(n)
	c.told = c.received
	return b
}
