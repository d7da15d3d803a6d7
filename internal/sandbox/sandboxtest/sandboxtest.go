// Package sandboxtest owns the suite that every sandbox driver passes. It runs
// real sandboxes and looks at them from both sides: the test binary runs again
// inside, as a probe that tells what it sees.
//
// It must not know how a driver works.
package sandboxtest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// Words in the test binary's argument vector that turn it into something else.
const (
	probeArg = "sandbox-probe"
	startArg = "sandbox-start"
	waitArg  = "sandbox-wait"
)

// probePath is where the test binary is inside.
const probePath = "/run/probe"

// An Opener makes a driver that keeps its state under root.
type Opener func(root string) (sandbox.Driver, error)

// Main runs a driver's tests, or what this process was started as. A driver's
// TestMain ends with it.
func Main(m *testing.M, open Opener) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case probeArg:
			os.Exit(probe(os.Args[2:]))
		case startArg:
			os.Exit(startElsewhere(open, os.Args[2]))
		case waitArg:
			os.Exit(waitElsewhere(open, os.Args[2], os.Args[3]))
		}
	}
	os.Exit(m.Run())
}

// Inside says whether this process is a probe in a sandbox.
func Inside() bool { return len(os.Args) > 1 && os.Args[1] == probeArg }

// Run is the suite.
func Run(t *testing.T, open Opener) {
	tests := []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"Probe", testProbe},
		{"Output", testOutput},
		{"View", testView},
		{"Writes", testWrites},
		{"Network", testNetwork},
		{"Exit", testExit},
		{"Identity", testIdentity},
		{"OutlivesItsStarter", testOutlives},
		{"KilledFromOutside", testKilled},
		{"FailedStart", testFailedStart},
		{"CancelledStart", testCancelled},
		{"Together", testTogether},
		{"StaleState", testStale},
		{"Destroy", testDestroy},
		{"ScratchLimit", testScratch},
		{"MemoryLimit", testMemory},
		{"Usage", testUsage},
		{"Hold", testHold},
		{"Pause", testPause},
		{"Sleep", testSleep},
		{"BadImage", testBadImage},
		{"BadImageDirectory", testBadImageDirectory},
		{"CancelledImage", testCancelledImage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, newBench(t, open)) })
	}
}

// A bench is what one test works with. When the test ends it checks that
// nothing of its sandboxes is left on the host.
type bench struct {
	t      *testing.T
	open   Opener
	root   string
	driver sandbox.Driver
	id     string // nobody else's
	log    string
	home   string // mounted private at /home/agent
	out    string // host directory for what tests need besides
}

func newBench(t *testing.T, open Opener) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, open: open, root: filepath.Join(dir, "root"), log: filepath.Join(dir, "log"), home: filepath.Join(dir, "home"), out: filepath.Join(dir, "out")}
	b.id = "t-" + strings.ToLower(rand.Text()[:12])
	for _, d := range []string{b.root, b.home, b.out} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	driver, err := open(b.root)
	if err != nil {
		t.Fatalf("open the driver: %v", err)
	}
	b.driver = driver
	t.Cleanup(b.tidy)
	return b
}

// tidy takes away the test's sandboxes, if there are any, and looks for remains.
func (b *bench) tidy() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ids, err := b.driver.List(ctx)
	if err != nil {
		b.t.Errorf("list at the end: %v", err)
	}
	for _, id := range ids {
		if s, err := b.driver.Open(ctx, id); err == nil {
			if err := s.Destroy(ctx); err != nil {
				b.t.Errorf("destroy at the end: %v", err)
			}
		}
	}
	if left := b.remains(); len(left) > 0 {
		b.t.Errorf("left on the host:\n%s", strings.Join(left, "\n"))
	}
	if b.t.Failed() {
		content, _ := os.ReadFile(b.log)
		b.t.Logf("log of the sandbox:\n%s", content)
	}
}

// spec runs args inside.
func (b *bench) spec(args ...string) sandbox.Spec {
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	return sandbox.Spec{
		ID:       b.id,
		Hostname: "probe-host",
		Args:     args,
		Env:      []string{"PATH=/usr/bin:/bin", "HOME=/home/agent", "MARK=inside"},
		Dir:      "/home/agent",
		Mounts: []sandbox.Mount{
			{Source: b.home, Destination: "/home/agent", Private: true},
			{Source: self, Destination: probePath, ReadOnly: true, Unchanging: true},
		},
		Limits: sandbox.Limits{Memory: 512 << 20, CPUs: 2, PIDs: 1024, Scratch: 64 << 20},
		Log:    b.log,
	}
}

// probeSpec runs the probe's action inside.
func (b *bench) probeSpec(action string, arg any) sandbox.Spec {
	content, err := json.Marshal(arg)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.spec(probePath, probeArg, action, string(content))
}

func (b *bench) start(spec sandbox.Spec) sandbox.Sandbox {
	b.t.Helper()
	s, err := b.driver.Start(b.ctx(), spec)
	if err != nil {
		b.t.Fatalf("Start: %v", err)
	}
	return s
}

func (b *bench) wait(s sandbox.Sandbox) sandbox.Exit {
	b.t.Helper()
	e, err := s.Wait(b.ctx())
	if err != nil {
		b.t.Fatalf("Wait: %v", err)
	}
	return e
}

// ctx ends with the test, or after so long that something hangs.
func (b *bench) ctx() context.Context {
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	b.t.Cleanup(cancel)
	return ctx
}

// look starts a sandbox that looks around, and gives what it saw.
func (b *bench) look(q question, change ...func(*sandbox.Spec)) sight {
	b.t.Helper()
	spec := b.probeSpec("look", q)
	for _, f := range change {
		f(&spec)
	}
	s := b.start(spec)
	if e := b.wait(s); e != (sandbox.Exit{Known: true}) {
		b.t.Fatalf("the probe %v", e)
	}
	var got sight
	content, err := os.ReadFile(filepath.Join(b.home, "sight.json"))
	if err == nil {
		err = json.Unmarshal(content, &got)
	}
	if err != nil {
		b.t.Fatalf("read what the probe saw: %v", err)
	}
	if err := s.Destroy(b.ctx()); err != nil {
		b.t.Fatalf("Destroy: %v", err)
	}
	return got
}

// until polls for a condition that the sandbox brings about.
func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			b.t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

// logged waits for a line in the sandbox's log.
func (b *bench) logged(line string) {
	b.t.Helper()
	b.until(fmt.Sprintf("%q in the log", line), func() bool {
		content, _ := os.ReadFile(b.log)
		return strings.Contains(string(content), line+"\n")
	})
}
