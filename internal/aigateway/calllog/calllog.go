// Package calllog owns the record of model calls: one row for each in a database
// file of its own, sums of them by hour and day that are kept by the same
// transactions, what was said in them where that is wanted, and the answers to
// questions about all this. A call never waits for it: what cannot be written for
// so long that the queue is full is dropped and counted.
//
// It must not know how calls are forwarded, what prices are, who may look, or what
// in a payload is secret. It keeps names of keys, never a key.
package calllog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of Options.
const (
	DefaultMaxCalls = 10_000_000
	DefaultMaxBytes = 8 << 30
	DefaultHourAge  = 90 * 24 * time.Hour
	DefaultDayAge   = 3 * 366 * 24 * time.Hour

	defaultQueue      = 8192
	defaultPayloadAge = 30 * 24 * time.Hour
	maxQueue          = 1 << 20
)

// Options of a log. Zero fields have the defaults that are named.
type Options struct {
	Path string // of the database file; files beside it have names that begin with it

	// What is kept: the oldest calls go first when one of these is exceeded.
	MaxCalls int64         // DefaultMaxCalls
	MaxBytes int64         // of the file without what waits to be reused; DefaultMaxBytes
	MaxAge   time.Duration // 0: calls do not become too old
	HourAge  time.Duration // of sums by the hour; DefaultHourAge
	DayAge   time.Duration // of sums by the day; DefaultDayAge

	// MaxPayloadBytes bounds the file of payloads, whose oldest go first; 0 keeps none,
	// makes no such file and deletes one that is there. A payload also goes with its
	// call.
	MaxPayloadBytes int64
	PayloadAge      time.Duration // 30 days

	Queue int // calls that wait to be written, at most 1<<20; 8192

	Now   func() time.Time                     // time.Now
	After func(time.Duration) <-chan time.Time // waits between failed attempts; time.After
	Fail  func(err error, dropped int64)       // told when writing begins to fail and when calls were lost; may be nil
}

// ErrNotFound says that there is no such call, or nothing of the kind with it.
var ErrNotFound = errors.New("not found")

// closePatience bounds how long Close writes what waits.
const closePatience = 5 * time.Second

// Log is the open record. Its methods may be called from anywhere.
type Log struct {
	opts     Options
	calls    *file
	payloads *file // nil: none are kept
	ids      maker
	queue    chan Call
	wake     chan struct{} // holds one when a whole batch waits
	turn     chan struct{} // holds one; whoever has it is the writer
	writer   writer        // belongs to who has the turn

	waiting        atomic.Int64 // bytes of payloads in the queue
	queued         atomic.Int64 // calls in the queue or in the writer's hands
	written        atomic.Int64
	dropped        atomic.Int64
	droppedPayload atomic.Int64
	failures       atomic.Int64
	rows           atomic.Int64
	closed         atomic.Bool

	mu      sync.Mutex    // guards what follows
	changed chan struct{} // closed and replaced when calls were written
	failing string        // the last error, "" since writing works
}

// Open opens the record, made if it is not there. Nothing is written until Run, Flush
// or Close.
func Open(ctx context.Context, opts Options) (*Log, error) {
	opts.MaxCalls, opts.MaxBytes = cmp.Or(max(opts.MaxCalls, 0), DefaultMaxCalls), cmp.Or(max(opts.MaxBytes, 0), DefaultMaxBytes)
	opts.HourAge, opts.DayAge = cmp.Or(max(opts.HourAge, 0), DefaultHourAge), cmp.Or(max(opts.DayAge, 0), DefaultDayAge)
	opts.PayloadAge = cmp.Or(max(opts.PayloadAge, 0), defaultPayloadAge)
	opts.Queue = min(cmp.Or(max(opts.Queue, 0), defaultQueue), maxQueue)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.After == nil {
		opts.After = time.After
	}
	l := &Log{opts: opts, queue: make(chan Call, opts.Queue), wake: make(chan struct{}, 1),
		turn: make(chan struct{}, 1), changed: make(chan struct{})}
	l.turn <- struct{}{}
	var err error
	if l.calls, err = openFile(ctx, opts.Path, "schema"); err != nil {
		return nil, err
	}
	if opts.MaxPayloadBytes > 0 {
		l.payloads, err = openFile(ctx, opts.Path+payloadsSuffix, "payloads")
	} else {
		err = forgetPayloads(opts.Path)
	}
	if err == nil {
		err = l.begin(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	return l, nil
}

// NewID makes the ID of a call that begins now.
func (l *Log) NewID() ID { return l.ids.next(l.opts.Now()) }

// maxWaiting bounds the bytes of payloads in the queue.
const maxWaiting = 32 << 20

// Add has the call written soon. It never waits and never fails: when the queue is
// full the call is dropped and counted. A call without an ID gets one that says now.
// The maps and slices of the call are copied, except the bytes of a payload, which
// must stay as they are. Its strings should not be parts of a body, which would stay
// in memory with them.
func (l *Log) Add(c Call) {
	if l.closed.Load() {
		l.dropped.Add(1)
		return
	}
	if c.ID.IsZero() {
		c.ID = l.NewID()
	}
	c.bound()
	size := l.admit(&c)
	l.queued.Add(1)
	select {
	case l.queue <- c:
	default:
		l.queued.Add(-1)
		l.waiting.Add(-size)
		l.dropped.Add(1)
		if size > 0 {
			l.droppedPayload.Add(1)
		}
		return
	}
	if len(l.queue) >= batchSize {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// admit cuts the call's payload to what is kept, or takes it away when none is kept
// or too much waits. It returns how many bytes it counted as waiting.
func (l *Log) admit(c *Call) int64 {
	if c.Payload == nil || l.payloads == nil {
		c.Payload = nil
		return 0
	}
	p := *c.Payload
	if len(p.Request) > maxPayload {
		p.Request, p.RequestCut = p.Request[:maxPayload], true
	}
	if len(p.Response) > maxPayload {
		p.Response, p.ResponseCut = p.Response[:maxPayload], true
	}
	size := p.size()
	if l.waiting.Add(size) > maxWaiting {
		l.waiting.Add(-size)
		l.droppedPayload.Add(1)
		c.Payload = nil
		return 0
	}
	c.Payload = &p
	return size
}

// size is what a payload counts as; never 0.
func (p *Payload) size() int64 { return int64(len(p.Request)+len(p.Response)) + 1 }

// Stats is how the log does.
type Stats struct {
	Calls           int64  // that are kept
	Written         int64  // since the log was opened
	Queued          int64  // that wait
	Dropped         int64  // that are lost since the log was opened
	DroppedPayloads int64  // of calls that may be kept
	Failures        int64  // attempts to write that failed
	Failing         string // why writing fails now, "" it does not
}

// Stats returns how the log does now.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Calls: l.rows.Load(), Written: l.written.Load(), Queued: l.queued.Load(), Dropped: l.dropped.Load(),
		DroppedPayloads: l.droppedPayload.Load(), Failures: l.failures.Load(), Failing: l.failing}
}

// Changed returns a channel that is closed when there is something new since. Take
// it before looking.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *Log) announce() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Close writes what waits, for at most 5 seconds, and closes the files. Calls that
// come later, or could not be written in time, are dropped and counted; the error
// says how many were waiting.
func (l *Log) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	return l.end(ctx)
}

func (l *Log) end(ctx context.Context) error {
	err := l.Flush(ctx)
	if left := l.queued.Load(); err != nil && left > 0 {
		l.dropped.Add(left)
		err = fmt.Errorf("%d calls were not recorded: %w", left, err)
	}
	return errors.Join(err, l.closeFiles())
}

func (l *Log) closeFiles() (err error) {
	for _, f := range []*file{l.calls, l.payloads} {
		if f != nil {
			err = errors.Join(err, f.close())
		}
	}
	return err
}
