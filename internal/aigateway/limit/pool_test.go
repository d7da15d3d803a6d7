package limit

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func pool(t testing.TB, c *clock, sticky bool, keys ...PoolKey) *Pool {
	t.Helper()
	x := 0.0
	p, err := NewPool(PoolOptions{Provider: "anthropic", Keys: keys, Sticky: sticky, Now: c.Now, Random: func() float64 {
		x = math.Mod(x+0.618033988749895, 1) // spread evenly
		return x
	}})
	must(t, err)
	return p
}

func pick(t testing.TB, p *Pool, agent string, tried ...string) string {
	t.Helper()
	name, err := p.Pick(agent, tried...)
	must(t, err)
	return name
}

// shares counts what ten thousand agents get.
func shares(t testing.TB, p *Pool) map[string]int {
	out := map[string]int{}
	for i := range 10_000 {
		out[pick(t, p, fmt.Sprint("agent-", i))]++
	}
	return out
}

func TestWeights(t *testing.T) {
	for _, sticky := range []bool{false, true} {
		got := shares(t, pool(t, newClock(), sticky, PoolKey{"a", 1}, PoolKey{"b", 2}, PoolKey{"c", 7}))
		for name, want := range map[string]int{"a": 1000, "b": 2000, "c": 7000} {
			if d := got[name] - want; d < -150 || d > 150 { // four standard deviations of b and c are 183 and less
				t.Errorf("sticky %v: %s got %d, want about %d", sticky, name, got[name], want)
			}
		}
	}
}

// When a key cools its agents go to others, nobody else moves, and they come back.
func TestStickyMovesNoMoreThanItMust(t *testing.T) {
	c := newClock()
	p := pool(t, c, true, PoolKey{Name: "a"}, PoolKey{Name: "b"}, PoolKey{Name: "c"})
	before := map[string]string{}
	for i := range 300 {
		agent := fmt.Sprint(i)
		before[agent] = pick(t, p, agent)
	}
	p.Report("b", 429, time.Minute)
	moved := map[string]int{}
	for agent, was := range before {
		now := pick(t, p, agent)
		if now == "b" || was != "b" && now != was {
			t.Fatalf("agent %s went from %s to %s", agent, was, now)
		}
		if was == "b" {
			moved[now]++
		}
	}
	if moved["a"] == 0 || moved["c"] == 0 {
		t.Errorf("all of b's agents went to one key: %v", moved)
	}
	c.add(time.Minute)
	for agent, was := range before {
		if now := pick(t, p, agent); now != was {
			t.Fatalf("agent %s did not come back to %s but is at %s", agent, was, now)
		}
	}
}

func TestKeysCoolDown(t *testing.T) {
	for _, k := range []struct {
		status int
		after  time.Duration
		want   time.Duration
	}{
		{429, 30 * time.Second, 30 * time.Second}, {429, 0, 2 * time.Second}, {429, 99 * time.Hour, time.Hour},
		{401, 0, 10 * time.Minute}, {402, 0, time.Hour}, {200, time.Minute, 0}, {500, time.Minute, 0}, {400, 0, 0},
	} {
		c := newClock()
		p := pool(t, c, false, PoolKey{Name: "a"})
		p.Report("a", k.status, k.after)
		p.Report("nobody", 429, time.Hour)
		_, err := p.Pick("ada")
		if k.want == 0 {
			must(t, err)
			continue
		}
		if got := wait(t, err); got != k.want {
			t.Errorf("%d: %v, want %v", k.status, got, k.want)
		}
		c.add(k.want - 1)
		if _, err := p.Pick("ada"); err == nil {
			t.Errorf("%d: too early", k.status)
		}
		c.add(1)
		pick(t, p, "ada")
	}
}

func TestLimitsInARowCoolLonger(t *testing.T) {
	c := newClock()
	p := pool(t, c, false, PoolKey{Name: "a"})
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		p.Report("a", 429, 0)
		_, err := p.Pick("")
		if got := wait(t, err); got != want*time.Second {
			t.Fatalf("%v, want %v", got, want*time.Second)
		}
		c.add(want * time.Second)
	}
	p.Report("a", 200, 0)
	p.Report("a", 429, 0)
	if _, err := p.Pick(""); wait(t, err) != 2*time.Second {
		t.Error(err)
	}
}

func TestLeastRecentlyLimitedFirst(t *testing.T) {
	c := newClock()
	p := pool(t, c, false, PoolKey{Name: "a"}, PoolKey{Name: "b"}, PoolKey{Name: "c"})
	for _, name := range []string{"b", "a", "c"} {
		p.Report(name, 429, time.Second)
		c.add(time.Second)
	}
	for tried, want := range map[string]string{"": "b", "b": "a"} {
		if got := pick(t, p, "x", tried); got != want {
			t.Errorf("without %q: %s, want %s", tried, got, want)
		}
	}
	c.add(rememberFor - time.Second) // c's limit ended now minus that and a second
	p.Report("a", 429, time.Second)
	if got := pick(t, p, "x"); got == "a" {
		t.Error("a cools")
	}
	c.add(time.Second)
	for range 50 { // b and c are forgiven, a is not
		if got := pick(t, p, "x"); got == "a" {
			t.Fatal("a was limited just now")
		}
	}
}

func TestNoKeyIsLeft(t *testing.T) {
	c := newClock()
	p := pool(t, c, true, PoolKey{Name: "main"}, PoolKey{Name: "spare"}, PoolKey{Name: "old"}, PoolKey{Name: "x"})
	p.Report("main", 429, 90*time.Second)
	p.Report("spare", 402, 0)
	p.Report("old", 401, 0)
	_, err := p.Pick("ada", "x")
	want := `No key of anthropic can be used now: key "main" is over its limit, key "spare" has no credit left, key "old" is not accepted, key "x" was tried. Try again in 1s.`
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	must(t, p.SetKeys([]PoolKey{{Name: "main"}, {Name: "spare"}}))
	if _, err := p.Pick("ada"); wait(t, err) != 90*time.Second || !strings.Contains(err.Error(), "Try again in 1m30s") {
		t.Errorf("what is known goes on under the name: %v", err)
	}
	if s := p.State(); len(s) != 2 || s[1].Status != 402 || s[1].RetryAfter != time.Hour {
		t.Errorf("%+v", s)
	}
	for _, bad := range [][]PoolKey{nil, {{Name: ""}}, {{Name: "a"}, {Name: "a"}}, {{"a", -1}}, {{"a", maxWeight + 1}}} {
		if err := p.SetKeys(bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func BenchmarkPool(b *testing.B) {
	for _, sticky := range []bool{false, true} {
		b.Run(fmt.Sprintf("sticky=%v", sticky), func(b *testing.B) {
			p := pool(b, newClock(), sticky, PoolKey{Name: "a"}, PoolKey{Name: "b"}, PoolKey{Name: "c"})
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Pick("ada"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
