package edge

import (
	"context"
	"sync"
	"time"
)

// patience is a context that ends limit after somebody began to wait for it, or
// with its parent. Almost every message on a WebSocket finds its agent awake and
// waits for nothing; a timer for each would be the dearest part of its way.
type patience struct {
	parent context.Context
	limit  time.Duration

	mu     sync.Mutex      // guards what follows
	begun  context.Context // nil until somebody waits
	cancel context.CancelFunc
}

// Deadline is not known before the waiting begins, and then nobody asks.
func (p *patience) Deadline() (time.Time, bool) { return p.parent.Deadline() }

// Done begins the waiting.
func (p *patience) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun == nil {
		p.begun, p.cancel = context.WithTimeout(p.parent, p.limit)
	}
	return p.begun.Done()
}

func (p *patience) Err() error        { return p.current().Err() }
func (p *patience) Value(key any) any { return p.current().Value(key) }

// over releases what the waiting took.
func (p *patience) over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancel != nil {
		p.cancel()
	}
}

func (p *patience) current() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun == nil {
		return p.parent
	}
	return p.begun
}
