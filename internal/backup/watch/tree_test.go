package watch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// still is an attention whose events are followed when the test says so. The kernel
// has them in its queue when the call that caused them returns.
type still struct {
	*attention
	t   *testing.T
	dir string
}

func newStill(t *testing.T, prepare ...string) *still {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "home")
	mkdir(t, dir)
	for _, p := range prepare {
		if strings.HasSuffix(p, "/") {
			mkdir(t, filepath.Join(dir, p))
		} else {
			mkdir(t, filepath.Dir(filepath.Join(dir, p)))
			write(t, filepath.Join(dir, p), "1")
		}
	}
	w, err := New(dir, leaveTmp, Options{now: longAgo})
	must(t, err)
	in, err := openInotify()
	must(t, err)
	s := &still{attention: &attention{Watcher: w, tree: newTree(in, defaultWatches)}, t: t, dir: dir}
	s.tree.watchParent(filepath.Dir(dir), "home")
	t.Cleanup(s.close) // twice does no harm
	s.survey()
	return s
}

func (s *still) path(name string) string { return filepath.Join(s.dir, name) }

func (s *still) survey() {
	s.t.Helper()
	if _, err := s.Watcher.survey(s.t.Context(), s.tree); err != nil {
		s.t.Fatal(err)
	}
}

// batches returns the events that there are; one by one, or as they come.
func (s *still) batches(single bool) [][]byte {
	s.t.Helper()
	var all [][]byte
	for {
		buf := make([]byte, batchBytes)
		n, err := unix.Read(s.tree.in.fd, buf)
		if errors.Is(err, unix.EAGAIN) {
			return all
		}
		must(s.t, err)
		for buf = buf[:n]; single && len(buf) > 0; {
			size := unix.SizeofInotifyEvent + binary.NativeEndian.Uint32(buf[12:])
			all, buf = append(all, buf[:size]), buf[size:]
		}
		all = append(all, buf)
	}
}

// follow follows the events that there are, and returns whether they were told of
// as a change.
func (s *still) follow() (told, goesOn bool) { s.t.Helper(); return s.followEach(s.batches(false)) }

func (s *still) followEach(batches [][]byte) (told, goesOn bool) {
	s.t.Helper()
	goesOn = true
	for _, batch := range batches {
		goesOn = goesOn && s.attention.follow(s.t.Context(), batch)
	}
	select {
	case <-s.Changes():
		told = true
	default:
	}
	return told, goesOn
}

// watched returns the paths of the directories that are watched, and makes sure
// that each is the one that it is taken for.
func (s *still) watched() []string {
	s.t.Helper()
	var paths []string
	for wd, n := range s.tree.byWD {
		if n.wd != wd || n.dropped || n.up != nil && n.up.children[n.name] != n {
			s.t.Fatalf("the tree is not sound at %q", n.path())
		}
		if fd, _, err := openDir(unix.AT_FDCWD, s.path(n.path())); err == nil {
			mask := uint32(changeMask)
			if n == s.tree.root {
				mask = rootMask
			}
			if is, err := s.tree.in.add(fd, mask); err != nil || is != wd {
				s.t.Errorf("%q is watched as %d (%v), want %d", n.path(), is, err, wd)
			}
			unix.Close(fd)
		}
		paths = append(paths, n.path())
	}
	if kernel := s.held(); kernel != len(paths)+1 { // and the root's parent
		s.t.Errorf("the kernel has %d watches, want %d", kernel, len(paths)+1)
	}
	slices.Sort(paths)
	return paths
}

// held says how many watches the kernel holds for us.
func (s *still) held() int {
	s.t.Helper()
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", s.tree.in.fd))
	must(s.t, err)
	return strings.Count(string(info), "inotify wd:")
}

// there returns the paths of the directories that should be watched.
func (s *still) there() []string {
	s.t.Helper()
	var paths []string
	must(s.t, filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(s.dir, path)
		if rel == "." {
			rel = ""
		}
		switch {
		case err != nil || !d.IsDir():
			return err
		case rel != "" && leaveTmp(rel, true):
			return fs.SkipDir
		}
		paths = append(paths, rel)
		return nil
	}))
	slices.Sort(paths)
	return paths
}

func (s *still) check(when string) {
	s.t.Helper()
	if got, want := s.watched(), s.there(); !slices.Equal(got, want) {
		s.t.Fatalf("%s: watched are\n%q, want\n%q", when, got, want)
	}
}

func TestWhatCounts(t *testing.T) {
	outside := t.TempDir()
	var open *os.File
	for _, tt := range []struct {
		what string
		do   func(s *still) error
		told bool
	}{
		{"nothing", func(*still) error { return nil }, false},
		{"reading a file", func(s *still) error { _, err := os.ReadFile(s.path("a/f")); return err }, false},
		{"reading all", func(s *still) error { read(s.dir); return nil }, false},
		{"opening for sync", func(s *still) error {
			f, err := os.Open(s.path("a/f"))
			return errors.Join(err, unix.Fdatasync(int(f.Fd())), f.Close())
		}, false},
		{"writing", func(s *still) error { return os.WriteFile(s.path("a/f"), []byte("2"), 0) }, true},
		{"mapped writes, when the file is closed", func(s *still) error {
			f, err := os.OpenFile(s.path("a/f"), os.O_RDWR, 0)
			return errors.Join(err, f.Close())
		}, true},
		{"truncating", func(s *still) error { return os.Truncate(s.path("a/f"), 0) }, true},
		{"making a file", func(s *still) error { return os.WriteFile(s.path("a/g"), nil, 0o600) }, true},
		{"making a directory", func(s *still) error { return os.Mkdir(s.path("a/d"), 0o700) }, true},
		{"making a link", func(s *still) error { return os.Symlink(outside, s.path("out")) }, true},
		{"writing where a link leads", func(*still) error { return os.WriteFile(outside+"/f", nil, 0o600) }, false},
		{"renaming", func(s *still) error { return os.Rename(s.path("a/g"), s.path("g")) }, true},
		{"removing", func(s *still) error { return os.Remove(s.path("g")) }, true},
		{"a file's mode", func(s *still) error { return os.Chmod(s.path("a/f"), 0o640) }, true},
		{"a directory's mode", func(s *still) error { return os.Chmod(s.path("a"), 0o750) }, true},
		{"the root's mode", func(s *still) error { return os.Chmod(s.dir, 0o750) }, true},
		{"a file left out", func(s *still) error { return os.WriteFile(s.path("a/db-shm"), nil, 0o600) }, false},
		{"in a directory left out", func(s *still) error { return os.WriteFile(s.path("tmp/f"), nil, 0o600) }, false},
		{"deep in it", func(s *still) error { return os.MkdirAll(s.path("tmp/x/y"), 0o700) }, false},
		{"the mode of one left out", func(s *still) error { return os.Chmod(s.path("tmp"), 0o750) }, false},
		{"out of one left out", func(s *still) error { return os.Rename(s.path("tmp/x"), s.path("x")) }, true},
		{"where it is now", func(s *still) error { return os.WriteFile(s.path("x/y/f"), nil, 0o600) }, true},
		{"back", func(s *still) error { return os.Rename(s.path("x"), s.path("tmp/x")) }, true},
		{"where it was", func(s *still) error { return os.WriteFile(s.path("tmp/x/y/f"), nil, 0o600) }, false},
		{"unlinking", func(s *still) (err error) {
			open, err = os.Create(s.path("a/u"))
			return errors.Join(err, os.Remove(s.path("a/u")))
		}, true},
		{"writing what is unlinked", func(*still) error {
			_, err := open.WriteString("2")
			return errors.Join(err, open.Close())
		}, false},
		{"moving out", func(s *still) error { return os.Rename(s.path("a"), outside+"/a") }, true},
		{"writing out there", func(*still) error { return os.WriteFile(outside+"/a/d/f", nil, 0o600) }, false},
		{"beside the root", func(s *still) error { return os.WriteFile(s.dir+"2", nil, 0o600) }, false},
	} {
		s := worldOfCounts(t)
		must(t, tt.do(s))
		told, goesOn := s.follow()
		if told != tt.told || !goesOn {
			t.Errorf("%s: told %t, goes on %t; want %t", tt.what, told, goesOn, tt.told)
		}
		s.check(tt.what)
	}
}

// counted is the one world of TestWhatCounts: its steps build on each other.
var counted = map[*testing.T]*still{}

func worldOfCounts(t *testing.T) *still {
	if counted[t] == nil {
		counted[t] = newStill(t, "a/f", "tmp/")
		t.Cleanup(func() { delete(counted, t) })
	}
	return counted[t]
}

// The watches are those of the directories that are there, however these are made,
// moved, removed and replaced by links, and wherever in that events are followed.
func TestWatchesAreWhereDirectoriesAre(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { disturbAndCheck(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func disturbAndCheck(t *testing.T, rnd *rand.Rand) {
	s := newStill(t, "a/b/", "c/", "tmp/")
	outside := t.TempDir()
	for i := range 300 {
		disturb(s, rnd, outside, i)
		if rnd.IntN(5) != 0 {
			continue
		}
		if rnd.IntN(10) == 0 {
			s.surveyMoved() // it finds out before the events say so
		}
		s.followEach(s.batches(rnd.IntN(2) == 0))
		if s.hurried {
			s.survey()
			s.follow()
			s.hurried = false
		}
		s.check(fmt.Sprintf("after %d", i))
	}
}

// disturb does something to some directories. It may fail, as such things do.
func disturb(s *still, rnd *rand.Rand, outside string, i int) {
	some := func() string {
		dirs := append(slices.Clone(s.there()), "tmp")
		return dirs[rnd.IntN(len(dirs))]
	}
	name := string(rune('a' + rnd.IntN(4)))
	from, to := some(), join(some(), name)
	switch rnd.IntN(10) {
	case 0, 1, 2:
		_ = os.MkdirAll(s.path(to+"/x/y"), 0o700)
	case 3, 4, 5:
		if from != "" {
			_ = os.Rename(s.path(from), s.path(to))
		}
	case 6:
		if from != "" && from != "tmp" {
			_ = os.RemoveAll(s.path(from))
		}
	case 7:
		if from != "" {
			_ = os.Rename(s.path(from), filepath.Join(outside, strconv.Itoa(i)))
		}
	case 8:
		_ = os.Symlink(outside, s.path(to))
	case 9:
		_ = exchange(s.path(from), s.path(to))
	}
}

// Whether events or a look are first to tell of a move, or events are lost: all is
// watched in the end.
func TestMoves(t *testing.T) {
	for what, do := range map[string]func(s *still) error{
		"elsewhere": func(s *still) error { return os.Rename(s.path("a/b"), s.path("c/b")) },
		"there and back": func(s *still) error {
			return errors.Join(os.Rename(s.path("a"), s.path("x")), os.Rename(s.path("x"), s.path("a")))
		},
		"with another": func(s *still) error { return exchange(s.path("a/b"), s.path("c")) },
		"with a file":  func(s *still) error { return exchange(s.path("a/b"), s.path("f")) },
		"with a link": func(s *still) error {
			return errors.Join(os.Symlink("/", s.path("l")), exchange(s.path("a"), s.path("l")))
		},
		"the inside out": func(s *still) error {
			return errors.Join(os.Rename(s.path("a/b"), s.path("b")), os.Rename(s.path("a"), s.path("b/a")))
		},
		"replaced by new": func(s *still) error {
			return errors.Join(os.RemoveAll(s.path("a")), os.MkdirAll(s.path("a/b/d"), 0o700))
		},
		"over an old one": func(s *still) error {
			return errors.Join(os.Mkdir(s.path("e"), 0o700), unix.Rename(s.path("a"), s.path("e")))
		},
		"replaced by link": func(s *still) error {
			return errors.Join(os.Rename(s.path("a"), s.path("tmp/a")), os.Symlink("tmp/a", s.path("a")))
		},
	} {
		for how, follow := range map[string]func(s *still){
			"events":            func(s *still) { s.follow() },
			"events one by one": func(s *still) { s.followEach(s.batches(true)) },
			"a look first":      func(s *still) { s.surveyMoved(); s.follow() },
			"events are lost":   func(s *still) { s.batches(false); s.surveyMoved(); s.survey() },
		} {
			s := newStill(t, "a/b/d/", "c/", "f", "tmp/")
			must(t, do(s))
			follow(s)
			s.check(what + ", " + how)
			// What is stale would harm what comes in its place.
			_ = os.RemoveAll(s.path("a"))
			_ = os.MkdirAll(s.path("a/b/d/e"), 0o700)
			s.follow()
			s.check(what + ", " + how + ", and made anew")
			s.close()
		}
	}
}

// surveyMoved is survey where directories were moved meanwhile.
func (s *still) surveyMoved() {
	s.t.Helper()
	if _, err := s.Watcher.survey(s.t.Context(), s.tree); err != nil && !errors.Is(err, errMoved) {
		s.t.Error(err)
	}
}

func exchange(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// When the kernel drops events, that counts as a change, and a look puts right what
// they would have said.
func TestLostEvents(t *testing.T) {
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(t, err)
	queue, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	if queue > 200_000 {
		t.Skipf("the system queues %d events", queue)
	}
	s := newStill(t, "a/x-shm", "b/x-shm", "gone/")
	for i := range queue + 10 {
		// Events of what is left out are no changes; two alike in a row are one.
		must(t, os.Chmod(s.path([]string{"a/x-shm", "b/x-shm"}[i%2]), 0o600))
	}
	mkdir(t, s.path("new/deep"))
	must(t, os.RemoveAll(s.path("gone")))
	rests := 0
	s.opts.after = func(d time.Duration) <-chan time.Time { rests++; return nil }
	if told, goesOn := s.follow(); !told || !goesOn || !s.hurried || rests != 1 {
		t.Errorf("told %t, goes on %t, hurried %t, rests %d times", told, goesOn, s.hurried, rests)
	}
	s.hurry()
	if rests != 1 {
		t.Error("put off by more lost events")
	}
	s.survey()
	s.follow()
	s.check("after a look")
}

func TestTheRootGoes(t *testing.T) {
	for what, do := range map[string]func(s *still) error{
		"removed":   func(s *still) error { return os.RemoveAll(s.dir) },
		"renamed":   func(s *still) error { return os.Rename(s.dir, s.dir+"2") },
		"exchanged": func(s *still) error { return errors.Join(os.Mkdir(s.dir+"2", 0o700), exchange(s.dir, s.dir+"2")) },
	} {
		for _, parent := range []bool{true, false} {
			s := newStill(t, "a/b/")
			if !parent {
				s.tree.in.remove(s.tree.parent)
				s.tree.parent = -1
			}
			must(t, do(s))
			if _, goesOn := s.follow(); goesOn {
				t.Errorf("%s, with its parent watched: %t: goes on", what, parent)
			}
			s.close()
		}
	}
}

// Where a directory further up is replaced, there are no events.
func TestSomethingAboveIsReplaced(t *testing.T) {
	s := newStill(t, "a/b/")
	above := filepath.Dir(s.dir)
	must(t, os.Rename(above, above+"2"))
	mkdir(t, s.path("a/b/c"))
	if _, goesOn := s.follow(); !goesOn {
		t.Error("there was an event")
	}
	if _, err := s.Watcher.survey(t.Context(), s.tree); !errors.Is(err, errReplaced) {
		t.Errorf("a look: %v", err)
	}
	if err := s.surveyBelow(t.Context(), s.tree, place{s.tree.root, "a"}); !errors.Is(err, errReplaced) {
		t.Errorf("a look at a part: %v", err)
	}
	if s.look(t.Context()) {
		t.Error("goes on with what is another directory")
	}
}

// What nobody can name is not looked at, and does no harm.
func TestDeepTrees(t *testing.T) {
	s := newStill(t, "a/")
	fd, _, err := openDir(unix.AT_FDCWD, s.dir)
	must(t, err)
	long := strings.Repeat("n", 100)
	for i := range 600 {
		name := "d"
		if i >= 500 {
			name = long
		}
		must(t, unix.Mkdirat(fd, name, 0o700))
		next, _, err := openDir(fd, name)
		must(t, err)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	if told, goesOn := s.follow(); !told || !goesOn {
		t.Error("not told")
	}
	if got := len(s.tree.byWD); got != maxDepth+2 {
		t.Errorf("%d directories are watched, want %d", got, maxDepth+2)
	}
	for path := range maps.Values(s.tree.byWD) {
		if len(path.path()) > maxPath {
			t.Error("a path is too long")
		}
	}
}

func TestUnreadableDirectoriesAreWatchedWhenTheyCanBe(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("nothing is unreadable for root")
	}
	s := newStill(t, "a/")
	must(t, os.Mkdir(s.path("u"), 0o000))
	s.follow()
	if got := s.watched(); !slices.Equal(got, []string{"", "a"}) {
		t.Errorf("watched are %q", got)
	}
	must(t, os.Chmod(s.path("u"), 0o700))
	s.follow()
	s.check("readable again")
}

func FuzzEvents(f *testing.F) {
	f.Add(make([]byte, 16))
	f.Add(append(make([]byte, 12), 16, 0, 0, 0, 'a', 0))
	f.Add(append(make([]byte, 12), 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, batch []byte) {
		n := 0
		for ev := range events(batch) {
			n += unix.SizeofInotifyEvent + len(ev.name)
			if strings.Contains(ev.name, "\x00") {
				t.Errorf("name %q", ev.name)
			}
		}
		if n > len(batch) {
			t.Errorf("%d bytes of events in %d", n, len(batch))
		}
	})
}
