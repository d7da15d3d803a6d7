package pid1

import "time"

// backoff says how long to wait before a process that ended is started again.
type backoff struct {
	min, max time.Duration
	steady   time.Duration // of being ready, after which all is forgiven

	last time.Duration
}

func newBackoff() backoff {
	return backoff{min: 500 * time.Millisecond, max: 30 * time.Second, steady: time.Minute}
}

// next is the pause after a run that was ready for so long.
func (b *backoff) next(ready time.Duration) time.Duration {
	if ready >= b.steady {
		b.last = 0
	}
	b.last = min(max(2*b.last, b.min), b.max)
	return b.last
}

func (b *backoff) reset() { b.last = 0 }
