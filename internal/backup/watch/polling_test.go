package watch

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// crowded makes a tree of more directories than the tests allow to watch.
func crowded(t *testing.T) func(string) {
	return func(dir string) {
		for i := range 20 {
			mkdir(t, fmt.Sprintf("%s/%d", dir, i))
		}
		write(t, dir+"/7/f", "1")
		mkdir(t, dir+"/tmp")
	}
}

func TestPollingSeesEveryKindOfChange(t *testing.T) {
	wo := newWorld(t, Options{MaxWatches: 10}, crowded(t))
	wo.await("it begins to look")
	if got := wo.w.Mode(); got != "polling: there are more than 10 directories" {
		t.Errorf("mode %q", got)
	}
	for _, step := range []struct {
		what string
		do   func() error
		told bool
	}{
		{"nothing", func() error { return nil }, false},
		{"the content", func() error { return os.WriteFile(wo.path("7/f"), []byte("22"), 0) }, true},
		{"nothing", func() error { return nil }, false},
		{"the mode", func() error { return os.Chmod(wo.path("7/f"), 0o640) }, true},
		{"a directory's mode", func() error { return os.Chmod(wo.path("8"), 0o750) }, true},
		{"the root's mode", func() error { return os.Chmod(wo.dir, 0o750) }, true},
		{"the time", func() error { return os.Chtimes(wo.path("7/f"), time.Time{}, longAgo()) }, true},
		{"a new file", func() error { return os.WriteFile(wo.path("g"), nil, 0o600) }, true},
		{"a new link", func() error { return os.Symlink("/", wo.path("l")) }, true},
		{"another name", func() error { return os.Rename(wo.path("g"), wo.path("h")) }, true},
		{"a file less", func() error { return os.Remove(wo.path("h")) }, true},
		{"a file that is left out", func() error { return os.WriteFile(wo.path("x-shm"), nil, 0o600) }, false},
		{"in a directory left out", func() error { return os.WriteFile(wo.path("tmp/f"), nil, 0o600) }, false},
		{"reading", func() error { _, err := os.ReadFile(wo.path("7/f")); return err }, false},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if told := wo.look(); told != step.told {
			t.Errorf("%s: told %t, want %t", step.what, told, step.told)
		}
	}
}

// A file that was changed in the moment of a look may change again and keep its
// time of modification.
func TestWhatIsRecentCountsOnceMore(t *testing.T) {
	var now atomic.Pointer[time.Time]
	wo := newWorld(t, Options{MaxWatches: 10, now: func() time.Time { return *now.Load() }}, func(dir string) {
		crowded(t)(dir)
		made := time.Now()
		now.Store(&made)
	})
	wo.await("it begins to look")
	if !wo.look() {
		t.Error("not told of what is recent still")
	}
	later := now.Load().Add(time.Minute)
	now.Store(&later)
	if !wo.look() {
		t.Error("not told once more of what was recent")
	}
	if wo.look() {
		t.Error("told of what is not recent any more")
	}
}

func TestInotifyIsTriedAgain(t *testing.T) {
	wo := newWorld(t, Options{MaxWatches: 10}, crowded(t))
	for i := range 15 {
		must(t, os.RemoveAll(wo.path(fmt.Sprint(i))))
	}
	for range retryLooks {
		wo.look()
	}
	if got := wo.w.Mode(); got != "inotify" {
		t.Fatalf("mode %q", got)
	}
	for wo.told() {
	}
	write(t, wo.path("17/f"), "1")
	wo.await("a write")
}

func TestATreeTooLargeToTellAlwaysChanges(t *testing.T) {
	wo := newWorld(t, Options{maxEntries: 10}, crowded(t))
	wo.await("it begins to look")
	if got := wo.w.Mode(); !strings.HasPrefix(got, "polling: ") || !strings.Contains(got, "more than 10 files") {
		t.Errorf("mode %q", got)
	}
	if !wo.look() {
		t.Error("a tree that cannot be seen whole counts as unchanged")
	}
	must(t, os.RemoveAll(wo.dir))
	mkdir(t, wo.dir)
	if wo.look(); strings.Contains(wo.w.Mode(), "everything") {
		t.Errorf("mode %q, of a tree that is small now", wo.w.Mode())
	}
}

func TestWithoutInotify(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"instances": {fmt.Errorf("%w: %w", errInstances, unix.EMFILE), "raise fs.inotify.max_user_instances"},
		"watches":   {fmt.Errorf("watch: %w", unix.ENOSPC), "raise fs.inotify.max_user_watches"},
		"otherwise": {errors.New("it is forbidden"), "it is forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			open := func() (*inotify, error) { return nil, tt.err }
			wo := newWorld(t, Options{open: open}, func(dir string) { mkdir(t, dir) })
			wo.await("it begins to look")
			if got := wo.w.Mode(); !strings.HasPrefix(got, "polling: ") || !strings.HasSuffix(got, tt.want) {
				t.Errorf("mode %q, want one that ends with %q", got, tt.want)
			}
			write(t, wo.path("f"), "1")
			if !wo.look() {
				t.Error("not told of a change")
			}
		})
	}
}
