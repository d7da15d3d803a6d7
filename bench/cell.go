package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/edge"
	"github.com/moltworker/moltworker/internal/guest"
	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// echoPort is the echo server's, inside.
const echoPort = 18700

// programInside is where this program is inside.
const programInside = "/run/bench/bench"

// cell is a sandbox with this program as PID 1, an echo server and, if asked
// for, OpenClaw's gateway inside, and edges before them in this process.
type cell struct {
	host    *guest.Host
	sandbox sandbox.Sandbox
	cancel  context.CancelFunc
	edges   map[int]string // guest port -> address of its edge
	running []<-chan error // ends when cancelled
}

// startCell makes one. rt is nil for a cell without the gateway.
func startCell(ctx context.Context, driver sandbox.Driver, dir, self string, rt *runtime.Runtime) (c *cell, err error) {
	ctx, cancel := context.WithCancel(ctx)
	c = &cell{cancel: cancel, edges: map[int]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	for _, d := range []string{"home", "link"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return c, err
		}
	}
	c.host, err = guest.Listen(guest.Options{Dir: filepath.Join(dir, "link"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return c, err
	}
	c.run(func() error { return c.host.Run(ctx) })
	if c.sandbox, err = driver.Start(ctx, cellSpec(dir, self, rt)); err != nil {
		return c, err
	}
	greeted, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	if err := c.host.Connected(greeted); err != nil {
		words, _ := os.ReadFile(filepath.Join(dir, "guest.log"))
		return c, fmt.Errorf("%w\n%s", err, words)
	}
	c.run(func() error {
		_, err := c.host.Exec(ctx, proto.Exec{
			Args: []string{programInside, echoRole, strconv.Itoa(echoPort)}, Timeout: proto.Duration(limit),
		}, nil, io.Discard, os.Stderr)
		return err
	})
	if err := listening(ctx, backend{c.host, echoPort}.DialGateway); err != nil {
		return c, fmt.Errorf("start the echo server inside: %w", err)
	}
	if err := c.serveEdge(ctx, echoPort); err != nil || rt == nil {
		return c, err
	}
	if err := c.startGateway(ctx, *rt); err != nil {
		return c, err
	}
	return c, c.serveEdge(ctx, openclaw.GatewayPort)
}

func (c *cell) run(f func() error) {
	done := make(chan error, 1)
	c.running = append(c.running, done)
	go func() { done <- f() }()
}

// cellSpec is an agent's sandbox with this program in moltworker's place.
func cellSpec(dir, self string, rt *runtime.Runtime) sandbox.Spec {
	spec := sandbox.Spec{
		ID:       "bench-" + strings.ToLower(rand.Text()[:10]),
		Hostname: "main",
		Args:     []string{programInside, "guest", "--link", "/run/mw/" + guest.SocketName},
		Env:      []string{"PATH=/usr/bin:/bin"},
		Dir:      openclaw.Home,
		Mounts: []sandbox.Mount{
			{Source: filepath.Join(dir, "home"), Destination: openclaw.Home, Private: true},
			{Source: filepath.Join(dir, "link"), Destination: "/run/mw", ReadOnly: true},
			{Source: self, Destination: programInside, ReadOnly: true},
		},
		Limits: sandbox.Limits{Memory: 3 << 30, PIDs: 4096, Scratch: 1 << 30},
		Log:    filepath.Join(dir, "guest.log"),
	}
	if rt != nil {
		spec.Env = openclaw.Environment(*rt, "")
		spec.Mounts = append(spec.Mounts, sandbox.Mount{Source: rt.Dir, Destination: openclaw.RuntimeDir, ReadOnly: true, Unchanging: true})
	}
	return spec
}

// startGateway boots OpenClaw inside.
func (c *cell) startGateway(ctx context.Context, rt runtime.Runtime) error {
	config, _, err := openclaw.Merge(nil, nil, settings(0))
	if err != nil {
		return err
	}
	if err := c.host.WriteFile(ctx, openclaw.ConfigPath, config, 0o600); err != nil {
		return err
	}
	if err := c.host.Supervise(ctx, openclaw.GatewayProcess(rt, 0, "")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	ready := errors.New("ready")
	ctx, found := context.WithCancelCause(ctx)
	defer found(nil)
	_, err = c.host.Events(ctx, 0, func(e proto.Event) {
		if e.Status != nil && e.Status.Phase == proto.PhaseReady {
			found(ready)
		}
	})
	if !errors.Is(context.Cause(ctx), ready) {
		return fmt.Errorf("boot the gateway inside: %w", err)
	}
	return nil
}

// listening waits for a server that is starting.
func listening(ctx context.Context, dial func(context.Context) (net.Conn, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		c, err := dial(ctx)
		if err == nil {
			return c.Close()
		}
		if pause(ctx, 10*time.Millisecond) != nil {
			return err
		}
	}
}

// serveEdge puts an edge before a port inside.
func (c *cell) serveEdge(ctx context.Context, port int) error {
	target := backend{host: c.host, port: port}
	e, err := edge.New(edge.Options{
		Lookup: func(string) (edge.Backend, bool) { return target, true },
		Guard:  access.NewGuard(access.NewTokens(func(string) string { return token }, time.Now)),
		Log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	c.edges[port] = l.Addr().String()
	c.run(func() error { return e.Serve(ctx, l) })
	return nil
}

// probe runs this program inside, as a client of a port there.
func (c *cell) probe(ctx context.Context, args []string) (outcome, error) {
	var stdout, stderr bytes.Buffer
	exit, err := c.host.Exec(ctx, proto.Exec{Args: append([]string{programInside}, args...)}, nil, &stdout, &stderr)
	if err != nil {
		return outcome{}, err
	}
	if exit.Code != 0 {
		return outcome{}, fmt.Errorf("inside: %s%s", stderr.Bytes(), exit.Error)
	}
	var out outcome
	return out, json.Unmarshal(stdout.Bytes(), &out)
}

// stop takes everything away.
func (c *cell) stop() error {
	var err error
	if c.sandbox != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = c.sandbox.Destroy(ctx)
	}
	c.cancel()
	for _, done := range c.running {
		<-done
	}
	return err
}

// backend is a port inside as an agent's gateway that is awake.
type backend struct {
	host *guest.Host
	port int
}

func (b backend) Status() agent.Status {
	return agent.Status{Agent: "main", State: agent.StateAwake, Reason: "awake"}
}

func (b backend) Use(context.Context, string) (done func(), err error) { return func() {}, nil }

func (b backend) Watch(ctx context.Context) <-chan agent.Status {
	statuses := make(chan agent.Status, 1)
	statuses <- b.Status()
	context.AfterFunc(ctx, func() { close(statuses) })
	return statuses
}

func (b backend) DialGateway(ctx context.Context) (net.Conn, error) {
	return b.host.DialPort(ctx, b.port)
}
