package runtime_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/openclaw/openclawtest"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
)

// The real thing: installed from the user's registry, complete, readable for
// everybody, and unchanged by running it.
func TestRealRuntimeRunsAndStaysUnchanged(t *testing.T) {
	rt := openclawtest.Runtime(t)
	for _, want := range []struct{ name, args, prefix string }{
		{"node", "--version", "v" + runtime.NodeVersion},
		{"openclaw", rt.EntryPath() + " --version", "OpenClaw " + runtime.Version},
	} {
		cmd := exec.Command(rt.NodePath(), strings.Fields(want.args)...)
		cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=/usr/bin:/bin", "NODE_DISABLE_COMPILE_CACHE=1"}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), want.prefix) {
			t.Errorf("%s %s = %q, %v; want prefix %q", want.name, want.args, out, err, want.prefix)
		}
	}
	for _, full := range []bool{false, true} {
		start := time.Now()
		if err := rt.Verify(context.Background(), full); err != nil {
			t.Fatalf("verify (full %v): %v", full, err)
		}
		t.Logf("verify (full %v) of %d files, %d bytes: %v", full, rt.Files, rt.Bytes, time.Since(start))
	}
	for _, p := range []string{rt.Node, rt.Entry, rt.Bin + "/node", rt.Bin + "/openclaw"} {
		info, err := os.Stat(filepath.Join(rt.Dir, p))
		if err != nil || info.Mode().Perm() != 0o555 {
			t.Errorf("%s: %v, %v; want mode 0555", p, info, err)
		}
	}
}
