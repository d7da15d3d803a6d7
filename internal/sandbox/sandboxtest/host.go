package sandboxtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/hostproc"
)

// remains are what the host still has of this test's sandboxes.
func (b *bench) remains() []string {
	var left []string
	for _, pid := range b.processes() {
		left = append(left, fmt.Sprintf("process %d: %v", pid, hostproc.Args(pid)))
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, b.root) {
			left = append(left, "mount: "+line)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup/*/*"} {
		groups, _ := filepath.Glob(pattern + b.id + "*")
		left = append(left, groups...)
	}
	filepath.WalkDir(b.root, func(name string, _ fs.DirEntry, err error) error {
		if err == nil && name != b.root {
			left = append(left, "file: "+name)
		}
		return nil
	})
	return left
}

// processes are the host's processes of the test's sandbox: those with its name
// in their arguments, and all their descendants.
func (b *bench) processes() []int {
	named := hostproc.Find(func(pid int) bool {
		return pid != os.Getpid() && slices.ContainsFunc(hostproc.Args(pid), func(arg string) bool {
			return strings.Contains(arg, b.root)
		})
	})
	return append(named, hostproc.Find(func(pid int) bool {
		for range 64 {
			stat, err := hostproc.ReadStat(pid)
			if err != nil || stat.State == 'Z' {
				return false
			}
			if pid = stat.Parent; slices.Contains(named, pid) {
				return true
			}
		}
		return false
	})...)
}

// order is what a starting process elsewhere is told.
type order struct {
	Root string
	Spec sandbox.Spec
	// Pause, if not empty, is a file that the sandbox makes; then it is to be
	// paused.
	Pause string
}

// startElsewhere is the life of a process that starts a sandbox, says so, and
// waits to be killed.
func startElsewhere(open Opener, arg string) int {
	var o order
	if err := json.Unmarshal([]byte(arg), &o); err != nil {
		fmt.Println(err)
		return 1
	}
	d, err := open(o.Root)
	var s sandbox.Sandbox
	if err == nil {
		s, err = d.Start(context.Background(), o.Spec)
	}
	if err == nil && o.Pause != "" {
		for content := []byte(nil); len(content) == 0; content, _ = os.ReadFile(o.Pause) {
			time.Sleep(time.Millisecond)
		}
		err = s.(sandbox.Pausable).Pause(context.Background())
	}
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("started")
	for {
		time.Sleep(time.Hour)
	}
}

// waitElsewhere is the life of a process that opens a sandbox and waits for its
// end.
func waitElsewhere(open Opener, root, id string) int {
	d, err := open(root)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	s, err := d.Open(context.Background(), id)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	fmt.Println("opened")
	e, err := s.Wait(context.Background())
	fmt.Println(e, err)
	return 0
}

// killAll kills every host process of the test's sandbox.
func (b *bench) killAll() {
	b.t.Helper()
	pids := b.processes()
	if len(pids) == 0 {
		b.t.Fatal("found no host process of the sandbox to kill")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			b.t.Errorf("kill %d: %v", pid, err)
		}
	}
}
