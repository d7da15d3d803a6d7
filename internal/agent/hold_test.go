package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/gvisor"
)

// writes has the agent write until the test ends.
func writes(t *testing.T, a *Agent) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		a.Exec(ctx, proto.Exec{Args: []string{"sh", "-c", "while :; do echo x >> $HOME/written; done"}}, nil, io.Discard, io.Discard)
	}()
	eventually(t, "something written", func() bool { return sizeOf(a) > 0 })
}

func sizeOf(a *Agent) int64 {
	info, err := os.Stat(filepath.Join(a.Home(), "written"))
	if err != nil {
		return 0
	}
	return info.Size()
}

// still checks that nothing is written while the agent is held.
func still(t *testing.T, a *Agent) {
	t.Helper()
	err := a.Hold(soon(t), func() error {
		before := sizeOf(a)
		for range 200 {
			if now := sizeOf(a); now != before {
				t.Errorf("held still, it wrote %d bytes", now-before)
				break
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	before := sizeOf(a)
	eventually(t, "more written", func() bool { return sizeOf(a) > before })
}

func TestIsHeldStill(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) *world{
		"gvisor":  func(t *testing.T) *world { w, _ := newSleepyWorld(t); return w },
		"process": func(t *testing.T) *world { w, _ := newWorld(t); return w },
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			a, stop := w.run()
			awake(t, a)
			writes(t, a)
			still(t, a)
			failed := errors.New("the copy failed")
			if err := a.Hold(soon(t), func() error { return failed }); !errors.Is(err, failed) {
				t.Errorf("Hold = %v", err)
			}
			still(t, a) // all the same
			stop()
			called := false
			if err := a.Hold(soon(t), func() error { called = true; return nil }); err != nil || !called {
				t.Errorf("after its end: %v, called %v", err, called)
			}
		})
	}
}

// A host process that dies while it holds an agent still leaves one that the next
// process lets go on.
func TestOneLeftHeldGoesOn(t *testing.T) {
	w, _ := newWorld(t)
	a, leave := w.abandon()
	awake(t, a)
	leave()
	sb, err := w.opts.Driver.Open(t.Context(), w.opts.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := sb.(sandbox.Pausable).Pause(soon(t)); err != nil {
		t.Fatal(err)
	}
	b, _ := w.run()
	awake(t, b)
	if got := sh(t, b, "echo here"); got != "here" || w.driver.started() != 1 {
		t.Errorf("%q after %d starts", got, w.driver.started())
	}
}

// An agent that nobody uses is asked to begin nothing first, and told to go on. It
// counts as no use.
func TestIsHeldStillBetweenTwoThings(t *testing.T) {
	w, _ := newSleepyWorld(t)
	a, _ := w.run(func(a *Agent) { a.patience.settled = 0 })
	awake(t, a)
	c := newTally(t, a)
	c.next()
	_, last := a.activity.shown()
	promised := ""
	if err := a.Hold(soon(t), func() error { promised = a.ledger.read().Promise; return nil }); err != nil {
		t.Fatal(err)
	}
	if promised == "" {
		t.Error("OpenClaw was not asked")
	}
	if left := a.ledger.read().Promise; left != "" {
		t.Errorf("the promise %s is left", left)
	}
	if _, after := a.activity.shown(); !after.Equal(last) {
		t.Error("being held counts as use")
	}
	if got := c.next(); got != "2" || c.dials != 1 {
		t.Errorf("counted %s over %d connections", got, c.dials)
	}
	sh(t, a, "touch $HOME/busy")
	if err := a.Hold(soon(t), func() error { return nil }); err != nil {
		t.Errorf("a busy agent was not held: %v", err)
	}
	sh(t, a, "rm $HOME/busy")
	lull(t, a) // it may still sleep, and its image is good
	if got := c.next(); got != "3" || c.dials != 1 {
		t.Errorf("counted %s over %d connections", got, c.dials)
	}
}

func TestASleeperIsHeldAsleep(t *testing.T) {
	w, d := newSleepyWorld(t)
	a, _ := w.run()
	awake(t, a)
	lull(t, a)
	woken := make(chan error, 1)
	err := a.Hold(soon(t), func() error {
		go func() { woken <- a.Wake(soon(t), "a message") }()
		eventually(t, "a knock", func() bool { return a.activity.wantedFor() != "" })
		if s := a.Status(); s.State != StateAsleep || d.restored() != 0 {
			t.Errorf("it woke while it was held: %+v", s)
		}
		return nil
	})
	if err := errors.Join(err, <-woken); err != nil {
		t.Error(err)
	}
	if d.restored() != 1 {
		t.Errorf("%d restores", d.restored())
	}
}

func TestItsHomeIsReplaced(t *testing.T) {
	w, d := newSleepyWorld(t)
	a, _ := w.run()
	awake(t, a)
	for _, asleep := range []bool{false, true} {
		sh(t, a, "echo old > $HOME/note")
		if asleep {
			lull(t, a)
		}
		starts := d.started()
		err := a.Replace(soon(t), func() error {
			w.gone()
			return os.WriteFile(filepath.Join(a.Home(), "note"), []byte("new"), 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
		rouse(t, a)
		if got := sh(t, a, "cat $HOME/note"); got != "new" || d.restored() != 0 || d.started() != starts+1 {
			t.Errorf("asleep %v: it reads %q after %d restores, %d starts", asleep, got, d.restored(), d.started()-starts)
		}
	}
	failed := errors.New("no room")
	if err := a.Replace(soon(t), func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("Replace = %v", err)
	}
	awake(t, a)
}

// What is kept elsewhere is put into an empty home, and into no other. An agent
// whose earlier state cannot be had begins all the same.
func TestAnEmptyHomeIsPrepared(t *testing.T) {
	w, _ := newWorldIn(t, func(root string) (sandbox.Driver, error) { return gvisor.New(gvisor.Options{Root: root}) })
	asked := 0
	w.opts.Prepare = func(_ context.Context, home string, tell func(string)) error {
		asked++
		tell(": 1 of 1")
		return os.WriteFile(filepath.Join(home, "note"), []byte("kept"), 0o644)
	}
	a, stop := w.run()
	awake(t, a)
	if got := sh(t, a, "cat $HOME/note"); got != "kept" || asked != 1 {
		t.Errorf("%q, asked %d times", got, asked)
	}
	stop()
	a, stop = w.run()
	awake(t, a)
	stop()
	if asked != 1 {
		t.Errorf("asked %d times, of a home that was not empty", asked)
	}
	if err := os.RemoveAll(a.Home()); err != nil {
		t.Fatal(err)
	}
	w.opts.Prepare = func(context.Context, string, func(string)) error { return errors.New("the store is away") }
	a, _ = w.run()
	if s := awake(t, a); !strings.Contains(s.Note, "the store is away") {
		t.Errorf("it says %q", s.Note)
	}
}
