package cache

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// Entry is an answer that was found. Only one goroutine uses it; Close must be
// called.
type Entry struct {
	Answer
	Usage  usage.Usage // that is saved
	Stored time.Time
	TTL    time.Duration
	Size   int64 // bytes of the body

	chunks  []chunk
	next    int
	memory  []byte // the rest of the body, where it is in memory
	file    *os.File
	reader  *entryReader
	segment []byte // what is left of the segment that was read
	piece   []byte
}

// Lookup finds the answer to a request. It reads all of it once, so that what is
// given is known to be undamaged.
func (s *Store) Lookup(key Key, now time.Time) (*Entry, bool) {
	it, e := s.find(key, now)
	if it == nil {
		return nil, false
	}
	if e == nil {
		var err error
		if e, err = s.openEntry(key); err != nil {
			s.lost(it, err)
			return nil, false
		}
	}
	s.mu.Lock()
	s.stats.Hits++
	s.mu.Unlock()
	return e, true
}

// find looks into the index. The entry is nil when it is on disk.
func (s *Store) find(key Key, now time.Time) (it *item, e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it = s.items[key]
	if it == nil || s.closed {
		s.stats.Misses++
		return nil, nil
	}
	if !it.fresh(now) {
		s.remove(it)
		s.stats.Misses++
		return nil, nil
	}
	s.recent.MoveToFront(it.place)
	if it.tape != nil {
		return it, newEntry(&it.head, it.tape.chunks, it.tape.body)
	}
	if now.Sub(it.touched) >= touchEvery {
		it.touched = now
		_ = os.Chtimes(s.path(key), now, now) // the order after a restart is all that it is for
	}
	return it, nil
}

// lost counts a miss, and removes an item whose file cannot be read. Another answer
// may be in its place already.
func (s *Store) lost(it *item, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Misses++
	if s.items[it.key] != it {
		return
	}
	if errors.Is(err, errDamaged) || errors.Is(err, fs.ErrNotExist) {
		s.stats.Damaged++
		s.remove(it)
	}
}

func newEntry(h *head, chunks []chunk, body []byte) *Entry {
	return &Entry{Answer: Answer{h.Answer.Status, h.Answer.Header.Clone()}, Usage: h.Usage, Stored: time.UnixMilli(h.Stored),
		TTL: time.Duration(h.TTL) * time.Millisecond, Size: h.Size, chunks: chunks, memory: body}
}

// openEntry opens a file and checks it. A body of one segment is then in memory; of
// a longer one the file stays open.
func (s *Store) openEntry(key Key) (*Entry, error) {
	f, err := os.Open(s.path(key))
	if err != nil {
		return nil, err
	}
	e, err := s.check(f, key)
	if err != nil || e.file == nil {
		f.Close()
	}
	return e, err
}

func (s *Store) check(f *os.File, key Key) (*Entry, error) {
	r, err := readHead(bufio.NewReader(f), s.sealer, key)
	if err != nil {
		return nil, err
	}
	chunks, ok := unpackChunks(r.head.Chunks, r.head.Size)
	if !ok {
		return nil, errDamaged
	}
	e := newEntry(&r.head, chunks, nil)
	for {
		p, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if e.Size <= maxSegment {
			e.memory = append(e.memory, p...)
		}
	}
	if e.Size <= maxSegment {
		return e, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if e.reader, err = readHead(bufio.NewReader(f), s.sealer, key); err != nil {
		return nil, err
	}
	e.file = f
	return e, nil
}

// Next returns the next piece of the body as it once came, good until the next call,
// and how long after the piece before it it came, in whole milliseconds; whether to
// wait is up to the caller. io.EOF after the last.
func (e *Entry) Next() (piece []byte, after time.Duration, err error) {
	if e.next == len(e.chunks) {
		return nil, 0, io.EOF
	}
	c := e.chunks[e.next]
	e.next++
	after = c.after.Truncate(time.Millisecond)
	if e.reader == nil {
		piece, e.memory = e.memory[:c.size:c.size], e.memory[c.size:]
		return piece, after, nil
	}
	e.piece = e.piece[:0]
	for len(e.piece) < c.size {
		if len(e.segment) == 0 {
			if e.segment, err = e.reader.next(); err != nil {
				return nil, 0, errDamaged
			}
		}
		n := min(len(e.segment), c.size-len(e.piece))
		e.piece = append(e.piece, e.segment[:n]...)
		e.segment = e.segment[n:]
	}
	return e.piece, after, nil
}

// Age is how long ago the answer was stored.
func (e *Entry) Age(now time.Time) time.Duration { return max(0, now.Sub(e.Stored)) }

// Close lets go of what the entry holds.
func (e *Entry) Close() error {
	if e.file == nil {
		return nil
	}
	f := e.file
	e.file = nil
	return f.Close()
}
