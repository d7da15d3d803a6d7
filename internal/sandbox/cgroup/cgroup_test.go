package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/sandbox"
)

func TestResources(t *testing.T) {
	if r := resources(sandbox.Limits{}); r.Memory != nil || r.CPU != nil || r.Pids != nil {
		t.Errorf("no limits became %+v", r)
	}
	r := resources(sandbox.Limits{Memory: 1 << 30, CPUs: 1.5, PIDs: 10})
	if *r.Memory.Limit != 1<<30 || *r.CPU.Quota != 150_000 || *r.CPU.Period != 100_000 {
		t.Errorf("memory %d, CPU %d of %d", *r.Memory.Limit, *r.CPU.Quota, *r.CPU.Period)
	}
	if r.Pids.Limit != minPIDs {
		t.Errorf("processes = %d: a sandbox needs %d", r.Pids.Limit, minPIDs)
	}
}

func TestName(t *testing.T) {
	a, b := Name("/data/a", "main"), Name("/data/b", "main")
	if a == b || !strings.HasSuffix(a, "-main") || strings.Contains(a, "/") {
		t.Errorf("Name = %q and %q", a, b)
	}
}

// The usual reasons are told without paths; an unusual one is told in full.
func TestReason(t *testing.T) {
	made := func(err error) error {
		return fmt.Errorf("make control group x: %w", &os.PathError{Op: "mkdir", Path: "/sys/fs/cgroup/x", Err: err})
	}
	tests := []struct {
		err  error
		want string
	}{
		{made(unix.EACCES), "this user may not make control groups"},
		{made(unix.EPERM), "this user may not make control groups"},
		{made(unix.EROFS), "control groups are mounted read-only"},
		{made(unix.ENOSPC), made(unix.ENOSPC).Error()},
	}
	for _, tt := range tests {
		if got := reason(tt.err); got != tt.want {
			t.Errorf("reason(%v) = %q, want %q", tt.err, got, tt.want)
		}
	}
}

// A group is made, a process put into it, and both are taken away.
func TestLife(t *testing.T) {
	if _, err := Enforceable(); err != nil {
		t.Skip("no control groups here:", err)
	}
	name := Name(t.TempDir(), "test")
	g, err := Create(t.Context(), name, sandbox.Limits{Memory: 64 << 20, CPUs: 1, PIDs: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Remove(t.Context()) })
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(g.Processes(), cmd.Process.Pid) || slices.Contains(g.Processes(), os.Getpid()) {
		t.Errorf("Processes = %v", g.Processes())
	}
	if u := g.Usage(); u.PIDs != 1 || u.MemoryBytes < 0 || u.CPU < 0 {
		t.Errorf("Usage = %+v", u)
	}
	for range 2 {
		if err := g.Remove(t.Context()); err != nil {
			t.Fatalf("Remove: %v", err)
		}
		if g.Exists() {
			t.Fatal("the group is still there")
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process in the group outlived it")
	}
}
