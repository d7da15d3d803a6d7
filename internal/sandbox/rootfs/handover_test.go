package rootfs

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func owner(t *testing.T, name string) int {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

// All of a tree changes hands, and nothing that its links point at.
func TestHandOver(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	const guest, stranger = 64321, 4711
	dir := t.TempDir()
	home, outside := filepath.Join(dir, "home"), filepath.Join(dir, "outside")
	deep := filepath.Join(home, "a/b/c")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(deep, "file"), outside, filepath.Join(dir, "theirs")} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(dir, "theirs"), stranger, stranger); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(home, "a/link")
	must(t, os.Symlink(outside, link))
	must(t, os.Symlink(dir, filepath.Join(home, "up")))
	must(t, syscall.Mkfifo(filepath.Join(deep, "fifo"), 0o600))
	must(t, os.Link(filepath.Join(dir, "theirs"), filepath.Join(home, "hard"))) // another name for a stranger's file
	must(t, os.Link(filepath.Join(deep, "file"), filepath.Join(home, "twin")))  // a second name within

	must(t, HandOver(home, guest, guest))
	for _, name := range []string{home, deep, filepath.Join(deep, "file"), filepath.Join(deep, "fifo"), link, filepath.Join(home, "twin")} {
		if got := owner(t, name); got != guest {
			t.Errorf("%s belongs to %d, want the guest", name, got)
		}
	}
	if got := owner(t, outside); got != 0 {
		t.Errorf("a symbolic link gave its target to %d", got)
	}
	if got := owner(t, filepath.Join(dir, "theirs")); got != stranger {
		t.Errorf("a hard link gave a stranger's file to %d", got)
	}

	// Once is enough: what belongs to the guest is not looked through again.
	must(t, os.Chown(deep, stranger, stranger))
	must(t, HandOver(home, guest, guest))
	if got := owner(t, deep); got != stranger {
		t.Errorf("a second hand-over changed %s to %d", deep, got)
	}
}

// A tree too deep is refused, not followed to the end.
func TestHandOverDeep(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	home := t.TempDir()
	fd, err := syscall.Open(home, syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	must(t, err)
	for range maxDepth + 10 {
		must(t, syscall.Mkdirat(fd, "d", 0o700))
		next, err := syscall.Openat(fd, "d", syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
		must(t, err)
		syscall.Close(fd)
		fd = next
	}
	syscall.Close(fd)
	if err := HandOver(home, 64321, 64321); err == nil {
		t.Error("HandOver of a bottomless tree = nil, want an error")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
