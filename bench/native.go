package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
)

// native is OpenClaw's gateway as a plain process of this machine: the same
// runtime, environment and configuration as in a sandbox, with nothing of ours.
type native struct {
	port   int
	booted time.Duration // from its start to its first 200 at /startupz
	cmd    *exec.Cmd
	ended  chan struct{}
}

var installOnce sync.Mutex

// installed is the pinned runtime.
func installed(ctx context.Context) (runtime.Runtime, error) {
	installOnce.Lock()
	defer installOnce.Unlock()
	cache, err := runtime.DefaultCacheDir()
	if err != nil {
		return runtime.Runtime{}, err
	}
	return runtime.Install(ctx, runtime.InstallOptions{CacheDir: cache})
}

// startNative boots a gateway with a home, which may be new.
func startNative(ctx context.Context, rt runtime.Runtime, home string) (*native, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	config, _, err := openclaw.Merge(nil, nil, settings(port))
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{".openclaw", "tmp"} {
		if err := os.MkdirAll(filepath.Join(home, dir), 0o700); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(home, ".openclaw", "openclaw.json"), config, 0o600); err != nil {
		return nil, err
	}
	g := &native{port: port, ended: make(chan struct{})}
	g.cmd = exec.Command(rt.NodePath(), rt.EntryPath(), "gateway", "--port", strconv.Itoa(port))
	g.cmd.Dir = home
	g.cmd.Env = nativeEnvironment(rt, home)
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := g.start(); err != nil {
		return nil, err
	}
	if err := g.awaitReady(ctx); err != nil {
		g.stop()
		return nil, err
	}
	g.booted = time.Since(began)
	return g, nil
}

// start keeps the thread that forks: the parent-death signal is bound to it.
func (g *native) start() error {
	started := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		err := g.cmd.Start()
		started <- err
		if err == nil {
			g.cmd.Wait()
			close(g.ended)
		}
	}()
	return <-started
}

func (g *native) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/startupz", g.port))
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-g.ended:
			return fmt.Errorf("the native gateway ended before it was ready: %v", g.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("wait for the native gateway: %w", ctx.Err())
		}
	}
}

// takes is what it takes now.
func (g *native) takes() takes { return tree(g.cmd.Process.Pid) }

// stop ends it as a supervisor would, then what it left.
func (g *native) stop() {
	syscall.Kill(-g.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-g.ended:
	case <-time.After(10 * time.Second):
	}
	syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
	<-g.ended
}

// nativeEnvironment is the sandbox's, with the paths of this machine.
func nativeEnvironment(rt runtime.Runtime, home string) []string {
	var env []string
	for _, e := range openclaw.Environment(rt, "") {
		if strings.HasPrefix(e, "TMPDIR=") {
			e = "TMPDIR=" + openclaw.Home + "/tmp"
		}
		e = strings.ReplaceAll(e, openclaw.RuntimeDir, rt.Dir)
		env = append(env, strings.ReplaceAll(e, openclaw.Home, home))
	}
	return env
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
