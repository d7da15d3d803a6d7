package retry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/blobtest"
	"github.com/moltworker/moltworker/internal/blob/faulttest"
	"github.com/moltworker/moltworker/internal/blob/mem"
	"github.com/moltworker/moltworker/internal/blob/retry"
)

func TestStore(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return retry.New(mem.New(), retry.Options{}) })
}

// TestStoreOnABadLine runs the contract's suite on a store that fails every third
// time, before or after it has done what was asked.
func TestStoreOnABadLine(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store {
		random := faulttest.Random(1, 0.3, faulttest.Before, faulttest.After)
		bad := faulttest.New(mem.New(), func(c faulttest.Call) faulttest.Fault {
			if f := random(c); f != faulttest.Before || !c.IfAbsent {
				return f
			}
			return faulttest.None // the suite writes the same bytes twice: see TestUncertainWrite
		})
		return retry.New(bad, retry.Options{Tries: 100, First: time.Microsecond, Most: time.Microsecond})
	})
}

func TestWaitsGrowToACap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		s := retry.New(faulttest.New(mem.New(), faulttest.Always(faulttest.Before)), retry.Options{
			Tries: 6, First: time.Second, Most: 5 * time.Second,
			Rand:    func() float64 { return 0.5 },
			Waiting: func(_ error, d time.Duration) { waits = append(waits, d) },
		})
		began := time.Now()
		err := s.Put(t.Context(), "a", nil, false)
		if !errors.Is(err, blob.ErrUnavailable) || !strings.Contains(err.Error(), "tried 6 times") {
			t.Errorf("Put: %v", err)
		}
		want := []time.Duration{750 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second, 3750 * time.Millisecond, 3750 * time.Millisecond}
		if !slices.Equal(waits, want) || time.Since(began) != 12750*time.Millisecond {
			t.Errorf("waited %v, %v in all; want %v", waits, time.Since(began), want)
		}
	})
}

func TestOnlyUnavailableIsTriedAgain(t *testing.T) {
	denied := func(faulttest.Call) faulttest.Fault { return faulttest.Denied }
	bad := faulttest.New(mem.New(), denied)
	if err := retry.New(bad, retry.Options{}).Put(t.Context(), "a", nil, true); !errors.Is(err, blob.ErrDenied) {
		t.Errorf("Put: %v, want ErrDenied", err)
	}
	if n := len(bad.Calls()); n != 1 {
		t.Errorf("it was tried %d times", n)
	}
}

func TestNobodyWaitsForWhoIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := retry.New(faulttest.New(mem.New(), faulttest.Always(faulttest.Before)), retry.Options{First: time.Minute})
		_, err := s.Get(ctx, "a", 0, -1)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, blob.ErrUnavailable) {
			t.Errorf("Get: %v, want the deadline's error only", err)
		}
	})
}

// TestUncertainWrite is about a Put with ifAbsent whose success was not heard of.
func TestUncertainWrite(t *testing.T) {
	for name, c := range map[string]struct {
		first  faulttest.Fault
		others string // what somebody else puts there first
		want   error
	}{
		"it was written":               {faulttest.After, "", nil},
		"it was not written":           {faulttest.Before, "", nil},
		"somebody else had written":    {faulttest.Before, "theirs", blob.ErrExists},
		"another began the same way":   {faulttest.Before, "ours and more", blob.ErrExists},
		"somebody else wrote the same": {faulttest.Before, "ours", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := mem.New()
				if c.others != "" {
					if err := inner.Put(t.Context(), "head", []byte(c.others), true); err != nil {
						t.Fatal(err)
					}
				}
				s := retry.New(faulttest.New(inner, faulttest.Nth(faulttest.Put, 1, c.first)), retry.Options{})
				if err := s.Put(t.Context(), "head", []byte("ours"), true); !errors.Is(err, c.want) {
					t.Errorf("Put: %v, want %v", err, c.want)
				}
			})
		})
	}
	// Without an uncertain try before, the same bytes are no excuse.
	s := retry.New(mem.New(), retry.Options{})
	for _, want := range []error{nil, blob.ErrExists} {
		if err := s.Put(t.Context(), "head", []byte("same"), true); !errors.Is(err, want) {
			t.Errorf("Put: %v, want %v", err, want)
		}
	}
}

func TestListGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := mem.New()
		var want []string
		for i := range 30 {
			want = append(want, fmt.Sprintf("a/%02d", i))
			if err := inner.Put(t.Context(), want[i], nil, false); err != nil {
				t.Fatal(err)
			}
		}
		s := retry.New(&stuttering{Store: inner}, retry.Options{Tries: 2})
		var got []string
		if err := s.List(t.Context(), "a/", func(i blob.Info) error { got = append(got, i.Name); return nil }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("List shows %q", got)
		}
		// What f says is not the store's word.
		calls := 0
		err := s.List(t.Context(), "a/", func(blob.Info) error { calls++; return blob.ErrUnavailable })
		if err != blob.ErrUnavailable || calls != 1 {
			t.Errorf("List: %v after %d calls", err, calls)
		}
	})
}

// stuttering is a store whose every List breaks off, three objects later each time.
type stuttering struct {
	blob.Store
	reach int
}

func (s *stuttering) List(ctx context.Context, prefix string, f func(blob.Info) error) error {
	s.reach += 3
	n := 0
	return s.Store.List(ctx, prefix, func(i blob.Info) error {
		if n++; n > s.reach {
			return blob.ErrUnavailable
		}
		return f(i)
	})
}
