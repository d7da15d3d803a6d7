package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// SuspendReason is the detail of a refusal with which OpenClaw turns work away
// while it is suspended: an RPCError whose DetailReason is this says that the
// gateway is well and waits to be frozen or resumed.
const SuspendReason = "gateway-suspending"

// EventSuspension is the event with which the gateway tells that it accepts work
// again, or no longer.
const EventSuspension = "gateway.suspension"

// A Suspension is the gateway's answer to the wish to freeze it: either it has
// nothing to do and takes no new work until Expires, or it is busy.
type Suspension struct {
	Ready   bool
	ID      string    // names the suspension in [Client.ResumeSuspend]; only when ready
	Expires time.Time // by the gateway's clock, about two minutes from the call; only when ready

	Reason     string        // why it is busy, e.g. "active-work"
	RetryAfter time.Duration // when it wants to be asked again, at most an hour
	Active     int           // how many things it is at
	Blockers   []Blocker     // what they are, at most maxBlockers kinds
}

// A Blocker is one kind of work that keeps the gateway from being suspended.
type Blocker struct {
	Kind    string `json:"kind"` // e.g. "chat-run", "cron-run", "terminal-session"
	Count   int    `json:"count"`
	Message string `json:"message"` // for people, cleaned and of bounded length
}

const (
	maxBlockers     = 32
	maxCount        = 1_000_000
	maxSuspendRetry = time.Hour
	maxSuspendID    = 128 // OpenClaw's own limit
)

// wireSuspension is any answer of gateway.suspend.*.
type wireSuspension struct {
	Status       string  `json:"status"`
	SuspensionID string  `json:"suspensionId"`
	ExpiresAtMS  float64 `json:"expiresAtMs"`
	Reason       string  `json:"reason"`
	RetryAfterMS float64 `json:"retryAfterMs"`
	ActiveCount  float64 `json:"activeCount"`
	Blockers     []struct {
		Kind    string  `json:"kind"`
		Count   float64 `json:"count"`
		Message string  `json:"message"`
	} `json:"blockers"`
}

// PrepareSuspend asks the gateway to take no more work, so that it can be frozen.
// It never waits for work under way: a busy gateway says so and goes on. Asking
// again with the same requestID, of at most 128 characters, renews a suspension;
// another one is refused while the first lasts.
//
// A suspended gateway answers no call but those about its suspension.
func (c *Client) PrepareSuspend(ctx context.Context, requestID string) (Suspension, error) {
	var w wireSuspension
	if err := c.Call(ctx, "gateway.suspend.prepare", map[string]string{"requestId": requestID}, &w); err != nil {
		return Suspension{}, err
	}
	switch w.Status {
	case "ready":
		s := Suspension{Ready: true, ID: w.SuspensionID, Expires: unixMS(w.ExpiresAtMS)}
		if s.ID == "" || len(s.ID) > maxSuspendID || s.Expires.IsZero() {
			return Suspension{}, errors.New("gateway.suspend.prepare: the gateway is ready but names no suspension")
		}
		return s, nil
	case "busy":
		return w.busy(), nil
	}
	return Suspension{}, fmt.Errorf("gateway.suspend.prepare: the gateway answered %q, want ready or busy", clean(w.Status))
}

func (w wireSuspension) busy() Suspension {
	s := Suspension{
		Reason:     clean(w.Reason),
		RetryAfter: min(time.Duration(min(max(w.RetryAfterMS, 0), 86_400_000)*float64(time.Millisecond)), maxSuspendRetry),
		Active:     count(w.ActiveCount),
		Blockers:   []Blocker{},
	}
	for _, b := range first(w.Blockers, maxBlockers) {
		s.Blockers = append(s.Blockers, Blocker{clean(b.Kind), count(b.Count), clean(b.Message)})
	}
	return s
}

func count(n float64) int { return int(min(max(n, 0), maxCount)) }

// ResumeSuspend lets the gateway work again. A suspension that was resumed
// before, or has expired, is no error; the id of another one is.
func (c *Client) ResumeSuspend(ctx context.Context, id string) error {
	var w struct {
		OK bool `json:"ok"`
	}
	if err := c.Call(ctx, "gateway.suspend.resume", map[string]string{"suspensionId": id}, &w); err != nil {
		return err
	}
	if !w.OK {
		return errors.New("gateway.suspend.resume: the gateway stays suspended")
	}
	return nil
}

// SuspendStatus says until when the gateway is suspended under this id; the zero
// time when it is not, or no longer.
func (c *Client) SuspendStatus(ctx context.Context, id string) (time.Time, error) {
	var w wireSuspension
	if err := c.Call(ctx, "gateway.suspend.status", map[string]string{"suspensionId": id}, &w); err != nil {
		return time.Time{}, err
	}
	switch w.Status {
	case "running":
		return time.Time{}, nil
	case "ready":
		return unixMS(w.ExpiresAtMS), nil
	}
	return time.Time{}, fmt.Errorf("gateway.suspend.status: the gateway answered %q, want ready or running", clean(w.Status))
}
