package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/guest"
	"github.com/moltworker/moltworker/internal/guest/pid1"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/secret"
	"github.com/moltworker/moltworker/internal/store"
	"github.com/moltworker/moltworker/internal/unixsock"
)

// bare is a driver whose sandbox is a guest in this process: enough to run
// commands, and a gateway that cannot start.
type bare struct {
	link string

	mu     sync.Mutex
	latest *bareSandbox
}

type bareSandbox struct {
	ended chan struct{}
	end   context.CancelFunc
}

func (*bare) Name() string                           { return "bare" }
func (*bare) Probe(context.Context) sandbox.Report   { return sandbox.Report{Available: true} }
func (*bare) List(context.Context) ([]string, error) { return nil, nil }

func (d *bare) Start(context.Context, sandbox.Spec) (sandbox.Sandbox, error) {
	ctx, cancel := context.WithCancel(context.Background())
	sb := &bareSandbox{ended: make(chan struct{}), end: cancel}
	g := pid1.New(pid1.Options{
		Socket: filepath.Join(d.link, guest.SocketName),
		Env:    []string{"PATH=/usr/bin:/bin"},
		Log:    slog.New(slog.DiscardHandler),
	})
	go func() {
		defer close(sb.ended)
		g.Run(ctx)
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.latest = sb
	return sb, nil
}

func (d *bare) Open(context.Context, string) (sandbox.Sandbox, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.latest == nil {
		return nil, sandbox.ErrNotFound
	}
	select {
	case <-d.latest.ended:
		return nil, sandbox.ErrNotFound
	default:
		return d.latest, nil
	}
}

func (*bareSandbox) ID() string { return "bare" }
func (s *bareSandbox) Wait(ctx context.Context) (sandbox.Exit, error) {
	select {
	case <-s.ended:
		return sandbox.Exit{}, nil
	case <-ctx.Done():
		return sandbox.Exit{}, ctx.Err()
	}
}
func (*bareSandbox) Signal(context.Context, syscall.Signal) error { return nil }
func (*bareSandbox) Usage(context.Context) (sandbox.Usage, error) {
	return sandbox.Usage{MemoryBytes: 12345}, nil
}
func (s *bareSandbox) Destroy(context.Context) error {
	s.end()
	<-s.ended
	return nil
}

// control is a running control plane on a Unix socket.
type control struct {
	data    string
	agent   *agent.Agent
	changed chan string // names of secrets
}

// serveControl runs a control plane whose agent has said something before.
func serveControl(t testing.TB, said ...string) *control {
	t.Helper()
	c := &control{data: t.TempDir(), changed: make(chan string, 100)}
	dir := filepath.Join(c.data, "agents", "main")
	quiet := slog.New(slog.DiscardHandler)
	writeLog(t, filepath.Join(dir, "logs", "agent.log"), said)
	var err error
	c.agent, err = agent.New(agent.Options{
		Name: "main", Dir: dir, ID: "bare-main",
		Driver: &bare{link: filepath.Join(dir, "link")},
		Runtime: func(context.Context, func(string)) (runtime.Runtime, error) {
			return runtime.Runtime{Version: "1.2.3", Dir: dir}, nil
		},
		Binary: "/nowhere/moltworker",
		// No token: the gateway is not to be started, and nothing written, here.
		Settings: func() (openclaw.Settings, error) { return openclaw.Settings{}, nil },
		AI:       http.NotFoundHandler(),
		Log:      quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	fleet, err := agent.NewFleet(c.agent)
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := secret.Open(filepath.Join(c.data, "secrets"), secret.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), filepath.Join(c.data, "moltworker.db"))
	if err != nil {
		t.Fatal(err)
	}
	socket, err := unixsock.Listen(filepath.Join(c.data, "moltworker.sock"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	plane := &routes{
		Plane: admin.New(admin.Options{
			Agents: admin.Fleet(fleet), Secrets: secrets, Store: db, Audit: audit.New(db, time.Now),
			Version: admin.Version{Moltworker: "test"}, Log: quiet,
			Configured:    func() map[string]string { return nil },
			Token:         func(string) string { return "" },
			TokenName:     func(string) string { return "MOLTBOT_GATEWAY_TOKEN" },
			Redact:        func(s string) string { return s },
			SecretChanged: func(name string) { c.changed <- name },
			Create: func(_ context.Context, name string) (string, error) {
				if name != "main" {
					return "", fmt.Errorf("%w: not %s here", config.ErrInvalid, name)
				}
				return "http://here/?token=t", nil
			},
			Remove: func(_ context.Context, name string) (string, error) { return "/kept/" + name, nil },
		}),
		log:        quiet,
		knockEvery: 20 * time.Millisecond,
	}
	srv := &http.Server{Handler: Owner(plane.handler()), BaseContext: func(net.Listener) context.Context { return ctx }}
	var running sync.WaitGroup
	running.Go(func() { srv.Serve(socket) })
	running.Go(func() { fleet.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		srv.Close()
		running.Wait()
		db.Close()
	})
	return c
}

func writeLog(t testing.TB, path string, said []string) {
	t.Helper()
	var lines bytes.Buffer
	for _, text := range said {
		if err := json.NewEncoder(&lines).Encode(agent.LogEntry{Stream: "stdout", Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, lines.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// raw sends a request without our client and returns status and body.
func (c *control) raw(t testing.TB, method, path string, body io.Reader) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return unixsock.Dial(ctx, filepath.Join(c.data, "moltworker.sock"))
		},
	}}
	req, err := http.NewRequestWithContext(t.Context(), method, "http://moltworker"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
