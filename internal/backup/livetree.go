package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/remedy"
)

// maxSkips bounds how many skipped things are named.
const maxSkips = 100

// maxSkipPath bounds how much of their paths, in bytes: whoever owns the tree has
// chosen them.
const maxSkipPath = 512

// liveTree reads a directory tree that somebody else owns, who may put anything
// anywhere at any time. Every step opens one name in a directory that is already
// open, and follows no symbolic link, so nothing outside is ever reached.
//
// One goroutine uses it.
type liveTree struct {
	root  *os.File
	dev   uint64
	leave func(path string, dir bool) bool
	way   []wayDir // to the directory opened last, from the root
}

// openTree opens a tree. dir itself is not a symbolic link.
func openTree(dir string, leave func(string, bool) bool) (*liveTree, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	t := &liveTree{root: os.NewFile(uintptr(fd), dir), leave: leave}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(fmt.Errorf("look at %s: %w", dir, err), t.close())
	}
	t.dev = st.Dev
	return t, nil
}

func (t *liveTree) close() error {
	t.back(0)
	return t.root.Close()
}

// errNotNow: there is another kind of thing now.
var errNotNow = errors.New("it changed into something else")

// errElsewhere: another file system is mounted there.
var errElsewhere = errors.New("another file system is mounted there")

// dir opens a directory of the tree. It begins at the one that it opened last, as
// far as that lies on the way.
func (t *liveTree) dir(path string) (*os.File, error) {
	var parts []string
	if path != "" {
		parts = strings.Split(path, "/")
	}
	n := 0
	for n < len(t.way) && n < len(parts) && t.way[n].name == parts[n] {
		n++
	}
	t.back(n)
	for ; n < len(parts); n++ {
		d, err := t.step(t.here(), parts[n])
		if err != nil {
			return nil, err
		}
		t.way = append(t.way, wayDir{parts[n], d})
	}
	return t.step(t.here(), ".")
}

// wayDir is an open directory on the way to another.
type wayDir struct {
	name string
	f    *os.File
}

// here is the last directory on the way.
func (t *liveTree) here() *os.File {
	if len(t.way) == 0 {
		return t.root
	}
	return t.way[len(t.way)-1].f
}

// back closes the way from its n-th directory on. A walk goes back to 0 before it
// begins: what is open may not be what has the name any more.
func (t *liveTree) back(n int) {
	for ; len(t.way) > n; t.way = t.way[:len(t.way)-1] {
		t.here().Close()
	}
}

// step opens a directory in another one, if it is of the same file system.
func (t *liveTree) step(at *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat(int(at.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Dev != t.dev {
		err = errElsewhere
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// file opens a regular file of an open directory and says what it is.
func (t *liveTree) file(dir *os.File, name string) (*os.File, stamp, error) {
	fd, err := unix.Openat(int(dir.Fd()), name,
		unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, stamp{}, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	switch {
	case err != nil:
	case st.Dev != t.dev:
		err = errElsewhere
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = errNotNow
	default:
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
		return nil, stamp{}, err
	}
	return os.NewFile(uintptr(fd), name), stampOf(&st), nil
}

// stamp is what the file system says of a file without its being read. Two equal
// stamps mean the same content and attributes, if the first is settled.
type stamp struct {
	ino        uint64
	size       int64
	mode       uint32 // with the kind
	uid, gid   uint32
	sec, csec  int64
	nsec, cnsc uint32
	nlink      uint32
	// settled: any later change will have another time. Not so when the last change
	// was hardly before the file was looked at, or when memory that is mapped to the
	// file had changes that the file system did not know of yet.
	settled bool
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{ino: st.Ino, size: st.Size, mode: st.Mode, uid: st.Uid, gid: st.Gid,
		sec: st.Mtim.Sec, nsec: uint32(st.Mtim.Nsec), csec: st.Ctim.Sec, cnsc: uint32(st.Ctim.Nsec),
		nlink: uint32(min(uint64(st.Nlink), 1<<32-1))}
}

// sameAs says whether nothing happened between two stamps, settled or not.
func (s stamp) sameAs(o stamp) bool {
	s.settled, o.settled = false, false
	return s == o
}

func (s stamp) kind() uint32 { return s.mode & unix.S_IFMT }

// node is one thing found in a live tree.
type node struct {
	path string
	stamp
}

// listing is what a walk found, by path; the root first.
type listing struct {
	nodes    []node
	bytes    int // of paths, and of what else is kept of entries beside their content
	skipped  []Skipped
	nSkipped int
}

func (l *listing) skip(path string, why error) {
	l.nSkipped++
	if len(l.skipped) < maxSkips {
		l.skipped = append(l.skipped, Skipped{path[:min(len(path), maxSkipPath)], reason(why)})
	}
}

// reason is an error for people, without the names of system calls.
func reason(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

// vanished says whether something was gone, or something else, when it was opened.
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO)
}

// unreadable says whether we are not let read something.
func unreadable(err error) bool {
	return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, errElsewhere)
}

// walk lists the whole tree.
func (t *liveTree) walk(ctx context.Context) (*listing, error) {
	t.back(0)
	var st unix.Stat_t
	if err := unix.Fstat(int(t.root.Fd()), &st); err != nil {
		return nil, fmt.Errorf("look at the state: %w", err)
	}
	l := &listing{nodes: []node{{"", stampOf(&st)}}}
	for dirs := []string{""}; len(dirs) > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		below, err := t.list(ctx, dir, l)
		switch {
		case err == nil:
		case vanished(err) && dir != "":
		case unreadable(err):
			l.skip(dir, err)
		default:
			return nil, fmt.Errorf("list %q of the state: %w", dir, err)
		}
		dirs = append(dirs, below...)
	}
	slices.SortFunc(l.nodes, func(a, b node) int { return strings.Compare(a.path, b.path) })
	return l, nil
}

// list adds what is in one directory, and returns the directories in it.
func (t *liveTree) list(ctx context.Context, dir string, l *listing) (below []string, err error) {
	d, err := t.dir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	for {
		if err := l.fits(); err != nil {
			return nil, err
		}
		names, err := d.Readdirnames(4096)
		if errors.Is(err, io.EOF) {
			return below, nil
		}
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		for _, name := range names {
			below = t.look(d, dir, name, below, l)
		}
	}
}

// look adds one name of a directory, if it is something to back up.
func (t *liveTree) look(d *os.File, dir, name string, below []string, l *listing) []string {
	path := name
	if dir != "" {
		path = dir + "/" + name
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if !vanished(err) {
			l.skip(path, err)
		}
		return below
	}
	n := node{path, stampOf(&st)}
	if t.leave != nil && t.leave(path, n.kind() == unix.S_IFDIR) {
		return below
	}
	switch {
	case st.Dev != t.dev:
		l.skip(path, errElsewhere)
		return below
	case !validPath(path):
		l.skip(path, errors.New("its path is too long or too deep"))
		return below
	}
	switch n.kind() {
	case unix.S_IFDIR:
		below = append(below, path)
	case unix.S_IFREG, unix.S_IFLNK:
	default:
		l.skip(path, errors.New(special(n.kind())))
		return below
	}
	l.nodes = append(l.nodes, n)
	l.bytes += len(path)
	return below
}

// fits makes sure that a tree can be held in memory, whatever somebody puts there.
func (l *listing) fits() error {
	if len(l.nodes) > maxEntries || l.bytes > maxListing {
		return remedy.With(fmt.Errorf("there are more files than can be backed up (%d so far, and %d MiB of names)", len(l.nodes), l.bytes>>20),
			"remove what is not needed from the agent's home")
	}
	return nil
}

func special(kind uint32) string {
	switch kind {
	case unix.S_IFSOCK:
		return "it is a socket"
	case unix.S_IFIFO:
		return "it is a named pipe"
	}
	return "it is a device"
}

// readLink returns where a symbolic link leads.
func readLink(dir *os.File, name string) (string, error) {
	buf := make([]byte, maxTarget+1)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	if err != nil {
		return "", err
	}
	if n == 0 || n > maxTarget {
		return "", errors.New("it leads too far")
	}
	return string(buf[:n]), nil
}

// readXattrs returns the "user." attributes of an open file, by name. A file
// system without attributes has none.
func readXattrs(f *os.File) ([]xattr, error) {
	fd := int(f.Fd())
	size, err := unix.Flistxattr(fd, nil)
	if errors.Is(err, unix.ENOTSUP) || size == 0 && err == nil {
		return nil, nil
	}
	names := make([]byte, maxXattrs)
	n, err := unix.Flistxattr(fd, names)
	if err != nil {
		return nil, fmt.Errorf("its attributes: %w", err)
	}
	var out []xattr
	total := 0
	var buf []byte
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if !strings.HasPrefix(name, "user.") {
			continue
		}
		if buf == nil {
			buf = make([]byte, maxXattrs)
		}
		n, err := unix.Fgetxattr(fd, name, buf)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("its attribute %q: %w", name, err)
		}
		if total += len(name) + n; total > maxXattrs || len(out) == maxXattr {
			return nil, errors.New("it has too many attributes")
		}
		out = append(out, xattr{name, string(buf[:n])})
	}
	slices.SortFunc(out, func(a, b xattr) int { return strings.Compare(a.name, b.name) })
	return out, nil
}
