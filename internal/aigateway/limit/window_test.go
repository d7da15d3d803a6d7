package limit

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func window(t testing.TB, c *clock, r Rate, keys int) *Window {
	t.Helper()
	w, err := NewWindow(WindowOptions{Rate: r, Keys: keys, Now: c.Now})
	must(t, err)
	return w
}

func take(t testing.TB, w *Window, key Key, tokens int64) *Ticket {
	t.Helper()
	ticket, err := w.Take(key, tokens)
	must(t, err)
	return ticket
}

func TestFixedWindow(t *testing.T) {
	c := newClock()
	w := window(t, c, Rate{Requests: 2, Per: time.Minute}, 0)
	ada, bob := Key{Agent: "ada"}, Key{Agent: "bob"}
	c.add(50 * time.Second)
	take(t, w, ada, 0).Done(0)
	take(t, w, ada, 0).Done(0)
	_, err := w.Take(ada, 0)
	if got := wait(t, err); got != 10*time.Second {
		t.Errorf("retry after %v, want 10s: the window ends then", got)
	}
	if want := "The limit of 2 requests in 1m0s is reached. Try again in 10s."; err.Error() != want {
		t.Errorf("%s, want %s", err, want)
	}
	take(t, w, bob, 0).Done(0)
	c.add(10*time.Second - 1)
	if _, err := w.Take(ada, 0); wait(t, err) != 1 {
		t.Error(err)
	}
	c.add(1)
	take(t, w, ada, 0).Done(0)
}

// A sliding window of a minute has slots of a second. What is taken at 50.5 s leaves
// it when second 50 is a minute ago altogether: at 111 s.
func TestSlidingWindow(t *testing.T) {
	c := newClock()
	w := window(t, c, Rate{Requests: 2, Per: time.Minute, Sliding: true}, 0)
	c.add(50500 * time.Millisecond)
	take(t, w, Key{}, 0).Done(0)
	c.add(9 * time.Second) // 59.5
	take(t, w, Key{}, 0).Done(0)
	c.add(time.Second) // 60.5: a fixed one would begin anew
	_, err := w.Take(Key{}, 0)
	if got := wait(t, err); got != 50500*time.Millisecond {
		t.Errorf("retry after %v, want 50.5s", got)
	}
	c.add(50500*time.Millisecond - 1)
	if _, err := w.Take(Key{}, 0); err == nil {
		t.Error("a moment before is too early")
	}
	c.add(1)
	take(t, w, Key{}, 0)
	_, err = w.Take(Key{}, 0) // at 111: the one of 59.5 leaves at 120
	if got := wait(t, err); got != 9*time.Second {
		t.Errorf("retry after %v, want 9s", got)
	}
}

func TestTokensAreEstimatedAndThenCharged(t *testing.T) {
	c := newClock()
	w := window(t, c, Rate{Tokens: 100, Per: time.Minute}, 0)
	a := take(t, w, Key{}, 60)
	if _, err := w.Take(Key{}, 41); wait(t, err) != time.Minute {
		t.Error(err)
	}
	a.Done(20)
	a.Done(90)                 // only the first counts
	b := take(t, w, Key{}, 80) // 20 + 80
	b.Done(95)                 // 15 more than was estimated
	if _, err := w.Take(Key{}, 0); err == nil || !strings.Contains(err.Error(), "100 tokens") {
		t.Errorf("115 of 100 are used: %v", err)
	}
	c.add(time.Minute)
	d := take(t, w, Key{}, 100)
	d.Cancel()
	e := take(t, w, Key{}, 100)
	c.add(90 * time.Second) // it ends two windows later: what it was less belongs to its own
	e.Done(150)             // and what it was more to the present one
	take(t, w, Key{}, 50)
	if _, err := w.Take(Key{}, 1); wait(t, err) != 30*time.Second {
		t.Error(err)
	}
	var l *Limited
	if _, err := w.Take(Key{}, 101); !errors.As(err, &l) || !l.Never {
		t.Errorf("more than there ever is: %v", err)
	}
}

// New names are no way around a limit, whatever is evicted.
func TestManyKeysDoNotEscape(t *testing.T) {
	c := newClock()
	w := window(t, c, Rate{Requests: 3, Per: time.Minute}, 10)
	admitted := 0
	for i := range 1000 {
		if tk, err := w.Take(Key{Agent: fmt.Sprint(i)}, 0); err == nil {
			tk.Done(0)
			admitted++
		}
	}
	// 10 keys have a count, and all others share one of 3.
	if admitted != 13 || len(w.keys) != 10 {
		t.Fatalf("%d admitted with %d keys, want 13 with 10", admitted, len(w.keys))
	}
	if _, err := w.Take(Key{Agent: "0"}, 0); err != nil {
		t.Errorf("key 0 has its own count still: %v", err)
	}
	if _, err := w.Take(Key{Agent: "999"}, 0); err == nil {
		t.Error("key 999 got a count of its own")
	}
	c.add(time.Minute)
	for i := range 13 {
		for range 3 {
			take(t, w, Key{Agent: fmt.Sprintf("later %d", i/13)}, 0).Done(0)
		}
		c.add(time.Minute)
	}
	if len(w.keys) > 10 || w.recent.Len() != len(w.keys) {
		t.Errorf("%d keys", len(w.keys))
	}
}

// A call that takes long keeps its own key, and not those that are empty.
func TestALongCallDoesNotKeepOthersOut(t *testing.T) {
	c := newClock()
	w := window(t, c, Rate{Requests: 1, Per: time.Minute}, 2)
	long := take(t, w, Key{Agent: "long"}, 0)
	take(t, w, Key{Agent: "a"}, 0).Done(0)
	c.add(time.Minute)
	take(t, w, Key{Agent: "b"}, 0).Done(0)
	take(t, w, Key{Agent: "c"}, 0).Done(0) // the two have places, so this shares
	if _, err := w.Take(Key{Agent: "d"}, 0); err == nil {
		t.Error("c and d share one request")
	}
	long.Done(5)
}

func TestAClockThatIsSetBack(t *testing.T) {
	c := newClock()
	w := window(t, c, Rate{Requests: 1, Per: time.Minute}, 0)
	c.add(time.Hour)
	take(t, w, Key{}, 0).Done(0)
	c.add(-30 * time.Minute)
	if _, err := w.Take(Key{}, 0); wait(t, err) != time.Minute {
		t.Error(err)
	}
}

func TestWhatIsNoRate(t *testing.T) {
	for _, r := range []Rate{{}, {Requests: 1}, {Per: time.Minute}, {Requests: -1, Tokens: 5, Per: time.Minute}, {Requests: 1, Per: time.Millisecond}, {Requests: 1, Per: 1 << 62}} {
		if _, err := NewWindow(WindowOptions{Rate: r}); err == nil {
			t.Errorf("%+v was taken", r)
		}
	}
}

// In no stretch of time as long as the window are there more than the limit, and after
// RetryAfter there is always room.
func TestSlidingWindowAgainstAList(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		c := newClock()
		w := window(t, c, Rate{Requests: 5, Tokens: 100, Per: 7 * time.Second, Sliding: true}, 0)
		type event struct {
			at     time.Time
			tokens int64
		}
		var log []event
		for range 500 {
			c.add(time.Duration(rnd.Int64N(int64(2 * time.Second))))
			n := rnd.Int64N(60)
			tk, err := w.Take(Key{}, n)
			if err != nil {
				c.add(wait(t, err))
				if tk, err = w.Take(Key{}, n); err != nil {
					t.Fatalf("seed %d: no room when it was promised: %v", seed, err)
				}
			}
			tk.Done(n)
			log = append(log, event{c.Now(), n})
			count, tokens := 0, int64(0)
			for _, e := range log {
				if c.Now().Sub(e.at) < 7*time.Second {
					count, tokens = count+1, tokens+e.tokens
				}
			}
			if count > 5 || tokens > 100 {
				t.Fatalf("seed %d: %d requests and %d tokens in 7 s", seed, count, tokens)
			}
		}
	}
}

func TestWindowInParallel(t *testing.T) {
	w := window(t, newClock(), Rate{Requests: 500, Tokens: 100_000, Per: time.Minute}, 4)
	var all sync.WaitGroup
	var admitted atomic.Int64
	for i := range 1000 {
		all.Go(func() {
			if tk, err := w.Take(Key{}, int64(i%7)); err == nil {
				admitted.Add(1)
				tk.Done(int64(i % 5))
			}
		})
	}
	all.Wait()
	if admitted.Load() != 500 {
		t.Errorf("%d admitted, want 500", admitted.Load())
	}
}

func BenchmarkWindow(b *testing.B) {
	w, err := NewWindow(WindowOptions{Rate: Rate{Requests: 1 << 40, Tokens: 1 << 50, Per: time.Minute, Sliding: true}})
	must(b, err)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			t, err := w.Take(Key{Agent: "ada", Provider: "anthropic"}, 1000)
			if err != nil {
				b.Error(err)
				return
			}
			t.Done(900)
		}
	})
}
