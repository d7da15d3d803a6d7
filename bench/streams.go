package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// How the trial of streams is sized.
const (
	streamBatch  = 500 // streams through one proxy, then through the other
	streamAgents = 8   // whose calls they are: one agent may have 64 under way
	budgetCalls  = 1000
	budgetAgents = 25
)

// tryStreams has the AI gateway pass many streams while the machine's cores are
// contended: each must arrive byte for byte. Then it has a thousand calls at once
// compete for a dollar, which must not be overspent.
func tryStreams(ctx context.Context, b *bench) (tables []table, err error) {
	var f faults
	carried, err := b.tryCarrying(ctx, &f)
	if err != nil {
		return nil, err
	}
	spent, err := b.trySpending(ctx, &f)
	if err != nil {
		return []table{carried}, err
	}
	return []table{carried, spent}, f.err()
}

// streamClients are how many send at once, by batches in turn: with fewer a proxy has
// more of the cores that are left.
var streamClients = []int{64, 16}

// streamPads are bytes by which requests are longer than the shortest, up to what a
// turn of OpenClaw's has. A proxy that passes a request on as it arrives may be
// answered before it has read the end of one.
var streamPads = []int{0, 5000, 46_000}

// tally is what became of the streams through one proxy.
type tally struct {
	sent, whole, cut, quiet, changed, changedBytes, refused atomic.Int64
	took                                                    time.Duration
}

func (b *bench) tryCarrying(ctx context.Context, f *faults) (t table, err error) {
	rig, stop, err := b.startPair(ctx, kindStock, "1000000")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	hogs, err := b.startTarget(ctx, "hogs", kindHog)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, hogs.stop()) }()
	n := b.rounds(10_000, 1000)
	var ours, stock tally
	for from := 0; from < n; from += streamBatch {
		say("streams: %d of %d", from, n)
		batch := min(streamBatch, n-from)
		for _, p := range []struct {
			through *target
			into    *tally
		}{{rig.ours, &ours}, {rig.other, &stock}} {
			if err := carry(ctx, p.through, p.into, from, batch); err != nil {
				return t, err
			}
		}
	}
	if ours.whole.Load() != int64(n) {
		f.add("of %d streams through the AI gateway %d were cut, %d changed, %d refused", n, ours.cut.Load(), ours.changed.Load(), ours.refused.Load())
	}
	t = table{Title: fmt.Sprintf("Streams: %d of %d deltas, %d or %d at once, with %d busy threads beside them", n, streamDeltas, streamClients[0], streamClients[1], 2*runtime.NumCPU()),
		Columns: []string{"whole", "cut", "cut %", "cut unsaid", "changed", "changed bytes", "refused", "streams/s"},
		Rows:    []row{ours.row(rowOurs), stock.row("ReverseProxy, as it is")},
		Notes: []string{"half Anthropic's form, half OpenAI's, by turns of " + fmt.Sprint(streamBatch) + "; whole: SHA-256 of what arrived is that of what the model sent",
			"cut unsaid: cut, and ended as if it were whole"}}
	return t, nil
}

func (t *tally) row(name string) row {
	sent := float64(t.sent.Load())
	return row{Name: name, Values: map[string]float64{
		"whole": float64(t.whole.Load()), "cut": float64(t.cut.Load()), "cut %": 100 * float64(t.cut.Load()) / max(sent, 1), "cut unsaid": float64(t.quiet.Load()),
		"changed": float64(t.changed.Load()), "changed bytes": float64(t.changedBytes.Load()), "refused": float64(t.refused.Load()),
		"streams/s": sent / max(t.took.Seconds(), 1e-9),
	}}
}

// pair is the AI gateway and perhaps another proxy before a fake model.
type pair struct{ model, ours, other *target }

func (b *bench) startPair(ctx context.Context, other, dollars string) (p pair, stop func() error, err error) {
	var running []*target
	stop = func() (err error) {
		for i := len(running) - 1; i >= 0; i-- {
			err = errors.Join(err, running[i].stop())
		}
		return err
	}
	start := func(name, kind string, args ...string) *target {
		if err != nil {
			return nil
		}
		var t *target
		if t, err = b.startTarget(ctx, name, kind, args...); err == nil {
			running = append(running, t)
		}
		return t
	}
	if p.model = start("model", kindModel); err == nil {
		p.ours = start(rowOurs, kindOurs, "-to", p.model.addr, "-dir", filepath.Join(b.dir, "streams-"+dollars), "-dollars", dollars)
	}
	if other != "" && err == nil {
		p.other = start("other", other, "-to", p.model.addr)
	}
	if err != nil {
		return p, nil, errors.Join(err, stop())
	}
	return p, stop, nil
}

// carry sends a batch of streams through a proxy and compares what arrives.
func carry(ctx context.Context, through *target, into *tally, from, n int) error {
	began := time.Now()
	defer func() { into.took += time.Since(began) }()
	return together(streamClients[from/streamBatch%len(streamClients)], n, func(i int) error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		c := modelCall{form: form((from + i) % 2), model: usualModel, stream: true, wish: wish{seed: uint64(from + i), deltas: streamDeltas}, pad: streamPads[(from+i)/2%len(streamPads)], pieces: (from+i)/6%2 == 1}
		if c.form == openaiForm {
			c.model = "gpt-5"
		}
		path := fmt.Sprintf("http://%s/agent-%d%s", through.addr, i%streamAgents, c.form.path())
		r, err := through.call(ctx, path, c)
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("%s: %w", through.name, err)
		}
		into.judge(r, err, c.wish.whole(c.form))
		return nil
	})
}

// judge compares what arrived with what the model sent. An answer that never began
// counts as cut: the model had sent one.
func (t *tally) judge(r reply, err error, want []byte) {
	t.sent.Add(1)
	both := min(len(r.body), len(want))
	switch {
	case err == nil && r.status != http.StatusOK:
		t.refused.Add(1)
		return
	case err == nil && r.err == nil && sha256.Sum256(r.body) == sha256.Sum256(want):
		t.whole.Add(1)
		return
	case err != nil || r.err != nil || len(r.body) < len(want):
		t.cut.Add(1)
		if err == nil && r.err == nil {
			t.quiet.Add(1)
		}
	}
	// What follows a cut is the gateway's own word that it was one.
	differ := int64(0)
	if err == nil && r.err == nil {
		differ = int64(len(r.body) - both)
		for i := range both {
			if r.body[i] != want[i] {
				differ++
			}
		}
	}
	if differ > 0 {
		t.changed.Add(1)
		t.changedBytes.Add(differ)
	}
}

// trySpending has calls of many agents compete for one dollar. Who is told that the
// money is held for others tries again; in the end all of it is spent, and no more.
func (b *bench) trySpending(ctx context.Context, f *faults) (t table, err error) {
	const limit = price.Dollar
	say("streams: %d calls at once for a dollar", budgetCalls)
	rig, stop, err := b.startPair(ctx, "", "1")
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	var answered, refused, again atomic.Int64
	err = together(budgetCalls, budgetCalls, func(i int) error {
		c := modelCall{form: form(i % 2), model: "bench-x", stream: i/2%2 == 0, prefix: "[cron:bench] ", wish: wish{seed: uint64(i), deltas: 5, wait: 20 * time.Millisecond}}
		path := fmt.Sprintf("http://%s/agent-%d%s", rig.ours.addr, i%budgetAgents, c.form.path())
		for {
			r, err := rig.ours.call(ctx, path, c)
			if err = errors.Join(err, r.err); err != nil {
				return err
			}
			switch {
			case r.status == http.StatusOK:
				answered.Add(1)
				return nil
			case r.status == http.StatusBadRequest && bytes.Contains(r.body, []byte("moltworker ai budget")):
				refused.Add(1)
				return nil
			case r.status != http.StatusTooManyRequests:
				return fmt.Errorf("%d %.300s", r.status, r.body)
			}
			again.Add(1)
			if err := pause(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return t, err
	}
	var made modelCount
	books, err := rig.settled(ctx)
	if err = errors.Join(err, rig.model.look(ctx, countPath, &made)); err != nil {
		return t, err
	}
	cost := callCost * price.Money(made.Calls)
	over := max(cost-limit, 0)
	if over > 0 || books.Spent != cost || made.Calls != answered.Load() || books.InFlight != 0 {
		f.add("%d calls of %v each were answered for a dollar, the model made %d, and the books have %+v", answered.Load(), callCost, made.Calls, books)
	}
	if limit-cost > 2*callCost {
		f.add("%v of a dollar are left", limit-cost)
	}
	return table{Title: fmt.Sprintf("Spending: %d calls at once, one dollar", budgetCalls), Columns: []string{"answered", "refused", "asked to wait", "spent $", "in the ledger $", "overspent $"},
		Rows: []row{{Name: rowOurs, Values: map[string]float64{
			"answered": float64(answered.Load()), "refused": float64(refused.Load()), "asked to wait": float64(again.Load()),
			"spent $": dollars(cost), "in the ledger $": dollars(books.Spent), "overspent $": dollars(over),
		}}},
		Notes: []string{fmt.Sprintf("of %d agents, half of them streams, half Anthropic's form; spent: calls that the model answered, %v each", budgetAgents, callCost)}}, nil
}

func dollars(m price.Money) float64 { return float64(m) / float64(price.Dollar) }

// settled waits until no call is under way, and reads the books.
func (p pair) settled(ctx context.Context) (b books, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		if err := p.ours.look(ctx, booksPath, &b); err != nil {
			return b, err
		}
		if b.InFlight == 0 {
			return b, nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return b, fmt.Errorf("%d calls never ended: %w", b.InFlight, err)
		}
	}
}
