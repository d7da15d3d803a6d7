package dir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

const (
	// drafts is where files are written before they get their names: one place, so
	// that what killed writes leave is found without a walk. No object is called so.
	drafts = ".tmp"
	// staleAfter is the age from which nobody can still be writing a draft.
	staleAfter = 24 * time.Hour
	// slice is how much is written between two looks at the context, in bytes.
	slice = 4 << 20
)

// put writes a draft and gives it its name. What the name shows is therefore
// always whole, and durable before anybody is told.
func (s *Store) put(ctx context.Context, name string, data []byte, ifAbsent bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// What this finds is only final below, but saves the writing.
	info, err := s.root.Lstat(name)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("%w: there are objects below %s/", blob.ErrName, name)
	case err == nil && ifAbsent:
		return blob.ErrExists
	}
	draft, err := s.draft(ctx, data)
	if err != nil {
		return err
	}
	defer s.root.Remove(draft) // gone already, but for a failure and after a link
	if err := s.makeParents(path.Dir(name)); err != nil {
		return err
	}
	if ifAbsent {
		err = s.publishNew(draft, name)
	} else {
		err = s.root.Rename(draft, name)
	}
	if err != nil {
		return err
	}
	if err := s.syncDir(path.Dir(name)); err != nil {
		// It is there, but may be gone after a power cut.
		return fmt.Errorf("%w: make the name durable: %w", blob.ErrUnavailable, err)
	}
	return nil
}

// draft writes data durably to a new file and returns its name. It leaves no file
// when it fails.
func (s *Store) draft(ctx context.Context, data []byte) (string, error) {
	if err := s.root.Mkdir(drafts, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	name := path.Join(drafts, random())
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return "", err
	}
	if err := errors.Join(fill(ctx, f, data), f.Close()); err != nil {
		return "", errors.Join(err, s.root.Remove(name))
	}
	return name, nil
}

// fill writes data to f and makes it durable, unless ctx ends.
func fill(ctx context.Context, f *os.File, data []byte) error {
	for len(data) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.Write(data[:min(slice, len(data))])
		if err != nil {
			return err
		}
		data = data[n:]
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return ctx.Err()
}

// makeParents makes a directory and those above it, each of them durable.
func (s *Store) makeParents(dir string) error {
	if dir == "." {
		return nil
	}
	_, durable := s.durable.Load(dir)
	if durable && s.mustBeDir(dir) == nil {
		return nil
	}
	if err := s.makeParents(path.Dir(dir)); err != nil {
		return err
	}
	if err := s.root.Mkdir(dir, dirMode); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := s.mustBeDir(dir); err != nil {
			return err
		}
	}
	// Also when it was there: whoever made it may not have come this far yet.
	if err := s.syncDir(path.Dir(dir)); err != nil {
		return err
	}
	s.durable.Store(dir, true)
	return nil
}

// mustBeDir tells a directory from an object in the way.
func (s *Store) mustBeDir(dir string) error {
	info, err := s.root.Stat(dir)
	if err == nil && !info.IsDir() {
		return fmt.Errorf("%w: %s is an object already", blob.ErrName, dir)
	}
	return err
}

// publishNew gives a draft its name unless that is taken; of many at once one wins.
func (s *Store) publishNew(draft, name string) error {
	err := s.root.Link(draft, name)
	if noLinks(err) {
		err = s.renameNew(draft, name)
	}
	if errors.Is(err, fs.ErrExist) {
		return blob.ErrExists
	}
	return err
}

// noLinks says whether a file system has no hard links (FAT, some network and
// user-space ones).
func noLinks(err error) bool {
	for _, no := range []error{syscall.EPERM, syscall.EOPNOTSUPP, syscall.ENOSYS} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// renameNew is publishNew where there are no hard links.
func (s *Store) renameNew(draft, name string) error {
	from, err := s.root.Open(path.Dir(draft))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := s.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer to.Close()
	err = unix.Renameat2(int(from.Fd()), path.Base(draft), int(to.Fd()), path.Base(name), unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return remedy.With(fmt.Errorf("%w: the file system of %s can neither link files nor rename them without replacing", blob.ErrDenied, s.path),
			"choose a directory on another file system, such as ext4, XFS, Btrfs or NFS")
	}
	return err
}

// sweep removes drafts that were last written before the given time.
func (s *Store) sweep(before time.Time) error {
	d, err := s.root.Open(drafts)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	for _, e := range entries {
		info, gone := e.Info()
		if gone == nil && info.Mode().IsRegular() && info.ModTime().Before(before) {
			if e := s.root.Remove(path.Join(drafts, e.Name())); !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}

func random() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
