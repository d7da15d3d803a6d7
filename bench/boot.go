package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
)

// Columns of the boot tables.
const (
	colGateway = "gateway s" // from the process's start to its first 200 at /startupz
	colCommand = "command s" // from the command's start to that
	colCPU     = "CPU s"
	colAgentLS = "agent ls MiB"
	colPSS     = "PSS MiB"
	colRSS     = "RSS MiB"
)

// measureBoot boots the gateway natively and in gVisor by turns: with an empty
// home, then with what that boot left there (Node's compile cache above all).
// Then `up` is killed and started again beside its running sandbox.
func measureBoot(ctx context.Context, b *bench) ([]table, error) {
	rt, err := installed(ctx)
	if err != nil {
		return nil, err
	}
	program, err := b.build(ctx)
	if err != nil {
		return nil, err
	}
	m := boots{bench: b, runtime: rt, program: program}
	n, homes := b.rounds(3, 1), []string{emptyHome, usedHome}
	if b.short {
		homes = homes[:1]
	}
	for i := range n {
		say("boot: round %d of %d", i+1, n)
		dir := filepath.Join(b.dir, "boot"+strconv.Itoa(i))
		for j, home := range homes {
			m.last = j == len(homes)-1
			m.keep = b.short && m.last && i == n-1
			if err := m.native(ctx, filepath.Join(dir, "native"), home); err != nil {
				return nil, err
			}
			if err := m.sandbox(ctx, filepath.Join(dir, "data"), home); err != nil {
				return nil, err
			}
		}
		if m.keep {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	return []table{
		{
			Title:   "Boot: from start to the gateway's first 200 at /startupz",
			Columns: []string{colGateway, colCommand, colCPU, colAgentLS, colPSS, colRSS},
			Rows:    m.boots.medians(),
			Notes: []string{
				"medians of " + strconv.Itoa(n) + " by turns; CPU and memory when ready, of the process tree, in gVisor with gVisor itself",
				"in gVisor ready is asked for every 100 ms, natively every 10 ms; RSS counts shared pages more than once",
			},
		},
		{
			Title:   "Boot in gVisor: phases of `moltworker up`",
			Columns: []string{"command s", "runtime s", "sandbox s", "guest s", "config s", "gateway s", "ready s"},
			Rows:    m.phases.medians(),
			Notes:   []string{"command: until the first phase begins; gateway: until /healthz answers; ready: until /startupz does"},
		},
	}, nil
}

// What a boot finds.
const (
	emptyHome = "empty home"
	usedHome  = "second boot"
)

// boots is the measurement under way.
type boots struct {
	*bench
	runtime       runtime.Runtime
	program       string
	boots, phases samples
	last          bool // of its round: `up` is killed and started again
	keep          bool // what runs at the end is left running
}

func (m *boots) native(ctx context.Context, home, name string) error {
	g, err := startNative(ctx, m.runtime, home)
	if err != nil {
		return err
	}
	t := g.takes()
	seconds := g.booted.Seconds()
	m.boots.add("native, "+name, map[string]float64{
		colGateway: seconds, colCommand: seconds, colCPU: t.cpu.Seconds(), colPSS: mib(t.pss), colRSS: mib(t.rss),
	})
	if m.keep {
		m.kept.native = g
		return nil
	}
	g.stop()
	return nil
}

// sandbox runs `up` until the agent is awake; the last of a round then kills
// `up` and starts it once more.
func (m *boots) sandbox(ctx context.Context, data, name string) (err error) {
	u, err := startUp(m.program, data, "gvisor")
	if err != nil {
		return err
	}
	defer func() {
		if m.keep && err == nil {
			m.kept.up = u
			return
		}
		err = errors.Join(err, u.stop())
	}()
	s, took, err := u.awaitAwake(ctx)
	if err != nil {
		return err
	}
	host := tree(u.cmd.Process.Pid)
	t := tree(sandboxProcesses(data)...)
	values := map[string]float64{
		colGateway: seconds(s, "gateway") + seconds(s, "ready"), colCommand: took.Seconds(),
		colCPU: t.cpu.Seconds() + host.cpu.Seconds(), colPSS: mib(t.pss), colRSS: mib(t.rss),
	}
	info, err := u.info(ctx)
	if err != nil {
		return err
	}
	if info.MemoryBytes > 0 {
		values[colAgentLS] = mib(info.MemoryBytes)
	}
	m.boots.add("gVisor, "+name, values)
	m.phases.add(name, phaseValues(u, s))
	if !m.last {
		return nil
	}
	u.kill()
	again, err := startUp(m.program, data, "gvisor")
	if err != nil {
		return err
	}
	u = again
	if s, took, err = u.awaitAwake(ctx); err != nil {
		return err
	}
	m.boots.add("gVisor, `up` killed and started again", map[string]float64{colCommand: took.Seconds()})
	m.phases.add("`up` killed and started again", phaseValues(u, s))
	return nil
}

func phaseValues(u *up, s agent.Status) map[string]float64 {
	values := map[string]float64{}
	for i, p := range s.Phases {
		if i == 0 {
			values["command s"] = p.Started.Sub(u.began).Seconds()
		}
		values[p.Name+" s"] += p.Ended.Sub(p.Started).Seconds()
	}
	return values
}

// seconds is how long the phases of a name took.
func seconds(s agent.Status, name string) float64 {
	var sum float64
	for _, p := range s.Phases {
		if p.Name == name {
			sum += p.Ended.Sub(p.Started).Seconds()
		}
	}
	return sum
}
