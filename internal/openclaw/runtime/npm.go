package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// npmArgs is the whole argument vector after "npm". What a person may have in
// their npm configuration and what would change the result is fixed here;
// registry, proxy, CA and cache stay theirs.
func (r recipe) npmArgs(dir string) []string {
	return []string{
		"ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund",
		"--include=optional", // Node itself is an optional package
		"--os=linux", "--cpu=" + r.cpu,
		"--prefix=" + dir, "--global=false", "--workspaces=false",
		"--package-lock=true", "--legacy-peer-deps=false", "--install-strategy=hoisted",
		"--engine-strict=false", // conditions on npm's own Node, which we do not use
		"--dry-run=false", "--no-update-notifier", "--no-progress", "--loglevel=notice",
	}
}

// runNPM runs npm in dir to its end. The lock file is inherited, so that the
// cache stays locked while an npm whose parent was killed still writes.
func (r recipe) runNPM(ctx context.Context, dir string, lock *os.File) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return &Error{Reason: ReasonNoNPM, Message: "npm was not found", Mend: getNPM, Err: err}
	}
	out := &tail{most: 64 << 10}
	cmd := exec.CommandContext(ctx, npm, r.npmArgs(dir)...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	err = runOnOneThread(cmd)
	if ctx.Err() != nil {
		return fmt.Errorf("install OpenClaw: %w", context.Cause(ctx))
	}
	if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOEXEC) {
		return &Error{Reason: ReasonNoNPM, Message: fmt.Sprintf("%s cannot be run", npm), Mend: getNPM, Err: err}
	}
	if err != nil {
		return r.explainNPM(err, dir, out.String())
	}
	return nil
}

// runOnOneThread keeps the starting thread alive until the command has ended:
// the parent-death signal is bound to the thread, not to the process.
func runOnOneThread(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		defer goruntime.UnlockOSThread()
		done <- cmd.Run()
	}()
	return <-done
}

// tail is a writer that keeps the last bytes written to it.
type tail struct {
	most int

	mu  sync.Mutex
	buf []byte // guarded by mu
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - t.most; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.ToValidUTF8(string(t.buf), "?")
}
