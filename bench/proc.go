package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/sandbox/hostproc"
)

// takes is what processes take as the host counts it.
type takes struct {
	cpu      time.Duration // since they started, ended children included
	rss, pss int64         // bytes; pss shares what is shared
}

// family is processes and all their descendants.
func family(roots ...int) []int {
	pids := slices.Clone(roots)
	for _, pid := range hostproc.Find(func(int) bool { return true }) {
		if !slices.Contains(roots, pid) && descends(pid, roots) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// tree adds up processes and all their descendants.
func tree(roots ...int) takes {
	pids := family(roots...)
	var sum takes
	for i, pid := range pids {
		t := one(pid)
		sum.cpu += t.cpu
		if !slices.ContainsFunc(pids[:i], func(other int) bool { return sameMemory(pid, other) }) {
			sum.rss += t.rss
			sum.pss += t.pss
		}
	}
	return sum
}

// sameMemory says whether two processes have one address space, as gVisor's
// stub processes do; it must count once.
func sameMemory(a, b int) bool {
	const kcmpVM = 1
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), kcmpVM, 0, 0, 0)
	return errno == 0 && order == 0
}

func descends(pid int, from []int) bool {
	for range 64 {
		stat, err := hostproc.ReadStat(pid)
		if err != nil {
			return false
		}
		if pid = stat.Parent; slices.Contains(from, pid) {
			return true
		}
	}
	return false
}

// tick is the unit of times in /proc/PID/stat.
const tick = 10 * time.Millisecond

// one looks at one process; one that has ended takes nothing.
func one(pid int) takes {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	var t takes
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return t
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 15 {
		return t
	}
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.ParseInt(f, 10, 64)
		t.cpu += time.Duration(n) * tick
	}
	t.rss = kib(field(filepath.Join(dir, "smaps_rollup"), "Rss"))
	t.pss = kib(field(filepath.Join(dir, "smaps_rollup"), "Pss"))
	return t
}

// kib reads "123 kB".
func kib(s string) int64 {
	n, _ := strconv.ParseInt(strings.TrimSuffix(s, " kB"), 10, 64)
	return n << 10
}

// sandboxProcesses are those of sandboxes whose state is under a directory.
func sandboxProcesses(dir string) []int {
	return hostproc.Find(func(pid int) bool {
		args := hostproc.Args(pid)
		return len(args) > 0 && strings.HasPrefix(filepath.Base(args[0]), "runsc") &&
			slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, dir) })
	})
}

// blocks is what a file takes on disk, in bytes.
func blocks(info os.FileInfo) int64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return 512 * stat.Blocks
	}
	return info.Size()
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
