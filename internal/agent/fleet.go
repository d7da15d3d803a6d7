package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Errors of a fleet.
var (
	ErrNoAgent = errors.New("no such agent")
	ErrTaken   = errors.New("there is an agent of that name")
)

// Fleet is all the agents of this host, in the order in which they came.
type Fleet struct {
	mu      sync.Mutex // guards what follows
	members []*member
	run     context.Context // nil before Run and after its end
	failed  error
	running sync.WaitGroup
}

// member is an agent, and the way to stop it alone.
type member struct {
	*Agent
	stop  context.CancelFunc
	ended chan struct{} // closed when it has stopped; nil when it never ran
}

// NewFleet gathers agents. Names must differ.
func NewFleet(agents ...*Agent) (*Fleet, error) {
	f := &Fleet{}
	for _, a := range agents {
		if err := f.Add(a); err != nil {
			return nil, fmt.Errorf("two agents are named %q: give each its own name in MOLTWORKER_AGENTS", a.Name())
		}
	}
	return f, nil
}

// Add takes an agent in, and runs it if the fleet runs. The error is ErrTaken when
// its name is.
func (f *Fleet) Add(a *Agent) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.find(a.Name()) >= 0 {
		return fmt.Errorf("%w: %s", ErrTaken, a.Name())
	}
	m := &member{Agent: a}
	f.members = append(f.members, m)
	if f.run != nil {
		f.start(m)
	}
	return nil
}

// start needs mu.
func (f *Fleet) start(m *member) {
	ctx, cancel := context.WithCancel(f.run)
	m.stop, m.ended = cancel, make(chan struct{})
	f.running.Go(func() {
		defer close(m.ended)
		defer cancel()
		if err := m.Run(ctx); err != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.failed = errors.Join(f.failed, fmt.Errorf("agent %s: %w", m.Name(), err))
		}
	})
}

// Remove stops an agent in order and lets go of it. What is its on disk stays.
func (f *Fleet) Remove(ctx context.Context, name string) error {
	f.mu.Lock()
	i := f.find(name)
	if i < 0 {
		f.mu.Unlock()
		return fmt.Errorf("%w: %s", ErrNoAgent, name)
	}
	m := f.members[i]
	if m.ended == nil {
		f.members = slices.Delete(f.members, i, i+1)
		f.mu.Unlock()
		return nil
	}
	m.stop()
	f.mu.Unlock()
	select {
	case <-m.ended: // its name stays taken until then
	case <-ctx.Done():
		return fmt.Errorf("stop agent %s: %w", name, context.Cause(ctx))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = slices.DeleteFunc(f.members, func(other *member) bool { return other == m })
	return nil
}

// All returns every agent.
func (f *Fleet) All() []*Agent {
	f.mu.Lock()
	defer f.mu.Unlock()
	agents := make([]*Agent, len(f.members))
	for i, m := range f.members {
		agents[i] = m.Agent
	}
	return agents
}

// Agent finds an agent by name, case-insensitively as host names are.
func (f *Fleet) Agent(name string) (*Agent, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := f.find(name); i >= 0 {
		return f.members[i].Agent, true
	}
	return nil, false
}

// find needs mu.
func (f *Fleet) find(name string) int {
	return slices.IndexFunc(f.members, func(m *member) bool { return strings.EqualFold(m.Name(), name) })
}

// Wake wakes an agent; see [Agent.Wake].
func (f *Fleet) Wake(ctx context.Context, name, reason string) error {
	a, ok := f.Agent(name)
	if !ok {
		return fmt.Errorf("%w: %s", ErrNoAgent, name)
	}
	return a.Wake(ctx, reason)
}

// Run keeps all agents running until ctx ends and they have stopped.
func (f *Fleet) Run(ctx context.Context) error {
	f.mu.Lock()
	f.run = ctx
	for _, m := range f.members {
		f.start(m)
	}
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	f.run = nil // what comes later is not run
	f.mu.Unlock()
	f.running.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}
