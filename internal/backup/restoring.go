package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// restoring writes a tree below a directory that nobody else knows.
type restoring struct {
	t        *Tree
	p        *partial
	progress func(done, total int64)

	chunks   *chunkStream
	open     []openDir // the directories that the last entry was in
	done     int64
	total    int64
	warnings []string
	missed   map[string]int // warnings by kind
}

// openDir is a directory that is being filled.
type openDir struct {
	e *entry
	f *os.File
}

func (w *restoring) write(ctx context.Context) (err error) {
	for i := range w.t.entries {
		w.total += w.t.entries[i].size
	}
	if err := w.t.v.packs.prepare(ctx, w.t.needs()); err != nil {
		return err
	}
	w.chunks = w.t.v.packs.stream(ctx, w.t.allWants())
	defer w.chunks.close()
	defer func() { err = errors.Join(err, w.leave(0)) }()
	for i := range w.t.entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		e := &w.t.entries[i]
		if err := w.entry(e); err != nil {
			return fmt.Errorf("write %q: %w", e.path, err)
		}
	}
	return nil
}

// leave closes the open directories from depth n on.
func (w *restoring) leave(n int) error {
	var err error
	for ; len(w.open) > n; w.open = w.open[:len(w.open)-1] {
		err = errors.Join(err, w.open[len(w.open)-1].f.Close())
	}
	return err
}

// finish gives the directories their attributes, those inside first: before, all of
// them can be written to.
func (w *restoring) finish() error {
	tree := w.p.tree()
	defer tree.back(0)
	for i := len(w.t.entries) - 1; i >= 0; i-- {
		e := &w.t.entries[i]
		if e.kind != recordDir {
			continue
		}
		if err := w.directory(tree, e); err != nil {
			return fmt.Errorf("write %q: %w", e.path, err)
		}
	}
	return nil
}

func (w *restoring) directory(tree *liveTree, e *entry) error {
	above, name := w.p.d, "."
	if e.path != "" {
		var err error
		if above, err = tree.dir(parent(e.path)); err != nil {
			return err
		}
		defer above.Close()
		name = path.Base(e.path)
	}
	f, err := openAt(above, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	return errors.Join(w.attributes(above, name, f, e), f.Close())
}

// into opens the directory that an entry is in: the tree is in order, so it is one
// of those that are open.
func (w *restoring) into(e *entry) (*os.File, error) {
	in := parent(e.path)
	for i := len(w.open) - 1; i >= 0; i-- {
		if w.open[i].e.path == in {
			return w.open[i].f, w.leave(i + 1)
		}
	}
	return w.reopen(in)
}

// reopen opens directories that were left too early: "a/b" comes after "a.b", and
// that after "a".
func (w *restoring) reopen(in string) (*os.File, error) {
	e := w.t.find(in)
	if e == nil || e.kind != recordDir || in == "" {
		return nil, fmt.Errorf("%w: it is in no directory", ErrDamaged)
	}
	above, err := w.into(e)
	if err != nil {
		return nil, err
	}
	return w.enter(above, path.Base(e.path), e)
}

// enter opens a directory and keeps it open.
func (w *restoring) enter(above *os.File, name string, e *entry) (*os.File, error) {
	f, err := openAt(above, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	w.open = append(w.open, openDir{e, f})
	return f, nil
}

// openAt opens a name in a directory, and never through a symbolic link.
func openAt(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (w *restoring) entry(e *entry) error {
	if e.path == "" {
		_, err := w.enter(w.p.d, ".", e)
		return err
	}
	dir, err := w.into(e)
	if err != nil {
		return err
	}
	name := path.Base(e.path)
	switch e.kind {
	case recordDir:
		if err := unix.Mkdirat(int(dir.Fd()), name, 0o700); err != nil {
			return err
		}
		_, err := w.enter(dir, name, e)
		return err
	case recordSymlink:
		return w.symlink(dir, name, e)
	case recordLink:
		return w.link(dir, name, e)
	}
	return w.file(dir, name, e)
}

func (w *restoring) symlink(dir *os.File, name string, e *entry) error {
	fd := int(dir.Fd())
	if err := unix.Symlinkat(e.target, fd, name); err != nil {
		return err
	}
	w.own(e, func() error { return unix.Fchownat(fd, name, int(e.uid), int(e.gid), unix.AT_SYMLINK_NOFOLLOW) })
	return unix.UtimesNanoAt(fd, name, times(e), unix.AT_SYMLINK_NOFOLLOW)
}

func (w *restoring) link(dir *os.File, name string, e *entry) error {
	if w.t.resolve(e) == nil {
		return fmt.Errorf("%w: it is a link to no file", ErrDamaged)
	}
	tree := w.p.tree()
	defer tree.back(0)
	from, err := tree.dir(parent(e.target))
	if err != nil {
		return err
	}
	defer from.Close()
	return unix.Linkat(int(from.Fd()), path.Base(e.target), int(dir.Fd()), name, 0)
}

func (w *restoring) file(dir *os.File, name string, e *entry) error {
	f, err := openAt(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = w.contents(f, e)
	if err == nil {
		err = w.attributes(dir, name, f, e)
	}
	return errors.Join(err, f.Close())
}

// contents writes what a file holds, and makes sure that it is that.
func (w *restoring) contents(f *os.File, e *entry) error {
	hash := newContentHasher(w.t.v.keys)
	at := int64(0)
	longer := fmt.Errorf("%w: it is longer than the version says", ErrDamaged)
	for _, r := range e.runs {
		if r.pack == hole {
			if r.n > e.size-at {
				return longer
			}
			hash.hole(r.n)
			at += r.n
			w.report(r.n)
			continue
		}
		for range r.n {
			data, err := w.chunks.next()
			if err != nil {
				return err
			}
			if int64(len(data)) > e.size-at {
				return longer
			}
			hash.write(data)
			if _, err := f.WriteAt(data, at); err != nil {
				return err
			}
			at += int64(len(data))
			w.report(int64(len(data)))
		}
	}
	if at != e.size || hash.sum() != e.hash {
		return fmt.Errorf("%w: its content is not what the version says", ErrDamaged)
	}
	return f.Truncate(e.size)
}

func (w *restoring) report(n int64) {
	w.done += n
	if w.progress != nil {
		w.progress(w.done, w.total)
	}
}

// attributes sets what an entry has beside its content; last the time, which the
// rest would change.
func (w *restoring) attributes(dir *os.File, name string, f *os.File, e *entry) error {
	fd := int(f.Fd())
	w.own(e, func() error { return unix.Fchown(fd, int(e.uid), int(e.gid)) })
	for _, x := range e.xattrs {
		if err := unix.Fsetxattr(fd, x.name, []byte(x.value), 0); err != nil {
			w.warn("attributes", fmt.Sprintf("%q: attribute %q: %s", e.path, x.name, reason(err)))
		}
	}
	if err := unix.Fchmod(fd, e.mode); err != nil {
		w.warn("modes", fmt.Sprintf("%q: mode %o: %s", e.path, e.mode, reason(err)))
	}
	return unix.UtimesNanoAt(int(dir.Fd()), name, times(e), unix.AT_SYMLINK_NOFOLLOW)
}

// own gives an entry its owner. Only root can; for anybody else all belongs to them.
func (w *restoring) own(e *entry, chown func() error) {
	if int(e.uid) == os.Geteuid() && int(e.gid) == os.Getegid() {
		return
	}
	if err := chown(); err != nil {
		w.warn("owners", fmt.Sprintf("%q: owner %d:%d: %s", e.path, e.uid, e.gid, reason(err)))
	}
}

func (w *restoring) warn(kind, text string) {
	if w.missed == nil {
		w.missed = map[string]int{}
	}
	w.missed[kind]++
	if len(w.warnings) < maxWarnings-1 {
		w.warnings = append(w.warnings, text)
	} else if len(w.warnings) == maxWarnings-1 {
		w.warnings = append(w.warnings, "and more of this kind")
	}
}

func times(e *entry) []unix.Timespec {
	modified := unix.Timespec{Sec: e.sec, Nsec: int64(e.nsec)}
	now := unix.NsecToTimespec(time.Now().UnixNano())
	return []unix.Timespec{now, modified}
}
