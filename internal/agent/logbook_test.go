package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openTestBook(t *testing.T) *logbook {
	t.Helper()
	l, err := openLogbook(filepath.Join(t.TempDir(), "logs", "agent.log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.close() })
	return l
}

func mustAppend(t *testing.T, l *logbook, e LogEntry) {
	t.Helper()
	if err := l.append(e); err != nil {
		t.Fatal(err)
	}
}

func texts(entries []LogEntry) string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Text)
	}
	return strings.Join(all, " ")
}

func TestLogSurvivesTheHost(t *testing.T) {
	l := openTestBook(t)
	mustAppend(t, l, LogEntry{Text: "a", Boot: "b1", Seq: 7})
	mustAppend(t, l, LogEntry{Text: "from the host", Stream: "host"})
	l.close()

	again, err := openLogbook(l.path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.close()
	if got := again.resume("b1"); got != 7 {
		t.Errorf("resumes after event %d of the same guest; want 7", got)
	}
	if got := again.resume("b2"); got != 0 {
		t.Errorf("resumes after event %d of a new guest; want 0", got)
	}
}

func TestTornLineIsPassedOver(t *testing.T) {
	l := openTestBook(t)
	mustAppend(t, l, LogEntry{Text: "whole"})
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "{\"time\":\"2026-\n")
	f.Close()
	mustAppend(t, l, LogEntry{Text: "after"})
	entries, err := l.tail(10)
	if err != nil || texts(entries) != "whole after" {
		t.Errorf("got %q, %v", texts(entries), err)
	}
}

func TestLogIsBounded(t *testing.T) {
	l := openTestBook(t)
	line := strings.Repeat("x", 64<<10)
	for i := range 5 * logFileSize / len(line) {
		mustAppend(t, l, LogEntry{Text: line, Seq: uint64(i)})
	}
	files, err := filepath.Glob(l.path + "*")
	if err != nil || len(files) != logFileCount {
		t.Fatalf("files %v, %v; want %d", files, err, logFileCount)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > logFileSize {
			t.Errorf("%s has %d bytes, %v; want at most %d", f, info.Size(), err, logFileSize)
		}
	}
}

func TestFollowMissesNothingAfterTheTail(t *testing.T) {
	l := openTestBook(t)
	mustAppend(t, l, LogEntry{Text: "old"})
	ctx, cancel := context.WithCancel(t.Context())
	entries, later, err := l.follow(ctx, 10)
	if err != nil || texts(entries) != "old" {
		t.Fatalf("tail %q, %v", texts(entries), err)
	}
	mustAppend(t, l, LogEntry{Text: "new"})
	if e := <-later; e.Text != "new" {
		t.Errorf("followed %q; want new", e.Text)
	}
	cancel()
	for range later { // ends
	}
}

func TestLaggingFollowerDoesNotHoldUpTheLog(t *testing.T) {
	l := openTestBook(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, later, err := l.follow(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * logFollowers {
		mustAppend(t, l, LogEntry{Text: "x"})
	}
	if len(later) != logFollowers {
		t.Errorf("%d entries wait; want the bound %d", len(later), logFollowers)
	}
}
