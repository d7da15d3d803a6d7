package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/moltworker/moltworker/internal/agent"
)

// warmCycles are those after which what the host holds is compared.
const warmCycles = 10

// trySoak puts an agent to sleep and wakes it by a message, again and again,
// through one WebSocket that stays open. Nothing may be lost, answered twice, or
// left behind.
func trySoak(ctx context.Context, b *bench) ([]table, error) {
	s, err := b.onStage(ctx)
	if err != nil {
		return nil, err
	}
	n := b.rounds(100, 3)
	var f faults
	var times samples
	var awake, asleep, warm belongings
	tabs := s.tabs
	awake = s.belongings()
	for i := range n {
		say("soak: cycle %d of %d", i+1, n)
		r, err := s.sleep(ctx, agentName)
		if err != nil {
			return nil, err
		}
		times.add("sleep", map[string]float64{"s": r.took.Seconds()})
		if i == 0 {
			asleep = s.belongings()
			f.check(s.isAsleep())
		}
		if i > 0 && i == n-1 {
			now, err := s.settled(asleep)
			if err != nil {
				f.add("asleep for the last time, there are %w", err)
			}
			asleep = now
			f.check(s.isAsleep())
		}
		took, err := s.ask(ctx)
		if err != nil {
			f.add("cycle %d: a message to the sleeping agent: %w", i+1, err)
			return nil, f.err()
		}
		times.add("answer to a message while asleep", map[string]float64{"s": took.Seconds()})
		status, err := s.admin.Agent(ctx, agentName)
		if err != nil {
			return nil, err
		}
		woke, err := restored(status.Status)
		f.check(err)
		times.add("wake, in that", map[string]float64{"s": woke.Seconds()})
		if i+1 == min(warmCycles, n) {
			warm = s.belongings()
		}
	}
	if again := s.tab.notAnsweredOnce(); len(again) > 0 {
		f.add("messages were not answered once: %v", again)
	}
	if s.tabs != tabs || !s.tab.open() {
		f.add("the WebSocket did not stay open: %d were needed", s.tabs-tabs+1)
	}
	f.check(s.remembers(ctx))
	f.check(s.gateways(ctx))
	end, err := s.settled(awake)
	if err != nil {
		f.add("awake after %d cycles, there are %w", n, err)
	}
	if limit := warm.rss + warm.rss/4 + 8<<20; end.rss > limit {
		f.add("`up` grew from %.1f MiB after %d cycles to %.1f MiB after %d", mib(warm.rss), min(warmCycles, n), mib(end.rss), n)
	}
	return []table{
		{
			Title:   fmt.Sprintf("Soak: %d sleeps and wakes, a message each, one WebSocket", n),
			Columns: []string{"times", "p50 s", "p99 s", "max s"},
			Rows:    times.spreads("s"),
			Notes:   []string{fmt.Sprintf("%d faults; %d WebSockets opened; %d questions and answers in order", len(f.list), s.tabs-tabs, s.asked)},
		},
		{
			Title:   "Soak: what `up` and its agent have of the machine",
			Columns: belongingsColumns,
			Rows: []row{
				awake.row("awake, before"), warm.row(fmt.Sprintf("awake, after %d", min(warmCycles, n))),
				end.row(fmt.Sprintf("awake, after %d", n)), asleep.row("asleep"),
			},
			Notes: []string{"RSS, threads and descriptors are those of `up`"},
		},
	}, f.err()
}

// isAsleep expects that nothing of the agent runs and that it has one image.
func (s *stage) isAsleep() error {
	if left := sandboxProcesses(s.data); len(left) > 0 {
		return fmt.Errorf("asleep, it has processes: %v", left)
	}
	manifests, err := filepath.Glob(filepath.Join(s.data, "agents", agentName, "images", "*"))
	if err != nil || len(manifests) != 1 {
		return fmt.Errorf("asleep, it has these images: %v, %v", manifests, err)
	}
	if mounts := s.mounts(); len(mounts) > 0 {
		return fmt.Errorf("asleep, it has mounts: %v", mounts)
	}
	return nil
}

// states are those that an agent has been through since `up` began, and the one
// it is in.
func states(s agent.Status) []string {
	var names []string
	for _, p := range s.History {
		names = append(names, string(p.State))
	}
	return append(names, string(s.State))
}
