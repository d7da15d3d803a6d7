package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/moltworker/moltworker/internal/blob"
)

// List is blob.Store's.
func (s *Store) List(ctx context.Context, prefix string, f func(blob.Info) error) error {
	if err := blob.ValidatePrefix(prefix); err != nil {
		return err
	}
	l := listing{s: s, ctx: ctx, prefix: prefix, f: f}
	// All names that begin with "a/b/c" are in "a/b".
	err := l.dir(path.Dir(prefix + "x"))
	if err == nil && !l.any {
		err = s.gone() // an empty store, or one that is not there any more
	}
	if l.stopped != nil {
		return l.stopped
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", prefix, s.classify(err))
	}
	return nil
}

// listing is one List on its way through the tree.
type listing struct {
	s       *Store
	ctx     context.Context
	prefix  string
	f       func(blob.Info) error
	any     bool  // f was called
	stopped error // what f returned
}

// dir lists a directory. One that is not there has nothing in it.
func (l *listing) dir(name string) error {
	entries, err := l.read(name)
	if is(err, fs.ErrNotExist, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := l.entry(path.Join(name, e.Name()), e); err != nil {
			return err
		}
	}
	return nil
}

// read returns a directory's entries in the order in which List shows them:
// everything in "a" begins with "a/", and comes after "a-b" therefore.
func (l *listing) read(name string) ([]fs.DirEntry, error) {
	if err := l.ctx.Err(); err != nil {
		return nil, err
	}
	d, err := l.s.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(listed(a), listed(b)) })
	return entries, err
}

func listed(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

// entry lists what is at name, unless it has no part in the listing: drafts,
// links, and what somebody else left there.
func (l *listing) entry(name string, e fs.DirEntry) error {
	switch {
	case blob.ValidateName(name) != nil:
		return nil
	case e.IsDir():
		if below := name + "/"; strings.HasPrefix(below, l.prefix) || strings.HasPrefix(l.prefix, below) {
			return l.dir(name)
		}
		return nil
	case !e.Type().IsRegular() || !strings.HasPrefix(name, l.prefix):
		return nil
	}
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	if err := l.ctx.Err(); err != nil {
		return err
	}
	l.any = true
	l.stopped = l.f(blob.Info{Name: name, Size: info.Size(), Modified: info.ModTime()})
	return l.stopped
}
