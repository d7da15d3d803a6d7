package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/remedy"
)

// tracker holds an agent's current Status and tells watchers of each change. The
// state in it changes only by the moves of the life-cycle machine; news that the
// machine does not take changes nothing.
type tracker struct {
	now func() time.Time

	mu       sync.Mutex // guards status and watchers
	status   Status
	watchers map[chan Status]struct{}
}

func newTracker(name string, now func() time.Time) *tracker {
	return &tracker{
		now:      now,
		status:   Status{Agent: name, State: StateStopped, Reason: "not started", Since: now()},
		watchers: map[chan Status]struct{}{},
	}
}

// get returns the current picture.
func (t *tracker) get() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.snapshot()
}

// snapshot copies the status so that readers never share its slices with the
// writer. Callers hold mu.
func (t *tracker) snapshot() Status {
	s := t.status
	s.Phases = slices.Clone(s.Phases)
	s.History = slices.Clone(s.History)
	return s
}

// update applies f to the status and tells the watchers. f leaves State alone.
func (t *tracker) update(f func(*Status)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.apply(f)
}

// apply is update for callers that hold mu.
func (t *tracker) apply(f func(*Status)) {
	f(&t.status)
	s := t.snapshot()
	for ch := range t.watchers {
		offer(ch, s)
	}
}

// offer puts s into a channel of capacity one, replacing an unread older value:
// a slow watcher sees the newest picture, not a backlog.
func offer(ch chan Status, s Status) {
	select {
	case <-ch:
	default:
	}
	ch <- s
}

// watch returns a channel that holds the current status at once and then the
// newest one after each change, until ctx ends and the channel is closed.
func (t *tracker) watch(ctx context.Context) <-chan Status {
	ch := make(chan Status, 1)
	t.mu.Lock()
	ch <- t.snapshot()
	t.watchers[ch] = struct{}{}
	t.mu.Unlock()
	context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.watchers, ch)
		close(ch)
	})
	return ch
}

// maxHistory bounds the states that are remembered.
const maxHistory = 20

// move takes an event: when the machine moves by it, f describes the state that
// was reached.
func (t *tracker) move(e event, f func(*Status)) (moved bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next, ok := t.status.State.after(e)
	if !ok {
		return false
	}
	t.apply(func(s *Status) {
		if now := t.now(); next != s.State {
			s.History = append(s.History, Past{State: s.State, Since: s.Since, Took: now.Sub(s.Since), Reason: s.Reason})
			s.History = s.History[max(len(s.History)-maxHistory, 0):]
			s.State, s.Since = next, now
		}
		f(s)
	})
	return true
}

// begin moves and starts a new timeline.
func (t *tracker) begin(e event, reason string) bool {
	return t.move(e, func(s *Status) {
		s.Reason = reason
		s.Phases, s.Attempt = nil, 0
	})
}

// phase ends the running phase and begins the named one. It does so on the way up;
// an agent in any other state is on its way up from here, in a new timeline. Entering the phase that
// is running already changes nothing but its label; one that the timeline has had
// begins a new timeline, which also bounds it.
func (t *tracker) phase(name, label string) {
	if s := t.get().State; s == StateWaking || s == StateBooting {
		t.step(name, label)
		return
	}
	t.move(evBoot, func(s *Status) {
		s.Phases = nil
		enter(s, t.now(), name, label)
	})
}

// step is phase for a state that goes on.
func (t *tracker) step(name, label string) {
	t.update(func(s *Status) { enter(s, t.now(), name, label) })
}

func enter(s *Status, now time.Time, name, label string) {
	s.Reason = label
	if n := len(s.Phases); n > 0 && s.Phases[n-1].Ended.IsZero() {
		if s.Phases[n-1].Name == name {
			s.Phases[n-1].Label = label
			return
		}
		s.Phases[n-1].Ended = now
	}
	if slices.ContainsFunc(s.Phases, func(p Phase) bool { return p.Name == name }) {
		s.Phases = nil
	}
	s.Phases = append(s.Phases, Phase{Name: name, Label: label, Started: now})
}

// end closes the running phase and the timeline with a move.
func (t *tracker) end(e event, reason string) bool {
	return t.move(e, func(s *Status) {
		closePhase(s, t.now())
		s.Reason = reason
		if s.State == StateAwake {
			s.Error, s.Remedy = "", ""
		}
	})
}

// fail records what went wrong. The event says whether it is being retried
// (evBoot) or waits for a person (evFail).
func (t *tracker) fail(e event, err error) {
	t.move(e, func(s *Status) {
		closePhase(s, t.now())
		s.Reason = firstLine(err.Error())
		s.Error, s.Remedy = err.Error(), remedy.Of(err)
	})
}

func closePhase(s *Status, now time.Time) {
	if n := len(s.Phases); n > 0 && s.Phases[n-1].Ended.IsZero() {
		s.Phases[n-1].Ended = now
	}
}
