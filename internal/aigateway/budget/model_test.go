package budget

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// simple is a ledger as one would write it down: all calls in a list, and everything
// added up anew each time.
type simple struct {
	calls []*simpleCall
}

type simpleCall struct {
	call       Call
	day        string
	month      string
	most, cost price.Money
	state      string // "open", "settled", "released"
}

func (s *simple) sum(r Rule, now Call) (spent, reserved price.Money) {
	for _, c := range s.calls {
		if r.Match.Agent != "" && r.Match.Agent != c.call.Agent || r.Match.Model != "" && r.Match.Model != c.call.Model ||
			r.Each && c.call.Agent != now.Agent ||
			r.Period == Day && c.day != now.At.Format(time.DateOnly) || r.Period == Month && c.month != now.At.Format("2006-01") {
			continue
		}
		switch c.state {
		case "open":
			reserved += c.most
		case "settled":
			spent += c.cost
		}
	}
	return spent, reserved
}

func (s *simple) fits(rules []Rule, call Call, most price.Money) bool {
	for _, r := range rules {
		if r.Match.Agent != "" && r.Match.Agent != call.Agent || r.Match.Model != "" && r.Match.Model != call.Model {
			continue
		}
		spent, reserved := s.sum(r, call)
		if spent+reserved >= r.Limit || spent+reserved+most > r.Limit {
			return false
		}
	}
	return true
}

// Random calls on random days, with the ledger closed and opened in between, are
// admitted exactly when the simple one would.
func TestAgainstASimpleModel(t *testing.T) {
	rules := []Rule{
		{ID: "d", Period: Day, Limit: 90 * cent},
		{ID: "m", Period: Month, Limit: 300 * cent, Match: Match{Agent: "ada"}},
		{ID: "e", Period: Day, Each: true, Limit: 40 * cent},
		{ID: "t", Period: Total, Limit: 900 * cent, Match: Match{Model: "m1"}},
	}
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		clk, dir := newClock(), t.TempDir()
		l := openFor(t, dir, clk)
		setRules(t, l, rules...)
		var s simple
		open := map[*simpleCall]*Reservation{}
		admitted, kept := 0, 0
		for range 600 {
			switch n := rnd.IntN(100); {
			case n < 50:
				call := Call{
					Agent: []string{"ada", "bob", "eve"}[rnd.IntN(3)], Model: []string{"m1", "m2"}[rnd.IntN(2)],
					At: clk.Now().AddDate(0, 0, rnd.IntN(40)-20),
				}
				most := price.Money(rnd.IntN(30)) * cent
				want := s.fits(rules, call, most)
				r, err := l.Reserve(call, most, 0)
				if err != nil && !errors.As(err, new(*Exceeded)) || (err == nil) != want {
					t.Fatalf("seed %d: %+v for %s: %v, want admitted %v", seed, call, exact(most), err, want)
				}
				if err == nil {
					c := &simpleCall{call: call, day: call.At.Format(time.DateOnly), month: call.At.Format("2006-01"), most: most, state: "open"}
					s.calls = append(s.calls, c)
					open[c] = r
					admitted++
				} else {
					kept++
				}
			case n < 97:
				for c, r := range open {
					delete(open, c)
					if rnd.IntN(4) == 0 {
						c.state = "released"
						r.Release()
					} else {
						c.state, c.cost = "settled", price.Money(rnd.Int64N(int64(c.most)+int64(cent)))
						r.Settle(c.cost, 0)
					}
					break
				}
			default: // those under way stay reserved from here on
				must(t, l.Close())
				clear(open)
				l = openFor(t, dir, clk)
				noDamage(t, l)
			}
		}
		if admitted < 50 || kept < 20 {
			t.Fatalf("seed %d: %d admitted, %d refused: it tries too little", seed, admitted, kept)
		}
		must(t, l.Close())
	}
}
