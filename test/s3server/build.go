package s3server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

const (
	// program is what is built, a tool dependency of the module in sources.
	program = "github.com/versity/versitygw/cmd/versitygw"
	sources = "test/s3server/versitygw"

	// reserve is what a build leaves of the test's time for saying that it was too
	// short. Go keeps what it has compiled: the next run goes on from there.
	reserve = 15 * time.Second
)

// binary returns the path of the server's program. The first test on a machine
// that asks builds it, minutes long; those that ask meanwhile wait, in whatever
// process they are.
func binary(t testing.TB) string {
	t.Helper()
	src := filepath.Join(moduleRoot(t), sources)
	path, err := cachePath(src)
	if err != nil {
		t.Fatalf("find a place for the S3 server: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		return path
	}
	if testing.Short() {
		t.Skip("the S3 server is not built yet, and -short does not wait for it")
	}
	ctx, cancel := deadline(t)
	defer cancel()
	if err := buildOnce(ctx, src, path); err != nil {
		t.Fatalf("build the S3 server: %v\nRun the test once more, with a longer -timeout if it was too short; what has been compiled is kept.", err)
	}
	return path
}

// cachePath names the program by all that it is made of.
func cachePath(src string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			return "", err
		}
		sum.Write(data)
	}
	return filepath.Join(cache, "moltworker-test", "versitygw-"+hex.EncodeToString(sum.Sum(nil)[:8])), nil
}

// buildOnce builds the program unless another process has done so meanwhile.
func buildOnce(ctx context.Context, src, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	unlock, err := lock(ctx, path+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	unfinished := path + ".unfinished"
	defer os.Remove(unfinished)
	// Others use this machine too.
	cmd := exec.CommandContext(ctx, "nice", "-n", "10", "go", "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", unfinished, program)
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	// Compilers are children of go's, and would go on without it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %w\n%.4000s", errors.Join(ctx.Err(), err), err, out)
	}
	return os.Rename(unfinished, path)
}

// lock waits for the lock on a file, which ends with its holder at the latest.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another test that builds it: %w", ctx.Err())
		}
	}
}

// deadline ends a little before the test does.
func deadline(t testing.TB) (context.Context, context.CancelFunc) {
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if at, limited := d.Deadline(); limited {
			return context.WithDeadline(t.Context(), at.Add(-reserve))
		}
	}
	return context.WithCancel(t.Context())
}

// moduleRoot is the directory of the product's go.mod: tests run below it.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, sources, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no " + sources + " above the test's directory")
		}
		dir = parent
	}
}
