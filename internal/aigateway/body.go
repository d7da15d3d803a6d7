package aigateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// MaxBody bounds a request body, in bytes.
const MaxBody = 32 << 20

// Body buffers of up to maxPooled bytes are used again.
const (
	minBuffer = 64 << 10
	maxPooled = 1 << 20
)

var bufferPool = sync.Pool{New: func() any { b := make([]byte, 0, minBuffer); return &b }}

// body is a whole request body in memory. The transport may still read it after
// an answer arrived, so the buffer goes back to the pool only when every reader
// is closed and the call has released it.
type body struct {
	buf    *[]byte
	load   *load
	booked int  // bytes reserved of load
	pooled bool // buf came from the pool and goes back to it
	refs   atomic.Int32
}

// readBody reads a request body, at most MaxBody bytes of it.
func readBody(r *http.Request, l *load) (*body, error) {
	if r.ContentLength > MaxBody {
		return nil, errTooLarge
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, fail(http.StatusUnsupportedMediaType, "the request body is compressed; send it without Content-Encoding")
	}
	b := &body{load: l, buf: bufferPool.Get().(*[]byte), pooled: true}
	b.refs.Store(1)
	if err := b.fill(r); err != nil {
		b.release()
		return nil, err
	}
	return b, nil
}

var errTooLarge = fail(http.StatusRequestEntityTooLarge, "the request body is larger than 32 MiB")

func (b *body) fill(r *http.Request) error {
	if err := b.grow(firstSize(r.ContentLength)); err != nil {
		return err
	}
	for {
		buf := *b.buf
		if len(buf) == cap(buf) {
			if err := b.grow(2 * cap(buf)); err != nil {
				return err
			}
			continue
		}
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		*b.buf = buf[:len(buf)+n]
		if len(*b.buf) > MaxBody {
			return errTooLarge
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return bodyFailure(r, err)
		}
	}
}

// firstSize is the buffer a body starts with: all of it when that is modest; a
// large claimed length is believed only as it arrives.
func firstSize(claimed int64) int {
	return int(min(max(claimed+1, minBuffer), maxPooled))
}

// grow makes room for size bytes, booked on the agent before they are had.
func (b *body) grow(size int) error {
	size = min(size, MaxBody+1)
	if err := b.load.reserve(size - b.booked); err != nil {
		return err
	}
	b.booked = size
	if old := *b.buf; size > cap(old) {
		*b.buf = append(make([]byte, 0, size), old...)
	}
	return nil
}

func bodyFailure(r *http.Request, err error) error {
	if cause := r.Context().Err(); cause != nil {
		return errClientGone
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errClientGone
	}
	return &failure{status: http.StatusBadRequest, msg: "the request body could not be read", cause: err}
}

// newBody is a document as a body of its own, booked on the agent.
func newBody(doc []byte, l *load) (*body, error) {
	if err := l.reserve(len(doc)); err != nil {
		return nil, err
	}
	b := &body{load: l, buf: &doc, booked: len(doc)}
	b.refs.Store(1)
	return b, nil
}

// replace puts another document in the body's place, of about its size. Nobody reads
// the body yet.
func (b *body) replace(doc []byte) { b.buf, b.pooled = &doc, false }

// bytes is the body; valid until release.
func (b *body) bytes() []byte { return *b.buf }

// release gives one reference up.
func (b *body) release() {
	if b.refs.Add(-1) > 0 {
		return
	}
	b.load.release(b.booked)
	if b.pooled && cap(*b.buf) <= maxPooled {
		*b.buf = (*b.buf)[:0]
		bufferPool.Put(b.buf)
	}
}

// open returns a reader of the body from its start, for a request or its retry.
func (b *body) open() (io.ReadCloser, error) {
	b.refs.Add(1)
	r := &bodyReader{of: b}
	r.in.Reset(*b.buf)
	return r, nil
}

// bodyReader reads a body once. A transport may close it while another of its
// goroutines reads, hence the lock.
type bodyReader struct {
	mu     sync.Mutex
	in     bytes.Reader // guarded by mu
	of     *body
	closed bool // guarded by mu
}

func (r *bodyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, errors.New("read of a closed request body")
	}
	return r.in.Read(p)
}

func (r *bodyReader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		r.of.release()
	}
	return nil
}
