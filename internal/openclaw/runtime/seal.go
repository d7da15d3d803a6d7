package runtime

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// seal records the tree and puts it on disk, the manifest last.
func seal(ctx context.Context, staging string, o InstallOptions) (*manifest, error) {
	m, err := freeze(staging)
	if err != nil {
		return nil, err
	}
	var done atomic.Int64
	stop := report(o.Progress, PhaseManifest, m.bytes, done.Load)
	err = m.hash(ctx, staging, &done)
	stop()
	if err != nil {
		return nil, err
	}
	if err := syncFilesystem(staging); err != nil {
		return nil, err
	}
	if err := writeSynced(filepath.Join(staging, manifestName), m.encode()); err != nil {
		return nil, err
	}
	return m, syncDir(staging)
}

// syncFilesystem flushes the file system that holds dir: one call instead of
// tens of thousands.
func syncFilesystem(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("flush %s: %w", dir, err)
	}
	return nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o444); err != nil { // whatever the umask is
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
