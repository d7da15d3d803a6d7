package cache

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

func TestFollowersReadAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Options{Dir: t.TempDir()})
		defer s.Close()
		f := NewFlight(2, time.Second)
		lead, _ := f.Join(keyFor(1))
		got := make([]string, 2)
		var all sync.WaitGroup
		for i := range got {
			_, w := f.Join(keyFor(1))
			all.Go(func() {
				a, ok := w.Begin(t.Context())
				if !ok || a.Status != 200 {
					t.Error("the follower goes its own way")
					return
				}
				for {
					p, err := w.Next(t.Context())
					if err == io.EOF {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					got[i] += string(p) + "|"
				}
			})
		}
		if l, w := f.Join(keyFor(1)); l != nil || w != nil {
			t.Error("a third follower")
		}
		if l, _ := f.Join(keyFor(2)); l == nil {
			t.Error("another key has no leader of its own")
		}
		r := s.Record(keyFor(1), ada, answer, time.Hour)
		lead.Begin(r)
		for _, p := range []string{"one", "two"} {
			r.Write([]byte(p))
			synctest.Wait() // so it is read before the next comes
		}
		r.Commit(usage.Usage{})
		lead.Release()
		all.Wait()
		if got[0] != "one|two|" || got[1] != got[0] {
			t.Errorf("%q", got)
		}
		if l, _ := f.Join(keyFor(1)); l == nil {
			t.Error("the flight is not over")
		}
	})
}

func TestFollowersGoTheirOwnWay(t *testing.T) {
	for name, c := range map[string]struct {
		lead  func(*Store, *Lead)
		began bool
		err   error
	}{
		"failed before": {lead: func(_ *Store, l *Lead) { l.Release(); l.Release() }},
		"not recorded":  {lead: func(_ *Store, l *Lead) { l.Begin(nil) }},
		"silent":        {lead: func(*Store, *Lead) {}},
		"broke off": {began: true, err: ErrBroken, lead: func(s *Store, l *Lead) {
			r := s.Record(l.key, ada, answer, time.Hour)
			l.Begin(r)
			r.Write([]byte("half"))
			synctest.Wait()
			r.Discard()
			l.Release()
		}},
		"forgot to end": {began: true, err: ErrBroken, lead: func(s *Store, l *Lead) {
			r := s.Record(l.key, ada, answer, time.Hour)
			l.Begin(r)
			synctest.Wait()
			l.Release()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := open(t, Options{Dir: t.TempDir()})
				defer s.Close()
				f := NewFlight(1, time.Second)
				lead, _ := f.Join(keyFor(1))
				_, w := f.Join(keyFor(1))
				var began bool
				var err error
				var all sync.WaitGroup
				all.Go(func() {
					if _, began = w.Begin(t.Context()); began {
						for err == nil {
							_, err = w.Next(t.Context())
						}
					}
				})
				c.lead(s, lead)
				all.Wait()
				if began != c.began || !errors.Is(err, c.err) {
					t.Errorf("began %v, %v", began, err)
				}
			})
		})
	}
}

func TestFollowerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, Options{Dir: t.TempDir()})
		defer s.Close()
		f := NewFlight(1, time.Hour)
		lead, _ := f.Join(keyFor(1))
		ctx, cancel := context.WithCancel(t.Context())
		_, w := f.Join(keyFor(1))
		cancel()
		if _, ok := w.Begin(ctx); ok {
			t.Error("it follows")
		}
		_, w = f.Join(keyFor(1))
		if w == nil {
			t.Fatal("its place is still taken")
		}
		lead.Begin(s.Record(keyFor(1), ada, answer, time.Hour))
		if _, ok := w.Begin(t.Context()); !ok {
			t.Fatal("it does not follow")
		}
		if _, err := w.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		lead.Release()
	})
}
