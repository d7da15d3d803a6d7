package accounts

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/store"
)

// Everything that ends sign-ins says so to standing at once. What ends by itself, or
// on another way, is found within checkEvery.
const (
	checkEvery   = time.Minute
	checkTimeout = 30 * time.Second
)

// standing are those whose requests are under way: what somebody has opened does not
// outlive the sign-in that opened it.
type standing struct {
	mu    sync.Mutex // guards what follows
	open  map[holding]map[*context.CancelCauseFunc]bool
	timer *time.Timer // nil: nothing is open

	checking sync.Mutex // one goroutine checks at a time
}

// holding is what lets somebody in: a session by its public ID, or a service token by
// its name.
type holding struct{ session, service string }

func holdingOf(p access.Principal) holding {
	switch {
	case p.Session != "":
		return holding{session: p.Session}
	case p.Kind == access.KindService && p.Via == access.ViaService:
		return holding{service: p.Name}
	}
	return holding{}
}

// While returns a context that ends when ctx does, when the caller's session or
// service token has ended (its cause is then [access.ErrEnded]), or when cancel is
// called, as it must be. Callers whose right rests on anything else have ctx itself.
func (a *Accounts) While(ctx context.Context, p access.Principal) (context.Context, context.CancelFunc) {
	h := holdingOf(p)
	if h == (holding{}) {
		return ctx, func() {}
	}
	ctx, end := context.WithCancelCause(ctx)
	a.standing.add(h, &end, a.checkStanding)
	return ctx, func() {
		a.standing.remove(h, &end)
		end(nil)
	}
}

func (s *standing) add(h holding, end *context.CancelCauseFunc, check func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[h] == nil {
		s.open[h] = map[*context.CancelCauseFunc]bool{}
	}
	s.open[h][end] = true
	if s.timer == nil {
		s.timer = time.AfterFunc(checkEvery, check)
	}
}

func (s *standing) remove(h holding, end *context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open[h], end)
	if len(s.open[h]) == 0 {
		delete(s.open, h)
	}
	if len(s.open) == 0 && s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// holdings are what something is open by now. The next look is due checkEvery later.
func (s *standing) holdings() []holding {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]holding, 0, len(s.open))
	for h := range s.open {
		all = append(all, h)
	}
	if s.timer != nil {
		s.timer.Reset(checkEvery)
	}
	return all
}

func (s *standing) end(h holding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for end := range s.open[h] {
		(*end)(access.ErrEnded)
	}
}

// recheck has what is open by sign-ins that have just ended be ended, without waiting
// for it.
func (a *Accounts) recheck() { go a.checkStanding() }

// checkStanding ends what is open by sign-ins that have ended. Whoever cannot be looked
// up keeps what is open until the next time: new requests are refused meanwhile.
func (a *Accounts) checkStanding() {
	a.standing.checking.Lock()
	defer a.standing.checking.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	for _, h := range a.standing.holdings() {
		if err := a.stands(ctx, h); errors.Is(err, store.ErrNotFound) {
			a.standing.end(h)
		}
	}
}

// stands is store.ErrNotFound when a holding has ended; a visit is gone with its sign-in.
// A session by which something is open is in use.
func (a *Accounts) stands(ctx context.Context, h holding) error {
	if h.session == "" {
		return a.serviceStands(ctx, h.service)
	}
	now := a.now()
	s, err := a.db.Session(ctx, h.session)
	if err == nil && !now.Before(s.Expires) {
		err = store.ErrNotFound
	}
	if err == nil && now.Sub(s.Used) >= noteEvery {
		err = a.db.UseSession(ctx, s.ID, now, false)
	}
	return err
}

func (a *Accounts) serviceStands(ctx context.Context, name string) error {
	rows, err := a.db.ServiceTokens(ctx)
	if err != nil {
		return err
	}
	for _, t := range rows {
		if t.Name == name && !a.expired(t) {
			return nil
		}
	}
	return store.ErrNotFound
}
