package safekeeper

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/remedy"
)

func TestCatchesUpAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.state(StateStarting, "before Run")
		begun := time.Now()
		w.start()
		defer w.stop()
		if tries := w.expect(1, "at the start"); !tries[0].begun.Equal(begun) || tries[0].reason != "change" {
			t.Errorf("tried %+v", tries[0])
		}
		if s := w.safe("at the start"); !s.LastSafe.Equal(begun) || s.Mode != "inotify" {
			t.Errorf("status %+v", s)
		}
		w.pass(24 * time.Hour)
		w.expect(0, "a day on which nothing changes")
	})
}

func TestNothingNewAtTheStart(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(w *world, _ *Options) {
				w.quiet = quiet
				w.versions, w.saved = []backup.Version{{ID: "1", Seq: 1}, {ID: "0"}}, 1
			})
			w.start()
			defer w.stop()
			w.expect(1, "at the start")
			w.safe("nothing had changed")
		})
	}
}

func TestAChangeGoesItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world, _ *Options) { w.takes = func() time.Duration { return time.Second } })
		w.start()
		defer w.stop()
		w.pass(time.Minute)
		w.made()
		was := w.safe("before")

		changed := time.Now()
		w.change()
		w.pass(2*time.Second - 1)
		s := w.state(StateChanged, "after a change")
		if !s.Pending.Equal(changed) || !s.Since.Equal(changed) || !s.LastSafe.Equal(was.LastSafe) || s.Last != was.Last {
			t.Errorf("status %+v; it was %+v", s, was)
		}
		w.pass(1)
		s = w.state(StateSaving, "when it has not changed for a while")
		if !s.Pending.Equal(changed) || !s.Since.Equal(time.Now()) {
			t.Errorf("status %+v", s)
		}
		w.pass(time.Second)
		s = w.safe("afterwards")
		if !s.LastSafe.Equal(changed.Add(2*time.Second)) || s.Last == was.Last {
			t.Errorf("status %+v", s)
		}
		w.expect(1, "for one change")
	})
}

func TestChangesWhileAVersionIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world, _ *Options) { w.takes = func() time.Duration { return 3 * time.Second } })
		w.start()
		defer w.stop()
		changed := time.Now()
		w.change() // one second into the first
		w.pass(2 * time.Second)
		if s := w.state(StateChanged, "after the first"); !s.Pending.Equal(changed) {
			t.Errorf("status %+v", s)
		}
		w.pass(time.Minute)
		w.safe("after the second")
		if tries := w.expect(2, "for a change in the midst"); tries[1].begun.Sub(tries[0].end) != 3*time.Second {
			t.Errorf("tried %+v", tries)
		}
	})
}

func TestAThousandChangesInASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil).start()
		defer w.stop()
		w.pass(time.Minute)
		w.made()
		for range 1000 {
			w.change()
			w.pass(time.Millisecond)
		}
		w.pass(time.Minute)
		w.safe("afterwards")
		w.expect(1, "for a thousand changes")
	})
}

// Something that writes all the time gets a version every MaxWait, no more.
func TestConstantWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil).start()
		defer w.stop()
		w.made()
		for range 6000 {
			w.change()
			w.pass(100 * time.Millisecond)
		}
		if n := len(w.made()); n < 80 || n > 86 {
			t.Errorf("%d versions in ten minutes", n)
		}
	})
}

// Whatever is changed at a time, and however: a version that has it is begun within
// MaxWait, as long as making one takes no more than half of that; and there is a
// pause between any two.
func TestEveryChangeIsSafeInTime(t *testing.T) {
	const maxWait = 7 * time.Second
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			below := func(d time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(d))) }
			w := newWorld(t, func(w *world, _ *Options) {
				w.takes = func() time.Duration {
					return time.Duration(rand.New(rand.NewPCG(seed, uint64(len(w.tries)))).Int64N(int64(maxWait / 2)))
				}
			})
			w.start()
			defer w.stop()
			pauses := []time.Duration{time.Millisecond, 100 * time.Millisecond, 3 * time.Second, 20 * time.Second}
			var changes []time.Time
			for range 200 {
				changes = append(changes, time.Now())
				w.change()
				w.pass(below(pauses[rnd.IntN(1+int(seed)%len(pauses))]) + 1)
			}
			w.pass(time.Minute)
			w.safe("in the end")
			tries := w.made()
			for _, at := range changes {
				i := slices.IndexFunc(tries, func(s try) bool { return !s.begun.Before(at) })
				if i < 0 || tries[i].begun.Sub(at) > maxWait {
					t.Fatalf("seed %d: what changed at %s is in no version begun within %s: %+v", seed, at, maxWait, tries)
				}
			}
			for i := range tries[1:] {
				if pause := tries[i+1].begun.Sub(tries[i].end); pause < 2*time.Second || pause < tries[i].end.Sub(tries[i].begun) {
					t.Fatalf("seed %d: a pause of %s only after %+v", seed, pause, tries[i])
				}
			}
		})
	}
}

// Where versions take long, the state is left in peace for as long as the last one
// took; but no pause is longer than a minute.
func TestSlowVersions(t *testing.T) {
	for takes, want := range map[time.Duration]time.Duration{
		5 * time.Second:  5 * time.Second,
		30 * time.Second: 30 * time.Second,
		10 * time.Minute: time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(w *world, _ *Options) { w.takes = func() time.Duration { return takes } })
			w.start()
			defer w.stop()
			for range 4 * (takes + want) / time.Second {
				w.change()
				w.pass(time.Second)
			}
			tries := w.made()
			for i := range tries[1:] {
				if got := tries[i+1].begun.Sub(tries[i].end); got != want {
					t.Errorf("a pause of %s between versions that take %s, want %s", got, takes, want)
				}
			}
			if len(tries) < 3 {
				t.Errorf("%d versions only", len(tries))
			}
		})
	}
}

func TestTheStoreIsDownForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil).start()
		defer w.stop()
		w.pass(time.Minute)
		w.made()
		was := w.safe("before")

		w.breaks(remedy.With(errDown, "start it"), nil)
		changed := time.Now()
		w.change()
		w.pass(2100 * time.Millisecond)
		since := time.Now()
		w.change()
		for range 6000 { // ten minutes, in which changes go on
			w.pass(100 * time.Millisecond)
			w.change()
			s := w.state(StateBehind, "while the store is down")
			if !s.Since.Equal(since) || !s.Pending.Equal(changed) || !s.LastSafe.Equal(was.LastSafe) || s.Last != was.Last {
				t.Fatalf("status %+v, it was %+v", s, was)
			}
			if s.Error != "the store is down" || s.Remedy != "start it" || !s.RetryAt.IsZero() && !s.RetryAt.After(time.Now()) {
				t.Fatalf("status %+v", s)
			}
		}
		tries := w.made()
		want := []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second}
		for i := range tries[1:] {
			if got := tries[i+1].begun.Sub(tries[i].end); got != want[min(i, len(want)-1)] {
				t.Errorf("try %d comes %s after the one before, want %s", i+1, got, want[min(i, len(want)-1)])
			}
		}

		w.breaks(nil, nil)
		w.pass(35 * time.Second)
		w.safe("when the store is back")
		w.pass(time.Minute)
		w.made()
		w.breaks(remedy.With(errDown, "start it"), nil)
		w.change()
		w.pass(5 * time.Second)
		if tries := w.made(); tries[1].begun.Sub(tries[0].end) != 500*time.Millisecond {
			t.Errorf("failures of another time still count: %+v", tries)
		}
	})
}

func TestRetriesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world, o *Options) {
			w.broken = errDown
			o.Rand = func() float64 { return 0.999999 }
		})
		w.start()
		defer w.stop()
		w.pass(10 * time.Minute)
		tries := w.made()
		for i := range tries[1:] {
			most := min(time.Second<<i, time.Minute)
			if got := tries[i+1].begun.Sub(tries[i].end); got > most || got < most*9/10 {
				t.Errorf("try %d comes %s after the one before, want almost %s", i+1, got, most)
			}
		}
	})
}

// A failure is tried again even when nobody knows of any change.
func TestAskedForAndFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil).start()
		defer w.stop()
		w.breaks(errDown, nil)
		if _, err := w.k.SaveNow(t.Context(), "sleep"); !errors.Is(err, errDown) {
			t.Errorf("SaveNow: %v", err)
		}
		synctest.Wait()
		if s := w.state(StateBehind, "a failure"); !s.Pending.IsZero() || s.RetryAt.IsZero() {
			t.Errorf("status %+v", s)
		}
		w.breaks(nil, nil)
		w.pass(time.Second)
		w.safe("tried again")
	})
}

func TestAnotherHostTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.breaks(remedy.With(backup.ErrFenced, "claim it"), nil)
		w.start()
		defer w.stop()
		w.expect(1, "at the start")
		since := time.Now().Add(-900 * time.Millisecond)
		for range 5 {
			w.change()
			w.pass(time.Minute)
		}
		s := w.state(StateFenced, "fenced")
		if !s.Since.Equal(since) || s.Remedy != "claim it" || !s.RetryAt.Equal(since.Add(10*time.Minute)) {
			t.Errorf("status %+v", s)
		}
		w.expect(0, "while fenced")
		w.pass(6 * time.Minute)
		w.expect(1, "ten minutes later")
		if _, err := w.k.SaveNow(t.Context(), "asked for"); !errors.Is(err, backup.ErrFenced) {
			t.Errorf("SaveNow: %v", err)
		}
		w.expect(1, "when asked")
		w.breaks(nil, nil)
		v, err := w.k.SaveNow(t.Context(), "claimed")
		if err != nil || v.Reason != "claimed" {
			t.Errorf("SaveNow: %+v, %v", v, err)
		}
		synctest.Wait()
		w.safe("claimed")
	})
}

func TestPruningIsNeverInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun, interrupted int
		takes := time.Second
		var result error
		w := newWorld(t, func(w *world, o *Options) {
			o.Prune = func(ctx context.Context) error {
				begun++
				if err := sleep(ctx, takes); err != nil {
					interrupted++
					return err
				}
				return result
			}
		})
		w.start()
		defer w.stop()
		hours := func(n int) {
			for range n * 60 {
				w.change()
				w.pass(time.Minute)
			}
		}
		hours(5)
		if begun < 5 || begun > 6 || interrupted != 0 {
			t.Errorf("pruned %d times in five hours, %d times interrupted", begun, interrupted)
		}
		result = errors.New("no")
		begun = 0
		hours(5)
		if begun < 4 || begun > 5 {
			t.Errorf("pruned %d times in five hours in which it fails", begun)
		}
		w.safe("pruning fails")

		// It takes longer than there is time between two versions: it is taken up again.
		takes, begun = time.Hour, 0
		w.made()
		hours(2)
		if begun < 12 || begun != interrupted {
			t.Errorf("pruned %d times in two hours, %d times interrupted", begun, interrupted)
		}
		for _, s := range w.made() {
			if s.end.Sub(s.begun) != 100*time.Millisecond {
				t.Errorf("pruning was in the way: %+v", s)
			}
		}

		// A restore must not lose its version on the way.
		w.pass(2 * time.Hour)
		w.change()
		w.pass(time.Minute)
		was := interrupted
		release, err := w.k.Hold(t.Context())
		if err != nil || interrupted != was+1 {
			t.Errorf("Hold: %v, with %d prunings interrupted", err, interrupted-was)
		}
		release()
		w.pass(2 * time.Hour) // with the version after a swap
		w.change()
		w.pass(2*time.Second + time.Millisecond)
		w.state(StateSaving, "before it is held")
		begun = 0
		if release, err = w.k.Hold(t.Context()); err != nil || begun != 0 {
			t.Errorf("Hold: %v, with %d prunings begun", err, begun)
		}
		release()
	})
}

func TestStatusIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		all, slow := w.k.Watch(ctx), w.k.Watch(ctx)
		var states []State
		told := make(chan struct{})
		go func() {
			defer close(told)
			for s := range all {
				if n := len(states); n == 0 || states[n-1] != s.State {
					states = append(states, s.State)
				}
			}
		}()
		synctest.Wait()
		w.start()
		w.change()
		w.pass(time.Minute)
		w.stop()
		if s := <-slow; s.State != StateSafe || s != w.k.Status() {
			t.Errorf("the slow watcher was told %+v", s)
		}
		cancel()
		<-told
		if _, open := <-slow; open {
			t.Error("the channel is open after its context has ended")
		}
		want := []State{StateStarting, StateSaving, StateSafe, StateChanged, StateSaving, StateSafe}
		if !slices.Equal(states, want) {
			t.Errorf("told %q, want %q", states, want)
		}
	})
}

func TestStatusAsJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.breaks(remedy.With(errDown, "start it"), nil)
		w.start()
		defer w.stop()
		text, err := json.Marshal(w.k.Status())
		for _, field := range []string{`"state":"behind"`, `"since":"`, `"pending_since":"`, `"error":"the store is down"`, `"remedy":"start it"`, `"retry_at":"`, `"mode":"inotify"`} {
			if err != nil || !strings.Contains(string(text), field) {
				t.Errorf("%s, %v: want %s", text, err, field)
			}
		}
		if strings.Contains(string(text), "last") {
			t.Errorf("%s: nothing is in the store yet", text)
		}
	})
}

func TestTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(w *world, _ *Options) {
			w.takes = func() time.Duration { return time.Hour }
			w.clean = time.Second
		})
		w.start()
		asked := w.ask("asked for")
		w.stop()
		if a := <-asked; !errors.Is(a.err, ErrStopped) {
			t.Errorf("SaveNow when it ends: %v", a.err)
		}
		w.mu.Lock()
		if w.busy {
			t.Error("Run returned before what it began had ended")
		}
		w.mu.Unlock()
		if s := w.k.Status(); s.Error != "" || s.Pending.IsZero() {
			t.Errorf("status %+v: it was stopped, it did not fail", s)
		}
		if _, err := w.k.SaveNow(t.Context(), "asked for"); !errors.Is(err, ErrStopped) {
			t.Errorf("SaveNow after the end: %v", err)
		}
		if err := w.k.Run(t.Context()); err == nil {
			t.Error("Run may be called again")
		}
	})
}

func TestTheEndOfPruning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, ended := false, false
		w := newWorld(t, func(w *world, o *Options) {
			o.Prune = func(ctx context.Context) error {
				begun = true
				<-ctx.Done()
				time.Sleep(time.Second)
				ended = true
				return ctx.Err()
			}
		})
		w.start()
		w.pass(time.Hour)
		w.change()
		w.pass(time.Minute)
		w.stop()
		if !begun || !ended {
			t.Errorf("pruning has begun: %t, ended: %t", begun, ended)
		}
	})
}

func TestNobodyTellsOfChanges(t *testing.T) {
	closed := make(chan struct{})
	close(closed)
	for _, changes := range []chan struct{}{nil, closed} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(w *world, o *Options) { o.Changes = changes; o.Mode = nil; o.Rand = nil })
			w.start()
			defer w.stop()
			w.pass(time.Hour)
			w.expect(1, "the first")
			if s := w.safe("the first"); s.Mode != "" {
				t.Errorf("mode %q", s.Mode)
			}
		})
	}
}

// Everything at once: the vault would tell of anything that is done at a wrong time.
func TestEverythingAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calm func()
		w := newWorld(t, func(w *world, o *Options) {
			var mu sync.Mutex // guards troubles and rnd
			troubles := []error{nil, nil, nil, errDown, backup.ErrFenced}
			calm = func() { mu.Lock(); defer mu.Unlock(); troubles = []error{nil} }
			rnd := rand.New(rand.NewPCG(1, 2))
			w.takes = func() time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(rnd.Int64N(int64(4 * time.Second)))
			}
			w.fails = func() error {
				mu.Lock()
				defer mu.Unlock()
				return troubles[rnd.IntN(len(troubles))]
			}
			o.Prune = func(ctx context.Context) error { return sleep(ctx, 20*time.Second) }
		})
		w.start()
		var group sync.WaitGroup
		for i := range 8 {
			group.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), 3))
				for range 100 {
					w.bother(rnd)
					time.Sleep(time.Duration(rnd.Int64N(int64(5 * time.Second))))
				}
			})
		}
		group.Wait()
		calm()
		w.pass(time.Hour)
		w.safe("in the end")
		w.stop()
	})
}

// bother uses the Keeper in some way.
func (w *world) bother(rnd *rand.Rand) {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Duration(rnd.Int64N(int64(10*time.Second))))
	defer cancel()
	switch rnd.IntN(5) {
	case 0, 1:
		w.change()
	case 2:
		w.mu.Lock()
		now := w.content
		w.mu.Unlock()
		if v, err := w.k.SaveNow(ctx, "asked for"); err == nil && v.Seq < uint64(now) {
			w.t.Errorf("SaveNow returned version %d when the state was %d", v.Seq, now)
		}
	case 3:
		w.swap(ctx, rnd)
	case 4:
		for range w.k.Watch(ctx) {
			_ = w.k.Status()
		}
	}
}

// swap holds versions away for a while. Others may do so at the same time.
func (w *world) swap(ctx context.Context, rnd *rand.Rand) {
	release, err := w.k.Hold(ctx)
	if err != nil {
		return
	}
	defer release()
	for range 5 {
		w.mu.Lock()
		if w.busy {
			w.t.Error("a version is made of a state that is being swapped")
		}
		w.content++
		w.mu.Unlock()
		time.Sleep(time.Duration(rnd.Int64N(int64(500 * time.Millisecond))))
	}
}
