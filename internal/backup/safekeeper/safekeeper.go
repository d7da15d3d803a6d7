// Package safekeeper owns when versions of one agent's state are made: soon after a
// change, at once when asked, never twice of the same, never while the state is
// being swapped, and again and again while the store cannot be reached. What is not
// in the store yet, and why, it says in its [Status].
//
// It must not know how a version is made or kept: a [Vault] does that. Nor does it
// know how changes are noticed, or what an agent is.
package safekeeper

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/backup"
)

// Vault is what keeps an agent's versions. It bounds its own waits: a call that
// hangs leaves the state unsafe, and the Status says since when.
type Vault interface {
	// Snapshot makes a version of all that is in src when it is called. Errors:
	// backup.ErrUnchanged, then the newest version may come with it;
	// backup.ErrFenced.
	Snapshot(ctx context.Context, src backup.Source, opts backup.SnapshotOptions) (backup.Version, backup.Stats, error)
	// Versions returns those that there are, newest first.
	Versions(ctx context.Context) ([]backup.Version, error)
}

// Options of a Keeper. Agent, Vault and Source are required.
type Options struct {
	Agent  string // for the log
	Vault  Vault
	Source backup.Source
	// Changes holds a token when the state may have changed since the last one was
	// taken. A nil or closed one never does.
	Changes <-chan struct{}
	// Mode says how changes are noticed, for the Status; "" when nil.
	Mode func() string
	// Prune lets old versions go; nothing does when nil. It is called an hour after
	// the last time, after a version was made. Its context ends when it is in the way
	// of the next version, and it returns soon then; it is called again a little later.
	Prune func(ctx context.Context) error
	// Debounce is how long a state has to stay as it is before a version is made, and
	// the least pause between two versions; 2 s when 0.
	Debounce time.Duration
	// MaxWait is how long after a change the version that has it is begun at the
	// latest; 7 s when 0. Where making one takes more than half of that, it may be
	// later: the pause between two is no shorter than the last one took, up to 60 s.
	MaxWait time.Duration

	Now  func() time.Time // time.Now when nil
	Rand func() float64   // a random number in [0, 1) for the time of the next try; that of math/rand when nil
	Log  *slog.Logger     // none when nil
}

const (
	defaultDebounce = 2 * time.Second
	defaultMaxWait  = 7 * time.Second
	longestPause    = time.Minute

	firstRetry  = time.Second
	lastRetry   = time.Minute
	fencedRetry = 10 * time.Minute

	prunePause       = time.Hour
	interruptedPause = 5 * time.Minute // after a Prune that was in the way; also after the start
)

// ErrStopped: the Keeper does not run any more.
var ErrStopped = errors.New("backups of this agent have been stopped")

// Keeper keeps one agent's state safe. Its methods may be called at any time from
// any goroutine.
type Keeper struct {
	opts  Options
	wake  chan struct{} // holds one token: something that Run waits for has come
	ended chan struct{} // closed when Run has returned
	track tracker

	mu      sync.Mutex // guards all below
	started bool
	holds   int           // of those who keep versions away
	asked   *order        // of the next version, unless nil
	running chan struct{} // closed when the version being made is done; nil when there is none
	pruning *pruning      // nil when there is none

	first, last time.Time // changes that no version begun yet has: the first and the last
	covered     time.Time // the oldest change that the one being made has

	newest    *backup.Version // nil when not known
	safeUntil time.Time       // see Status.LastSafe
	failures  int             // in a row
	err       error           // of the last one
	retryAt   time.Time
	doneAt    time.Time     // when the last try ended
	took      time.Duration // it
	pruneAt   time.Time
}

// order is somebody's wish for a version of all that is there now.
type order struct {
	reason  string
	asked   bool          // else it is made because of a change
	done    chan struct{} // closed when the following are set
	version backup.Version
	err     error
}

// pruning is a running Prune.
type pruning struct {
	stop context.CancelFunc
	done chan struct{}
}

// New returns a Keeper. Nothing happens before Run.
func New(opts Options) *Keeper {
	if opts.Mode == nil {
		opts.Mode = func() string { return "" }
	}
	if opts.Debounce <= 0 {
		opts.Debounce = defaultDebounce
	}
	if opts.MaxWait <= 0 {
		opts.MaxWait = defaultMaxWait
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Rand == nil {
		opts.Rand = rand.Float64
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	opts.Log = opts.Log.With("agent", opts.Agent)
	k := &Keeper{opts: opts, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	k.track.init(Status{State: StateStarting, Since: opts.Now()}, opts.Mode)
	return k
}

// SaveNow makes a version that has all that was there when it was called, and
// returns it; the newest one if nothing had changed. Callers who come before it has
// begun share it. It waits for no pause, but for whoever holds versions away: who
// does must not call it. When ctx ends, the version is made all the same. Errors:
// those of the Vault, ErrStopped.
func (k *Keeper) SaveNow(ctx context.Context, reason string) (backup.Version, error) {
	k.mu.Lock()
	if k.asked == nil {
		k.asked = &order{reason: reason, done: make(chan struct{})}
	}
	mine := k.asked
	k.mu.Unlock()
	k.rouse()
	select {
	case <-mine.done:
		return mine.version, mine.err
	case <-ctx.Done():
		return backup.Version{}, context.Cause(ctx)
	case <-k.ended:
	}
	select {
	case <-mine.done: // it was the last thing that Run did
		return mine.version, mine.err
	default:
		return backup.Version{}, ErrStopped
	}
}

// Hold waits for the version that is being made, and keeps new ones away until
// release is called: for swapping the state. Old versions are not let go meanwhile
// either. What is there afterwards counts as changed. Several may hold at once.
func (k *Keeper) Hold(ctx context.Context) (release func(), err error) {
	k.mu.Lock()
	k.holds++
	running, p := k.running, k.pruning
	k.mu.Unlock()
	if p != nil {
		p.stop()
		err = wait(ctx, p.done)
	}
	if running != nil && err == nil {
		err = wait(ctx, running)
	}
	if err != nil {
		k.release(false)
		return nil, err
	}
	return sync.OnceFunc(func() { k.release(true) }), nil
}

func (k *Keeper) release(swapped bool) {
	k.mu.Lock()
	k.holds--
	if swapped {
		k.changed()
	}
	k.mu.Unlock()
	k.rouse()
}

// wait waits until done is closed, or ctx ends.
func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rouse has Run look at what there is to do.
func (k *Keeper) rouse() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// changed notes a change. Callers hold mu.
func (k *Keeper) changed() {
	k.last = k.opts.Now()
	if k.first.IsZero() {
		k.first = k.last
	}
	k.publish()
}

// Status returns the current picture.
func (k *Keeper) Status() Status { return k.track.get() }

// Watch returns a channel that holds the current status at once and then the newest
// one after each change, until ctx ends and the channel is closed.
func (k *Keeper) Watch(ctx context.Context) <-chan Status { return k.track.watch(ctx) }
