package aigateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/internal/aigateway/route"
)

// choose finds the steps of the call: those of the route that is made for it, else
// the one that it asks for.
func (c *call) choose() error {
	c.plan = route.InTurn(1)
	if c.g.opts.Routes == nil || !c.to.ep.Paid {
		if c.to.route != "" {
			return c.noRoute()
		}
		return nil
	}
	name := c.to.name + "/" + c.ask.model
	if c.to.route != "" {
		name = c.ask.model
	}
	plan, ok := c.g.opts.Routes().Find(route.Call{Agent: c.from.Name, Trigger: c.trigger, Model: name, Metadata: c.wish.metadata, Draw: rand.Uint64()})
	switch {
	case ok:
		c.plan = plan
	case c.to.route != "":
		return c.noRoute()
	}
	return nil
}

func (c *call) noRoute() error {
	return fail(http.StatusBadRequest, fmt.Sprintf("there is no route %q with a step that can be called by its name; routes.json in the data directory has them", c.to.route))
}

// walk takes the call along its steps until one answers. What a step held is given
// back before the next; the last failure of a provider is the call's, or the last one
// if none was asked.
func (c *call) walk(ctx context.Context, b *body) error {
	var told *failure // the last one of a provider
	for i := 0; ; {
		err := c.try(ctx, b, i)
		if err == nil {
			return nil
		}
		f := asFailure(err)
		next, more := c.plan.Next(i, f.why)
		if f.sent {
			told = f
		}
		if !more || f.why == "" || c.begun || c.consumed || ctx.Err() != nil {
			if told != nil && !c.begun && !c.consumed && c.r.Context().Err() == nil {
				f = told // that a further step could not even be tried is not the client's concern
			}
			return c.tellUser(f)
		}
		c.note(fmt.Sprintf("fell back from %s/%s: %s", c.to.name, c.model, f.why))
		c.giveBack()
		i = next
	}
}

// try takes one step of the call. A refusal of the provider is passed on only where
// no further step is there for it.
func (c *call) try(ctx context.Context, b *body, i int) error {
	c.step = c.plan.Steps[i]
	doc, err := c.head(b, i)
	if err != nil {
		return err
	}
	if doc != b {
		defer doc.release()
	}
	if i == 0 {
		if answered, err := c.recall(ctx, doc); answered {
			return err
		}
	}
	if err := c.takeTurn(ctx); err != nil {
		return err
	}
	if err := c.admit(len(doc.bytes())); err != nil {
		return err
	}
	resp, err := c.send(ctx, doc)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if why := whyOf(resp.StatusCode); why != "" {
		if _, more := c.plan.Next(i, why); more {
			return &failure{status: resp.StatusCode, kind: "upstream", why: why, sent: true, retryAfter: c.retryAfter(resp),
				msg: strings.TrimSpace(fmt.Sprintf("%s answered %d %s", c.up.url.Host, resp.StatusCode, http.StatusText(resp.StatusCode)))}
		}
	}
	return c.relay(resp)
}

// takeTurn waits until one more call may be under way; once, whatever the steps.
func (c *call) takeTurn(ctx context.Context) error {
	if c.g.opts.Gate == nil || c.leaveGate != nil {
		return nil
	}
	leave, err := c.g.opts.Gate.Enter(ctx, limit.Key{Agent: c.from.Name})
	if err != nil {
		return c.because(tooMuch(err))
	}
	c.leaveGate = leave
	return nil
}

// exit leaves the gate, if it was entered.
func (c *call) exit() {
	if c.leaveGate != nil {
		c.leaveGate()
	}
}

// giveBack lets go of what a step held that did not answer.
func (c *call) giveBack() {
	c.endTurns(0)
	if c.spend.hold != nil {
		c.spend.hold.Release()
	}
	c.lead.Release() // whoever waits for the same goes along steps of its own
	c.spend, c.lead, c.keep, c.lost, c.key = spend{}, nil, nil, nil, provider.Credential{}
}

// whyOf says what a status of a provider is as a failure; "" for an answer.
func whyOf(status int) route.Failure {
	switch {
	case status < 400:
		return ""
	case status == http.StatusTooManyRequests:
		return route.Limited
	case status == http.StatusUnauthorized, status == http.StatusPaymentRequired, status == http.StatusForbidden:
		return route.Unauthorized
	case status == http.StatusRequestTimeout, status == http.StatusGatewayTimeout:
		return route.Timeout
	case status >= 500:
		return route.Unavailable
	}
	return route.Refused
}

// retries is how the step's calls are tried again before the next step.
func (c *call) retries() limit.Backoff {
	b := c.wish.backoff
	if c.step.Retries < 0 {
		return b
	}
	if b.Delay == 0 {
		b.Delay, b.Growth = time.Second, limit.Exponential
	}
	b.Tries = c.step.Retries
	return b
}

// patience is how long the step waits until an answer begins.
func (c *call) patience() time.Duration {
	wait := c.g.opts.Timeouts.Header
	if c.wish.timeout > 0 {
		wait = min(wait, c.wish.timeout)
	}
	if c.step.Timeout > 0 {
		wait = min(wait, c.step.Timeout)
	}
	return wait
}
