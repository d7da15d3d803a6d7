package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/remedy"
)

// scratch is where plain bytes of sealed images live for a while: a directory in
// memory, one for each Store, so that what a crash leaves there can be found.
type scratch struct {
	memory string       // a tmpfs
	base   string       // ours below it
	dir    string       // this store's below that
	free   func() int64 // bytes of memory to be had
}

func newScratch(memory, storeDir string, free func() int64) scratch {
	if memory == "" {
		memory = "/dev/shm"
	}
	sum := sha256.Sum256([]byte(storeDir))
	base := filepath.Join(memory, "moltworker-image-"+strconv.Itoa(os.Geteuid()))
	return scratch{memory, base, filepath.Join(base, hex.EncodeToString(sum[:8])), free}
}

// clean removes what a crash left.
func (s scratch) clean() error {
	if err := ownDirectory(s.base); err != nil {
		return nil // not there, or not ours: then nothing of ours is in it
	}
	err := os.RemoveAll(s.dir)
	os.Remove(s.base) // if empty
	return err
}

// make returns a new directory in memory with room for size bytes. An error says
// why there is none, and how there would be.
func (s scratch) make(size int64) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.memory, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		return "", remedy.With(fmt.Errorf("%s is not a file system in memory (tmpfs)", s.memory), "mount one there")
	}
	// As much again is needed for the sandbox itself.
	if free := s.free(); free < 2*size+128<<20 {
		return "", remedy.With(fmt.Errorf("%d MB of memory can be had, and twice the image's %d MB are needed", free>>20, size>>20),
			"give the machine more memory, or do not seal images always")
	}
	if free := clampInt64(st.Bavail, st.Bsize); free < size+1<<20 {
		return "", remedy.With(fmt.Errorf("%s has %d MB free, and the image has %d MB", s.memory, free>>20, size>>20),
			"make it larger (docker run --shm-size), or do not seal images always")
	}
	// Another store may remove the directories above while they are empty.
	for try := 0; ; try++ {
		dir, err := s.makeDirs()
		if try == 10 || !errors.Is(err, os.ErrNotExist) {
			return dir, err
		}
	}
}

func (s scratch) makeDirs() (string, error) {
	for _, dir := range []string{s.base, s.dir} {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return "", err
		}
		if err := ownDirectory(dir); err != nil {
			return "", remedy.With(err, "remove it")
		}
	}
	return os.MkdirTemp(s.dir, "")
}

// remove removes a directory that make returned; "" is none.
func (s scratch) remove(dir string) error {
	if dir == "" {
		return nil
	}
	err := os.RemoveAll(dir)
	os.Remove(s.dir) // if empty
	os.Remove(s.base)
	return err
}
