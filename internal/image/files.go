package image

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/remedy"
)

// openRegular opens a file for reading that is a regular one of our own, without
// following a symbolic link or waiting for a pipe, and returns its size.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err == nil {
		err = ours(path, info)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// create makes a new file of mode 0600; it must not exist.
func create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
}

// ownDirectory makes sure that path is a directory that only we can enter, and
// not a link to one.
func ownDirectory(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", path)
	}
	if err := ours(path, info); err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return os.Chmod(path, 0o700)
	}
	return nil
}

func ours(path string, info fs.FileInfo) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, not to us (%d)", path, st.Uid, os.Geteuid())
	}
	return nil
}

// usage returns the bytes that a directory takes on disk, 0 if it is not there.
func usage(dir string) (int64, error) {
	var n int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				if st, ok := info.Sys().(*syscall.Stat_t); ok {
					n += st.Blocks * 512
				}
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		return err
	})
	return n, err
}

// room returns the free bytes of the file system that holds path.
func room(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return clampInt64(st.Bavail, st.Bsize), nil
}

func clampInt64(blocks uint64, size int64) int64 {
	const most = 1 << 62
	if size <= 0 || blocks > most/uint64(size) {
		return most
	}
	return int64(blocks) * size
}

// spaceLeft is what an image never takes of a disk, in bytes: databases and logs
// need a little.
const spaceLeft = 64 << 20

// needRoom makes sure that n bytes fit on the file system of path.
func needRoom(path string, n int64) error {
	if n <= 0 {
		return nil
	}
	free, err := room(path)
	if err != nil {
		return err
	}
	if free-spaceLeft < n {
		return withSpaceRemedy(fmt.Errorf("an image of %d MB does not fit on the disk of %s, which has %d MB free: %w",
			n>>20, path, free>>20, syscall.ENOSPC))
	}
	return nil
}

// withSpaceRemedy adds what to do to an error of a full disk.
func withSpaceRemedy(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return remedy.With(err, "free disk space, or lower the limit for images of sleeping agents")
	}
	return err
}

// memoryRoom returns how many bytes of memory can be had, of the machine and of
// the control group we see as ours. 0 when that cannot be told.
func memoryRoom() int64 {
	n := field("/proc/meminfo", "MemAvailable:") * 1024
	most, err := number("/sys/fs/cgroup/memory.max")
	if err != nil {
		return n // none, or "max"
	}
	used, err := number("/sys/fs/cgroup/memory.current")
	if err != nil {
		return n
	}
	used -= field("/sys/fs/cgroup/memory.stat", "inactive_file")
	return max(0, min(n, most-used))
}

func number(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// field returns the number after name in a file of "name number" lines, or 0.
func field(path, name string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) >= 2 && words[0] == name {
			n, _ := strconv.ParseInt(words[1], 10, 64)
			return n
		}
	}
	return 0
}
