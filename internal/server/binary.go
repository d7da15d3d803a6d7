package server

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// binaryKeep is how long a copy that nobody started stays in the cache.
const binaryKeep = 30 * 24 * time.Hour

// installBinary copies the running program to a place that outlives it, because
// the program is PID 1 in sandboxes that outlive this process, and `go run`
// removes what it built. The copy is named by its content.
func installBinary(cache string) (string, error) {
	src, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", fmt.Errorf("find our own program: %w", err)
	}
	defer src.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, src); err != nil {
		return "", fmt.Errorf("read our own program: %w", err)
	}
	root := filepath.Join(cache, "bin")
	dir := filepath.Join(root, hex.EncodeToString(hash.Sum(nil))[:16])
	path := filepath.Join(dir, "moltworker")
	now := time.Now()
	if os.Chtimes(dir, now, now) == nil { // marks it as used; fails when it is not there
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	if err := copyBinary(src, dir, path); err != nil {
		return "", fmt.Errorf("keep a copy of our own program: %w", err)
	}
	pruneBinaries(root, now)
	return path, nil
}

func copyBinary(src *os.File, dir, path string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := src.Seek(0, io.SeekStart); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".moltworker.*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once renamed
	if _, err := io.Copy(tmp, src); err != nil {
		tmp.Close()
		return err
	}
	// Nobody checks the content again: the name must not outlive a crash without it.
	if err := errors.Join(tmp.Chmod(0o755), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// pruneBinaries removes copies of programs not started for a long time.
func pruneBinaries(root string, now time.Time) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > binaryKeep {
			os.RemoveAll(filepath.Join(root, e.Name()))
		}
	}
}
