package limit

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// breaker has no chance in it: what it draws is always half.
func breaker(c *clock, o BreakerOptions) *Breaker {
	o.Name, o.Now, o.Random = "api.example", c.Now, func() float64 { return 0.5 }
	return NewBreaker(o)
}

func allow(t testing.TB, b *Breaker) *Attempt {
	t.Helper()
	a, err := b.Allow()
	must(t, err)
	return a
}

func fail(t testing.TB, b *Breaker, times int) {
	t.Helper()
	for range times {
		allow(t, b).Done(Failed)
	}
}

func status(t testing.TB, b *Breaker, want string) {
	t.Helper()
	if s := b.State(); s.Status != want {
		t.Fatalf("it is %s, want %s", s.Status, want)
	}
}

// Open for 8 s: half of it and half of the other half by chance, so 6 s; then 12, 24.
func TestBreakerOpensAndCloses(t *testing.T) {
	c := newClock()
	b := breaker(c, BreakerOptions{Open: 8 * time.Second, OpenMost: 20 * time.Second})
	fail(t, b, 4)
	allow(t, b).Done(OK) // the row is broken
	fail(t, b, 4)
	old := allow(t, b) // under way as it opens
	status(t, b, "closed")
	fail(t, b, 1)
	_, err := b.Allow()
	if wait(t, err) != 6*time.Second || !strings.HasPrefix(err.Error(), "api.example failed several times") {
		t.Error(err)
	}
	for _, opened := range []time.Duration{6, 12, 15, 15} { // no longer than 20: 10 and 5
		c.add(opened*time.Second - 1)
		status(t, b, "open")
		c.add(1)
		status(t, b, "half-open")
		probe := allow(t, b)
		if _, err := b.Allow(); wait(t, err) <= 0 {
			t.Error("a second probe")
		}
		old.Done(OK) // says nothing about now
		status(t, b, "half-open")
		probe.Done(Failed)
	}
	c.add(15 * time.Second)
	probe := allow(t, b)
	probe.Done(Ignored) // the client went away: the next one is the probe
	allow(t, b).Done(OK)
	status(t, b, "closed")
	fail(t, b, 5)
	if _, err := b.Allow(); wait(t, err) != 6*time.Second {
		t.Errorf("after a success the time begins anew: %v", err)
	}
}

func TestBreakerGivesUpAProbeThatDoesNotEnd(t *testing.T) {
	c := newClock()
	b := breaker(c, BreakerOptions{})
	fail(t, b, 5)
	c.add(5 * time.Second)
	lost := allow(t, b)
	c.add(2*time.Minute - 1)
	if _, err := b.Allow(); err == nil {
		t.Error("a second probe")
	}
	c.add(1)
	second := allow(t, b)
	lost.Done(Failed) // nobody waits for it
	status(t, b, "half-open")
	second.Done(OK)
	status(t, b, "closed")
}

// 10 of 20 calls fail, never five in a row; and then the same over more than a minute.
func TestBreakerOpensOnARate(t *testing.T) {
	for every, want := range map[time.Duration]string{time.Second: "open", 8 * time.Second: "closed"} {
		c := newClock()
		b := breaker(c, BreakerOptions{})
		for range 10 {
			allow(t, b).Done(OK)
			status(t, b, "closed")
			allow(t, b).Done(Failed)
			c.add(every)
		}
		if every == time.Second {
			c.add(-time.Second) // of the last round
		}
		status(t, b, want)
	}
}

func TestLimitedIsNotBroken(t *testing.T) {
	c := newClock()
	b := breaker(c, BreakerOptions{})
	for range 20 {
		allow(t, b).Limited(7 * time.Second)
		status(t, b, "limited")
		_, err := b.Allow()
		var u *Unavailable
		if !errors.As(err, &u) || !u.Limited || u.RetryAfter != 7*time.Second {
			t.Fatal(err)
		}
		c.add(7 * time.Second)
	}
	status(t, b, "closed")
	allow(t, b).Limited(0)
	if _, err := b.Allow(); wait(t, err) != time.Second {
		t.Error(err)
	}
	c.add(time.Second)
	allow(t, b).Limited(1 << 62)
	if _, err := b.Allow(); wait(t, err) != time.Hour {
		t.Error(err)
	}
	c.add(time.Hour)
	fail(t, b, 5)
	c.add(5 * time.Second)
	allow(t, b).Limited(time.Second) // a probe that is limited: it answers
	c.add(time.Second)
	status(t, b, "closed")
}

func TestBreakerLetsOneOfManyProbe(t *testing.T) {
	c := newClock()
	b := breaker(c, BreakerOptions{})
	fail(t, b, 5)
	c.add(5 * time.Second)
	var all sync.WaitGroup
	probes := make(chan *Attempt, 1000)
	for range 1000 {
		all.Go(func() {
			if a, err := b.Allow(); err == nil {
				probes <- a
			}
		})
	}
	all.Wait()
	if len(probes) != 1 {
		t.Errorf("%d probes", len(probes))
	}
}

func BenchmarkBreaker(b *testing.B) {
	br := NewBreaker(BreakerOptions{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			a, err := br.Allow()
			if err != nil {
				b.Error(err)
				return
			}
			a.Done(OK)
		}
	})
}
