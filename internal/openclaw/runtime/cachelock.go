package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockCache takes the lock under which installations are made; unlock gives it
// back. The end of every process that has the file open does so too, however it
// comes about.
func lockCache(ctx context.Context, root string, o InstallOptions) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(root, ".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, explainOS(err, root)
	}
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for told := false; ; {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		if !told {
			o.Log.Info("another moltworker is installing OpenClaw; waiting for it", "dir", root)
			o.Progress(Progress{Phase: PhaseWait})
			told = true
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another installation of OpenClaw: %w", context.Cause(ctx))
		case <-poll.C:
		}
	}
}

// unlock releases the lock even if a child of npm's still has the file open.
func unlock(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	f.Close()
}
