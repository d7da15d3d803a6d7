package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/remedy"
)

// A source is where a foreign agent's files come from. It can be walked more than
// once.
type source interface {
	// walk calls f for every entry below one of the prefixes; an archive calls it for
	// all. content is that of a regular file and may be read during the call only.
	walk(ctx context.Context, prefixes []string, f func(e entry, content io.Reader) error) error
	// first are the prefixes of the first walk.
	first() []string
	// String names the source for people.
	String() string
	Close() error
}

// cleanPath brings a path of a foreign archive or bucket into the form of
// entry.path. An absolute one is taken as relative. One that goes up, or has no end,
// is refused.
func cleanPath(name string) (string, error) {
	switch {
	case strings.ContainsRune(name, 0):
		return "", hostilePath(name, "has a NUL in its name")
	case len(name) > maxPath:
		return "", hostilePath(name, "has too long a path")
	}
	parts := strings.Split(name, "/")
	if len(parts) > maxDepth {
		return "", hostilePath(name, "is too many directories deep")
	}
	if slices.Contains(parts, "..") {
		return "", hostilePath(name, "goes up with \"..\"")
	}
	if slices.ContainsFunc(parts, func(p string) bool { return len(p) > maxName }) {
		return "", hostilePath(name, "has too long a name")
	}
	return path.Clean(strings.TrimLeft(name, "/")), nil
}

func hostilePath(name, why string) error {
	return remedy.With(fmt.Errorf("%w: the entry %s %s", ErrHostile, quote(name), why), "make the archive again from the agent's own directory, and do not use this one")
}

// quote shows a foreign name: in one line, and not all of a long one.
func quote(name string) string {
	if len(name) > 120 {
		name = name[:100] + "..."
	}
	return fmt.Sprintf("%q", name)
}

// dirSource reads a directory on this machine: the home, of which state is the
// state directory.
type dirSource struct {
	path  string // as it was given
	home  string // absolute
	state string // name of the state directory in home
	root  *os.Root
}

func openDir(given string) (*dirSource, error) {
	full, err := filepath.Abs(given)
	if err == nil {
		full, err = filepath.EvalSymlinks(full)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", given, err)
	}
	d := &dirSource{path: given}
	switch {
	case slices.ContainsFunc(configNames, func(n string) bool { return isThere(full, n) }) || slices.Contains(stateNames, filepath.Base(full)):
		d.home, d.state = filepath.Dir(full), filepath.Base(full)
	default:
		i := slices.IndexFunc(stateNames, func(n string) bool { return isRealDir(filepath.Join(full, n)) })
		if i < 0 {
			return nil, unknown(given)
		}
		d.home, d.state = full, stateNames[i]
	}
	if d.root, err = os.OpenRoot(d.home); err != nil {
		return nil, fmt.Errorf("open %s: %w", given, err)
	}
	return d, nil
}

func isThere(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

func isRealDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

func unknown(where string) error {
	return remedy.With(fmt.Errorf("%w in %s", ErrUnknown, where), "name ~/.openclaw, ~/.clawdbot or ~/.moltbot, a home that has one of them, or a tar archive of one")
}

func (d *dirSource) String() string { return d.path }
func (d *dirSource) Close() error   { return d.root.Close() }

// first is the state only: what else is in a home may be a person's.
func (d *dirSource) first() []string { return []string{d.state} }

func (d *dirSource) walk(ctx context.Context, prefixes []string, f func(entry, io.Reader) error) error {
	for _, prefix := range prefixes {
		err := walkRoot(ctx, d.root, prefix, func(name string, info fs.FileInfo) error { return d.visit(name, info, f) })
		if errors.Is(err, fs.ErrPermission) {
			err = remedy.With(err, "run the import as the user whose agent it is")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *dirSource) visit(name string, info fs.FileInfo, f func(entry, io.Reader) error) error {
	e := entry{path: name, mode: info.Mode().Perm(), time: info.ModTime()}
	switch {
	case info.IsDir():
		e.kind = isDir
	case info.Mode().IsRegular():
		return d.visitFile(e, f)
	case info.Mode()&fs.ModeSymlink != 0:
		e.kind = isSymlink
		target, err := d.root.Readlink(name)
		if err != nil {
			return fmt.Errorf("read link %s: %w", quote(name), err)
		}
		e.target = target
	default:
		e.kind = isSpecial
	}
	return f(e, nil)
}

func (d *dirSource) visitFile(e entry, f func(entry, io.Reader) error) error {
	// Not blocked by a FIFO that came in its place.
	file, err := d.root.OpenFile(e.path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("read %s: %w", quote(e.path), err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read %s: %w", quote(e.path), err)
	}
	if !info.Mode().IsRegular() {
		e.kind = isSpecial
		return f(e, nil)
	}
	e.size = info.Size()
	return f(e, io.LimitReader(file, e.size))
}
