package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// What the AI gateway may cost at most, as multiples of what the standard library's
// proxy costs in the same run.
const (
	goalPerCall  = 1.5
	goalPerToken = 2.0
)

// Rows of the tables.
const (
	rowDirect  = "direct"
	rowSplice  = "TCP splice"
	rowReverse = "ReverseProxy, full duplex"
	rowOurs    = "moltworker"
)

// loads is how much is sent in one round.
type loads struct {
	rounds               int
	single, turns, crowd int // calls
	saturated, paced     int // streams
}

const (
	callClients  = 16  // send at once where that is measured
	streamDeltas = 200 // of a stream that comes as fast as it can
	pacedDeltas  = 50  // of one that comes as a model writes
	pacedClients = 8
	pacedEvery   = 10 * time.Millisecond
)

// measureAIGateway sends the same model calls to a fake model directly and through
// gateways, each a process of its own.
func measureAIGateway(ctx context.Context, b *bench) (tables []table, err error) {
	var running []*target
	defer func() {
		for _, t := range running {
			err = errors.Join(err, t.stop())
		}
	}()
	model, err := b.startTarget(ctx, rowDirect, kindModel)
	if err != nil {
		return nil, err
	}
	running = append(running, model)
	var targets []*target
	for _, k := range []struct{ name, kind string }{{rowSplice, kindSplice}, {rowReverse, kindReverse}, {rowOurs, kindOurs}} {
		t, err := b.startTarget(ctx, k.name, k.kind, "-to", model.addr, "-dir", filepath.Join(b.dir, "aigateway"), "-dollars", "100000")
		if err != nil {
			return nil, err
		}
		running, targets = append(running, t), append(targets, t)
	}
	ours := targets[len(targets)-1]
	var notes []string
	peer, err := b.startPortkey(ctx, model.addr)
	switch {
	case errors.Is(err, errNoPeer):
		notes = append(notes, err.Error())
	case err != nil:
		return nil, err
	default:
		running, targets = append(running, peer), append(targets, peer)
	}
	m := callMeasure{model: model, loads: loads{rounds: b.rounds(5, 1), single: 300, turns: 100, crowd: 1600, saturated: 60, paced: 32}}
	if b.short {
		m.loads = loads{rounds: m.rounds, single: 200, turns: 50, crowd: 800, saturated: 30, paced: 32}
	}
	if err := m.run(ctx, targets); err != nil {
		return nil, err
	}
	if err := m.booksKept(ctx, ours); err != nil {
		return nil, err
	}
	return m.tables(notes), nil
}

// callMeasure is a measurement of targets beside the model.
type callMeasure struct {
	loads
	model *target
	s     samples
}

func (m *callMeasure) run(ctx context.Context, targets []*target) error {
	for _, t := range targets {
		idle, _ := t.memory()
		m.s.add(rowDirect, nil)
		m.s.add(t.name, map[string]float64{"RSS MiB idle": mib(idle)})
		for range warmUp {
			if _, _, err := t.good(ctx, m.small()); err != nil {
				return err
			}
		}
	}
	for i := range m.rounds {
		say("aigateway: round %d of %d", i+1, m.rounds)
		for _, t := range targets {
			for _, measure := range []func(context.Context, *target) error{m.alternate, m.turn, m.crowded, m.saturate, m.pace} {
				if err := measure(ctx, t); err != nil {
					return err
				}
			}
		}
	}
	for _, t := range targets {
		_, peak := t.memory()
		m.s.add(t.name, map[string]float64{"RSS MiB peak": mib(peak)})
	}
	return nil
}

// usualModel is one that the built-in prices know.
const usualModel = "claude-sonnet-4-5"

// small is a call of about 140 bytes that is answered with about 430.
func (m *callMeasure) small() modelCall {
	return modelCall{form: anthropicForm, model: usualModel, wish: wish{seed: 1}}
}

// alternate makes one call after the other, to the model and the target by turns.
func (m *callMeasure) alternate(ctx context.Context, t *target) error {
	var near, far []float64
	took, err := cpuOf(t, func() error {
		for range m.single {
			d, _, err := m.model.good(ctx, m.small())
			if err != nil {
				return err
			}
			g, _, err := t.good(ctx, m.small())
			if err != nil {
				return err
			}
			near, far = append(near, micros(d)), append(far, micros(g))
		}
		return nil
	})
	if err != nil {
		return err
	}
	n50, n99 := quantile(near, 0.5), quantile(near, 0.99)
	f50, f99 := quantile(far, 0.5), quantile(far, 0.99)
	m.s.add(rowDirect, map[string]float64{"p50 µs": n50, "p99 µs": n99})
	m.s.add(t.name, map[string]float64{"p50 µs": f50, "p99 µs": f99, "added p50 µs": f50 - n50, "added p99 µs": f99 - n99,
		"c1 µs": micros(took) / float64(m.single)})
	return nil
}

// turn sends requests as large as those of OpenClaw's turns.
func (m *callMeasure) turn(ctx context.Context, t *target) error {
	c := m.small()
	c.pad = 46_000
	took, err := cpuOf(t, func() error {
		return together(1, m.turns, func(int) error { _, _, err := t.good(ctx, c); return err })
	})
	m.s.add(t.name, map[string]float64{"46 KB µs": micros(took) / float64(m.turns)})
	return err
}

// crowded has many clients send at once.
func (m *callMeasure) crowded(ctx context.Context, t *target) error {
	took, err := cpuOf(t, func() error {
		return together(callClients, m.crowd, func(int) error { _, _, err := t.good(ctx, m.small()); return err })
	})
	m.s.add(t.name, map[string]float64{"c16 µs": micros(took) / float64(m.crowd)})
	return err
}

func (m *callMeasure) saturate(ctx context.Context, t *target) error {
	c := m.small()
	c.stream, c.wish.deltas = true, streamDeltas
	took, err := cpuOf(t, func() error {
		return together(1, m.saturated, func(int) error { _, _, err := t.good(ctx, c); return err })
	})
	m.s.add(t.name, map[string]float64{"token µs": micros(took) / float64(m.saturated*streamDeltas)})
	return err
}

// pace has streams come as a model writes, half of them straight from the model.
func (m *callMeasure) pace(ctx context.Context, t *target) error {
	c := m.small()
	c.stream, c.wish.deltas, c.wish.pace = true, pacedDeltas, pacedEvery
	firsts := make([]float64, m.paced)
	took, err := cpuOf(t, func() error {
		return together(pacedClients, m.paced, func(i int) error {
			through := t
			if i%2 == 0 {
				through = m.model
			}
			_, first, err := through.good(ctx, c)
			firsts[i] = micros(first) / 1000
			return err
		})
	})
	var near, far []float64
	for i, v := range firsts {
		if i%2 == 0 {
			near = append(near, v)
		} else {
			far = append(far, v)
		}
	}
	m.s.add(rowDirect, map[string]float64{"first token ms": quantile(near, 0.5)})
	m.s.add(t.name, map[string]float64{
		"first token ms": quantile(far, 0.5), "added ms": quantile(far, 0.5) - quantile(near, 0.5),
		"paced token µs": micros(took) / float64(len(far)*pacedDeltas),
	})
	return err
}

// cpuOf is the processor time that a target takes for something.
func cpuOf(t *target, do func() error) (time.Duration, error) {
	before, err := t.cpu()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := t.cpu()
	return after - before, err
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// booksKept sees to it that ours was measured with all that it does.
func (m *callMeasure) booksKept(ctx context.Context, ours *target) error {
	var b books
	if err := ours.look(ctx, booksPath, &b); err != nil {
		return err
	}
	calls := int64(warmUp + m.rounds*(m.single+m.turns+m.crowd+m.saturated+m.paced/2))
	if b.Calls != calls || b.Unknown != 0 || b.Spent <= 0 || b.Recorded+b.Dropped != calls || b.Dropped*100 > calls {
		return fmt.Errorf("of %d calls the gateway's books have %+v", calls, b)
	}
	return nil
}

// tables are what was measured, and what that is of the standard library's proxy.
func (m *callMeasure) tables(notes []string) []table {
	rows := m.s.medians()
	costs := []string{"c1 µs", "c16 µs", "46 KB µs", "token µs", "paced token µs"}
	latency := table{
		Title:   "AI gateway: what a call takes, and what it takes longer than direct",
		Columns: []string{"p50 µs", "p99 µs", "added p50 µs", "added p99 µs", "first token ms", "added ms"}, Rows: rows,
		Notes: append([]string{
			fmt.Sprintf("one client, %d times by turns with direct, 140 bytes there and 430 back; medians of %d rounds", m.single, m.rounds),
			fmt.Sprintf("first token: the first delta of a stream that has one every 10 ms; %d at once, half of them direct, %d in a round", pacedClients, m.paced),
		}, notes...),
	}
	cost := table{
		Title: "AI gateway: CPU and memory of its process", Columns: append(costs, "RSS MiB idle", "RSS MiB peak"), Rows: rows[1:],
		Notes: []string{
			fmt.Sprintf("c1, c16: a call, with 1 and %d clients; 46 KB: one as large as a turn of OpenClaw's; token: a delta, the call included, of a stream of %d as fast as it comes, or of %d that come every 10 ms", callClients, streamDeltas, pacedDeltas),
			"all but Portkey are this program, whose code and tables are in their memory",
		},
	}
	return []table{latency, cost, ratios(rows[1:], append([]string{"added p50 µs"}, append(costs, "RSS MiB peak")...))}
}

// ratios sets rows beside the standard library's proxy.
func ratios(rows []row, columns []string) table {
	t := table{Title: "AI gateway: as multiples of ReverseProxy with full duplex"}
	var floor map[string]float64
	for _, r := range rows {
		if r.Name == rowReverse {
			floor = r.Values
		}
	}
	for _, r := range rows {
		of := row{Name: r.Name, Values: map[string]float64{}}
		for _, c := range columns {
			if v, ok := r.Values[c]; ok && floor[c] > 0 {
				of.Values[multiple(c)] = v / floor[c]
			}
		}
		t.Rows = append(t.Rows, of)
		if r.Name == rowOurs {
			t.Notes = append(t.Notes, fmt.Sprintf("goals for %s: a call at most %.1f (it is %.2f at c1, %.2f at c16), a token at most %.1f (it is %.2f)",
				rowOurs, goalPerCall, of.Values["c1 x"], of.Values["c16 x"], goalPerToken, of.Values["token x"]))
		}
	}
	for _, c := range columns {
		t.Columns = append(t.Columns, multiple(c))
	}
	return t
}

// multiple is the name of a column whose unit is that of another row.
func multiple(column string) string {
	return strings.Replace(strings.TrimSuffix(column, " µs"), " MiB", "", 1) + " x"
}
