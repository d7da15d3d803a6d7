package image

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	now := time.Date(2026, 3, 1, 7, 0, 0, 0, time.UTC)
	const mb = 1 << 20
	raw := func(agent string, size int64, age time.Duration) Holding {
		return Holding{Agent: agent, Image: size * mb, Created: now.Add(-age)}
	}
	cold := func(agent string, size int64, age time.Duration) Holding {
		h := raw(agent, size, age)
		h.Cold = true
		return h
	}
	bad := func(h Holding, size int64) Holding { h.Bad = size * mb; return h }
	stuck := func(h Holding) Holding { h.Stuck = true; return h }
	limit := func(n int64) Limits { return Limits{Bytes: n * mb} }
	for _, c := range []struct {
		what string
		all  []Holding
		l    Limits
		want string
	}{
		{"no agents", nil, limit(1), " "},
		{"no limit", []Holding{raw("a", 700, 0), bad(raw("b", 1, 0), 9)}, Limits{}, " "},
		{"just enough", []Holding{raw("a", 700, 0)}, limit(700), " "},
		{"bad ones first, the largest", []Holding{bad(raw("a", 700, 0), 5), bad(raw("b", 1, 9), 700)}, limit(800), "b removed the bad image"},
		{"bad ones count", []Holding{bad(Holding{Agent: "a"}, 5)}, limit(1), "a removed the bad image"},
		{"then the oldest raw", []Holding{cold("a", 100, 9), raw("b", 700, 1), raw("c", 700, 5)}, limit(1400), "c compressed"},
		{"then the oldest", []Holding{cold("a", 100, 3), cold("b", 100, 5)}, limit(150), "b evicted to cold"},
		{"one that cannot be compressed", []Holding{stuck(raw("a", 700, 9)), raw("b", 700, 1)}, limit(1000), "b compressed"},
		{"goes when it is the oldest", []Holding{stuck(raw("a", 700, 9)), cold("b", 100, 1)}, limit(750), "a evicted to cold"},
		{"equals", []Holding{cold("a", 100, 3), cold("b", 100, 3)}, limit(150), "a evicted to cold"},
		{"old enough", []Holding{raw("a", 700, time.Hour), raw("b", 700, 0)}, Limits{CoolAfter: time.Hour}, "a compressed"},
		{"too young", []Holding{raw("a", 700, time.Hour-1)}, Limits{CoolAfter: time.Hour}, " "},
		{"old but cold", []Holding{cold("a", 700, 2*time.Hour)}, Limits{CoolAfter: time.Hour}, " "},
		{"old but stuck", []Holding{stuck(raw("a", 700, 2*time.Hour))}, Limits{CoolAfter: time.Hour}, " "},
	} {
		if got := Next(c.all, c.l, now); got.Agent+" "+string(got.Action) != c.want || (got.Reason == "") != (got.Action == Nothing) {
			t.Errorf("%s: %+v, want %s", c.what, got, c.want)
		}
	}
}

func TestEnforceMakesRoom(t *testing.T) {
	stores := map[string]*Store{"empty": newWorld(t, Auto).Store}
	var now time.Time
	for i, name := range []string{"a", "b", "c"} {
		w := newWorld(t, Auto)
		w.now = w.now.Add(time.Duration(i) * time.Hour)
		now = w.now
		if name == "c" {
			w.sleep(1)
			w.wake(1).Quarantine("bad")
		}
		w.sleep(2)
		stores[name] = w.Store
	}
	run := func(limit int64, want ...string) {
		t.Helper()
		steps, err := Enforce(t.Context(), stores, Limits{Bytes: limit}, now, nil)
		var got []string
		for _, s := range steps {
			got = append(got, s.Agent+" "+string(s.Action))
			if s.Freed <= 0 || s.Err != nil || s.Reason == "" {
				t.Errorf("%+v", s)
			}
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("limit %d: %v, %v; want %v", limit, got, err, want)
		}
	}
	// Each image has 8 MB raw and 3 compressed.
	run(36 << 20)
	run(28<<20, "c removed the bad image")
	run(20<<20, "a compressed")
	run(12<<20, "b compressed", "c compressed")
	run(8<<20, "a evicted to cold")
	run(1, "b evicted to cold", "c evicted to cold")
	run(1)
}

func TestWakingInterruptsCompressing(t *testing.T) {
	w := newWorld(t, Auto)
	for i := range uint64(8) {
		w.sleep(i)
		cooled := make(chan error, 1)
		go func() { cooled <- w.Cool(t.Context()) }()
		if i%2 == 1 { // sometimes amid the work, sometimes before or after
			for range i * 5000 {
				if _, err := w.Size(); err != nil {
					t.Error(err)
				}
				if len(cooled) > 0 {
					break
				}
			}
		}
		taken := w.wake(i)
		if err := <-cooled; err != nil && !errors.Is(err, ErrNone) && !strings.Contains(err.Error(), "the image is used") {
			t.Error(err)
		}
		wantErr(t, taken.Done(), nil)
		w.holds()
	}
}

func TestCompressingCanBeStopped(t *testing.T) {
	w := newWorld(t, Auto)
	w.sleep(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, w.Cool(ctx), context.Canceled)
	w.holds("image")
	w.wake(1).Done()
}

func TestDoneStopsVerify(t *testing.T) {
	w := newWorld(t, Auto)
	w.sleep(1)
	taken := w.wake(1)
	verified := make(chan error, 1)
	go func() { verified <- taken.Verify(t.Context()) }()
	wantErr(t, taken.Done(), nil)
	if err := <-verified; errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}
