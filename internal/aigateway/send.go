package aigateway

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/internal/aigateway/route"
)

// send forwards the request from memory, to the upstream and nowhere else: a
// RoundTripper does not follow redirects. Nothing has gone to the client yet when it
// returns, so what a provider refuses may be tried again: with another key where the
// key is what it refuses, and as often as the client asked for.
func (c *call) send(ctx context.Context, b *body) (*http.Response, error) {
	lane := c.g.laneTo(c.to.name)
	var tried []string // keys that were refused
	for try := 0; ; {
		resp, wait, err := c.tryOnce(ctx, b, lane, tried)
		if err != nil {
			return nil, err
		}
		if refusesKey(resp.StatusCode) && len(tried) < len(c.up.keys)-1 {
			tried = append(tried, c.key.Name)
			resp.Body.Close() // of an answer that nobody gets
			continue
		}
		if !mayPass(resp.StatusCode) {
			return resp, nil
		}
		try++
		pause, again := c.retries().Wait(try, wait, rand.Float64())
		if !again || !c.pause(ctx, pause) {
			return resp, nil
		}
		resp.Body.Close()
		tried = nil
	}
}

// tryOnce sends the request with one of the keys that were not tried yet, and has
// the lane know how that went. wait is what the provider asked for before the next.
func (c *call) tryOnce(ctx context.Context, b *body, lane *lane, tried []string) (resp *http.Response, wait time.Duration, err error) {
	leave, err := lane.breaker(c.from.Name).Allow()
	if err != nil {
		return nil, 0, unfit(err)
	}
	if c.key, err = lane.pick(c.from.Name, c.up.keys, tried); err != nil {
		leave.Done(limit.Ignored)
		return nil, 0, unfit(err)
	}
	c.rec.attempts++
	resp, err = c.attempt(ctx, b)
	var late *failure
	waited := errors.As(err, &late) && late.why == route.Timeout
	unsigned := errors.As(err, &late) && late.kind == "credential"
	switch {
	case unsigned, waited && c.patience() < c.g.opts.Timeouts.Header, !waited && c.r.Context().Err() != nil:
		leave.Done(limit.Ignored) // the caller did not wait as long as it might have, or went away
	case err != nil, resp.StatusCode >= 500:
		leave.Done(limit.Failed)
	default:
		leave.Done(limit.OK)
	}
	if err == nil {
		wait, _ = limit.RetryAfter(resp.Header.Get("Retry-After"), c.g.opts.Now())
		lane.report(c.from.Name, c.key, resp.StatusCode, wait)
	}
	return resp, wait, err
}

// attempt sends the request once.
func (c *call) attempt(ctx context.Context, b *body) (*http.Response, error) {
	wait := c.patience()
	ctx, cancel := context.WithCancelCause(ctx)
	late := &failure{status: http.StatusGatewayTimeout, kind: "timeout", why: route.Timeout, sent: true, msg: fmt.Sprintf("%s did not begin to answer within %v", c.up.url.Host, wait)}
	c.watch.phase(wait+spare, late) // its own clock ends the attempt, and not the call
	timer := time.AfterFunc(wait, func() { cancel(late) })
	defer timer.Stop()
	req := (&http.Request{Method: http.MethodPost, URL: c.up.url, Header: c.requestHeader(), Host: c.up.url.Host}).WithContext(ctx)
	if c.api == "" {
		req.Method = c.r.Method
	}
	if n := len(b.bytes()); n > 0 {
		req.ContentLength, req.GetBody = int64(n), b.open
		req.Body, _ = b.open()
	}
	if err := c.sign(req, b); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	resp, err := c.transport().RoundTrip(req)
	switch {
	case !timer.Stop():
		if err == nil {
			resp.Body.Close() // just too late
		}
		return nil, late
	case err != nil:
		return nil, c.because(c.unreachable(err))
	}
	return resp, nil
}

// sign gives the request its credential, and notes what must be in no answer.
func (c *call) sign(req *http.Request, b *body) error {
	if c.to.demo {
		return nil
	}
	if err := c.g.signer.Sign(req, c.to.ep, c.key, b.bytes()); err != nil {
		if c.r.Context().Err() != nil {
			return errClientGone
		}
		return &failure{status: http.StatusBadGateway, kind: "credential", why: route.Unauthorized, msg: err.Error()}
	}
	c.up.withheld = c.g.signer.Secrets(c.key)
	return nil
}

func (c *call) transport() http.RoundTripper {
	if c.to.demo {
		return c.g.demo
	}
	return c.g.opts.Transport
}

// spare is how much longer than any wait of its own a call may take before it is ended
// from outside.
const spare = time.Minute

// pause waits before another attempt, and says whether there is to be one.
func (c *call) pause(ctx context.Context, d time.Duration) bool {
	c.watch.phase(d+spare, errNoTurn)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// refusesKey says whether another key may be let through: this one is wrong, spent
// or too busy.
func refusesKey(status int) bool {
	why := whyOf(status)
	return why == route.Unauthorized || why == route.Limited
}

// mayPass says whether the same request may succeed a little later: it was not
// carried out. 529 is Anthropic's "overloaded".
func mayPass(status int) bool {
	return slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout, 529}, status)
}
