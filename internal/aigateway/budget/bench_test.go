package budget

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// benchRules are what a careful owner might have.
func benchRules() []Rule {
	return []Rule{
		{ID: "all-day", Period: Day, Limit: 1_000_000 * price.Dollar},
		{ID: "all-month", Period: Month, Limit: 1_000_000 * price.Dollar},
		{ID: "each-day", Period: Day, Each: true, Limit: 1_000_000 * price.Dollar},
		{ID: "opus", Match: Match{Model: "claude-opus-*"}, Period: Total, Tokens: 1 << 60},
	}
}

func benchCall() Call {
	return Call{Agent: "ada", Team: "research", Provider: "anthropic", Model: "claude-sonnet-4-5", Trigger: "user"}
}

func BenchmarkReserveSettle(b *testing.B) {
	l := openFor(b, b.TempDir(), newClock())
	if err := l.SetRules(benchRules()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	before := cpuTime(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := l.Reserve(benchCall(), price.Dollar/100, 1000)
			if err != nil {
				b.Error(err)
				return
			}
			r.Settle(price.Dollar/200, 500)
		}
	})
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what this process used, in nanoseconds. On a host that others use too it
// says more than the time that passed.
func cpuTime(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkWithoutDisk is the part of it that is not the operating system's.
func BenchmarkWithoutDisk(b *testing.B) {
	bk := newBook()
	s := settings{}
	for _, r := range benchRules() {
		s.Rules = append(s.Rules, setRule{Rule: r})
	}
	bk.setAccounts(s.accounts(utc))
	call := benchCall()
	w := call.who()
	var line []byte
	b.ReportAllocs()
	for b.Loop() {
		if e, _ := bk.check(&w, 2026_01_31, price.Dollar/100, 1000); e != nil {
			b.Fatal(e)
		}
		r := record{seq: bk.seq, kind: recReserve, day: 2026_01_31, money: price.Dollar / 100, tokens: 1000, who: w}
		line = r.appendLine(line[:0])
		bk.apply(&r)
		end := record{seq: bk.seq, kind: recSettle, ref: r.seq, money: price.Dollar / 200, tokens: 500}
		line = end.appendLine(line[:0])
		bk.apply(&end)
	}
}
