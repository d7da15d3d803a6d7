package calllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
	"github.com/moltworker/moltworker/internal/remedy"
)

// noon is a Thursday.
var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// clock is set by hand.
type clock struct {
	mu sync.Mutex // guards at
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = t
}

func open(t *testing.T, opts Options) (*Log, *clock) {
	t.Helper()
	c := &clock{at: noon}
	if opts.Path == "" {
		opts.Path = filepath.Join(t.TempDir(), "calls.sqlite")
	}
	if opts.Now == nil {
		opts.Now = c.now
	}
	l, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, c
}

func flush(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// check recounts everything that is kept: the sums of hours and days and the number
// of rows must be exactly what the rows say.
func check(t *testing.T, l *Log) {
	t.Helper()
	var rows, said int64
	if err := l.calls.read.QueryRow("SELECT (SELECT count(*) FROM calls), rows FROM state").Scan(&rows, &said); err != nil {
		t.Fatal(err)
	}
	if rows != said || rows != l.Stats().Calls {
		t.Errorf("%d rows, but %d are said to be there, and Stats says %d", rows, said, l.Stats().Calls)
	}
	var sound string
	if err := l.calls.read.QueryRow("PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
		t.Errorf("integrity: %s, %v", sound, err)
	}
	series := map[int64]int64{}
	pairs, err := l.calls.read.Query("SELECT id, series FROM calls")
	if err != nil {
		t.Fatal(err)
	}
	defer pairs.Close()
	for pairs.Next() {
		var id, s int64
		if err := pairs.Scan(&id, &s); err != nil {
			t.Fatal(err)
		}
		series[id] = s
	}
	want := map[string]sums{"hours": {}, "days": {}}
	high := int64(1<<63 - 1)
	for {
		calls, err := l.read(t.Context(), "c.id < ?", []any{high}, &choice{all: true}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for i := range calls {
			key := calls[i].ID.key()
			want["hours"].count((key>>21)/3_600_000, series[key], &calls[i])
			want["days"].count((key>>21)/86_400_000, series[key], &calls[i])
			high = key
		}
		if len(calls) == 0 {
			break
		}
	}
	for table, sums := range want {
		if got := stored(t, l, table); !reflect.DeepEqual(got, sums) {
			t.Errorf("%s: there are %d sums that differ from the %d that the rows give", table, len(got), len(sums))
		}
	}
}

func stored(t *testing.T, l *Log, table string) sums {
	t.Helper()
	rows, err := l.calls.read.Query("SELECT start, series, " + strings.Join(sumColumns, ", ") + ", took, first FROM " + table)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := sums{}
	for rows.Next() {
		var at cell
		var s Sums
		if err := s.scan(rows, &at.start, &at.series); err != nil {
			t.Fatal(err)
		}
		out[at] = &s
	}
	return out
}

// full is a call with everything set.
func full(id ID) Call {
	return Call{ID: id, Agent: "ann", Trigger: "cron", Provider: "anthropic", Model: "claude-sonnet-5-5", Asked: "sonnet",
		Endpoint: "/v1/messages", Status: 200, Error: "cut", Stream: true,
		Usage: usage.Usage{Input: 1, CacheRead: 2, CacheWrite5m: 3, CacheWrite1h: 4, AudioInput: 5, Output: 6, AudioOutput: 7,
			Reasoning: 8, Images: 9, WebSearches: 10, Seconds: 1.25, Model: "claude-sonnet-5-5-20260901", Tier: "priority", Known: true, Estimated: true},
		Cost: 123_456_789, CostKnown: true, Saved: 42, Took: 1500 * time.Millisecond, FirstByte: 300 * time.Millisecond,
		Attempts: 2, Step: 1, Cache: "miss", Key: "work", Metadata: map[string]string{"team": "blue", "quote": `"<&>"`},
		Event: "event-1", Guards: []string{"email"}, RequestBytes: 1000, ResponseBytes: 2000}
}

func TestRoundTrip(t *testing.T) {
	l, _ := open(t, Options{})
	whole := full(l.NewID())
	l.Add(whole)
	bare := Call{ID: l.NewID(), Asked: "some-model"}
	l.Add(bare)
	flush(t, l)
	got, err := l.Get(t.Context(), whole.ID)
	if err != nil || !reflect.DeepEqual(got, whole) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, whole)
	}
	bare.Model = "some-model" // it is counted as what was asked for
	if got, err = l.Get(t.Context(), bare.ID); err != nil || !reflect.DeepEqual(got, bare) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, bare)
	}
	if got.CostKnown {
		t.Error("a cost that nobody knows came back as known")
	}
	check(t, l)
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "calls.sqlite")
	l, _ := open(t, Options{Path: path})
	a := full(l.NewID())
	l.Add(a)
	if err := l.Close(); err != nil { // writes what waits
		t.Fatal(err)
	}
	l.Add(full(l.NewID()))
	if s := l.Stats(); s.Written != 1 || s.Dropped != 1 || s.Queued != 0 {
		t.Errorf("after Close: %+v", s)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	l, _ = open(t, Options{Path: path})
	b := full(l.NewID()) // of a series that is there
	l.Add(b)
	flush(t, l)
	page, err := l.List(t.Context(), Filter{}, ID{}, 0)
	if err != nil || len(page.Calls) != 2 {
		t.Fatalf("%d calls, %v", len(page.Calls), err)
	}
	check(t, l)
}

func TestOpenForeign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "calls.sqlite")
	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Options{Path: path})
	if err == nil || !strings.Contains(remedy.Of(err), path) {
		t.Errorf("error %v, remedy %q", err, remedy.Of(err))
	}

	l, _ := open(t, Options{})
	if _, err := l.calls.write.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Path: l.opts.Path}); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("error %v", err)
	}
	if _, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "no", "where")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestSameCallTwice(t *testing.T) {
	l, _ := open(t, Options{})
	c := full(l.NewID())
	l.Add(c)
	l.Add(c)
	flush(t, l)
	l.Add(c)
	flush(t, l)
	if s := l.Stats(); s.Calls != 1 || s.Written != 1 {
		t.Errorf("%+v", s)
	}
	check(t, l)
}

func TestRun(t *testing.T) {
	l, _ := open(t, Options{})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	changed := l.Changed()
	l.Add(full(l.NewID()))
	<-changed
	if l.Stats().Written != 1 {
		t.Errorf("%+v", l.Stats())
	}
	select {
	case <-l.Changed():
		t.Error("there is nothing new since")
	default:
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Many add while it runs and is closed: each call is written or counted as dropped.
func TestManyAtOnce(t *testing.T) {
	l, _ := open(t, Options{Queue: 100})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	const adders, each = 8, 500
	var all sync.WaitGroup
	for range adders {
		all.Go(func() {
			for range each {
				l.Add(full(l.NewID()))
			}
		})
	}
	all.Wait()
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	flush(t, l)
	s := l.Stats()
	if s.Written+s.Dropped != adders*each || s.Queued != 0 || s.Written < 100 {
		t.Errorf("%+v", s)
	}
	check(t, l)
}

// locked has another process hold the database.
func locked(t *testing.T, l *Log) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+l.opts.Path+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(tx.Rollback(), db.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestLocked(t *testing.T) {
	var waits []time.Duration
	retry := make(chan time.Time)
	asked := make(chan struct{})
	var told []string
	l, _ := open(t, Options{Queue: 10,
		After: func(d time.Duration) <-chan time.Time { waits = append(waits, d); asked <- struct{}{}; return retry },
		Fail:  func(err error, lost int64) { told = append(told, fmt.Sprintf("%d: %v", lost, err)) }})
	if _, err := l.calls.write.Exec("PRAGMA busy_timeout = 1"); err != nil {
		t.Fatal(err)
	}
	release := locked(t, l)
	for range 4 {
		l.Add(full(l.NewID()))
	}
	flushed := make(chan error, 1)
	go func() { flushed <- l.Flush(t.Context()) }()
	<-asked // the writer has 4 in hands and failed once
	for range 13 {
		l.Add(full(l.NewID())) // returns at once: 10 wait, 3 are too many
	}
	if s := l.Stats(); s.Queued != 14 || s.Dropped != 3 || s.Failures != 1 || !strings.Contains(s.Failing, "locked") {
		t.Errorf("while locked: %+v", s)
	}
	for range 6 {
		retry <- time.Time{}
		<-asked
	}
	release()
	retry <- time.Time{}
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	flush(t, l)
	if s := l.Stats(); s.Written != 14 || s.Queued != 0 || s.Dropped != 3 || s.Failures != 7 || s.Failing != "" {
		t.Errorf("after: %+v", s)
	}
	// It waits twice as long each time, up to 2 s.
	want := []time.Duration{50e6, 100e6, 200e6, 400e6, 800e6, 1600e6, 2000e6}
	if !reflect.DeepEqual(waits, want) {
		t.Errorf("waits %v", waits)
	}
	if len(told) != 1 { // once, not at each attempt
		t.Errorf("told %q", told)
	}
	check(t, l)
}

// The disk is full for a while.
func TestDiskFull(t *testing.T) {
	l, _ := open(t, Options{After: func(time.Duration) <-chan time.Time { return nil }})
	if _, err := l.calls.write.Exec("PRAGMA max_page_count = 1"); err != nil { // as many as there are
		t.Fatal(err)
	}
	next := someCalls(&l.ids, 3000, noon, time.Hour)
	for i := range 3000 {
		l.Add(next(i))
	}
	ctx, stop := context.WithCancel(t.Context())
	l.opts.After = func(time.Duration) <-chan time.Time { stop(); return nil }
	if err := l.Flush(ctx); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("error %v", err)
	}
	if s := l.Stats(); s.Queued != 3000 || s.Dropped != 0 || s.Calls != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := l.calls.write.Exec("PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	flush(t, l)
	if s := l.Stats(); s.Queued != 0 || s.Dropped != 0 || s.Calls != 3000 {
		t.Errorf("%+v", s)
	}
	check(t, l)
}

// A batch that the database refuses for what is in it does not stop those after it.
func TestRefused(t *testing.T) {
	var lost []int64
	again := make(chan time.Time)
	close(again)
	l, _ := open(t, Options{After: func(time.Duration) <-chan time.Time { return again },
		Fail: func(_ error, n int64) { lost = append(lost, n) }})
	if _, err := l.calls.write.Exec(`CREATE TRIGGER no BEFORE INSERT ON calls WHEN new.event = 'no' BEGIN SELECT RAISE(ABORT, 'no'); END`); err != nil {
		t.Fatal(err)
	}
	bad := full(l.NewID())
	bad.Event = "no"
	l.Add(bad)
	flush(t, l)
	l.Add(full(l.NewID()))
	flush(t, l)
	if s := l.Stats(); s.Dropped != 1 || s.Written != 1 || s.Failures != 3 || s.Failing != "" || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
	if !reflect.DeepEqual(lost, []int64{0, 1}) { // when it began, and when the call was lost
		t.Errorf("told %v", lost)
	}
	check(t, l)
}

// Closing ends although the database stays locked.
func TestCloseLocked(t *testing.T) {
	l, _ := open(t, Options{})
	release := locked(t, l)
	defer release()
	l.Add(full(l.NewID()))
	l.Add(full(l.NewID()))
	ctx, stop := context.WithCancel(t.Context())
	l.opts.After = func(time.Duration) <-chan time.Time { stop(); return nil } // patience ends after the first attempt
	l.closed.Store(true)
	err := l.end(ctx)
	if err == nil || !strings.Contains(err.Error(), "2 calls were not recorded") {
		t.Errorf("error %v", err)
	}
	if s := l.Stats(); s.Dropped != 2 {
		t.Errorf("%+v", s)
	}
}

func TestClockJumps(t *testing.T) {
	l, clock := open(t, Options{})
	seen := map[ID]bool{}
	for _, at := range []time.Time{noon, noon.AddDate(1, 0, 0), noon.Add(-time.Hour), noon, noon,
		time.Unix(-5, 0), {}, time.Unix(0, 0), time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC)} {
		clock.set(at)
		for range 100 {
			c := full(l.NewID())
			if seen[c.ID] {
				t.Fatalf("ID %v twice", c.ID)
			}
			seen[c.ID] = true
			l.Add(c)
		}
	}
	clock.set(noon)
	flush(t, l)
	if s := l.Stats(); s.Calls != 900 {
		t.Errorf("%+v", s)
	}
	var before ID
	n := 0
	for {
		p, err := l.List(t.Context(), Filter{}, before, 70)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.Calls {
			if !before.IsZero() && c.ID.String() >= before.String() {
				t.Fatalf("%v comes after %v", c.ID, before)
			}
			before = c.ID
			n++
		}
		if p.Next.IsZero() {
			break
		}
	}
	if n != 900 {
		t.Errorf("%d calls listed", n)
	}
	check(t, l)
}

func TestID(t *testing.T) {
	l, clock := open(t, Options{})
	a := l.NewID()
	if !a.Time().Equal(noon) || len(a.String()) != 26 {
		t.Errorf("%v, %v", a, a.Time())
	}
	clock.set(noon.Add(time.Millisecond))
	if b := l.NewID(); b.String() <= a.String() {
		t.Errorf("%v does not sort after %v", b, a)
	}
	if got, err := ParseID(a.String()); err != nil || got != a {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"", "x", strings.ToUpper(a.String()), a.String() + "0", strings.Repeat("z", 26), strings.Repeat("u", 26),
		a.String()[:25] + "1", strings.Repeat("0", 1<<20)} {
		if got, err := ParseID(s); err == nil {
			t.Errorf("%.40q is taken for %v", s, got)
		}
	}
}

func TestFeedback(t *testing.T) {
	l, _ := open(t, Options{})
	c := full(l.NewID())
	l.Add(c) // still waits when feedback on it comes
	score := 70
	if err := l.Feedback(t.Context(), c.ID, Feedback{Vote: 1, Score: &score, Comment: "good\n\x00" + strings.Repeat("é", 2000)}); err != nil {
		t.Fatal(err)
	}
	got, err := l.Get(t.Context(), c.ID)
	if err != nil || got.Feedback == nil || got.Feedback.Vote != 1 || *got.Feedback.Score != 70 {
		t.Fatalf("%+v, %v", got.Feedback, err)
	}
	if f := got.Feedback.Comment; !strings.HasPrefix(f, "good\n\ufffdéé") || len(f) > 2000 {
		t.Errorf("comment of %d bytes: %.20q", len(f), f)
	}
	if err := l.Feedback(t.Context(), c.ID, Feedback{Vote: -1}); err != nil {
		t.Fatal(err)
	}
	if got, _ := l.Get(t.Context(), c.ID); got.Feedback.Vote != -1 || got.Feedback.Score != nil || got.Feedback.Comment != "" {
		t.Errorf("%+v", got.Feedback)
	}
	guess := c.ID // all that sorts is known, the rest is not
	guess[15]++
	if err := l.Feedback(t.Context(), guess, Feedback{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if _, err := l.Get(t.Context(), guess); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	for _, f := range []Feedback{{Vote: 2}, {Vote: -2}, {Score: ptr(-1)}, {Score: ptr(101)}} {
		if err := l.Feedback(t.Context(), c.ID, f); !errors.Is(err, ErrFilter) {
			t.Errorf("%+v: error %v", f, err)
		}
	}
}

func ptr[T any](v T) *T { return &v }

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		status int
		err    string
		want   string
		bad    bool
	}{
		{200, "", "2xx", false}, {200, "cut", "broken", true}, {404, "", "4xx", true}, {429, "limit", "4xx", true}, {529, "", "5xx", true},
		{0, "", "none", true}, {0, "unreachable", "none", true}, {101, "", "1xx", false}, {302, "", "3xx", false}, {99, "", "none", true},
		{600, "", "none", true}, {-200, "", "none", true}, {1 << 40, "", "none", true},
	} {
		o := (&Call{Status: c.status, Error: c.err}).Outcome()
		if o.String() != c.want || o.isError() != c.bad {
			t.Errorf("%d %q: %v", c.status, c.err, o)
		}
	}
}

// Sums stay at the largest number.
func TestVeryLargeNumbers(t *testing.T) {
	l, _ := open(t, Options{})
	for range 12 {
		c := full(l.NewID())
		c.Cost, c.Saved, c.Usage.Input, c.Usage.Seconds, c.Took = 1<<62, -5, 1<<62, 1e300, 1<<62
		l.Add(c)
	}
	flush(t, l)
	s, err := l.Totals(t.Context(), Query{})
	if err != nil {
		t.Fatal(err)
	}
	// A call counts for at most 1e6 dollars and 1e12 tokens: 12e18 pico-dollars are
	// more than there can be.
	if s.Cost != 1<<63-1 || s.Saved != 0 || s.Input != 12e12 || s.Tokens() != 12e12+12*(2+3+4+5+6+7) || s.Millis != 12e12 {
		t.Errorf("%+v", s)
	}
	got, err := l.List(t.Context(), Filter{MinCost: 1_000_000 * price.Dollar}, ID{}, 0)
	if err != nil || len(got.Calls) != 12 {
		t.Errorf("%d calls, %v", len(got.Calls), err)
	}
	check(t, l)
}
