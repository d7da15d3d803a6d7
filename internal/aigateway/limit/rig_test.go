package limit

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_700_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wait is the RetryAfter of an error, which must be there.
func wait(t testing.TB, err error) time.Duration {
	t.Helper()
	var l *Limited
	var u *Unavailable
	var x *Exhausted
	switch {
	case errors.As(err, &l):
		return l.RetryAfter
	case errors.As(err, &u):
		return u.RetryAfter
	case errors.As(err, &x):
		return x.RetryAfter
	}
	t.Fatalf("not limited: %v", err)
	return 0
}
