package gvisor

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"gvisor.dev/gvisor/runsc/cli/maincli"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/cgroup"
)

// probeTimeout bounds the trial sandbox; a loaded machine takes seconds.
const probeTimeout = time.Minute

// Version is the version of the gVisor module in this binary, or "unknown".
// gVisor itself does not know it when built as a library, and a test binary
// does not list its modules; but every function knows the file it came from.
var Version = sync.OnceValue(func() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "gvisor.dev/gvisor" {
				return m.Version
			}
		}
	}
	entry := reflect.ValueOf(maincli.Main).Pointer()
	file, _ := runtime.FuncForPC(entry).FileLine(entry)
	return moduleVersion(file)
})

// moduleVersion takes the version out of .../gvisor.dev/gvisor@VERSION/...
func moduleVersion(file string) string {
	_, rest, ok := strings.Cut(file, "gvisor.dev/gvisor@")
	version, _, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return "unknown"
	}
	return version
}

// Probe starts a trial sandbox and says what the machine allows; see
// [sandbox.Driver].
func (d *Driver) Probe(ctx context.Context) sandbox.Report {
	r := sandbox.Report{Driver: d.Name()}
	privilege := "root"
	if d.user.rootless {
		privilege = "rootless"
	}
	trial := d.roster.Try(ctx, probeTimeout)
	if !trial.OK {
		trial.Remedy = trialRemedy()
	}
	r.Available = trial.OK
	r.Checks = append(r.Checks, platformCheck(), d.userCheck(), trial)
	r.Checks = append(r.Checks, cgroup.Checks()...)
	r.Checks = append(r.Checks, sandbox.Check{Name: "scratch limit", OK: true, Detail: "enforced by gVisor"},
		sandbox.Check{Name: "memory images", OK: true, Detail: "an agent sleeps as an image and wakes from it"})
	r.Summary = fmt.Sprintf("gVisor %s, systrap, %s", shortVersion(Version()), privilege)
	if _, err := cgroup.Enforceable(); err != nil {
		r.Summary += ", no limits on memory and CPU"
	}
	return r
}

// shortVersion keeps the date of a pseudo-version: v0.0.0-DATE-COMMIT.
func shortVersion(v string) string {
	parts := strings.Split(v, "-")
	if len(parts) == 3 && len(parts[1]) == 14 {
		return parts[1][:8]
	}
	return v
}

func platformCheck() sandbox.Check {
	c := sandbox.Check{Name: "gVisor platform", OK: runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64", Detail: "systrap on " + runtime.GOARCH}
	if !c.OK {
		c.Remedy = "use a machine with an x86-64 or arm64 processor"
	}
	return c
}

func (d *Driver) userCheck() sandbox.Check {
	if d.user.rootless {
		return sandbox.Check{Name: "guest user", OK: true, Detail: "root inside, without capabilities; the user who started moltworker outside"}
	}
	return sandbox.Check{Name: "guest user", OK: true, Detail: fmt.Sprintf("unprivileged, uid %d", d.user.uid)}
}

func trialRemedy() string {
	if remedy := namespaceRemedy(); guestUser().rootless && remedy != "run moltworker as root" {
		return remedy
	}
	return "run moltworker as root on the host or, in a container, with --privileged; or use --sandbox process"
}
