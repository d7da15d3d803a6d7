package accounts

import (
	"net/netip"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/access"
)

// Failures that cost nothing yet. This machine's own address may stand for
// everybody behind a local proxy.
const (
	strict  = 5
	patient = 30
)

const (
	firstWait  = 2 * time.Second
	longest    = 15 * time.Minute
	maxLocked  = 8192
	forgetting = 15 * time.Minute // how long after a lock has ended its failures are forgotten
)

// lockout is a bounded table of who failed how often. After some failures each
// further one locks its maker out for twice as long.
type lockout struct {
	now func() time.Time

	mu     sync.Mutex // guards failed
	failed map[string]failures
}

type failures struct {
	n     int
	until time.Time // locked out
}

func newLockout(now func() time.Time) *lockout {
	return &lockout{now: now, failed: map[string]failures{}}
}

// take pays for one attempt in advance, so that a burst of parallel guesses gets
// no more answers than a row of them; or it says how long key is locked out.
// undo gives the price back: the attempt was right.
func (l *lockout) take(key string, free int) (undo func(), wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	f, there := l.failed[key]
	if now.Before(f.until) {
		return nil, f.until.Sub(now), false
	}
	if !there {
		l.makeRoom(now)
	} else if now.After(f.until.Add(forgetting)) {
		f = failures{}
	}
	f.n++
	f.until = now.Add(waitAfter(f.n - free))
	l.failed[key] = f
	return func() { l.giveBack(key) }, 0, true
}

func waitAfter(over int) time.Duration {
	if over <= 0 {
		return 0
	}
	return min(firstWait<<min(over-1, 20), longest)
}

func (l *lockout) giveBack(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, there := l.failed[key]
	switch {
	case !there:
	case f.n <= 1:
		delete(l.failed, key)
	default:
		l.failed[key] = failures{n: f.n - 1, until: l.now()}
	}
}

// forgive forgets key's failures.
func (l *lockout) forgive(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.failed, key)
}

// makeRoom forgets those whose failures are long past and, when that is not
// enough, those with the fewest, down to three quarters: many newcomers do not
// wash out the one who is locked for long. Callers hold mu.
func (l *lockout) makeRoom(now time.Time) {
	if len(l.failed) < maxLocked {
		return
	}
	for key, f := range l.failed {
		if now.After(f.until.Add(forgetting)) {
			delete(l.failed, key)
		}
	}
	for fewest := 1; len(l.failed) > maxLocked*3/4; fewest *= 2 {
		for key, f := range l.failed {
			if len(l.failed) <= maxLocked*3/4 {
				return
			}
			if f.n <= fewest {
				delete(l.failed, key)
			}
		}
	}
}

// addressKey names whoever commands an address.
func addressKey(client netip.Addr) (key string, free int) {
	free = strict
	if client.Unmap().IsLoopback() {
		free = patient
	}
	return access.Network(client).String(), free
}

// What all unknown devices together may try: it bounds the work of a flood that
// comes from everywhere and with every name.
const (
	budgetSize   = 100
	budgetRefill = time.Second
)

// budget is a token bucket, kept as the time at which it is full again.
type budget struct {
	now func() time.Time

	mu   sync.Mutex // guards full
	full time.Time
}

func (b *budget) take() (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	full := b.full
	if full.Before(now) {
		full = now
	}
	full = full.Add(budgetRefill)
	if over := full.Sub(now) - budgetSize*budgetRefill; over > 0 {
		return over, false
	}
	b.full = full
	return 0, true
}

func (b *budget) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full = b.full.Add(-budgetRefill)
}
