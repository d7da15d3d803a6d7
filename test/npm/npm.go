// Package npm installs packages from npm for tests and benchmarks: at the versions
// that a lock file pins, once per machine. It knows nothing of what they are for.
package npm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Install has npm install what package.json and package-lock.json in files ask for,
// and returns the directory. That is prefix and a digest of the lock file; what is
// there already stays. Concurrent programs wait for the first. Nothing of the packages
// is run by it.
//
// finish, unless nil, is called with the directory before it is kept, which has all
// of files in it too, and returns the part of it that is kept in its place.
func Install(ctx context.Context, files fs.FS, prefix string, finish func(ctx context.Context, dir string) (keep string, err error)) (string, error) {
	lock, err := fs.ReadFile(files, "package-lock.json")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	dir := prefix + hex.EncodeToString(sum[:6])
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "install-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if err := fill(ctx, files, work); err != nil {
		return "", err
	}
	keep := work
	if finish != nil {
		if keep, err = finish(ctx, work); err != nil {
			return "", err
		}
	}
	return dir, os.Rename(keep, dir)
}

func fill(ctx context.Context, files fs.FS, dir string) error {
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		data, err := fs.ReadFile(files, e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), data, 0o644); err != nil {
			return err
		}
	}
	return Run(ctx, dir, "npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund")
}

// Run runs a program in a directory. Its error has what the program printed.
func Run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return nil
}

func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
