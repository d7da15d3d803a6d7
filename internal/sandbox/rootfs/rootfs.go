// Package rootfs owns the file system that every sandbox starts from: which of
// the host's directories are shown read-only, the small /etc that is ours, the
// empty directories, and the mount points.
//
// It only makes files and says what to mount; it mounts nothing and must not
// know which driver asks.
package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// Home is the guest user's home directory.
const Home = "/home/agent"

// Host is what a root shows of the host.
type Host struct {
	root  string
	Binds []string // directories, shown read-only at the same path
	Links []Link   // symbolic links at the top, e.g. /bin -> usr/bin
}

// Link is a symbolic link at Path, absolute, that says Target.
type Link struct{ Path, Target string }

// Guest is what a root says about the sandbox.
type Guest struct {
	Hostname string
	UID, GID int // the user that PID 1 runs as, as it sees itself
	// OwnerUID and OwnerGID are that user on the host.
	OwnerUID, OwnerGID int
}

// Scan looks at the host whose root directory is root ("/" but in tests). On a
// host with merged /usr, /bin and its like are links and stay links.
func Scan(root string) (Host, error) {
	h := Host{root: root, Binds: []string{"/usr"}}
	if info, err := os.Stat(h.path("/usr")); err != nil || !info.IsDir() {
		return Host{}, fmt.Errorf("look at the host's /usr: not a directory; a sandbox needs it to run anything")
	}
	for _, name := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		info, err := os.Lstat(h.path(name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return Host{}, fmt.Errorf("look at the host's %s: %w", name, err)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(h.path(name))
			if err != nil {
				return Host{}, fmt.Errorf("read the host's %s: %w", name, err)
			}
			h.Links = append(h.Links, Link{Path: name, Target: target})
		case info.IsDir():
			h.Binds = append(h.Binds, name)
		}
	}
	return h, nil
}

func (h Host) path(name string) string { return filepath.Join(h.root, name) }

// Write makes the root in the new directory dir: links, empty directories, /etc
// and the mount points of h.Binds and mounts. Mounts that are the sandbox's own
// to write are handed to g.
func (h Host) Write(dir string, g Guest, mounts []sandbox.Mount) error {
	for _, m := range mounts {
		if m.Private && !m.ReadOnly {
			if err := HandOver(m.Source, g.OwnerUID, g.OwnerGID); err != nil {
				return err
			}
		}
	}
	b := builder{dir: dir}
	b.mkdir("/", 0o755)
	for _, l := range h.Links {
		b.symlink(l.Target, l.Path)
	}
	for _, name := range h.Binds {
		b.mkdir(name, 0o755)
	}
	b.skeleton(g)
	h.etc(&b, g)
	for _, m := range mounts {
		b.mountPoint(h, m)
	}
	if b.err != nil {
		return fmt.Errorf("write the sandbox's root: %w", b.err)
	}
	return nil
}

// A builder makes files under dir and keeps the first error. It sets modes
// itself, so that the process's umask does not matter.
type builder struct {
	dir string
	err error
}

func (b *builder) do(f func() error) {
	if b.err == nil {
		b.err = f()
	}
}

func (b *builder) mkdir(name string, mode fs.FileMode) {
	b.do(func() error {
		if err := b.parents(name + "/."); err != nil {
			return err
		}
		return os.Chmod(filepath.Join(b.dir, name), mode)
	})
}

// parents makes the directories that lead to name, open to all.
func (b *builder) parents(name string) error {
	full := filepath.Clean(b.dir)
	for _, part := range strings.Split(filepath.Dir(name), "/") {
		full = filepath.Join(full, part)
		err := os.Mkdir(full, 0o755)
		if err == nil {
			err = os.Chmod(full, 0o755)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func (b *builder) symlink(target, name string) {
	b.do(func() error { return os.Symlink(target, filepath.Join(b.dir, name)) })
}

func (b *builder) file(name, content string) {
	b.do(func() error {
		full := filepath.Join(b.dir, name)
		if err := b.parents(name); err != nil {
			return err
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			return err
		}
		return os.Chmod(full, 0o644)
	})
}

func (b *builder) skeleton(g Guest) {
	for _, name := range []string{"/dev", "/etc", "/home", "/mnt", "/opt", "/proc", "/run", "/srv", "/sys", "/var", "/var/lib", "/var/cache", "/var/log"} {
		b.mkdir(name, 0o755)
	}
	b.mkdir("/root", 0o700)
	b.mkdir("/tmp", 0o777|fs.ModeSticky)
	b.mkdir("/var/tmp", 0o777|fs.ModeSticky)
	b.symlink("/run", "/var/run")
	b.mkdir(Home, 0o700)
	b.do(func() error { return os.Lchown(filepath.Join(b.dir, Home), g.OwnerUID, g.OwnerGID) })
}

// mountPoint makes the place that m is mounted on. A place inside one of the
// host's directories must be there already.
func (b *builder) mountPoint(h Host, m sandbox.Mount) {
	b.do(func() error {
		info, err := os.Stat(m.Source)
		if err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.Source, m.Destination, err)
		}
		if bind := h.bindOf(m.Destination); bind != "" {
			if _, err := os.Stat(h.path(m.Destination)); err != nil {
				return fmt.Errorf("mount %s at %s: the host's %s is read-only and has no such place", m.Source, m.Destination, bind)
			}
			return nil
		}
		if !info.IsDir() {
			b.file(m.Destination, "")
			return b.err
		}
		return b.parents(m.Destination + "/.")
	})
}

func (h Host) bindOf(name string) string {
	for _, bind := range h.Binds {
		if name == bind || strings.HasPrefix(name, bind+"/") {
			return bind
		}
	}
	for _, l := range h.Links {
		if strings.HasPrefix(name, l.Path+"/") {
			return l.Path
		}
	}
	return ""
}
