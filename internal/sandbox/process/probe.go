package process

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/cgroup"
	"github.com/moltworker/moltworker/internal/sandbox/rootfs"
)

// probeTimeout bounds the trial sandbox.
const probeTimeout = 30 * time.Second

// Probe starts a trial sandbox and says what the driver cannot do; see
// [sandbox.Driver].
func (d *Driver) Probe(ctx context.Context) sandbox.Report {
	trial := d.roster.Try(ctx, probeTimeout)
	if !trial.OK {
		trial.Remedy = "allow user namespaces on this machine, or run moltworker as root (in a container: with --privileged)"
	}
	privilege := "root"
	if d.rootless {
		privilege = "rootless"
	}
	r := sandbox.Report{
		Driver:    d.Name(),
		Available: trial.OK,
		Summary:   fmt.Sprintf("%s, %s, shares the host's kernel, cannot sleep in memory images", version(ctx, d.bwrap), privilege),
		Checks: []sandbox.Check{
			trial,
			{Name: "guest user", OK: true, Detail: fmt.Sprintf("unprivileged, uid %d", rootfs.GuestID)},
			{Name: "kernel boundary", Detail: "the guest calls the host's kernel directly and can read the host paths of its mounts in /proc", Remedy: "use --sandbox gvisor"},
			{Name: "memory images", Detail: "a sleeping agent cannot be kept as an image: it boots again to wake", Remedy: "use --sandbox gvisor"},
		},
	}
	r.Checks = append(r.Checks, cgroup.Checks()...)
	r.Checks = append(r.Checks, sandbox.Check{Name: "scratch limit", OK: true, Detail: "enforced by the size of a tmpfs"})
	return r
}

func version(ctx context.Context, bwrap string) string {
	out, err := exec.CommandContext(ctx, bwrap, "--version").Output()
	if err != nil {
		return "bubblewrap"
	}
	return strings.TrimSpace(string(out))
}
