package agent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/guest/pid1"
	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/gvisor"
	"github.com/moltworker/moltworker/internal/sandbox/process"
)

// The test binary plays all parts inside the sandbox, told apart as the real ones
// are: PID 1 by its first argument, the gateway's Node by its name.
func TestMain(m *testing.M) {
	gvisor.Dispatch()
	if len(os.Args) > 1 && os.Args[1] == "guest" {
		if _, err := os.Stat(openclaw.Home + "/mute"); err == nil {
			select {} // a PID 1 that never calls
		}
		// os.Exit waits a second where races are looked for.
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(pid1.Main(os.Args[2:])), 0, 0)
	}
	if filepath.Base(os.Args[0]) == "node" {
		gatewayMain()
	}
	code := m.Run()
	if dir, err := stage(); err == nil {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// stage is the parts that all sandboxes of a test run share: our program and a
// runtime whose Node is the stand-in.
var stage = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "agent-stage-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", err
	}
	self, err := os.ReadFile("/proc/self/exe")
	for _, name := range []string{"bin/moltworker", "runtime/node"} {
		path := filepath.Join(dir, name)
		err = errors.Join(err, os.Mkdir(filepath.Dir(path), 0o755), os.WriteFile(path, self, 0o755))
	}
	return dir, err
})

// world is everything around one agent: what outlives a host process.
type world struct {
	t      testing.TB
	opts   Options
	driver *watchedDriver
}

// watchedDriver is the process driver; tests hold up and count its starts.
type watchedDriver struct {
	sandbox.Driver

	mu     sync.Mutex
	starts int
	hold   chan struct{} // nil: starts are not held up
	before func()        // called at a start that is held up
}

func (d *watchedDriver) Start(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	d.mu.Lock()
	d.starts++
	hold, before := d.hold, d.before
	d.mu.Unlock()
	if hold != nil {
		before()
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return d.Driver.Start(ctx, spec)
}

func (d *watchedDriver) started() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.starts
}

// settings that a test may change while agents run.
type settings struct {
	mu  sync.Mutex
	now openclaw.Settings
}

func (s *settings) get() (openclaw.Settings, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, nil
}

func (s *settings) allow(origin string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.AllowedOrigins = []string{origin}
}

func newWorld(t *testing.T) (*world, *settings) {
	t.Helper()
	return newWorldIn(t, func(root string) (sandbox.Driver, error) { return process.New(process.Options{Root: root}) })
}

func newWorldIn(t *testing.T, open func(root string) (sandbox.Driver, error)) (*world, *settings) {
	t.Helper()
	t.Parallel() // they mostly wait for processes
	dir := t.TempDir()
	driver, err := open(filepath.Join(dir, "run"))
	if err != nil {
		t.Skip(err)
	}
	if report := driver.Probe(t.Context()); !report.Available {
		t.Skip(report.Summary)
	}
	parts, err := stage()
	if err != nil {
		t.Fatal(err)
	}
	rt := runtime.Runtime{Version: "1.2.3", Dir: filepath.Join(parts, "runtime"), Node: "node", Entry: "openclaw.mjs", Bin: "bin"}
	now := &settings{now: openclaw.Settings{Token: "a-token", Providers: openclaw.Providers(false, false)}}
	w := &world{t: t, driver: &watchedDriver{Driver: driver}}
	w.opts = Options{
		Name: "main", Dir: filepath.Join(dir, "main"), ID: "test-main", Driver: w.driver,
		Runtime:     func(context.Context, func(string)) (runtime.Runtime, error) { return rt, nil },
		Binary:      filepath.Join(parts, "bin", "moltworker"),
		Settings:    now.get,
		AI:          http.NotFoundHandler(),
		BootTimeout: time.Minute,
		Log:         slog.New(slog.DiscardHandler),
	}
	t.Cleanup(func() {
		if sb, err := driver.Open(context.Background(), w.opts.ID); err == nil {
			sb.Destroy(context.Background())
		}
		nothingRuns(t, dir)
	})
	return w, now
}

// nothingRuns checks that no process is left that has a directory of this world
// mounted: a sandbox that nobody knows any more.
func nothingRuns(t *testing.T, dir string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		var left []string
		tables, _ := filepath.Glob("/proc/[0-9]*/mountinfo")
		for _, table := range tables {
			if mounts, err := os.ReadFile(table); err == nil && strings.Contains(string(mounts), dir+"/") {
				left = append(left, table)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("still running: %v", left)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// run starts a host process's worth of agent. stop is Ctrl-C; it returns when Run
// has.
func (w *world) run(change ...func(*Agent)) (a *Agent, stop func()) {
	w.t.Helper()
	a, err := New(w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	a.patience.firstPause, a.patience.longestPause = 10*time.Millisecond, 50*time.Millisecond
	for _, f := range change {
		f(a)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	stop = func() { cancel(); running.Wait() }
	w.t.Cleanup(stop)
	return a, stop
}

// await waits for a status that fits.
func await(t testing.TB, a *Agent, what string, fits func(Status) bool) Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for s := range a.Watch(ctx) {
		if fits(s) {
			return s
		}
	}
	t.Fatalf("not %s; the agent is %+v", what, a.Status())
	return Status{}
}

func in(state State) func(Status) bool { return func(s Status) bool { return s.State == state } }

func awake(t testing.TB, a *Agent) Status { t.Helper(); return await(t, a, "awake", in(StateAwake)) }

// sh runs a command inside and returns what it printed.
func sh(t testing.TB, a *Agent, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out strings.Builder
	cmd := proto.Exec{Args: []string{"sh", "-c", script}}
	if exit, err := a.Exec(ctx, cmd, nil, &out, &out); err != nil || exit.Code != 0 {
		t.Fatalf("%s: %v, %+v: %s", script, err, exit, out.String())
	}
	return strings.TrimSpace(out.String())
}

// kill ends the sandbox as a crash would.
func (w *world) kill() {
	w.t.Helper()
	sb, err := w.opts.Driver.Open(w.t.Context(), w.opts.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := sb.Destroy(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// gone checks that nothing of the sandbox is left.
func (w *world) gone() {
	w.t.Helper()
	if _, err := w.opts.Driver.Open(context.Background(), w.opts.ID); !errors.Is(err, sandbox.ErrNotFound) {
		w.t.Errorf("the sandbox is still there: %v", err)
	}
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
