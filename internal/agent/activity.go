package agent

import (
	"slices"
	"sync"
	"time"
)

// activity knows who uses an agent, and since when nobody does. What counts is
// real use: a request, a message, a model call, a command; an open page alone does
// not come here. While the agent sleeps, a fence keeps uses out, and whoever
// comes to it is heard.
type activity struct {
	now    func() time.Time
	knocks chan struct{} // holds a token after somebody came to the fence

	mu     sync.Mutex    // guards what follows
	uses   []*use        // under way, oldest first
	last   time.Time     // when a use last began or ended
	ever   bool          // a use has begun
	fenced bool          // nothing may begin
	wanted string        // for what somebody came to the fence
	opened chan struct{} // closed and replaced when the fence goes
}

// use is one use under way.
type use struct {
	what  string
	since time.Time
}

// Use is one use under way, as it is shown.
type Use struct {
	What  string    `json:"what"` // "a message", "a model call", "a command"
	Since time.Time `json:"since"`
}

func newActivity(now func() time.Time) *activity {
	return &activity{now: now, last: now(), knocks: make(chan struct{}, 1), opened: make(chan struct{})}
}

// begin notes a use. At the fence it gives none, and a channel that closes when
// the fence is gone.
func (a *activity) begin(what string) (done func(), fence <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.fenced {
		if a.wanted == "" {
			a.wanted = what
		}
		a.knock()
		return nil, a.opened
	}
	u := &use{what, a.now()}
	a.uses, a.last, a.ever = append(a.uses, u), u.since, true
	return sync.OnceFunc(func() { a.end(u) }), nil
}

// knock needs mu.
func (a *activity) knock() {
	select {
	case a.knocks <- struct{}{}:
	default:
	}
}

func (a *activity) end(u *use) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.uses = slices.DeleteFunc(a.uses, func(other *use) bool { return other == u })
	a.last = a.now()
}

// fence keeps new uses out, unless one is under way: then it names that.
func (a *activity) fence() (busy string, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.uses) > 0 {
		return a.uses[0].what, false
	}
	a.fenced, a.wanted = true, ""
	return "", true
}

// open takes the fence away. From then on it counts how long nobody uses the agent.
func (a *activity) open() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = a.now()
	a.lower()
}

// reopen takes a fence away that was there for a moment only.
func (a *activity) reopen() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lower()
}

// lower needs mu.
func (a *activity) lower() {
	if !a.fenced {
		return
	}
	a.fenced, a.wanted = false, ""
	close(a.opened)
	a.opened = make(chan struct{})
}

// wantedFor says for what somebody came to the fence, or "".
func (a *activity) wantedFor() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wanted
}

// unused says whether nobody has used the agent since this process began.
func (a *activity) unused() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.ever
}

// idle says for how long nobody has used the agent.
func (a *activity) idle() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.uses) > 0 {
		return 0
	}
	return a.now().Sub(a.last)
}

// shown are the uses under way, alike ones once with the time of the oldest, and
// when the last one was.
func (a *activity) shown() (uses []Use, last time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, u := range a.uses {
		if !slices.ContainsFunc(uses, func(other Use) bool { return other.What == u.what }) {
			uses = append(uses, Use{u.what, u.since})
		}
	}
	return uses, a.last
}
