package cache

import (
	"encoding/binary"
	"errors"
	"net/http"
	"sync"
	"time"
)

// maxChunks bounds the pieces that are told apart; the answer's later ones are
// joined to pieces of up to maxSegment bytes.
const maxChunks = 16 << 10

// ErrBroken: the answer that is followed ended before it was complete.
var ErrBroken = errors.New("the answer that this one followed broke off")

// Answer is what stands before the body.
type Answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"` // the few to give again, Content-Type among them
}

// chunk is a piece of the body as it came.
type chunk struct {
	size  int
	after time.Duration // since the piece before it, or the beginning
}

// tape is an answer in memory: one writes it, any number read along.
type tape struct {
	answer Answer

	mu     sync.Mutex
	body   []byte // what is before its length never changes
	chunks []chunk
	state  tapeState
	more   chan struct{} // closed when something is new; nil while nobody waits
}

type tapeState uint8

const (
	running tapeState = iota
	complete
	broken
)

// add takes a piece of at most maxSegment bytes.
func (t *tape) add(p []byte, after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.body = append(t.body, p...)
	last := len(t.chunks) - 1
	if len(t.chunks) < maxChunks || t.chunks[last].size+len(p) > maxSegment {
		t.chunks = append(t.chunks, chunk{len(p), after})
	} else {
		t.chunks[last].size += len(p)
	}
	t.wake()
}

// end is called once or more; the first counts.
func (t *tape) end(state tapeState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == running {
		t.state = state
		t.wake()
	}
}

func (t *tape) wake() {
	if t.more != nil {
		close(t.more)
		t.more = nil
	}
}

// from returns the body from a place on. Where there is none yet, it returns what
// to wait for.
func (t *tape) from(at int) (p []byte, state tapeState, more <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if at == len(t.body) && t.state == running && t.more == nil {
		t.more = make(chan struct{})
	}
	return t.body[at:len(t.body):len(t.body)], t.state, t.more
}

// packChunks writes sizes and milliseconds as varints; the time is left out where
// none was measured.
func packChunks(chunks []chunk) []byte {
	var b []byte
	for _, c := range chunks {
		b = binary.AppendUvarint(b, uint64(c.size))
		b = binary.AppendUvarint(b, uint64(max(0, c.after.Milliseconds())))
	}
	return b
}

// unpackChunks reads what packChunks wrote; false when it does not add up to size.
func unpackChunks(b []byte, size int64) (chunks []chunk, ok bool) {
	var sum int64
	for len(b) > 0 {
		n, used := binary.Uvarint(b)
		if used <= 0 || n == 0 || n > maxSegment {
			return nil, false
		}
		b = b[used:]
		after, used := binary.Uvarint(b)
		if used <= 0 || after > uint64(MaxTTL.Milliseconds()) {
			return nil, false
		}
		b = b[used:]
		sum += int64(n)
		chunks = append(chunks, chunk{int(n), time.Duration(after) * time.Millisecond})
	}
	return chunks, sum == size
}
