package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// told is what of the log is about denials, oldest first: "from action: detail".
func told(t *testing.T, l *Log) []string {
	t.Helper()
	list, err := l.List(t.Context(), Filter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := len(list) - 1; i >= 0; i-- {
		lines = append(lines, fmt.Sprintf("%s %s: %s", list[i].From, list[i].Action, list[i].Detail))
	}
	return lines
}

func want(t *testing.T, l *Log, lines ...string) {
	t.Helper()
	if got := told(t, l); strings.Join(got, "\n") != strings.Join(lines, "\n") {
		t.Errorf("recorded\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

func deny(t *testing.T, l *Log, n int, from string) {
	t.Helper()
	for range n {
		l.Denied(t.Context(), Event{Action: "signin.denied", From: from, Detail: "wrong token"})
	}
}

func TestDenialsOfOneAddressAreSummedUp(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	ctx := t.Context()
	first := "192.0.2.1 signin.denied: wrong token"
	deny(t, l, 1, "192.0.2.1")
	want(t, l, first)
	r.forward(10 * time.Second)
	deny(t, l, 100_000-1, "192.0.2.1")
	want(t, l, first)
	if err := l.summarize(ctx, false); err != nil {
		t.Fatal(err)
	}
	want(t, l, first) // the minute is not over
	r.forward(50 * time.Second)
	if err := l.summarize(ctx, false); err != nil {
		t.Fatal(err)
	}
	sum := "192.0.2.1 signin.denied: 99999 more since 2025-06-15T15:06:50Z"
	want(t, l, first, sum)
	deny(t, l, 3, "192.0.2.1:4711")
	if err := l.summarize(ctx, false); err != nil {
		t.Fatal(err)
	}
	want(t, l, first, sum)
	if err := l.Flush(ctx); err != nil { // at the stop there is no waiting
		t.Fatal(err)
	}
	last := "192.0.2.1 signin.denied: 3 more since 2025-06-15T15:07:40Z"
	want(t, l, first, sum, last)
	// After a quiet minute the next one is a first one.
	r.forward(time.Minute)
	if err := l.summarize(ctx, false); err != nil {
		t.Fatal(err)
	}
	deny(t, l, 1, "192.0.2.1")
	want(t, l, first, sum, last, first)
}

func TestDenialsWithoutAnAddressAndOfNetworks(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	deny(t, l, 2, "")
	deny(t, l, 1, "2001:db8::1")
	deny(t, l, 4, "2001:db8::ffff")
	deny(t, l, 1, "::ffff:192.0.2.9")
	deny(t, l, 1, "192.0.2.9")
	l.Denied(t.Context(), Event{From: "192.0.2.9"})
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, l,
		" signin.denied: wrong token", "2001:db8::1 signin.denied: wrong token",
		"::ffff:192.0.2.9 signin.denied: wrong token", "192.0.2.9 denied: ",
		"2001:db8::/64 signin.denied: 4 more since 2025-06-15T15:06:40Z",
		" signin.denied: 1 more since 2025-06-15T15:06:40Z", "192.0.2.9 signin.denied: 1 more since 2025-06-15T15:06:40Z")
}

func TestFloodFromManyAddressesIsBounded(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	ctx := t.Context()
	const minutes, each = 10, 10_000
	for minute := range minutes {
		for i := range each {
			n := minute*each + i
			l.Denied(ctx, Event{Action: fmt.Sprintf("kind%d.denied", n%40), From: fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255), Detail: strings.Repeat("x", 2000)})
		}
		if n := len(l.denials.counted); n > maxCounted+maxActions+1 {
			t.Fatalf("%d addresses are counted, want at most %d", n, maxCounted+maxActions+1)
		}
		r.forward(time.Minute)
		if err := l.summarize(ctx, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	lines := told(t, l)
	perMinute := int(time.Minute/firstRefill) + maxSummaries + maxActions + 40 + 1
	if len(lines) > firstBurst+minutes*perMinute || len(lines) < firstBurst {
		t.Errorf("%d entries in %d minutes, want at most %d", len(lines), minutes, firstBurst+minutes*perMinute)
	}
	// None is lost from the count.
	total := 0
	for _, line := range lines {
		var n int
		_, detail, _ := strings.Cut(line, ": ")
		if _, err := fmt.Sscanf(strings.TrimPrefix(detail, "first of "), "%d", &n); err != nil {
			n = 1
		}
		total += n
	}
	if total != minutes*each {
		t.Errorf("the entries tell of %d denials, want %d", total, minutes*each)
	}
	if _, problems := verifyOf(t, l); problems != "" {
		t.Error(problems)
	}
	t.Logf("%d entries", len(lines))
}

func TestDenialsWaitForTheDisk(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	recordTo(t, l, 1)
	var failures []error
	l.Failed = func(err error) { failures = append(failures, err) }
	r.remove(HeadFile)
	if err := os.MkdirAll(filepath.Join(r.headFile(), "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	deny(t, l, 3, "192.0.2.1")
	if len(failures) != 1 {
		t.Errorf("told of %v, want one failure", failures)
	}
	if err := l.Flush(t.Context()); err == nil {
		t.Error("nobody says that the number could not be recorded")
	}
	if err := os.RemoveAll(r.headFile()); err != nil {
		t.Fatal(err)
	}
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := told(t, l)
	if got := lines[len(lines)-1]; got != "192.0.2.1 signin.denied: first of 3 since 2025-06-15T15:06:40Z; wrong token" {
		t.Errorf("at last: %s", got)
	}
}

func TestRunRecordsTheRestAtItsEnd(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	deny(t, l, 5, "192.0.2.1")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("stop"))
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	want(t, l, "192.0.2.1 signin.denied: wrong token", "192.0.2.1 signin.denied: 4 more since 2025-06-15T15:06:40Z")
}

func TestManyAreDeniedAtOnce(t *testing.T) {
	r := newRoom(t)
	l, _ := r.open()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				deny(t, l, 1, fmt.Sprintf("192.0.2.%d", i%4))
			}
			if err := l.Flush(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, problems := verifyOf(t, l); problems != "" {
		t.Error(problems)
	}
}
