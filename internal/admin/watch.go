package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
)

// Times of following an agent's devices.
const (
	peekTime   = 10 * time.Second // of one look at a gateway that nobody woke for it
	sendersAge = 15 * time.Second // how old the list of senders may be, of which no event tells
	redialMin  = time.Second
	redialMax  = 30 * time.Second
)

// peek calls do with an admin connection to the gateway of an agent that is awake.
// It is no use of the agent: it neither wakes it nor keeps it awake.
func (p *Plane) peek(ctx context.Context, ag Agent, do func(context.Context, *gateway.Client) error) error {
	if s := ag.Status(); s.State != agent.StateAwake {
		return fmt.Errorf("%w: %s", agent.ErrNotAwake, s.Reason)
	}
	ctx, cancel := context.WithTimeout(ctx, peekTime)
	defer cancel()
	client, err := gateway.Dial(ctx, ag.DialGateway, p.opts.Token(ag.Name()))
	if err != nil {
		return err
	}
	defer client.Close()
	return do(ctx, client)
}

// watchers are those who follow agents' devices. However many follow one agent,
// its gateway is followed once.
type watchers struct {
	watch func(ctx context.Context, ag Agent) // follows a gateway until ctx ends

	mu     sync.Mutex
	agents map[string]*watched // by name; guarded by mu
}

// watched is an agent that is followed.
type watched struct {
	stop  context.CancelFunc
	pokes map[chan struct{}]struct{} // each with room for one
}

// follow returns a channel that receives when something may have changed, and once
// now. It is closed when ctx ends.
func (w *watchers) follow(ctx context.Context, ag Agent) <-chan struct{} {
	ch := make(chan struct{}, 1)
	ch <- struct{}{}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.agents == nil {
		w.agents = map[string]*watched{}
	}
	one := w.agents[ag.Name()]
	if one == nil {
		background, stop := context.WithCancel(context.WithoutCancel(ctx))
		one = &watched{stop: stop, pokes: map[chan struct{}]struct{}{}}
		w.agents[ag.Name()] = one
		go w.watch(background, ag)
	}
	one.pokes[ch] = struct{}{}
	context.AfterFunc(ctx, func() { w.leave(ag.Name(), one, ch) })
	return ch
}

func (w *watchers) leave(name string, one *watched, ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(one.pokes, ch)
	close(ch)
	if len(one.pokes) > 0 {
		return
	}
	one.stop()
	if w.agents[name] == one {
		delete(w.agents, name)
	}
}

// poke tells those who follow an agent.
func (w *watchers) poke(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := w.agents[name]
	if one == nil {
		return
	}
	for ch := range one.pokes {
		select {
		case ch <- struct{}{}:
		default: // told already
		}
	}
}

// followDevices pokes whenever an agent's state, devices or senders may have
// changed, until ctx ends.
func (p *Plane) followDevices(ctx context.Context, ag Agent) {
	states := ag.Watch(ctx)
	pause := redialMin
	for {
		awake, ok := p.nextState(ctx, ag, states, agent.StateAwake)
		if !ok {
			return
		}
		if !awake {
			continue
		}
		began := p.opts.Now()
		err := p.followGateway(ctx, ag, states)
		if ctx.Err() != nil {
			return
		}
		p.opts.Log.Debug("following an agent's devices ended", "agent", ag.Name(), "err", err)
		if p.opts.Now().Sub(began) > redialMax {
			pause = redialMin
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, redialMax)
	}
}

// nextState says whether the agent is in a state, waiting for a change of it when
// not. ok is false when the agent is no more.
func (p *Plane) nextState(ctx context.Context, ag Agent, states <-chan agent.Status, want agent.State) (is, ok bool) {
	if ag.Status().State == want {
		return true, ctx.Err() == nil
	}
	select {
	case <-ctx.Done():
		return false, false
	case s, ok := <-states:
		p.watchers.poke(ag.Name())
		return s.State == want, ok
	}
}

// errNoLongerAwake ends the following of a gateway.
var errNoLongerAwake = errors.New("the agent is no longer awake")

// followGateway pokes at the gateway's events until the agent leaves the state
// awake or the connection ends.
func (p *Plane) followGateway(ctx context.Context, ag Agent, states <-chan agent.Status) error {
	dialing, cancel := context.WithTimeout(ctx, peekTime)
	defer cancel()
	client, err := gateway.Dial(dialing, ag.DialGateway, p.opts.Token(ag.Name()))
	if err != nil {
		return err
	}
	defer client.Close()
	sub := client.Subscribe(gateway.DeviceEvents...)
	defer sub.Close()
	tick := time.NewTicker(sendersAge)
	defer tick.Stop()
	senders, _ := p.senders(ctx, client) // a gateway that does not tell has none
	p.watchers.poke(ag.Name())
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case _, ok := <-sub.Events():
			if !ok {
				return sub.Err()
			}
			p.watchers.poke(ag.Name())
		case s, ok := <-states:
			if !ok || s.State != agent.StateAwake {
				p.watchers.poke(ag.Name())
				return errNoLongerAwake
			}
		case <-tick.C:
			now, err := p.senders(ctx, client)
			if err != nil {
				return err
			}
			if !slices.Equal(now, senders) {
				senders = now
				p.watchers.poke(ag.Name())
			}
		}
	}
}

func (p *Plane) senders(ctx context.Context, c *gateway.Client) ([]gateway.Sender, error) {
	ctx, cancel := context.WithTimeout(ctx, peekTime)
	defer cancel()
	return c.Senders(ctx)
}
