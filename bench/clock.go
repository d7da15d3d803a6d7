package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

// tryClock lets an agent sleep for long and looks whether it knows the time
// afterwards, by its clocks, its timers, its scheduler and its answers, on a tab
// that stays open all the while.
func tryClock(ctx context.Context, b *bench) ([]table, error) {
	if b.clocked != nil { // the sleep of another trial did for this one too
		return b.clocked, nil
	}
	s, err := b.onStage(ctx)
	if err != nil {
		return nil, err
	}
	length := b.sleep
	if length == 0 {
		length = 10 * time.Minute
		if b.short {
			length = 20 * time.Second
		}
	}
	c, err := s.startClocks(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.sleep(ctx, agentName); err != nil {
		return nil, err
	}
	// What a tab asks by itself must not wake the agent; it is answered afterwards.
	poll, err := s.tab.send(ctx, "node.list", struct{}{})
	if err != nil {
		return nil, err
	}
	say("clock: asleep for %s", length)
	woke, err := s.until(ctx, time.Now().Add(length), func(st agent.State) bool { return st != agent.StateAsleep })
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err == nil:
		return nil, fmt.Errorf("the agent woke by itself at %s", woke)
	}
	ready := time.Now()
	took, err := s.ask(ctx)
	if err != nil {
		return nil, fmt.Errorf("a message after the sleep: %w", err)
	}
	c.answered = took
	tables, err := c.finish(ctx, ready)
	select {
	case r := <-poll:
		if !r.OK {
			err = errors.Join(err, fmt.Errorf("what the tab had asked by itself: %w", &r.Error))
		}
	case <-time.After(10 * time.Second):
		err = errors.Join(err, errors.New("what the tab had asked by itself was not answered"))
	}
	return tables, err
}

// sharedClocks are started when a short run tries the clock too: one sleep must do
// for both.
func (b *bench) sharedClocks(ctx context.Context, s *stage) (*clocks, error) {
	if !b.short || b.sleep > 0 || !slices.Contains(b.names, "clock") {
		return nil, nil
	}
	return s.startClocks(ctx)
}

// clocks are what is compared before and after a sleep.
type clocks struct {
	*stage
	faults
	began    reading
	tabs     int
	answered time.Duration // after the sleep, to a message that woke it; 0: something else did
}

// reading is what the clocks inside said at a moment of the host's.
type reading struct {
	host      time.Time     // in the middle of the asking
	width     time.Duration // of the asking
	wall      time.Time
	monotonic float64 // seconds
}

// oldTimer is set before a sleep and goes off in it, or soon after.
const oldTimer = 10 * time.Second

func (s *stage) startClocks(ctx context.Context) (*clocks, error) {
	c := &clocks{stage: s, tabs: s.tabs}
	os.Remove(s.home("bench-timer"))
	// A process that has a session of its own outlives the command that started it.
	_, err := s.inside(ctx, fmt.Sprintf(`rm -f /tmp/bench-set
setsid sh -c 'touch /tmp/bench-set; sleep %d; date +%%s.%%N > ~/bench-timer.new; mv ~/bench-timer.new ~/bench-timer' </dev/null >/dev/null 2>&1 &
until [ -e /tmp/bench-set ]; do sleep 0.05; done`, int(oldTimer.Seconds())))
	if err != nil {
		return nil, err
	}
	if c.began, err = s.readClocks(ctx); err != nil {
		return nil, err
	}
	s.tab.heard()
	return c, nil
}

func (s *stage) readClocks(ctx context.Context) (r reading, err error) {
	before := time.Now()
	said, err := s.inside(ctx, "cut -d' ' -f1 /proc/uptime; date +%s.%N")
	if err != nil {
		return r, err
	}
	r.width = time.Since(before)
	r.host = before.Add(r.width / 2)
	up, date, _ := strings.Cut(said, "\n")
	if r.monotonic, err = strconv.ParseFloat(up, 64); err != nil {
		return r, err
	}
	r.wall, err = unixSeconds(date)
	return r, err
}

// Bounds of what is right.
const (
	maxSkew    = 500 * time.Millisecond // of the wall clock inside, besides the time to ask
	maxSilence = 60 * time.Second       // after which OpenClaw's page takes the gateway for lost
	tickEvery  = 20 * time.Second       // of silence, the edge says a tick
)

// finish looks at everything after the sleep, from which the agent was back when
// ready.
func (c *clocks) finish(ctx context.Context, ready time.Time) ([]table, error) {
	ticks, silence := c.tab.heard()
	now, err := c.readClocks(ctx)
	if err != nil {
		return nil, err
	}
	slept := now.host.Sub(c.began.host)
	skew := now.wall.Sub(now.host)
	if skew.Abs() > maxSkew+now.width {
		c.add("the wall clock inside is off by %.2f s", skew.Seconds())
	}
	monotonic := now.monotonic - c.began.monotonic
	if monotonic < 0 || monotonic > slept.Seconds()+1 {
		c.add("the monotonic clock inside went on by %.2f s in %.2f s", monotonic, slept.Seconds())
	}
	if want := int(slept/tickEvery) - 1; ticks < want {
		c.add("the tab heard %d ticks in %.0f s, want %d", ticks, slept.Seconds(), want)
	}
	if silence > maxSilence {
		c.add("the tab heard nothing for %.0f s", silence.Seconds())
	}
	old, err := c.timer(ctx, ready)
	c.check(err)
	late, err := c.job(ctx)
	c.check(err)
	took, err := c.ask(ctx)
	c.check(err)
	c.check(c.visitor.hello(ctx)) // a device that signs in anew
	c.check(c.remembers(ctx))
	if c.tabs != c.stage.tabs || !c.tab.open() {
		c.add("the tab's WebSocket did not stay open")
	}
	values := map[string]float64{
		"slept s": slept.Seconds(), "wall clock off s": skew.Seconds(), "monotonic s": monotonic, "ticks": float64(ticks),
		"silence s": silence.Seconds(), "old timer s": old.Seconds(), "job late s": late.Seconds(), "next answer s": took.Seconds(),
	}
	if c.answered > 0 {
		values["first answer s"] = c.answered.Seconds()
	}
	return []table{{
		Title:   "Clock: what time it is after a sleep",
		Columns: []string{"slept s", "wall clock off s", "monotonic s", "ticks", "silence s", "old timer s", "job late s", "first answer s", "next answer s"},
		Rows:    []row{{Name: "gVisor", Values: values}},
		Notes: []string{
			"slept and monotonic: between two looks at the host's clock and at the one inside; old timer: one of " + oldTimer.String() + " set before the sleep, after the wake began",
			"ticks: heard by the tab while its agent slept; silence: the longest; job: one due 5 s after the wake",
		},
	}}, c.err()
}

// timer says how long after the wake a timer went off that was set before the
// sleep.
func (c *clocks) timer(ctx context.Context, ready time.Time) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, oldTimer+10*time.Second)
	defer cancel()
	at, _, err := c.fired(ctx, "bench-timer")
	if err != nil {
		return 0, err
	}
	return at.Sub(ready), nil
}

// job says how late a new job of OpenClaw's scheduler is.
func (c *clocks) job(ctx context.Context) (late time.Duration, err error) {
	name := fmt.Sprintf("bench-soon-%d", time.Now().Unix())
	due := time.Now().Add(5 * time.Second)
	if err := c.addJob(ctx, name, due); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	at, _, err := c.fired(ctx, name)
	if err != nil {
		return 0, err
	}
	if late = at.Sub(due); late > maxLateness {
		err = fmt.Errorf("a job 5 s after the wake ran %.2f s late", late.Seconds())
	}
	return late, err
}
