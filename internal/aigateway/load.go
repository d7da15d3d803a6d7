package aigateway

import (
	"net/http"
	"sync/atomic"
)

// What one agent may hold of the host at a time.
const (
	maxCalls    = 64        // calls under way
	maxBuffered = 160 << 20 // bytes of request bodies
)

// load counts what one agent's calls hold.
type load struct {
	calls    atomic.Int64
	buffered atomic.Int64
}

func (l *load) enter() error {
	if l.calls.Add(1) > maxCalls {
		l.calls.Add(-1)
		return &failure{status: http.StatusTooManyRequests, retryAfter: "1",
			msg: "this agent has too many model calls under way; wait for one to end"}
	}
	return nil
}

func (l *load) leave() { l.calls.Add(-1) }

func (l *load) reserve(n int) error {
	if l.buffered.Add(int64(n)) > maxBuffered {
		l.buffered.Add(int64(-n))
		return &failure{status: http.StatusTooManyRequests, retryAfter: "5",
			msg: "this agent's model calls under way are too large together; wait for one to end"}
	}
	return nil
}

func (l *load) release(n int) { l.buffered.Add(int64(-n)) }
