package limit

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// BreakerOptions of a Breaker. Zero means the default.
type BreakerOptions struct {
	Name        string        // of the upstream, for messages
	Consecutive int           // failures in a row that open it; 5
	Percent     int           // of the calls of the last Rolling that failed, which open it; 50
	Least       int           // calls in Rolling before Percent counts; 20
	Rolling     time.Duration // 1 min
	Open        time.Duration // for how long at first, twice as long each time a probe fails; 5 s
	OpenMost    time.Duration // 5 min
	Probe       time.Duration // after which a probe that does not end is given up; 2 min

	Now    func() time.Time // time.Now when nil
	Random func() float64   // 0 to below 1; math/rand when nil
}

// Outcome is how a call to an upstream ended.
type Outcome int

// The outcomes.
const (
	OK      Outcome = iota // it answered, be it that the request was wrong
	Failed                 // it could not be reached, answered 5xx, or broke off
	Ignored                // nothing is known: the client went away
)

// rollingSlots is how many parts Rolling has.
const rollingSlots = 10

// Breaker keeps calls from an upstream that is broken. After a while it lets one
// through to see; when that succeeds, all. An upstream that says it is limited is
// not broken: no calls go to it until the time that it named, and then all.
type Breaker struct {
	o     BreakerOptions
	watch *stopwatch

	mu      sync.Mutex // guards all below
	row     int        // failures
	slots   [rollingSlots]attempts
	open    bool
	until   time.Duration // open: no probe before
	times   int           // it was opened without a success in between
	probe   int64         // number of the call that is the probe; 0: none
	since   time.Duration // the probe began
	calls   int64         // numbers them
	epoch   int64         // of the last change between open and closed
	cooling time.Duration // limited until
}

type attempts struct {
	n            int64
	calls, fails int
}

// NewBreaker makes a breaker, closed.
func NewBreaker(o BreakerOptions) *Breaker {
	def(&o.Consecutive, 5)
	def(&o.Percent, 50)
	def(&o.Least, 20)
	def(&o.Rolling, time.Minute)
	def(&o.Open, 5*time.Second)
	def(&o.OpenMost, 5*time.Minute)
	def(&o.Probe, 2*time.Minute)
	if o.Random == nil {
		o.Random = rand.Float64
	}
	return &Breaker{o: o, watch: newStopwatch(o.Now)}
}

func def[T int | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

// Unavailable is why no call goes to an upstream or with any key now. Its text is for
// the user of the agent.
type Unavailable struct {
	Name       string
	Limited    bool // it answers, but takes no calls; else it is broken
	RetryAfter time.Duration
}

func (e *Unavailable) Error() string {
	wait := roundUp(e.RetryAfter, time.Second)
	if e.Limited {
		return fmt.Sprintf("%s takes no more model calls for now. Try again in %v.", e.Name, wait)
	}
	return fmt.Sprintf("%s failed several times, so no model calls go to it for now. Try again in %v.", e.Name, wait)
}

// Attempt is leave to make one call. It must be ended with Done or Limited.
type Attempt struct {
	b     *Breaker
	n     int64
	epoch int64
	probe bool
	ended bool // guarded by b.mu
}

// Allow admits a call, or returns an *Unavailable.
func (b *Breaker) Allow() (*Attempt, error) {
	now := b.watch.read()
	b.mu.Lock()
	defer b.mu.Unlock()
	if wait := b.cooling - now; wait > 0 {
		return nil, &Unavailable{b.o.Name, true, wait}
	}
	b.calls++
	a := &Attempt{b: b, n: b.calls, epoch: b.epoch}
	if !b.open {
		return a, nil
	}
	if wait := b.until - now; wait > 0 {
		return nil, &Unavailable{b.o.Name, false, wait}
	}
	if wait := b.since + b.o.Probe - now; b.probe != 0 && wait > 0 {
		return nil, &Unavailable{b.o.Name, false, min(wait, b.o.Open)}
	}
	b.probe, b.since, a.probe = a.n, now, true
	return a, nil
}

// Done ends a call. What a call from before the breaker opened or closed says of the
// upstream is old news and does not count.
func (a *Attempt) Done(how Outcome) {
	b := a.b
	now := b.watch.read()
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.ended {
		return
	}
	a.ended = true
	switch {
	case a.epoch != b.epoch:
	case a.probe:
		b.probed(a, how, now)
	case !b.open && how != Ignored:
		b.count(how == Failed, now)
	}
}

// Limited ends a call that the upstream refused because there were too many, and
// keeps others back for the time it named: 1 second where it is 0, an hour at most.
func (a *Attempt) Limited(retryAfter time.Duration) {
	a.Done(OK) // it answers
	b := a.b
	now := b.watch.read()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cooling = max(b.cooling, now+coolFor(retryAfter, time.Second))
}

// coolFor is how long something is left alone.
func coolFor(d, least time.Duration) time.Duration {
	if d <= 0 {
		d = least
	}
	return min(d, time.Hour)
}

func (b *Breaker) probed(a *Attempt, how Outcome, now time.Duration) {
	if b.probe != a.n && how != OK { // it was given up
		return
	}
	b.probe = 0
	switch how {
	case OK:
		b.epoch++
		b.open, b.times, b.row, b.slots = false, 0, 0, [rollingSlots]attempts{}
	case Failed:
		b.trip(now)
	}
}

func (b *Breaker) count(failed bool, now time.Duration) {
	n := int64(now / ((b.o.Rolling + rollingSlots - 1) / rollingSlots))
	s := &b.slots[n%rollingSlots]
	if s.n != n {
		*s = attempts{n: n}
	}
	s.calls++
	if !failed {
		b.row = 0
		return
	}
	s.fails++
	b.row++
	calls, fails := 0, 0
	for _, s := range b.slots {
		if s.n > n-rollingSlots {
			calls, fails = calls+s.calls, fails+s.fails
		}
	}
	if b.row >= b.o.Consecutive || calls >= b.o.Least && fails*100 >= calls*b.o.Percent {
		b.trip(now)
	}
}

// trip opens it: for between half the time and all of it, by chance, so that many do
// not come back in the same moment.
func (b *Breaker) trip(now time.Duration) {
	d := b.o.Open
	for range min(b.times, 30) {
		d = min(2*d, b.o.OpenMost)
	}
	d = min(d, b.o.OpenMost)
	b.until = now + d/2 + time.Duration(b.o.Random()*float64(d/2))
	b.open, b.probe = true, 0
	b.times++
	b.epoch++
}

// BreakerState is what a page shows.
type BreakerState struct {
	Name       string
	Status     string        // "closed", "open", "half-open" or "limited"
	RetryAfter time.Duration // while it is open or limited
}

// State says how the breaker stands.
func (b *Breaker) State() BreakerState {
	now := b.watch.read()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := BreakerState{Name: b.o.Name, Status: "closed"}
	switch {
	case b.cooling > now:
		s.Status, s.RetryAfter = "limited", b.cooling-now
	case b.open && b.until > now:
		s.Status, s.RetryAfter = "open", b.until-now
	case b.open:
		s.Status = "half-open"
	}
	return s
}
