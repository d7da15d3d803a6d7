package secret

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// replaceFile puts data at path in one step: afterwards, whatever happens, path
// holds either what it held before or all of data. The caller holds the file
// lock, so the temporary name is its own.
func replaceFile(path string, data []byte) error {
	tmp := path + ".tmp"
	if err := writeSynced(tmp, data); err != nil {
		os.Remove(tmp)
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
			return fmt.Errorf("no space to write %s, the old content is kept: free some space and try again: %w", path, err)
		}
		return fmt.Errorf("write %s, the old content is kept: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("replace %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func writeSynced(path string, data []byte) error {
	os.Remove(path) // left by a process that was killed
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// How long a change waits for another process's change, and how often it looks.
const (
	lockPatience = 10 * time.Second
	lockPoll     = 20 * time.Millisecond
)

// lockDir takes the store's lock among processes, and among Stores of one
// process. Closing the file gives it back.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the secrets: %w", err)
	}
	deadline := time.Now().Add(lockPatience)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if time.Now().After(deadline) {
			f.Close()
			return nil, fmt.Errorf("another process has been changing the secrets in %s for %s: end it and try again", dir, lockPatience)
		}
		time.Sleep(lockPoll)
	}
}

// version tells one state of a file from another without reading it.
type version struct {
	device, inode    uint64
	size             int64
	modified, change syscall.Timespec
}

func versionOf(info os.FileInfo) version {
	st := info.Sys().(*syscall.Stat_t)
	return version{device: uint64(st.Dev), inode: st.Ino, size: st.Size, modified: st.Mtim, change: st.Ctim}
}
