// Package cache owns answers of model calls that are given again: what makes two
// requests the same, where the answers lie, how long they are good, who may have
// them, and how calls that are the same at the same moment share one answer.
//
// It must not know how a call is forwarded, what an answer costs or says, or whether
// a call may be answered from the cache at all: whoever calls decides that. A cache
// that fails is a cache that is empty; after Open nothing here is ever the error of
// a call.
package cache

import (
	"container/list"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/remedy"
)

// Limits. MaxEntryBytes is Cloudflare's limit of one cached answer; MaxTTL is the
// month that Cloudflare allows, in its longest form.
const (
	MinTTL        = time.Second
	MaxTTL        = 31 * 24 * time.Hour
	MaxEntryBytes = 25 << 20
)

const (
	defaultMaxBytes   = 1 << 30
	defaultMaxEntries = 100_000
	maxRecording      = 128 << 20 // bytes of answers in memory that are not on disk yet
	queueLength       = 64        // answers that wait to be written
	lockName          = "lock"
	touchEvery        = time.Minute // at most so often a use is noted on disk
	skew              = time.Minute // by which a clock may have been put back
)

// Options of a Store.
type Options struct {
	Dir        string           // made when it is not there; of this store alone
	MaxBytes   int64            // on disk, in all; 1 GiB when 0
	MaxEntry   int64            // bytes of one answer; MaxEntryBytes when 0, and at most
	MaxEntries int              // 100,000 when 0
	SealingKey []byte           // of 32 bytes: answers are encrypted at rest; nil: they are not
	Now        func() time.Time // time.Now when nil
}

// Store keeps answers in a directory. Its methods may be called concurrently.
type Store struct {
	opts   Options
	sealer sealer
	lock   *os.File

	queue   chan *item
	writing sync.WaitGroup
	memory  atomic.Int64 // bytes of recordings

	mu     sync.Mutex // guards what follows, and every change of a name in the directory
	items  map[Key]*item
	recent *list.List // of *item, the latest used first
	bytes  int64
	purges uint64 // how often something was purged
	closed bool
	stats  Stats
}

// item is what the index knows of an entry.
type item struct {
	key     Key
	scope   Scope
	stored  time.Time
	ttl     time.Duration
	size    int64 // on disk; estimated until it is there
	touched time.Time
	tape    *tape // the answer, until it is on disk
	head    head  // of tape
	place   *list.Element
}

// Stats counts since Open; Entries and Bytes are what is there now.
type Stats struct {
	Entries   int
	Bytes     int64
	Hits      uint64
	Misses    uint64 // expired ones too
	Evictions uint64 // for want of room
	Unwritten uint64 // answers that were to be kept and could not be
	Damaged   uint64 // files that were removed because they could not be read
}

// Open takes the directory and finds what is in it. Files that are named like
// entries and are none (damaged, of another format, sealed with another key) are
// removed; other files are left alone.
func Open(o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.MaxEntries <= 0 {
		o.MaxEntries = defaultMaxEntries
	}
	if o.MaxEntry <= 0 || o.MaxEntry > MaxEntryBytes {
		o.MaxEntry = MaxEntryBytes
	}
	s := &Store{opts: o, queue: make(chan *item, queueLength), items: map[Key]*item{}, recent: list.New()}
	if err := s.open(); err != nil {
		if s.lock != nil {
			s.lock.Close()
		}
		return nil, fmt.Errorf("open the cache of answers in %s: %w", o.Dir, err)
	}
	s.writing.Go(s.write)
	return s, nil
}

func (s *Store) open() (err error) {
	if s.sealer, err = newSealer(s.opts.SealingKey); err != nil {
		return err
	}
	if err := os.MkdirAll(s.opts.Dir, 0o700); err != nil {
		return err
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	if err := atomicfile.Sweep(s.opts.Dir); err != nil {
		return err
	}
	return s.rebuild()
}

func (s *Store) takeLock() error {
	f, err := os.OpenFile(filepath.Join(s.opts.Dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		return remedy.With(errors.New("another process has it open"), "stop the other moltworker that uses this data directory")
	}
	s.lock = f
	return nil
}

// Close brings to disk what waits for it, and gives the directory up.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.queue)
	s.mu.Unlock()
	s.writing.Wait()
	return s.lock.Close()
}

// Stats says how the cache does.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.stats
	now.Entries, now.Bytes = len(s.items), s.bytes
	return now
}

// Purge removes every answer of a scope, also those that are being recorded, and
// returns how many it found.
func (s *Store) Purge(scope Scope) int {
	return s.removeAll(func(it *item) bool { return it.scope == scope }, true)
}

// Expire removes the answers that are too old, which are of use to nobody and
// private. It returns how many.
func (s *Store) Expire(now time.Time) int {
	return s.removeAll(func(it *item) bool { return !it.fresh(now) }, false)
}

func (s *Store) removeAll(gone func(*item) bool, purge bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if purge {
		s.purges++
	}
	for _, it := range s.items {
		if gone(it) {
			s.remove(it)
			n++
		}
	}
	return n
}

func (it *item) fresh(now time.Time) bool {
	age := now.Sub(it.stored)
	return age >= -skew && age < it.ttl
}

// The rest is called with mu held.

// add makes an item part of the index, in place of the one before it.
func (s *Store) add(it *item) {
	if old := s.items[it.key]; old != nil {
		s.forget(old)
	}
	s.items[it.key] = it
	it.place = s.recent.PushFront(it)
	s.bytes += it.size
	s.makeRoom()
}

// makeRoom lets the least recently used go, until the rest is within the limits.
func (s *Store) makeRoom() {
	for s.bytes > s.opts.MaxBytes || len(s.items) > s.opts.MaxEntries {
		s.remove(s.recent.Back().Value.(*item))
		s.stats.Evictions++
	}
}

// forget takes an item out of the index.
func (s *Store) forget(it *item) bool {
	if s.items[it.key] != it {
		return false
	}
	delete(s.items, it.key)
	s.recent.Remove(it.place)
	s.bytes -= it.size
	return true
}

// remove takes an item out of the index and off the disk. What another item has
// written under the same name stays.
func (s *Store) remove(it *item) {
	if s.forget(it) {
		_ = os.Remove(s.path(it.key)) // it may not be there yet; one that stays is found at the next Open
	}
}

func (s *Store) path(key Key) string { return filepath.Join(s.opts.Dir, fileName(key)) }
