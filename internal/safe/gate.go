package safe

import (
	"context"
	"errors"
	"sync"
)

// errGateShut ends a version that is being made of a home which is about to be put
// back: it would wait for the agent, which waits for its home.
var errGateShut = errors.New("the agent's home is being put back")

// gate keeps versions from being made of a home while its newest version is put into
// it. The zero gate is open.
type gate struct {
	mu   sync.Mutex
	shut chan struct{}           // nil when open; closed when it opens again
	end  context.CancelCauseFunc // of the version under way
}

// close shuts the gate, which must be open, and ends the version under way.
func (g *gate) close() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = make(chan struct{})
	if g.end != nil {
		g.end(errGateShut)
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		close(g.shut)
		g.shut = nil
	}
}

// pass waits until the gate is open and returns the context of a version, to be
// ended with done. One version is made at a time.
func (g *gate) pass(ctx context.Context) (during context.Context, done func(), err error) {
	for {
		g.mu.Lock()
		shut := g.shut
		if shut == nil {
			during, end := context.WithCancelCause(ctx)
			g.end = end
			g.mu.Unlock()
			return during, func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.end = nil
				end(nil)
			}, nil
		}
		g.mu.Unlock()
		select {
		case <-shut:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}
