// Package dir owns the object store in a directory: an object is a file, its
// name the path below the directory. It is the default store, and works on
// whatever is mounted there: a second disk, or a share of another machine.
//
// It must not know what the objects mean. It reaches nothing outside of its
// directory, whatever symbolic links somebody puts into it.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
)

// Store is an object store in a directory. Several processes, on several
// machines, may have the same directory open.
type Store struct {
	path string
	root *os.Root

	durable sync.Map // directories whose names are on stable storage
}

var _ blob.Store = (*Store)(nil)

// Open opens the store in the directory at path, which is made, readable for its
// owner only, if it is not there; what it would be in has to be. What writes left
// that were killed more than a day ago is removed. Close the store after use.
func Open(path string) (*Store, error) {
	fail := func(err error) (*Store, error) { return nil, fmt.Errorf("open store in %s: %w", path, err) }
	path, err := filepath.Abs(path)
	if err != nil {
		return fail(err)
	}
	if err := os.Mkdir(path, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		if errors.Is(err, fs.ErrNotExist) {
			err = remedy.With(fmt.Errorf("%w: there is no %s", blob.ErrUnavailable, filepath.Dir(path)),
				"make that directory, or mount what belongs there")
			return fail(err)
		}
		return fail(classify(err, path))
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return fail(classify(err, path))
	}
	s := &Store{path: path, root: root}
	if err := s.sweep(time.Now().Add(-staleAfter)); err != nil {
		return fail(errors.Join(s.classify(err), root.Close()))
	}
	return s, nil
}

// Close lets go of the directory. No method may be called afterwards.
func (s *Store) Close() error { return s.root.Close() }

func (s *Store) String() string { return s.path }

// Put is blob.Store's.
func (s *Store) Put(ctx context.Context, name string, data []byte, ifAbsent bool) error {
	if err := blob.CheckPut(name, data); err != nil {
		return err
	}
	err := s.put(ctx, name, data, ifAbsent)
	if err = s.classify(err); errors.Is(err, blob.ErrNotFound) {
		err = fmt.Errorf("%w: somebody removes directories in %s", blob.ErrUnavailable, s.path)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// Get is blob.Store's.
func (s *Store) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if err := blob.CheckGet(name, off); err != nil {
		return nil, err
	}
	data, err := s.get(ctx, name, off, n)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, s.classify(err))
	}
	return data, nil
}

func (s *Store) get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// What is no file would block the opening, were it a pipe.
	f, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: a %s is in its place", blob.ErrNotFound, kind(info.Mode()))
	}
	rest := max(0, info.Size()-off)
	if n < 0 || n > rest {
		n = rest
	}
	if n > blob.MaxObject {
		return nil, fmt.Errorf("%w: %d bytes", blob.ErrTooLarge, n)
	}
	data := make([]byte, n)
	got, err := f.ReadAt(data, off)
	if err == io.EOF {
		err = nil // somebody cut the file meanwhile; readers check what they get
	}
	return data[:got], err
}

// Stat is blob.Store's.
func (s *Store) Stat(ctx context.Context, name string) (blob.Info, error) {
	if err := blob.ValidateName(name); err != nil {
		return blob.Info{}, err
	}
	info, err := s.stat(ctx, name)
	if err != nil {
		return blob.Info{}, fmt.Errorf("stat %s: %w", name, s.classify(err))
	}
	return blob.Info{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil
}

func (s *Store) stat(ctx context.Context, name string) (fs.FileInfo, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	info, err := s.root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: a %s is in its place", blob.ErrNotFound, kind(info.Mode()))
	}
	return info, err
}

// Delete is blob.Store's. Directories stay, even empty ones: another process may
// be about to write there.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := blob.ValidateName(name); err != nil {
		return err
	}
	_, err := s.stat(ctx, name)
	if err == nil {
		err = s.root.Remove(name)
	}
	if err == nil {
		err = s.syncDir(path.Dir(name))
	}
	if err = s.classify(err); err != nil && !errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

// syncDir makes the names in a directory durable.
func (s *Store) syncDir(name string) error {
	d, err := s.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeSymlink != 0:
		return "symbolic link"
	}
	return "special file"
}
