// Package hostproc owns how the drivers deal with host processes that are not
// their children: finding them, telling one from another that got its number
// later, killing them and waiting for their end.
//
// It knows nothing of sandboxes.
package hostproc

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Find gives the processes for which mine holds.
func Find(mine func(pid int) bool) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && mine(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// execTime bounds how long a process is waited for that replaces its program: one
// that has taken its arguments away for good looks the same.
const execTime = 250 * time.Millisecond

// Args is a process's argument vector; nil when it has ended, reaped or not. While a
// process replaces its program the kernel tells none; that is waited for.
func Args(pid int) []string {
	for deadline := time.Now().Add(execTime); ; time.Sleep(time.Millisecond) {
		content, err := os.ReadFile(procFile(pid, "cmdline"))
		if err != nil {
			return nil
		}
		if len(content) > 0 {
			return strings.Split(strings.TrimSuffix(string(content), "\x00"), "\x00")
		}
		if stat, err := ReadStat(pid); err != nil || stat.State == 'Z' || stat.State == 'X' || stat.kernel {
			return nil
		}
		if time.Now().After(deadline) {
			return nil
		}
	}
}

// Stat is the part of /proc/PID/stat that identifies a process.
type Stat struct {
	State  byte // 'Z' when it has ended and nobody has asked how
	Parent int
	Start  uint64 // in clock ticks since the machine booted

	kernel bool // it is a thread of the kernel's
}

// ReadStat reads /proc/PID/stat.
func ReadStat(pid int) (Stat, error) {
	content, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return Stat{}, err
	}
	return parseStat(content)
}

// ReadThread reads /proc/PID/task/TID/stat.
func ReadThread(pid, tid int) (Stat, error) {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "task", strconv.Itoa(tid), "stat"))
	if err != nil {
		return Stat{}, err
	}
	return parseStat(content)
}

// kernelThread is PF_KTHREAD of the kernel's include/linux/sched.h.
const kernelThread = 0x0020_0000

// parseStat starts after the last ')': the name before it may hold anything.
func parseStat(content []byte) (Stat, error) {
	i := bytes.LastIndexByte(content, ')')
	if i < 0 {
		return Stat{}, fmt.Errorf("read process state: no ')' in %.80q", content)
	}
	fields := strings.Fields(string(content[i+1:]))
	if len(fields) < 20 || len(fields[0]) != 1 {
		return Stat{}, fmt.Errorf("read process state: %d fields in %.80q", len(fields), content)
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return Stat{}, fmt.Errorf("read process state: parent: %w", err)
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	if err != nil {
		return Stat{}, fmt.Errorf("read process state: flags: %w", err)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return Stat{}, fmt.Errorf("read process state: start: %w", err)
	}
	return Stat{State: fields[0][0], Parent: parent, Start: start, kernel: flags&kernelThread != 0}, nil
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// Kill sends SIGKILL to pid when mine still holds for it. The check follows the
// opening of a descriptor, so that the number cannot change hands in between.
func Kill(pid int, mine func(pid int) bool) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		if mine(pid) {
			unix.Kill(pid, unix.SIGKILL)
		}
		return
	}
	defer unix.Close(fd)
	if mine(pid) {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	}
}

// Await waits until pid has ended or mine no longer holds for it. Where this
// process is its parent (as PID 1 of a container, say) it is reaped.
func Await(ctx context.Context, pid int, mine func(pid int) bool) error {
	defer unix.Wait4(pid, nil, unix.WNOHANG, nil)
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return poll(ctx, pid, mine)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	if !mine(pid) {
		return nil
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := raw.Read(readable); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	return nil
}

// readable: a process's descriptor can be read once the process has ended.
func readable(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return err == nil && n > 0
}

// poll is for kernels before 5.10.
func poll(ctx context.Context, pid int, mine func(pid int) bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for mine(pid) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
