package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Files is a tree that can be exported: a home that is held still, or a version of a
// backup.
type Files interface {
	// Walk calls f for every entry in ascending order, a directory before what is in
	// it, until f returns an error, which Walk returns.
	Walk(ctx context.Context, f func(File) error) error
	// Open gives the content of a regular file.
	Open(ctx context.Context, path string) (io.ReadCloser, error)
}

// A File is one entry of such a tree.
type File struct {
	Path   string      // relative to the home, with "/"
	Mode   fs.FileMode // type and permissions; others than files, directories and links are left out
	Size   int64
	Time   time.Time
	Target string // of a symbolic link
	Link   string // path of an earlier entry that this one is a hard link to
}

// Dir is a directory as Files. Nothing may write there meanwhile; root stays the
// caller's.
func Dir(root *os.Root) Files { return dir{root} }

type dir struct{ root *os.Root }

func (d dir) Walk(ctx context.Context, f func(File) error) error {
	first := map[[2]uint64]string{} // files with several names, by device and inode
	return walkRoot(ctx, d.root, ".", func(name string, info fs.FileInfo) error {
		if name == "." {
			return nil
		}
		file := File{Path: name, Mode: info.Mode(), Size: info.Size(), Time: info.ModTime()}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := d.root.Readlink(name)
			if err != nil {
				return fmt.Errorf("read %s: %w", quote(name), err)
			}
			file.Target = target
		}
		if id, several := inode(info); several && info.Mode().IsRegular() {
			file.Link = first[id]
			if file.Link == "" && len(first) < maxLinks {
				first[id] = name
			}
		}
		return f(file)
	})
}

// walkRoot goes through a directory, following no link, in ascending order. (The
// standard library's walk refuses names that are no UTF-8.) What is gone meanwhile is
// passed over.
func walkRoot(ctx context.Context, root *os.Root, name string, f func(string, fs.FileInfo) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", quote(name), err)
	}
	if strings.Count(name, "/") >= maxDepth {
		return hostilePath(name, "is too many directories deep")
	}
	if err := f(name, info); err != nil || !info.IsDir() {
		return err
	}
	d, err := root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("read %s: %w", quote(name), err)
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("read %s: %w", quote(name), err)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := walkRoot(ctx, root, path.Join(name, n), f); err != nil {
			return err
		}
	}
	return nil
}

func (d dir) Open(_ context.Context, path string) (io.ReadCloser, error) {
	f, err := d.root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", quote(path), err)
	}
	return f, nil
}
