package calllog

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// cost is a call that cost so much at a time.
func cost(l *Log, at time.Time, agent string, m price.Money) Call {
	return Call{ID: l.ids.next(at), Agent: agent, Model: "m", Status: 200, Cost: m, CostKnown: true, Took: time.Second}
}

func TestSeries(t *testing.T) {
	l, _ := open(t, Options{})
	day := func(n int) time.Time { return time.Date(2026, 11, n, 23, 30, 0, 0, time.UTC) }
	unpriced := cost(l, day(2), "bob", 0)
	unpriced.CostKnown, unpriced.Status, unpriced.Model = false, 529, "n"
	hit := cost(l, day(2).Add(20*time.Minute), "ann", 0)
	hit.Cache, hit.Saved, hit.Usage = "hit", 9, usage.Usage{Input: 5, CacheRead: 7, Output: 11}
	for _, c := range []Call{cost(l, day(1), "ann", 10), cost(l, day(1), "bob", 20), cost(l, day(2), "ann", 30), unpriced, hit,
		cost(l, day(2).Add(30*time.Minute), "ann", 100)} { // midnight: the third
		l.Add(c)
	}
	flush(t, l)
	check(t, l)
	show := func(q Query, g Group) string {
		points, err := l.Series(t.Context(), q, g)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, p := range points {
			fmt.Fprintf(&b, "%s %s %d/%d; ", p.Start.Format("02T15"), p.Group, p.Cost, p.Calls)
		}
		return b.String()
	}
	whole := Query{From: day(1), To: day(2)} // days that the times are in
	hours := Query{Unit: Hour, From: day(1), To: day(2).Add(40 * time.Minute)}
	for _, c := range []struct {
		q    Query
		g    Group
		want string
	}{
		{whole, None, "01T00  30/2; 02T00  30/3; "},
		{whole, ByAgent, "01T00 ann 10/1; 01T00 bob 20/1; 02T00 ann 30/2; 02T00 bob 0/1; "},
		{hours, None, "01T23  30/2; 02T23  30/3; 03T00  100/1; "},
		{Query{From: day(1), To: time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)}, None, "01T00  30/2; "}, // To is not in it
		{Query{Agents: []string{"bob"}}, ByModel, "01T00 m 20/1; 02T00 n 0/1; "},
		{Query{Agents: []string{}}, None, ""},
		{Query{Model: "m", From: day(2)}, ByOutcome, "02T00 2xx 30/2; 03T00 2xx 100/1; "},
	} {
		if got := show(c.q, c.g); got != c.want {
			t.Errorf("%+v by %s:\n%s\nwant\n%s", c.q, c.g, got, c.want)
		}
	}
	s, err := l.Totals(t.Context(), Query{})
	if err != nil || s.Calls != 6 || s.Cost != 160 || s.Errors != 1 || s.Unpriced != 1 || s.Hits != 1 || s.Saved != 9 || s.Tokens() != 23 {
		t.Errorf("%+v, %v", s, err)
	}
	top, err := l.Top(t.Context(), Query{}, ByAgent, 5)
	if err != nil || len(top) != 2 || top[0].Group != "ann" || top[0].Cost != 140 || top[1].Calls != 2 {
		t.Errorf("%+v, %v", top, err)
	}
	if top, _ = l.Top(t.Context(), Query{}, ByAgent, 1); len(top) != 1 {
		t.Errorf("%d", len(top))
	}
}

// Of many groups the cheapest are shown as one.
func TestSeriesOfMany(t *testing.T) {
	l, _ := open(t, Options{})
	for i := range 30 {
		l.Add(cost(l, noon, fmt.Sprintf("agent-%02d", i), price.Money(i)))
	}
	flush(t, l)
	points, err := l.Series(t.Context(), Query{}, ByAgent)
	if err != nil || len(points) != 20 {
		t.Fatalf("%d points, %v", len(points), err)
	}
	// 29 to 11 are the 19 most expensive; 0 to 10 cost 55 together.
	i := slices.IndexFunc(points, func(p Point) bool { return p.Group == Other })
	if i < 0 || points[i].Cost != 55 || points[i].Calls != 11 || points[1].Group != "agent-11" {
		t.Errorf("%+v", points)
	}
}

// An agent that makes names up does not fill the sums, nor take other agents' room.
func TestModelsMadeUp(t *testing.T) {
	l, _ := open(t, Options{})
	for i := range 3000 {
		l.Add(Call{ID: l.NewID(), Agent: "evil", Asked: fmt.Sprintf("model-%d", i), Status: 404})
	}
	flush(t, l)
	good := Call{ID: l.NewID(), Agent: "good", Asked: "model", Status: 200}
	l.Add(good)
	flush(t, l)
	var n int
	if err := l.calls.read.QueryRow("SELECT count(*) FROM series WHERE agent = 'evil'").Scan(&n); err != nil || n != maxSeriesOfAgent+1 {
		t.Errorf("%d series, %v", n, err)
	}
	page, err := l.List(t.Context(), Filter{Agents: []string{"evil"}, Model: Other}, ID{}, 1)
	if err != nil || len(page.Calls) != 1 || page.Calls[0].Asked != "model-2999" || page.Calls[0].Model != "model-2999" {
		t.Errorf("%+v, %v", page, err)
	}
	if s, err := l.Totals(t.Context(), Query{Model: Other}); err != nil || s.Calls != 2000 {
		t.Errorf("%d calls, %v", s.Calls, err)
	}
	if c, err := l.Get(t.Context(), good.ID); err != nil || c.Model != "model" {
		t.Errorf("%+v, %v", c, err)
	}
	if s, err := l.Totals(t.Context(), Query{Model: "model"}); err != nil || s.Calls != 1 {
		t.Errorf("%d calls, %v", s.Calls, err)
	}
	check(t, l)
}

func TestForecast(t *testing.T) {
	const d = price.Dollar
	november := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	tests := []struct {
		name  string
		first time.Time // every day from here on costs 1 dollar, and Sundays 8, up to yesterday
		today price.Money
		month time.Time
		want  Forecast
	}{
		// Today is Thursday the 26th. 1 to 25 November have the Sundays 1, 8, 15, 22: 21*1 + 4*8 = 53.
		// To come: 26, 27, 28, 30 at 1 and Sunday 29 at 8: 12.
		{"a whole month", november.AddDate(0, -1, 0), 0, noon, Forecast{Spent: 53 * d, Expected: 65 * d, Days: 28, Enough: true}},
		{"today has cost some", november.AddDate(0, -1, 0), d / 2, noon, Forecast{Spent: 53*d + d/2, Expected: 65 * d, Days: 28, Enough: true}},
		{"today has cost more", november.AddDate(0, -1, 0), 5 * d, noon, Forecast{Spent: 58 * d, Expected: 69 * d, Days: 28, Enough: true}},
		// From the 19th: seven days with Sunday 22: 6 + 8 = 14.
		{"a week", noon.AddDate(0, 0, -7), 0, noon, Forecast{Spent: 14 * d, Expected: 26 * d, Days: 7, Enough: true}},
		{"too little", noon.AddDate(0, 0, -6), 0, noon, Forecast{Spent: 13 * d, Expected: 13 * d, Days: 6}},
		{"only today", noon, 3 * d, noon, Forecast{Spent: 3 * d, Expected: 3 * d}},
		{"nothing", time.Time{}, 0, noon, Forecast{}},
		// October has the Sundays 4, 11, 18, 25: 27*1 + 4*8.
		{"a month that is over", november.AddDate(0, -1, 0), 0, november.AddDate(0, 0, -1), Forecast{Spent: 59 * d, Expected: 59 * d, Days: 28, Enough: true}},
		// December has the Sundays 6, 13, 20, 27.
		{"a month to come", november.AddDate(0, -1, 0), 0, november.AddDate(0, 1, 0), Forecast{Spent: 0, Expected: 59 * d, Days: 28, Enough: true}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			l, _ := open(t, Options{})
			for day := c.first; !day.IsZero() && day.Before(startOfDay(noon)); day = day.AddDate(0, 0, 1) {
				m := d
				if day.Weekday() == time.Sunday {
					m = 8 * d
				}
				l.Add(cost(l, day, "ann", m))
			}
			if c.today > 0 {
				l.Add(cost(l, noon, "ann", c.today))
			}
			flush(t, l)
			got, err := l.Forecast(t.Context(), c.month, Query{})
			if err != nil || got != c.want {
				t.Errorf("%+v, %v\nwant %+v", got, err, c.want)
			}
			if got, err = l.Forecast(t.Context(), c.month, Query{Agents: []string{"bob"}}); err != nil || got.Spent != 0 || got.Expected != 0 {
				t.Errorf("of nobody: %+v, %v", got, err)
			}
		})
	}
}

func TestQuantiles(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{1, 2, 10, 1000, 20_000} {
		var h Histogram
		var all []time.Duration
		for range n {
			d := time.Duration(math.Exp(r.NormFloat64()*2) * float64(time.Second))
			d = min(max(d, firstBound), 3*time.Hour)
			all = append(all, d)
			h.count(bucketOf(d), 1)
		}
		slices.Sort(all)
		for _, q := range []float64{0, 0.5, 0.95, 0.99, 1} {
			want := all[max(int(math.Ceil(q*float64(n)))-1, 0)]
			if got := h.Quantile(q); math.Abs(float64(got)/float64(want)-1) > 0.1 {
				t.Errorf("%v of %d: %v, want %v", q, n, got, want)
			}
		}
		var back Histogram
		if err := back.decode(h.encode()); err != nil || !slices.Equal(back.counts, h.counts) {
			t.Errorf("%v came back as %v, %v", h, back, err)
		}
	}
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	h.count(bucketOf(0), 1)
	if got := h.Quantile(0.5); got != 64*time.Microsecond {
		t.Errorf("%v", got)
	}
	for _, q := range []float64{-1, 2, math.Inf(1)} {
		if got := h.Quantile(q); got != 64*time.Microsecond {
			t.Errorf("%v: %v", q, got)
		}
	}
	if h.Quantile(math.NaN()) != 0 {
		t.Error("a quantile of no number")
	}
	// 128 us * 2^(106/4) = 12 148 s.
	h = Histogram{}
	h.count(bucketOf(1000*time.Hour), 1)
	if got := h.Quantile(1).Round(time.Second); got != 12148*time.Second {
		t.Errorf("%v", got)
	}
}

func FuzzHistogram(f *testing.F) {
	var h Histogram
	h.count(0, 3)
	h.count(107, 1<<40)
	for _, seed := range [][]byte{nil, h.encode(), {0}, {107, 1}, {108, 1}, {0, 1, 107, 1}, bytes.Repeat([]byte{0xff}, 20)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Histogram
		if err := h.decode(b); err != nil {
			if !errors.Is(err, errHistogram) {
				t.Error(err)
			}
			return
		}
		for _, n := range h.counts {
			if n < 0 {
				t.Errorf("a count of %d", n)
			}
		}
		var back Histogram
		if err := back.decode(h.encode()); err != nil || back.Count() != h.Count() || back.Quantile(0.9) != h.Quantile(0.9) {
			t.Errorf("%v came back as %v, %v", h, back, err)
		}
	})
}
