package gateway

import (
	"encoding/json"
	"errors"
	"slices"
)

// ErrSlow: a subscription fell too far behind and was ended.
var ErrSlow = errors.New("events arrive faster than they are read")

// An Event is something the gateway told unasked.
type Event struct {
	Name    string
	Payload json.RawMessage
}

// A Subscription receives events until it is closed, the connection ends or its
// reader falls too far behind; then its channel is closed.
type Subscription struct {
	client *Client
	names  []string
	events chan Event
	err    error // guarded by client.mu
	ended  bool  // guarded by client.mu
}

// Subscribe asks for events by name, or for all without one. It sees every event
// that arrives after it returns.
func (c *Client) Subscribe(names ...string) *Subscription {
	s := &Subscription{client: c, names: names, events: make(chan Event, eventQueue)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs == nil {
		s.end(c.err)
		return s
	}
	c.subs[s] = struct{}{}
	return s
}

// Events is where they come.
func (s *Subscription) Events() <-chan Event { return s.events }

// Err says why the channel was closed; nil after Close.
func (s *Subscription) Err() error {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.err
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	delete(s.client.subs, s)
	s.end(nil)
}

// end closes the channel. The caller holds client.mu.
func (s *Subscription) end(err error) {
	if s.ended {
		return
	}
	s.ended, s.err = true, err
	close(s.events)
}

func (c *Client) publish(f frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.subs {
		if len(s.names) > 0 && !slices.Contains(s.names, f.Event) {
			continue
		}
		select {
		case s.events <- Event{Name: clean(f.Event), Payload: f.Payload}:
		default:
			delete(c.subs, s)
			s.end(ErrSlow)
		}
	}
}
