package link

import (
	"errors"
	"fmt"
	"net"
)

// inbound takes frames apart as they arrive on one transport.
type inbound struct {
	t    net.Conn
	buf  []byte
	r, w int // the unread part of buf
	left int // payload bytes still to come of the current frame
}

const inboundSize = 32 << 10

func newInbound(t net.Conn) *inbound { return &inbound{t: t, buf: make([]byte, inboundSize)} }

// read fills p with payload. acked is told of each frame head; its error ends
// the reading. Exactly one of n and err is set.
func (in *inbound) read(p []byte, acked func(frame) error) (n int, err error) {
	for in.left == 0 {
		if err := in.head(acked); err != nil {
			return 0, err
		}
	}
	p = p[:min(len(p), in.left)]
	switch {
	case in.w > in.r:
		n = copy(p, in.buf[in.r:in.w])
		in.r += n
	case len(p) >= inboundSize/2:
		n, err = in.t.Read(p)
	default:
		if err = in.fill(1); err == nil {
			n = copy(p, in.buf[in.r:in.w])
			in.r += n
		}
	}
	in.left -= n
	if n > 0 {
		err = nil
	}
	return n, err
}

func (in *inbound) head(acked func(frame) error) error {
	if err := in.fill(frameSize); err != nil {
		return err
	}
	f, err := parseFrame(in.buf[in.r:])
	if err != nil {
		return err
	}
	in.r += frameSize
	in.left = int(f.length)
	return acked(f)
}

// fill reads until n bytes are buffered.
func (in *inbound) fill(n int) error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if len(in.buf)-in.r < n {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	for in.w-in.r < n {
		got, err := in.t.Read(in.buf[in.w:])
		in.w += got
		if err != nil && in.w-in.r < n {
			return err
		}
	}
	return nil
}

// Read hands out what has arrived, waiting through losses of the transport. It
// fails only when the stream has ended.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		in, err := c.attached()
		if err != nil {
			return 0, err
		}
		n, err := in.read(p, func(f frame) error { return c.acknowledged(in, f) })
		if err == nil && c.took(in, n) {
			return n, nil
		}
		if errors.Is(err, ErrProtocol) {
			c.fail(err)
		}
		if err != nil {
			c.mu.Lock()
			c.drop(in)
			c.mu.Unlock()
		}
	}
}

// attached waits for a transport.
func (c *Conn) attached() (*inbound, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && c.in == nil {
		c.wake.Wait()
	}
	return c.in, c.err
}

// took counts n bytes that came by in, unless the stream has since moved to
// another transport: then they will come again.
func (c *Conn) took(in *inbound, n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in != in {
		return false
	}
	c.received += uint64(n)
	if c.received-c.told >= ackEvery && !c.flushing {
		go c.pump()
	}
	return true
}

var errStale = errors.New("link transport replaced")

// acknowledged checks a frame's head and forgets what it acknowledges.
func (c *Conn) acknowledged(in *inbound, f frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in != in {
		return errStale
	}
	if f.ack < c.out.start || f.ack > c.next {
		return fmt.Errorf("%w: acknowledged %d, have %d to %d", ErrProtocol, f.ack, c.out.start, c.next)
	}
	if f.length == 0 && f.ack == c.out.start {
		return fmt.Errorf("%w: frame that says nothing", ErrProtocol)
	}
	if f.ack > c.out.start {
		c.out.release(f.ack)
		c.wake.Broadcast()
	}
	return nil
}
