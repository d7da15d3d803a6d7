package watch

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// attention is the time in which one and the same directory is watched in one way.
type attention struct {
	*Watcher
	tree *tree  // nil when polling
	why  string // it is polled

	looks   int
	took    time.Duration // by the last look
	tick    <-chan time.Time
	hurried bool // tick comes sooner because events were lost
}

// attend watches the directory until it is another one, inotify is worth another
// try, or ctx ends.
func (w *Watcher) attend(ctx context.Context) {
	a := &attention{Watcher: w}
	defer a.close()
	in, err := w.opts.open()
	if err != nil {
		a.poll(err)
	} else {
		a.tree = newTree(in, w.opts.MaxWatches)
		a.tree.watchParent(filepath.Dir(w.dir), filepath.Base(w.dir))
		in.start()
	}
	for a.look(ctx) && a.listen(ctx) {
	}
}

func (a *attention) close() {
	if a.tree != nil {
		a.tree.in.close()
		a.tree = nil
	}
}

// poll gives inotify up.
func (a *attention) poll(why error) {
	a.close()
	a.why = reason(why)
}

// reason explains to people why there is no inotify, with what mends it.
func reason(err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return "the system has no inotify watches left; raise fs.inotify.max_user_watches"
	case errors.Is(err, errInstances):
		return "the system has no inotify instances left; raise fs.inotify.max_user_instances"
	}
	return err.Error()
}

// tell sets the mode, and logs it when it is another one.
func (a *attention) tell(mode string) {
	switch was := a.Mode(); {
	case mode == was:
		return
	case mode != modeInotify:
		a.opts.Log.Warn("cannot be told of changes, looking for them instead", "dir", a.dir, "mode", mode)
	case was != modeStarting:
		a.opts.Log.Info("being told of changes again", "dir", a.dir)
	}
	a.setMode(mode)
}

// look looks at the whole tree, sets its watches right, and signals what is new.
// It says whether the attention goes on.
func (a *attention) look(ctx context.Context) bool {
	begun := time.Now()
	seen, err := a.survey(ctx, a.tree)
	a.took, a.looks = time.Since(begun), a.looks+1
	switch moved := errors.Is(err, errMoved); {
	case ctx.Err() != nil, errors.Is(err, errReplaced):
		return false
	case err != nil && !moved && a.tree != nil:
		a.poll(err)
		return a.look(ctx)
	case err != nil && !moved:
		// Nobody knows, and a change too many does no harm.
		a.tell("polling: " + err.Error() + "; everything counts as a change")
		a.signal()
	default:
		a.tell(a.way())
		if !seen.absent && (moved || a.last.recent || seen != a.last) {
			a.signal()
		}
		a.last, a.hurried = seen, moved
	}
	if a.tree == nil && a.looks > retryLooks {
		return false
	}
	a.rest()
	return true
}

// way is the mode when all goes well.
func (a *attention) way() string {
	if a.tree != nil {
		return modeInotify
	}
	return "polling: " + a.why
}

// rest decides when the next look is due.
func (a *attention) rest() {
	pause := a.opts.Net
	if a.tree == nil || a.hurried || a.last.absent {
		pause = a.opts.Poll
	}
	a.tick = a.opts.after(max(pause, restful*a.took))
}

// hurry has the next look come sooner, because events were lost.
func (a *attention) hurry() {
	if !a.hurried {
		a.hurried = true
		a.rest()
	}
}

// listen follows events until the next look is due. It says whether the attention
// goes on.
func (a *attention) listen(ctx context.Context) bool {
	var batches <-chan []byte
	if a.tree != nil {
		batches = a.tree.in.batches
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-a.tick:
			return true
		case batch, ok := <-batches:
			if !ok {
				a.poll(errors.New("the system has stopped telling"))
				return true
			}
			begun := time.Now()
			goesOn := a.follow(ctx, batch)
			pauseFor(ctx, min(max(breath, 4*time.Since(begun)), longBreath))
			if !goesOn {
				return false
			}
			if a.tree == nil {
				return true
			}
		}
	}
}

// follow does what a batch of events asks for. The signal comes last: new
// directories are watched by then, so that whatever happened in them earlier is
// seen by who is woken, and whatever happens later causes an event.
func (a *attention) follow(ctx context.Context, batch []byte) (goesOn bool) {
	v := a.tree.take(batch, a.leave)
	if v.gone {
		return false
	}
	for at := range v.fresh {
		err := a.surveyBelow(ctx, a.tree, at)
		switch {
		case errors.Is(err, errReplaced):
			return false
		case errors.Is(err, errMoved):
			v.lost = true
		case err != nil && ctx.Err() == nil:
			a.poll(err)
			a.signal()
			return true
		}
	}
	if v.lost {
		a.hurry()
	}
	if v.changed || v.lost {
		a.signal()
	}
	return true
}

// pauseFor waits for d, or until ctx ends.
func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
