package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/openclaw"
)

// traits prints what must differ between any two agents, as JSON: what the gateway
// drew itself (its device, the nonce of a challenge) and what a new process draws,
// the first random bytes that it sends over TLS among that.
const traits = `
const crypto = require("crypto"), net = require("net"), tls = require("tls")
const { DatabaseSync } = require("node:sqlite")
const state = new DatabaseSync(process.env.HOME + "/.openclaw/state/openclaw.sqlite", { readOnly: true })
const out = {
	"device id": state.prepare("select device_id from device_identities").get().device_id,
	"randomUUID": crypto.randomUUID(),
	"randomBytes": crypto.randomBytes(32).toString("hex"),
}
const ws = new WebSocket("ws://127.0.0.1:%d/")
ws.onmessage = m => {
	out["gateway's nonce"] = JSON.parse(m.data).payload.nonce
	ws.close()
	const server = net.createServer(s => s.once("data", hello => {
		out["TLS client random"] = hello.subarray(11, 43).toString("hex") // record header 5, handshake header 4, version 2
		console.log(JSON.stringify(out))
		process.exit(0)
	}))
	server.listen(0, "127.0.0.1", () => tls.connect(server.address().port, "127.0.0.1").on("error", () => {}))
}
ws.onerror = e => { console.error(e.message); process.exit(1) }`

// pool is a ready pool, and the agents that are made out of it.
type pool struct {
	*bench
	u       *up
	n       int
	boot    float64 // seconds, of main
	created []float64
	waking  []float64
	seen    map[string][]string // values of each trait
}

// measurePool has agents booted ahead of need, makes as many out of these, one
// after the other on a quiet machine, and compares what they drew at random.
func measurePool(ctx context.Context, b *bench) (_ []table, err error) {
	load := loadAverage()
	p := &pool{bench: b, n: b.rounds(10, 2), seen: map[string][]string{}}
	program, err := b.build(ctx)
	if err != nil {
		return nil, err
	}
	settings := append(slices.Clone(sleepless), fmt.Sprintf("MOLTWORKER_POOL=%d", p.n))
	if p.u, err = startUpWith(program, filepath.Join(b.dir, "pool-data"), "gvisor", "127.0.0.1:0", settings); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.u.stop()) }()
	_, took, err := p.u.awaitAwake(ctx)
	if err != nil {
		return nil, err
	}
	p.boot = took.Seconds()
	for i := range p.n {
		if err := p.create(ctx, fmt.Sprintf("bench-%02d", i)); err != nil {
			return nil, err
		}
	}
	return []table{p.table(load)}, p.compare()
}

// create makes an agent as a person does, once the pool is full again.
func (p *pool) create(ctx context.Context, name string) error {
	if err := p.full(ctx); err != nil {
		return err
	}
	say("pool: making %s out of %d spares", name, p.n)
	cmd := exec.CommandContext(ctx, p.program, "agent", "create", name, "--json", "--data", p.u.data)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("create %s: %w: %s", name, err, stderr.Bytes())
	}
	p.created = append(p.created, time.Since(began).Seconds())
	var made agent.Status
	if err := json.Unmarshal(stdout.Bytes(), &made); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	keeper, err := restored(made)
	if err != nil {
		return err
	}
	p.waking = append(p.waking, keeper.Seconds())
	return p.look(ctx, name)
}

// full waits until every spare is booted and asleep.
func (p *pool) full(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.n)*5*time.Minute)
	defer cancel()
	for {
		ready, err := filepath.Glob(filepath.Join(p.u.data, "pool", "*", "ready"))
		if err != nil || len(ready) >= p.n {
			return err
		}
		if err := p.u.linger(ctx); err != nil {
			return fmt.Errorf("wait for %d spares, %d are ready: %w", p.n, len(ready), err)
		}
	}
}

// look notes the traits of an agent.
func (p *pool) look(ctx context.Context, name string) error {
	var stdout, stderr bytes.Buffer
	exit, err := p.u.admin.Exec(ctx, name, proto.Exec{
		Args: []string{"node", "--no-warnings", "-e", fmt.Sprintf(traits, openclaw.GatewayPort)}, Timeout: proto.Duration(time.Minute),
	}, nil, &stdout, &stderr)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("exit code %d, %s", exit.Code, exit.Error)
	}
	var drawn map[string]string
	if err == nil {
		err = json.Unmarshal(stdout.Bytes(), &drawn)
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w: %s", name, err, stderr.Bytes())
	}
	for trait, value := range drawn {
		p.seen[trait] = append(p.seen[trait], value)
	}
	return nil
}

// compare finds traits that two agents share.
func (p *pool) compare() error {
	var errs []error
	for trait, values := range p.seen {
		slices.Sort(values)
		if len(values) != p.n || values[0] == "" || len(slices.Compact(slices.Clone(values))) != p.n {
			errs = append(errs, fmt.Errorf("pool: %d agents have these values of %s: %q", p.n, trait, values))
		}
	}
	if len(p.seen) != 5 {
		errs = append(errs, fmt.Errorf("pool: %d traits were seen", len(p.seen)))
	}
	return errors.Join(errs...)
}

func (p *pool) table(load string) table {
	columns := []string{"times", "p50 s", "max s"}
	line := func(name string, seconds []float64) row {
		return row{Name: name, Values: map[string]float64{"times": float64(len(seconds)), "p50 s": quantile(seconds, 0.5), "max s": slices.Max(seconds)}}
	}
	return table{
		Title:   fmt.Sprintf("Pool: agents made out of %d spares", p.n),
		Columns: columns,
		Rows: []row{
			line("`agent create`, until it is awake", p.created),
			line("of that, waking", p.waking),
			line("a boot instead: `up` until main is awake", []float64{p.boot}),
		},
		Notes: []string{
			fmt.Sprintf("device id, gateway's nonce, randomUUID, randomBytes and TLS client random of %d agents: all different", p.n),
			fmt.Sprintf("each was made once the pool was full again; on %d cores; load average %s before, %s after", runtime.NumCPU(), load, loadAverage()),
		},
	}
}
