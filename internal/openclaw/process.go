package openclaw

import (
	"path"
	"strconv"
	"time"

	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
)

// bootTimeout is generous: on a starved machine a boot takes ten times its usual
// ten seconds and still succeeds.
const bootTimeout = 5 * time.Minute

// GatewayProcess is OpenClaw's gateway as PID 1 inside runs it. timeZone is the
// agent's, e.g. "Europe/Vienna"; empty means UTC.
func GatewayProcess(rt runtime.Runtime, port int, timeZone string) proto.Process {
	if port == 0 {
		port = GatewayPort
	}
	node := path.Join(RuntimeDir, rt.Node)
	return proto.Process{
		Args:        mendFirst(node, []string{node, path.Join(RuntimeDir, rt.Entry), "gateway", "--port", strconv.Itoa(port)}),
		Env:         Environment(rt, timeZone),
		Dir:         Home,
		Ready:       proto.Probe{Port: port, Path: "/startupz"},
		Live:        proto.Probe{Port: port, Path: "/healthz"},
		BootTimeout: proto.Duration(bootTimeout),
		FatalCodes:  []int{ExitConfig},
	}
}

// Environment is the whole environment of OpenClaw inside: the gateway's, and
// that of an `openclaw` command run beside it.
func Environment(rt runtime.Runtime, timeZone string) []string {
	if timeZone == "" {
		timeZone = "UTC"
	}
	return []string{
		"HOME=" + Home,
		"USER=agent",
		"LOGNAME=agent",
		"SHELL=/bin/sh",
		"LANG=C.UTF-8",
		"TZ=" + timeZone,
		"TMPDIR=/tmp",
		"PATH=" + path.Join(RuntimeDir, rt.Bin) + ":" + Home + "/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"OPENCLAW_STATE_DIR=" + StateDir,
		"OPENCLAW_DISABLE_BONJOUR=1",     // there is no network to announce on
		"OPENCLAW_NO_RESPAWN=1",          // PID 1 restarts the gateway, nobody else
		"OPENCLAW_NO_AUTO_UPDATE=1",      // the version is pinned
		"OPENCLAW_EXEC_SHELL_SNAPSHOT=0", // no login shell to learn from
		// Compiled code is kept with the agent, not in the sandbox's memory. The
		// second variable says that this is the wanted directory: without it
		// OpenClaw starts itself once more in a subdirectory.
		"NODE_COMPILE_CACHE=" + Home + "/.cache/node-compile-cache",
		"OPENCLAW_PACKAGED_COMPILE_CACHE_RESPAWNED=1",
	}
}
