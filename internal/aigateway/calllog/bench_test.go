package calllog

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// someCalls makes calls as a fleet of twelve agents would make them, in order of
// time, over so long before end. Every thousandth is of the agent "rare".
func someCalls(ids *maker, n int, end time.Time, over time.Duration) func(i int) Call {
	r := rand.New(rand.NewPCG(1, 2))
	models := []string{"claude-sonnet-5-5", "claude-haiku-5-5", "gpt-6-mini", "gemini-3-pro"}
	providers := []string{"anthropic", "anthropic", "openai", "gemini"}
	triggers := []string{"user", "user", "heartbeat", "cron", "channel"}
	return func(i int) Call {
		m := r.IntN(len(models))
		c := Call{ID: ids.next(end.Add(-over + time.Duration(float64(over)*float64(i)/float64(n)))),
			Agent: fmt.Sprintf("agent-%d", r.IntN(12)), Trigger: triggers[r.IntN(len(triggers))], Provider: providers[m], Model: models[m],
			Usage:    usage.Usage{Input: int64(r.IntN(3000)), CacheRead: int64(r.IntN(90_000)), Output: int64(r.IntN(2000)), Model: models[m] + "-20260901", Known: true},
			Endpoint: "/v1/messages", Status: 200, Stream: true, Cost: price.Money(r.Int64N(int64(price.Dollar / 10))), CostKnown: true,
			Took: time.Duration(r.IntN(20_000)) * time.Millisecond, FirstByte: time.Duration(1+r.IntN(2000)) * time.Millisecond,
			Attempts: 1, Cache: "miss", Key: "default", RequestBytes: int64(r.IntN(300_000)), ResponseBytes: int64(r.IntN(20_000)),
			Metadata: map[string]string{"run": strconv.Itoa(i)}}
		if r.IntN(50) == 0 {
			c.Status, c.Error = 529, "overloaded"
		}
		if i%1000 == 0 {
			c.Agent = "rare"
		}
		return c
	}
}

// BenchmarkLog tells what the log does at a size: BENCH_ROWS=10000000 go test -run - -bench Log -timeout 1h.
// BENCH_DIR is where the file is left, and found again.
func BenchmarkLog(b *testing.B) {
	n, _ := strconv.Atoi(os.Getenv("BENCH_ROWS"))
	if n == 0 {
		n = 100_000
	}
	dir := os.Getenv("BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	ctx := context.Background()
	end := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	l, err := Open(ctx, Options{Path: filepath.Join(dir, "calls.sqlite"), MaxCalls: 1 << 40, MaxBytes: 1 << 40, Now: func() time.Time { return end }})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if have := int(l.Stats().Calls); have < n {
		fillLog(b, l, n, end)
	}
	if info, err := os.Stat(l.opts.Path); err == nil {
		say("%d rows, file %d MB, %d bytes a row", l.Stats().Calls, info.Size()>>20, info.Size()/l.Stats().Calls)
	}
	page, err := l.List(ctx, Filter{}, ID{}, 1)
	if err != nil {
		b.Fatal(err)
	}
	middle := makeID(keyAt(end.Add(-45*24*time.Hour)), 0)
	month := Query{From: end.AddDate(0, 0, -30), To: end}
	list := func(f Filter, before ID) func() error {
		return func() error {
			p, err := l.List(ctx, f, before, 50)
			if err == nil && len(p.Calls) == 0 && p.Next.IsZero() {
				err = fmt.Errorf("nothing found")
			}
			return err
		}
	}
	for _, q := range []struct {
		name string
		do   func() error
	}{
		{"get", func() error { _, err := l.Get(ctx, page.Calls[0].ID); return err }},
		{"list newest", list(Filter{}, ID{})},
		{"list from the middle", list(Filter{}, middle)},
		{"list of one agent", list(Filter{Agents: []string{"agent-3"}}, ID{})},
		{"list of a rare agent", list(Filter{Agents: []string{"rare"}}, middle)},
		{"list errors of a model", list(Filter{Model: "gpt-6-mini", Status: "error"}, middle)},
		{"list rare and dear", list(Filter{Agents: []string{"rare"}, MinCost: price.Dollar / 11}, ID{})},
		{"list text that is nowhere", list(Filter{Text: "nowhere"}, ID{})},
		{"series 30 days by model", func() error { _, err := l.Series(ctx, month, ByModel); return err }},
		{"series 7 days by hour", func() error {
			_, err := l.Series(ctx, Query{Unit: Hour, From: end.AddDate(0, 0, -7), To: end}, ByAgent)
			return err
		}},
		{"totals of 24 hours", func() error {
			_, err := l.Totals(ctx, Query{Unit: Hour, From: end.Add(-24 * time.Hour), To: end})
			return err
		}},
		{"top agents of 30 days", func() error { _, err := l.Top(ctx, month, ByAgent, 5); return err }},
		{"forecast", func() error { _, err := l.Forecast(ctx, end, Query{}); return err }},
		{"export 100 days of rare", func() error { return l.Export(ctx, io.Discard, Filter{Agents: []string{"rare"}}, CSV) }},
	} {
		var took []time.Duration
		for range 5 {
			start := time.Now()
			if err := q.do(); err != nil {
				b.Fatal(q.name, err)
			}
			took = append(took, time.Since(start))
		}
		say("%-28s first %v, middle of 5 %v", q.name, took[0].Round(10*time.Microsecond), slices.Sorted(slices.Values(took))[2].Round(10*time.Microsecond))
	}
	c := someCalls(&l.ids, 1, end, 0)(1)
	b.ReportAllocs()
	for b.Loop() { // what a call waits for
		l.Add(c)
		for len(l.queue) > 0 {
			<-l.queue
			l.queued.Add(-1)
		}
	}
}

// say prints at once: a benchmark's own log shows ten lines at most.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func fillLog(b *testing.B, l *Log, n int, end time.Time) {
	next := someCalls(&l.ids, n, end, 90*24*time.Hour)
	start := time.Now()
	for i := range n {
		l.Add(next(i))
		if i%1000 == 999 || i == n-1 {
			if err := l.Flush(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
		if i%1_000_000 == 999_999 {
			say("%d rows: %.0f a second", i+1, float64(i+1)/time.Since(start).Seconds())
		}
	}
	say("%d rows: %.0f a second", n, float64(n)/time.Since(start).Seconds())
}
