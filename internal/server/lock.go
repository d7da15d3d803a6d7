package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/remedy"
)

// ErrInUse: another `moltworker up` serves the data directory.
var ErrInUse = errors.New("data directory in use")

// lockName is the file by which a data directory is known and held.
const lockName = "lock"

// lockData makes the data directory and takes it for this process. The lock goes
// with the process, however it ends.
func lockData(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, remedy.With(fmt.Errorf("make data directory: %w", err), "choose a directory that you may write to with --data DIR")
	}
	if err := closeToOthers(dir); err != nil {
		return nil, fmt.Errorf("close the data directory to others: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		owner := lockOwner(f)
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, remedy.With(fmt.Errorf("%w: %s is served by another `moltworker up`%s", ErrInUse, dir, owner),
				"stop that one, or give this one its own directory with --data DIR")
		}
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return f, nil
}

// closeToOthers takes a data directory's permissions from others. A directory with
// other things in it, such as somebody's home, keeps the permissions that those
// may need; what we make inside is closed by itself.
func closeToOthers(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	ours := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == lockName })
	foreign := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != ".dev.vars" })
	if foreign && !ours {
		return nil
	}
	return os.Chmod(dir, 0o700)
}

// lockOwner says who holds the lock, as far as the file tells.
func lockOwner(f *os.File) string {
	var pid int
	if _, err := fmt.Fscan(f, &pid); err != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}
