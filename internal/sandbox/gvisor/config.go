package gvisor

import (
	"fmt"
	"path/filepath"
	"strconv"

	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/flag"
)

// containerID is gVisor's name for the one container of a sandbox. Each sandbox
// has a state directory of its own, so that one name serves, and the control
// socket's path stays short.
const containerID = "sb"

// settings builds gVisor's configuration the way its command line does, because
// it hands the same flags on to the processes it starts.
func settings(p place, rootless, cgroups bool, scratch int64) (*config.Config, error) {
	overlay := "root:memory"
	if scratch > 0 {
		overlay += ",size=" + strconv.FormatInt(scratch, 10)
	}
	flags := map[string]string{
		"root": p.state(),
		// No network but a loopback of its own. What goes in or out goes over
		// the Unix socket that the host mounts.
		"network": "none",
		// Writes to the root stay in the sandbox's memory, within its limit and
		// within its image; mounts are written through.
		"overlay2": overlay,
		// What nobody changes need not be looked up again; see annotations for the
		// mounts that somebody may.
		"file-access-mounts": "exclusive",
		// The guest may connect to the host's sockets that are mounted, but
		// create none: a socket that it listens on cannot be checkpointed.
		"host-uds": "open",
		// Works wherever Linux does, virtual machines included.
		"platform": "systrap",
		// An empty network namespace for each file server. The default pins one
		// for all with a mount in the state directory, which would be left.
		"gofer-network-namespace": "new",
		// Without this gVisor makes a control group of its own choosing.
		"ignore-cgroups": strconv.FormatBool(!cgroups),
		// Do not try what only real root may do.
		"rootless": strconv.FormatBool(rootless),
		// A crash of the sandbox's kernel leaves a trace to report.
		"panic-log": p.panicLog(),
	}
	set := flag.NewFlagSet("gvisor", flag.ContinueOnError)
	config.RegisterFlags(set)
	for name, value := range flags {
		if err := set.Set(name, value); err != nil {
			return nil, fmt.Errorf("set gVisor's %s: %w", name, err)
		}
	}
	return config.NewFromFlags(set)
}

// place is where one sandbox is kept on the host.
type place struct{ dir, id string }

func (p place) root() string     { return filepath.Join(p.dir, "rootfs") }
func (p place) state() string    { return filepath.Join(p.dir, "s") }
func (p place) panicLog() string { return filepath.Join(p.dir, "panic.log") }
func (p place) spec() string     { return filepath.Join(p.dir, "config.json") }
