package limit

import (
	"context"
	"errors"
	"sync"
	"time"
)

// GateOptions of a Gate.
type GateOptions struct {
	Total  int // calls at once; 0: no limit
	PerKey int // calls at once of one key; 0: no limit

	Queue       int           // calls that wait; 0: none does
	QueuePerKey int           // of one key; a quarter of Queue, at least 1, when 0
	Wait        time.Duration // longest wait; 0: as long as the caller has
}

// Gate lets so many calls through at once. Others wait, if there is a queue: those of
// one key in their order, and of several keys in turn, so that one that asks for much
// does not keep others from getting some.
type Gate struct {
	o GateOptions

	mu      sync.Mutex
	running int           // guarded by mu, as all below
	waiting int           //
	keys    map[Key]*lane // those with calls that run or wait
	turns   []*lane       // lanes with calls that wait; the first is next
}

// lane holds the calls of one key.
type lane struct {
	key     Key
	running int
	queue   []*waiter
}

type waiter struct {
	in chan struct{} // closed when it may go
}

// NewGate makes a gate.
func NewGate(o GateOptions) *Gate {
	if o.QueuePerKey <= 0 {
		o.QueuePerKey = max(1, o.Queue/4)
	}
	return &Gate{o: o, keys: map[Key]*lane{}}
}

var errWaited = errors.New("waited too long")

// Enter waits for its turn. The caller must call leave when the call has ended; more
// than once does no harm. The error is a *Limited, or that of the context.
func (g *Gate) Enter(ctx context.Context, key Key) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	l := g.keys[key]
	if l == nil {
		l = &lane{key: key}
		g.keys[key] = l
	}
	if len(l.queue) == 0 && g.free(l) {
		g.start(l)
		g.mu.Unlock()
		return g.leave(l), nil
	}
	if g.waiting >= g.o.Queue || len(l.queue) >= g.o.QueuePerKey {
		err := g.full(l)
		g.forget(l)
		g.mu.Unlock()
		return nil, err
	}
	w := &waiter{in: make(chan struct{})}
	if l.queue = append(l.queue, w); len(l.queue) == 1 {
		g.turns = append(g.turns, l)
	}
	g.waiting++
	g.mu.Unlock()
	return g.wait(ctx, l, w)
}

// free reports whether a call of a lane may run.
func (g *Gate) free(l *lane) bool {
	return (g.o.Total <= 0 || g.running < g.o.Total) && (g.o.PerKey <= 0 || l.running < g.o.PerKey)
}

func (g *Gate) start(l *lane) {
	g.running++
	l.running++
}

func (g *Gate) full(l *lane) *Limited {
	limit := g.o.Total
	if g.o.PerKey > 0 && l.running >= g.o.PerKey || limit <= 0 {
		limit = g.o.PerKey
	}
	return &Limited{What: "calls at once", Limit: int64(limit)}
}

func (g *Gate) wait(ctx context.Context, l *lane, w *waiter) (func(), error) {
	if g.o.Wait > 0 {
		var done context.CancelFunc
		ctx, done = context.WithTimeoutCause(ctx, g.o.Wait, errWaited)
		defer done()
	}
	select {
	case <-w.in:
		return g.leave(l), nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.in: // its turn came at the same moment
		g.end(l)
	default:
		g.drop(l, w)
	}
	if context.Cause(ctx) == errWaited {
		return nil, g.full(l)
	}
	return nil, ctx.Err()
}

// drop takes a call that went away out of the queue.
func (g *Gate) drop(l *lane, w *waiter) {
	for i, o := range l.queue {
		if o == w {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			g.waiting--
			break
		}
	}
	if len(l.queue) == 0 {
		g.unturn(l)
	}
	g.forget(l)
}

func (g *Gate) unturn(l *lane) {
	for i, o := range g.turns {
		if o == l {
			g.turns = append(g.turns[:i], g.turns[i+1:]...)
			return
		}
	}
}

func (g *Gate) leave(l *lane) func() {
	var once sync.Once
	return func() {
		once.Do(func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.end(l)
		})
	}
}

// end gives a place back, and to who is next.
func (g *Gate) end(l *lane) {
	g.running--
	l.running--
	for g.next() {
	}
	g.forget(l)
}

// next lets one call in: of the first lane in turn that may have one more. The lane
// then goes to the end.
func (g *Gate) next() bool {
	for i, l := range g.turns {
		if !g.free(l) {
			continue
		}
		w := l.queue[0]
		l.queue = l.queue[1:]
		g.waiting--
		g.turns = append(g.turns[:i], g.turns[i+1:]...)
		if len(l.queue) > 0 {
			g.turns = append(g.turns, l)
		}
		g.start(l)
		close(w.in)
		return true
	}
	return false
}

// forget lets go of a lane that nothing is in.
func (g *Gate) forget(l *lane) {
	if l.running == 0 && len(l.queue) == 0 && g.keys[l.key] == l {
		delete(g.keys, l.key)
	}
}

// Load is how many calls run and wait.
func (g *Gate) Load() (running, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running, g.waiting
}
