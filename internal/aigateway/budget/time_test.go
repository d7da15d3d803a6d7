package budget

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

func TestPeriodsAreThoseOfTheCalendar(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones on this host")
	}
	for _, c := range []struct {
		at            string
		day           int32
		dayEnd, month string
	}{
		{"2026-01-31T22:59:59Z", 2026_01_31, "2026-01-31T23:00:00Z", "2026-01-31T23:00:00Z"},
		{"2026-01-31T23:00:00Z", 2026_02_01, "2026-02-01T23:00:00Z", "2026-02-28T23:00:00Z"},
		{"2026-03-29T10:00:00Z", 2026_03_29, "2026-03-29T22:00:00Z", "2026-03-31T22:00:00Z"}, // a day of 23 hours
		{"2026-12-31T12:00:00Z", 2026_12_31, "2026-12-31T23:00:00Z", "2026-12-31T23:00:00Z"},
	} {
		at, _ := time.Parse(time.RFC3339, c.at)
		day := dayOf(at, berlin)
		if day != c.day {
			t.Errorf("%s: day %d, want %d", c.at, day, c.day)
		}
		for p, want := range map[Period]string{Day: c.dayEnd, Month: c.month} {
			if got := p.resets(day, berlin).UTC().Format(time.RFC3339); got != want {
				t.Errorf("%s: the %s ends %s, want %s", c.at, p, got, want)
			}
		}
	}
	if !Total.resets(2026_01_01, utc).IsZero() {
		t.Error("a total ends")
	}
	for _, year := range []int{-5000, 0, 10_000, 200_000} {
		if d := dayOf(time.Date(year, 6, 6, 0, 0, 0, 0, utc), utc); d < 1_01_01 || d > 9999_12_31 {
			t.Errorf("year %d is day %d", year, d)
		}
	}
}

func TestClockJumps(t *testing.T) {
	clk, dir := newClock(), t.TempDir()
	l := openFor(t, dir, clk)
	setRules(t, l, Rule{ID: "d", Period: Day, Limit: 10 * cent}, Rule{ID: "m", Period: Month, Limit: 15 * cent}, Rule{ID: "t", Period: Total, Limit: price.Dollar})
	today := clk.Now()
	spend(t, l, Call{}, 10*cent, 0)
	refused(t, l, Call{}, cent, 0, "d")

	clk.set(today.Add(24 * time.Hour))
	spend(t, l, Call{}, 5*cent, 0)
	refused(t, l, Call{}, cent, 0, "m")
	for _, jump := range []time.Duration{0, -11 * time.Hour, 11 * time.Hour} { // back to the day that is spent
		clk.set(today.Add(jump))
		refused(t, l, Call{}, cent, 0, "m")
	}
	for year := 2030; year < 2100; year += 7 { // 10 jumps ahead, 2 cents each
		clk.set(time.Date(year, 5, 5, 0, 0, 0, 0, utc))
		spend(t, l, Call{}, 2*cent, 0)
		wantSpent(t, l, "d", 2*cent, 0)
	}
	l.Close()
	l = openFor(t, dir, clk)
	wantSpent(t, l, "t", 35*cent, 0) // 10 + 5 + 10 times 2
	clk.set(today)                   // its days are folded by now, but it is as spent as it was
	refused(t, l, Call{}, cent, 0, "m")
	setRules(t, l, Rule{ID: "d", Period: Day, Limit: 10 * cent})
	refused(t, l, Call{}, cent, 0, "d")
	clk.set(time.Date(1969, 1, 1, 0, 0, 0, 0, utc))
	spend(t, l, Call{}, 10*cent, 0)
	refused(t, l, Call{}, cent, 0, "d")
	noDamage(t, l)
}

// A call counts where it was admitted, though it ends in the next month.
func TestCallsOverMidnight(t *testing.T) {
	clk := newClock()
	clk.set(time.Date(2026, 1, 31, 23, 59, 0, 0, utc))
	l := ledger(t, clk, Rule{ID: "d", Period: Day, Limit: 10 * cent}, Rule{ID: "m", Period: Month, Limit: 10 * cent})
	r := reserve(t, l, Call{Agent: "ada"}, 6*cent, 0)
	clk.add(2 * time.Minute)
	s := reserve(t, l, Call{Agent: "ada"}, 10*cent, 0) // the new day has all of its own
	r.Settle(5*cent, 0)
	s.Settle(9*cent, 0)
	wantSpent(t, l, "d", 9*cent, 0)
	wantSpent(t, l, "m", 9*cent, 0)
	clk.add(-2 * time.Minute)
	wantSpent(t, l, "d", 5*cent, 0)
	for month, want := range map[time.Month]price.Money{1: 5 * cent, 2: 9 * cent, 3: 0} {
		var sum price.Money
		for _, row := range l.Statement(2026, month, "", "") {
			sum += row.Money
		}
		if sum != want {
			t.Errorf("month %d: %s, want %s", month, exact(sum), exact(want))
		}
	}
}

func TestRulesChangeAtRunTime(t *testing.T) {
	clk, dir := newClock(), t.TempDir()
	l := openFor(t, dir, clk)
	spend(t, l, Call{Agent: "ada", Model: "m1"}, 3*cent, 0)
	spend(t, l, Call{Agent: "bob", Model: "m2"}, 4*cent, 0)
	clk.add(24 * time.Hour)
	open := reserve(t, l, Call{Agent: "ada", Model: "m1"}, 2*cent, 0)
	spend(t, l, Call{Agent: "ada", Model: "m1"}, cent, 0)

	setRules(t, l, Rule{ID: "m", Period: Month, Limit: price.Dollar},
		Rule{ID: "ada", Period: Month, Limit: price.Dollar, Match: Match{Agent: "ada"}},
		Rule{ID: "t", Period: Total, Limit: price.Dollar})
	check := func() {
		t.Helper()
		wantSpent(t, l, "m", 8*cent, 2*cent) // 3 + 4 + 1, and what is under way
		wantSpent(t, l, "ada", 4*cent, 2*cent)
	}
	check()
	wantSpent(t, l, "t", 0, 2*cent) // a total begins when it is set
	l.Close()
	l = openFor(t, dir, clk)
	check()
	open.Settle(2*cent, 0) // of a ledger that was closed: nothing happens
	check()

	spend(t, l, Call{}, 5*cent, 0)
	wantSpent(t, l, "t", 5*cent, 2*cent)
	setRules(t, l, Rule{ID: "t", Period: Total, Limit: 6 * cent, Name: "smaller"})
	wantSpent(t, l, "t", 5*cent, 2*cent) // goes on under its ID
	refused(t, l, Call{}, cent, 0, "t")
	setRules(t, l)
	setRules(t, l, Rule{ID: "t", Period: Total, Limit: price.Dollar})
	wantSpent(t, l, "t", 0, 2*cent) // was gone, and begins anew
	spend(t, l, Call{}, cent, 0)
	l.Close()
	l = openFor(t, dir, clk)
	wantSpent(t, l, "t", cent, 2*cent)
	noDamage(t, l)
}

func TestStatements(t *testing.T) {
	clk := newClock()
	l := ledger(t, clk)
	spend(t, l, Call{Agent: "ada", Team: "r", Provider: "anthropic", Model: "=cmd", Trigger: "user"}, cent+1, 10)
	spend(t, l, Call{Agent: "ada", Team: "r", Provider: "anthropic", Model: "=cmd", Trigger: "cron"}, cent, 5)
	clk.add(24 * time.Hour)
	reserve(t, l, Call{Agent: "bob", Provider: "openai", Model: `a"b`}, 0, 0).SettleUnknown(7)
	reserve(t, l, Call{Agent: "bob", Provider: "openai", Model: "late"}, 2*cent, 3)
	clk.add(2 * time.Hour)

	rows := l.Statement(2026, 1, "", "")
	var out bytes.Buffer
	must(t, WriteCSV(&out, rows))
	want := "agent,team,provider,model,calls,tokens,usd,calls_of_unknown_price,unsettled_calls,unsettled_usd\n" +
		"ada,r,anthropic,'=cmd,2,15,0.020000000001,0,0,0.000000000000\n" +
		"bob,,openai,\"a\"\"b\",1,7,0.000000000000,1,0,0.000000000000\n" +
		"bob,,openai,late,1,3,0.020000000000,0,1,0.020000000000\n"
	if out.String() != want {
		t.Errorf("CSV\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	must(t, WriteJSON(&out, rows[:1]))
	if want := `[{"agent":"ada","team":"r","provider":"anthropic","model":"=cmd","calls":2,"tokens":15,"usd":"0.020000000001","calls_of_unknown_price":0,"unsettled_calls":0,"unsettled_usd":"0.000000000000"}]` + "\n"; out.String() != want {
		t.Errorf("JSON %s", out.String())
	}
	if got := l.Statement(2026, 1, "bob", ""); len(got) != 2 {
		t.Errorf("of bob: %+v", got)
	}
	if got := l.Statement(2026, 1, "", "r"); len(got) != 1 {
		t.Errorf("of team r: %+v", got)
	}
	for _, none := range [][2]int{{2026, 2}, {2026, 0}, {2026, 13}, {-1, 1}, {1 << 40, 1}} {
		if got := l.Statement(none[0], time.Month(none[1]), "", ""); len(got) != 0 {
			t.Errorf("%v: %+v", none, got)
		}
	}
}

// An agent that names ever new models fills neither memory nor a gap in a rule.
func TestModelNamesWithoutEnd(t *testing.T) {
	clk, dir := newClock(), t.TempDir()
	l := openFor(t, dir, clk)
	for i := range 3 * maxRowsADay {
		spend(t, l, Call{Agent: "ada", Model: "m" + strings.Repeat("x", i)}, cent, 1)
	}
	rows := l.Statement(2026, 1, "", "")
	var sum price.Money
	for _, r := range rows {
		sum += r.Money
	}
	// Names are cut at 200 bytes: "m" and 0 to 199 x are 200 names.
	if len(rows) != 200 || sum != 3*maxRowsADay*cent {
		t.Errorf("%d rows of %s", len(rows), exact(sum))
	}
	for i := range 2 * maxRowsADay {
		spend(t, l, Call{Agent: "bob", Model: "gpt-" + string(rune(0x4e00+i))}, cent, 1)
	}
	if rows := l.Statement(2026, 1, "bob", ""); len(rows) != maxRowsADay+1 {
		t.Errorf("%d rows of bob", len(rows))
	}
	setRules(t, l, Rule{ID: "gpt", Match: Match{Agent: "bob", Model: "gpt-*"}, Period: Day, Limit: 1000 * price.Dollar})
	wantSpent(t, l, "gpt", 2*maxRowsADay*cent, 0)
}
