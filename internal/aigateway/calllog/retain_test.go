package calllog

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func tidy(t *testing.T, l *Log) {
	t.Helper()
	if err := l.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestMaxCalls(t *testing.T) {
	l, _ := open(t, Options{MaxCalls: 2500})
	next := someCalls(&l.ids, 6000, noon, 6*time.Hour)
	var newest Call
	var oldest Call
	for i := range 6000 {
		newest = next(i)
		if i == 0 {
			oldest = newest
		}
		l.Add(newest)
		if i == 0 {
			flush(t, l)
			if err := l.Feedback(t.Context(), oldest.ID, Feedback{Vote: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if i%1000 == 999 {
			flush(t, l)
			if s := l.Stats(); s.Calls > 2500 {
				t.Fatalf("%+v", s)
			}
		}
	}
	if s := l.Stats(); s.Calls != 2500 || s.Written != 6000 {
		t.Errorf("%+v", s)
	}
	if _, err := l.Get(t.Context(), newest.ID); err != nil {
		t.Error(err)
	}
	if _, err := l.Get(t.Context(), oldest.ID); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	var left int
	if err := l.calls.read.QueryRow("SELECT count(*) FROM feedback").Scan(&left); err != nil || left != 0 {
		t.Errorf("%d feedback left, %v", left, err)
	}
	// The sums know of all.
	if s, err := l.Totals(t.Context(), Query{}); err != nil || s.Calls != 6000 {
		t.Errorf("%d, %v", s.Calls, err)
	}
	// A lower bound is reached by tidying, 20 000 at a time.
	l.opts.MaxCalls = 100
	tidy(t, l)
	if s := l.Stats(); s.Calls != 100 {
		t.Errorf("%+v", s)
	}
}

func TestMaxAge(t *testing.T) {
	l, clock := open(t, Options{MaxAge: 24 * time.Hour})
	next := someCalls(&l.ids, 480, noon, 48*time.Hour) // one every 6 minutes
	for i := range 480 {
		l.Add(next(i))
	}
	flush(t, l)
	if s := l.Stats(); s.Calls != 240 {
		t.Errorf("%+v", s)
	}
	clock.set(noon.Add(12 * time.Hour))
	changed := l.Changed()
	tidy(t, l)
	if s := l.Stats(); s.Calls != 120 {
		t.Errorf("%+v", s)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody is told")
	}
	clock.set(noon.AddDate(0, 0, -3)) // the clock is put back: nothing is old
	tidy(t, l)
	if s := l.Stats(); s.Calls != 120 {
		t.Errorf("%+v", s)
	}
}

// A clock that is years ahead for a moment costs a bounded number of calls.
func TestClockAhead(t *testing.T) {
	l, clock := open(t, Options{MaxAge: 24 * time.Hour})
	next := someCalls(&l.ids, 5000, noon, time.Hour)
	for i := range 5000 {
		l.Add(next(i))
	}
	flush(t, l)
	clock.set(noon.AddDate(10, 0, 0))
	if err := l.letGo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if s := l.Stats(); s.Calls != 4000 {
		t.Errorf("%+v", s)
	}
}

func TestMaxBytes(t *testing.T) {
	l, _ := open(t, Options{MaxBytes: 1 << 20})
	next := someCalls(&l.ids, 20_000, noon, time.Hour)
	for i := range 20_000 {
		c := next(i)
		c.Metadata["long"] = strings.Repeat("x", 250)
		l.Add(c)
		if i%2000 == 1999 {
			flush(t, l)
		}
	}
	all, unused, size, err := l.calls.pages(t.Context())
	if err != nil || (all-unused)*size > 2<<20 {
		t.Errorf("%d of %d pages unused, %v", unused, all, err)
	}
	if s := l.Stats(); s.Calls < 1000 || s.Written != 20_000 {
		t.Errorf("%+v", s)
	}
	// What is unused is given back when it is much.
	l.opts.MaxCalls = 1
	for range 5 {
		tidy(t, l)
	}
	now, _, _, err := l.calls.pages(t.Context())
	if err != nil || now > all/2 {
		t.Errorf("%d pages after %d, %v", now, all, err)
	}
}

func TestGiveBack(t *testing.T) {
	l, _ := open(t, Options{})
	next := someCalls(&l.ids, 20_000, noon, time.Hour)
	for i := range 20_000 {
		l.Add(next(i))
		if i%2000 == 1999 {
			flush(t, l)
		}
	}
	before, _, _, err := l.calls.pages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.opts.MaxCalls = 10
	tidy(t, l)
	_, unused, _, err := l.calls.pages(t.Context())
	if err != nil || unused > unusedLeast && unused*unusedShare > before {
		t.Errorf("%d of %d pages are unused, %v", unused, before, err)
	}
	for range 10 {
		if err := l.calls.giveBack(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
	}
	if _, now, _, _ := l.calls.pages(t.Context()); now != max(unused-100, 0) {
		t.Errorf("%d unused pages after %d, and 100 were given back", now, unused)
	}
	if s := l.Stats(); s.Calls != 10 {
		t.Errorf("%+v", s)
	}
}

func TestSumsAge(t *testing.T) {
	l, clock := open(t, Options{MaxCalls: 1, HourAge: 48 * time.Hour, DayAge: 10 * 24 * time.Hour})
	for i := range 20 { // 7 to 26 November
		c := cost(l, noon.AddDate(0, 0, i-19), "ann", 1)
		if i == 0 {
			c.Model = "old"
		}
		l.Add(c)
	}
	flush(t, l)
	tidy(t, l) // at most 24 hours or days from the oldest, which is all days here
	for range 30 {
		tidy(t, l)
	}
	points, err := l.Series(t.Context(), Query{}, None)
	if err != nil || len(points) != 11 || points[0].Start.Day() != 16 { // 16 to 26
		t.Errorf("%d days, %v", len(points), err)
	}
	points, err = l.Series(t.Context(), Query{Unit: Hour}, None)
	if err != nil || len(points) != 3 || points[0].Start.Day() != 24 {
		t.Errorf("%d hours, %v", len(points), err)
	}
	var n int
	if err := l.calls.read.QueryRow("SELECT count(*) FROM series").Scan(&n); err != nil || n != 1 || len(l.writer.series) != 1 {
		t.Errorf("%d series, %v", n, err)
	}
	// The series that is gone is made again when it is needed.
	c := cost(l, noon, "ann", 1)
	c.Model = "old"
	l.Add(c)
	flush(t, l)
	if s, err := l.Totals(t.Context(), Query{Model: "old"}); err != nil || s.Calls != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	clock.set(noon.AddDate(5, 0, 0))
	for range 50 {
		tidy(t, l)
	}
	if s, err := l.Totals(t.Context(), Query{}); err != nil || s.Calls != 0 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestPayload(t *testing.T) {
	l, clock := open(t, Options{MaxPayloadBytes: 1 << 30, PayloadAge: time.Hour})
	c := full(l.NewID())
	long := bytes.Repeat([]byte("abc "), 1<<19) // 2 MiB
	c.Payload = &Payload{Request: []byte("a question"), Response: long}
	l.Add(c)
	none, empty := full(l.NewID()), full(l.NewID())
	empty.Payload = &Payload{}
	l.Add(none)
	l.Add(empty)
	flush(t, l)
	p, err := l.Payload(t.Context(), c.ID)
	if err != nil || string(p.Request) != "a question" || !bytes.Equal(p.Response, long[:1<<20]) || p.RequestCut || !p.ResponseCut {
		t.Errorf("%d, %d bytes, %v, %v, %v", len(p.Request), len(p.Response), p.RequestCut, p.ResponseCut, err)
	}
	if _, err := l.Payload(t.Context(), none.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if p, err := l.Payload(t.Context(), empty.ID); err != nil || len(p.Request)+len(p.Response) != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	guess := c.ID
	guess[15]++
	if _, err := l.Payload(t.Context(), guess); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if l.waiting.Load() != 0 {
		t.Errorf("%d bytes seem to wait", l.waiting.Load())
	}
	clock.set(noon.Add(2 * time.Hour))
	tidy(t, l)
	if _, err := l.Payload(t.Context(), c.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if _, err := l.Get(t.Context(), c.ID); err != nil { // the call stays
		t.Error(err)
	}
	if _, err := l.payloads.write.Exec("INSERT INTO payloads VALUES (?, 'junk', 'junk', 0)", c.ID.key()); err == nil {
		t.Error("text was taken for bytes")
	}
	if _, err := l.payloads.write.Exec("INSERT INTO payloads VALUES (?, x'00112233', x'28b52ffd', 0)", c.ID.key()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Payload(t.Context(), c.ID); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

// noise cannot be compressed.
func noise(n int) []byte {
	r := rand.NewChaCha8([32]byte{7})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

func TestPayloadsAreBounded(t *testing.T) {
	l, _ := open(t, Options{MaxPayloadBytes: 4 << 20})
	var ids []ID
	body := noise(100 << 10)
	for range 20 {
		for range 10 {
			c := full(l.NewID())
			c.Payload = &Payload{Request: body}
			ids = append(ids, c.ID)
			l.Add(c)
		}
		flush(t, l)
		all, unused, size, err := l.payloads.pages(t.Context())
		if err != nil || (all-unused)*size > 4<<20 {
			t.Fatalf("%d of %d pages unused, %v", unused, all, err)
		}
	}
	if _, err := l.Payload(t.Context(), ids[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if info, err := os.Stat(l.opts.Path + "-payloads"); err != nil || info.Size() > 16<<20 || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// With their calls, payloads go.
	l.opts.MaxCalls = 1
	tidy(t, l)
	var n int
	if err := l.payloads.read.QueryRow("SELECT count(*) FROM payloads").Scan(&n); err != nil || n > 1 {
		t.Errorf("%d left, %v", n, err)
	}
}

// Payloads that wait are bounded in bytes; their calls are kept all the same.
func TestPayloadsWait(t *testing.T) {
	l, _ := open(t, Options{MaxPayloadBytes: 1 << 30})
	body := make([]byte, 1<<20)
	for range 40 {
		c := full(l.NewID())
		c.Payload = &Payload{Request: body}
		l.Add(c)
	}
	// 32 MiB hold 31 of 1 MiB and a byte each.
	if s := l.Stats(); s.Queued != 40 || s.Dropped != 0 || s.DroppedPayloads != 9 {
		t.Errorf("%+v", s)
	}
	flush(t, l)
	if s := l.Stats(); s.Calls != 40 || l.waiting.Load() != 0 {
		t.Errorf("%+v", s)
	}
	// A payload file that is broken costs payloads only.
	if _, err := l.payloads.write.Exec("DROP TABLE payloads"); err != nil {
		t.Fatal(err)
	}
	c := full(l.NewID())
	c.Payload = &Payload{Request: body}
	l.Add(c)
	flush(t, l)
	if s := l.Stats(); s.Calls != 41 || s.DroppedPayloads != 10 || !strings.Contains(s.Failing, "payloads") {
		t.Errorf("%+v", s)
	}
}

func TestNoPayloads(t *testing.T) {
	l, _ := open(t, Options{})
	c := full(l.NewID())
	c.Payload = &Payload{Request: []byte("a question")}
	l.Add(c)
	flush(t, l)
	if _, err := l.Payload(t.Context(), c.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(l.opts.Path + "-payloads"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a file of payloads: %v", err)
	}
}

// Who wants nothing kept any more of what was said has it deleted with that.
func TestPayloadsAreForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "calls.sqlite")
	with, err := Open(t.Context(), Options{Path: path, MaxPayloadBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	c := full(with.NewID())
	c.Payload = &Payload{Request: []byte("a question nobody is to read")}
	with.Add(c)
	if err := with.Close(); err != nil {
		t.Fatal(err)
	}
	if found, _ := filepath.Glob(path + payloadsSuffix + "*"); len(found) == 0 {
		t.Fatal("nothing was kept")
	}
	without, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer without.Close()
	if found, _ := filepath.Glob(path + payloadsSuffix + "*"); len(found) != 0 {
		t.Errorf("still there: %v", found)
	}
	if _, err := without.Payload(t.Context(), c.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if _, err := without.Get(t.Context(), c.ID); err != nil {
		t.Errorf("the call went with it: %v", err)
	}
}
