package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
)

// sleepless are settings of `up` by which agents sleep when they are told to, and
// images stay as they are written.
var sleepless = []string{
	"SANDBOX_SLEEP_AFTER=never", "MOLTWORKER_IMAGE_COMPRESS_AFTER=never", "MOLTWORKER_IMAGE_SPACE=0",
	"MOLTWORKER_POOL=0", "MOLTWORKER_AGENTS=main", "MOLTWORKER_PASSPHRASE_FILE=",
}

// link is where an agent of the start is opened.
func (u *up) link(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		u.mu.Lock()
		link := u.links[name]
		u.mu.Unlock()
		if link != "" {
			return link, nil
		}
		if err := u.linger(ctx); err != nil {
			return "", fmt.Errorf("wait for the link to %s: %w", name, err)
		}
	}
}

// linger waits a moment, unless `up` has ended.
func (u *up) linger(ctx context.Context) error {
	select {
	case <-u.ended:
		return fmt.Errorf("moltworker up ended: %v\n%s", u.cmd.ProcessState, u.said.Bytes())
	default:
		return pause(ctx, 50*time.Millisecond)
	}
}

// await waits until an agent is in a state.
func (u *up) await(ctx context.Context, name string, want agent.State) (agent.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		info, err := u.admin.Agent(ctx, name)
		switch {
		case err == nil && info.State == want:
			return info.Status, nil
		case err == nil && info.State == agent.StateFailed:
			return info.Status, fmt.Errorf("agent %s failed: %s", name, info.Error)
		}
		if wait := u.linger(ctx); wait != nil {
			return info.Status, fmt.Errorf("agent %s is %s, wanted %s: %w", name, info.State, want, errors.Join(err, wait))
		}
	}
}

// rest is a sleep: the agent's status afterwards, how long the order took that was
// followed, and how often the agent was busy before.
type rest struct {
	agent.Status
	took    time.Duration
	refused int
}

// sleep puts an agent to sleep as soon as it is not busy. It must have an image
// then.
func (u *up) sleep(ctx context.Context, name string) (rest, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for r := (rest{}); ; r.refused++ {
		var err error
		began := time.Now()
		r.Status, err = u.admin.Sleep(ctx, name)
		r.took = time.Since(began)
		if err == nil && (r.State != agent.StateAsleep || r.Image == nil) {
			return r, fmt.Errorf("agent %s was put to sleep and is %s: %s", name, r.State, r.Reason)
		}
		if err == nil {
			return r, nil
		}
		var refused *admin.Error
		if !errors.As(err, &refused) || refused.Kind != "busy" {
			return r, fmt.Errorf("put %s to sleep: %w", name, err)
		}
		if pause(ctx, 250*time.Millisecond) != nil {
			return r, fmt.Errorf("put %s to sleep: %w, %d times", name, err, r.refused+1)
		}
	}
}

// restored makes sure that an agent that is awake woke from its image, and says
// how long its keeper took.
func restored(s agent.Status) (time.Duration, error) {
	past := s.History
	for i := len(past) - 1; i >= 0 && past[i].State != agent.StateAsleep; i-- {
		past = past[:i]
	}
	since := s.History[len(past):]
	wrong := ""
	switch {
	case s.State != agent.StateAwake:
		wrong = "it is " + string(s.State) + ": " + s.Reason
	case s.Note != "":
		wrong = "its note is: " + s.Note
	case len(past) == 0 || len(since) != 1 || since[0].State != agent.StateWaking:
		wrong = fmt.Sprintf("it went through %+v", since)
	case !hasPhase(s, "image") || hasPhase(s, "sandbox"):
		wrong = fmt.Sprintf("its phases were %+v", s.Phases)
	default:
		return since[0].Took, nil
	}
	return 0, fmt.Errorf("agent %s did not wake from its image: %s", s.Agent, wrong)
}

func hasPhase(s agent.Status, name string) bool {
	return slices.ContainsFunc(s.Phases, func(p agent.Phase) bool { return p.Name == name })
}

// traces are what an `up` has left on this machine at a moment.
type traces struct{ processes, mounts int }

// traces counts processes of sandboxes, those inside included, and mounts.
func (u *up) traces() traces {
	var t traces
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	t.mounts = strings.Count(string(mounts), u.data)
	t.processes = len(family(sandboxProcesses(u.data)...))
	return t
}

// settle waits until there is no more than there was.
func (u *up) settle(ctx context.Context, was traces) (traces, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		now := u.traces()
		if now.processes <= was.processes && now.mounts <= was.mounts {
			return now, nil
		}
		if err := u.linger(ctx); err != nil {
			return now, fmt.Errorf("%d processes and %d mounts are left of %d and %d: %w", now.processes, now.mounts, was.processes, was.mounts, err)
		}
	}
}
