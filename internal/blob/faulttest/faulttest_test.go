package faulttest_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/blobtest"
	"github.com/moltworker/moltworker/internal/blob/faulttest"
	"github.com/moltworker/moltworker/internal/blob/mem"
)

func TestWithoutFaultsItIsAStore(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return faulttest.New(mem.New(), nil) })
}

func TestWrites(t *testing.T) {
	for name, c := range map[string]struct {
		fault faulttest.Fault
		err   error
		left  string // "" for nothing
	}{
		"before":     {faulttest.Before, blob.ErrUnavailable, ""},
		"after":      {faulttest.After, blob.ErrUnavailable, "data"},
		"denied":     {faulttest.Denied, blob.ErrDenied, ""},
		"lie":        {faulttest.Lie, nil, ""},
		"truncate":   {faulttest.Truncate, nil, "da"},
		"flip":       {faulttest.Flip, nil, "dada"},
		"crash":      {faulttest.Crash, faulttest.ErrCrashed, ""},
		"crash done": {faulttest.CrashDone, faulttest.ErrCrashed, "data"},
		"hang":       {faulttest.Hang, context.DeadlineExceeded, ""},
		"hang done":  {faulttest.HangDone, context.DeadlineExceeded, "data"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				inner := mem.New()
				s := faulttest.New(inner, faulttest.Nth(faulttest.Put, 1, c.fault))
				if err := s.Put(ctx, "a", []byte("data"), true); !errors.Is(err, c.err) {
					t.Errorf("Put: %v, want %v", err, c.err)
				}
				left, err := inner.Get(t.Context(), "a", 0, -1)
				if string(left) != c.left || (err == nil) != (c.left != "") {
					t.Errorf("the store holds %q, %v; want %q", left, err, c.left)
				}
			})
		})
	}
}

func TestReads(t *testing.T) {
	inner := mem.New()
	for _, name := range []string{"a", "b", "c"} {
		if err := inner.Put(t.Context(), name, []byte("of "+name), false); err != nil {
			t.Fatal(err)
		}
	}
	s := faulttest.New(inner, nil)
	get := func(fault faulttest.Fault) (string, error) {
		s.Follow(faulttest.Always(fault))
		data, err := s.Get(t.Context(), "b", 0, -1)
		return string(data), err
	}
	for fault, want := range map[faulttest.Fault]string{
		faulttest.None: "of b", faulttest.Truncate: "of", faulttest.Flip: "of0b", faulttest.Other: "of c",
	} {
		if got, err := get(fault); got != want || err != nil {
			t.Errorf("fault %d: Get returned %q, %v; want %q", fault, got, err, want)
		}
	}
	if _, err := get(faulttest.Missing); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("Get of a missing object: %v", err)
	}

	list := func(fault faulttest.Fault) ([]string, error) {
		s.Follow(faulttest.Always(fault))
		return faulttest.Names(t.Context(), s, "")
	}
	if got, err := list(faulttest.Missing); err != nil || !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("List with one missing: %q, %v", got, err)
	}
	if got, err := list(faulttest.BreakOff); !errors.Is(err, blob.ErrUnavailable) || !slices.Equal(got, []string{"a"}) {
		t.Errorf("List that breaks off: %q, %v", got, err)
	}
	s.Follow(nil)
	if err := s.Put(t.Context(), "d", nil, true); err != nil {
		t.Fatal(err)
	}
	if got, err := list(faulttest.Stale); err != nil || !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("stale List: %q, %v", got, err)
	}
}

// TestEachCrash tells a story of two objects, the second of which says that the
// first is complete.
func TestEachCrash(t *testing.T) {
	tellings, endings := 0, map[string]int{}
	faulttest.EachCrash(t,
		func(*testing.T) blob.Store { return mem.New() },
		func(t *testing.T, s *faulttest.Store) error {
			tellings++
			if err := s.Put(t.Context(), "data", []byte("x"), false); err != nil {
				return err
			}
			return s.Put(t.Context(), "head", []byte("data"), true)
		},
		func(t *testing.T, left blob.Store, died bool) {
			names, err := faulttest.Names(t.Context(), left, "")
			if err != nil {
				t.Fatal(err)
			}
			if !died {
				names = append(names, "alive")
			}
			endings[strings.Join(names, " ")]++
		})
	want := map[string]int{"": 1, "data": 2, "data head": 1, "data head alive": 2}
	if tellings != 6 || !maps.Equal(endings, want) {
		t.Errorf("%d tellings ended with %v, want 6 with %v", tellings, endings, want)
	}
}

func TestDamage(t *testing.T) {
	s := mem.New()
	for _, name := range []string{"a", "b"} {
		if err := s.Put(t.Context(), name, []byte("of "+name), false); err != nil {
			t.Fatal(err)
		}
	}
	before := faulttest.Take(t, s)
	faulttest.Swap(t, s, "a", "b")
	faulttest.Shorten(t, s, "b", -1)
	faulttest.FlipBit(t, s, "b", -1)
	faulttest.Copy(t, s, "a", "c")
	faulttest.Lose(t, s, "a")
	after := faulttest.Take(t, s)
	if string(after["b"]) != "of!" || string(after["c"]) != "of b" || len(after) != 2 {
		t.Errorf("after the damage: %q", after)
	}
	if changed := before.Changed(after); len(changed) != 3 {
		t.Errorf("changed: %q", changed)
	}
	before.Restore(t, s)
	if changed := before.Changed(faulttest.Take(t, s)); changed != nil {
		t.Errorf("after the restore: %q", changed)
	}
}

func TestRandomRepeats(t *testing.T) {
	tell := func(seed uint64) (faults []faulttest.Fault) {
		script := faulttest.Random(seed, 0.5, faulttest.Before, faulttest.After)
		for range 64 {
			faults = append(faults, script(faulttest.Call{}))
		}
		return faults
	}
	if !slices.Equal(tell(1), tell(1)) || slices.Equal(tell(1), tell(2)) {
		t.Error("the faults do not depend on the seed, and on it alone")
	}
	if all := tell(3); !slices.Contains(all, faulttest.None) || !slices.Contains(all, faulttest.Before) || !slices.Contains(all, faulttest.After) {
		t.Errorf("64 calls had %v", all)
	}
}
