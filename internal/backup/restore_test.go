package backup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/remedy"
)

// richTree makes a home with one of everything that a home may have.
func richTree(t testing.TB, home string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(home, name) }
	for _, dir := range []string{"empty", "a", "deep/er/and/deeper", "a.b", "ro"} {
		check(t, os.MkdirAll(at(dir), 0o755))
	}
	file := func(name string, data []byte, mode os.FileMode) {
		check(t, os.WriteFile(at(name), data, 0o600))
		check(t, os.Chmod(at(name), mode))
	}
	file("a/b", []byte("in a directory that sorts around a.b"), 0o644)
	file("a.b/c", nil, 0o600)
	file("a-", []byte("x"), 0o400)
	file("run.sh", []byte("#!/bin/sh\n"), 0o755|os.ModeSetuid|os.ModeSetgid)
	file("noise", noise(1, 900_000), 0o640)
	file("prose", prose(2, 3_000_000), 0o644)
	file("name with \xff\xfe bytes\n and a line", []byte("odd"), 0o644)
	file("deep/er/and/deeper/"+strings.Repeat("n", 255), []byte("long name"), 0o644)
	file("SQLITE", append([]byte("SQLite format 3\x00"), noise(3, 100_000)...), 0o600)
	file("ro/secret", []byte("locked away"), 0)
	sparse, err := os.Create(at("sparse"))
	check(t, err)
	_, err = sparse.WriteAt([]byte("in the middle"), 5<<20+123)
	check(t, err)
	check(t, sparse.Truncate(20<<20))
	check(t, sparse.Close())
	check(t, os.WriteFile(at("zeros"), make([]byte, 300_000), 0o600))
	check(t, os.Link(at("prose"), at("z-hard")))
	check(t, os.Link(at("prose"), at("deep/hard")))
	check(t, os.Symlink("../../etc/passwd", at("deep/link")))
	check(t, os.Symlink("nowhere \xff", at("dangling")))
	check(t, os.Symlink("a", at("link-to-dir")))
	for name, value := range map[string]string{"user.color": "blue", "user.empty": "", "user.bytes": "\x00\xff"} {
		if err := unix.Setxattr(at("noise"), name, []byte(value), 0); err != nil {
			t.Logf("no attributes here: %v", err)
		}
		_ = unix.Setxattr(at("deep"), name, []byte(value), 0)
	}
	if os.Geteuid() == 0 {
		check(t, os.Lchown(at("noise"), 1234, 5678))
		check(t, os.Lchown(at("deep/link"), 4321, 8765))
		check(t, os.Lchown(at("empty"), 99, 98))
	}
	check(t, os.Chmod(at("ro"), 0o500))
	check(t, os.Chmod(at("empty"), 0o1777))
	check(t, os.Chmod(home, 0o750))
	old := time.Date(1969, 7, 20, 20, 17, 40, 123456789, time.UTC)
	for _, name := range []string{"a", "a-", "noise", "deep/er", "sparse", "."} {
		check(t, os.Chtimes(at(name), old, old))
	}
}

func TestEverythingComesBack(t *testing.T) {
	g := start(t, nil)
	richTree(t, g.home)
	check(t, unix.Mkfifo(filepath.Join(g.home, "pipe"), 0o600))
	want := picture(t, g.home)
	delete(want, "pipe")
	v := g.snapshot()
	if v.Seq != 1 || v.ID != "0000000000000001" || v.Agent != "clara" || v.Writer != "writer-1" {
		t.Errorf("made version %+v", v)
	}
	if v.NSkipped != 1 || v.Skipped[0] != (Skipped{"pipe", "it is a named pipe"}) {
		t.Errorf("skipped %v", v.Skipped)
	}
	// Another host, with nothing but the store and the key.
	g.opts.Cache = ""
	dir := filepath.Join(t.TempDir(), "new", "home")
	report, err := g.reopen().Restore(t.Context(), v.ID, dir, RestoreOptions{})
	check(t, err)
	samePicture(t, want, picture(t, dir))
	if report.Files != v.Files || report.Bytes != v.Bytes || report.NChanges != 0 || report.Kept != v.Files || len(report.Warnings) > 0 {
		t.Errorf("report %+v of version %+v", report, v)
	}
	for _, name := range []string{"sparse", "zeros"} {
		info, err := os.Stat(filepath.Join(dir, name))
		check(t, err)
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 100_000 {
			t.Errorf("%s takes %d bytes on disk", name, used)
		}
	}
	siblings, err := os.ReadDir(filepath.Dir(dir))
	check(t, err)
	if len(siblings) != 1 {
		t.Errorf("left beside the restored directory: %v", siblings)
	}
	// And what is restored is what a backup of it would be.
	g.home = dir
	if _, _, err := g.vault.Snapshot(t.Context(), g.source(), SnapshotOptions{}); err != nil && !strings.Contains(err.Error(), ErrUnchanged.Error()) {
		t.Error(err)
	} else if err == nil {
		changes, err := g.vault.Diff(t.Context(), "0000000000000001", "0000000000000002")
		t.Errorf("the restored tree differs from its version: %v %v", changes, err)
	}
}

// TestAHugeFileTakesLittleMemory backs up and restores a sparse file of 10 GiB with
// some data in it.
func TestAHugeFileTakesLittleMemory(t *testing.T) {
	g := start(t, nil)
	name := filepath.Join(g.home, "huge")
	f, err := os.Create(name)
	check(t, err)
	check(t, f.Truncate(10<<30))
	for i := range int64(20) {
		_, err := f.WriteAt(noise(uint64(i), 1<<20), i*500<<20)
		check(t, err)
	}
	check(t, f.Close())
	before := memoryNow()
	v := g.snapshot()
	dir := filepath.Join(fastDir(t), "restored")
	peak := before
	_, err = g.vault.Restore(t.Context(), v.ID, dir, RestoreOptions{Progress: func(done, total int64) {
		if total != 10<<30 || done > total {
			t.Errorf("progress %d of %d", done, total)
		}
		peak = max(peak, memoryNow())
	}})
	check(t, err)
	if grown := peak - before; grown > 200<<20 {
		t.Errorf("memory grew by %d MiB", grown>>20)
	}
	if v.Stored > 30<<20 || v.Bytes != 10<<30 {
		t.Errorf("stored %d bytes of %d", v.Stored, v.Bytes)
	}
	info, err := os.Stat(filepath.Join(dir, "huge"))
	check(t, err)
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; info.Size() != 10<<30 || used > 25<<20 {
		t.Errorf("restored %d bytes that take %d", info.Size(), used)
	}
	got, err := os.Open(filepath.Join(dir, "huge"))
	check(t, err)
	defer got.Close()
	part := make([]byte, 1<<20)
	for i := range int64(20) {
		_, err := got.ReadAt(part, i*500<<20)
		check(t, err)
		if !bytes.Equal(part, noise(uint64(i), 1<<20)) {
			t.Errorf("piece %d is another", i)
		}
	}
}

// memoryNow is how much memory Go has from the system, in bytes.
func memoryNow() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys - m.HeapReleased)
}

// TestAFullDiskLeavesNothing: the error says what to do, and all is as it was.
func TestAFullDiskLeavesNothing(t *testing.T) {
	g := start(t, nil)
	for i := range 8 {
		check(t, os.WriteFile(filepath.Join(g.home, fmt.Sprint(i)), noise(uint64(i), 1<<20), 0o600))
	}
	v := g.snapshot()
	disk := smallDisk(t, "5m")
	check(t, os.Mkdir(filepath.Join(disk, "home"), 0o700))
	_, err := g.vault.Restore(t.Context(), v.ID, filepath.Join(disk, "home"), RestoreOptions{})
	if !errors.Is(err, unix.ENOSPC) || remedy.Of(err) == "" {
		t.Errorf("got %v, remedy %q", err, remedy.Of(err))
	}
	if got := picture(t, disk); len(got) != 2 {
		t.Errorf("left on the disk: %v", got)
	}
}

// TestWhereARestoreMayGo: an empty or missing directory, and nothing else.
func TestWhereARestoreMayGo(t *testing.T) {
	g := start(t, nil)
	g.write("a", "1")
	v := g.snapshot()
	base := fastDir(t)
	at := func(name string) string { return filepath.Join(base, name) }
	check(t, os.Mkdir(at("empty"), 0o700))
	check(t, os.Mkdir(at("full"), 0o700))
	check(t, os.WriteFile(at("full/x"), []byte("x"), 0o600))
	check(t, os.WriteFile(at("file"), []byte("x"), 0o600))
	check(t, os.Symlink(at("full"), at("link")))
	check(t, os.Symlink(at("nowhere"), at("dangling")))
	for name, works := range map[string]bool{"missing": true, "not/yet/there": true, "empty": true, "full": false, "file": false, "link": false, "dangling": false} {
		_, err := g.vault.Restore(t.Context(), v.ID, at(name), RestoreOptions{})
		if (err == nil) != works {
			t.Errorf("into %s: %v", name, err)
		}
		if works {
			samePicture(t, picture(t, g.home), picture(t, at(name)))
		}
	}
	if data, err := os.ReadFile(at("full/x")); err != nil || string(data) != "x" {
		t.Errorf("what was there is %q, %v", data, err)
	}
	for name := range picture(t, base) {
		if strings.Contains(name, partialMark) {
			t.Errorf("%s is left", name)
		}
	}
	if _, err := g.vault.Restore(t.Context(), versionID(7), at("none"), RestoreOptions{}); !errors.Is(err, ErrNoVersion) {
		t.Errorf("no such version: %v", err)
	}
	if _, err := g.vault.Restore(t.Context(), "../1", at("none"), RestoreOptions{}); !errors.Is(err, ErrNoVersion) {
		t.Errorf("no version's ID: %v", err)
	}
	// What a killed process left is removed, and what a running one has is not.
	check(t, os.MkdirAll(at("next"+partialMark+"0001/x"), 0o700))
	running, err := newPartial(at("next"))
	check(t, err)
	_, err = g.vault.Restore(t.Context(), v.ID, at("next"), RestoreOptions{})
	check(t, err)
	if _, err := os.Stat(at("next" + partialMark + "0001")); err == nil {
		t.Error("what a killed process left is still there")
	}
	if _, err := os.Stat(running.path); err != nil {
		t.Errorf("what a running restore has: %v", err)
	}
	check(t, running.close())
}

// TestSinglePathsComeBack into a home that lives on.
func TestSinglePathsComeBack(t *testing.T) {
	g := start(t, nil)
	g.write("notes/a", "old a")
	g.write("notes/b", "old b")
	g.write("gone/deep/c", "old c")
	g.write("dir/x", "old x")
	g.write("dir-like", "1")
	check(t, os.Link(filepath.Join(g.home, "notes/a"), filepath.Join(g.home, "z")))
	v := g.snapshot()
	g.write("notes/a", "new a")
	g.write("notes/b", "new b")
	check(t, os.RemoveAll(filepath.Join(g.home, "gone")))
	g.write("dir/x", "new x")
	g.write("dir/y", "new y")
	g.write("dir-like", "2")
	report, err := g.vault.Restore(t.Context(), v.ID, g.home, RestoreOptions{Only: []string{"notes/a", "gone/deep/c", "dir", "z", "dir/x"}})
	check(t, err)
	for name, want := range map[string]string{"notes/a": "old a", "notes/b": "new b", "gone/deep/c": "old c", "dir/x": "old x", "dir-like": "2", "z": "old a"} {
		if got, err := os.ReadFile(filepath.Join(g.home, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(g.home, "dir/y")); err == nil {
		t.Error("a restored directory has what was not in it")
	}
	changes := map[string]string{}
	for _, c := range report.Changes {
		changes[c.Path] = c.What
	}
	for path, want := range map[string]string{"gone": "added", "gone/deep/c": "added", "dir/y": "removed", "notes/a": "content", "notes/b": "", "dir-like": ""} {
		if changes[path] != want {
			t.Errorf("the report says %q of %s, want %q", changes[path], path, want)
		}
	}
	siblings, err := os.ReadDir(filepath.Dir(g.home))
	check(t, err)
	for _, s := range siblings {
		if strings.Contains(s.Name(), partialMark) {
			t.Errorf("%s is left", s.Name())
		}
	}
	if _, err := g.vault.Restore(t.Context(), v.ID, g.home, RestoreOptions{Only: []string{"nothing"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such path: %v", err)
	}
	// A home whose owner puts a link in the way leads nowhere.
	outside := fastDir(t)
	check(t, os.RemoveAll(filepath.Join(g.home, "notes")))
	check(t, os.Symlink(outside, filepath.Join(g.home, "notes")))
	if _, err := g.vault.Restore(t.Context(), v.ID, g.home, RestoreOptions{Only: []string{"notes/a"}}); err == nil {
		t.Error("restored through a link")
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("left outside: %v, %v", left, err)
	}
	// The link itself can be replaced.
	_, err = g.vault.Restore(t.Context(), v.ID, g.home, RestoreOptions{Only: []string{"notes"}})
	check(t, err)
}

// TestReportsAndDiffsSayWhatChanged compares with a directory, and with a version.
func TestReportsAndDiffsSayWhatChanged(t *testing.T) {
	g := start(t, nil)
	for _, name := range []string{"same", "content", "size", "mode", "gone", "kind", "touched", "d/x"} {
		g.write(name, "before")
	}
	check(t, os.Symlink("a", filepath.Join(g.home, "link")))
	first := g.snapshot()
	home := func(name string) string { return filepath.Join(g.home, name) }
	check(t, os.WriteFile(home("content"), []byte("BEFORE"), 0o644))
	check(t, os.WriteFile(home("size"), []byte("longer than before"), 0o644))
	check(t, os.Chmod(home("mode"), 0o600))
	check(t, os.Remove(home("gone")))
	check(t, os.Remove(home("kind")))
	check(t, os.Mkdir(home("kind"), 0o755))
	check(t, os.Chtimes(home("touched"), time.Unix(1, 0), time.Unix(1, 0)))
	check(t, os.Remove(home("link")))
	check(t, os.Symlink("b", home("link")))
	g.write("d/new", "new")
	second := g.snapshot()

	diff, err := g.vault.Diff(t.Context(), first.ID, second.ID)
	check(t, err)
	want := []Change{{"content", "content", 6, 6}, {"d/new", "added", -1, 3}, {"gone", "removed", 6, -1}, {"kind", "kind", 6, 0},
		{"link", "content", 0, 0}, {"mode", "metadata", 6, 6}, {"size", "content", 6, 18}, {"touched", "metadata", 6, 6}}
	if !slices.Equal(diff, want) {
		t.Errorf("differences:\n got %v\nwant %v", diff, want)
	}
	if diff, err := g.vault.Diff(t.Context(), second.ID, second.ID); err != nil || len(diff) > 0 {
		t.Errorf("a version differs from itself: %v, %v", diff, err)
	}
	// Back to the first version: the same, read the other way round.
	back, err := g.vault.Diff(t.Context(), second.ID, first.ID)
	check(t, err)
	report, err := g.vault.Restore(t.Context(), first.ID, filepath.Join(fastDir(t), "x"), RestoreOptions{Against: g.home})
	check(t, err)
	if !slices.Equal(report.Changes, back) || report.NChanges != len(back) || report.Kept != first.Files-7 {
		t.Errorf("report %+v\n want %v", report, back)
	}
	tree, err := g.vault.Tree(t.Context(), first.ID)
	check(t, err)
	if e, err := tree.Stat("link"); err != nil || e.Kind != KindSymlink || e.Target != "a" {
		t.Errorf("link: %+v, %v", e, err)
	}
	for _, path := range []string{"d", "nothing", "../x", "link", ""} {
		if f, err := tree.Open(t.Context(), path); err == nil {
			f.Close()
			t.Errorf("opened %q", path)
		}
	}
	f, err := tree.Open(t.Context(), "same")
	check(t, err)
	check(t, f.Close())
	if _, err := f.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
}
