package accounts

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/store"
)

const (
	ticketLife = time.Minute
	maxTickets = 1024
)

// ticket lets the browser of a sign-in in at one agent's own host.
type ticket struct {
	session, agent string
	until          time.Time
}

// Ticket makes a ticket with which p's browser enters an agent's own host. It is
// good once, for a minute.
func (a *Accounts) Ticket(ctx context.Context, p access.Principal, agent string) (string, error) {
	if p.Kind != access.KindPerson || p.Agent != "" || p.Session == "" || agent == "" {
		return "", invalid("only somebody who is signed in at the control plane can be sent to an agent", "sign in at /_admin/ with an account of moltworker's")
	}
	if _, err := a.db.Session(ctx, p.Session); err != nil {
		return "", explain(err, "session")
	}
	value, now := newValue(), a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for hash, t := range a.tickets {
		if !now.Before(t.until) {
			delete(a.tickets, hash)
		}
	}
	if len(a.tickets) >= maxTickets {
		return "", limited(ticketLife)
	}
	a.tickets[hex.EncodeToString(hashOf(value))] = ticket{p.Session, agent, now.Add(ticketLife)}
	return value, nil
}

// Redeem uses a ticket up: the browser gets a cookie for that agent's host, which
// ends with the sign-in that the ticket came from. The error of a ticket that is
// not good is a [*access.Refusal].
func (a *Accounts) Redeem(ctx context.Context, value, agent string, w http.ResponseWriter, at access.Place) error {
	refused := &access.Refusal{Reason: access.SignedOut, Message: "This way in is no longer good.", Final: true,
		Remedy: "Open the agent from `/_admin/` again."}
	if len(value) != valueSize {
		return refused
	}
	hash, now := hex.EncodeToString(hashOf(value)), a.now()
	a.mu.Lock()
	t, ok := a.tickets[hash]
	delete(a.tickets, hash)
	a.mu.Unlock()
	if !ok || !now.Before(t.until) || t.agent != agent || at.Agent != agent {
		return refused
	}
	parent, err := a.db.Session(ctx, t.session)
	if errors.Is(err, store.ErrNotFound) || err == nil && !live(parent, now) {
		return refused
	}
	if err != nil {
		return err
	}
	next, seed := newValue(), randomText(16)
	err = a.db.AddSession(ctx, store.Session{ID: randomText(12), Hash: hashOf(next), Seed: hashOf(seed), Rotated: now, Confirmed: now,
		Person: parent.Person, Name: parent.Name, Via: parent.Via, Parent: parent.ID, Agent: agent,
		Created: now, Used: now, Expires: parent.Expires, Address: at.Client.String(), Client: parent.Client}, now.Add(-sessionIdle), maxSessions)
	if errors.Is(err, store.ErrNotFound) {
		return refused
	}
	if err != nil {
		return err
	}
	setCookie(w, at.Secure, visitCookie, next+"."+seed, parent.Expires.Sub(now), http.SameSiteLaxMode)
	return nil
}
