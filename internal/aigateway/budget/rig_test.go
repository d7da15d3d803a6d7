package budget

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

var utc = time.UTC

const cent = price.Dollar / 100

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

// newClock shows noon of 15 January 2026, a Thursday.
func newClock() *clock { return &clock{now: time.Date(2026, 1, 15, 12, 0, 0, 0, utc)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

func (c *clock) add(d time.Duration) { c.set(c.Now().Add(d)) }

func openFor(t testing.TB, dir string, c *clock) *Ledger {
	t.Helper()
	l, err := Open(Options{Dir: dir, Zone: utc, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// ledger is one with rules in a directory of its own.
func ledger(t testing.TB, c *clock, rules ...Rule) *Ledger {
	t.Helper()
	l := openFor(t, t.TempDir(), c)
	setRules(t, l, rules...)
	return l
}

func setRules(t testing.TB, l *Ledger, rules ...Rule) {
	t.Helper()
	if err := l.SetRules(rules); err != nil {
		t.Fatal(err)
	}
}

func reserve(t testing.TB, l *Ledger, call Call, most price.Money, tokens int64) *Reservation {
	t.Helper()
	r, err := l.Reserve(call, most, tokens)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// spend makes a call that costs what was reserved for it.
func spend(t testing.TB, l *Ledger, call Call, cost price.Money, tokens int64) {
	t.Helper()
	reserve(t, l, call, cost, tokens).Settle(cost, tokens)
}

// refused expects that a rule keeps a call from being made.
func refused(t testing.TB, l *Ledger, call Call, most price.Money, tokens int64, rule string) *Exceeded {
	t.Helper()
	r, err := l.Reserve(call, most, tokens)
	if err == nil {
		r.Release()
	}
	var e *Exceeded
	if !errors.As(err, &e) || e.Rule.ID != rule {
		t.Fatalf("got %v, want that rule %s refuses", err, rule)
	}
	return e
}

func ruleState(t testing.TB, l *Ledger, id, agent string) RuleState {
	t.Helper()
	for _, r := range l.State().Rules {
		if r.Rule.ID == id && r.Agent == agent {
			return r
		}
	}
	t.Fatalf("no rule %s of %q in %+v", id, agent, l.State().Rules)
	return RuleState{}
}

func wantSpent(t testing.TB, l *Ledger, id string, spent, reserved price.Money) {
	t.Helper()
	if r := ruleState(t, l, id, ""); r.Spent != spent || r.Reserved != reserved {
		t.Fatalf("rule %s: spent %s reserved %s, want %s and %s", id, exact(r.Spent), exact(r.Reserved), exact(spent), exact(reserved))
	}
}

func noDamage(t testing.TB, l *Ledger) {
	t.Helper()
	if d := l.State().Damage; len(d) > 0 {
		t.Fatalf("damage: %q", d)
	}
}
