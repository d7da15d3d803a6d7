package watch

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// world is a directory with a watcher that runs.
type world struct {
	t    *testing.T
	dir  string
	w    *Watcher
	tick chan time.Time     // makes it look
	rest chan time.Duration // the pauses that it asked for
}

// leaveTmp leaves out what the tests say is no part of the state.
func leaveTmp(path string, dir bool) bool {
	return dir && path == "tmp" || !dir && strings.HasSuffix(path, "-shm")
}

// newWorld runs a watcher, and waits until it watches.
func newWorld(t *testing.T, opts Options, prepare func(dir string)) *world {
	t.Helper()
	wo := &world{t: t, dir: filepath.Join(t.TempDir(), "home"), tick: make(chan time.Time), rest: make(chan time.Duration, 1000)}
	if prepare != nil {
		prepare(wo.dir)
	}
	if opts.now == nil {
		opts.now = longAgo
	}
	opts.after = func(d time.Duration) <-chan time.Time {
		wo.rest <- d
		return wo.tick
	}
	var err error
	if wo.w, err = New(wo.dir, leaveTmp, opts); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- wo.w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	wo.rested()
	return wo
}

// rested waits for the end of a look, and returns the pause that follows.
func (wo *world) rested() time.Duration {
	wo.t.Helper()
	select {
	case d := <-wo.rest:
		return d
	case <-time.After(20 * time.Second):
		wo.t.Fatal("no look")
		return 0
	}
}

// look has the watcher look, and returns whether it then told of a change.
func (wo *world) look() bool {
	wo.t.Helper()
	wo.tick <- time.Time{}
	wo.rested()
	return wo.told()
}

// told says whether a change was told of, without waiting.
func (wo *world) told() bool {
	select {
	case <-wo.w.Changes():
		return true
	default:
		return false
	}
}

// await waits for a change to be told of.
func (wo *world) await(what string) {
	wo.t.Helper()
	select {
	case <-wo.w.Changes():
	case <-time.After(20 * time.Second):
		wo.t.Fatalf("not told of a change: %s; mode %s", what, wo.w.Mode())
	}
}

func (wo *world) path(name string) string { return filepath.Join(wo.dir, name) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, name, content string) {
	t.Helper()
	must(t, os.WriteFile(name, []byte(content), 0o600))
}

func mkdir(t testing.TB, name string) { t.Helper(); must(t, os.MkdirAll(name, 0o700)) }

// longAgo is what time it is in most tests: file times are compared with the clock,
// as what changed in this moment may change again without a trace.
func longAgo() time.Time { return time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC) }

func TestToldOfWrites(t *testing.T) {
	wo := newWorld(t, Options{}, func(dir string) { mkdir(t, dir+"/a/b") })
	wo.await("it begins to watch")
	if got := wo.w.Mode(); got != "inotify" {
		t.Fatalf("mode %q", got)
	}
	write(t, wo.path("a/b/f"), "1")
	wo.await("a write")
}

// read returns all that is in a tree, as far as it can be read.
func read(dir string) string {
	var b strings.Builder
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		content, _ := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %s\n", path, content)
		return nil
	})
	return b.String()
}

// Whoever looks each time that he is told, and never otherwise, has seen all in the
// end: a program that makes a directory and writes into it at once, or moves it
// about, leaves no gap.
func TestWhoLooksWhenToldHasSeenAll(t *testing.T) {
	wo := newWorld(t, Options{}, func(dir string) { mkdir(t, dir) })
	seen := ""
	for round := range 25 {
		done := make(chan string)
		go func() {
			top := wo.path(strconv.Itoa(round))
			for i := range 4 {
				deep := fmt.Sprintf("%s/a%d/b/c", top, i)
				mkdir(t, deep)
				write(t, deep+"/f", "1")
				must(t, os.Rename(top+fmt.Sprintf("/a%d", i), top+"/moved"+strconv.Itoa(i)))
				mkdir(t, deep)
			}
			write(t, top+"/moved0/b/c/f", "2")
			must(t, os.RemoveAll(wo.path(strconv.Itoa(round-2))))
			write(t, top+"/a3/b/c/last", strconv.Itoa(round))
			done <- read(wo.dir)
		}()
		want := ""
		for want == "" || seen != want {
			select {
			case want = <-done:
			case <-wo.w.Changes():
				seen = read(wo.dir)
			case <-time.After(20 * time.Second):
				t.Fatalf("not told of what happened last in round %d: %q, want %q", round, seen, want)
			}
		}
	}
	if mode := wo.w.Mode(); mode != "inotify" {
		t.Errorf("mode %q", mode)
	}
}

func TestTheDirectoryIsReplaced(t *testing.T) {
	wo := newWorld(t, Options{}, func(dir string) { mkdir(t, dir) })
	wo.await("it begins to watch")
	for i := range 3 {
		next := wo.dir + ".next"
		mkdir(t, next+"/new")
		must(t, os.Rename(wo.dir, fmt.Sprintf("%s.old%d", wo.dir, i)))
		must(t, os.Rename(next, wo.dir))
		for seen := false; !seen; {
			wo.await("another directory")
			_, err := os.Stat(wo.path("new"))
			seen = err == nil
		}
		write(t, wo.path("new/f"), "1")
		wo.await("a write in the new one")
	}
}

func TestTheDirectoryComesLater(t *testing.T) {
	wo := newWorld(t, Options{}, nil)
	if wo.told() {
		t.Error("told of a change where there is nothing")
	}
	mkdir(t, wo.dir)
	wo.await("it is there")
}

// Where its parent does not exist either, only looking finds it.
func TestTheParentComesLater(t *testing.T) {
	wo := newWorld(t, Options{}, nil)
	must(t, os.Rename(filepath.Dir(wo.dir), filepath.Dir(wo.dir)+".away"))
	if wo.look() {
		t.Error("told of a change where there is nothing")
	}
	mkdir(t, wo.dir)
	if !wo.look() {
		t.Error("not told of a directory that is there now")
	}
	write(t, wo.path("f"), "1")
	wo.await("a write")
}

// A write to mapped memory is no event, nor is one through a name that is outside.
func TestLookingFindsWhatIsNoEvent(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	wo := newWorld(t, Options{}, func(dir string) {
		mkdir(t, dir)
		write(t, outside, "1")
		must(t, os.Link(outside, dir+"/f"))
	})
	wo.await("it begins to watch")
	if wo.look() {
		t.Error("told of a change where nothing has changed")
	}
	write(t, outside, "2")
	if !wo.look() {
		t.Error("not told")
	}
	if wo.look() {
		t.Error("told of it twice")
	}
}

func TestPauses(t *testing.T) {
	for name, tt := range map[string]struct {
		opts    Options
		prepare func(string)
		want    time.Duration
	}{
		"watched": {Options{}, func(dir string) { mkdir(t, dir) }, time.Minute},
		"missing": {Options{}, nil, 5 * time.Second},
		"polled":  {Options{MaxWatches: 1}, func(dir string) { mkdir(t, dir+"/a") }, 5 * time.Second},
		"asked":   {Options{Net: time.Hour}, func(dir string) { mkdir(t, dir) }, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			wo := newWorld(t, tt.opts, tt.prepare)
			wo.tick <- time.Time{}
			if got := wo.rested(); got < tt.want || got > 2*tt.want {
				t.Errorf("rests %s, want %s", got, tt.want)
			}
		})
	}
}

func TestNewRefusesEverything(t *testing.T) {
	if _, err := New("/", nil, Options{}); err == nil {
		t.Error("the root of the file system is watched")
	}
}
