// Package budget owns what agents may spend on model calls and what they spent:
// the rules, prepaid credit, the switches that stop calls, and a ledger on disk.
//
// A call is admitted by reserving the most that it may cost, against all rules it
// falls under at once, and settled with what it did cost. So calls that run in
// parallel cannot together pass a limit that each of them alone would keep. What
// they cost beyond their reservation counts in full.
//
// The ledger's directory:
//
//	rules.json    rules, credit, stops, the rule for heartbeats; replaced as a whole
//	ledger        all that was spent, up to a record of the journal; replaced as a whole
//	journal-N     records from number N on, a line each, appended (see journal.go)
//	*.damaged     journals in which something could not be read, kept for a person
//	lock          held by the process that has the ledger open
//
// Records reach the operating system one by one, before a call is let through and
// as it is settled, so they survive the death of the process at any point. They
// reach the disk within about a second; a power cut may lose that second.
//
// A call whose end is not known, because the process died, holds its reservation
// for an hour and then counts with it: too much rather than too little. Such calls
// show as unsettled; an answer that comes later still corrects them.
//
// A call counts in the day and month in which it was admitted. Counts are kept by
// the name of the day, so a clock that jumps back finds the day as it was left, and
// one that jumps ahead leaves everything where it is.
//
// When the disk cannot be written, calls that fall under a rule are refused, and
// calls under none go on and are counted in memory.
//
// It must not know prices, how usage is measured, what a key is, or how calls are
// forwarded.
package budget

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/remedy"
)

const (
	unsettledAfter = time.Hour   // a call without an end is counted with its reservation
	maxInFlight    = 100_000     // calls at once; more are refused
	journalSize    = 8 << 20     // bytes of a journal that is folded into the ledger
	syncEvery      = time.Second // between two fsyncs of the journal
	mendEvery      = time.Second // between two attempts to write the ledger anew
	alertsKept     = 64          // that nobody has taken yet; more are lost and counted
	maxField       = 200         // bytes of a name in a call
	maxCost        = 1 << 62     // pico-dollars or tokens of one call
	lockFile       = "lock"      // in the ledger's directory
	defaultQuiet   = 72          // hours; Heartbeats.QuietHours where nothing was set
)

// ErrUnwritable: the ledger cannot be written, so calls under a rule are refused.
var ErrUnwritable = errors.New("what model calls cost cannot be written down, so calls that have a budget are stopped")

// InvalidError is what is wrong with a rule, a grant or a stop that somebody wants to
// set.
type InvalidError struct{ message string }

func (e *InvalidError) Error() string { return e.message }

func invalid(format string, args ...any) error { return &InvalidError{fmt.Sprintf(format, args...)} }

// ErrClosed: the ledger was closed.
var ErrClosed = errors.New("the ledger of model calls is closed")

// Options of a ledger.
type Options struct {
	Dir  string           // made when it is not there; nobody else writes in it
	Zone *time.Location   // of days and months; the host's when nil
	Now  func() time.Time // time.Now when nil
}

// Ledger knows the rules and what was spent. Its methods may be called by many at
// once.
type Ledger struct {
	dir    string
	zone   *time.Location
	now    func() time.Time
	alerts chan Alert
	lock   *os.File

	mu         sync.Mutex // guards all below
	book       *book
	settings   settings
	out        journal
	damage     []string  // what could not be read when the ledger was opened
	spoiled    []string  // names of journals that have damage
	behind     bool      // memory knows more than the disk: only a new ledger file helps
	failing    error     // why the last write failed; nil when it did not
	mended     time.Time // last attempt to write the ledger anew
	writing    bool      // a ledger file is being written
	closed     bool
	lostAlerts int64
	foldAt     int64 // bytes: journalSize, but in tests

	unsynced chan struct{} // something was written; cap 1
	quit     chan struct{}
	running  sync.WaitGroup
}

// Open reads the ledger in a directory. It fails when another process has it open,
// and when rules.json or the ledger file cannot be read, as what may be spent and
// what was is not known then. Damage in a journal does not stop it: what can be
// read counts, and State tells of the rest.
func Open(o Options) (*Ledger, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Zone == nil {
		o.Zone = time.Local
	}
	l := &Ledger{
		dir: o.Dir, zone: o.Zone, now: o.Now, alerts: make(chan Alert, alertsKept),
		book: newBook(), foldAt: journalSize, unsynced: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	if err := l.open(); err != nil {
		if l.lock != nil {
			l.lock.Close()
		}
		return nil, fmt.Errorf("open the ledger of model calls in %s: %w", o.Dir, err)
	}
	l.running.Go(l.syncing)
	return l, nil
}

func (l *Ledger) open() error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	if err := l.takeLock(); err != nil {
		return err
	}
	if err := atomicfile.Sweep(l.dir); err != nil {
		return err
	}
	if err := l.loadSettings(); err != nil {
		return err
	}
	if err := l.load(); err != nil {
		return err
	}
	l.book.tell = l.tell
	l.behind = true // what was replayed belongs into the ledger file
	l.mend()
	return nil
}

func (l *Ledger) takeLock() error {
	f, err := os.OpenFile(filepath.Join(l.dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return remedy.With(errors.New("another process has it open"), "stop the other moltworker that uses this data directory")
	}
	l.lock = f
	return nil
}

// Close writes out what is not on disk yet. Calls that are under way keep their
// reservations in the journal.
func (l *Ledger) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.quit)
	l.running.Wait()

	l.mu.Lock()
	defer l.mu.Unlock()
	var err error
	if l.behind {
		err = l.failing
	}
	return errors.Join(err, l.out.close(), l.lock.Close())
}

// syncing brings the journal to the disk, at most once a second.
func (l *Ledger) syncing() {
	for {
		select {
		case <-l.quit:
			return
		case <-l.unsynced:
		}
		l.mu.Lock()
		file := l.out.file
		l.mu.Unlock()
		if file != nil {
			if err := file.Sync(); err != nil && !errors.Is(err, os.ErrClosed) {
				l.mu.Lock()
				if file == l.out.file { // what it held may be lost
					l.behind, l.failing = true, err
				}
				l.mu.Unlock()
			}
		}
		pause := time.NewTimer(syncEvery)
		select {
		case <-l.quit:
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// append writes a record to the journal. When it fails the journal is as it was.
// Called with mu held.
func (l *Ledger) append(r *record) error {
	if l.behind {
		return l.failing
	}
	if err := l.out.append(r); err != nil {
		l.failing = err
		return err
	}
	l.failing = nil
	select {
	case l.unsynced <- struct{}{}:
	default:
	}
	return nil
}

// keep records what has happened already, whether or not it can be written. Called
// with mu held.
func (l *Ledger) keep(r *record) {
	r.seq = l.book.seq
	if l.append(r) != nil {
		l.behind = true
	}
	l.book.apply(r)
	l.fold()
}

// Money and tokens never wrap around.
func add[T ~int64](a, b T) T {
	sum := a + b
	switch {
	case a > 0 && b > 0 && sum < 0:
		return maxInt64
	case a < 0 && b < 0 && sum >= 0:
		return -maxInt64
	}
	return sum
}

const maxInt64 = 1<<63 - 1

// bounded is an amount that a caller gave, made usable.
func bounded[T ~int64](v T) T { return max(0, min(v, maxCost)) }

// dollars writes an amount as people do: two digits of cents at least, rounded up
// at six.
func dollars(m price.Money) string {
	sign := ""
	if m < 0 {
		sign, m = "-", -max(m, -maxInt64)
	}
	micro := int64(m / (price.Dollar / 1e6))
	if m%(price.Dollar/1e6) > 0 {
		micro++
	}
	s := fmt.Sprintf("%06d", micro%1e6)
	for len(s) > 2 && s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	return fmt.Sprintf("%s$%d.%s", sign, micro/1e6, s)
}
