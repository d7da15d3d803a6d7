package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestProcessSandbox is the same product where gVisor is not wanted: the weaker
// sandbox is chosen by name, says what it lacks, and runs the real OpenClaw.
func TestProcessSandbox(t *testing.T) {
	if _, err := exec.LookPath("bwrap"); err != nil {
		t.Skip("bubblewrap is not installed (apt-get install bubblewrap)")
	}
	u := startUp(t, t.TempDir(), "--sandbox", "process")
	if s := u.awaitAwake(0); s.Driver != "process" {
		t.Errorf("runs in %q", s.Driver)
	}
	doctor := u.moltworker("doctor")
	if doctor.code != 0 || !strings.Contains(doctor.stdout, "kernel boundary") {
		t.Errorf("doctor does not say what the process sandbox lacks: %s%s", doctor.stdout, doctor.stderr)
	}
	if got := strings.TrimSpace(u.inside("cat /etc/shadow 2>/dev/null || echo no")); got != "no" {
		t.Errorf("reads the shadow file: %q", got)
	}

	// Killed, and started again with the other sandbox: the one that runs must
	// end first, or two gateways would share a home.
	u.kill()
	if len(sandboxProcesses(t, u.data)) == 0 {
		t.Fatal("the sandbox ended with moltworker")
	}
	again := u.again(t, "--sandbox", "gvisor")
	again.await(0, patience, "a boot in gVisor", func(e event) bool {
		return e.Agent != nil && e.Agent.Driver == "gvisor" && len(e.Agent.Phases) > 1
	})
	for _, pid := range sandboxProcesses(t, u.data) {
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.HasPrefix(string(comm), "bwrap") {
			t.Errorf("process %d of the other sandbox still runs", pid)
		}
	}
	if code := again.stop(); code != 0 {
		t.Errorf("ended with code %d", code)
	}
	leavesNothing(t, u.data)
}
