package safekeeper

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/backup"
)

// answer is what SaveNow returned.
type answer struct {
	version backup.Version
	err     error
	at      time.Time
}

// ask calls SaveNow, and has its answer sent.
func (w *world) ask(reason string) <-chan answer {
	ch := make(chan answer, 1)
	go func() {
		v, err := w.k.SaveNow(w.t.Context(), reason)
		ch <- answer{v, err, time.Now()}
	}()
	synctest.Wait()
	return ch
}

func TestSaveNowWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil).start()
		defer w.stop()
		w.made()
		w.change()
		asked := time.Now()
		v, err := w.k.SaveNow(t.Context(), "before a restore")
		if err != nil || v.Seq != 2 || v.Reason != "before a restore" {
			t.Errorf("got %+v, %v", v, err)
		}
		if tries := w.expect(1, "when asked"); !tries[0].begun.Equal(asked) {
			t.Errorf("begun %s later", tries[0].begun.Sub(asked))
		}
		synctest.Wait()
		w.safe("when asked")
		w.pass(time.Hour)
		w.expect(0, "afterwards: the change is in it")
	})
}

// What is being made when somebody asks may lack what changed last.
func TestSaveNowHasEverythingUpToTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world, _ *Options) { w.takes = func() time.Duration { return 5 * time.Second } })
		w.start() // the first is being made
		defer w.stop()
		w.change()
		one := w.ask("one")
		w.pass(time.Second)
		two := w.ask("two")
		w.pass(time.Minute)
		a, b := <-one, <-two
		if a.err != nil || a.version.Seq != 2 || a.version.Reason != "one" || b.err != nil || a.version.ID != b.version.ID || !a.at.Equal(b.at) {
			t.Errorf("got %+v and %+v", a, b)
		}
		if tries := w.expect(2, "with those who share one"); !tries[1].begun.Equal(tries[0].end) {
			t.Errorf("the next one begins %s after the first", tries[1].begun.Sub(tries[0].end))
		}
	})
}

func TestSaveNowWhenNothingHasChanged(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(w *world, _ *Options) { w.quiet = quiet })
			w.start()
			defer w.stop()
			if v, err := w.k.SaveNow(t.Context(), "asked for"); err != nil || v.Seq != 1 {
				t.Errorf("got %+v, %v; want the newest", v, err)
			}
			w.breaks(nil, errDown)
			v, err := w.k.SaveNow(t.Context(), "asked for")
			if quiet && !errors.Is(err, errDown) || !quiet && (err != nil || v.Seq != 1) {
				t.Errorf("got %+v, %v when they cannot be listed", v, err)
			}
			synctest.Wait()
			w.safe("whether they can be listed or not")
		})
	}
}

func TestSaveNowIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil).start()
		defer w.stop()
		w.made()
		why := errors.New("the caller has left")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if _, err := w.k.SaveNow(ctx, "asked for"); !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
		w.pass(time.Second)
		w.expect(1, "all the same")
	})
}

func TestSaveNowDoesNotWaitForTheNextTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world, _ *Options) { w.broken = errDown })
		w.start()
		defer w.stop()
		w.pass(10 * time.Minute)
		w.state(StateBehind, "the store is down")
		w.breaks(nil, nil)
		w.made()
		if v, err := w.k.SaveNow(t.Context(), "asked for"); err != nil || v.Seq != 1 {
			t.Errorf("got %+v, %v", v, err)
		}
		synctest.Wait()
		w.safe("asked for")
	})
}

func TestHoldKeepsVersionsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world, _ *Options) { w.takes = func() time.Duration { return 10 * time.Second } })
		w.start() // the first is being made
		defer w.stop()

		held := time.Now()
		release, err := w.k.Hold(t.Context())
		if err != nil || time.Since(held) != 9*time.Second {
			t.Fatalf("Hold: %v after %s; the version that was being made takes 9 s more", err, time.Since(held))
		}
		w.mu.Lock()
		w.swapping = true // the vault watches it
		w.mu.Unlock()
		second, err := w.k.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.change()
		asked := w.ask("asked for")
		w.pass(time.Hour)
		release()
		release() // which is once
		w.pass(time.Hour)
		w.expect(1, "while it is held")
		w.state(StateChanged, "while it is held")
		w.mu.Lock()
		w.swapping = false
		w.mu.Unlock()
		let := time.Now()
		second()
		if a := <-asked; a.err != nil || a.version.Seq != 2 || a.at.Sub(let) != 10*time.Second {
			t.Errorf("got %+v, %s after it was let go", a, a.at.Sub(let))
		}
		w.expect(1, "when it is let go")
	})
}

// A swap counts as a change, even if nobody tells of it.
func TestWhatWasSwappedIsSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil).start()
		defer w.stop()
		w.made()
		release, err := w.k.Hold(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		w.content++
		w.mu.Unlock()
		release()
		w.pass(time.Minute)
		w.safe("swapped")
		w.expect(1, "swapped")
	})
}

func TestHoldIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world, _ *Options) { w.takes = func() time.Duration { return time.Minute } })
		w.start()
		defer w.stop()
		why := errors.New("the caller has left")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
		defer cancel()
		if _, err := w.k.Hold(ctx); !errors.Is(err, why) {
			t.Errorf("Hold: %v", err)
		}
		w.pass(time.Hour)
		w.safe("afterwards")
		w.made()
		w.change()
		w.pass(time.Hour)
		w.expect(1, "as before")
	})
}
