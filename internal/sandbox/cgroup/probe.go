package cgroup

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	gcgroup "gvisor.dev/gvisor/runsc/cgroup"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/rootfs"
)

// Enforceable says whether groups with limits can be made here, and how or why
// not. The first call makes one and removes it again.
var Enforceable = sync.OnceValues(func() (detail string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	name := "moltworker-probe-" + strings.ToLower(rand.Text()[:10])
	g, err := Create(ctx, name, sandbox.Limits{Memory: 64 << 20, CPUs: 1, PIDs: minPIDs})
	if err != nil {
		return "", err
	}
	if err := g.Remove(ctx); err != nil {
		return "", err
	}
	if gcgroup.IsOnlyV2() {
		return "control groups version 2", nil
	}
	return "control groups version 1", nil
})

// Checks are the doctor's lines about limits.
func Checks() []sandbox.Check {
	detail, err := Enforceable()
	var checks []sandbox.Check
	for _, name := range []string{"memory limit", "CPU limit", "process limit"} {
		c := sandbox.Check{Name: name, OK: err == nil, Detail: detail}
		if err != nil {
			c.Detail = "not enforced: " + reason(err)
			c.Remedy = remedy()
		}
		checks = append(checks, c)
	}
	return checks
}

// reason says in a person's words why no groups can be made; an error that is
// not among the usual ones speaks for itself.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "this user may not make control groups"
	case errors.Is(err, unix.EROFS):
		return "control groups are mounted read-only"
	default:
		return err.Error()
	}
}

func remedy() string {
	if rootfs.Rootless() {
		return "run moltworker as root to have limits enforced"
	}
	return "give moltworker a writable /sys/fs/cgroup with the cpu, cpuset, io, memory and pids controllers (in a container: --privileged or a delegated cgroup)"
}
