package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/gvisor"
	"github.com/moltworker/moltworker/internal/sandbox/process"
)

// goal is what the way through edge and link may add at the median to a request
// made inside the sandbox.
const goal = 1.0 // milliseconds

// way is one way from a client to a server.
type way struct {
	name string
	run  func(ctx context.Context, args []string) (outcome, error)
	url  string
	auth bool
}

// rig is the servers, one of each kind, and the ways to them.
type rig struct {
	stops         []func() error
	echo, gateway []way // in the order of the table
}

// measureLatency sends the same client the same requests over every way by
// turns: on this machine's loopback, inside the sandbox, and from outside
// through edge and link.
func measureLatency(ctx context.Context, b *bench) (tables []table, err error) {
	r := &rig{}
	defer func() { err = errors.Join(err, r.stop()) }()
	var rt *runtime.Runtime
	if !b.short {
		found, err := installed(ctx)
		if err != nil {
			return nil, err
		}
		rt = &found
	}
	if err := r.start(ctx, b, rt); err != nil {
		return nil, err
	}
	for _, m := range []struct {
		title, kind string
		gateway     bool
		n, short    int
	}{
		{"GET of OpenClaw's gateway (/startupz), connection kept", kindGET, true, 300, 0},
		{"GET of OpenClaw's gateway (/startupz), new connection each", kindFresh, true, 100, 0},
		{"GET of an echo server, connection kept", kindGET, false, 500, 200},
		{"GET of an echo server, new connection each", kindFresh, false, 200, 50},
		{"WebSocket echo of 200 bytes", kindSocket, false, 500, 200},
	} {
		ways, n := r.echo, m.n
		if m.gateway {
			ways = r.gateway
		}
		if b.short {
			n = m.short
		}
		if len(ways) == 0 {
			continue
		}
		t, err := trips(ctx, b, ways, m.title, m.kind, n)
		if err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	t, err := rates(ctx, b, r)
	return append(tables, t), err
}

// trips measures single round trips.
func trips(ctx context.Context, b *bench, ways []way, title, kind string, n int) (table, error) {
	say("latency: %s", title)
	rounds := b.rounds(7, 2)
	var s samples
	for range rounds {
		for _, w := range ways {
			out, err := w.probe(ctx, kind, n)
			if err != nil {
				return table{}, err
			}
			s.add(w.name, map[string]float64{
				"p50 ms": quantile(out.Micros, 0.5) / 1000, "p90 ms": quantile(out.Micros, 0.9) / 1000,
				"p99 ms": quantile(out.Micros, 0.99) / 1000, "requests/s": float64(n) / out.Seconds,
			})
		}
	}
	t := table{
		Title: title, Columns: []string{"p50 ms", "p90 ms", "p99 ms", "requests/s"}, Rows: s.medians(),
		Notes: []string{fmt.Sprintf("one client, %d requests %d times by turns, medians of the rounds", n, rounds)},
	}
	p50 := map[string]float64{}
	for _, r := range t.Rows {
		p50[r.Name] = r.Values["p50 ms"]
	}
	added := p50[throughGVisor] - p50[insideGVisor]
	t.Notes = append(t.Notes, fmt.Sprintf("edge and link add %.2f ms at the median to a request made inside gVisor (goal: at most %.0f ms), %.2f ms to one on the host's loopback", added, goal, p50[throughGVisor]-p50[direct]))
	return t, nil
}

// rates measures what goes through when there is much of it.
func rates(ctx context.Context, b *bench, r *rig) (table, error) {
	say("latency: requests at once, and throughput")
	rounds, requests, size := b.rounds(5, 1), 2000, 64
	if b.short {
		requests, size = 480, 16
	}
	var s samples
	for range rounds {
		for _, w := range r.gateway {
			out, err := w.probe(ctx, kindLoad, requests/loadClients*loadClients)
			if err != nil {
				return table{}, err
			}
			s.add(w.name, map[string]float64{"gateway requests/s": float64(requests/loadClients*loadClients) / out.Seconds})
		}
		for _, w := range r.echo {
			for kind, column := range map[string]string{kindDown: "down MB/s", kindUp: "up MB/s"} {
				out, err := w.probe(ctx, kind, size)
				if err != nil {
					return table{}, err
				}
				s.add(w.name, map[string]float64{column: float64(size<<20) / 1e6 / out.Seconds})
			}
			out, err := w.probe(ctx, kindLoad, requests/loadClients*loadClients)
			if err != nil {
				return table{}, err
			}
			s.add(w.name, map[string]float64{"echo requests/s": float64(requests/loadClients*loadClients) / out.Seconds})
		}
	}
	columns := []string{"echo requests/s", "down MB/s", "up MB/s"}
	if len(r.gateway) > 0 {
		columns = append([]string{"gateway requests/s"}, columns...)
	}
	return table{
		Title: fmt.Sprintf("Rates: GET of %d clients at once; one body of %d MiB", loadClients, size), Columns: columns, Rows: s.medians(),
		Notes: []string{fmt.Sprintf("medians of %d by turns; client, edge and server share the machine's cores", rounds)},
	}, nil
}

// Names of the ways.
const (
	direct         = "native, direct"
	insideGVisor   = "gVisor, inside"
	throughGVisor  = "gVisor, edge and link"
	throughProcess = "bubblewrap, edge and link"
)

func (w way) probe(ctx context.Context, kind string, n int) (outcome, error) {
	args := []string{probeRole, "-kind", kind, "-url", w.url, "-n", strconv.Itoa(n)}
	if w.auth {
		args = append(args, "-token", token)
	}
	out, err := w.run(ctx, args)
	if err != nil {
		return out, fmt.Errorf("%s: %w", w.name, err)
	}
	return out, nil
}

// start starts the servers one after the other.
func (r *rig) start(ctx context.Context, b *bench, rt *runtime.Runtime) error {
	onHost := func(ctx context.Context, args []string) (outcome, error) { return probeHere(ctx, b.self, args) }
	if err := r.startNative(ctx, b, rt, onHost); err != nil {
		return err
	}
	if _, err := gvisor.Prepare(ctx, func(m string) { say("%s", m) }); err != nil {
		return err
	}
	gv, err := gvisor.New(gvisor.Options{Root: filepath.Join(b.dir, "run", "gvisor")})
	if err != nil {
		return err
	}
	c, err := r.startCell(ctx, b, gv, rt)
	if err != nil {
		return err
	}
	r.join(c, insideGVisor, c.probe, func(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }, false)
	r.join(c, throughGVisor, onHost, func(port int) string { return c.edges[port] }, true)
	pr, err := process.New(process.Options{Root: filepath.Join(b.dir, "run", "process")})
	if errors.Is(err, sandbox.ErrUnavailable) {
		say("no bubblewrap here: %v", err)
		return nil
	}
	if err != nil {
		return err
	}
	if c, err = r.startCell(ctx, b, pr, rt); err != nil {
		return err
	}
	r.join(c, throughProcess, onHost, func(port int) string { return c.edges[port] }, true)
	return nil
}

// join adds the ways to a cell's servers.
func (r *rig) join(c *cell, name string, run func(context.Context, []string) (outcome, error), addr func(port int) string, auth bool) {
	w := way{name: name, run: run, auth: auth, url: "http://" + addr(echoPort)}
	r.echo = append(r.echo, w)
	if c.edges[openclaw.GatewayPort] != "" {
		w.url = "http://" + addr(openclaw.GatewayPort)
		r.gateway = append(r.gateway, w)
	}
}

func (r *rig) startCell(ctx context.Context, b *bench, d sandbox.Driver, rt *runtime.Runtime) (*cell, error) {
	say("latency: starting a %s sandbox", d.Name())
	c, err := startCell(ctx, d, filepath.Join(b.dir, "cell-"+d.Name()), b.self, rt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Name(), err)
	}
	r.stops = append(r.stops, c.stop)
	return c, nil
}

func (r *rig) startNative(ctx context.Context, b *bench, rt *runtime.Runtime, run func(context.Context, []string) (outcome, error)) error {
	say("latency: starting the native servers")
	port, err := freePort()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.self, echoRole, strconv.Itoa(port))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	r.stops = append(r.stops, func() error {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		return nil
	})
	w := way{name: direct, run: run, url: fmt.Sprintf("http://127.0.0.1:%d", port)}
	dial := func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(port))
	}
	if err := listening(ctx, dial); err != nil {
		return err
	}
	r.echo = append(r.echo, w)
	if rt == nil {
		return nil
	}
	g, err := startNative(ctx, *rt, filepath.Join(b.dir, "native"))
	if err != nil {
		return err
	}
	r.stops = append(r.stops, func() error { g.stop(); return nil })
	w.url = fmt.Sprintf("http://127.0.0.1:%d", g.port)
	r.gateway = append(r.gateway, w)
	return nil
}

// stop takes the servers away, the last first.
func (r *rig) stop() error {
	var errs []error
	for i := len(r.stops) - 1; i >= 0; i-- {
		errs = append(errs, r.stops[i]())
	}
	return errors.Join(errs...)
}

// probeHere runs the client as a process of this machine.
func probeHere(ctx context.Context, self string, args []string) (outcome, error) {
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	said, err := cmd.Output()
	if err != nil {
		return outcome{}, err
	}
	var out outcome
	return out, json.Unmarshal(said, &out)
}
