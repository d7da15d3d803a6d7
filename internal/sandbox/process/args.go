package process

import (
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/rootfs"
)

// maxSharedMemory bounds /dev/shm, which is taken out of Limits.Scratch.
const maxSharedMemory = 64 << 20

// Descriptors that bubblewrap is given.
const (
	statusFD = 3 // it writes there which process is PID 1 and how that ended
	blockFD  = 4 // PID 1 waits for a byte from it
	argsFD   = 5 // it reads its arguments from it, so that no environment is in ps
)

// arguments are what bubblewrap reads from argsFD. p's root must be written.
func (d *Driver) arguments(p place, spec sandbox.Spec, host rootfs.Host) ([]string, error) {
	args := d.namespaces(spec)
	root, err := d.skeleton(p, spec, host)
	if err != nil {
		return nil, err
	}
	args = append(args, root...)
	for _, name := range host.Binds {
		args = append(args, "--ro-bind", name, name)
	}
	args = append(args, "--proc", "/proc", "--dev", "/dev")
	args = append(args, sized(sharedMemory(spec.Limits.Scratch), "1777", "/dev/shm")...)
	args = append(args, "--remount-ro", "/dev")
	for _, m := range spec.Mounts {
		flag := "--bind"
		if m.ReadOnly {
			flag = "--ro-bind"
		}
		args = append(args, flag, m.Source, m.Destination)
	}
	args = append(args, "--clearenv")
	for _, pair := range environment(spec.Env) {
		name, value, _ := strings.Cut(pair, "=")
		args = append(args, "--setenv", name, value)
	}
	dir := spec.Dir
	if dir == "" {
		dir = "/"
	}
	return append(args, "--chdir", dir), nil
}

// namespaces cuts the guest off: processes, network, names, users.
func (d *Driver) namespaces(spec sandbox.Spec) []string {
	args := []string{
		"--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try",
		"--hostname", spec.Hostname, "--as-pid-1", "--new-session", "--cap-drop", "ALL",
		"--json-status-fd", strconv.Itoa(statusFD), "--block-fd", strconv.Itoa(blockFD),
	}
	id := strconv.Itoa(rootfs.GuestID)
	if d.rootless {
		return append(args, "--unshare-user", "--uid", id, "--gid", id)
	}
	// As root bubblewrap would map the guest to root. Instead setpriv changes to
	// the guest's user inside, and with that loses these; the last is for
	// bubblewrap to enter a working directory that is the guest's alone.
	for _, name := range []string{"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_DAC_READ_SEARCH"} {
		args = append(args, "--cap-add", name)
	}
	return args
}

// command is what bubblewrap runs: PID 1, by way of programs that replace
// themselves by it. bubblewrap sets PWD, which is not in Spec.Env.
func (d *Driver) command(spec sandbox.Spec) []string {
	var args []string
	if !d.rootless {
		id := strconv.Itoa(rootfs.GuestID)
		args = []string{d.setpriv, "--reuid", id, "--regid", id, "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--"}
	}
	return append(append(args, "/usr/bin/env", "-u", "PWD", "--"), spec.Args...)
}

// environment is env, with the home directory that a login would set.
func environment(env []string) []string {
	for _, pair := range env {
		if strings.HasPrefix(pair, "HOME=") {
			return env
		}
	}
	return append([]string{"HOME=" + rootfs.Home}, env...)
}

func sharedMemory(scratch int64) int64 {
	if scratch <= 0 {
		return maxSharedMemory
	}
	return min(scratch/8, maxSharedMemory)
}

// sized mounts a tmpfs of at most size bytes; 0 is without a limit.
func sized(size int64, mode, name string) []string {
	args := []string{"--perms", mode, "--tmpfs", name}
	if size > 0 {
		args = append([]string{"--size", strconv.FormatInt(size, 10)}, args...)
	}
	return args
}

// skeleton repeats the links and directories of p's root in one tmpfs, which
// holds all that the guest can write besides its mounts.
func (d *Driver) skeleton(p place, spec sandbox.Spec, host rootfs.Host) ([]string, error) {
	size := spec.Limits.Scratch
	if size > 0 {
		size -= sharedMemory(size)
	}
	args := sized(size, "0755", "/")
	skip := append([]string{"/etc", "/proc", "/dev"}, host.Binds...)
	for _, m := range spec.Mounts {
		skip = append(skip, m.Destination) // bubblewrap makes the mount points
	}
	err := filepath.WalkDir(p.root(), func(full string, e fs.DirEntry, err error) error {
		name := strings.TrimPrefix(full, p.root())
		if err != nil || name == "" {
			return err
		}
		for _, s := range skip {
			if name == s {
				return skipping(e)
			}
		}
		more, err := entry(full, name, e)
		args = append(args, more...)
		return err
	})
	return args, err
}

func skipping(e fs.DirEntry) error {
	if e.IsDir() {
		return fs.SkipDir
	}
	return nil
}
