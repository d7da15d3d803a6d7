package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
)

// tryChaos kills `up` at random points of the sleep and of the wake, and starts
// it again. The agent must come back each time with its state, and no image may
// live twice.
func tryChaos(ctx context.Context, b *bench) ([]table, error) {
	s, err := b.onStage(ctx)
	if err != nil {
		return nil, err
	}
	c := chaos{stage: s, random: rand.New(rand.NewPCG(b.seed, 0))}
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	n := b.rounds(40, 2)
	before := s.belongings()
	for i := range n {
		point := "sleep"
		if i%2 == 1 {
			point = "wake"
		}
		if err := c.round(ctx, i+1, point); err != nil {
			c.add("round %d, killed in the %s: %w", i+1, point, err)
			return c.tables(), c.err()
		}
	}
	lives, numbers, err := s.twins()
	c.check(err)
	if lives == 0 || numbers == 0 {
		c.add("the counter inside has left nothing")
	}
	end, err := s.settled(before)
	if err != nil {
		c.add("after %d kills, there are %w", n, err)
	}
	c.notes = append(c.notes, fmt.Sprintf("%d lives and %d numbers of the counter inside, %d faults; seed %d", lives, numbers, len(c.list), b.seed))
	leaks := table{
		Title: "Chaos: what `up` and its agent have of the machine", Columns: belongingsColumns,
		Rows: []row{before.row("before"), end.row(fmt.Sprintf("after %d kills", n))},
	}
	return append(c.tables(), leaks), c.err()
}

// chaos is the trial under way.
type chaos struct {
	*stage
	faults
	random   *rand.Rand
	took     map[string]time.Duration // of an undisturbed sleep and wake
	life     string                   // of the counter inside
	kept     string                   // contents of a file in the home
	outcomes map[string]int
	points   []row
	notes    []string
}

const keptFile = "bench-kept"

// prepare measures a sleep and a wake, and leaves inside what must be found
// again.
func (c *chaos) prepare(ctx context.Context) (err error) {
	c.outcomes, c.took = map[string]int{}, map[string]time.Duration{}
	c.kept = fmt.Sprintf("kept %d", c.random.Uint64())
	if _, err = c.inside(ctx, "echo "+c.kept+" > ~/"+keptFile); err != nil {
		return err
	}
	if c.life, err = c.startCounter(ctx); err != nil {
		return err
	}
	if err := c.counts(ctx, c.life); err != nil {
		return err
	}
	r, err := c.sleep(ctx, agentName)
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := c.admin.Wake(ctx, agentName); err != nil {
		return err
	}
	c.took["sleep"], c.took["wake"] = r.took, time.Since(began)
	c.notes = append(c.notes, fmt.Sprintf("undisturbed, the sleep took %.2f s and the wake %.2f s", r.took.Seconds(), c.took["wake"].Seconds()))
	return c.counts(ctx, c.life)
}

// round kills `up` once, starts it again, and looks whether all is there.
func (c *chaos) round(ctx context.Context, i int, point string) error {
	delay := time.Duration(c.random.Float64() * float64(c.took[point]))
	do := func() error { _, err := c.admin.Sleep(ctx, agentName); return err }
	if point == "wake" {
		if _, err := c.sleep(ctx, agentName); err != nil {
			return err
		}
		do = func() error { _, err := c.admin.Wake(ctx, agentName); return err }
	}
	at, err := c.strike(ctx, delay, do)
	if err != nil {
		return err
	}
	say("chaos: round %d: killed %.2f s into the %s: %s", i, delay.Seconds(), point, at)
	began := time.Now()
	if err := c.again(); err != nil {
		return err
	}
	outcome, err := c.examine(ctx)
	if err != nil {
		return fmt.Errorf("%.2f s in, %s: %w", delay.Seconds(), at, err)
	}
	back := time.Since(began)
	say("chaos: round %d: %s", i, outcome)
	c.outcomes[point+": "+outcome]++
	c.points = append(c.points, row{
		Name:   fmt.Sprintf("%2d %-5s %-22s %s", i, point, at, outcome),
		Values: map[string]float64{"killed at s": delay.Seconds(), "back s": back.Seconds()},
	})
	return nil
}

// strike begins to do something with the agent and kills `up` a while later. It
// says where the agent was.
func (c *chaos) strike(ctx context.Context, delay time.Duration, do func() error) (at string, err error) {
	for deadline := time.Now().Add(2 * time.Minute); ; {
		done := make(chan error, 1)
		go func() { done <- do() }()
		var over error
		select {
		case <-time.After(delay):
		case over = <-done:
		}
		var refused *admin.Error
		if errors.As(over, &refused) && refused.Kind == "busy" && time.Now().Before(deadline) {
			if err := pause(ctx, 250*time.Millisecond); err != nil {
				return "", err
			}
			continue
		}
		if over != nil {
			return "", over
		}
		at := "unknown"
		if info, err := c.admin.Agent(ctx, agentName); err == nil {
			at = place(info.Status)
		}
		c.kill()
		return at, nil
	}
}

// place is the state and the step that an agent is in.
func place(s agent.Status) string {
	if n := len(s.Phases); n > 0 && s.Phases[n-1].Ended.IsZero() && s.State != agent.StateAwake && s.State != agent.StateAsleep {
		return string(s.State) + ", " + s.Phases[n-1].Name
	}
	return string(s.State)
}

// examine looks, after the restart, whether the agent comes back as it was, and
// says by which way.
func (c *chaos) examine(ctx context.Context) (outcome string, err error) {
	first, err := c.firstState(ctx)
	if err != nil {
		return "", err
	}
	waking, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if _, err := c.admin.Wake(waking, agentName); err != nil {
		return "", fmt.Errorf("wake it: %w", err)
	}
	life, err := c.inside(ctx, "cat /tmp/bench-life 2>/dev/null || true")
	if err != nil {
		return "", err
	}
	status, err := c.await(ctx, agentName, agent.StateAwake)
	if err != nil {
		return "", err
	}
	way := strings.Join(slices.Compact(states(status)), " > ")
	switch {
	case life == c.life && slices.Contains(states(status), string(agent.StateWaking)):
		outcome = "woke from its image"
	case life == c.life:
		outcome = "went on"
	case life == "":
		outcome = "booted"
	default:
		return "", fmt.Errorf("another life runs inside: %s, was %s", life, c.life)
	}
	if status.Note != "" {
		outcome += " (" + status.Note + ")"
	}
	outcome = fmt.Sprintf("first %s, %s [%s]", first, outcome, way)
	if life == "" {
		if c.life, err = c.startCounter(ctx); err != nil {
			return "", err
		}
	}
	if err := c.counts(ctx, c.life); err != nil {
		return "", fmt.Errorf("%s: %w", outcome, err)
	}
	if kept, err := c.inside(ctx, "cat ~/"+keptFile); err != nil || kept != c.kept {
		return "", fmt.Errorf("%s: the file in the home holds %q, not %q: %w", outcome, kept, c.kept, err)
	}
	if err := c.newTab(ctx); err != nil {
		return "", fmt.Errorf("%s: %w", outcome, err)
	}
	if _, err := c.ask(ctx); err != nil {
		return "", fmt.Errorf("%s: %w", outcome, err)
	}
	_, _, twins := c.twins()
	if err := errors.Join(c.remembers(ctx), c.gateways(ctx), twins); err != nil {
		return "", fmt.Errorf("%s: %w", outcome, err)
	}
	return outcome, nil
}

// firstState is the first in which the agent rests after the start.
func (c *chaos) firstState(ctx context.Context) (agent.State, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		info, err := c.admin.Agent(ctx, agentName)
		if err == nil && (info.State == agent.StateAwake || info.State == agent.StateAsleep) {
			return info.State, nil
		}
		if wait := c.linger(ctx); wait != nil {
			return "", fmt.Errorf("it neither woke nor slept: it is %s (%s): %w", info.State, info.Reason, errors.Join(err, wait))
		}
	}
}

func (c *chaos) tables() []table {
	sums := table{Title: "Chaos: what became of the agent", Columns: []string{"times"}, Notes: c.notes}
	for outcome, n := range c.outcomes {
		sums.Rows = append(sums.Rows, row{Name: outcome, Values: map[string]float64{"times": float64(n)}})
	}
	slices.SortFunc(sums.Rows, func(a, b row) int { return strings.Compare(a.Name, b.Name) })
	return []table{
		{Title: "Chaos: `up` killed, by point", Columns: []string{"killed at s", "back s"}, Rows: c.points,
			Notes: []string{"killed at: after the order to sleep or wake; back: from the start of `up` until all was checked, a message answered included"}},
		sums,
	}
}
