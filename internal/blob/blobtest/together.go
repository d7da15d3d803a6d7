package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/moltworker/moltworker/internal/blob"
)

func ifAbsent(t *testing.T, s blob.Store) {
	if err := s.Put(t.Context(), "a/b", []byte("first"), true); err != nil {
		t.Fatalf("Put where nothing is: %v", err)
	}
	for _, data := range []string{"second", "first"} {
		if err := s.Put(t.Context(), "a/b", []byte(data), true); !errors.Is(err, blob.ErrExists) {
			t.Errorf("Put where something is: %v, want ErrExists", err)
		}
	}
	mustGet(t, s, "a/b", []byte("first"))
	if err := s.Delete(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a/b", []byte("third"), true); err != nil {
		t.Errorf("Put where nothing is any more: %v", err)
	}
	mustGet(t, s, "a/b", []byte("third"))
}

// racers write at once, to as many objects one after another as there are rounds.
const (
	racers = 32
	rounds = 8
)

func race(t *testing.T, s blob.Store) {
	for round := range rounds {
		name := fmt.Sprintf("race/%d/head", round)
		var winner atomic.Int64
		var wins atomic.Int64
		var all sync.WaitGroup
		start := make(chan struct{})
		for i := range racers {
			all.Go(func() {
				<-start
				switch err := s.Put(t.Context(), name, racer(i), true); {
				case err == nil:
					wins.Add(1)
					winner.Store(int64(i))
				case !errors.Is(err, blob.ErrExists):
					t.Errorf("who lost the race was told: %v, want ErrExists", err)
				}
			})
		}
		close(start)
		all.Wait()
		if wins.Load() != 1 {
			t.Fatalf("of %d who wrote at once %d won", racers, wins.Load())
		}
		mustGet(t, s, name, racer(int(winner.Load())))
	}
}

// racer is what one of the racers writes; they write different lengths.
func racer(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, 1000+i) }

// replaceRace replaces an object again and again while others read it: they see
// one or the other, whole.
func replaceRace(t *testing.T, s blob.Store) {
	put(t, s, "a/head", racer(0))
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		defer close(done)
		for i := range 50 {
			if err := s.Put(t.Context(), "a/head", racer(i%racers), false); err != nil {
				t.Errorf("Put: %v", err)
			}
		}
	})
	for range 3 {
		all.Go(func() {
			for {
				got, err := s.Get(t.Context(), "a/head", 0, -1)
				if err != nil {
					t.Errorf("Get of an object that is being replaced: %v", err)
				} else if len(got) == 0 || !bytes.Equal(got, racer(int(got[0]-'a'))) {
					t.Errorf("Get of an object that is being replaced returned a mixture of %d bytes", len(got))
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	all.Wait()
}

func tooLarge(t *testing.T, s blob.Store) {
	err := s.Put(t.Context(), "a/large", make([]byte, blob.MaxObject+1), false)
	if !errors.Is(err, blob.ErrTooLarge) {
		t.Errorf("Put of more than MaxObject: %v, want ErrTooLarge", err)
	}
	if all := list(t, s, ""); len(all) != 0 {
		t.Errorf("it left %+v", all)
	}
}

func cancelled(t *testing.T, s blob.Store) {
	put(t, s, "a/there", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, get := s.Get(ctx, "a/there", 0, -1)
	_, stat := s.Stat(ctx, "a/there")
	for call, err := range map[string]error{
		"Put":    s.Put(ctx, "a/new", []byte("x"), false),
		"PutNew": s.Put(ctx, "a/new", []byte("x"), true),
		"Get":    get,
		"Stat":   stat,
		"Delete": s.Delete(ctx, "a/there"),
		"List":   s.List(ctx, "", func(blob.Info) error { return nil }),
	} {
		if !errors.Is(err, context.Canceled) || errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("%s with a cancelled context: %v, want context.Canceled, and not as ErrUnavailable", call, err)
		}
	}
	if got := names(list(t, s, "")); len(got) != 1 || got[0] != "a/there" {
		t.Errorf("calls with a cancelled context left %q", got)
	}
}

// together works on objects of its own in many goroutines, in shared directories.
func together(t *testing.T, s blob.Store) {
	var workers []string
	for i := range 16 {
		workers = append(workers, fmt.Sprintf("w%02d", i))
	}
	each(workers, func(w string) {
		for i := range 5 {
			name := fmt.Sprintf("shared/%d/%s", i, w)
			data := noise(10_000+i, w[2])
			if err := s.Put(t.Context(), name, data, i%2 == 0); err != nil {
				t.Errorf("Put: %v", err)
			}
			if got, err := s.Get(t.Context(), name, 0, -1); err != nil || !bytes.Equal(got, data) {
				t.Errorf("Get: %d bytes, %v", len(got), err)
			}
			if i == 3 {
				if err := s.Delete(t.Context(), name); err != nil {
					t.Errorf("Delete: %v", err)
				}
			}
		}
	})
	if got := list(t, s, "shared/"); len(got) != 16*4 {
		t.Errorf("%d objects are left, want %d", len(got), 16*4)
	}
}

// each calls f for all items, 16 at a time.
func each(items []string, f func(string)) {
	queue := make(chan string)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for item := range queue {
				f(item)
			}
		})
	}
	for _, item := range items {
		queue <- item
	}
	close(queue)
	all.Wait()
}
