package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/store"
)

// TestMain lets the test program be the other process of some stories.
func TestMain(m *testing.M) {
	dir := os.Getenv("AUDIT_TEST_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	err := func() error {
		ctx := context.Background()
		db, err := store.Open(ctx, filepath.Join(dir, "control.sqlite"))
		if err != nil {
			return err
		}
		defer db.Close()
		l := New(db, time.Now)
		if os.Getenv("AUDIT_TEST_ROLE") == "until killed" {
			for i := 0; ; i++ {
				if err := l.Record(ctx, Event{Action: "test.endless", Detail: fmt.Sprint(i)}); err != nil {
					return err
				}
				fmt.Println(i)
			}
		}
		for i := range 20 {
			if err := l.Record(ctx, Event{Action: "test.other", Detail: fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func other(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "AUDIT_TEST_ROLE="+role, "AUDIT_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// clock stands still until it is set forward.
type clock struct {
	mu sync.Mutex // guards at
	at time.Time
}

func newClock() *clock { return &clock{at: time.UnixMilli(1_750_000_000_123)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// room is a data directory whose log can be opened again and again.
type room struct {
	t   *testing.T
	dir string
	clock
}

func newRoom(t *testing.T) *room {
	r := &room{t: t, dir: t.TempDir()}
	r.at = newClock().at
	return r
}

// open starts a new life of the log.
func (r *room) open() (*Log, *store.DB) {
	r.t.Helper()
	db, err := store.Open(r.t.Context(), filepath.Join(r.dir, "control.sqlite"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { db.Close() })
	return New(db, r.now), db
}

// record opens the log, records events called a0, a1..., and closes it.
func (r *room) record(n int) {
	r.t.Helper()
	l, db := r.open()
	recordTo(r.t, l, n)
	if err := db.Close(); err != nil {
		r.t.Fatal(err)
	}
}

func recordTo(t *testing.T, l *Log, n int) {
	t.Helper()
	for i := range n {
		if err := l.Record(t.Context(), Event{Action: fmt.Sprintf("test.a%d", i), Agent: "main", Detail: "détail\n"}); err != nil {
			t.Fatal(err)
		}
	}
}

// tamper runs SQL behind the log's back.
func (r *room) tamper(statements ...string) {
	r.t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(r.dir, "control.sqlite"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.ExecContext(r.t.Context(), s); err != nil {
			r.t.Fatalf("%s: %v", s, err)
		}
	}
}

func (r *room) headFile() string { return filepath.Join(r.dir, HeadFile) }

// verify opens the log and returns its problems, in short.
func (r *room) verify() (Report, string) {
	r.t.Helper()
	l, db := r.open()
	defer db.Close()
	return verifyOf(r.t, l)
}

func verifyOf(t *testing.T, l *Log, noted ...Head) (Report, string) {
	t.Helper()
	report, err := l.Verify(t.Context(), noted...)
	if err != nil {
		t.Fatal(err)
	}
	return report, short(report)
}

func short(report Report) string {
	var words []string
	for _, p := range report.Problems {
		word := fmt.Sprintf("%s %d", p.Kind, p.Seq)
		if p.Through != 0 {
			word += fmt.Sprintf("-%d", p.Through)
		}
		words = append(words, word)
	}
	if report.OK != (len(words) == 0) {
		return "contradicts itself"
	}
	return strings.Join(words, ", ")
}

func TestRecordAndList(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	ctx := access.With(t.Context(), access.Principal{Kind: access.KindPerson, Name: "ann@example.com", Via: access.ViaPasskey},
		access.Place{Client: netip.MustParseAddr("192.0.2.7")})
	e := By(ctx)
	if want := (Event{Actor: "person ann@example.com", Via: "passkey", From: "192.0.2.7"}); e != want {
		t.Fatalf("by %+v, want %+v", e, want)
	}
	if e := By(t.Context()); e != (Event{}) {
		t.Fatalf("by %+v, want nobody", e)
	}
	e.Action, e.Agent, e.Target, e.Old, e.New = "device.rename", "main", "dev1", "Phone", "Ann's phone"
	if err := l.Record(ctx, e); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(ctx, Event{Actor: "x"}); err == nil {
		t.Error("an event without an action was recorded")
	}
	r.forward(1500 * time.Microsecond)
	// What has happened is recorded although the caller went away.
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := l.Record(gone, Event{Action: "agent.restart", Agent: "work"}); err != nil {
		t.Fatal(err)
	}
	list, err := l.List(ctx, Filter{})
	if err != nil || len(list) != 2 {
		t.Fatalf("%d entries, %v; want 2", len(list), err)
	}
	second, first := list[0], list[1]
	if first.Seq != 1 || first.Event != e || first.Prev != nothing || first.Damaged || first.Time.Format(time.RFC3339Nano) != "2025-06-15T15:06:40.123Z" {
		t.Errorf("first entry: %+v", first)
	}
	if second.Seq != 2 || second.Prev != first.Hash || second.Action != "agent.restart" || second.Time.UnixMilli() != 1_750_000_000_124 {
		t.Errorf("second entry: %+v", second)
	}
	for _, test := range []struct {
		filter Filter
		want   int64 // the first one listed
		n      int
	}{
		{Filter{Limit: 1}, 2, 1}, {Filter{Before: 2}, 1, 1}, {Filter{After: 1}, 2, 1}, {Filter{Action: "device."}, 1, 1},
		{Filter{Agent: "work"}, 2, 1}, {Filter{Actor: "person ann@example.com"}, 1, 1}, {Filter{After: 2}, 0, 0},
	} {
		list, err := l.List(ctx, test.filter)
		if err != nil || len(list) != test.n || test.n > 0 && list[0].Seq != test.want {
			t.Errorf("%+v: %+v, %v", test.filter, list, err)
		}
		back, err := ParseFilter(test.filter.Query())
		if err != nil || back != test.filter {
			t.Errorf("%+v came back as %+v, %v", test.filter, back, err)
		}
	}
	if f, err := ParseFilter(url.Values{"limit": {"99999999999"}}); err != nil || f.Limit != 1000 {
		t.Errorf("a huge limit became %d, %v", f.Limit, err)
	}
	for _, bad := range []string{"after=-1", "limit=x", "before=99999999999999999999"} {
		q, _ := url.ParseQuery(bad)
		if _, err := ParseFilter(q); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestListingIsBounded(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	huge := strings.Repeat("\x01", 5000)
	for range 60 {
		if err := l.Record(t.Context(), Event{Action: "a", Actor: huge, Via: huge, From: huge, Agent: huge, Target: huge, Old: huge, New: huge, Detail: huge}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := l.List(t.Context(), Filter{})
	if err != nil || len(list) >= 60 || len(list) < 20 || list[0].Damaged {
		t.Fatalf("%d entries, %v; want those that fit", len(list), err)
	}
	if _, problems := verifyOf(t, l); problems != "" {
		t.Error(problems)
	}
}

func TestFieldsAreCleanAndBounded(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	l.Redact = func(s string) string { return strings.ReplaceAll(s, "hunter2", "[PASSWORD]") }
	ctx := t.Context()
	e := Event{
		Action: "agent.exec", Agent: "a\x00b", Target: "log\nline \x1b[31m \u202etxt", Old: strings.Repeat("é", 600),
		New: "bad \xff\xfe utf-8", Detail: "login --password hunter2 " + strings.Repeat("x", 1<<20), Actor: "person 😀 \"q\" \\",
	}
	if err := l.Record(ctx, e); err != nil {
		t.Fatal(err)
	}
	list, err := l.List(ctx, Filter{})
	if err != nil || list[0].Damaged {
		t.Fatalf("%+v, %v", list, err)
	}
	got := list[0].Event
	if got.Target != e.Target || got.Actor != e.Actor || got.Agent != "a\ufffdb" || got.New != "bad \ufffd utf-8" {
		t.Errorf("%q", got)
	}
	if len(got.Old) > maxField || !strings.HasSuffix(got.Old, "é…") || len(got.Detail) != maxField || !strings.HasPrefix(got.Detail, "login --password [PASSWORD] x") {
		t.Errorf("cut to %d and %d bytes: %.60q", len(got.Old), len(got.Detail), got.Detail)
	}
	if v := Visible(got.Target); v != `log\nline \x1b[31m \u202etxt` {
		t.Errorf("shown as %s", v)
	}
	if v := Visible("plain é 😀"); v != "plain é 😀" {
		t.Errorf("shown as %s", v)
	}
	if _, problems := verifyOf(t, l); problems != "" {
		t.Error(problems)
	}
}

func TestHeads(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	for text, want := range map[string]Head{"0:" + nothing: {}, "7:" + hash: {7, hash}} {
		got, err := ParseHead(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", ":", "7", "7:", "-7:" + hash, "07:" + hash, "7:" + hash + "0", "7:" + strings.ToUpper(hash), "0:" + hash, "x:" + hash} {
		if h, err := ParseHead(bad); err == nil {
			t.Errorf("%q became %+v", bad, h)
		}
	}
}

func TestCrashBetweenEntryAndHeadFile(t *testing.T) {
	r := newRoom(t)
	l, db := r.open()
	// Before the first entry's head is written, and before a later one's.
	for _, n := range []int64{1, 2, 3} {
		if _, err := l.append(t.Context(), Event{Action: "test.crash"}); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil { // the process is gone
			t.Fatal(err)
		}
		if report, got := r.verify(); got != "" || report.Unanchored != 1 {
			t.Errorf("after a crash: %q, %d behind the head file; want 1", got, report.Unanchored)
		}
		l, db = r.open()
		recordTo(t, l, 1)
		if report, got := r.verify(); got != "" || report.Entries != 2*n || report.Unanchored != 0 {
			t.Errorf("after going on: %q, %+v", got, report)
		}
	}
}

func TestHeadFileThatCannotBeWritten(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	recordTo(t, l, 2)
	r.remove(HeadFile)
	if err := os.MkdirAll(filepath.Join(r.headFile(), "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(t.Context(), Event{Action: "test.a"}); err == nil {
		t.Error("recorded, although a cut would not be found")
	}
	if err := os.RemoveAll(r.headFile()); err != nil {
		t.Fatal(err)
	}
	recordTo(t, l, 1)
	if report, got := verifyOf(t, l); got != "" || report.Unanchored != 0 {
		t.Errorf("when it can be written again: %q, %+v", got, report)
	}
}

func TestKilledWhileRecording(t *testing.T) {
	r := newRoom(t)
	for round := range 5 {
		cmd := other(t, "until killed", r.dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The process is killed somewhere behind some entry.
		told := -1
		for told < 3+round {
			if _, err := fmt.Fscanln(out, &told); err != nil {
				t.Fatal(err)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := fmt.Fscanln(out, &told); err != nil {
				break
			}
		}
		var ended *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("the process that records: %v", err)
		}
		l, db := r.open()
		report, got := verifyOf(t, l)
		list, err := l.List(t.Context(), Filter{Limit: 1})
		if err != nil || got != "" || report.Unanchored > 1 {
			t.Fatalf("after a kill: %q, %+v, %v", got, report, err)
		}
		var newest int
		if _, err := fmt.Sscan(list[0].Detail, &newest); err != nil || newest < told {
			t.Errorf("the newest entry is %d, but %d was said to be recorded", newest, told)
		}
		db.Close()
	}
}

func TestManyRecordAtOnce(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	watch := l.Watch(t.Context())
	processes := []*exec.Cmd{other(t, "20", r.dir), other(t, "20", r.dir)}
	for _, cmd := range processes {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 10 {
				if err := l.Record(t.Context(), Event{Action: "test.own", Detail: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
				if _, err := l.Verify(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, cmd := range processes {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	report, got := verifyOf(t, l)
	if got != "" || report.Entries != 120 || report.Unanchored != 0 {
		t.Errorf("%q, %+v; want 120 sound entries", got, report)
	}
	last := int64(0)
	for range 80 {
		e := <-watch
		if e.Seq <= last || e.Action != "test.own" {
			t.Errorf("saw entry %d %s after %d", e.Seq, e.Action, last)
		}
		last = e.Seq
	}
}

func TestWatchersThatAreTooSlow(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	ctx, cancel := context.WithCancel(t.Context())
	leaves, slow := l.Watch(ctx), l.Watch(t.Context())
	recordTo(t, l, 1)
	if e := <-leaves; e.Seq != 1 || e.Action != "test.a0" || e.Prev != nothing || !isHash(e.Hash) {
		t.Errorf("saw %+v", e)
	}
	cancel()
	for range leaves { // is closed
	}
	l.mu.Lock()
	l.publish(make([]Entry, maxBehind+1))
	l.mu.Unlock()
	n := 0
	for range slow {
		n++
	}
	if n != maxBehind {
		t.Errorf("a slow watcher saw %d entries, want %d and the end", n, maxBehind)
	}
	for range maxWatchers {
		l.Watch(t.Context())
	}
	if _, open := <-l.Watch(t.Context()); open {
		t.Error("one watcher too many sees something")
	}
}

func TestReadOnly(t *testing.T) {
	r := newRoom(t)
	r.record(3)
	db, err := store.OpenReadOnly(t.Context(), filepath.Join(r.dir, "control.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	l := New(db, r.now)
	if report, got := verifyOf(t, l); got != "" || report.Entries != 3 {
		t.Errorf("%q, %+v", got, report)
	}
	if err := l.Record(t.Context(), Event{Action: "x"}); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("%v; want ErrReadOnly", err)
	}
}
