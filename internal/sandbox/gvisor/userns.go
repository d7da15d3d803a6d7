package gvisor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// EnterUserNamespace makes gVisor possible without root. As root it returns nil
// at once. Otherwise it runs this program again, arguments, environment and
// standard streams unchanged, in a user and mount namespace of its own where it
// is root and every file it makes belongs to the caller; it passes signals on,
// and exits with that process's exit code. It returns, with an error that wraps
// [sandbox.ErrUnavailable], only when the machine does not allow this.
//
// Call it early: before files are locked, ports bound or goroutines started.
func EnterUserNamespace() error {
	if os.Geteuid() == 0 {
		return nil
	}
	// The kernel sends Pdeathsig when the thread that forked ends, so that
	// thread must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGQUIT, unix.SIGHUP, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	defer signal.Stop(signals)

	cmd := inNewNamespace()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: cannot make a user namespace (%v); %s", sandbox.ErrUnavailable, err, namespaceRemedy())
	}
	go forward(signals, cmd.Process)
	err := cmd.Wait()
	os.Exit(exitCode(err))
	return nil
}

func inNewNamespace() *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	// Not /proc/self/exe: that name means gVisor to Dispatch.
	cmd.Args[0] = "moltworker"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   unix.SIGKILL,
	}
	return cmd
}

// forward passes signals on. Those that a terminal sends to its whole
// foreground group have reached the child already.
func forward(signals <-chan os.Signal, to *os.Process) {
	for sig := range signals {
		if sig != unix.SIGTERM && sig != unix.SIGUSR1 && sig != unix.SIGUSR2 && inForeground() {
			continue
		}
		to.Signal(sig)
	}
}

// inForeground says whether this process is in the foreground group of its
// terminal.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return 1
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}

// namespaceRemedy says what on this machine forbids user namespaces.
func namespaceRemedy() string {
	settings := []struct{ file, bad, remedy string }{
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "run: sudo sysctl kernel.unprivileged_userns_clone=1, or run moltworker as root"},
		{"/proc/sys/user/max_user_namespaces", "0", "run: sudo sysctl user.max_user_namespaces=15000, or run moltworker as root"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "run: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run moltworker as root"},
	}
	for _, s := range settings {
		if content, err := os.ReadFile(s.file); err == nil && strings.TrimSpace(string(content)) == s.bad {
			return s.remedy
		}
	}
	return "run moltworker as root"
}
