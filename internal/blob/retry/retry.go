// Package retry owns patience with object stores: a store that tries another one
// again when that is unavailable. It must not know what kind of store it is, and
// changes nothing of the contract.
package retry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
)

// Options say how patient to be. A zero field means its default.
type Options struct {
	Tries int           // of each call, the first included; 8
	First time.Duration // before the second try, at most; doubles from try to try; 250 ms
	Most  time.Duration // between two tries, at most; 30 s

	// Rand returns a number in [0, 1), which spreads the tries of many hosts:
	// a wait is between half of what it may be and all of it. math/rand/v2 when nil.
	Rand func() float64
	// Waiting is told before each wait why and how long, for logs; it may be nil.
	Waiting func(err error, wait time.Duration)
}

// New returns a store that passes every call on to s, and makes it again as long
// as s answers blob.ErrUnavailable and ctx goes on. Every other error is final.
func New(s blob.Store, opts Options) blob.Store {
	if opts.Tries <= 0 {
		opts.Tries = 8
	}
	if opts.First <= 0 {
		opts.First = 250 * time.Millisecond
	}
	if opts.Most <= 0 {
		opts.Most = 30 * time.Second
	}
	if opts.Rand == nil {
		opts.Rand = rand.Float64
	}
	return &store{s, opts}
}

type store struct {
	blob.Store
	opts Options
}

// Put tells the trace of an earlier try from another's object: when a try with
// ifAbsent may have written, and the next one finds an object, the same bytes
// mean that it was ours. Who writes the same bytes to the same name as somebody
// else cannot know, nor need to, which of the two was first.
func (s *store) Put(ctx context.Context, name string, data []byte, ifAbsent bool) error {
	uncertain := false
	return s.again(ctx, func() error {
		err := s.Store.Put(ctx, name, data, ifAbsent)
		if uncertain && errors.Is(err, blob.ErrExists) {
			return s.ours(ctx, name, data, err)
		}
		uncertain = uncertain || errors.Is(err, blob.ErrUnavailable)
		return err
	})
}

// ours returns nil if the object that is there has our bytes, and exists if not.
// When it was deleted meanwhile, the next try decides.
func (s *store) ours(ctx context.Context, name string, data []byte, exists error) error {
	there, err := s.Store.Get(ctx, name, 0, int64(len(data))+1)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return fmt.Errorf("%w: the object was there a moment ago", blob.ErrUnavailable)
	case err != nil:
		return err
	case bytes.Equal(there, data):
		return nil
	}
	return exists
}

func (s *store) Get(ctx context.Context, name string, off, n int64) (data []byte, err error) {
	err = s.again(ctx, func() error {
		data, err = s.Store.Get(ctx, name, off, n)
		return err
	})
	return data, err
}

func (s *store) Stat(ctx context.Context, name string) (info blob.Info, err error) {
	err = s.again(ctx, func() error {
		info, err = s.Store.Stat(ctx, name)
		return err
	})
	return info, err
}

func (s *store) Delete(ctx context.Context, name string) error {
	return s.again(ctx, func() error { return s.Store.Delete(ctx, name) })
}

// List goes on where it broke off: f sees no object twice. A try that got further
// makes good for those before, so that a long list comes to its end.
func (s *store) List(ctx context.Context, prefix string, f func(blob.Info) error) error {
	last := ""
	var stopped error // by f: not the store's failure, whatever kind of error it is
	e := s.effort()
	for {
		err := s.Store.List(ctx, prefix, func(info blob.Info) error {
			if info.Name <= last {
				return nil
			}
			last, e = info.Name, s.effort()
			stopped = f(info)
			return stopped
		})
		switch {
		case stopped != nil:
			return stopped
		case !errors.Is(err, blob.ErrUnavailable):
			return err
		}
		if err := e.pause(ctx, err); err != nil {
			return err
		}
	}
}

// again calls try until it does not fail for want of the store.
func (s *store) again(ctx context.Context, try func() error) error {
	e := s.effort()
	for {
		err := try()
		if !errors.Is(err, blob.ErrUnavailable) {
			return err
		}
		if err := e.pause(ctx, err); err != nil {
			return err
		}
	}
}

// effort is what one call has cost so far.
type effort struct {
	opts  *Options
	tries int           // that failed
	wait  time.Duration // before the next, at most
}

func (s *store) effort() *effort { return &effort{opts: &s.opts, wait: s.opts.First} }

// pause waits before the next try. It returns an error when there is to be none.
func (e *effort) pause(ctx context.Context, failure error) error {
	e.tries++
	if e.tries >= e.opts.Tries {
		return fmt.Errorf("%w (tried %d times)", failure, e.tries)
	}
	wait := e.wait/2 + time.Duration(e.opts.Rand()*float64(e.wait/2))
	e.wait = min(2*e.wait, e.opts.Most)
	if e.opts.Waiting != nil {
		e.opts.Waiting(failure, wait)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w while the store was unavailable: %v", ctx.Err(), failure)
	}
}
