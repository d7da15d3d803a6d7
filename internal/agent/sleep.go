package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/moltworker/moltworker/internal/image"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// errRested: the sandbox ended because the agent sleeps now.
var errRested = errors.New("the agent sleeps")

// ErrBusy: the agent cannot sleep now, which is no failure.
var ErrBusy = errors.New("stays awake")

// stays makes the error of an agent that does not sleep, for a reason.
func stays(why string) error { return fmt.Errorf("%w: %s", ErrBusy, why) }

// Sleep puts the agent to sleep now, used or not within the last minutes. It
// returns when the agent is asleep. The error is ErrBusy when something is under
// way that a sleep would interrupt.
func (a *Agent) Sleep(ctx context.Context) error { return a.ask(ctx, request{kind: sleepNow}) }

// rest puts the agent to sleep. It returns errRested when its sandbox is gone, an
// error that is ErrBusy when the agent stays awake, and any other when it could
// not sleep and stays awake.
func (a *Agent) rest(ctx context.Context, b boot) error {
	if s := a.track.get(); s.State != StateAwake {
		return stays("it is " + string(s.State))
	}
	if busy, ok := a.activity.fence(); !ok {
		return stays(busy + " is under way")
	}
	if !a.track.begin(evSettle, "falling asleep") {
		a.activity.open()
		return stays("it is " + string(a.track.get().State))
	}
	// What has begun is brought to an end even when we are told to stop: half a
	// sleep would cost the agent its memory.
	steps, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.patience.sleep)
	defer cancel()
	err := a.fallAsleep(steps, b)
	if errors.Is(err, errRested) {
		a.showAsleep()
		return err
	}
	a.stayAwake(ctx, err)
	return err
}

// showAsleep shows that the agent rests, and what for.
func (a *Agent) showAsleep() {
	a.track.end(evRest, "asleep")
	a.track.update(func(s *Status) { *s = a.describe(*s) })
}

// stayAwake takes back that the agent was to sleep, and the promise that OpenClaw
// has given.
func (a *Agent) stayAwake(ctx context.Context, why error) {
	if !errors.Is(why, ErrBusy) {
		a.log.Warn("the agent could not sleep", "err", why)
	}
	if a.calm != nil || !errors.Is(why, ErrBusy) { // a busy gateway has promised nothing
		a.goOn(ctx)
	}
	if err := a.ledger.write(func(p *page) { p.Asleep, p.Next, p.Promise = false, nil, "" }); err != nil {
		a.log.Error("cannot note that the agent stays awake", "err", err)
	}
	a.track.end(evStay, "awake")
	a.track.update(func(s *Status) { s.Note = why.Error() })
	a.activity.open()
	a.refresh(ctx) // how the gateway is was not listened to meanwhile
}

// fallAsleep is the way to sleep behind the fence. Each step that fails is taken
// back.
func (a *Agent) fallAsleep(ctx context.Context, b boot) error {
	promise := rand.Text()
	if err := a.ledger.write(func(p *page) { p.Asleep, p.Next, p.Promise = true, nil, promise }); err != nil {
		return err
	}
	a.track.update(func(s *Status) { s.Note = "" })
	a.track.step("quiet", "asking OpenClaw to begin nothing")
	next, err := a.quiet(ctx, promise)
	if err != nil {
		return err
	}
	if err := a.ledger.write(func(p *page) { p.Next = next }); err != nil {
		return err
	}
	a.track.update(func(s *Status) { s.Next = next })
	if why := a.activity.wantedFor(); why != "" {
		return stays("it is needed for " + why)
	}
	if sb, ok := b.sandbox.(sandbox.Freezable); ok && a.images != nil {
		return a.freeze(ctx, sb, a.binding(b.runtime))
	}
	return a.putOut(ctx, b.sandbox)
}

// putOut ends a sandbox of which no image can be made: it will boot.
func (a *Agent) putOut(ctx context.Context, sb sandbox.Sandbox) error {
	if err := a.stop(ctx, sb); err != nil {
		return err
	}
	a.track.update(func(s *Status) {
		s.Note = "the " + a.opts.Driver.Name() + " driver makes no images: it will boot when it is needed"
	})
	return errRested
}

// freeze writes the sandbox's image and takes the sandbox away: then it returns
// errRested. After any other error the sandbox runs on and there is no image.
func (a *Agent) freeze(ctx context.Context, sb sandbox.Freezable, to image.Binding) error {
	a.track.step("image", "writing its memory down")
	err := a.draw(ctx, sb, to)
	if err == nil {
		if why := a.activity.wantedFor(); why != "" {
			err = stays("it is needed for " + why)
		}
	}
	if err == nil {
		a.track.step("stopping", "freeing its memory")
		err = a.destroy(ctx, sb)
	}
	if err == nil {
		return errRested
	}
	if lost := a.thaw(ctx, sb); lost != nil {
		return errors.Join(err, lost, a.destroy(ctx, sb))
	}
	return err
}

// thaw lets a paused sandbox run on. An image of it goes first: it is void from that
// moment. And a checkpoint has cut the sandbox's link without its guest's being
// told: a connection that was saved looks idle from inside.
func (a *Agent) thaw(ctx context.Context, sb sandbox.Freezable) error {
	if err := a.dropImage(); err != nil {
		return err
	}
	return errors.Join(sb.Resume(ctx), sb.Signal(ctx, syscall.SIGHUP))
}

// dropImage removes the agent's image, if there is one.
func (a *Agent) dropImage() error {
	if a.images == nil {
		return nil
	}
	defer a.showImage()
	return a.images.Drop()
}

// draw makes the image of a sandbox, which is paused afterwards in any case.
func (a *Agent) draw(ctx context.Context, sb sandbox.Freezable, to image.Binding) error {
	draft, err := a.images.Begin(0)
	if err != nil {
		return err
	}
	if err = sb.Pause(ctx); err == nil {
		err = sb.Checkpoint(ctx, draft.Dir())
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make an image: %w", err), draft.Discard())
	}
	if _, err := draft.Commit(ctx, to, nil); err != nil {
		return fmt.Errorf("keep the image: %w", err)
	}
	a.showImage()
	return nil
}

// showImage puts the image that there is into the status.
func (a *Agent) showImage() {
	var info *ImageInfo
	if m, err := a.images.Peek(); err == nil {
		info = &ImageInfo{Made: m.Created, Compressed: m.Compressed, Sealed: m.Sealed}
		for _, f := range m.Files {
			info.Bytes += f.Stored
		}
	}
	a.track.update(func(s *Status) { s.Image = info })
}

// slumber waits, asleep, until somebody needs the agent or its next job comes
// near, and says why it is to be awake. It returns "" when ctx ends.
func (a *Agent) slumber(ctx context.Context) (why string) {
	for {
		timer := time.NewTimer(a.untilNext())
		select {
		case <-ctx.Done():
		case <-timer.C:
			if next := a.ledger.read().Next; next != nil && a.untilNext() <= 0 {
				why = "cron job " + next.Name
			}
		case <-a.activity.knocks:
			why = a.activity.wantedFor()
		case r := <-a.requests:
			why = a.disturb(r)
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ""
		}
		if why != "" {
			return why
		}
	}
}

// disturb answers a request to a sleeping agent, and says why it is to be awake,
// if it is.
func (a *Agent) disturb(r request) (why string) {
	var err error
	switch r.kind {
	case restart: // it is to boot
		why, err = "a restart", a.dropImage()
	case holdStill:
		err = r.do()
	case replace: // the image fits the home that is replaced
		if err = a.dropImage(); err == nil {
			why, err = "its restored state", r.do()
		}
	}
	r.done <- err // what is to be configured, is when it wakes
	return why
}

const (
	// maxNap bounds how long the keeper relies on a timer: on a machine that was
	// itself suspended, timers are late.
	maxNap = time.Minute
	// leadImage and leadBoot are how long before its job an agent is woken at least;
	// twice as long as its wakes take, if that is more.
	leadImage = 5 * time.Second
	leadBoot  = time.Minute
)

// untilNext is how long the agent may sleep on before it has to be woken for its
// next job, at most maxNap.
func (a *Agent) untilNext() time.Duration {
	p := a.ledger.read()
	if p.Next == nil {
		return maxNap
	}
	return min(p.Next.At.Sub(a.opts.Now().Round(0))-a.lead(p), maxNap)
}

// lead is how long before a job an agent is woken.
func (a *Agent) lead(p page) time.Duration {
	if a.track.get().Image == nil {
		return max(2*p.WakeTook, leadBoot)
	}
	return max(2*p.WakeTook, leadImage)
}
