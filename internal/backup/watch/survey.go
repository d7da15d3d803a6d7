package watch

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errReplaced: the root is another directory than before.
var errReplaced = errors.New("the directory was replaced")

// picture is what a tree looks like; two that differ are of different states. Each
// entry's share is hashed with a seed that nobody knows, so that no tree can be made
// to look like another.
type picture struct {
	absent  bool
	recent  bool // something was just being changed, and could be again at the same time of modification
	entries int
	sum     uint64
}

// mark is what tells an entry from what it was earlier.
type mark struct {
	path         string
	inode, size  uint64
	mode         uint32
	uid, gid     uint32
	mtime, ctime unix.Timespec
}

// survey is one walk through a tree or a part of it.
type survey struct {
	*Watcher
	ctx    context.Context
	tree   *tree // whose watches are set on the way; nil is none
	device uint64
	begun  time.Time
	moved  bool // a part was not seen, as it was moved meanwhile
	seen   picture
}

// survey looks at the whole tree. Given a tree, it also has every directory
// watched, from before the directory is read, and those that are gone dropped.
// Errors: errReplaced; errMoved, with what was seen; and what keeps it from seeing or
// watching all.
func (w *Watcher) survey(ctx context.Context, t *tree) (picture, error) {
	root, st, err := w.openRoot()
	if err != nil || root < 0 {
		return picture{absent: true}, err
	}
	s := &survey{Watcher: w, ctx: ctx, tree: t, device: st.Dev, begun: w.opts.now()}
	s.count("", &st)
	var n *node
	if t != nil {
		if t.root != nil && t.inode != st.Ino {
			unix.Close(root)
			return picture{}, errReplaced
		}
		t.inode = st.Ino
		t.round++
		if n, err = t.watch(nil, "", root); err != nil {
			unix.Close(root)
			return picture{}, err
		}
	}
	if err := s.walk(root, n, "", 0); err != nil {
		return picture{}, err
	}
	if t != nil {
		t.sweep()
	}
	return s.seen, s.whole()
}

// whole says whether all was seen.
func (s *survey) whole() error {
	if s.moved {
		return errMoved
	}
	return nil
}

// openRoot opens the root for reading; -1 without an error is a root that is not
// there.
func (w *Watcher) openRoot() (int, unix.Stat_t, error) {
	root, st, err := openDir(unix.AT_FDCWD, w.dir)
	if vanished(err) {
		return -1, st, nil
	}
	if err != nil {
		return -1, st, fmt.Errorf("open %s: %w", w.dir, err)
	}
	return root, st, nil
}

// surveyBelow has a new directory watched with all that is below it. One that is
// gone again is no error: an event tells of it.
func (w *Watcher) surveyBelow(ctx context.Context, t *tree, at place) error {
	if at.in.dropped {
		return nil
	}
	dir, st, err := w.openRoot()
	if err != nil {
		return err
	}
	if dir < 0 || st.Ino != t.inode {
		return errReplaced
	}
	s := &survey{Watcher: w, ctx: ctx, tree: t, device: st.Dev, begun: w.opts.now()}
	names := at.in.names()
	for _, name := range names {
		next, _, err := openDir(dir, name)
		unix.Close(dir)
		if vanished(err) {
			return errMoved
		}
		if err != nil {
			return err
		}
		dir = next
	}
	defer unix.Close(dir)
	if err := s.enter(dir, at.in, at.name, join(at.in.path(), at.name), len(names)+1); err != nil {
		return err
	}
	return s.whole()
}

// openDir opens a directory without following a link to it.
func openDir(in int, name string) (fd int, st unix.Stat_t, err error) {
	for {
		fd, err = unix.Openat(in, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return -1, st, err
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

// vanished says whether an error is that of something that is not a directory any
// more.
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// enter walks the directory called name in the one open as in, unless it is another
// file system's, or cannot be read.
func (s *survey) enter(in int, up *node, name, path string, depth int) error {
	if depth > maxDepth {
		return nil
	}
	fd, st, err := openDir(in, name)
	if vanished(err) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open a directory: %w", err)
	}
	if st.Dev != s.device {
		unix.Close(fd)
		return nil
	}
	var n *node
	if s.tree != nil {
		if n, err = s.tree.watch(up, name, fd); err != nil {
			unix.Close(fd)
			return err
		}
	}
	return s.walk(fd, n, path, depth)
}

// walk looks at all that is in an open directory, which it closes.
func (s *survey) walk(fd int, n *node, path string, depth int) error {
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	for {
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			if err := s.entry(fd, n, name, join(path, name), depth); err != nil {
				return err
			}
		}
		if err == io.EOF || vanished(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a directory: %w", errors.Unwrap(err))
		}
	}
}

// entry looks at one entry of an open directory, and at what is below it.
func (s *survey) entry(in int, n *node, name, path string, depth int) error {
	var st unix.Stat_t
	if len(path) > maxPath || unix.Fstatat(in, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return nil // gone again
	}
	dir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if s.leave(path, dir) {
		return nil
	}
	s.count(path, &st)
	if s.seen.entries > s.opts.maxEntries {
		return fmt.Errorf("there are more than %d files", s.opts.maxEntries)
	}
	if !dir {
		return nil
	}
	err := s.enter(in, n, name, path, depth+1)
	if errors.Is(err, errMoved) && n != nil && !n.dropped {
		s.moved = true
		return nil
	}
	return err
}

// count adds an entry to what is seen. A directory's times and size do not count:
// they change with what is left out in it.
func (s *survey) count(path string, st *unix.Stat_t) {
	m := mark{path: path, inode: st.Ino, mode: st.Mode, uid: st.Uid, gid: st.Gid}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		m.size, m.mtime, m.ctime = uint64(st.Size), st.Mtim, st.Ctim
		if age := s.begun.Sub(time.Unix(st.Ctim.Unix())); age < tickOfFiles && age > -tickOfFiles {
			s.seen.recent = true
		}
	}
	s.seen.entries++
	s.seen.sum += maphash.Comparable(s.seed, m)
}
