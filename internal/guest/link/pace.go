package link

import (
	"context"
	"sync"
	"time"
)

// Sometimes lets through what a hostile peer could make happen all the time,
// such as a line in the log: once, then at most every ten seconds. The zero
// value is ready for use.
type Sometimes struct {
	mu   sync.Mutex
	next time.Time
}

const sometimes = 10 * time.Second

// Do calls f unless it called one recently.
func (s *Sometimes) Do(f func()) {
	if s.due(time.Now()) {
		f()
	}
}

func (s *Sometimes) due(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.next) {
		return false
	}
	s.next = now.Add(sometimes)
	return true
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
