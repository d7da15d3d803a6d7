package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/remedy"
)

// clock is a time that moves when told.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func newClock() *clock { return &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func TestBootTimeline(t *testing.T) {
	c := newClock()
	tr := newTracker("main", c.now)
	tr.begin(evBoot, "preparing")
	tr.phase("sandbox", "starting the sandbox")
	c.advance(time.Second)
	tr.phase("gateway", "starting OpenClaw")
	c.advance(time.Second)
	tr.phase("gateway", "still starting OpenClaw") // the same phase goes on
	c.advance(time.Second)
	tr.end(evReady, "awake")

	s := tr.get()
	if s.State != StateAwake || s.Since != c.t {
		t.Errorf("state %s since %s; want awake since %s", s.State, s.Since, c.t)
	}
	var took []time.Duration
	for _, p := range s.Phases {
		took = append(took, p.Ended.Sub(p.Started))
	}
	if len(took) != 2 || took[0] != time.Second || took[1] != 2*time.Second {
		t.Errorf("phases took %v; want 1 s and 2 s", took)
	}
}

func TestSinceIsOfTheState(t *testing.T) {
	c := newClock()
	tr := newTracker("main", c.now)
	tr.begin(evBoot, "preparing")
	since := tr.get().Since
	c.advance(time.Minute)
	tr.phase("sandbox", "starting the sandbox")
	if got := tr.get().Since; got != since {
		t.Errorf("a new phase moved Since from %s to %s", since, got)
	}
}

func TestFailureIsShownUntilAwake(t *testing.T) {
	tr := newTracker("main", newClock().now)
	tr.begin(evBoot, "preparing")
	tr.fail(evFail, remedy.With(errors.New("it broke\nat length"), "mend it"))
	s := tr.get()
	if s.Reason != "it broke" || s.Error != "it broke\nat length" || s.Remedy != "mend it" {
		t.Errorf("got %+v", s)
	}
	tr.begin(evBoot, "again")
	if tr.get().Error == "" {
		t.Error("the last error is gone while it is being retried")
	}
	tr.end(evReady, "awake")
	if s := tr.get(); s.Error != "" || s.Remedy != "" {
		t.Errorf("awake, but shows %q, %q", s.Error, s.Remedy)
	}
}

func TestSlowWatcherSeesTheNewest(t *testing.T) {
	tr := newTracker("main", newClock().now)
	ctx, cancel := context.WithCancel(t.Context())
	ch := tr.watch(ctx)
	for _, reason := range []string{"one", "two", "three"} {
		tr.update(func(s *Status) { s.Reason = reason })
	}
	if got := <-ch; got.Reason != "three" {
		t.Errorf("saw %q; want the newest", got.Reason)
	}
	cancel()
	if _, open := <-ch; open {
		t.Error("channel still open after its context ended")
	}
	tr.end(evReady, "awake") // must not write to the closed channel
}

func TestStatusIsAValue(t *testing.T) {
	tr := newTracker("main", newClock().now)
	tr.phase("sandbox", "starting")
	s := tr.get()
	s.Phases[0].Name = "changed"
	if tr.get().Phases[0].Name != "sandbox" {
		t.Error("a reader changed the agent's own status")
	}
}
