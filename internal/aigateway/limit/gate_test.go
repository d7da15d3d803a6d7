package limit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func enter(t testing.TB, g *Gate, key Key) func() {
	t.Helper()
	leave, err := g.Enter(t.Context(), key)
	must(t, err)
	return leave
}

func TestGateWithoutAQueue(t *testing.T) {
	g := NewGate(GateOptions{Total: 2, PerKey: 1})
	ada, bob, eve := Key{Agent: "ada"}, Key{Agent: "bob"}, Key{Agent: "eve"}
	a := enter(t, g, ada)
	if _, err := g.Enter(t.Context(), ada); err == nil || !strings.Contains(err.Error(), "The limit of 1 calls at once") {
		t.Error(err)
	}
	b := enter(t, g, bob)
	if _, err := g.Enter(t.Context(), eve); err == nil || !strings.Contains(err.Error(), "The limit of 2 calls at once") {
		t.Error(err)
	}
	a()
	a() // once is enough
	enter(t, g, eve)()
	b()
	if r, w := g.Load(); r != 0 || w != 0 || len(g.keys) != 0 {
		t.Errorf("%d run, %d wait, %d keys", r, w, len(g.keys))
	}
}

// Ada asks for five at once, then bob for one. After the one that runs comes ada's
// first, then bob, then the rest of ada's.
func TestGateIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{Total: 1, Queue: 10, QueuePerKey: 4})
		leave := enter(t, g, Key{Agent: "first"})
		var mu sync.Mutex
		var order []string
		queue := func(agent string, n int) {
			go func() {
				done, err := g.Enter(t.Context(), Key{Agent: agent})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					order = append(order, fmt.Sprintf("%s%d refused", agent, n))
					return
				}
				order = append(order, fmt.Sprintf("%s%d", agent, n))
				go done()
			}()
			synctest.Wait()
		}
		for n := range 5 {
			queue("ada", n)
		}
		queue("bob", 0)
		leave()
		synctest.Wait()
		want := "ada4 refused ada0 bob0 ada1 ada2 ada3"
		if got := strings.Join(order, " "); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func TestGateWaitsNoLongerThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(GateOptions{Total: 1, Queue: 10, Wait: 3 * time.Second})
		leave := enter(t, g, Key{})
		start := time.Now()
		_, err := g.Enter(t.Context(), Key{})
		if !errors.As(err, new(*Limited)) || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := g.Enter(ctx, Key{Agent: "ada"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if r, w := g.Load(); r != 1 || w != 0 || len(g.turns) != 0 {
			t.Errorf("%d run, %d wait", r, w)
		}
		leave()
		if _, err := g.Enter(ctx, Key{}); err == nil {
			t.Error("a context that is over got in")
		}
		if len(g.keys) != 0 {
			t.Errorf("%d keys are left", len(g.keys))
		}
	})
}

func TestGateInParallel(t *testing.T) {
	g := NewGate(GateOptions{Total: 5, PerKey: 2, Queue: 50, QueuePerKey: 20})
	var all sync.WaitGroup
	var running, got, refused, gone atomic.Int64
	var perKey [4]atomic.Int64
	for i := range 1000 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			k := rnd.IntN(len(perKey))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if rnd.IntN(3) == 0 {
				go cancel()
			}
			leave, err := g.Enter(ctx, Key{Agent: fmt.Sprint(k)})
			switch {
			case errors.As(err, new(*Limited)):
				refused.Add(1)
				return
			case err != nil:
				gone.Add(1)
				return
			}
			if n := running.Add(1); n > 5 {
				t.Errorf("%d at once", n)
			}
			if n := perKey[k].Add(1); n > 2 {
				t.Errorf("%d of one key at once", n)
			}
			perKey[k].Add(-1)
			running.Add(-1)
			got.Add(1)
			leave()
		})
	}
	all.Wait()
	if sum := got.Load() + refused.Load() + gone.Load(); sum != 1000 || got.Load() == 0 {
		t.Errorf("%d got in, %d refused, %d gone", got.Load(), refused.Load(), gone.Load())
	}
	if r, w := g.Load(); r != 0 || w != 0 || len(g.keys) != 0 || len(g.turns) != 0 {
		t.Errorf("left: %d run, %d wait, %d keys, %d turns", r, w, len(g.keys), len(g.turns))
	}
}

func BenchmarkGate(b *testing.B) {
	g := NewGate(GateOptions{Total: 64, PerKey: 64, Queue: 64})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			leave, err := g.Enter(b.Context(), Key{Agent: "ada"})
			if err != nil {
				b.Error(err)
				return
			}
			leave()
		}
	})
}
