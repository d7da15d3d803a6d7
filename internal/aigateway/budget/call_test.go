package budget

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

func TestRulesThatMatchAreCheckedTogether(t *testing.T) {
	ada := Call{Agent: "ada", Team: "research", Provider: "anthropic", Model: "claude-opus-4", Trigger: "user"}
	bob := Call{Agent: "bob", Team: "sales", Provider: "openai", Model: "gpt-5", Trigger: "cron"}
	for name, c := range map[string]struct {
		rule     Rule
		ada, bob bool // refused
	}{
		"for all":            {Rule{Period: Day, Limit: cent}, true, true},
		"for an agent":       {Rule{Period: Day, Limit: cent, Match: Match{Agent: "ada"}}, true, false},
		"for a team":         {Rule{Period: Month, Limit: cent, Match: Match{Team: "sales"}}, false, true},
		"for some models":    {Rule{Period: Total, Limit: cent, Match: Match{Model: "claude-*"}}, true, false},
		"for a trigger":      {Rule{Period: Day, Limit: cent, Match: Match{Trigger: "cron"}}, false, true},
		"two conditions":     {Rule{Period: Day, Limit: cent, Match: Match{Agent: "bob", Provider: "anthropic"}}, false, false},
		"in tokens":          {Rule{Period: Day, Tokens: 99, Match: Match{Agent: "a*"}}, true, false},
		"enough of both":     {Rule{Period: Day, Tokens: 100, Limit: 2 * cent, Match: Match{Agent: "a*"}}, false, false},
		"money, not tokens":  {Rule{Period: Day, Tokens: 100, Limit: cent, Match: Match{Agent: "ada"}}, true, false},
		"a star stands last": {Rule{Period: Day, Limit: cent, Match: Match{Model: "gpt-5*"}}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			c.rule.ID = "r"
			l := ledger(t, newClock(), c.rule)
			for call, want := range map[Call]bool{ada: c.ada, bob: c.bob} {
				r, err := l.Reserve(call, 2*cent, 100) // 2 cents and 100 tokens do not fit into less
				if refused := errors.As(err, new(*Exceeded)); refused != want {
					t.Errorf("%s: %v, want refused %v", call.Agent, err, want)
				}
				if err == nil {
					r.Release()
				}
			}
		})
	}
}

func TestAReservationCountsUntilItEnds(t *testing.T) {
	l := ledger(t, newClock(), Rule{ID: "day", Name: "All of us", Period: Day, Limit: 10 * cent})
	a := reserve(t, l, Call{Agent: "ada"}, 6*cent, 0)
	e := refused(t, l, Call{Agent: "bob"}, 5*cent, 0, "day") // 6 + 5 > 10
	if !e.Busy() || e.Spent != 0 || e.Reserved != 6*cent || e.Limit != 10*cent {
		t.Errorf("%+v", e)
	}
	a.Settle(7*cent, 0) // more than was reserved
	a.Settle(9*cent, 0) // only the first end counts
	a.Release()
	wantSpent(t, l, "day", 7*cent, 0)
	e = refused(t, l, Call{Agent: "bob"}, 4*cent, 0, "day") // 7 + 4 > 10, and nothing will be given back
	want := `The budget "All of us" for today has too little left for this model call: $0.07 of $0.10 are spent, and this one may need $0.04. ` +
		`It starts anew on 16 January 2026 at 00:00 UTC. For more: moltworker ai budget set day --limit AMOUNT`
	if e.Error() != want {
		t.Errorf("it says\n%s\nwant\n%s", e, want)
	}
	spend(t, l, Call{Agent: "bob"}, 3*cent, 0)
	refused(t, l, Call{Agent: "bob"}, 0, 0, "day") // all is spent: not even a call of unknown price
	if e := refused(t, l, Call{}, cent, 0, "day"); !strings.Contains(e.Error(), "is used up: $0.10 of $0.10") {
		t.Error(e)
	}
}

func TestUnknownPricesAreCounted(t *testing.T) {
	l := ledger(t, newClock(), Rule{ID: "day", Period: Day, Limit: cent, Tokens: 100})
	reserve(t, l, Call{}, 0, 40).SettleUnknown(60)
	r := ruleState(t, l, "day", "")
	if r.Calls != 1 || r.Unknown != 1 || r.SpentTokens != 60 || r.Spent != 0 || r.Fraction != 0.6 {
		t.Errorf("%+v", r)
	}
	if e := refused(t, l, Call{}, 0, 41, "day"); !e.OfTokens || !strings.Contains(e.Error(), "60 of 100 tokens are used") {
		t.Error(e)
	}
}

func TestCallsWithOneIDAreNotUnderWayTwice(t *testing.T) {
	l := ledger(t, newClock())
	r := reserve(t, l, Call{ID: "x"}, 0, 0)
	if _, err := l.Reserve(Call{ID: "x"}, 0, 0); err == nil {
		t.Error("admitted twice")
	}
	r.Release()
	reserve(t, l, Call{ID: "x"}, 0, 0).Release()
}

func TestTheRefusalThatLastsLongestIsTold(t *testing.T) {
	l := ledger(t, newClock(), Rule{ID: "d", Period: Day, Limit: cent}, Rule{ID: "t", Period: Total, Limit: cent}, Rule{ID: "m", Period: Month, Limit: cent})
	refused(t, l, Call{}, 2*cent, 0, "t")
	setRules(t, l, Rule{ID: "d", Period: Day, Limit: cent}, Rule{ID: "m", Period: Month, Limit: cent})
	if e := refused(t, l, Call{}, 2*cent, 0, "m"); !e.Resets.Equal(time.Date(2026, 2, 1, 0, 0, 0, 0, utc)) {
		t.Error(e.Resets)
	}
}

// A thousand callers at once, each with calls of up to 3 cents, and one dollar.
func TestManyCallersNeverPassALimitAndUseItUp(t *testing.T) {
	l := ledger(t, newClock(), Rule{ID: "dollar", Period: Total, Limit: price.Dollar}, Rule{ID: "each", Period: Day, Each: true, Limit: price.Dollar})
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range 1000 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			<-start
			for {
				most := 1 + price.Money(rnd.Int64N(int64(3*cent)))
				r, err := l.Reserve(Call{Agent: "ada"}, most, 1)
				var e *Exceeded
				switch {
				case errors.As(err, &e):
					if e.Spent+e.Reserved > price.Dollar {
						t.Errorf("%s spent and %s reserved of a dollar", exact(e.Spent), exact(e.Reserved))
					}
					if e.Busy() {
						continue // what is under way may cost less than was reserved
					}
					return
				case err != nil:
					t.Error(err)
					return
				}
				r.Settle(price.Money(rnd.Int64N(int64(most)+1)), 1)
			}
		})
	}
	close(start)
	all.Wait()
	r := ruleState(t, l, "dollar", "")
	if r.Reserved != 0 || r.InFlight != 0 || r.Spent > price.Dollar || r.Spent <= price.Dollar-3*cent {
		t.Errorf("spent %s, reserved %s: want more than 0.97 and no more than 1", exact(r.Spent), exact(r.Reserved))
	}
	if each := ruleState(t, l, "each", "ada"); each.Spent != r.Spent || each.Calls != r.Calls {
		t.Errorf("two rules differ: %+v %+v", each, r)
	}
}

func TestCallsWithoutAnEndCountWithTheirReservation(t *testing.T) {
	for name, c := range map[string]struct {
		end                            func(*Reservation)
		spent                          price.Money
		calls, unknown, unsettledAfter int64
	}{
		"never":             {func(*Reservation) {}, 5 * cent, 1, 0, 1},
		"late":              {func(r *Reservation) { r.Settle(2*cent, 7) }, 2 * cent, 1, 0, 0},
		"late, price lacks": {func(r *Reservation) { r.SettleUnknown(7) }, 0, 1, 1, 0},
		"late, not at all":  {func(r *Reservation) { r.Release() }, 0, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			clk, dir := newClock(), t.TempDir()
			l := openFor(t, dir, clk)
			setRules(t, l, Rule{ID: "day", Period: Day, Limit: 10 * cent})
			r := reserve(t, l, Call{}, 5*cent, 9)
			clk.add(unsettledAfter - time.Second)
			wantSpent(t, l, "day", 0, 5*cent)
			clk.add(time.Second)
			if s := ruleState(t, l, "day", ""); s.Spent != 5*cent || s.Reserved != 0 || s.Unsettled != 1 || s.UnsettledMoney != 5*cent || s.SpentTokens != 9 {
				t.Errorf("expired: %+v", s)
			}
			c.end(r)
			check := func() {
				t.Helper()
				s := ruleState(t, l, "day", "")
				if s.Spent != c.spent || s.Calls != c.calls || s.Unknown != c.unknown || s.Unsettled != c.unsettledAfter || s.UnsettledMoney != c.spent*price.Money(c.unsettledAfter) {
					t.Errorf("%+v", s)
				}
			}
			check()
			l.Close()
			l = openFor(t, dir, clk)
			check()
		})
	}
}

func TestStopsAndPauses(t *testing.T) {
	clk := newClock()
	l := ledger(t, clk)
	now := clk.Now()
	try := func(agent, trigger string, lastUser time.Time) error {
		r, err := l.Reserve(Call{Agent: agent, Trigger: trigger, LastUser: lastUser}, 0, 0)
		if err == nil {
			r.Release()
		}
		return err
	}
	want := func(err error, part string) {
		t.Helper()
		var s *Stopped
		if part == "" && err != nil || part != "" && (!errors.As(err, &s) || !strings.Contains(err.Error(), part)) {
			t.Errorf("got %v, want %q", err, part)
		}
	}
	want(try("ada", "heartbeat", now.Add(-71*time.Hour)), "")
	want(try("ada", "heartbeat", now.Add(-72*time.Hour)), "nobody has talked to it for 72 hours")
	want(try("ada", "heartbeat", time.Time{}), "") // not known
	want(try("ada", "cron", now.Add(-99*time.Hour)), "")
	must(t, l.SetHeartbeats(Heartbeats{}))
	want(try("ada", "heartbeat", now.Add(-9999*time.Hour)), "")

	must(t, l.Stop(Stop{Agent: "ada", Reason: "too dear"}))
	want(try("ada", "user", now), `agent "ada" are stopped until somebody lets them go on (too dear): moltworker ai budget resume --agent ada`)
	want(try("bob", "user", now), "")
	must(t, l.Stop(Stop{}))
	want(try("bob", "user", now), "all agents are stopped")
	must(t, l.Resume("", ""))
	must(t, l.Resume("ada", ""))
	must(t, l.Stop(Stop{Agent: "ada", Trigger: "cron"}))
	want(try("ada", "cron", now), `kind "cron"`)
	want(try("ada", "user", now), "")
	want(try("bob", "cron", now), "")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestHeartbeatsHaveABudgetForEachAgent(t *testing.T) {
	clk := newClock()
	l := ledger(t, clk)
	must(t, l.SetHeartbeats(Heartbeats{DayLimit: 2 * cent}))
	beat := func(agent string) Call { return Call{Agent: agent, Trigger: "heartbeat", LastUser: clk.Now()} }
	spend(t, l, beat("ada"), 2*cent, 0)
	if e := refused(t, l, beat("ada"), cent, 0, heartbeatID); !strings.Contains(e.Error(), `agent "ada" for heartbeats for today is used up`) {
		t.Error(e)
	}
	spend(t, l, beat("bob"), 2*cent, 0)
	spend(t, l, Call{Agent: "ada", Trigger: "user"}, 9*cent, 0)
	clk.add(12 * time.Hour) // midnight
	spend(t, l, beat("ada"), 2*cent, 0)
}

func TestCreditIsWhatWasGivenLessWhatWasSpentSince(t *testing.T) {
	clk, dir := newClock(), t.TempDir()
	l := openFor(t, dir, clk)
	ada := Call{Agent: "ada", Team: "research"}
	spend(t, l, ada, 50*cent, 0) // before there was credit: does not count
	must(t, l.AddCredit(Grant{ID: "g1", Agent: "ada", Amount: 10 * cent}))
	must(t, l.AddCredit(Grant{ID: "g1", Agent: "ada", Amount: 10 * cent})) // the same one
	spend(t, l, ada, 8*cent, 0)
	e := refused(t, l, ada, 3*cent, 0, "credit:agent:ada")
	if !strings.HasPrefix(e.Error(), `The credit of agent "ada" has too little left`) || !e.Resets.IsZero() {
		t.Error(e)
	}
	must(t, l.AddCredit(Grant{ID: "g2", Agent: "ada", Amount: cent}))
	spend(t, l, ada, 3*cent, 0)
	l.Close()
	l = openFor(t, dir, clk)
	wantSpent(t, l, "credit:agent:ada", 11*cent, 0)
	refused(t, l, ada, 0, 0, "credit:agent:ada")
	must(t, l.AddCredit(Grant{ID: "t", Team: "research", Amount: cent}))
	must(t, l.AddCredit(Grant{ID: "t2", Team: "research", Amount: -cent}))
	refused(t, l, Call{Agent: "bob", Team: "research"}, 0, 0, "credit:team:research") // all taken back
	spend(t, l, Call{Agent: "bob"}, cent, 0)
	if g := l.Grants(); len(g) != 4 || !g[0].At.Equal(clk.Now()) {
		t.Errorf("%+v", g)
	}
}

func TestWhatIsNoRuleIsNotTaken(t *testing.T) {
	ok := Rule{ID: "a", Period: Day, Limit: 1}
	l := ledger(t, newClock(), ok)
	for name, change := range map[string]func(*Rule){
		"no ID":          func(r *Rule) { r.ID = "" },
		"ID of a credit": func(r *Rule) { r.ID = "credit:agent:ada" },
		"no limit":       func(r *Rule) { r.Limit = 0 },
		"below zero":     func(r *Rule) { r.Limit = -1 },
		"no period":      func(r *Rule) { r.Period = "" },
		"star inside":    func(r *Rule) { r.Match.Model = "a*b" },
		"line break":     func(r *Rule) { r.Name = "a\nb" },
		"soft above 100": func(r *Rule) { r.SoftPercent = 101 },
	} {
		r := ok
		change(&r)
		if err := l.SetRules([]Rule{r}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := l.SetRules([]Rule{ok, ok}); err == nil {
		t.Error("two with one ID: taken")
	}
	if got := l.Rules(); len(got) != 1 || got[0] != ok {
		t.Errorf("the rules that were there are gone: %+v", got)
	}
}

func TestAlertsComeOnceInAPeriod(t *testing.T) {
	clk, dir := newClock(), t.TempDir()
	l := openFor(t, dir, clk)
	setRules(t, l, Rule{ID: "d", Period: Day, Limit: 10 * cent}, Rule{ID: "t", Period: Total, Limit: price.Dollar, SoftPercent: 9})
	want := func(ids ...string) {
		t.Helper()
		var got []string
		for len(l.Alerts()) > 0 {
			a := <-l.Alerts()
			id := a.Rule.ID
			if a.Refused {
				id += " refused"
			}
			got = append(got, id)
		}
		if strings.Join(got, ", ") != strings.Join(ids, ", ") {
			t.Errorf("alerts %q, want %q", got, ids)
		}
	}
	spend(t, l, Call{}, 7*cent, 0) // 70 % of the day, 7 % of the dollar
	want()
	spend(t, l, Call{}, cent, 0) // 80 % and 8 %
	want("d")
	spend(t, l, Call{}, cent, 0) // 90 % and 9 %
	want("t")
	l.Close()
	l = openFor(t, dir, clk)
	refused(t, l, Call{}, 2*cent, 0, "d")
	refused(t, l, Call{}, 2*cent, 0, "d")
	want("d refused")
	clk.add(24 * time.Hour)
	spend(t, l, Call{}, 8*cent, 0)
	want("d")
	setRules(t, l, Rule{ID: "d", Period: Day, Limit: 20 * cent})
	want()
	spend(t, l, Call{}, 8*cent, 0) // 16 of 20
	want("d")
	for range alertsKept + 3 { // nobody takes them
		clk.add(24 * time.Hour)
		spend(t, l, Call{}, 16*cent, 0)
	}
	if lost := l.State().LostAlerts; lost != 3 {
		t.Errorf("%d alerts lost, want 3", lost)
	}
}

func TestDollarsAreWrittenForPeople(t *testing.T) {
	for m, want := range map[price.Money]string{
		0: "$0.00", 1: "$0.000001", cent: "$0.01", 12_345_678_900_000: "$12.345679", -cent: "-$0.01", 1_500_000_000_000: "$1.50",
	} {
		if got := dollars(m); got != want {
			t.Errorf("%d pico-dollars: %s, want %s", m, got, want)
		}
	}
}

func TestRulesAreJSONThatAPersonCanRead(t *testing.T) {
	r := Rule{ID: "a", Match: Match{Agent: "ada"}, Period: Day, Limit: cent, Each: true}
	data, err := json.Marshal(r)
	var back Rule
	if err != nil || json.Unmarshal(data, &back) != nil || back != r || !strings.Contains(string(data), `"each_agent":true`) {
		t.Errorf("%s, %v: %+v", data, err, back)
	}
}

// A total that was set after a call was counted does not get back what it never had.
func TestALateEndOfACallFromBeforeATotal(t *testing.T) {
	clk, dir := newClock(), t.TempDir()
	l := openFor(t, dir, clk)
	r := reserve(t, l, Call{}, 5*cent, 0)
	clk.add(unsettledAfter)
	l.State()
	setRules(t, l, Rule{ID: "t", Period: Total, Limit: price.Dollar}, Rule{ID: "m", Period: Month, Limit: price.Dollar})
	spend(t, l, Call{}, cent, 0)
	r.Settle(2*cent, 0)
	for range 2 {
		wantSpent(t, l, "t", cent, 0)
		wantSpent(t, l, "m", 3*cent, 0)
		l.Close()
		l = openFor(t, dir, clk)
	}
}

// Rules change, pages are shown and stops come and go while calls are made.
func TestEverythingAtOnce(t *testing.T) {
	clk, dir := newClock(), t.TempDir()
	l := openFor(t, dir, clk)
	l.mu.Lock()
	l.foldAt = 20_000
	l.mu.Unlock()
	total := Rule{ID: "t", Period: Total, Limit: price.Dollar * 100}
	setRules(t, l, total)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				r, err := l.Reserve(Call{Agent: "ada"}, 2*cent, 1)
				if err != nil {
					t.Error(err)
					return
				}
				clk.add(time.Second)
				r.Settle(cent, 1)
			}
		})
	}
	all.Go(func() {
		for i := range 20 {
			if err := l.SetRules([]Rule{total, {ID: "d", Period: Day, Limit: price.Dollar * price.Money(50+i)}}); err != nil {
				t.Error(err)
			}
			l.State()
			l.Statement(2026, 1, "", "")
			if err := errors.Join(l.Stop(Stop{Agent: "bob"}), l.Resume("bob", "")); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	wantSpent(t, l, "t", 800*cent, 0)
	must(t, l.Close())
	l = openFor(t, dir, clk)
	wantSpent(t, l, "t", 800*cent, 0)
	wantSpent(t, l, "d", 800*cent, 0)
	noDamage(t, l)
}
