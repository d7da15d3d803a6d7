package limit

import (
	"net/http"
	"testing"
	"time"
)

func TestBackoffHeaders(t *testing.T) {
	def := Backoff{Tries: 1, Delay: 300 * time.Millisecond, Growth: Linear}
	for _, c := range []struct {
		attempts, delay, growth string
		want                    Backoff
		bad                     bool
	}{
		{"", "", "", def, false},
		{"3", "", "", Backoff{3, 300 * time.Millisecond, Linear}, false},
		{"5", "2000", "exponential", Backoff{5, 2 * time.Second, Exponential}, false},
		{"6", "5001", "constant", Backoff{5, 5 * time.Second, Constant}, false},
		{"0", "0", "", Backoff{0, 0, Linear}, false},
		{"4611686018427387903", "4611686018427387903", "", Backoff{5, 5 * time.Second, Linear}, false},
		{"99999999999999999999", "", "", def, true},
		{"-1", "", "", def, true},
		{"", "1.5", "", def, true},
		{"", "1s", "", def, true},
		{"", "", "Exponential", def, true},
	} {
		got, err := ParseBackoff(c.attempts, c.delay, c.growth, def)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%q %q %q: %+v, %v; want %+v", c.attempts, c.delay, c.growth, got, err, c.want)
		}
	}
	if b, _ := ParseBackoff("2", "", "", Backoff{}); b.Delay != time.Second {
		t.Errorf("%+v", b)
	}
}

func TestBackoffGrows(t *testing.T) {
	for growth, want := range map[Growth][]time.Duration{
		"":          {2, 2, 2, 2, 2},
		Constant:    {2, 2, 2, 2, 2},
		Linear:      {2, 4, 6, 8, 10},
		Exponential: {2, 4, 8, 16, 30}, // 32 is more than may be
	} {
		b := Backoff{Tries: 9, Delay: 2 * time.Second, Growth: growth}
		for i, w := range want {
			for _, chance := range []float64{0, 0.5, 1} {
				got, ok := b.Wait(i+1, 0, chance)
				if want := time.Duration(float64(w*time.Second) * chance); !ok || got != want {
					t.Errorf("%s, try %d, chance %v: %v, want %v", growth, i+1, chance, got, want)
				}
			}
		}
		for _, try := range []int{-1, 0, 6} {
			if _, ok := b.Wait(try, 0, 0); ok {
				t.Errorf("try %d", try)
			}
		}
	}
	b := Backoff{Tries: 2, Delay: time.Second}
	if got, ok := b.Wait(1, 7*time.Second, 0.25); !ok || got != 7250*time.Millisecond {
		t.Errorf("after Retry-After of 7 s: %v, want 7.25 s", got)
	}
	if _, ok := b.Wait(1, 31*time.Second, 0); ok {
		t.Error("waits for more than half a minute")
	}
	if _, ok := b.Wait(3, 0, 0); ok {
		t.Error("a third try of two")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"0": 0, "120": 2 * time.Minute, " 7 ": 7 * time.Second, "86401": maxRetryAfter,
		"99999999999999999999999999":       maxRetryAfter,
		"Thu, 15 Jan 2026 12:00:30 GMT":    30 * time.Second,
		"Thursday, 15-Jan-26 12:01:00 GMT": time.Minute,
		"Thu Jan 15 12:02:00 2026":         2 * time.Minute,
		"Thu, 15 Jan 2026 11:00:00 GMT":    0,
		"Thu, 15 Jan 2099 12:00:00 GMT":    maxRetryAfter,
		"":                                 -1, "-1": -1, "1.5": -1, "soon": -1, "Thu, 15 Jan 2026": -1, "1, 2": -1,
	} {
		got, ok := RetryAfter(value, now)
		if ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v %v, want %v", value, got, ok, want)
		}
	}
	for d, want := range map[time.Duration]int64{0: 1, 1: 1, time.Second: 1, time.Second + 1: 2, 1<<63 - 1: 9223372036} {
		if got := Seconds(d); got != want {
			t.Errorf("Seconds(%v) is %d, want %d", d, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	for _, s := range []string{"1", "99999999999999999999", now.Format(http.TimeFormat), "Thu Jan 15 12:02:00 2026", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := RetryAfter(s, now); d < 0 || d > maxRetryAfter || !ok && d != 0 {
			t.Fatalf("%q: %v %v", s, d, ok)
		}
		b, err := ParseBackoff(s, s, s, Backoff{})
		if err == nil && (b.Tries > maxTries || b.Delay > maxDelay) {
			t.Fatalf("%q: %+v", s, b)
		}
	})
}
