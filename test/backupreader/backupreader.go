// Package backupreader owns a second reader of the backup format: a program for
// Node that was written from docs/backup-format.md and shares nothing with package
// backup. The test restores with it what package backup stored. It knows nothing of
// agents or the rest of moltworker.
package backupreader

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed package.json package-lock.json reader.mjs
var files embed.FS

// Install puts the reader into a directory, with the packages that it needs, at the
// versions that its lock file pins, and returns the program's path. The packages
// are kept in the user's cache, once per machine.
func Install(ctx context.Context, into string) (string, error) {
	packages, err := install(ctx)
	if err != nil {
		return "", err
	}
	data, err := files.ReadFile("reader.mjs")
	if err != nil {
		return "", err
	}
	program := filepath.Join(into, "reader.mjs")
	if err := os.WriteFile(program, data, 0o644); err != nil {
		return "", err
	}
	return program, os.Symlink(packages, filepath.Join(into, "node_modules"))
}

func install(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	lock, err := files.ReadFile("package-lock.json")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	dir := filepath.Join(cache, "moltworker-test", "backupreader-"+hex.EncodeToString(sum[:6]))
	packages := filepath.Join(dir, "node_modules")
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	unlock, err := lockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(packages); err == nil {
		return packages, nil
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "install-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := fill(ctx, work); err != nil {
		return "", err
	}
	return packages, os.Rename(work, dir)
}

// fill makes a directory with the packages.
func fill(ctx context.Context, dir string) error {
	for _, name := range []string{"package.json", "package-lock.json"} {
		data, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
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
