// Package backupreader owns a second reader of the backup format: a program for
// Node that was written from docs/backup-format.md and shares nothing with package
// backup. The test restores with it what package backup stored. It knows nothing of
// agents or the rest of moltworker.
package backupreader

import (
	"context"
	"embed"
	"os"
	"path/filepath"

	"github.com/moltworker/moltworker/test/npm"
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
	dir, err := npm.Install(ctx, files, filepath.Join(cache, "moltworker-test", "backupreader-"), nil)
	return filepath.Join(dir, "node_modules"), err
}
