package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
)

// atOnce is how many agents of a fleet are woken together.
const atOnce = 10

// fleet is many agents of one `up`, most of them asleep.
type fleet struct {
	*bench
	u        *up
	names    []string // all of them; those that stay awake are at the end
	asleep   int      // how many sleep
	visitors map[string]*visitor
	boots    []float64 // seconds
	sleeps   []float64 // seconds
	idle     []row
	woken    []waking
	all      time.Duration // from the first request to the last answer
	alone    waking
	before   traces
	after    traces
	disk     float64 // MiB of images
}

// waking is the waking of one agent.
type waking struct {
	name                 string
	answer, keeper, took time.Duration // to the first 200; in state waking; from the first request of all
	status               agent.Status
}

// measureFleet boots many agents, one after the other as each of them falls asleep,
// looks at what the process that keeps them takes, and wakes ten at once.
func measureFleet(ctx context.Context, b *bench) (_ []table, err error) {
	n := b.agents
	if n == 0 {
		n = 50
		if b.short {
			n = 3
		}
	}
	load := loadAverage()
	f := &fleet{bench: b, asleep: max(n*9/10, 1), visitors: map[string]*visitor{}}
	f.names = []string{"main"}
	for i := 1; i < n; i++ {
		f.names = append(f.names, fmt.Sprintf("bench-%02d", i))
	}
	if err := f.start(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.u.stop()) }()
	err = f.measure(ctx)
	return f.tables(load), err
}

func (f *fleet) start(ctx context.Context) error {
	f.u, f.kept.up = f.kept.up, nil
	if f.u != nil {
		return nil
	}
	program, err := f.build(ctx)
	if err != nil {
		return err
	}
	f.u, err = startUpWith(program, filepath.Join(f.dir, "fleet-data"), "gvisor", "127.0.0.1:0", sleepless)
	return err
}

func (f *fleet) measure(ctx context.Context) error {
	w := window{settle: 10 * time.Second, length: 30 * time.Second}
	if f.short {
		w = window{settle: time.Second, length: 2 * time.Second}
	}
	if _, _, err := f.u.awaitAwake(ctx); err != nil {
		return err
	}
	if err := f.look(ctx, w, "`up`, 1 awake", 1); err != nil {
		return err
	}
	for i, name := range f.names {
		if err := f.add(ctx, i, name); err != nil {
			return err
		}
	}
	awake := len(f.names) - f.asleep
	if err := f.look(ctx, w, fmt.Sprintf("`up`, %d awake, %d asleep", awake, f.asleep), awake); err != nil {
		return err
	}
	disk, err := f.images()
	if err != nil {
		return err
	}
	f.disk = disk
	f.before = f.u.traces()
	if err := f.wakeTogether(ctx); err != nil {
		return err
	}
	together := len(f.woken)
	if err := f.look(ctx, w, fmt.Sprintf("`up`, %d awake, %d asleep", awake+together, f.asleep-together), awake+together); err != nil {
		return err
	}
	return f.sleepAgain(ctx)
}

// add boots an agent, and puts it to sleep unless it is one of those that stay
// awake.
func (f *fleet) add(ctx context.Context, i int, name string) error {
	began := time.Now()
	link, err := "", error(nil)
	if i == 0 {
		link, err = f.u.link(ctx, name)
	} else {
		made, wrong := f.u.admin.Create(ctx, name)
		link, err = made.Link, wrong
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	if _, err := f.u.await(ctx, name, agent.StateAwake); err != nil {
		return err
	}
	if i > 0 {
		f.boots = append(f.boots, time.Since(began).Seconds())
	}
	if f.visitors[name], err = visit(ctx, link); err != nil {
		return err
	}
	if i >= f.asleep {
		say("fleet: %d of %d, %s stays awake", i+1, len(f.names), name)
		return nil
	}
	slept, err := f.u.sleep(ctx, name)
	if err != nil {
		return err
	}
	f.sleeps = append(f.sleeps, slept.took.Seconds())
	say("fleet: %d of %d, %s is asleep after %.0f s", i+1, len(f.names), name, time.Since(began).Seconds())
	return nil
}

// look sees what `up` and the sandboxes take while nobody does anything.
func (f *fleet) look(ctx context.Context, w window, name string, awake int) error {
	rows, err := w.watch(ctx, []string{name, fmt.Sprintf("sandboxes of %d", awake)}, func(i int) takes {
		if i == 0 {
			return one(f.u.cmd.Process.Pid)
		}
		return tree(sandboxProcesses(f.u.data)...)
	})
	if err != nil {
		return err
	}
	f.idle = append(f.idle, rows...)
	return nil
}

// images is what the images of all agents take on disk, in MiB.
func (f *fleet) images() (float64, error) {
	var sum float64
	for _, name := range f.names {
		size, err := sizeOf(filepath.Join(f.u.data, "agents", name, "images"))
		if err != nil {
			return 0, err
		}
		sum += size
	}
	return sum, nil
}

// wake wakes one agent by a request for its page.
func (f *fleet) wake(ctx context.Context, name string, first time.Time) (waking, error) {
	w := waking{name: name}
	began := time.Now()
	if err := f.visitors[name].get(ctx); err != nil {
		return w, fmt.Errorf("wake %s: %w", name, err)
	}
	w.answer, w.took = time.Since(began), time.Since(first)
	info, err := f.u.admin.Agent(ctx, name)
	if err != nil {
		return w, err
	}
	w.status = info.Status
	w.keeper, err = restored(info.Status)
	return w, err
}

// wakeTogether wakes one agent by itself, and then ten at once.
func (f *fleet) wakeTogether(ctx context.Context) (err error) {
	sleepers := f.names[:min(f.asleep, atOnce)]
	say("fleet: waking %s, then %d at once", sleepers[0], len(sleepers))
	if f.alone, err = f.wake(ctx, sleepers[0], time.Now()); err != nil {
		return err
	}
	if _, err := f.u.sleep(ctx, sleepers[0]); err != nil {
		return err
	}
	if _, err := f.u.settle(ctx, f.before); err != nil {
		return err
	}
	type outcome struct {
		waking
		err error
	}
	outcomes := make(chan outcome, len(sleepers))
	first := time.Now()
	for _, name := range sleepers {
		go func() {
			w, err := f.wake(ctx, name, first)
			outcomes <- outcome{w, err}
		}()
	}
	var errs []error
	for range sleepers {
		o := <-outcomes
		errs = append(errs, o.err)
		if o.err == nil {
			f.woken = append(f.woken, o.waking)
			f.all = max(f.all, o.took)
		}
	}
	return errors.Join(errs...)
}

// sleepAgain puts those that were woken to sleep and makes sure that nothing is
// left of their being awake.
func (f *fleet) sleepAgain(ctx context.Context) error {
	for _, w := range f.woken {
		slept, err := f.u.sleep(ctx, w.name)
		if err != nil {
			return err
		}
		f.sleeps = append(f.sleeps, slept.took.Seconds())
	}
	var err error
	f.after, err = f.u.settle(ctx, f.before)
	return err
}

func (f *fleet) tables(load string) []table {
	measured := fmt.Sprintf("on %d cores; load average %s before, %s after", runtime.NumCPU(), load, loadAverage())
	idle := table{
		Title:   fmt.Sprintf("Fleet of %d agents: idle", len(f.names)),
		Columns: []string{"CPU %", colPSS, colRSS},
		Rows:    f.idle,
		Notes:   []string{"CPU in percent of one core; process trees of sandboxes as the host counts them, together"},
	}
	if f.disk > 0 {
		idle.Notes = append(idle.Notes, fmt.Sprintf("images of %d asleep take %.0f MiB of disk, %.0f each", f.asleep, f.disk, f.disk/float64(f.asleep)))
	}
	if len(f.boots) > 0 {
		idle.Notes = append(idle.Notes, fmt.Sprintf("boots took %.1f s (median of %d, one after the other), sleeps %.1f s (median of %d)", quantile(f.boots, 0.5), len(f.boots), quantile(f.sleeps, 0.5), len(f.sleeps)))
	}
	idle.Notes = append(idle.Notes, measured)
	tables := []table{idle}
	if len(f.woken) == 0 {
		return tables
	}
	var steps []string
	rows := []row{f.alone.row("alone: "+f.alone.name, &steps)}
	slices.SortFunc(f.woken, func(a, b waking) int { return int(a.answer - b.answer) })
	for _, w := range f.woken {
		rows = append(rows, w.row(w.name, &steps))
	}
	rows = append(rows, row{Name: "all " + strconv.Itoa(len(f.woken)), Values: map[string]float64{"200 s": f.all.Seconds()}})
	return append(tables, table{
		Title:   fmt.Sprintf("Fleet: %d agents woken at once by requests for their pages, on %d cores", len(f.woken), runtime.NumCPU()),
		Columns: append(append([]string{"200 s"}, steps...), colOther, "keeper s"),
		Rows:    rows,
		Notes: []string{
			"keeper: how long the agent's state was waking; other: what of that is in no phase",
			fmt.Sprintf("processes of sandboxes: %d before, %d after all sleep again; mounts %d and %d", f.before.processes, f.after.processes, f.before.mounts, f.after.mounts),
			measured,
		},
	})
}

func (w waking) row(name string, columns *[]string) row {
	r := row{Name: name, Values: stepsOf(w.status, w.keeper, columns)}
	r.Values["200 s"] = w.answer.Seconds()
	return r
}
