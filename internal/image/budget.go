package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// Limits of all images together.
type Limits struct {
	// Bytes is how much disk images may take; 0 is any amount.
	Bytes int64
	// CoolAfter is the age from which an image is compressed in any case; 0 is
	// none.
	CoolAfter time.Duration
}

// Holding is what one store has, as far as the budget is concerned.
type Holding struct {
	Agent   string
	Image   int64     // bytes on disk; 0 is no image
	Bad     int64     // bytes of the image set aside
	Created time.Time // of the image
	Cold    bool      // it is compressed
	Stuck   bool      // it could not be compressed
}

// Action is one thing to do about space.
type Action string

const (
	Nothing Action = ""
	Clear   Action = "removed the bad image"
	Cool    Action = "compressed"
	// Evict removes an image: its agent starts cold when it is next wanted.
	Evict Action = "evicted to cold"
)

// Step is an Action on the store of one agent.
type Step struct {
	Agent  string
	Action Action
	Reason string
	Freed  int64 // bytes, once done
	Err    error // why it could not be done
}

// Next decides the next thing to do, Nothing if all is well: over the limit, bad
// images go first, then the oldest plain ones are compressed, then the oldest
// ones go. Of equals the first is taken.
func Next(all []Holding, l Limits, now time.Time) Step {
	var total int64
	for _, h := range all {
		total += h.Image + h.Bad
	}
	over := l.Bytes > 0 && total > l.Bytes
	reason := fmt.Sprintf("images take %d MB of the %d MB allowed", total>>20, l.Bytes>>20)
	var clear, cool, evict *Holding
	older := func(h, than *Holding) bool { return than == nil || h.Created.Before(than.Created) }
	for i := range all {
		h := &all[i]
		if h.Bad > 0 && (clear == nil || h.Bad > clear.Bad) {
			clear = h
		}
		if h.Image == 0 {
			continue
		}
		if older(h, evict) {
			evict = h
		}
		if !h.Cold && !h.Stuck && older(h, cool) {
			cool = h
		}
	}
	switch {
	case over && clear != nil:
		return Step{Agent: clear.Agent, Action: Clear, Reason: reason}
	case over && cool != nil:
		return Step{Agent: cool.Agent, Action: Cool, Reason: reason}
	case over && evict != nil:
		return Step{Agent: evict.Agent, Action: Evict, Reason: reason}
	case cool != nil && l.CoolAfter > 0 && now.Sub(cool.Created) >= l.CoolAfter:
		return Step{Agent: cool.Agent, Action: Cool, Reason: fmt.Sprintf("it is older than %v", l.CoolAfter)}
	}
	return Step{}
}

// Enforce does what Next says until there is nothing to do, one thing at a time,
// and returns what it did. stores are by agent. It takes seconds for each image
// that is compressed. A compression that fails, or is interrupted as the agent
// wakes, counts as not possible this time; other failures end Enforce.
func Enforce(ctx context.Context, stores map[string]*Store, l Limits, now time.Time, log *slog.Logger) ([]Step, error) {
	agents := slices.Sorted(maps.Keys(stores))
	all := make([]Holding, len(agents))
	ids := make([]string, len(agents))
	look := func(i int) (err error) {
		stuck := all[i].Stuck
		all[i], ids[i], err = stores[agents[i]].holding(agents[i])
		all[i].Stuck = stuck
		return err
	}
	for i := range agents {
		if err := look(i); err != nil {
			return nil, err
		}
	}
	var steps []Step
	for range 3 * len(agents) { // each store can lose three things
		step := Next(all, l, now)
		if step.Action == Nothing {
			break
		}
		if err := ctx.Err(); err != nil {
			return steps, err
		}
		i := slices.Index(agents, step.Agent)
		before := all[i]
		step.Err = stores[step.Agent].do(ctx, step.Action, ids[i])
		if step.Action == Cool && step.Err != nil {
			all[i].Stuck = true
		}
		if err := look(i); err != nil {
			return steps, err
		}
		step.Freed = before.Image + before.Bad - all[i].Image - all[i].Bad
		steps = append(steps, step)
		if log != nil {
			log.Info("space of images", "agent", step.Agent, "action", string(step.Action), "reason", step.Reason,
				"freedBytes", step.Freed, "err", step.Err)
		}
		if step.Action != Cool && step.Err != nil {
			return steps, fmt.Errorf("make room for images: agent %s: %w", step.Agent, step.Err)
		}
	}
	return steps, nil
}

func (s *Store) do(ctx context.Context, a Action, id string) error {
	switch a {
	case Clear:
		return s.DropBad()
	case Cool:
		if err := s.Cool(ctx); !errors.Is(err, ErrNone) {
			return err
		}
		return nil
	}
	return s.drop(id)
}

// holding describes the store for the budget, and names its image.
func (s *Store) holding(agent string) (Holding, string, error) {
	m, err := s.Peek()
	if err != nil && !errors.Is(err, ErrNone) && !errors.Is(err, ErrCorrupt) {
		return Holding{}, "", err
	}
	u, err := s.Size()
	h := Holding{Agent: agent, Image: u.Image, Bad: u.Bad, Created: m.Created, Cold: m.Compressed}
	return h, m.ID, err
}
