package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/openclaw"
)

// Symbolic links are made after everything else, so that nothing is ever written
// through one, and are looked at again when all of them are there.

// linkTarget gives what a link in the new home is to point at, relative to the link;
// "" when that is not in the home.
func (w *writer) linkTarget(from, to, target string) string {
	inHome := ""
	if path.IsAbs(target) {
		full, ok := w.b.layout.newPath(path.Clean(target))
		if rest, in := strings.CutPrefix(full, openclaw.Home+"/"); ok && in {
			inHome = rest
		} else if rest, in := strings.CutPrefix(path.Clean(target), openclaw.Home+"/"); in {
			inHome = rest
		} else {
			return ""
		}
	} else {
		// What it meant where it stood; the same distance holds when both ends moved together.
		old := path.Join(path.Dir(from), target)
		moved, ours := w.b.layout.to(old)
		if strings.HasPrefix(old, "../") || old == ".." || !ours {
			return ""
		}
		inHome = moved
	}
	return relative(path.Dir(to), inHome)
}

// relative gives the way from a directory to a path, both relative to the home.
func relative(dir, to string) string {
	a, b := strings.Split(dir, "/"), strings.Split(to, "/")
	if dir == "." {
		a = nil
	}
	for len(a) > 0 && len(b) > 1 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	return strings.Repeat("../", len(a)) + strings.Join(b, "/")
}

const leadsOut = "the link leads out of the agent's home, or in a circle"

func (w *writer) putLinks() error {
	for _, e := range w.links {
		if e.target == "" {
			w.drop(quote(e.path), leadsOut, e)
			continue
		}
		if err := w.root.MkdirAll(path.Dir(e.path), 0o755); err != nil {
			w.drop(quote(e.path), "something else is in its place", e)
			continue
		}
		err := w.root.Symlink(e.target, e.path)
		if errors.Is(err, fs.ErrExist) {
			w.drop(quote(e.path), "something else is in its place", e)
			continue
		}
		if err != nil {
			return fmt.Errorf("make link %s: %w", quote(e.path), err)
		}
	}
	for _, e := range w.links {
		if e.target == "" {
			continue
		}
		if info, err := w.root.Lstat(e.path); err != nil || info.Mode()&fs.ModeSymlink == 0 {
			continue
		}
		// Each of them leads inside by itself; together they may still go in a circle.
		if _, err := w.root.Stat(e.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			if err := w.root.Remove(e.path); err != nil {
				return fmt.Errorf("remove link %s: %w", quote(e.path), err)
			}
			w.drop(quote(e.path), leadsOut, e)
			continue
		}
		w.keep(e.path, 0)
	}
	return nil
}

// putHardLink makes a second name for a file that was written already.
func (w *writer) putHardLink(to string, e entry) error {
	target, ours := w.b.layout.to(e.target)
	info, err := w.root.Lstat(target)
	switch {
	case !ours || err != nil || !info.Mode().IsRegular():
		w.drop(quote(to), "it is a hard link to something that was not taken", e)
		return nil
	case w.isSecretFile(to) || w.isSecretFile(target) || target == to:
		w.drop(quote(to), "it is a second name of a file with secrets", e)
		return nil
	}
	if err := w.root.MkdirAll(path.Dir(to), 0o755); err != nil {
		return w.failed("make directory", path.Dir(to), err)
	}
	if err := w.root.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w.failed("replace", to, err)
	}
	if err := w.root.Link(target, to); err != nil {
		return w.failed("make link", to, err)
	}
	w.keep(to, 0)
	return nil
}

func (w *writer) isSecretFile(to string) bool {
	return isEnvFile(to) || configCopy.MatchString(to) || slices.Contains(secretFiles, path.Base(to))
}
