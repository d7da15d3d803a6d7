package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/remedy"
)

// TestAHostileHomeShowsNothingOfTheHost: links lead out, directories are swapped
// for links while they are walked, and pipes and sockets lie in the way.
func TestAHostileHomeShowsNothingOfTheHost(t *testing.T) {
	g := start(t, nil)
	outside := fastDir(t)
	check(t, os.MkdirAll(filepath.Join(outside, "d/e"), 0o755))
	check(t, os.WriteFile(filepath.Join(outside, "d/e/secret"), []byte("SECRET"), 0o600))
	g.write("d/e/file", "mine")
	check(t, os.Symlink(filepath.Join(outside, "d/e/secret"), filepath.Join(g.home, "link")))
	check(t, unix.Mkfifo(filepath.Join(g.home, "d/pipe"), 0o600))
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		dir, link, spare := filepath.Join(g.home, "d"), filepath.Join(g.home, "l"), filepath.Join(g.home, "s")
		_ = os.Symlink(filepath.Join(outside, "d"), link)
		file := filepath.Join(g.home, "f")
		_ = os.WriteFile(file, []byte("plain"), 0o600)
		pipe := filepath.Join(g.home, "p")
		_ = unix.Mkfifo(pipe, 0o600)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
			_ = unix.Renameat2(unix.AT_FDCWD, file, unix.AT_FDCWD, pipe, unix.RENAME_EXCHANGE)
			_ = os.Rename(link, spare)
			_ = os.Rename(spare, link)
		}
	}()
	for range 40 {
		_, _, err := g.vault.Snapshot(t.Context(), g.source(), SnapshotOptions{Always: true})
		check(t, err)
	}
	close(stop)
	<-ended
	list, err := g.vault.Versions(t.Context())
	check(t, err)
	for _, v := range list {
		tree, err := g.vault.Tree(t.Context(), v.ID)
		check(t, err)
		for e := range tree.All() {
			if e.Kind == KindFile && string(readAll(t, tree, e.Path)) == "SECRET" {
				t.Fatalf("version %s has %q from outside", v.ID, e.Path)
			}
		}
	}
}

// TestWhatIsNotTaken: what the source leaves, and what cannot be read.
func TestWhatIsNotTaken(t *testing.T) {
	g := start(t, nil)
	g.write("keep/a", "1")
	g.write("cache/b", "2")
	g.write("keep/x.tmp", "3")
	asked := map[string]bool{}
	src := g.source()
	src.Leave = func(path string, dir bool) bool {
		asked[path] = dir
		return path == "cache" && dir || strings.HasSuffix(path, ".tmp")
	}
	v, _, err := g.vault.Snapshot(t.Context(), src, SnapshotOptions{})
	check(t, err)
	want := map[string]bool{"keep": true, "keep/a": false, "keep/x.tmp": false, "cache": true}
	if fmt.Sprint(asked) != fmt.Sprint(want) {
		t.Errorf("asked about %v", asked)
	}
	got := picture(t, g.restored(g.vault, v.ID))
	if len(got) != 3 || got["keep/a"] == "" {
		t.Errorf("restored %v", got)
	}
	deepDirs(t, g.home, maxDepth+5)
	v = g.snapshot()
	if v.NSkipped != 1 || !strings.Contains(v.Skipped[0].Why, "too deep") {
		t.Errorf("skipped %d: %.200v", v.NSkipped, v.Skipped)
	}
	// A path that is longer than any system call takes comes back all the same.
	dir := g.restored(g.vault, v.ID)
	if n := depth(t, dir); n != maxDepth {
		t.Errorf("restored to depth %d", n)
	}
	removeDeep(t, g.home)
	removeDeep(t, dir)
}

// TestWhatIsSkippedCannotSpoilAVersion: its names are somebody else's.
func TestWhatIsSkippedCannotSpoilAVersion(t *testing.T) {
	g := start(t, nil)
	at := g.home
	for range 12 {
		at = filepath.Join(at, strings.Repeat("\x01", 250))
		check(t, os.Mkdir(at, 0o700))
	}
	for i := range 300 {
		check(t, unix.Mkfifo(filepath.Join(at, fmt.Sprintf("%0200d", i)), 0o600))
	}
	v := g.snapshot()
	if v.NSkipped != 300 || len(v.Skipped) != maxSkips {
		t.Errorf("skipped %d, named %d", v.NSkipped, len(v.Skipped))
	}
	list, err := g.reopen().Versions(t.Context())
	check(t, err)
	if len(list) != 1 || list[0].Damaged != "" || list[0].Stored > 100_000 {
		t.Errorf("versions: %d, %s", len(list), list[0].Damaged)
	}
}

// deepDirs makes n directories, each in the one before.
func deepDirs(t testing.TB, home string, n int) {
	t.Helper()
	d, err := os.Open(home)
	check(t, err)
	for range n {
		name := "deep-enough-to-be-a-long-path"
		check(t, unix.Mkdirat(int(d.Fd()), name, 0o755))
		next, err := openAt(d, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		check(t, err)
		check(t, d.Close())
		d = next
	}
	check(t, d.Close())
}

func depth(t testing.TB, dir string) (n int) {
	t.Helper()
	d, err := os.Open(dir)
	check(t, err)
	for {
		next, err := openAt(d, "deep-enough-to-be-a-long-path", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			break
		}
		check(t, d.Close())
		d = next
		n++
	}
	check(t, d.Close())
	return n
}

func removeDeep(t testing.TB, dir string) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	check(t, err)
	check(t, errors.Join(root.RemoveAll("deep-enough-to-be-a-long-path"), root.Close()))
}

// TestEveryWriteIsNoticed writes without any pause between versions: same size,
// same second, the time of modification set back, and through memory.
func TestEveryWriteIsNoticed(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	g.home, g.stage = filepath.Join(t.TempDir(), "home"), filepath.Join(t.TempDir(), "stage") // on a disk, for the mapping
	check(t, os.Mkdir(g.home, 0o700))
	g.write("a", "0000")
	g.write("mapped", strings.Repeat("0", 4096))
	f, err := os.OpenFile(filepath.Join(g.home, "mapped"), os.O_RDWR, 0)
	check(t, err)
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	check(t, err)
	defer unix.Munmap(memory)
	at := time.Now().Add(-time.Hour)
	for i := range 12 {
		content := fmt.Sprintf("%04d", i)
		check(t, os.WriteFile(filepath.Join(g.home, "a"), []byte(content), 0o644))
		check(t, os.Chtimes(filepath.Join(g.home, "a"), at, at))
		copy(memory, content)
		v, _, err := g.vault.Snapshot(t.Context(), g.source(), SnapshotOptions{Always: true})
		check(t, err)
		tree, err := g.vault.Tree(t.Context(), v.ID)
		check(t, err)
		if got := readAll(t, tree, "a"); string(got) != content {
			t.Errorf("version %d has %q", i, got)
		}
		if got := readAll(t, tree, "mapped"); string(got[:4]) != content {
			t.Errorf("version %d has %q of what is mapped", i, got[:4])
		}
	}
	// What was taken when all was quiet counts as known. A write to memory that is
	// mapped still must give the file a new time.
	waitUntilSettled(t, filepath.Join(g.home, "mapped"))
	waitUntilSettled(t, filepath.Join(g.home, "a"))
	if _, _, err := g.vault.Snapshot(t.Context(), g.source(), SnapshotOptions{}); !errors.Is(err, ErrUnchanged) {
		t.Errorf("nothing changed: %v", err)
	}
	_, stats, err := g.vault.Snapshot(t.Context(), g.source(), SnapshotOptions{})
	if !errors.Is(err, ErrUnchanged) || stats.Changed != 0 {
		t.Errorf("what is known was read again: %+v, %v", stats, err)
	}
	copy(memory, "last")
	v := g.snapshot()
	tree, err := g.vault.Tree(t.Context(), v.ID)
	check(t, err)
	if got := readAll(t, tree, "mapped"); string(got[:4]) != "last" {
		t.Errorf("the last version has %q of what is mapped", got[:4])
	}
}

// TestASettledFileIsNotReadAgain, and one that is not settled is, until it is.
func TestASettledFileIsNotReadAgain(t *testing.T) {
	now := time.Unix(1000, 0)
	s := stamp{ino: 1, size: 2, csec: 990}
	for _, test := range []struct {
		csec    int64
		settled bool
	}{{990, true}, {997, true}, {998, false}, {999, false}, {1000, false}, {1001, false}} {
		s.csec = test.csec
		if got := s.settledBefore(now); got != test.settled {
			t.Errorf("changed at %d, looked at at 1000: settled is %v", test.csec, got)
		}
	}
	s.settled = true
	if !s.reuses(stamp{ino: 1, size: 2, csec: 1001}) {
		t.Error("the same stamp is not reused")
	}
	for i, o := range []stamp{{ino: 2, size: 2, csec: 1001}, {ino: 1, size: 3, csec: 1001}, {ino: 1, size: 2, csec: 1001, cnsc: 1},
		{ino: 1, size: 2, csec: 1001, sec: 1}, {ino: 1, size: 2, csec: 1001, mode: 1}} {
		if s.reuses(o) {
			t.Errorf("stamp %d passes for the same", i)
		}
	}
	s.settled = false
	if s.reuses(s) {
		t.Error("what is not settled is reused")
	}
}

// TestMuchIsReadBeforeTheHold: while the tree is held only what changed since is
// copied.
func TestMuchIsReadBeforeTheHold(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	check(t, os.WriteFile(filepath.Join(g.home, "big"), noise(1, 20<<20), 0o600))
	g.write("small", "1")
	// As if they had been written long ago. A change of their state cannot be dated
	// back, so the clock goes on instead.
	src := g.source()
	staged := int64(0)
	src.Hold = func(ctx context.Context, do func() error) error {
		defer func() {
			check(t, filepath.WalkDir(g.stage, func(_ string, d os.DirEntry, err error) error {
				info, _ := d.Info()
				if err == nil && info.Mode().IsRegular() {
					staged += info.Size()
				}
				return err
			}))
		}()
		return do()
	}
	waitUntilSettled(t, filepath.Join(g.home, "small"))
	v, _, err := g.vault.Snapshot(t.Context(), src, SnapshotOptions{})
	check(t, err)
	if staged > 1<<20 {
		t.Errorf("%d bytes were copied while the tree was held", staged)
	}
	samePicture(t, picture(t, g.home), picture(t, g.restored(g.vault, v.ID)))
}

// waitUntilSettled waits until a file's last change is not a moment ago any more.
func waitUntilSettled(t testing.TB, name string) {
	t.Helper()
	var st unix.Stat_t
	check(t, unix.Stat(name, &st))
	wait := time.NewTicker(50 * time.Millisecond)
	defer wait.Stop()
	for !stampOf(&st).settledBefore(time.Now().Add(-100 * time.Millisecond)) { // the file system's clock is coarser
		<-wait.C
	}
}

// TestHoldIsAlwaysEnded: whatever goes wrong, what was held goes on, and nothing is
// done after that.
func TestHoldIsAlwaysEnded(t *testing.T) {
	g := start(t, nil)
	g.write("a", "1")
	var mu sync.Mutex
	held := 0
	for name, hold := range map[string]func(context.Context, func() error) error{
		"refused":  func(context.Context, func() error) error { return errors.New("the agent is busy") },
		"not done": func(context.Context, func() error) error { return nil },
		"fails afterwards": func(_ context.Context, do func() error) error {
			mu.Lock()
			defer mu.Unlock()
			held++
			return errors.Join(do(), errors.New("cannot go on"))
		},
	} {
		src := g.source()
		src.Hold = hold
		if _, _, err := g.vault.Snapshot(t.Context(), src, SnapshotOptions{}); err == nil || !strings.Contains(err.Error(), "hold the state still") {
			t.Errorf("%s: %v", name, err)
		}
		left, err := os.ReadDir(g.stage)
		check(t, err)
		if len(left) > 0 {
			t.Errorf("%s: left in the stage: %v", name, left)
		}
	}
	if held != 1 {
		t.Errorf("held %d times", held)
	}
	src := g.source()
	ctx, cancel := context.WithCancel(t.Context())
	src.Hold = func(_ context.Context, do func() error) error {
		cancel()
		return do()
	}
	if _, _, err := g.vault.Snapshot(ctx, src, SnapshotOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while held: %v", err)
	}
	if _, _, err := g.vault.Snapshot(t.Context(), Source{Dir: filepath.Join(g.home, "nowhere"), Stage: g.stage}, SnapshotOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no home: %v", err)
	}
	check(t, os.Symlink(g.home, g.home+"-link"))
	if _, _, err := g.vault.Snapshot(t.Context(), Source{Dir: g.home + "-link", Stage: g.stage}, SnapshotOptions{}); err == nil {
		t.Error("followed a link instead of a home")
	}
}

// TestAnUnreadableFileIsSaid is for who is not root.
func TestAnUnreadableFileIsSaid(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root reads everything")
	}
	g := start(t, nil)
	g.write("open", "1")
	g.write("locked", "2")
	g.write("dir/inside", "3")
	check(t, os.Chmod(filepath.Join(g.home, "locked"), 0))
	check(t, os.Chmod(filepath.Join(g.home, "dir"), 0))
	v := g.snapshot()
	check(t, os.Chmod(filepath.Join(g.home, "dir"), 0o700))
	if v.NSkipped < 2 || !slices.ContainsFunc(v.Skipped, func(s Skipped) bool { return s.Path == "locked" && s.Why == "permission denied" }) {
		t.Errorf("skipped %+v", v.Skipped)
	}
}

// TestNoRoomForCopiesIsSaid with the remedy.
func TestNoRoomForCopiesIsSaid(t *testing.T) {
	g := start(t, nil)
	g.stage = smallDisk(t, "1m")
	check(t, os.WriteFile(filepath.Join(g.home, "big"), noise(1, 3<<20), 0o600))
	err := g.try()
	if !errors.Is(err, unix.ENOSPC) || remedy.Of(err) == "" {
		t.Errorf("got %v, remedy %q", err, remedy.Of(err))
	}
}

// smallDisk mounts a file system of a size, or skips the test where that cannot be done.
func smallDisk(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { check(t, unix.Unmount(dir, 0)) })
	return dir
}

// TestAVersionTakenForTooLongIsNone: what was stored for it may have been taken for
// garbage meanwhile. The next one, which is quick, is whole.
func TestAVersionTakenForTooLongIsNone(t *testing.T) {
	g := start(t, nil)
	now := time.Now()
	g.opts.Now = func() time.Time { return now }
	g.vault = g.repo.Vault("clara", g.opts)
	g.write("a", "1")
	src := g.source()
	src.Hold = func(_ context.Context, do func() error) error {
		defer func() { now = now.Add(20*time.Hour + time.Minute) }()
		return do()
	}
	_, _, err := g.vault.Snapshot(t.Context(), src, SnapshotOptions{})
	if err == nil || !strings.Contains(err.Error(), "20h1m") || remedy.Of(err) == "" {
		t.Errorf("taken for more than twenty hours: %v", err)
	}
	if left, err := g.vault.Versions(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("there is %v, %v", left, err)
	}
	v := g.snapshot()
	if got, err := os.ReadFile(filepath.Join(g.restored(g.vault, v.ID), "a")); err != nil || string(got) != "1" {
		t.Errorf("the next one has %q, %v", got, err)
	}
}
