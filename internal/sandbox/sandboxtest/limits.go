package sandboxtest

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/moltworker/moltworker/internal/sandbox"
)

func owner(t *testing.T, name string) uint32 {
	t.Helper()
	info, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

// All that a guest can write to memory together stays within Limits.Scratch.
func testScratch(t *testing.T, b *bench) {
	spec := b.probeSpec("fill", nil)
	spec.Limits.Scratch = 16 << 20
	b.wait(b.start(spec))
	content, _ := os.ReadFile(b.log)
	m := regexp.MustCompile(`filled (\d+)\n`).FindSubmatch(content)
	if m == nil {
		t.Fatalf("the filler said %q", content)
	}
	if n, _ := strconv.Atoi(string(m[1])); n == 0 || n > 16<<20 {
		t.Errorf("the guest could write %d bytes, want some and at most %d", n, 16<<20)
	}
}

// A guest that takes more memory than it may loses the process that did; the
// host loses nothing.
func testMemory(t *testing.T, b *bench) {
	if c := b.check("memory limit"); !c.OK {
		t.Skipf("memory limits are not enforced here: %s", c.Detail)
	}
	spec := b.probeSpec("feed-hog", nil)
	spec.Limits.Memory = 256 << 20
	e := b.wait(b.start(spec))
	content, _ := os.ReadFile(b.log)
	if strings.Contains(string(content), "survived") {
		t.Errorf("the hog took 1 GiB with a limit of 256 MiB: %s", content)
	}
	if e == (sandbox.Exit{Known: true}) && !strings.Contains(string(content), "hog: signal: killed") {
		t.Errorf("PID 1 lives, but its hog was not killed: %s", content)
	}
	t.Logf("PID 1 %v; %s", e, strings.TrimSpace(string(content)))
}

func (b *bench) check(name string) sandbox.Check {
	b.t.Helper()
	for _, c := range b.driver.Probe(b.ctx()).Checks {
		if c.Name == name {
			return c
		}
	}
	b.t.Fatalf("Probe has no check %q", name)
	return sandbox.Check{}
}

func testUsage(t *testing.T, b *bench) {
	s := b.start(b.probeSpec("sleep", nil))
	b.logged("up")
	u, err := s.Usage(b.ctx())
	if err != nil {
		t.Fatalf("Usage: %v", err)
	}
	t.Logf("%+v", u)
	if u.MemoryBytes == 0 || u.PIDs == 0 || u.CPU == 0 {
		t.Errorf("Usage = %+v: a sandbox takes something, and what cannot be told is negative", u)
	}
}
