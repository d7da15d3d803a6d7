package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moltworker/moltworker/internal/openclaw/gateway"
)

// calm is a gateway's promise to begin nothing until it is lifted. Its connection
// sleeps with the agent and goes on when that wakes.
type calm struct {
	client     *gateway.Client
	suspension string
}

// quietTimeout bounds how long the gateway may take to answer, and to let go.
const quietTimeout = 10 * time.Second

// quiet has the gateway promise, under that name, to begin nothing, and learns when
// its next job is due. A promise that was given is kept in a.calm, even beside an
// error.
func (a *Agent) quiet(ctx context.Context, promise string) (*Due, error) {
	ctx, cancel := context.WithTimeout(ctx, quietTimeout)
	defer cancel()
	client, err := a.dialGateway(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask OpenClaw whether it may sleep: %w", err)
	}
	c := &calm{client: client}
	next, err := a.hush(ctx, c, promise)
	if c.suspension == "" {
		c.close()
	} else {
		a.calm = c
	}
	return next, err
}

// lift lets the gateway begin things again.
func (c *calm) lift(ctx context.Context) error {
	defer c.close()
	if c.suspension == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, quietTimeout)
	defer cancel()
	if err := c.client.ResumeSuspend(ctx, c.suspension); err != nil {
		return fmt.Errorf("let OpenClaw go on: %w", err)
	}
	return nil
}

func (c *calm) close() { c.client.Close() }

// goOn lifts the promise that the agent slept with, or was about to when an earlier
// process died. Without it the gateway would refuse work until its promise runs
// out, two minutes after it was given.
func (a *Agent) goOn(ctx context.Context) {
	c, promise := a.calm, a.ledger.read().Promise
	a.calm = nil
	if promise == "" {
		return
	}
	a.track.step("quiet", "letting OpenClaw go on")
	err := errors.New("another process asked for it")
	if c != nil {
		err = c.lift(ctx)
	}
	if err != nil { // its connection did not live through the sleep
		err = a.liftAnew(ctx, promise)
	}
	if err != nil {
		a.log.Warn("OpenClaw may refuse work for two minutes", "err", err)
	}
}

// liftAnew lifts a promise of which only its name is known: asked again under that
// name, the gateway says which it is.
func (a *Agent) liftAnew(ctx context.Context, promise string) error {
	ctx, cancel := context.WithTimeout(ctx, quietTimeout)
	defer cancel()
	client, err := a.dialGateway(ctx)
	if err != nil {
		return err
	}
	c := &calm{client: client}
	defer c.close()
	again, err := client.PrepareSuspend(ctx, promise)
	if err != nil {
		return err
	}
	c.suspension = again.ID // none when it is busy, and so not suspended
	return c.lift(ctx)
}

// soonest is how near a job may be for the agent still to fall asleep before it.
const soonest = 30 * time.Second

// hush has the gateway promise, unless it is at something or has something to do
// soon.
func (a *Agent) hush(ctx context.Context, c *calm, name string) (*Due, error) {
	changes := c.client.Subscribe(gateway.EventCron)
	defer changes.Close()
	next, err := c.client.NextCron(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask OpenClaw for its next job: %w", err)
	}
	if len(next.Running) > 0 {
		return nil, stays("cron job " + next.Running[0].Name + " runs")
	}
	// OpenClaw's heartbeats and its housekeeping wait until the agent is awake for
	// something that somebody wants.
	due := dueOf(next.Wanted)
	if due != nil && due.At.Sub(a.opts.Now()) < soonest {
		return nil, stays("cron job " + due.Name + " is due at " + when(due.At, a.opts.Now()))
	}
	promise, err := c.client.PrepareSuspend(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("ask OpenClaw to begin nothing: %w", err)
	}
	if !promise.Ready {
		return nil, stays(blocked(promise))
	}
	c.suspension = promise.ID
	select {
	case <-changes.Events():
		return nil, stays("its cron table changed just now")
	default:
		return due, nil
	}
}

func dueOf(j gateway.CronJob) *Due {
	if j.ID == "" {
		return nil
	}
	return &Due{At: j.Due, Name: cmp.Or(j.Name, j.ID)}
}

// blocked says what a busy gateway is at.
func blocked(s gateway.Suspension) string {
	if len(s.Blockers) == 0 {
		return cmp.Or(s.Reason, "OpenClaw is busy")
	}
	b := s.Blockers[0]
	return cmp.Or(b.Message, b.Kind)
}
