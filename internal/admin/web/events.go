package web

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/page"
)

// Bounds of event streams.
const (
	maxStreams  = 128              // all of them
	maxPerWho   = 24               // of one caller
	streamLife  = 10 * time.Minute // then the browser asks anew, and who it is is asked anew
	streamPulse = 25 * time.Second // so that proxies keep it open
	rosterEvery = 10 * time.Second // how soon an agent that was made elsewhere is noticed
	gather      = 200 * time.Millisecond
	maxWatched  = 200 // agents of one stream
)

// streams counts event streams.
type streams struct {
	mu    sync.Mutex // guards what follows
	all   int
	byWho map[string]int
}

// enter counts a stream of who's, until leave is called, if there may be another.
func (s *streams) enter(who string) (leave func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= maxStreams || s.byWho[who] >= maxPerWho {
		return nil, false
	}
	s.all++
	s.byWho[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.byWho[who]--; s.byWho[who] == 0 {
			delete(s.byWho, who)
		}
	}, true
}

// events tells a page what happens, as server-sent events: "agents", "devices",
// "storage" and "models" when these may have changed, "log" with lines of an agent's log.
func (s *site) events(w http.ResponseWriter, r *http.Request) error {
	leave, ok := s.streams.enter(access.From(r.Context()).String())
	if !ok {
		w.Header().Set("Retry-After", "10")
		return &admin.Error{Status: http.StatusServiceUnavailable, Kind: "too_many_streams", Message: "Too many pages are open.", Remedy: "Close some of them."}
	}
	defer leave()
	ctx, cancel := context.WithTimeout(r.Context(), streamLife)
	defer cancel()
	defer context.AfterFunc(s.Stopping, cancel)()

	feed, err := s.feed(ctx, cancel, r.FormValue("on"), r.FormValue("agent"))
	if err != nil {
		return err
	}
	page.Guard(w.Header())
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	send(ctx, w, feed)
	return nil
}

// event is one message to a page.
type event struct {
	name string
	data string // one line
}

// feed is what a page listens to, until ctx ends. It cancels that when there will
// be nothing more to hear: the browser asks anew then.
func (s *site) feed(ctx context.Context, cancel func(), on, name string) (<-chan event, error) {
	switch on {
	case "agents":
		f, err := s.agentEvents(ctx)
		if err != nil {
			return nil, err
		}
		return f, nil
	case "overview":
		out, err := s.agentEvents(ctx)
		if err != nil {
			return nil, err
		}
		if changes, err := s.plane.WatchBackup(ctx); err == nil { // else it is not shown there
			go pour(ctx, cancel, changes, out, "agents")
		}
		return out, nil
	case "storage":
		changes, err := s.plane.WatchBackup(ctx)
		if err != nil {
			return nil, err
		}
		out := make(chan event, 1)
		go pour(ctx, cancel, changes, out, "storage")
		go pour(ctx, cancel, s.work.watch(ctx), out, "storage")
		return out, nil
	case "models":
		changes, err := s.plane.WatchModels(ctx)
		if err != nil {
			return nil, err
		}
		out := make(chan event, 1)
		go pour(ctx, cancel, seldom(ctx, changes), out, "models")
		return out, nil
	case "devices":
		changes, err := s.plane.WatchDevices(ctx, name)
		if err != nil {
			return nil, err
		}
		states, err := s.plane.WatchAgent(ctx, name)
		if err != nil {
			return nil, err
		}
		out := make(chan event, 1)
		go pour(ctx, cancel, changes, out, "devices")
		go pour(ctx, cancel, states, out, "devices")
		return out, nil
	case "log":
		return s.logEvents(ctx, name)
	case "audit":
		if err := mayAudit(ctx); err != nil {
			return nil, err
		}
		out := make(chan event, 1)
		go pour(ctx, cancel, s.Audit.Watch(ctx), out, "audit")
		return out, nil
	}
	return nil, &admin.Error{Status: http.StatusBadRequest, Kind: "invalid", Message: "There are no events of that kind."}
}

// pour says that something changed. Changes that nobody has been told of yet are
// one.
func pour[T any](ctx context.Context, over func(), changes <-chan T, out chan<- event, name string) {
	defer over()
	for {
		select {
		case _, open := <-changes:
			if !open {
				return
			}
			say(out, name)
		case <-ctx.Done():
			return
		}
	}
}

// callsEvery is how often a page is told of model calls at most: they may come many a
// second, and each time costs several queries.
const callsEvery = 5 * time.Second

// seldom passes changes on, with a pause after each.
func seldom(ctx context.Context, changes <-chan struct{}) <-chan struct{} {
	out := make(chan struct{})
	go func() {
		defer close(out)
		for range changes {
			select {
			case out <- struct{}{}:
			case <-ctx.Done():
				return
			}
			select {
			case <-time.After(callsEvery):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func say(out chan<- event, name string) {
	select {
	case out <- event{name: name}:
	default:
	}
}

// roster follows agents, also those that are made later.
type roster struct {
	plane   Plane
	out     chan event
	watched map[string]context.CancelFunc
}

func (s *site) agentEvents(ctx context.Context) (chan event, error) {
	f := &roster{s.plane, make(chan event, 1), map[string]context.CancelFunc{}}
	if err := f.enlist(ctx); err != nil {
		return nil, err
	}
	go func() {
		again := time.NewTicker(rosterEvery)
		defer again.Stop()
		for {
			select {
			case <-again.C:
				_ = f.enlist(ctx) // the next time will tell
			case <-ctx.Done():
				return
			}
		}
	}()
	return f.out, nil
}

// enlist begins to follow the agents that are new, and forgets those that are no
// more.
func (f *roster) enlist(ctx context.Context) error {
	infos, err := f.plane.Agents(ctx)
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, info := range infos[:min(len(infos), maxWatched)] {
		there[info.Agent] = true
		if f.watched[info.Agent] != nil {
			continue
		}
		one, stop := context.WithCancel(ctx)
		states, err := f.plane.WatchAgent(one, info.Agent)
		if err != nil {
			stop()
			continue // removed just now
		}
		f.watched[info.Agent] = stop
		go pour(one, stop, states, f.out, "agents")
	}
	for name, stop := range f.watched {
		if !there[name] {
			stop()
			delete(f.watched, name)
			say(f.out, "agents")
		}
	}
	return nil
}

// send writes events until ctx ends, the feed does, or nobody reads any more.
// Between two of them it waits a little, so that a burst is one.
func send(ctx context.Context, w http.ResponseWriter, feed <-chan event) {
	out, pulse := http.NewResponseController(w), time.NewTicker(streamPulse)
	defer pulse.Stop()
	if _, err := fmt.Fprint(w, "retry: 3000\n\n"); err != nil || out.Flush() != nil {
		return
	}
	for {
		var err error
		select {
		case e, open := <-feed:
			if !open {
				return
			}
			_, err = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.name, e.data)
		case <-pulse.C:
			_, err = fmt.Fprint(w, ": still here\n\n")
		case <-ctx.Done():
			return
		}
		if err != nil || out.Flush() != nil {
			return
		}
		select {
		case <-time.After(gather):
		case <-ctx.Done():
			return
		}
	}
}
