package aigateway

import (
	"sync"
	"time"
)

// comment is what keeps a line alive on which nothing is said: an event stream's
// comment, which no client takes for an event.
const comment = ": the model is thinking\n\n"

// murmur writes comments into a stream while the model is silent, so that whatever
// stands between the gateway and a program does not take the line for dead: many cut
// it after a minute. Between events only, so that every event stays as it is.
type murmur struct {
	c     *call
	guard *keyGuard
	every time.Duration

	mu    sync.Mutex // held while the stream is written
	timer *time.Timer
	over  bool // guarded by mu
}

func newMurmur(c *call, guard *keyGuard) *murmur {
	m := &murmur{c: c, guard: guard, every: c.g.opts.Timeouts.Comment}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timer = time.AfterFunc(m.every, m.say)
	return m
}

// while has write done without a comment between, and silence begin anew.
func (m *murmur) while(write func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timer.Reset(m.every)
	return write()
}

func (m *murmur) say() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return
	}
	m.timer.Reset(m.every)
	if m.c.gap() != "" || len(m.guard.held) > 0 {
		return // in the middle of an event
	}
	if n, err := m.c.w.Write([]byte(comment)); err == nil {
		m.c.rec.out += int64(n)
		_ = m.c.rc.Flush() // the next write tells
	}
}

// stop ends the comments; nothing is written by them any more when it returns.
func (m *murmur) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
	m.timer.Stop()
}
