package limit

import (
	"container/list"
	"errors"
	"sync"
	"time"
)

// slots is how many parts a sliding window has. A call leaves the window with the
// last of the part it was made in: up to a sixtieth of the window late, never early.
const slots = 60

// lookAt is how many keys in use are looked at for one that is not.
const lookAt = 4

// Rate is how much may be done in a time.
type Rate struct {
	Requests int64         // 0: no limit
	Tokens   int64         // 0: no limit; one of the two is needed
	Per      time.Duration // 1 second to 31 days
	// Sliding looks at the time before each call. Else windows follow one another,
	// and around the end of one twice the rate can be done in a short time.
	Sliding bool
}

// WindowOptions of a Window.
type WindowOptions struct {
	Rate Rate
	// Keys counted apart; 10,000 when 0. When so many are in use, all others share one
	// count, so that new names are no way around a limit.
	Keys int
	Now  func() time.Time // time.Now when nil
}

// Window counts requests and tokens of each key.
type Window struct {
	rate  Rate
	width time.Duration // of a slot
	most  int
	watch *stopwatch

	mu     sync.Mutex
	keys   map[Key]*list.Element // guarded by mu; the values are *use
	recent *list.List            // guarded by mu; used longest ago is last
	rest   *use                  // guarded by mu; of keys that there is no room for
}

// use is what a key did in its window.
type use struct {
	key     Key
	slots   []slot // oldest first; none that is over
	tickets int    // calls that are not done
}

type slot struct {
	n                int64 // number of the slot since the start
	requests, tokens int64
}

// NewWindow makes a window. It fails when the rate is none.
func NewWindow(o WindowOptions) (*Window, error) {
	r := o.Rate
	if r.Requests < 0 || r.Tokens < 0 || r.Requests == 0 && r.Tokens == 0 {
		return nil, errors.New("a rate needs a limit of requests or tokens")
	}
	if r.Per < time.Second || r.Per > 31*24*time.Hour {
		return nil, errors.New("a rate is for 1 second to 31 days")
	}
	if o.Keys <= 0 {
		o.Keys = 10_000
	}
	width := r.Per
	if r.Sliding {
		width = (r.Per + slots - 1) / slots
	}
	return &Window{rate: r, width: width, most: o.Keys, watch: newStopwatch(o.Now), keys: map[Key]*list.Element{}, recent: list.New(), rest: &use{}}, nil
}

// over is when what was counted in a slot counts no more.
func (w *Window) over(n int64) time.Duration {
	end := time.Duration(n+1) * w.width
	if w.rate.Sliding {
		end += w.rate.Per
	}
	return end
}

// Ticket is leave to make one call. It must be ended with Done or Cancel.
type Ticket struct {
	w        *Window
	use      *use
	n        int64 // slot
	estimate int64
	ended    bool // guarded by w.mu
}

// Take counts a call that will move about so many tokens, or returns a *Limited that
// says when there is room for it.
func (w *Window) Take(key Key, tokens int64) (*Ticket, error) {
	tokens = max(0, min(tokens, 1<<60))
	now := w.watch.read()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rate.Tokens > 0 && tokens > w.rate.Tokens {
		return nil, &Limited{What: "tokens", Limit: w.rate.Tokens, Per: w.rate.Per, Never: true}
	}
	n := int64(now / w.width)
	u := w.find(key, now)
	w.trim(u, now)
	if e := w.room(u, tokens, now); e != nil {
		return nil, e
	}
	u.count(n, 1, tokens)
	u.tickets++
	return &Ticket{w: w, use: u, n: n, estimate: tokens}, nil
}

// find returns the count of a key. Counts that are empty make room for others; when
// none is, and as long as keys without one have something that counts, a new key
// shares theirs.
func (w *Window) find(key Key, now time.Duration) *use {
	if e := w.keys[key]; e != nil {
		w.recent.MoveToFront(e)
		return e.Value.(*use)
	}
	w.trim(w.rest, now)
	if !w.rest.empty() {
		return w.rest
	}
	for busy := 0; w.recent.Len() > 0 && busy < lookAt; {
		e := w.recent.Back()
		old := e.Value.(*use)
		if w.trim(old, now); !old.empty() {
			w.recent.MoveToFront(e) // one with a long call must not hide those that are empty
			busy++
			continue
		}
		w.recent.Remove(e)
		delete(w.keys, old.key)
	}
	if w.recent.Len() >= w.most {
		return w.rest
	}
	u := &use{key: key}
	w.keys[key] = w.recent.PushFront(u)
	return u
}

func (u *use) empty() bool { return len(u.slots) == 0 && u.tickets == 0 }

// trim forgets what is over.
func (w *Window) trim(u *use, now time.Duration) {
	i := 0
	for i < len(u.slots) && w.over(u.slots[i].n) <= now {
		i++
	}
	if i > 0 {
		u.slots = append(u.slots[:0], u.slots[i:]...)
	}
}

// count adds to a slot, which is the newest or newer than all.
func (u *use) count(n, requests, tokens int64) {
	if last := len(u.slots) - 1; last >= 0 && u.slots[last].n >= n {
		u.slots[last].requests += requests
		u.slots[last].tokens = min(u.slots[last].tokens+tokens, 1<<61)
	} else {
		u.slots = append(u.slots, slot{n, requests, tokens})
	}
}

// room says when a call fits; nil when it does now.
func (w *Window) room(u *use, tokens int64, now time.Duration) *Limited {
	var requests, used int64
	for _, s := range u.slots {
		requests += s.requests
		used = min(used+s.tokens, 1<<61)
	}
	tooMany := func() bool { return w.rate.Requests > 0 && requests >= w.rate.Requests }
	tooMuch := func() bool { return w.rate.Tokens > 0 && (used+tokens > w.rate.Tokens || used >= w.rate.Tokens) }
	e := &Limited{What: "requests", Limit: w.rate.Requests, Per: w.rate.Per}
	if tooMuch() && !tooMany() {
		e.What, e.Limit = "tokens", w.rate.Tokens
	}
	for _, s := range u.slots {
		if !tooMany() && !tooMuch() {
			break
		}
		requests, used = requests-s.requests, used-s.tokens
		e.RetryAfter = w.over(s.n) - now
	}
	if e.RetryAfter == 0 {
		return nil
	}
	return e
}

// Done ends a call that moved so many tokens. What they are more than was estimated
// counts from now on; what they are less is given back.
func (t *Ticket) Done(tokens int64) {
	t.end(0, max(0, min(tokens, 1<<60))-t.estimate)
}

// Cancel ends a call that was not made, as if it had not been taken.
func (t *Ticket) Cancel() { t.end(-1, -t.estimate) }

func (t *Ticket) end(requests, tokens int64) {
	now := t.w.watch.read()
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if t.ended {
		return
	}
	t.ended = true
	t.use.tickets--
	t.w.trim(t.use, now)
	if tokens > 0 {
		t.use.count(int64(now/t.w.width), 0, tokens)
		return
	}
	for i := range t.use.slots {
		if s := &t.use.slots[i]; s.n == t.n {
			s.requests, s.tokens = s.requests+requests, max(0, s.tokens+tokens)
		}
	}
}
