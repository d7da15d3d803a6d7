package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/moltworker/moltworker/internal/image"
	"github.com/moltworker/moltworker/internal/openclaw/runtime"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// Use says that somebody needs the agent, for what in a word or two ("a message",
// "a command"). It wakes the agent if that sleeps, waits until the gateway answers
// and keeps the agent from falling asleep until done is called. When ctx ends
// first, the waking goes on. The error is ErrNotAwake when the agent is stopped or
// needs a person, or why ctx ended.
func (a *Agent) Use(ctx context.Context, what string) (done func(), err error) {
	done, err = a.hold(ctx, what)
	if err != nil {
		return nil, err
	}
	if err := a.Awake(ctx); err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// hold is Use for those who need the sandbox, not the gateway: it does not wait for
// that.
func (a *Agent) hold(ctx context.Context, what string) (done func(), err error) {
	for {
		done, fence := a.activity.begin(what)
		if fence == nil {
			return done, nil
		}
		select {
		case <-fence:
		case <-a.ended:
			return nil, fmt.Errorf("%w: %s", ErrNotAwake, a.Status().Reason)
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %s: %w", ErrNotAwake, a.Status().Reason, context.Cause(ctx))
		}
	}
}

// Wake wakes the agent and returns when its gateway answers. A thousand calls at
// once are one wake.
func (a *Agent) Wake(ctx context.Context, reason string) error {
	done, err := a.Use(ctx, reason)
	if err == nil {
		done()
	}
	return err
}

// restore brings the image back to life and waits for its guest. It returns nil
// without error when there is no image, or none that is of use: then the agent
// boots. An image is tried once.
func (a *Agent) restore(ctx context.Context, rt runtime.Runtime) (sandbox.Sandbox, error) {
	imager, ok := a.opts.Driver.(sandbox.Imager)
	if !ok || a.images == nil {
		return nil, nil
	}
	a.track.phase("image", "taking its image")
	to := a.binding(rt)
	// From here on the image is void, whatever happens: it does not fit the home's
	// new generation.
	if err := a.ledger.advance(); err != nil {
		return nil, err
	}
	taken, err := a.images.Take(ctx, to)
	if err != nil {
		a.notRestored(err)
		return nil, nil
	}
	sb, err := a.revive(ctx, imager, a.spec(rt), taken)
	if err != nil && ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), taken.Done())
	}
	if err != nil {
		a.notRestored(errors.Join(err, taken.Quarantine(err.Error())))
		return nil, nil
	}
	go a.discard(taken) // takes a while, and nobody needs to wait for it
	return sb, nil
}

// discard removes an image that was used. What it does not get to is removed at the
// next start.
func (a *Agent) discard(taken *image.Taken) {
	if err := taken.Done(); err != nil {
		a.log.Warn("cannot remove an image that was used", "err", err)
	}
}

// revive starts the sandbox from an image and waits for its guest to call, and for
// the proof that the image is undamaged.
func (a *Agent) revive(ctx context.Context, imager sandbox.Imager, spec sandbox.Spec, taken *image.Taken) (sandbox.Sandbox, error) {
	if err := errors.Join(boundGuestLog(spec.Log), writeRecord(a.opts.Dir, spec)); err != nil {
		return nil, err
	}
	a.track.phase("memory", "bringing its memory back")
	verified := make(chan error, 1)
	go func() { verified <- taken.Verify(ctx) }()
	sb, err := imager.Restore(ctx, spec, taken.Dir())
	if err != nil {
		return nil, errors.Join(err, <-verified)
	}
	a.track.phase("guest", "waiting for the sandbox to call back")
	if err = errors.Join(<-verified, a.greet(ctx, sb, a.patience.adopt)); err != nil {
		return nil, errors.Join(err, a.destroy(ctx, sb))
	}
	return sb, nil
}

// notRestored tells why an agent boots though it slept.
func (a *Agent) notRestored(err error) {
	if errors.Is(err, image.ErrNone) {
		a.track.begin(evBoot, "booting")
		return
	}
	a.log.Warn("the agent boots: its image is of no use", "err", err)
	a.track.begin(evBoot, "booting: its image is of no use")
	a.track.update(func(s *Status) { s.Note = "booted, because its image was of no use: " + firstLine(err.Error()) })
}
