package gvisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/sandbox/hostproc"
)

// kill ends the sandbox called id, alive, dead or half-made.
func (d *Driver) kill(ctx context.Context, id string) error {
	p := d.place(id)
	if err := p.kill(ctx); err != nil {
		return err
	}
	// gVisor puts the control socket elsewhere where the state directory's file
	// system can hold none.
	if c, err := p.load(); err == nil && c.Sandbox.ControlSocketPath != "" {
		os.Remove(c.Sandbox.ControlSocketPath)
	}
	return nil
}

// kill ends every host process of the sandbox in p and waits for it.
func (p place) kill(ctx context.Context) error {
	for {
		pids := hostproc.Find(p.owns)
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			hostproc.Kill(pid, p.owns)
		}
		for _, pid := range pids {
			if err := hostproc.Await(ctx, pid, p.owns); err != nil {
				return fmt.Errorf("wait for process %d to end: %w", pid, err)
			}
		}
	}
}

// owns says whether pid is a host process of the sandbox in p, known by the
// directory in its arguments: a record of process numbers may be missing when
// the process that started the sandbox died, and wrong after a reboot.
func (p place) owns(pid int) bool {
	args := hostproc.Args(pid)
	if len(args) == 0 || pid == os.Getpid() || !strings.HasPrefix(filepath.Base(args[0]), "runsc") {
		return false
	}
	if slices.Contains(args, "--bundle="+p.dir) {
		return true
	}
	i := slices.Index(args, "--bundle")
	return i >= 0 && i+1 < len(args) && args[i+1] == p.dir
}
