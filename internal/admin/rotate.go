package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/secret"
)

// Rotation is what came of a new gateway token. Once there is one, the old one
// opens nothing of moltworker's own; what Verified and OldRefused say is whether
// OpenClaw itself has taken the change up.
type Rotation struct {
	Agent      string    `json:"agent"`
	Secret     string    `json:"secret"`         // the name it is kept under
	Link       string    `json:"link,omitempty"` // where to open the agent now, its token included; "" to a caller who may not use agents
	Rotated    time.Time `json:"rotated"`
	Verified   bool      `json:"verified"`    // the gateway takes the new token
	OldRefused bool      `json:"old_refused"` // and not the old one
	Restarted  bool      `json:"restarted"`   // the gateway had to be restarted for it
	Devices    int       `json:"devices"`     // that are paired now
	Lost       int       `json:"lost"`        // that were paired before and are not now
	Message    string    `json:"message"`     // for people: what happened, and what to do
}

// proofEvery is how often it is tried whether the gateway has followed.
const proofEvery = 250 * time.Millisecond

// RotateToken gives an agent a new gateway token, has its gateway take that, and
// sees by real calls that the new one opens it and the old one does not. It wakes
// the agent. When the gateway cannot be brought to it in time, the rotation says
// so: the new token counts for moltworker's own pages all the same.
//
// OpenClaw follows a new token within seconds without a restart. It disconnects
// every device and takes their own tokens for void, but knows them still: with the
// new token they are let in unasked.
func (p *Plane) RotateToken(ctx context.Context, name string) (Rotation, error) {
	ag, err := p.find(ctx, name, access.WriteSecrets)
	if err != nil {
		return Rotation{}, err
	}
	r := Rotation{Agent: ag.Name(), Secret: p.opts.TokenName(ag.Name()), Rotated: p.opts.Now().UTC()}
	if from, ok := p.opts.Configured()[r.Secret]; ok {
		return Rotation{}, &Error{
			Status: http.StatusConflict, Kind: "configured",
			Message: fmt.Sprintf("%s comes from the configuration (%s), which moltworker does not write", r.Secret, from),
			Remedy:  "set another value there and start `moltworker up` again; or take it out there, then rotate: a sealed one is made",
		}
	}
	if !p.rotating.TryLock() {
		return Rotation{}, &Error{Status: http.StatusConflict, Kind: "busy", Message: "a token is being rotated", Remedy: "try again when that is done"}
	}
	defer p.rotating.Unlock()
	old := p.opts.Token(ag.Name())
	if err := p.opts.Secrets.Put(r.Secret, secret.GenerateToken()); err != nil {
		return Rotation{}, err
	}
	p.opts.SecretChanged(r.Secret)
	if access.From(ctx).May(access.UseAgents) {
		r.Link = p.opts.Link(ag.Name())
	}
	// From here on there is a new token, whatever becomes of the caller.
	keep := context.WithoutCancel(ctx)
	if err := p.record(keep, audit.Event{Action: "token.rotate", Agent: ag.Name(), Target: r.Secret, Old: "a token", New: "another"}); err != nil {
		return r, err
	}
	proving, cancel := context.WithTimeout(keep, p.opts.BootTimeout+p.opts.TakeUp)
	defer cancel()
	if err := p.enforce(proving, ag, old, &r); err != nil {
		p.opts.Log.Warn("the gateway has not taken the new token up", "agent", ag.Name(), "err", err)
		r.Message = fmt.Sprintf("The new token counts here, but the gateway of %s has not taken it up: %s. Restart it with `moltworker agent restart %s`.",
			ag.Name(), AsError(err).Message, ag.Name())
		return r, nil
	}
	r.Message = r.words()
	p.watchers.poke(ag.Name())
	return r, nil
}

// enforce has the gateway take the current token, and proves it.
func (p *Plane) enforce(ctx context.Context, ag Agent, old string, r *Rotation) error {
	done, err := ag.Use(ctx, "a new token")
	if err != nil {
		return err
	}
	defer done()
	before := p.pairedBefore(ctx, ag, old)
	if err := ag.Reconfigure(ctx); err != nil {
		return err
	}
	err = p.prove(ctx, ag, old, r, p.opts.TakeUp)
	if err != nil && ctx.Err() == nil {
		r.Restarted = true
		if err := ag.Restart(ctx); err != nil {
			return err
		}
		err = p.prove(ctx, ag, old, r, p.opts.BootTimeout)
	}
	if err != nil {
		return err
	}
	return ag.Gateway(ctx, func(c *gateway.Client) error {
		list, err := c.Devices(ctx)
		r.Devices = len(list.Paired)
		for _, d := range list.Paired {
			delete(before, d.DeviceID)
		}
		r.Lost = len(before)
		return err
	})
}

// pairedBefore are the devices before the gateway has taken the new token up: as
// it says itself, if it still takes the old one, else as last seen.
func (p *Plane) pairedBefore(ctx context.Context, ag Agent, old string) map[string]struct{} {
	paired := map[string]struct{}{}
	ctx, cancel := context.WithTimeout(ctx, peekTime)
	defer cancel()
	client, err := gateway.Dial(ctx, ag.DialGateway, old)
	if err == nil {
		defer client.Close()
		list, _ := client.Devices(ctx)
		for _, d := range list.Paired {
			paired[d.DeviceID] = struct{}{}
		}
		return paired
	}
	list, _ := p.lastSeen(ctx, ag)
	for _, d := range list.Paired {
		paired[d.DeviceID] = struct{}{}
	}
	return paired
}

// prove waits until the gateway takes the new token and refuses the old one.
func (p *Plane) prove(ctx context.Context, ag Agent, old string, r *Rotation, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s", limit))
	defer cancel()
	tick := time.NewTicker(proofEvery)
	defer tick.Stop()
	for {
		newErr := tryToken(ctx, ag, p.opts.Token(ag.Name()))
		oldErr := tryToken(ctx, ag, old)
		r.Verified, r.OldRefused = newErr == nil, refusesToken(oldErr)
		if r.Verified && r.OldRefused {
			return nil
		}
		select {
		case <-ctx.Done():
			if newErr == nil {
				newErr = errors.New("the gateway still takes the old token")
			}
			return fmt.Errorf("%w: %w", context.Cause(ctx), newErr)
		case <-tick.C:
		}
	}
}

// tryToken makes one real call with a token.
func tryToken(ctx context.Context, ag Agent, token string) error {
	ctx, cancel := context.WithTimeout(ctx, peekTime)
	defer cancel()
	client, err := gateway.Dial(ctx, ag.DialGateway, token)
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Health(ctx)
}

// refusesToken says whether err is the gateway's refusal of a token, and nothing
// else: not a gateway that is away.
func refusesToken(err error) bool {
	var refused *gateway.RPCError
	return errors.As(err, &refused) && refused.DetailCode() == "AUTH_TOKEN_MISMATCH"
}

func (r Rotation) words() string {
	s := "The gateway takes the new token and refuses the old one."
	if r.Restarted {
		s += " It was restarted for that."
	}
	switch {
	case r.Lost > 0:
		s += fmt.Sprintf(" Devices that were paired and are not now: %d. They ask again when they open the new link.", r.Lost)
	case r.Devices > 0:
		s += fmt.Sprintf(" Devices that stay paired: %d. They are disconnected; each opens the new link once.", r.Devices)
	}
	return s
}
