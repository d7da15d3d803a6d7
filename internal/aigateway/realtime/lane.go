package realtime

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// pieceSize is how much is read at once, in bytes. Not less than the longest control
// frame and the longest withheld secret with the heads of its frames.
const pieceSize = 32 << 10

var piecePool = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// lane is one direction: it reads pieces, follows the frames in them and writes them
// on. Only its own goroutine uses it, but for done.
type lane struct {
	s        *session
	from, to *side
	client   bool // from the client
	heard    func([]byte) error
	done     chan struct{}

	buf      []byte
	at, end  int // buf[:at] is understood, buf[at:end] not yet
	boundary int // where in buf the newest frame begins or the next will; -1: before buf

	frames  frames
	head    head  // of the current frame
	left    int64 // of its payload, in bytes
	message collector
	guard   *guard // nil when nothing is withheld
	closing bool   // the close frame has come
	deaf    bool   // nothing more is passed; only the close frame is waited for

	bytes, count int64 // that were passed on
	ended        int64 // frames in buf that are not counted yet
}

func newLane(s *session, from, to *side, heard func([]byte) error) *lane {
	l := &lane{s: s, from: from, to: to, heard: heard, done: make(chan struct{}), frames: frames{most: s.o.MaxFrame}}
	if heard != nil {
		l.message = collector{most: s.o.MaxMessage, binary: s.o.Binary}
	}
	return l
}

func (l *lane) run() {
	piece := piecePool.Get().(*[pieceSize]byte)
	l.buf = piece[:]
	defer func() {
		l.message.drop()
		piecePool.Put(piece)
		close(l.done)
	}()
	for {
		n, err := l.from.conn.Read(l.buf[l.end:])
		l.end += n
		if n > 0 && !l.advance() {
			return
		}
		if err != nil {
			l.gone(err)
			return
		}
	}
}

// advance understands and passes on what was read. It returns false when nothing
// may follow.
func (l *lane) advance() bool {
	if l.deaf {
		return l.listen()
	}
	err := l.parse()
	keep, failed := l.pass(err)
	if failed == nil && keep > 0 && !l.client { // what has passed before an error is heard too
		failed = l.deliver()
	}
	if err == nil {
		err = failed
	}
	l.drop(keep)
	if err == nil && l.end == len(l.buf) {
		err = fmt.Errorf("%w: too many frames cut up what may be its beginning", ErrWithheld)
	}
	if err == nil {
		return !l.closing
	}
	l.fail(err)
	l.deaf = true
	return !l.closing && l.listen()
}

// listen only waits for the close frame. After a broken frame there is none to find,
// but what still comes is read: a connection that is closed with bytes unread may
// lose what it was sent.
func (l *lane) listen() bool {
	if err := l.parse(); err != nil {
		l.at = l.end
	}
	l.drop(l.at)
	return !l.closing
}

// parse follows the frames. An error is about what begins at l.boundary, or lies
// before l.at.
func (l *lane) parse() error {
	for l.at < l.end && !l.closing {
		if l.left == 0 {
			if ok, err := l.begin(); !ok || err != nil {
				return err
			}
		} else if err := l.payload(); err != nil {
			return err
		}
		if l.left == 0 {
			if err := l.finish(); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin begins a frame, if its head is there. A control frame must be there in whole.
func (l *lane) begin() (bool, error) {
	h, ok, err := l.frames.next(l.buf[l.at:l.end])
	if !ok || err != nil {
		return false, err
	}
	if !h.control() {
		if !l.deaf && !l.message.begin(h) && l.client && l.s.o.Strict {
			return false, fmt.Errorf("%w: the message it is of cannot be looked at", ErrTooLong)
		}
		l.at += h.size
		l.head, l.left = h, h.length
		return true, nil
	}
	size := h.size + int(h.length)
	if l.end-l.at < size {
		return false, nil
	}
	if !l.deaf && l.guard != nil && l.guard.hits(l.buf[l.at+h.size:l.at+size]) {
		return false, ErrWithheld
	}
	l.at += size
	l.head = h
	l.closing = h.op == opClose
	return true, nil
}

// payload takes what is there of a data frame's.
func (l *lane) payload() error {
	n := int(min(l.left, int64(l.end-l.at)))
	p, at := l.buf[l.at:l.at+n], l.at
	pos := l.head.length - l.left
	l.at += n
	l.left -= int64(n)
	if l.deaf {
		return nil
	}
	l.message.add(p, l.head, pos)
	if l.guard != nil && l.guard.feed(p, at) {
		return ErrWithheld
	}
	return nil
}

// finish ends a frame, and a message with the last of its frames. The client's is
// heard now, the upstream's when it was passed on.
func (l *lane) finish() error {
	if l.deaf {
		return nil
	}
	if !l.head.control() && l.head.fin {
		if l.guard != nil {
			l.guard.reset()
		}
		if l.message.end() && l.client {
			if err := l.deliver(); err != nil {
				return err
			}
		}
	}
	l.ended++
	l.boundary = l.at
	return nil
}

// deliver lets the complete messages be heard.
func (l *lane) deliver() error {
	if l.message.buf == nil {
		return nil
	}
	if err := l.message.deliver(l.heard); err != nil {
		return &refusal{err}
	}
	return nil
}

// refusal is an error of Up or Down.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

// pass writes on what may be, after parse returned err, and returns how much that was.
func (l *lane) pass(err error) (int, error) {
	n := l.at
	if err != nil {
		n = l.sound(err)
	} else if l.guard != nil && !l.closing {
		if held, ok := l.guard.hold(); ok {
			n = held
		}
	}
	if n == 0 {
		return 0, nil
	}
	return n, l.write(n)
}

// sound is how much of the buffer may pass in spite of an error.
func (l *lane) sound(err error) int {
	var refused *refusal
	if errors.As(err, &refused) {
		return max(0, l.boundary)
	}
	if errors.Is(err, ErrWithheld) {
		return 0
	}
	return l.at
}

// write writes the first n bytes of the buffer on.
func (l *lane) write(n int) error {
	if l.s.isStopped() { // a side's answer to its close frame must not come before the other's own
		return errParted
	}
	written, err := l.to.write(l.buf[:n], n == l.boundary, l.closing)
	l.bytes += int64(written)
	if err == nil && n >= l.boundary {
		l.count += l.ended
		l.ended = 0
	}
	l.s.moved.Store(int64(time.Since(l.s.began)))
	if err != nil && !errors.Is(err, errParted) {
		return &Error{Client: !l.client, Err: fmt.Errorf("%w: %w", ErrGone, err)}
	}
	return err
}

// drop forgets the first n bytes of the buffer.
func (l *lane) drop(n int) {
	copy(l.buf, l.buf[n:l.end])
	l.at -= n
	l.end -= n
	l.boundary = max(-1, l.boundary-n)
	if l.guard != nil {
		l.guard.shift(n)
	}
}

// fail stops the session for what happened in this direction.
func (l *lane) fail(err error) {
	e := ending{client: closing{codeError, "the model's server broke off"}, upstream: closing{codeGoingAway, "the session was ended"}}
	var refused *refusal
	var done *Error
	switch {
	case errors.As(err, &refused):
		e.client = closing{codePolicy, refused.Error()}
		err = refused.err
	case errors.Is(err, ErrProtocol) || errors.Is(err, ErrTooLong):
		own := closing{codeProtocol, err.Error()}
		if errors.Is(err, ErrTooLong) {
			own.code = codeTooBig
		}
		if l.client {
			e.client = own
		} else {
			e.client.reason, e.upstream = "the model's server broke the WebSocket protocol", own
		}
	case errors.Is(err, ErrWithheld):
		e.client.reason = "the model's server sent what is withheld"
	}
	if !errors.As(err, &done) {
		err = &Error{Client: l.client, Err: err}
	}
	l.s.stop(err, e)
}

// gone is reached when nothing more can be read. The other side is told, and has
// closeTimeout to end its direction, which goes on: what the model says last is
// worth having, and whoever ended the one direction may still read the other.
func (l *lane) gone(err error) {
	if l.deaf || l.s.isStopped() {
		return
	}
	if l.at > 0 { // what was held back begins nothing
		_ = l.write(l.at) // the rest is a goodbye, which will find it out
	}
	c := closing{codeError, "the model's server broke off"}
	if l.client {
		c = closing{codeGoingAway, "the client is gone"}
	}
	if l.from.wasTold() { // and took that for the end
		c = closing{code: codeNormal}
	} else {
		e := &Error{Client: l.client, Err: ErrGone}
		if err != io.EOF {
			e.Err = fmt.Errorf("%w: %w", ErrGone, err)
		}
		l.s.note(e)
	}
	if !l.to.bye(c) {
		l.s.stop(nil, ending{client: c, upstream: c})
	}
}
