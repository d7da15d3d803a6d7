// Package cgroup owns a sandbox's control group: making it with its limits,
// reading what it takes, and removing it with everything that still runs in it.
// Versions 1 and 2 are told apart by gVisor's own cgroup code, so that both
// drivers and gVisor itself see one thing.
//
// It knows nothing of what runs in a group.
package cgroup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	gcgroup "gvisor.dev/gvisor/runsc/cgroup"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/gvisorlog"
)

// minPIDs is the least useful limit: a sandbox has host threads of its own.
const minPIDs = 512

// cpuPeriod is the kernel's default, in microseconds.
const cpuPeriod = 100_000

// controllers are those that a group is made in on version 1; a controller
// that the host does not have has no directory there.
var controllers = []string{"memory", "cpu", "cpuacct", "cpuset", "pids", "blkio", "devices", "freezer", "hugetlb", "net_cls", "net_prio", "perf_event", "rdma", "systemd"}

// A Group is one control group directly below the root of the hierarchy.
type Group struct {
	name string
	cg   gcgroup.Cgroup
}

// Name is the name of the group of the sandbox called id whose driver keeps its
// state under root: two drivers may each have a sandbox of one name.
func Name(root, id string) string {
	sum := sha256.Sum256([]byte(root))
	return "moltworker-" + hex.EncodeToString(sum[:4]) + "-" + id
}

// Open names a group. It need not exist.
func Open(name string) (*Group, error) {
	gvisorlog.Discard()
	cg, err := gcgroup.NewFromPath("/"+name, false)
	if err != nil {
		return nil, fmt.Errorf("look at control groups: %w", err)
	}
	return &Group{name: name, cg: cg}, nil
}

// Create makes the group called name with limits. What a dead sandbox of that
// name left behind is removed first.
func Create(ctx context.Context, name string, limits sandbox.Limits) (*Group, error) {
	g, err := Open(name)
	if err != nil {
		return nil, err
	}
	if err := g.Remove(ctx); err != nil {
		return nil, err
	}
	if err := g.cg.Install(resources(limits)); err != nil {
		g.Remove(ctx)
		return nil, fmt.Errorf("make control group %s: %w", name, err)
	}
	return g, nil
}

func resources(l sandbox.Limits) *specs.LinuxResources {
	res := &specs.LinuxResources{}
	if l.Memory > 0 {
		res.Memory = &specs.LinuxMemory{Limit: &l.Memory}
	}
	if l.CPUs > 0 {
		quota, period := int64(l.CPUs*cpuPeriod), uint64(cpuPeriod)
		res.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
	if l.PIDs > 0 {
		res.Pids = &specs.LinuxPids{Limit: max(l.PIDs, minPIDs)}
	}
	return res
}

// Path is the group's path in an OCI spec.
func (g *Group) Path() string { return "/" + g.name }

// Add moves a process into the group; children that it has later follow.
func (g *Group) Add(pid int) error {
	for _, dir := range g.dirs() {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
			return fmt.Errorf("move process %d into its control group: %w", pid, err)
		}
	}
	return nil
}

// dirs are the group's directories that exist: one on version 2, one for each
// controller on version 1.
func (g *Group) dirs() []string {
	var dirs []string
	seen := map[string]bool{}
	for _, controller := range controllers {
		dir := g.cg.MakePath(controller)
		if seen[dir] || filepath.Base(dir) != g.name {
			continue
		}
		seen[dir] = true
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// Exists says whether any part of the group is there.
func (g *Group) Exists() bool { return len(g.dirs()) > 0 }

// Processes are those in the group, in no order.
func (g *Group) Processes() []int {
	var pids []int
	seen := map[int]bool{}
	for _, dir := range g.dirs() {
		content, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(content)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 && !seen[pid] {
				seen[pid] = true
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// Remove kills what runs in the group and takes the group away. It is
// idempotent.
func (g *Group) Remove(ctx context.Context) error {
	for {
		for _, pid := range g.Processes() {
			unix.Kill(pid, unix.SIGKILL)
		}
		busy := ""
		for _, dir := range g.dirs() {
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				busy = fmt.Sprintf("remove %s: %v", dir, err)
			}
		}
		if busy == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", busy, ctx.Err())
		case <-time.After(5 * time.Millisecond): // a killed process leaves its group a moment later
		}
	}
}

// Usage is what the group takes now; a number that cannot be read is -1.
func (g *Group) Usage() sandbox.Usage {
	u := sandbox.Usage{MemoryBytes: -1, CPU: -1, PIDs: -1}
	memory := "memory.usage_in_bytes"
	if gcgroup.IsOnlyV2() {
		memory = "memory.current"
	}
	if n, err := g.number("memory", memory); err == nil {
		u.MemoryBytes = n
	}
	if n, err := g.cg.CPUUsage(); err == nil {
		u.CPU = time.Duration(n)
	}
	if n, err := g.number("pids", "pids.current"); err == nil {
		u.PIDs = n
	}
	return u
}

func (g *Group) number(controller, file string) (int64, error) {
	content, err := os.ReadFile(filepath.Join(g.cg.MakePath(controller), file))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(content)), 10, 64)
}
