package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
)

// callLimit bounds every call of a store, however slow the line: an object is 16
// MiB at most.
const callLimit = 30 * time.Minute

// timed gives every call of a store an end.
type timed struct {
	blob.Store
	limit time.Duration
}

// within runs one call. A store that does not answer in time is unavailable.
func (t timed) within(ctx context.Context, call func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	err := call(limited)
	if err != nil && ctx.Err() == nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: no answer in %v: %w", blob.ErrUnavailable, t.limit, err)
	}
	return err
}

func (t timed) Put(ctx context.Context, name string, data []byte, ifAbsent bool) error {
	return t.within(ctx, func(ctx context.Context) error { return t.Store.Put(ctx, name, data, ifAbsent) })
}

func (t timed) Get(ctx context.Context, name string, off, n int64) (data []byte, err error) {
	err = t.within(ctx, func(ctx context.Context) error {
		data, err = t.Store.Get(ctx, name, off, n)
		return err
	})
	return data, err
}

func (t timed) Stat(ctx context.Context, name string) (info blob.Info, err error) {
	err = t.within(ctx, func(ctx context.Context) error {
		info, err = t.Store.Stat(ctx, name)
		return err
	})
	return info, err
}

func (t timed) Delete(ctx context.Context, name string) error {
	return t.within(ctx, func(ctx context.Context) error { return t.Store.Delete(ctx, name) })
}

func (t timed) List(ctx context.Context, prefix string, f func(blob.Info) error) error {
	return t.within(ctx, func(ctx context.Context) error { return t.Store.List(ctx, prefix, f) })
}

// getWhole reads an object of at most limit bytes.
func getWhole(ctx context.Context, store blob.Store, name string, limit int) ([]byte, error) {
	data, err := store.Get(ctx, name, 0, int64(limit)+1)
	if err != nil {
		return nil, err
	}
	if len(data) > limit {
		return nil, damaged(name, "it is too large")
	}
	return data, nil
}
