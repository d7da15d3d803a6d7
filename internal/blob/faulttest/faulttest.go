// Package faulttest owns object stores that go wrong, for tests of what uses
// one: a decorator that fails as a script tells it, damage to what a store
// already holds, and stories in which the process dies at every step. It must
// not know what the objects mean.
package faulttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

// Op is a method of a store.
type Op string

// The methods.
const (
	Put    Op = "put"
	Get    Op = "get"
	Stat   Op = "stat"
	Delete Op = "delete"
	List   Op = "list"
)

// Call is one call of a method.
type Call struct {
	N        int // of all calls, from 1
	OfOp     int // of the calls of this method, from 1
	Op       Op
	Name     string // or List's prefix
	IfAbsent bool
}

// Writes says whether the call changes the store.
func (c Call) Writes() bool { return c.Op == Put || c.Op == Delete }

// Fault is what goes wrong with a call. One that a method cannot have is none.
type Fault int

// The faults.
const (
	None      Fault = iota
	Before          // ErrUnavailable, and nothing was done
	After           // ErrUnavailable, but it was done
	Denied          // ErrDenied, and nothing was done
	Hang            // no answer until ctx ends, and nothing was done
	HangDone        // no answer until ctx ends, but it was done
	Lie             // Put and Delete: success, but nothing was done
	Missing         // Get and Stat: ErrNotFound; List: without the object in the middle
	Truncate        // Get: the first half; Put: success, but the first half is written
	Flip            // Get: one bit is another; Put: success, but with one bit another
	Other           // Get: the bytes of some other object
	Stale           // List: as if all Puts through this decorator had not been
	BreakOff        // List: ErrUnavailable after half of the objects
	Crash           // ErrCrashed from now on for all calls; this one is not done
	CrashDone       // ErrCrashed from now on for all calls; this one is done
)

// ErrCrashed is what a process that is no more would not see. It is none of the
// contract's errors, so that nobody tries again.
var ErrCrashed = errors.New("the process has crashed")

// Script says what goes wrong with a call. It is called for one at a time.
type Script func(Call) Fault

// Store is a store with faults.
type Store struct {
	inner blob.Store

	mu      sync.Mutex // guards what follows, and makes the script's calls one at a time
	script  Script
	calls   []Call
	ofOp    map[Op]int
	put     map[string]bool // names put through this store
	crashed bool
}

var _ blob.Store = (*Store)(nil)

// New returns a store that passes calls on to inner unless script has something
// else in mind. A nil script never has.
func New(inner blob.Store, script Script) *Store {
	return &Store{inner: inner, script: script, ofOp: map[Op]int{}, put: map[string]bool{}}
}

// Follow makes s follow another script from now on; nil ends all faults.
func (s *Store) Follow(script Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// Calls returns all calls so far.
func (s *Store) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Crashed says whether a crash has come.
func (s *Store) Crashed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.crashed
}

// next decides the fault of a call.
func (s *Store) next(c Call) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crashed {
		return Crash
	}
	s.ofOp[c.Op]++
	c.N, c.OfOp = len(s.calls)+1, s.ofOp[c.Op]
	s.calls = append(s.calls, c)
	if c.Op == Put {
		s.put[c.Name] = true
	}
	fault := None
	if s.script != nil {
		fault = s.script(c)
	}
	s.crashed = fault == Crash || fault == CrashDone
	return fault
}

// around does a call with those faults that all methods have.
func (s *Store) around(ctx context.Context, fault Fault, c Call, do func() error) error {
	switch fault {
	case Before:
		return unavailable(c)
	case Denied:
		return remedy.With(fmt.Errorf("%s %s: %w: a fault of the test", c.Op, c.Name, blob.ErrDenied), "end the fault")
	case Hang:
		<-ctx.Done()
		return ctx.Err()
	case Crash:
		return ErrCrashed
	}
	err := do()
	switch fault {
	case After:
		return firstOf(err, unavailable(c))
	case HangDone:
		<-ctx.Done()
		return firstOf(err, ctx.Err())
	case CrashDone:
		return ErrCrashed
	}
	return err
}

// firstOf is the fault's error unless the store itself failed first.
func firstOf(err, fault error) error {
	if err != nil {
		return err
	}
	return fault
}

func unavailable(c Call) error {
	return remedy.With(fmt.Errorf("%s %s: %w: a fault of the test", c.Op, c.Name, blob.ErrUnavailable), "try again")
}

// Put is blob.Store's, with faults.
func (s *Store) Put(ctx context.Context, name string, data []byte, ifAbsent bool) error {
	c := Call{Op: Put, Name: name, IfAbsent: ifAbsent}
	fault := s.next(c)
	return s.around(ctx, fault, c, func() error {
		switch fault {
		case Lie:
			return nil
		case Truncate, Flip:
			data = spoil(data, fault)
		}
		return s.inner.Put(ctx, name, data, ifAbsent)
	})
}

// Get is blob.Store's, with faults.
func (s *Store) Get(ctx context.Context, name string, off, n int64) (data []byte, err error) {
	c := Call{Op: Get, Name: name}
	fault := s.next(c)
	err = s.around(ctx, fault, c, func() error {
		asked := name
		switch fault {
		case Missing:
			return fmt.Errorf("get %s: %w", name, blob.ErrNotFound)
		case Other:
			asked = s.another(ctx, name)
		}
		data, err = s.inner.Get(ctx, asked, off, n)
		data = spoil(data, fault)
		return err
	})
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Stat is blob.Store's, with faults.
func (s *Store) Stat(ctx context.Context, name string) (info blob.Info, err error) {
	c := Call{Op: Stat, Name: name}
	fault := s.next(c)
	err = s.around(ctx, fault, c, func() error {
		if fault == Missing {
			return fmt.Errorf("stat %s: %w", name, blob.ErrNotFound)
		}
		info, err = s.inner.Stat(ctx, name)
		return err
	})
	if err != nil {
		return blob.Info{}, err
	}
	return info, nil
}

// Delete is blob.Store's, with faults.
func (s *Store) Delete(ctx context.Context, name string) error {
	c := Call{Op: Delete, Name: name}
	fault := s.next(c)
	return s.around(ctx, fault, c, func() error {
		if fault == Lie {
			return nil
		}
		return s.inner.Delete(ctx, name)
	})
}

// List is blob.Store's, with faults.
func (s *Store) List(ctx context.Context, prefix string, f func(blob.Info) error) error {
	c := Call{Op: List, Name: prefix}
	fault := s.next(c)
	if !slices.Contains([]Fault{Missing, Stale, BreakOff}, fault) {
		return s.around(ctx, fault, c, func() error { return s.inner.List(ctx, prefix, f) })
	}
	all, err := Names(ctx, s.inner, prefix)
	if err != nil {
		return err
	}
	middle := len(all) / 2
	n := -1
	return s.inner.List(ctx, prefix, func(info blob.Info) error {
		n++
		switch {
		case fault == Missing && n == middle, fault == Stale && s.isNew(info.Name):
			return nil
		case fault == BreakOff && n == middle:
			return unavailable(c)
		}
		return f(info)
	})
}

func (s *Store) String() string { return s.inner.String() + " with faults" }

func (s *Store) isNew(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put[name]
}

// another returns the name of some other object, the next one if possible; name
// itself when it is the only one.
func (s *Store) another(ctx context.Context, name string) string {
	all, err := Names(ctx, s.inner, "")
	if i := slices.Index(all, name); err == nil && i >= 0 {
		return all[(i+1)%len(all)]
	}
	return name
}

// spoil returns data with the fault in it.
func spoil(data []byte, fault Fault) []byte {
	switch {
	case fault == Truncate:
		return data[:len(data)/2]
	case fault == Flip && len(data) > 0:
		data = bytes.Clone(data)
		data[len(data)/2] ^= 0x10
	}
	return data
}
