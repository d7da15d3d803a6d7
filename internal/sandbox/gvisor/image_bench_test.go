package gvisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// What a night costs, the least of all rounds: "answer" is from the call of
// Restore to the first word of a process inside, "whole" to when that process
// has read all its memory again. The sandbox holds 4 MiB, or as many as
// BENCH_MIB says.
func BenchmarkSleep(b *testing.B) {
	mib, _ := strconv.Atoi(os.Getenv("BENCH_MIB"))
	mib = max(mib, 4)
	dir := b.TempDir()
	d, err := New(Options{Root: filepath.Join(dir, "root")})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := Prepare(b.Context(), nil); err != nil {
		b.Fatal(err)
	}
	const life = `trap 'echo answer; cat /tmp/ballast >/dev/null; echo whole' USR1
head -c %d /dev/urandom >/tmp/ballast; echo up; while :; do sleep 0.01; done`
	n := night{b: b, d: d, least: map[string]time.Duration{}, spec: sandbox.Spec{
		ID: "bench", Hostname: "bench", Log: filepath.Join(dir, "log"),
		Args: []string{"/bin/sh", "-c", fmt.Sprintf(life, mib<<20)},
	}}
	for b.Loop() {
		n.pass()
	}
	for name, took := range n.least {
		b.ReportMetric(float64(took.Microseconds())/1000, name+"-ms")
	}
	b.ReportMetric(float64(n.size)/1e6, "image-MB")
}

type night struct {
	b     *testing.B
	d     *Driver
	spec  sandbox.Spec
	least map[string]time.Duration
	size  int64 // of the pages
	began time.Time
}

func (n *night) pass() {
	os.Remove(n.spec.Log)
	n.start()
	evening, err := n.d.Start(n.b.Context(), n.spec)
	n.took("start", err)
	n.says("up")
	image := n.b.TempDir()
	os.Chmod(image, 0o700)
	n.start()
	n.took("pause", evening.(*Sandbox).Pause(n.b.Context()))
	n.start()
	n.took("checkpoint", evening.(*Sandbox).Checkpoint(n.b.Context(), image))
	n.start()
	n.took("destroy", evening.Destroy(n.b.Context()))
	if info, err := os.Stat(filepath.Join(image, "pages.img")); err == nil {
		n.size = info.Size()
	}
	n.start()
	morning, err := n.d.Restore(n.b.Context(), n.spec, image)
	n.took("restore", err)
	err = morning.Signal(n.b.Context(), syscall.SIGUSR1)
	n.says("answer")
	n.took("answer", err)
	n.says("whole")
	n.took("whole", nil)
	if err := errors.Join(morning.Destroy(n.b.Context()), os.RemoveAll(image)); err != nil {
		n.b.Fatal(err)
	}
}

func (n *night) start() { n.began = time.Now() }

func (n *night) took(what string, err error) {
	n.b.Helper()
	if err != nil {
		n.b.Fatalf("%s: %v", what, err)
	}
	took := time.Since(n.began)
	if least, ok := n.least[what]; !ok || took < least {
		n.least[what] = took
	}
}

// says waits for a line in the sandbox's log.
func (n *night) says(line string) {
	n.b.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		content, _ := os.ReadFile(n.spec.Log)
		if bytes.Contains(content, []byte(line+"\n")) {
			return
		}
		select {
		case <-tick.C:
		case <-n.b.Context().Done():
			n.b.Fatalf("waited in vain for %q", line)
		}
	}
}
