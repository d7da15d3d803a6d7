package openclawtest

import (
	"bytes"
	"context"
	"errors"
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
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
)

// BootLimit bounds a gateway's boot in tests. A boot takes ten seconds; a
// machine that does other things at the same time may need minutes.
const BootLimit = 10 * time.Minute

// A Gateway is a real OpenClaw gateway, running natively with a home directory of
// its own.
type Gateway struct {
	Addr  string // host:port
	Token string
	Home  string
	Model *Model        // the model behind it
	Boot  time.Duration // from start to ready

	cmd    *exec.Cmd
	exited chan error
	log    lockedBuffer
}

// StartGateway boots a gateway with the given openclaw.json and waits until it
// is ready. port is where the configuration puts it.
func StartGateway(rt runtime.Runtime, home string, port int, config []byte) (*Gateway, error) {
	state := filepath.Join(home, ".openclaw")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(state, "openclaw.json"), config, 0o600); err != nil {
		return nil, err
	}
	g := &Gateway{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Home: home, exited: make(chan error, 1)}
	g.cmd = exec.Command(rt.NodePath(), rt.EntryPath(), "gateway", "--port", strconv.Itoa(port))
	g.cmd.Dir = home
	g.cmd.Env = environment(rt, home)
	g.cmd.Stdout, g.cmd.Stderr = &g.log, &g.log
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	started := make(chan error, 1)
	go func() {
		// The parent-death signal is bound to the starting thread.
		goruntime.LockOSThread()
		started <- g.cmd.Start()
		g.exited <- g.cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	if err := g.waitReady(); err != nil {
		g.Stop()
		return nil, err
	}
	g.Boot = time.Since(start)
	return g, nil
}

// environment is the sandbox's, with the paths of this machine.
func environment(rt runtime.Runtime, home string) []string {
	var env []string
	for _, e := range openclaw.Environment(rt, "") {
		e = strings.ReplaceAll(e, openclaw.RuntimeDir, rt.Dir)
		e = strings.ReplaceAll(e, openclaw.Home, home)
		if strings.HasPrefix(e, "TMPDIR=") {
			e = "TMPDIR=" + home
		}
		env = append(env, e)
	}
	return env
}

func (g *Gateway) waitReady() error {
	deadline := time.After(BootLimit)
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case err := <-g.exited:
			g.exited <- err
			return fmt.Errorf("gateway ended before it was ready: %v\n%s", err, g.Log())
		case <-deadline:
			return fmt.Errorf("gateway not ready in %v\n%s", BootLimit, g.Log())
		case <-poll.C:
			if res, err := http.Get("http://" + g.Addr + "/startupz"); err == nil {
				res.Body.Close()
				if res.StatusCode == http.StatusOK {
					return nil
				}
			}
		}
	}
}

// Dial connects to the gateway's port.
func (g *Gateway) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", g.Addr)
}

// Log is what the gateway printed so far.
func (g *Gateway) Log() string { return g.log.String() }

// Exited waits for the gateway's end and gives its exit code.
func (g *Gateway) Exited(ctx context.Context) (int, error) {
	select {
	case err := <-g.exited:
		g.exited <- err
		return g.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Stop kills the gateway and its helpers.
func (g *Gateway) Stop() {
	_ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
	err := <-g.exited
	g.exited <- err
}

var one struct {
	sync.Once
	gateway *Gateway
	home    string
	err     error
}

// SharedGateway is one gateway for all tests of a package, with a scripted model
// behind it. The package's TestMain must call [Run].
func SharedGateway(t testing.TB) *Gateway {
	t.Helper()
	rt := Runtime(t)
	one.Do(func() { one.gateway, one.err = startShared(rt) })
	if one.err != nil {
		t.Fatalf("start OpenClaw's gateway: %v", one.err)
	}
	return one.gateway
}

func startShared(rt runtime.Runtime) (*Gateway, error) {
	home, err := os.MkdirTemp("", "openclawtest-")
	if err != nil {
		return nil, err
	}
	one.home = home
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	model := NewModel()
	config, _, err := openclaw.Merge(nil, nil, Settings(port, "shared-token", model))
	if err != nil {
		return nil, err
	}
	g, err := StartGateway(rt, home, port, config)
	if err != nil {
		return nil, err
	}
	g.Token, g.Model = "shared-token", model
	return g, nil
}

// Settings are those of a gateway in front of a model.
func Settings(port int, token string, m *Model) openclaw.Settings {
	demo := openclaw.Demo()
	demo.BaseURL = m.URL
	return openclaw.Settings{Port: port, Token: token, AllowedOrigins: []string{"http://localhost:8787"}, Providers: []openclaw.Provider{demo}}
}

// Run runs a package's tests and takes the shared gateway away afterwards:
// func TestMain(m *testing.M) { os.Exit(openclawtest.Run(m)) }
func Run(m *testing.M) int {
	code := m.Run()
	if one.gateway != nil {
		one.gateway.Stop()
		one.gateway.Model.Close()
	}
	if one.home != "" {
		if err := os.RemoveAll(one.home); err != nil {
			fmt.Fprintln(os.Stderr, "remove the shared gateway's home:", err)
		}
	}
	return code
}

// FreePort is a TCP port that nobody listens on now.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.New("not a TCP address")
	}
	return addr.Port, nil
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
