package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/remedy"
)

// racy is how much older than the last look a change must be, so that a later one
// has another time for certain.
const racy = 2 * time.Second

// stage is our directory for copies of what changes.
type stage struct {
	dir  string
	root *os.Root
	n    int
}

// openStage makes the directory if need be, and empties it.
func openStage(dir string) (*stage, error) {
	if dir == "" {
		return nil, errors.New("no directory given for copies")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("prepare copies: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("prepare copies: %w", err)
	}
	s := &stage{dir: dir, root: root}
	if err := s.empty(); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare copies: %w", err), root.Close())
	}
	return s, nil
}

func (s *stage) empty() error {
	d, err := s.root.Open(".")
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	err = errors.Join(err, d.Close())
	for _, name := range names {
		err = errors.Join(err, s.root.RemoveAll(name))
	}
	return err
}

// close removes the copies.
func (s *stage) close() error { return errors.Join(s.empty(), s.root.Close()) }

// clock is the time of the file system: what a file changed now would have.
func (s *stage) clock() (time.Time, error) {
	const name = "clock"
	f, err := s.root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask for the file system's time: %w", err)
	}
	_, err = f.Write([]byte("now"))
	info, statErr := f.Stat()
	if err := errors.Join(err, statErr, f.Close()); err != nil {
		return time.Time{}, fmt.Errorf("ask for the file system's time: %w", err)
	}
	return info.ModTime(), nil
}

// settledBefore says whether a file with this stamp was last changed well before t.
func (s stamp) settledBefore(t time.Time) bool {
	return time.Unix(s.csec, int64(s.cnsc)).Before(t.Add(-racy))
}

// copy copies the first size bytes of a file, holes as holes, and returns the
// copy's name.
func (s *stage) copy(ctx context.Context, from *os.File, size int64) (name string, err error) {
	name = strconv.Itoa(s.n)
	s.n++
	to, err := s.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("copy: %w", err)
	}
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err != nil {
		err = copyData(ctx, to, from, size)
		if err != nil {
			return "", errors.Join(noRoom(err, s.dir), to.Close())
		}
	}
	if err := to.Close(); err != nil {
		return "", fmt.Errorf("copy: %w", noRoom(err, s.dir))
	}
	return name, nil
}

// noRoom gives an error its remedy when a disk is full.
func noRoom(err error, dir string) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return remedy.With(err, "make room on the disk of "+filepath.Dir(dir))
	}
	return err
}

// copyPart bounds what one system call copies, so that a copy can be given up.
const copyPart = 16 << 20

func copyData(ctx context.Context, to, from *os.File, size int64) error {
	for at := int64(0); at < size; {
		start, end, err := extent(from, at, size)
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		for start < end {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := copyPiece(to, from, start, min(end-start, copyPart))
			if err != nil {
				return fmt.Errorf("copy: %w", err)
			}
			if n == 0 {
				return errShort
			}
			start += n
		}
		at = end
	}
	if err := to.Truncate(size); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}

func copyPiece(to, from *os.File, at, n int64) (int64, error) {
	in, out := at, at
	done, err := unix.CopyFileRange(int(from.Fd()), &in, int(to.Fd()), &out, int(n), 0)
	if err == nil {
		return int64(done), nil
	}
	if _, err := to.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	return io.Copy(to, io.NewSectionReader(from, at, n))
}
