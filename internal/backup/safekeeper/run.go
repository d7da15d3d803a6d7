package safekeeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/remedy"
)

// Run keeps the state safe until ctx ends, and returns nil then, when what it began
// has ended too. It begins with a version of what changed before. It is called once.
func (k *Keeper) Run(ctx context.Context) error {
	k.mu.Lock()
	if k.started {
		k.mu.Unlock()
		return errors.New("safekeeper: Run is called once")
	}
	k.started = true
	k.changed()
	k.last = k.last.Add(-k.opts.Debounce) // it has waited long enough
	k.pruneAt = k.opts.Now().Add(interruptedPause)
	k.mu.Unlock()
	defer close(k.ended)
	defer k.settle()

	changes := k.opts.Changes
	for ctx.Err() == nil {
		timer := k.next(ctx)
		select {
		case <-ctx.Done():
		case <-timer:
		case <-k.wake:
		case _, open := <-changes:
			if !open {
				changes = nil
				continue
			}
			k.mu.Lock()
			k.changed()
			k.mu.Unlock()
		}
	}
	return nil
}

// settle waits for the end of what Run began.
func (k *Keeper) settle() {
	k.mu.Lock()
	running, p := k.running, k.pruning
	k.mu.Unlock()
	if running != nil {
		<-running
	}
	if p != nil {
		<-p.done
	}
}

// next begins what is due, and returns a channel that tells when more will be; it is
// nil when nothing will.
func (k *Keeper) next(ctx context.Context) <-chan time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	at, ok := k.due()
	if !ok {
		return nil
	}
	if pause := at.Sub(k.opts.Now()); pause > 0 {
		return time.After(pause)
	}
	k.begin(ctx)
	return nil
}

// due says when the next version is to be begun, if one is. Callers hold mu.
func (k *Keeper) due() (at time.Time, ok bool) {
	switch {
	case k.running != nil || k.holds > 0:
		return at, false
	case k.asked != nil:
		return k.opts.Now(), true
	case k.err != nil:
		return k.retryAt, true
	case k.first.IsZero():
		return at, false
	}
	at = earliest(k.last.Add(k.opts.Debounce), k.first.Add(k.opts.MaxWait))
	rested := k.doneAt.Add(min(max(k.took, k.opts.Debounce), longestPause))
	if !k.doneAt.IsZero() && rested.After(at) {
		at = rested
	}
	return at, true
}

// begin begins to make a version. Callers hold mu.
func (k *Keeper) begin(ctx context.Context) {
	select {
	case _, open := <-k.opts.Changes: // the version has that too
		if open && k.first.IsZero() {
			k.first = k.opts.Now()
		}
	default:
	}
	o := k.asked
	if o == nil {
		o = &order{reason: "change", done: make(chan struct{})}
	} else {
		o.asked = true
	}
	k.asked = nil
	k.covered, k.first = k.first, time.Time{}
	k.running = make(chan struct{})
	p := k.pruning
	if p != nil {
		p.stop()
	}
	k.publish()
	go func() {
		if p != nil {
			<-p.done
		}
		begun := k.opts.Now()
		version, err := k.snapshot(ctx, o)
		k.finish(ctx, o, begun, version, err)
	}()
}

// snapshot makes a version. nil without an error is a version that nobody needs to
// know: nothing has changed.
func (k *Keeper) snapshot(ctx context.Context, o *order) (*backup.Version, error) {
	v, _, err := k.opts.Vault.Snapshot(ctx, k.opts.Source, backup.SnapshotOptions{Reason: o.reason})
	if err == nil || errors.Is(err, backup.ErrUnchanged) && v.ID != "" {
		return &v, nil
	}
	if !errors.Is(err, backup.ErrUnchanged) {
		return nil, err
	}
	if !o.asked && k.Status().Last != nil {
		return nil, nil
	}
	versions, err := k.opts.Vault.Versions(ctx)
	if err == nil && len(versions) == 0 {
		err = backup.ErrNoVersion
	}
	if err != nil {
		o.err = fmt.Errorf("nothing has changed, but the newest version is not known: %w", err)
		return nil, nil
	}
	return &versions[0], nil
}

// finish notes how making a version went, and tells those who wait for it.
func (k *Keeper) finish(ctx context.Context, o *order, begun time.Time, version *backup.Version, err error) {
	k.mu.Lock()
	running := k.running
	k.running = nil
	k.doneAt = k.opts.Now()
	k.took = k.doneAt.Sub(begun)
	switch {
	case err != nil && ctx.Err() != nil:
		k.first, o.err = earliest(k.covered, k.first), ErrStopped
	case err != nil:
		k.first, o.err = earliest(k.covered, k.first), err
		k.failed(err)
	default:
		k.saved(begun, version)
		if version != nil {
			o.version = *version
		}
	}
	k.covered = time.Time{}
	if err == nil && k.opts.Prune != nil && k.holds == 0 && !k.doneAt.Before(k.pruneAt) {
		k.prune(ctx)
	}
	k.publish()
	k.mu.Unlock()
	close(o.done)
	close(running)
	k.rouse()
}

// failed notes that no version could be made. Callers hold mu.
func (k *Keeper) failed(err error) {
	pause := min(firstRetry<<min(k.failures, 10), lastRetry)
	pause = pause/2 + time.Duration(k.opts.Rand()*float64(pause/2))
	if errors.Is(err, backup.ErrFenced) {
		pause = fencedRetry
	}
	k.retryAt = k.doneAt.Add(pause)
	level := slog.LevelWarn
	if k.err != nil && k.err.Error() == err.Error() {
		level = slog.LevelDebug
	}
	k.opts.Log.Log(context.Background(), level, "could not back up", "err", err, "remedy", remedy.Of(err), "retry_in", pause)
	k.failures++
	k.err = err
}

// saved notes that all that was there at begun is in the store. Callers hold mu.
func (k *Keeper) saved(begun time.Time, version *backup.Version) {
	if k.err != nil {
		k.opts.Log.Info("backed up again", "after_failures", k.failures)
	}
	k.failures, k.err, k.safeUntil = 0, nil, begun
	if version != nil {
		k.newest = version
	}
}

// prune begins to let old versions go. Callers hold mu.
func (k *Keeper) prune(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	p := &pruning{stop: stop, done: make(chan struct{})}
	k.pruning = p
	go func() {
		defer close(p.done)
		defer stop()
		err := k.opts.Prune(ctx)
		pause := prunePause
		switch {
		case err != nil && ctx.Err() != nil:
			pause = interruptedPause
		case err != nil:
			k.opts.Log.Warn("could not let old versions go", "err", err, "remedy", remedy.Of(err), "retry_in", pause)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.pruning = nil
		k.pruneAt = k.opts.Now().Add(pause)
	}()
}
