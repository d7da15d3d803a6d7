package pace_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/blobtest"
	"github.com/moltworker/moltworker/internal/blob/mem"
	"github.com/moltworker/moltworker/internal/blob/pace"
)

const mebibyte = 1 << 20

func TestStore(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return pace.New(mem.New(), 1<<40) })
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pace.New(mem.New(), mebibyte)
		began := time.Now()
		for range 4 {
			if err := s.Put(t.Context(), "a", make([]byte, 2*mebibyte), false); err != nil {
				t.Fatal(err)
			}
		}
		// A quarter of a second's worth is there at the start.
		if took := time.Since(began); took < 7700*time.Millisecond || took > 7800*time.Millisecond {
			t.Errorf("8 MiB up at 1 MiB/s took %v", took)
		}
		began = time.Now()
		for range 2 {
			if data, err := s.Get(t.Context(), "a", 0, mebibyte); err != nil || len(data) != mebibyte {
				t.Fatal(len(data), err)
			}
		}
		if took := time.Since(began); took < 1700*time.Millisecond || took > 1800*time.Millisecond {
			t.Errorf("2 MiB down at 1 MiB/s took %v", took)
		}
	})
}

func TestSmallObjectsPassLargeOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pace.New(mem.New(), mebibyte)
		large := make(chan error, 1)
		go func() { large <- s.Put(context.WithoutCancel(t.Context()), "large", make([]byte, 20*mebibyte), false) }()
		synctest.Wait()
		if err := s.Put(t.Context(), "small", []byte("x"), false); err != nil {
			t.Fatal(err)
		}
		select {
		case <-large:
			t.Error("the large object was done before the small one")
		default:
		}
		if err := <-large; err != nil {
			t.Error(err)
		}
	})
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := mem.New()
		s := pace.New(inner, 1000)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Put(ctx, "a", make([]byte, mebibyte), false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Put: %v, want DeadlineExceeded", err)
		}
		if _, err := inner.Stat(t.Context(), "a"); !errors.Is(err, blob.ErrNotFound) {
			t.Errorf("it was written nevertheless: %v", err)
		}
	})
}

func TestNoLimit(t *testing.T) {
	if inner := mem.New(); pace.New(inner, 0) != blob.Store(inner) {
		t.Error("a store without a limit is wrapped")
	}
}
