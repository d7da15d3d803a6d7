package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
)

var (
	// errMoving: the sandbox is on its way up; what was asked must wait.
	errMoving = errors.New("the agent is on its way up")
	// errReplaced: the sandbox ended because the home was to be replaced.
	errReplaced = errors.New("the home was replaced")
	// errSwap marks the failure of what was to replace the home: nothing runs then.
	errSwap = errors.New("replace the home")
)

// movingPause is how long it takes until an agent that was on its way up is asked
// again.
const movingPause = 200 * time.Millisecond

// Hold halts everything that writes to the agent's home, calls do and lets it all
// go on, whatever do returns: what do sees of the home is its state at one moment.
// It neither wakes the agent nor counts as use. An agent on its way up is waited
// for. do must be quick: nobody is answered meanwhile.
func (a *Agent) Hold(ctx context.Context, do func() error) error {
	return a.undisturbed(ctx, request{kind: holdStill, do: do})
}

// Runs returns a channel that says whether anything may write to the agent's home:
// now, and after each change, the newest one. It is closed when ctx ends.
func (a *Agent) Runs(ctx context.Context) <-chan bool {
	runs := make(chan bool, 1)
	go func() {
		defer close(runs)
		var last *bool
		for s := range a.Watch(ctx) {
			now := s.State != StateAsleep && s.State != StateStopped
			if last != nil && *last == now {
				continue
			}
			last = &now
			select {
			case <-runs: // nobody has asked for the one before
			default:
			}
			runs <- now
		}
	}()
	return runs
}

// Replace ends the agent's sandbox, calls do, which may change the home or put
// another one in its place, and has the agent boot on what is there then, whatever
// do returns.
func (a *Agent) Replace(ctx context.Context, do func() error) error {
	return a.undisturbed(ctx, request{kind: replace, do: do})
}

// undisturbed has do called when the keeper can see to it that nothing else
// writes. After the agent's end nothing does.
func (a *Agent) undisturbed(ctx context.Context, r request) error {
	for {
		if a.over() {
			select {
			case <-a.gone:
				return r.do()
			case <-ctx.Done():
				return fmt.Errorf("agent %s is stopping: %w", a.opts.Name, context.Cause(ctx))
			}
		}
		err := a.ask(ctx, r)
		switch {
		case errors.Is(err, errMoving):
			pauseFor(ctx, movingPause)
		case errors.Is(err, ErrNotAwake) && a.over(): // it ended just now
		default:
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("agent %s: %w: %w", a.opts.Name, errMoving, context.Cause(ctx))
		}
	}
}

// holdSandbox calls do while the sandbox is paused. Of a sandbox that does not go
// on afterwards nothing is left, and the keeper starts another.
func (a *Agent) holdSandbox(ctx context.Context, b boot, do func() error) error {
	sb, ok := b.sandbox.(sandbox.Pausable)
	if !ok {
		return fmt.Errorf("the %s driver cannot hold an agent still", a.opts.Driver.Name())
	}
	defer a.settleDown(ctx)()
	err := sb.Pause(ctx)
	if err == nil {
		err = do()
	}
	// Even when we are told to stop: a paused agent would answer nobody.
	going, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.patience.adopt)
	defer cancel()
	if lost := sb.Resume(going); lost != nil {
		return errors.Join(err, lost, a.destroy(going, sb))
	}
	return err
}

// settleDown has OpenClaw begin nothing, if nobody needs the agent: then its state
// is one between two things and not in the middle of one. The function that it
// returns takes that back.
func (a *Agent) settleDown(ctx context.Context) (goOn func()) {
	nothing := func() {}
	if a.track.get().State != StateAwake || a.activity.idle() < a.patience.settled {
		return nothing
	}
	if _, ok := a.activity.fence(); !ok {
		return nothing
	}
	promise := rand.Text()
	if err := a.ledger.write(func(p *page) { p.Promise = promise }); err != nil {
		a.activity.reopen()
		return nothing
	}
	_, err := a.quiet(ctx, promise)
	if err != nil && !errors.Is(err, ErrBusy) {
		a.log.Debug("OpenClaw was not asked to begin nothing", "err", err)
	}
	return func() {
		a.goOnQuietly(context.WithoutCancel(ctx), promise, err)
		if err := a.ledger.write(func(p *page) { p.Promise = "" }); err != nil {
			a.log.Warn("cannot note that OpenClaw goes on", "err", err)
		}
		a.activity.reopen()
	}
}

// goOnQuietly lifts the promise of an agent that was held still; asked is what came
// of asking for it.
func (a *Agent) goOnQuietly(ctx context.Context, promise string, asked error) {
	c := a.calm
	a.calm = nil
	var err error
	switch {
	case c != nil:
		if err = c.lift(ctx); err == nil {
			return
		}
	case errors.Is(asked, ErrBusy): // it has promised nothing
		return
	}
	if err := errors.Join(err, a.liftAnew(ctx, promise)); err != nil {
		a.log.Debug("OpenClaw may refuse work for two minutes", "err", err)
	}
}

// swapUnder ends the sandbox and calls do. An error that is not errSwap means that
// the sandbox may run on and do was not called.
func (a *Agent) swapUnder(ctx context.Context, b boot, do func() error) error {
	a.track.begin(evBoot, "putting another state in place")
	if err := a.stop(ctx, b.sandbox); err != nil {
		a.refresh(ctx) // it goes on
		return err
	}
	if err := do(); err != nil {
		return fmt.Errorf("%w: %w", errSwap, err)
	}
	return nil
}
