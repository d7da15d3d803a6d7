package server

import (
	"runtime"
	"runtime/debug"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/guest/proto"
	openclaw "github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox/gvisor"
)

// Version describes this build.
func Version() admin.Version {
	return admin.Version{
		Moltworker: buildVersion(),
		OpenClaw:   openclaw.Version,
		GVisor:     gvisor.Version(),
		Protocol:   proto.Version,
		Go:         runtime.Version(),
	}
}

// buildVersion is the module's version, or the commit it was built from.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
