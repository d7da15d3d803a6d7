package safekeeper

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/remedy"
)

// State is how safe an agent's state is.
type State string

// The states.
const (
	StateStarting State = "starting" // nothing is known yet
	StateSafe     State = "safe"     // everything that is known to have changed is in the store
	StateChanged  State = "changed"  // something is not, and will be soon
	StateSaving   State = "saving"   // a version is being made
	StateBehind   State = "behind"   // the last try failed; it is tried again, and stays so until it succeeds
	StateFenced   State = "fenced"   // another host makes this agent's versions; a person is needed
)

// Status is what people are told about the safety of an agent's state.
type Status struct {
	State State           `json:"state"`
	Since time.Time       `json:"since"` // when the state was entered
	Last  *backup.Version `json:"last,omitempty"`
	// LastSafe is a time up to which all changes are in the store; zero when none is
	// known. When the state is safe, those since are too.
	LastSafe time.Time `json:"last_safe,omitzero"`
	// Pending is when the oldest change was noticed that is not in the store; zero
	// when there is none.
	Pending time.Time `json:"pending_since,omitzero"`
	Error   string    `json:"error,omitempty"` // of the last try
	Remedy  string    `json:"remedy,omitempty"`
	RetryAt time.Time `json:"retry_at,omitzero"` // when it is tried again; zero while it is
	Mode    string    `json:"mode,omitempty"`    // how changes are noticed
}

// publish has the Status say what is the case. Callers hold mu.
func (k *Keeper) publish() {
	s := k.track.get()
	if state := k.state(); state != s.State {
		s.State, s.Since = state, k.opts.Now()
	}
	s.Last, s.LastSafe = k.newest, k.safeUntil
	s.Pending = earliest(k.covered, k.first)
	s.Error, s.Remedy, s.RetryAt = "", "", time.Time{}
	if k.err != nil {
		s.Error, s.Remedy = k.err.Error(), remedy.Of(k.err)
		if k.running == nil {
			s.RetryAt = k.retryAt
		}
	}
	k.track.set(s)
}

// state is what the state is now. Callers hold mu.
func (k *Keeper) state() State {
	switch {
	case errors.Is(k.err, backup.ErrFenced):
		return StateFenced
	case k.err != nil:
		return StateBehind
	case k.running != nil:
		return StateSaving
	case k.safeUntil.IsZero():
		return StateStarting
	case !k.first.IsZero():
		return StateChanged
	}
	return StateSafe
}

// earliest returns the earlier one of two times; a zero one is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// tracker holds the current Status and tells watchers of each change.
type tracker struct {
	mode func() string

	mu       sync.Mutex // guards status and watchers
	status   Status
	watchers map[chan Status]struct{}
}

func (t *tracker) init(s Status, mode func() string) {
	t.status, t.mode, t.watchers = s, mode, map[chan Status]struct{}{}
}

// get returns the current status. The version that it points to is nobody's to
// change.
func (t *tracker) get() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	s.Mode = t.mode()
	return s
}

// set makes s the current status.
func (t *tracker) set(s Status) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s == t.status {
		return
	}
	t.status = s
	for ch := range t.watchers {
		offer(ch, s)
	}
}

// offer puts s into a channel of capacity one, replacing an unread older value: a
// slow watcher sees the newest status, not a backlog.
func offer(ch chan Status, s Status) {
	select {
	case <-ch:
	default:
	}
	ch <- s
}

func (t *tracker) watch(ctx context.Context) <-chan Status {
	ch := make(chan Status, 1)
	t.mu.Lock()
	s := t.status
	s.Mode = t.mode()
	ch <- s
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
