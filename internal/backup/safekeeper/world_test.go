package safekeeper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/backup"
)

// try is one call of Snapshot.
type try struct {
	reason     string
	begun, end time.Time
	err        error
}

// world is a state, a vault that keeps versions of it, and a Keeper that runs, in
// the time of a synctest bubble. Its vault does not let itself be used wrongly.
type world struct {
	t       *testing.T
	k       *Keeper
	changes chan struct{}
	cancel  context.CancelFunc
	ended   chan error

	// Set by tests, before time passes.
	takes func() time.Duration // how long making a version takes
	fails func() error         // why it fails in the end, when nothing else is broken
	quiet bool                 // ErrUnchanged comes without the newest version
	clean time.Duration        // how long it goes on after its context has ended

	mu       sync.Mutex // guards all below
	broken   error      // why making a version fails
	unlisted error      // why listing versions fails
	content  int        // of the state
	versions []backup.Version
	saved    int // content of the newest version
	busy     bool
	swapping bool
	tries    []*try
}

// newWorld makes a world whose state is one that its vault does not have. f changes
// the options.
func newWorld(t *testing.T, f func(*world, *Options)) *world {
	t.Helper()
	w := &world{t: t, changes: make(chan struct{}, 1), ended: make(chan error, 1), content: 1}
	w.takes = func() time.Duration { return 100 * time.Millisecond }
	w.fails = func() error { return nil }
	opts := Options{
		Agent: "main", Vault: w, Source: backup.Source{Dir: "/home"}, Changes: w.changes,
		Mode: func() string { return "inotify" },
		Rand: func() float64 { return 0 },
	}
	if f != nil {
		f(w, &opts)
	}
	w.k = New(opts)
	return w
}

// start runs the Keeper and lets it catch up.
func (w *world) start() *world {
	w.t.Helper()
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(w.t.Context())
	go func() { w.ended <- w.k.Run(ctx) }()
	w.pass(time.Second)
	return w
}

// stop ends it.
func (w *world) stop() {
	w.t.Helper()
	w.cancel()
	if err := <-w.ended; err != nil {
		w.t.Errorf("Run: %v", err)
	}
}

// pass lets time pass, and all happen that does by then.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// change changes the state.
func (w *world) change() {
	w.mu.Lock()
	w.content++
	w.mu.Unlock()
	select {
	case w.changes <- struct{}{}:
	default:
	}
}

// breaks sets why making a version fails, and why listing them does; nil mends it.
func (w *world) breaks(making, listing error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken, w.unlisted = making, listing
}

// Snapshot implements Vault. It has what is there when it is called.
func (w *world) Snapshot(ctx context.Context, src backup.Source, opts backup.SnapshotOptions) (backup.Version, backup.Stats, error) {
	w.mu.Lock()
	if w.busy || w.swapping || src.Dir != "/home" || opts.Reason == "" || ctx.Err() != nil {
		w.t.Errorf("a version is made of %q for %q while busy=%t, swapping=%t, context %v", src.Dir, opts.Reason, w.busy, w.swapping, ctx.Err())
	}
	w.busy = true
	has, this := w.content, &try{reason: opts.Reason, begun: time.Now()}
	w.tries = append(w.tries, this)
	w.mu.Unlock()

	err := sleep(ctx, w.takes())
	if err == nil {
		err = w.fails()
	} else {
		time.Sleep(w.clean)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy = false
	if err == nil {
		err = w.broken
	}
	var v backup.Version
	switch {
	case err != nil:
	case has == w.saved:
		err = fmt.Errorf("snapshot: %w", backup.ErrUnchanged)
		if !w.quiet {
			v = w.versions[0]
		}
	default:
		v = backup.Version{ID: fmt.Sprintf("%016x", has), Seq: uint64(has), Reason: opts.Reason, Time: this.begun}
		w.versions, w.saved = append([]backup.Version{v}, w.versions...), has
	}
	this.end, this.err = time.Now(), err
	return v, v.Stats, err
}

// Versions implements Vault.
func (w *world) Versions(context.Context) ([]backup.Version, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.versions, w.unlisted
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// made returns the tries up to now, and forgets them.
func (w *world) made() []try {
	w.mu.Lock()
	defer w.mu.Unlock()
	var tries []try
	for _, this := range w.tries {
		tries = append(tries, *this)
	}
	w.tries = nil
	return tries
}

// expect checks how many tries were made since the last time.
func (w *world) expect(n int, when string) []try {
	w.t.Helper()
	tries := w.made()
	if len(tries) != n {
		w.t.Fatalf("%s: %d versions were tried, want %d: %+v", when, len(tries), n, tries)
	}
	return tries
}

// state checks the current state, and returns the Status.
func (w *world) state(want State, when string) Status {
	w.t.Helper()
	s := w.k.Status()
	if s.State != want {
		w.t.Fatalf("%s: the status is %+v, want %s", when, s, want)
	}
	return s
}

// safe checks that everything is in the vault.
func (w *world) safe(when string) Status {
	w.t.Helper()
	s := w.state(StateSafe, when)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.saved != w.content || s.Last == nil || s.Last.Seq != uint64(w.saved) {
		w.t.Fatalf("%s: %+v, but the vault has %d of %d", when, s, w.saved, w.content)
	}
	if !s.Pending.IsZero() || s.Error != "" || s.Remedy != "" || !s.RetryAt.IsZero() {
		w.t.Fatalf("%s: safe, but %+v", when, s)
	}
	return s
}

var errDown = errors.New("the store is down")
