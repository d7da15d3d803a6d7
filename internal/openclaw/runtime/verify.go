package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	goruntime "runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Damage says what in an installation is not as it was installed.
type Damage struct {
	Path string // relative to the installation
	What string // e.g. "was changed"
}

func (d *Damage) Error() string { return fmt.Sprintf("%s %s", d.Path, d.What) }

// Verify compares the installation with its manifest. The quick form looks at
// every file's size, time and mode, and at whether files were added or removed;
// a file that looks touched is hashed. The full form hashes everything. A
// mismatch is a *Damage that names the file.
func (r Runtime) Verify(ctx context.Context, full bool) error {
	_, err := verify(ctx, r.Dir, full)
	return err
}

func verify(ctx context.Context, root string, full bool) (*manifest, error) {
	data, err := os.ReadFile(filepath.Join(root, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Damage{manifestName, "is missing"}
	}
	if err != nil {
		return nil, fmt.Errorf("read runtime manifest: %w", err)
	}
	m, err := decodeManifest(data)
	if err != nil {
		return nil, &Damage{manifestName, "is not readable: " + err.Error()}
	}
	c := &checker{root: root, full: full, subdirs: m.subdirs()}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, goruntime.NumCPU()))
	for i := range m.dirs {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return c.directory(&m.dirs[i])
		})
	}
	return m, g.Wait()
}

// subdirs maps each directory to the names of those directly in it.
func (m *manifest) subdirs() map[string][]string {
	subs := map[string][]string{}
	for _, d := range m.dirs {
		if d.path != "." {
			parent := path.Dir(d.path)
			subs[parent] = append(subs[parent], path.Base(d.path))
		}
	}
	return subs
}

type checker struct {
	root    string
	full    bool
	subdirs map[string][]string // read only
}

func (c *checker) directory(d *directory) error {
	f, err := os.OpenFile(filepath.Join(c.root, d.path), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return &Damage{d.path, "is not a readable directory"}
	}
	defer f.Close()
	found, err := f.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("list %s: %w", d.path, err)
	}
	if err := c.extra(d, found); err != nil {
		return err
	}
	for i := range d.entries {
		if err := c.entry(f, d.path, &d.entries[i]); err != nil {
			return err
		}
	}
	return nil
}

// extra looks for names that the manifest does not have.
func (c *checker) extra(d *directory, found []string) error {
	known := make(map[string]bool, len(d.entries)+2)
	for i := range d.entries {
		known[d.entries[i].name] = true
	}
	for _, name := range c.subdirs[d.path] {
		known[name] = true
	}
	for _, name := range found {
		if !known[name] && path.Join(d.path, name) != manifestName {
			return &Damage{path.Join(d.path, name), "was added"}
		}
	}
	return nil
}

func (c *checker) entry(dir *os.File, dirPath string, e *entry) error {
	name := path.Join(dirPath, e.name)
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), e.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return &Damage{name, "is missing"}
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	if e.target != "" {
		return c.link(name, e, st.Mode)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != e.size {
		return &Damage{name, "was changed"}
	}
	same := st.Mtim.Nano() == e.mtime && fs.FileMode(st.Mode&0o777) == e.mode
	if same && !c.full {
		return nil
	}
	sum, err := hashFile(filepath.Join(c.root, name))
	if err != nil {
		return &Damage{name, "cannot be read: " + err.Error()}
	}
	if sum != e.sum {
		return &Damage{name, "was changed"}
	}
	return nil
}

func (c *checker) link(name string, e *entry, mode uint32) error {
	target, err := os.Readlink(filepath.Join(c.root, name))
	if mode&unix.S_IFMT != unix.S_IFLNK || err != nil || target != e.target {
		return &Damage{name, "was changed"}
	}
	return nil
}
