package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// boot is what the way to a running sandbox comes to.
type boot struct {
	runtime runtime.Runtime
	sandbox sandbox.Sandbox
	fresh   bool   // started; else restored or taken over
	leave   func() // gives the turn back that the agent took to come back or to boot; may be called again
}

// bring finds, restores or starts the sandbox. Its guest has greeted.
func (a *Agent) bring(ctx context.Context, p plan) (b boot, err error) {
	tell := func(progress string) { a.track.phase("runtime", "installing OpenClaw "+runtime.Version+progress) }
	tell("")
	if b.runtime, err = a.opts.Runtime(ctx, tell); err != nil {
		return b, err
	}
	a.track.update(func(s *Status) { s.Runtime = b.runtime.Version })
	b.leave = func() {}
	if p == planRestore {
		if b.leave, err = a.queue(ctx, a.opts.Turns, "waiting for others that wake"); err != nil {
			return b, err
		}
		b.sandbox, err = a.restore(ctx, b.runtime)
	} else {
		b.sandbox, err = a.adopt(ctx, b.runtime)
	}
	if err == nil && b.sandbox == nil {
		b.leave()
		b.fresh = true
		b.sandbox, b.leave, err = a.start(ctx, b.runtime)
	}
	if err != nil {
		b.leave()
	}
	return b, err
}

// queue waits for the agent's turn.
func (a *Agent) queue(ctx context.Context, turns chan struct{}, why string) (leave func(), err error) {
	if turns == nil {
		return func() {}, nil
	}
	select {
	case turns <- struct{}{}:
	default:
		a.track.phase("turn", why)
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return sync.OnceFunc(func() { <-turns }), nil
}

// during returns a context that ends with the sandbox. Its cause says how.
func during(ctx context.Context, sb sandbox.Sandbox) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		exit, err := sb.Wait(ctx)
		if err != nil {
			cancel(fmt.Errorf("watch sandbox: %w", err))
			return
		}
		cancel(fmt.Errorf("the sandbox's first process %s", exit))
	}()
	return ctx, func() { cancel(nil) }
}

// untilBooted waits until the gateway has booted or has failed to, for as long as a
// boot may take at most.
func (a *Agent) untilBooted(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, a.opts.BootTimeout)
	defer cancel()
	for s := range a.Watch(ctx) {
		if s.State != StateBooting && s.State != StateWaking { // waking, where there are no images
			return
		}
	}
}

// start makes a new sandbox when it is the agent's turn to boot, and waits for its
// guest's greeting. leave gives the turn back.
func (a *Agent) start(ctx context.Context, rt runtime.Runtime) (sb sandbox.Sandbox, leave func(), err error) {
	if err := a.prepare(ctx); err != nil {
		return nil, func() {}, err
	}
	if leave, err = a.queue(ctx, a.opts.Boots, "waiting for others that boot"); err != nil {
		return nil, func() {}, err
	}
	sb, err = a.launch(ctx, rt)
	return sb, leave, err
}

// launch makes a new sandbox and waits for its guest's greeting. A sandbox whose guest
// never greets is taken away again.
func (a *Agent) launch(ctx context.Context, rt runtime.Runtime) (sandbox.Sandbox, error) {
	a.track.phase("sandbox", "starting the sandbox")
	spec := a.spec(rt)
	if err := errors.Join(boundGuestLog(spec.Log), writeRecord(a.opts.Dir, spec), a.ledger.advance(), a.dropImage()); err != nil {
		return nil, err
	}
	sb, err := a.opts.Driver.Start(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start sandbox: %w", err)
	}
	a.track.phase("guest", "waiting for the sandbox's first process")
	if err := a.greet(ctx, sb, a.patience.greet); err != nil {
		return nil, errors.Join(err, a.destroy(ctx, sb))
	}
	return sb, nil
}

// prepare sees to it that an agent with nothing in its home gets what is kept of it
// elsewhere. It fails only when ctx ends.
func (a *Agent) prepare(ctx context.Context) error {
	home := homeDir(a.opts.Dir)
	entries, err := os.ReadDir(home)
	if a.opts.Prepare == nil || err == nil && len(entries) > 0 {
		return nil
	}
	tell := func(progress string) { a.track.phase("restore", "looking for an earlier state"+progress) }
	tell("")
	err = a.opts.Prepare(ctx, home, tell)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		a.log.Error("the agent begins with nothing: its earlier state could not be looked for or put back", "err", err)
		a.track.update(func(s *Status) { s.Note = "began with nothing: " + firstLine(err.Error()) })
	}
	return os.MkdirAll(home, 0o700)
}

// adopt finds a sandbox left running by an earlier process and keeps it when it
// is what we would start now and its guest answers; otherwise it is taken away.
// It returns nil without error when there is none to keep.
func (a *Agent) adopt(ctx context.Context, rt runtime.Runtime) (sandbox.Sandbox, error) {
	sb, err := a.opts.Driver.Open(ctx, a.opts.ID)
	if errors.Is(err, sandbox.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for a running sandbox: %w", err)
	}
	if err := a.unfreeze(ctx, sb); err != nil {
		a.log.Warn("replacing a running sandbox: it was paused and cannot go on", "err", err)
		return nil, a.destroy(ctx, sb)
	}
	if !sameRecord(a.opts.Dir, a.spec(rt)) {
		a.log.Info("replacing a running sandbox: it was started with other settings")
		return nil, a.stop(ctx, sb)
	}
	a.track.phase("guest", "taking over the running sandbox")
	err = a.greet(ctx, sb, a.patience.adopt)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) // it is stopped in order then
	}
	if err != nil {
		a.log.Warn("replacing a running sandbox: its guest does not answer", "err", err)
		return nil, a.destroy(ctx, sb)
	}
	a.log.Info("took over the running sandbox", "sandbox", sb.ID())
	return sb, nil
}

// unfreeze lets a sandbox run on that an earlier process was putting to sleep, or
// holding still.
func (a *Agent) unfreeze(ctx context.Context, sb sandbox.Sandbox) error {
	ctx, cancel := context.WithTimeout(ctx, a.patience.adopt)
	defer cancel()
	switch sb := sb.(type) {
	case sandbox.Freezable:
		return a.thaw(ctx, sb)
	case sandbox.Pausable:
		return sb.Resume(ctx)
	}
	return nil
}

// greet waits for the guest's greeting, or the end of its sandbox.
func (a *Agent) greet(ctx context.Context, sb sandbox.Sandbox, within time.Duration) error {
	ctx, over := during(ctx, sb)
	defer over()
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("the sandbox's first process did not call back within %s", within))
	defer cancel()
	if err := a.host.Connected(ctx); err != nil {
		return fmt.Errorf("%w: see its last words in %s", context.Cause(ctx), guestLog(a.opts.Dir))
	}
	return nil
}

func (a *Agent) destroy(ctx context.Context, sb sandbox.Sandbox) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := sb.Destroy(ctx); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", sb.ID(), err)
	}
	return nil
}

// shutdown stops the sandbox that runs, if any.
func (a *Agent) shutdown(ctx context.Context) error {
	defer a.track.end(evStop, "stopped")
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	sb, err := a.opts.Driver.Open(ctx, a.opts.ID)
	if errors.Is(err, sandbox.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for the sandbox to stop: %w", err)
	}
	return a.stop(ctx, sb)
}

// stop ends a sandbox in order: first the gateway, if its guest can be asked.
func (a *Agent) stop(ctx context.Context, sb sandbox.Sandbox) error {
	a.track.step("stopping", "stopping OpenClaw")
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.patience.grace+a.patience.lastCall)
	defer cancel()
	err := a.greet(asking, sb, a.patience.lastCall)
	if err == nil {
		err = a.host.Shutdown(asking, a.patience.grace)
	}
	if err != nil {
		a.log.Warn("the guest did not stop in order", "err", err)
		return a.destroy(ctx, sb)
	}
	ending, cancel := context.WithTimeout(asking, a.patience.lastCall)
	defer cancel()
	sb.Wait(ending) // destroy does not depend on it
	return a.destroy(ctx, sb)
}
