// Package limit owns how often model calls are made and how many at once: windows of
// requests and tokens, a gate with a fair queue, breakers for upstreams that are
// broken, pools of keys of which some may be limited, and how long to wait before
// another try.
//
// Nothing here is kept on disk, and nothing waits but in a gate. What it knows of
// time is how much has passed; a clock that is set back stands still until it has
// caught up.
//
// It must not know prices, budgets, what a key's value is, or how calls are
// forwarded.
package limit

import (
	"fmt"
	"sync"
	"time"
)

// Key is what is counted for itself. Parts that a limit does not tell apart are
// left empty.
type Key struct {
	Agent, Provider, Model, Trigger string
}

// stopwatch tells how much time has passed, and never goes back.
type stopwatch struct {
	now   func() time.Time
	start time.Time

	mu   sync.Mutex
	last time.Duration // guarded by mu
}

func newStopwatch(now func() time.Time) *stopwatch {
	if now == nil {
		now = time.Now
	}
	return &stopwatch{now: now, start: now()}
}

// read is the time since the start. Of clocks that have it, the monotonic one counts.
func (s *stopwatch) read() time.Duration {
	passed := s.now().Sub(s.start)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = max(s.last, passed)
	return s.last
}

// Limited is why a call is not made now. Its text is for the user of the agent.
type Limited struct {
	What       string        // "requests", "tokens" or "calls at once"
	Limit      int64         // of them
	Per        time.Duration // in this time; 0 where it is about calls at once
	RetryAfter time.Duration // when there is room, should nobody else take it; 0 when not known
	Never      bool          // the call asks for more than there ever is
}

func (e *Limited) Error() string {
	switch {
	case e.Never:
		return fmt.Sprintf("This model call needs more than the limit of %d %s in %v ever allows. Make it shorter, or raise the limit.", e.Limit, e.What, e.Per)
	case e.Per == 0:
		return fmt.Sprintf("The limit of %d %s is reached, and the queue is full or the wait was too long. Try again in a moment.", e.Limit, e.What)
	}
	return fmt.Sprintf("The limit of %d %s in %v is reached. Try again in %v.", e.Limit, e.What, e.Per, roundUp(e.RetryAfter, time.Second))
}

// Seconds is the value of a Retry-After header: whole seconds, rounded up, at least 1.
func Seconds(d time.Duration) int64 {
	return max(1, int64(roundUp(d, time.Second)/time.Second))
}

func roundUp(d, unit time.Duration) time.Duration {
	if rest := d % unit; rest > 0 && d < 1<<62 {
		return d - rest + unit
	}
	return d
}
