package link

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// Stream is one stream of a session: a net.Conn whose writing half can be
// closed by itself. A stream whose session ended gives the session's error,
// never a clean end.
type Stream struct {
	mux     *yamux.Stream
	session *Session
	stopped chan struct{} // closed when the other end has closed the stream

	reading sync.Mutex // held by whoever reads from mux

	mu     sync.Mutex // guards what follows
	halted bool       // stopped is closed
	closed bool       // Close was called
	ended  bool       // the session is ending; deadlines stay in the past
}

// maxWrite makes a message, with its head, fill one frame.
const maxWrite = MaxPayload - muxHeadSize

// The past, as a deadline that wakes whoever waits.
var past = time.Unix(1, 0)

// Read reads what the other end wrote.
func (st *Stream) Read(p []byte) (int, error) {
	if st.isClosed() { // else finish holds reading
		return 0, net.ErrClosed
	}
	st.reading.Lock()
	defer st.reading.Unlock()
	if st.isClosed() {
		return 0, net.ErrClosed
	}
	n, err := st.mux.Read(p)
	if err == nil || n > 0 {
		return n, nil
	}
	if err == io.EOF && !st.session.mux.IsClosed() {
		return 0, io.EOF
	}
	return 0, st.explain(err)
}

// Write sends p.
func (st *Stream) Write(p []byte) (int, error) {
	var n int
	for n < len(p) {
		if st.isStopped() {
			return n, ErrStopped
		}
		m, err := st.mux.Write(p[n:min(len(p), n+maxWrite)])
		n += m
		if err != nil {
			return n, st.explain(err)
		}
	}
	return n, nil
}

// explain turns yamux's errors into those of net and this package.
func (st *Stream) explain(err error) error {
	switch {
	case st.isClosed():
		return net.ErrClosed
	case st.session.mux.IsClosed():
		return st.session.Err()
	case st.isStopped():
		return ErrStopped
	case errors.Is(err, yamux.ErrTimeout):
		return os.ErrDeadlineExceeded
	case errors.Is(err, yamux.ErrStreamClosed):
		return net.ErrClosed
	}
	return err
}

// CloseWrite tells the other end that no more will be written.
func (st *Stream) CloseWrite() error { return st.mux.Close() }

// Close gives the stream up. What was written before is still delivered; the
// other end is told to send no more. Close does not wait for it.
func (st *Stream) Close() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return nil
	}
	st.closed = true
	st.mux.SetReadDeadline(past)
	go st.finish()
	return nil
}

// finish sees a closed stream off: it reads and drops what still arrives, so
// that nothing of the stream stays in memory.
func (st *Stream) finish() {
	id := st.mux.StreamID()
	st.session.linger(+1)
	defer st.session.linger(-1)
	defer st.session.forget(id)
	st.mux.Close()
	st.reading.Lock()
	defer st.reading.Unlock()
	if _, err := io.Copy(io.Discard, st.mux); err == nil {
		return // the other end has closed its half, too
	}
	if !st.isStopped() {
		st.session.sayClosed(id)
	}
	if st.patient() {
		io.Copy(io.Discard, st.mux)
	}
}

// patient lets a closed stream wait for what still arrives.
func (st *Stream) patient() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.ended {
		st.mux.SetReadDeadline(time.Time{})
	}
	return !st.ended
}

// release wakes all that wait on the stream, for good.
func (st *Stream) release() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.ended = true
	st.mux.SetDeadline(past)
}

// stop notes that the other end has closed the stream, and wakes writers.
func (st *Stream) stop() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.halted {
		return
	}
	st.halted = true
	close(st.stopped)
	st.mux.SetWriteDeadline(past)
}

// Stopped is closed when the other end has closed the stream entirely and reads
// no more. What it wrote before can still be read.
func (st *Stream) Stopped() <-chan struct{} { return st.stopped }

func (st *Stream) isStopped() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.halted
}

func (st *Stream) isClosed() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.closed
}

// SetDeadline bounds Read and Write.
func (st *Stream) SetDeadline(t time.Time) error {
	return errors.Join(st.SetReadDeadline(t), st.SetWriteDeadline(t))
}

// SetReadDeadline bounds Read.
func (st *Stream) SetReadDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed || st.ended {
		return net.ErrClosed
	}
	return st.mux.SetReadDeadline(t)
}

// SetWriteDeadline bounds how long Write waits for the other end to take what
// was written before. It does not bound the wait for a lost transport.
func (st *Stream) SetWriteDeadline(t time.Time) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed || st.ended {
		return net.ErrClosed
	}
	if st.halted {
		return nil
	}
	return st.mux.SetWriteDeadline(t)
}

type addr string

func (addr) Network() string  { return "link" }
func (a addr) String() string { return string(a) }

// LocalAddr is a name for logs.
func (st *Stream) LocalAddr() net.Addr { return addr("link:" + st.session.ID().String()) }

// RemoteAddr is a name for logs.
func (st *Stream) RemoteAddr() net.Addr { return st.LocalAddr() }
