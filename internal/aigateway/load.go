package aigateway

import (
	"net/http"
	"sync/atomic"
	"time"
)

// What one caller may hold of the host at a time.
const (
	maxCalls    = 64        // calls under way
	maxBuffered = 160 << 20 // bytes of request bodies
)

// load counts what one caller's calls hold, and remembers what is known of them.
type load struct {
	measure
	calls    atomic.Int64
	sockets  atomic.Int64 // of the calls, those that are WebSockets
	buffered atomic.Int64
	user     atomic.Int64 // when a person last caused a call, in Unix nanoseconds; 0: not known
}

func (l *load) enter() error {
	if l.calls.Add(1) > maxCalls {
		l.calls.Add(-1)
		return &failure{status: http.StatusTooManyRequests, retryAfter: "1", kind: "busy",
			msg: "this agent has too many model calls under way; wait for one to end"}
	}
	return nil
}

func (l *load) leave() { l.calls.Add(-1) }

func (l *load) reserve(n int) error {
	if l.buffered.Add(int64(n)) > maxBuffered {
		l.buffered.Add(int64(-n))
		return &failure{status: http.StatusTooManyRequests, retryAfter: "5", kind: "busy",
			msg: "this agent's model calls under way are too large together; wait for one to end"}
	}
	return nil
}

func (l *load) release(n int) { l.buffered.Add(int64(-n)) }

// spoke notes that a person caused a call.
func (l *load) spoke(at time.Time) { l.user.Store(at.UnixNano()) }

func (l *load) lastUser() time.Time {
	if at := l.user.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}
