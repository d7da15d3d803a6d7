// Package pace owns the limit of what a store may take of the machine's network:
// a store that passes calls on no faster than so many bytes a second. It must
// not know what kind of store it is, and changes nothing of the contract.
package pace

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"

	"github.com/moltworker/moltworker/internal/blob"
)

// burst is what may pass at once after a rest, in bytes. More has to wait for its
// turn in pieces of this size, so that small objects get between those of a large one.
const burst = 256 << 10

// New returns a store that writes to s at most bytesPerSecond, and reads from it
// at most as much, on average and for all callers together. Objects are moved
// whole, and at full speed: an object is sent when its turn has come, and handed
// over when as much time has passed as it should have taken. 0 or less means no
// limit. Put it beneath blob/retry, so that every try counts.
func New(s blob.Store, bytesPerSecond int64) blob.Store {
	if bytesPerSecond <= 0 {
		return s
	}
	limit := func() *rate.Limiter { return rate.NewLimiter(rate.Limit(bytesPerSecond), burst) }
	return &store{s, limit(), limit()}
}

type store struct {
	blob.Store
	up, down *rate.Limiter
}

func (s *store) Put(ctx context.Context, name string, data []byte, ifAbsent bool) error {
	if err := blob.CheckPut(name, data); err != nil {
		return err // which must not wait
	}
	if err := take(ctx, s.up, len(data)); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return s.Store.Put(ctx, name, data, ifAbsent)
}

func (s *store) Get(ctx context.Context, name string, off, n int64) ([]byte, error) {
	data, err := s.Store.Get(ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	if err := take(ctx, s.down, len(data)); err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	return data, nil
}

// take waits until n bytes may pass. When their turn comes after ctx's deadline it
// says so at once.
func take(ctx context.Context, l *rate.Limiter, n int) error {
	for n > 0 {
		piece := min(n, burst)
		if l.WaitN(ctx, piece) != nil { // a piece is never more than the burst
			if err := ctx.Err(); err != nil {
				return err
			}
			return fmt.Errorf("%w: the bandwidth limit allows it only later", context.DeadlineExceeded)
		}
		n -= piece
	}
	return ctx.Err()
}
