package cache

import (
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// maxHeader bounds the headers that are kept with an answer, in bytes.
const maxHeader = 8 << 10

// Recorder takes an answer down while it passes. Only one goroutine uses it, and
// it delays none: nothing waits for a disk. A nil Recorder does nothing.
type Recorder struct {
	s      *Store
	key    Key
	scope  Scope
	ttl    time.Duration
	tape   *tape
	purges uint64
	held   int64 // bytes booked of the store's memory
	last   time.Time
	over   bool // it ended, or the answer cannot be kept
}

// Record begins to take an answer down that is to be good for ttl, which is brought
// between MinTTL and MaxTTL. It returns nil for an answer that must not be kept: one
// without success, a part of one, or one whose headers are too large.
func (s *Store) Record(key Key, scope Scope, answer Answer, ttl time.Duration) *Recorder {
	if answer.Status < 200 || answer.Status > 299 || answer.Status == http.StatusPartialContent || headerSize(answer.Header) > maxHeader {
		return nil
	}
	answer.Header = answer.Header.Clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Recorder{s: s, key: key, scope: scope, ttl: min(max(ttl, MinTTL), MaxTTL), tape: &tape{answer: answer},
		purges: s.purges, last: s.opts.Now()}
}

func headerSize(h http.Header) (n int) {
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// Write takes a piece of the body down. It never fails; an answer that grows too
// large is given up.
func (r *Recorder) Write(p []byte) (int, error) {
	if r == nil || r.over || len(p) == 0 {
		return len(p), nil
	}
	if !r.reserve(int64(len(p))) {
		r.Discard()
		return len(p), nil
	}
	now := r.s.opts.Now()
	after := now.Sub(r.last)
	r.last = now
	for rest := p; len(rest) > 0; after = 0 {
		piece := rest[:min(len(rest), maxSegment)]
		r.tape.add(piece, after)
		rest = rest[len(piece):]
	}
	return len(p), nil
}

// reserve books n bytes more of the entry, and of the memory of all recordings.
func (r *Recorder) reserve(n int64) bool {
	if r.held+n > r.s.opts.MaxEntry {
		return false
	}
	if r.s.memory.Add(n) > maxRecording {
		r.s.memory.Add(-n)
		return false
	}
	r.held += n
	return true
}

// Discard gives the answer up: it was not complete. After Commit it does nothing.
func (r *Recorder) Discard() {
	if r == nil || r.over {
		return
	}
	r.over = true
	r.tape.end(broken)
	r.s.memory.Add(-r.held)
}

// Commit keeps the answer, which is complete, and consumed so much. It can be looked
// up at once; to the disk it comes later. False when it is not kept.
func (r *Recorder) Commit(u usage.Usage) bool {
	if r == nil || r.over {
		return false
	}
	r.over = true
	r.tape.end(complete)
	now := r.s.opts.Now()
	it := &item{key: r.key, scope: r.scope, stored: now, touched: now, ttl: r.ttl, tape: r.tape}
	it.head = headOf(it, u)
	it.size = r.held + int64(len(it.head.Chunks)) + headerSizeOnDisk
	kept := r.s.keep(it, r.purges)
	if !kept {
		r.s.memory.Add(-r.held)
	}
	return kept
}

// headerSizeOnDisk is about what a head takes, until that is known.
const headerSizeOnDisk = 1 << 10

// keep puts an item into the index and in line for the disk.
func (s *Store) keep(it *item, purges uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.purges != purges || it.size > s.opts.MaxBytes {
		return false
	}
	select {
	case s.queue <- it:
	default:
		s.stats.Unwritten++
		return false
	}
	s.add(it)
	return true
}
