package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

// maxLateness is how late a job may begin.
const maxLateness = 2 * time.Second

// addJob gives OpenClaw a job that runs once, at a time, and leaves the time at
// which it ran in a file of the home.
func (s *stage) addJob(ctx context.Context, name string, due time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client, err := s.operator(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Call(ctx, "cron.add", map[string]any{
		"name": name, "schedule": map[string]any{"kind": "at", "at": due.UTC().Format(time.RFC3339Nano)},
		"sessionTarget": "isolated", "wakeMode": "now", "delivery": map[string]string{"mode": "none"},
		"payload": map[string]any{"kind": "command", "argv": []string{"sh", "-c", "date +%s.%N > ~/" + name + ".new && mv ~/" + name + ".new ~/" + name}},
	}, nil)
}

// fired waits for a job's file. It gives the time in it, which is the agent's, and
// when it was seen, on the host's clock.
func (s *stage) fired(ctx context.Context, name string) (inside, seen time.Time, err error) {
	for {
		said, err := os.ReadFile(s.home(name))
		if seen = time.Now(); err == nil {
			inside, err = unixSeconds(string(said))
			return inside, seen, err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return inside, seen, fmt.Errorf("job %s did not run: %w", name, err)
		}
	}
}

// unixSeconds reads what `date +%s.%N` writes.
func unixSeconds(s string) (time.Time, error) {
	seconds, fraction, _ := strings.Cut(strings.TrimSpace(s), ".")
	whole, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time: %w", s, err)
	}
	nanos, err := strconv.ParseInt(fraction, 10, 64)
	return time.Unix(whole, nanos), err
}

// tryCron puts an agent to sleep that has something to do later. It must sleep
// until shortly before, and be on time.
func tryCron(ctx context.Context, b *bench) ([]table, error) {
	s, err := b.onStage(ctx)
	if err != nil {
		return nil, err
	}
	lead, awake := 90*time.Second, 20*time.Second
	if b.short {
		lead, awake = 36*time.Second, 0 // with less than 30 s to go an agent stays awake
	}
	var f faults
	began := time.Now()
	due := began.Add(lead)
	if err := s.addJob(ctx, "bench-job", due); err != nil {
		return nil, err
	}
	if err := pause(ctx, time.Until(began.Add(awake))); err != nil {
		return nil, err
	}
	clocks, err := b.sharedClocks(ctx, s)
	if err != nil {
		return nil, err
	}
	if _, err := s.sleep(ctx, agentName); err != nil {
		return nil, err
	}
	asleep := time.Now()
	say("cron: asleep with %.0f s to go", time.Until(due).Seconds())
	if info, err := s.admin.Agent(ctx, agentName); err != nil || info.Next == nil || info.Next.At.Sub(due).Abs() > time.Second {
		f.add("asleep, its next job is %+v, due is %s: %w", info.Next, due, err)
	}
	woke, err := s.until(ctx, due.Add(time.Minute), func(st agent.State) bool { return st != agent.StateAsleep })
	if err != nil {
		return nil, err
	}
	ready, err := s.until(ctx, due.Add(time.Minute), func(st agent.State) bool { return st == agent.StateAwake })
	if err != nil {
		return nil, err
	}
	waiting, cancel := context.WithDeadline(ctx, due.Add(time.Minute))
	defer cancel()
	inside, seen, err := s.fired(waiting, "bench-job")
	if err != nil {
		return nil, err
	}
	for what, late := range map[string]time.Duration{"by its own clock": inside.Sub(due), "by the host's": seen.Sub(due)} {
		if late < -maxLateness/10 || late > maxLateness {
			f.add("%s the job ran %.2f s after its time", what, late.Seconds())
		}
	}
	if early := due.Sub(woke); early > 15*time.Second {
		f.add("the agent was woken %.1f s before its job", early.Seconds())
	}
	status, err := s.admin.Agent(ctx, agentName)
	if err == nil {
		_, err = restored(status.Status)
	}
	f.check(err)
	if clocks != nil {
		if b.clocked, err = clocks.finish(ctx, ready); err != nil {
			f.check(fmt.Errorf("clock: %w", err))
		}
	}
	after := func(t time.Time) float64 { return math.Round(t.Sub(began).Seconds()*1000) / 1000 }
	return []table{{
		Title:   "Cron: a job that is due while its agent sleeps",
		Columns: []string{"due s", "asleep s", "woken s", "awake s", "ran s", "late s", "seen late s"},
		Rows: []row{{Name: "a command, once", Values: map[string]float64{
			"due s": lead.Seconds(), "asleep s": after(asleep), "woken s": after(woke), "awake s": after(ready), "ran s": after(inside),
			"late s": inside.Sub(due).Seconds(), "seen late s": seen.Sub(due).Seconds(),
		}}},
		Notes: []string{"since the job was made; ran and late by the agent's clock, seen late by the host's"},
	}}, f.err()
}

// until waits for a state, which it does not bring about, and says when it was
// seen.
func (s *stage) until(ctx context.Context, deadline time.Time, is func(agent.State) bool) (time.Time, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for {
		info, err := s.admin.Agent(ctx, agentName)
		if err == nil && is(info.State) {
			return time.Now(), nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return time.Time{}, fmt.Errorf("the agent is %s: %s: %w", info.State, info.Reason, err)
		}
	}
}
