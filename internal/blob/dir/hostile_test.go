package dir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

func names(t *testing.T, s *Store) []string {
	t.Helper()
	var all []string
	if err := s.List(t.Context(), "", func(i blob.Info) error { all = append(all, i.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

func put(t *testing.T, s *Store, name, data string) {
	t.Helper()
	if err := s.Put(t.Context(), name, []byte(data), false); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyTheOwnerMayRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	put(t, open(t, path), "a/b", "x")
	for name, want := range map[string]fs.FileMode{"": 0o700, "a": 0o700, "a/b": 0o600, drafts: 0o700} {
		info, err := os.Stat(filepath.Join(path, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q has mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

// TestDrafts is about what a killed write leaves.
func TestDrafts(t *testing.T) {
	path := t.TempDir()
	put(t, open(t, path), "a", "x")
	old, recent := filepath.Join(path, drafts, "old"), filepath.Join(path, drafts, "recent")
	for _, name := range []string{old, recent} {
		if err := os.WriteFile(name, []byte("half of"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-staleAfter - time.Minute)
	if err := os.Chtimes(old, before, before); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	if got := names(t, s); !slices.Equal(got, []string{"a"}) {
		t.Errorf("List shows %q", got)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old draft is still there: %v", err)
	}
	if _, err := os.Stat(recent); err != nil {
		t.Errorf("the recent draft, which may be somebody's: %v", err)
	}
}

func TestNoDraftIsLeft(t *testing.T) {
	path := t.TempDir()
	s := open(t, path)
	put(t, s, "a", "x")
	if err := s.Put(t.Context(), "a", []byte("y"), true); !errors.Is(err, blob.ErrExists) {
		t.Error(err)
	}
	if err := s.Put(t.Context(), "b/c", []byte("y"), true); err != nil {
		t.Error(err)
	}
	if err := s.Put(t.Context(), "b", []byte("y"), false); !errors.Is(err, blob.ErrName) {
		t.Errorf("Put of what is a directory: %v, want ErrName", err)
	}
	if err := s.Put(t.Context(), "a/b/c", []byte("y"), false); !errors.Is(err, blob.ErrName) {
		t.Errorf("Put below an object: %v, want ErrName", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.draft(ctx, make([]byte, 10)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	entries, err := os.ReadDir(filepath.Join(path, drafts))
	if err != nil || len(entries) != 0 {
		t.Errorf("%d drafts are left: %v", len(entries), err)
	}
}

// TestLinksLeadNowhere is about symbolic links that somebody put into the store.
func TestLinksLeadNowhere(t *testing.T) {
	path, outside := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	put(t, s, "ours/a", "x")
	for link, target := range map[string]string{"out": outside, "file": filepath.Join(outside, "secret"), "up": "../..", "in": "ours", "ours/b": "a"} {
		if err := os.Symlink(target, filepath.Join(path, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"out/secret", "file", "up/etc/passwd"} {
		if data, err := s.Get(t.Context(), name, 0, -1); err == nil {
			t.Errorf("Get of %s returned %q", name, data)
		}
		if info, err := s.Stat(t.Context(), name); err == nil {
			t.Errorf("Stat of %s returned %+v", name, info)
		}
	}
	for _, name := range []string{"out/new", "up/new"} {
		if err := s.Put(t.Context(), name, []byte("x"), false); err == nil {
			t.Errorf("Put of %s succeeded", name)
		}
	}
	_ = s.Delete(t.Context(), "out/secret")
	put(t, s, "file", "ours") // in place of the link, not through it
	if data, err := os.ReadFile(filepath.Join(outside, "secret")); string(data) != "secret" {
		t.Errorf("the file outside holds %q, %v", data, err)
	}
	if got, want := names(t, s), []string{"file", "ours/a"}; !slices.Equal(got, want) {
		t.Errorf("List shows %q, want %q", got, want)
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		t.Errorf("outside there are %d entries now: %v", len(entries), err)
	}
}

func TestForeignFilesArePassedOver(t *testing.T) {
	path := t.TempDir()
	s := open(t, path)
	put(t, s, "a", "x")
	if err := os.Mkdir(filepath.Join(path, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "README.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(path, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := names(t, s); !slices.Equal(got, []string{"a"}) {
		t.Errorf("List shows %q", got)
	}
	if _, err := s.Get(t.Context(), "pipe", 0, -1); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Get of a pipe: %v, want ErrNotFound, and no waiting", err)
	}
}

// TestDirectoryGone is about a disk that is no longer mounted: its objects are
// not missing.
func TestDirectoryGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	s := open(t, path)
	put(t, s, "a", "x")
	if err := os.Rename(path, path+"-elsewhere"); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		_, get := s.Get(t.Context(), "b", 0, -1)
		_, stat := s.Stat(t.Context(), "b")
		list := s.List(t.Context(), "b", func(blob.Info) error { return nil })
		for call, err := range map[string]error{"Get": get, "Stat": stat, "List": list} {
			if !errors.Is(err, blob.ErrUnavailable) || remedy.Of(err) == "" {
				t.Errorf("%s %s: %v, want ErrUnavailable with a remedy", call, when, err)
			}
		}
	}
	check("without the directory")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	check("with another directory in its place")
}

func TestOpenWhereNothingIsMounted(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "not-mounted", "store"))
	if !errors.Is(err, blob.ErrUnavailable) || remedy.Of(err) == "" {
		t.Errorf("Open: %v, want ErrUnavailable with a remedy", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil || remedy.Of(err) == "" {
		t.Errorf("Open of a file: %v, want an error with a remedy", err)
	}
}

// TestWithoutHardLinks takes the way of file systems that have none.
func TestWithoutHardLinks(t *testing.T) {
	s := open(t, t.TempDir())
	put(t, s, "a/there", "x")
	for name, want := range map[string]error{"a/new": nil, "a/there": fs.ErrExist} {
		draft, err := s.draft(t.Context(), []byte(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.renameNew(draft, name); !errors.Is(err, want) {
			t.Errorf("rename to %s: %v, want %v", name, err, want)
		}
	}
	if data, err := s.Get(t.Context(), "a/new", 0, -1); string(data) != "a/new" {
		t.Errorf("Get: %q, %v", data, err)
	}
	if data, err := s.Get(t.Context(), "a/there", 0, -1); string(data) != "x" {
		t.Errorf("Get: %q, %v", data, err)
	}
}

func TestClassify(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{
		syscall.ENOSPC: blob.ErrUnavailable, syscall.EDQUOT: blob.ErrUnavailable, syscall.EIO: blob.ErrUnavailable,
		syscall.ESTALE: blob.ErrUnavailable, syscall.EMFILE: blob.ErrUnavailable, syscall.EACCES: blob.ErrDenied,
		syscall.EROFS: blob.ErrDenied, syscall.ELOOP: blob.ErrDenied,
	} {
		err := classify(&fs.PathError{Op: "open", Path: "x", Err: errno}, "/store")
		if !errors.Is(err, want) || !errors.Is(err, errno) || remedy.Of(err) == "" {
			t.Errorf("%v becomes %v, want %v with a remedy", errno, err, want)
		}
		if !strings.Contains(remedy.Of(err), "/store") && errno != syscall.EMFILE {
			t.Errorf("the remedy for %v does not say where: %s", errno, remedy.Of(err))
		}
	}
}
