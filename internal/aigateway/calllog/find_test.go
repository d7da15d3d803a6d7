package calllog

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// mixed makes calls that differ in everything that a filter looks at.
func mixed(t *testing.T, l *Log, n int) []Call {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var calls []Call
	for i := range n {
		c := Call{ID: l.ids.next(noon.Add(-time.Duration(n-i) * 10 * time.Minute)), Agent: pick("ann", "bob", "cho", ""), Trigger: pick("user", "cron", ""),
			Provider: pick("anthropic", "openai"), Model: pick("m1", "m2", "m3"), Status: []int{200, 200, 200, 404, 500, 529, 0}[r.IntN(7)],
			Cache: pick("", "hit", "miss", "bypass"), Event: pick("", "", "e1", "E2-100%"), CostKnown: r.IntN(4) > 0, Cost: price.Money(r.Int64N(1000))}
		if c.Status == 200 && r.IntN(10) == 0 {
			c.Error = "cut"
		}
		if i%400 == 7 {
			c.Agent = "rare"
		}
		if !c.CostKnown {
			c.Cost = 0
		}
		if r.IntN(3) == 0 {
			c.Metadata = map[string]string{"team": pick("Blue", `say "hi"`, "under_score", "50%")}
		}
		calls = append(calls, c)
		l.Add(c)
		if i%1000 == 999 {
			flush(t, l)
		}
	}
	flush(t, l)
	slices.Reverse(calls)
	return calls
}

// means is what Filter promises, in the plainest words.
func means(f Filter, c *Call) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	if f.Agents != nil && !slices.Contains(f.Agents, c.Agent) || !is(f.Trigger, c.Trigger) || !is(f.Provider, c.Provider) ||
		!is(f.Model, c.Model) || !is(f.Cache, c.Cache) || !is(f.Event, c.Event) {
		return false
	}
	bad := c.Status == 0 || c.Status >= 400 || c.Error != ""
	switch f.Status {
	case "":
	case "error":
		if !bad {
			return false
		}
	case "broken":
		if c.Status != 200 || c.Error == "" {
			return false
		}
	case "2xx":
		if c.Status != 200 || c.Error != "" {
			return false
		}
	case "none":
		if c.Status != 0 {
			return false
		}
	default:
		if fmt.Sprint(c.Status) != f.Status {
			return false
		}
	}
	if !f.From.IsZero() && c.ID.Time().Before(f.From) || !f.To.IsZero() && !c.ID.Time().Before(f.To) {
		return false
	}
	if f.MinCost > 0 && (!c.CostKnown || c.Cost < f.MinCost) {
		return false
	}
	text := strings.ToLower(f.Text)
	return text == "" || strings.Contains(strings.ToLower(c.Event), text) || strings.Contains(strings.ToLower(c.Metadata["team"]), text)
}

func TestList(t *testing.T) {
	l, _ := open(t, Options{})
	calls := mixed(t, l, 3000) // more than the first look, so that the index of series is used too
	check(t, l)
	for _, f := range []Filter{
		{}, {Agents: []string{"ann"}}, {Agents: []string{"ann", "rare"}}, {Agents: []string{"rare"}}, {Agents: []string{}},
		{Agents: []string{""}}, {Agents: []string{"nobody"}}, {Trigger: "cron"}, {Provider: "openai", Model: "m2"},
		{Status: "error"}, {Status: "broken"}, {Status: "2xx"}, {Status: "404"}, {Status: "200"}, {Status: "none"}, {Status: "418"},
		{MinCost: 990}, {MinCost: 1}, {Cache: "hit"}, {Cache: "nonsense"}, {Event: "e1"}, {Event: "e1", Agents: []string{"bob"}},
		{Text: "blue"}, {Text: `"`}, {Text: "%"}, {Text: "_"}, {Text: "0%"}, {Text: "e2-"}, {Text: "team"}, {Text: "nowhere"},
		{From: noon.Add(-72 * time.Hour)}, {To: noon.Add(-500 * time.Hour)}, {From: noon.Add(-300 * time.Hour), To: noon.Add(-299 * time.Hour)},
		{From: noon, To: noon.Add(-time.Hour)}, {From: time.Unix(-10, 0)}, {To: time.Unix(-10, 0)}, {To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Agents: []string{"rare"}, MinCost: 500}, {Agents: []string{"rare"}, Text: "blue"}, {Agents: []string{"rare"}, From: noon.Add(-400 * time.Hour)},
		{Agents: []string{"' OR 1 --", `"]`, "ann"}, Model: "' OR 1 --"},
	} {
		var want []ID
		for i := range calls {
			// The name of a metadata entry is text in it too.
			if means(f, &calls[i]) || f.Text == "team" && calls[i].Metadata != nil || f.Text == `"` && calls[i].Metadata["team"] == `say "hi"` {
				want = append(want, calls[i].ID)
			}
		}
		for _, limit := range []int{7, 500} {
			if got := listAll(t, l, f, limit); !slices.Equal(got, want) {
				t.Errorf("%+v by %d: %d calls, want %d", f, limit, len(got), len(want))
			}
		}
	}
}

// listAll pages through a listing.
func listAll(t *testing.T, l *Log, f Filter, limit int) (ids []ID) {
	t.Helper()
	var before ID
	for {
		p, err := l.List(t.Context(), f, before, limit)
		if err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		for _, c := range p.Calls {
			ids = append(ids, c.ID)
		}
		if len(p.Calls) > limit {
			t.Fatalf("%+v: %d calls at once", f, len(p.Calls))
		}
		if p.Next.IsZero() {
			return ids
		}
		if !before.IsZero() && p.Next.key() >= before.key() {
			t.Fatalf("%+v: does not go on", f)
		}
		before = p.Next
	}
}

func TestFilterRefused(t *testing.T) {
	l, _ := open(t, Options{})
	for _, f := range []Filter{{Status: "999"}, {Status: "0"}, {Status: "+200"}, {Status: "?"}, {Text: strings.Repeat("x", 201)},
		{Agents: make([]string, 10_001)}} {
		if _, err := l.List(t.Context(), f, ID{}, 0); !errors.Is(err, ErrFilter) {
			t.Errorf("%.100v: error %v", f, err)
		}
	}
	if _, err := l.Series(t.Context(), Query{Agents: make([]string, 10_001)}, None); !errors.Is(err, ErrFilter) {
		t.Errorf("error %v", err)
	}
	if err := l.Export(t.Context(), &bytes.Buffer{}, Filter{}, "xml"); !errors.Is(err, ErrFilter) {
		t.Errorf("error %v", err)
	}
	l.Add(full(l.NewID()))
	flush(t, l)
	if _, err := l.Top(t.Context(), Query{}, "planet", 3); !errors.Is(err, ErrFilter) {
		t.Errorf("error %v", err)
	}
}

// A listing of what is nowhere in many calls ends after so much was looked at, and
// goes on from there.
func TestLookIsBounded(t *testing.T) {
	l, _ := open(t, Options{})
	mixed(t, l, 3000)
	c, err := l.choose(t.Context(), Filter{Text: "nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.walk(t.Context(), &c, 50, 1000)
	if err != nil || len(p.Calls) != 0 || p.Next.IsZero() {
		t.Fatalf("%d calls, next %v, %v", len(p.Calls), p.Next, err)
	}
	// 1000 of 3000 were looked at: 2000 are before that.
	var left int
	if err := l.calls.read.QueryRow("SELECT count(*) FROM calls WHERE id < ?", p.Next.key()).Scan(&left); err != nil || left != 2000 {
		t.Errorf("%d left, %v", left, err)
	}
}

// Whole tables are not read and nothing is sorted, however the statistics are.
func TestPlans(t *testing.T) {
	l, _ := open(t, Options{})
	mixed(t, l, 500)
	for _, q := range []struct {
		query string
		args  []any
		want  []string
	}{
		{selectCalls + "c.id < ? AND c.id >= ? AND +c.series IN (SELECT value FROM json_each(?)) ORDER BY c.id DESC LIMIT ?",
			[]any{1 << 62, 0, "[1]", 50}, []string{"SEARCH c USING INTEGER PRIMARY KEY", "SEARCH s USING INTEGER PRIMARY KEY", "SEARCH f USING INTEGER PRIMARY KEY"}},
		{selectCalls + "c.event = ? AND c.id < ? AND c.id >= ? ORDER BY c.id DESC LIMIT ?", []any{"e", 1 << 62, 0, 50},
			[]string{"SEARCH c USING INDEX calls_event (event=? AND rowid>? AND rowid<?)"}},
		{"SELECT id FROM calls INDEXED BY calls_series WHERE series = ? AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?", []any{1, 1 << 62, 0, 5},
			[]string{"SEARCH calls USING COVERING INDEX calls_series (series=? AND rowid>? AND rowid<?)"}},
	} {
		rows, err := l.calls.read.Query("EXPLAIN QUERY PLAN "+q.query, q.args...)
		if err != nil {
			t.Fatal(err)
		}
		var plan strings.Builder
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			plan.WriteString(detail + "\n")
		}
		rows.Close()
		for _, want := range q.want {
			if !strings.Contains(plan.String(), want) {
				t.Errorf("%s\nis not in the plan of %s:\n%s", want, q.query, plan.String())
			}
		}
		if strings.Contains(plan.String(), "TEMP B-TREE FOR ORDER") || strings.Contains(plan.String(), "SCAN c") {
			t.Errorf("plan of %s:\n%s", q.query, plan.String())
		}
	}
}

func TestExport(t *testing.T) {
	l, _ := open(t, Options{})
	calls := mixed(t, l, 1200) // several pages
	evil := full(l.NewID())
	evil.Agent, evil.Model, evil.Event, evil.Key = "=1+1", "@SUM(A1)", "-2", "'quoted"
	l.Add(evil)
	if err := l.Feedback(t.Context(), evil.ID, Feedback{Vote: -1, Comment: " \n=cmd|' /C calc'!A0,\"\n"}); err != nil {
		t.Fatal(err)
	}
	calls = slices.Insert(calls, 0, evil)

	var out bytes.Buffer
	if err := l.Export(t.Context(), &out, Filter{}, CSV); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != len(calls)+1 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	column := func(row int, name string) string { return rows[row][slices.Index(rows[0], name)] }
	for name, want := range map[string]string{"id": evil.ID.String(), "time": "2026-11-26T12:00:00.000Z", "agent": "'=1+1", "model": "'@SUM(A1)",
		"event_id": "'-2", "key_name": "''quoted", "feedback": "-1", "comment": "' \n=cmd|' /C calc'!A0,\"\n",
		"cost_usd": "0.000123456789", "saved_usd": "0.000000000042", "first_byte_ms": "300", "metadata": `{"quote":"\"<&>\"","team":"blue"}`} {
		if got := column(1, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for i := range calls {
		if column(i+1, "id") != calls[i].ID.String() || (column(i+1, "cost_usd") == "") == calls[i].CostKnown {
			t.Fatalf("row %d is %v", i, rows[i+1])
		}
	}

	for _, format := range []Format{JSON, NDJSON} {
		out.Reset()
		if err := l.Export(t.Context(), &out, Filter{}, format); err != nil {
			t.Fatal(err)
		}
		var got []map[string]any
		if format == JSON {
			err = json.Unmarshal(out.Bytes(), &got)
		} else {
			for line := range strings.Lines(out.String()) {
				var one map[string]any
				err = errors.Join(err, json.Unmarshal([]byte(line), &one))
				got = append(got, one)
			}
		}
		if err != nil || len(got) != len(calls) {
			t.Fatalf("%s: %d calls, %v", format, len(got), err)
		}
		if got[0]["agent"] != "=1+1" || got[0]["cost_usd"] != "0.000123456789" || got[0]["input_tokens"] != 1.0 || got[0]["comment"] == "" {
			t.Errorf("%s: %v", format, got[0])
		}
		// The table's header and the objects name the same things.
		for _, name := range csvHeader {
			if _, ok := got[0][name]; !ok || len(got[0]) != len(csvHeader) {
				t.Errorf("%s: no %s among %d", format, name, len(got[0]))
			}
		}
	}
	for format, want := range map[Format]string{JSON: "[\n\n]\n", NDJSON: "", CSV: strings.Join(csvHeader, ",") + "\n"} {
		out.Reset()
		if err := l.Export(t.Context(), &out, Filter{Agents: []string{}}, format); err != nil || out.String() != want {
			t.Errorf("%s of nothing: %q, %v", format, out.String(), err)
		}
	}
	if err := l.Export(t.Context(), gone{}, Filter{}, CSV); err == nil || !strings.Contains(err.Error(), "hung up") {
		t.Errorf("error %v", err)
	}
}

// gone is a reader who left.
type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, errors.New("hung up") }

func TestDollars(t *testing.T) {
	for m, want := range map[price.Money]string{0: "0", 1: "0.000000000001", price.Dollar: "1", 15 * price.Dollar / 10: "1.5",
		1<<63 - 1: "9223372.036854775807", 100 * price.Dollar: "100"} {
		if got := dollars(m); got != want {
			t.Errorf("%d: %s, want %s", m, got, want)
		}
	}
}

func TestInert(t *testing.T) {
	for s, want := range map[string]string{"": "", "a=1": "a=1", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@x": "'@x", "\t=1": "'\t=1", "\r\n=1": "'\r\n=1",
		" =1": "' =1", "'=1": "''=1", "＝1": "'＝1", "gpt-4": "gpt-4", "   ": "   "} {
		if got := inert(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}
