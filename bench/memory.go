package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

// measureMemory lets an awake agent be idle and looks at what it and `up` take,
// beside a native gateway that is idle just as long.
func measureMemory(ctx context.Context, b *bench) ([]table, error) {
	w := window{settle: 30 * time.Second, length: 20 * time.Second}
	if b.short {
		w = window{settle: 2 * time.Second, length: 5 * time.Second}
	}
	rows, err := idleNative(ctx, b, w)
	if err != nil {
		return nil, err
	}
	more, err := idleSandbox(ctx, b, w)
	if err != nil {
		return nil, err
	}
	return []table{{
		Title:   fmt.Sprintf("Idle: from %s after the boot, CPU over %s", w.settle, w.length),
		Columns: []string{"CPU %", colAgentLS, colPSS, colRSS},
		Rows:    append(rows, more...),
		Notes:   []string{"CPU in percent of one core; process trees as the host counts them"},
	}}, nil
}

// window is when an idle process is looked at.
type window struct{ settle, length time.Duration }

// watch looks at several trees of processes in one window.
func (w window) watch(ctx context.Context, names []string, now func(i int) takes) ([]row, error) {
	say("idle for %s", w.settle+w.length)
	if err := pause(ctx, w.settle); err != nil {
		return nil, err
	}
	began := time.Now()
	before := make([]time.Duration, len(names))
	for i := range names {
		before[i] = now(i).cpu
	}
	if err := pause(ctx, w.length); err != nil {
		return nil, err
	}
	var rows []row
	for i, name := range names {
		t := now(i)
		rows = append(rows, row{Name: name, Values: map[string]float64{
			"CPU %": 100 * (t.cpu - before[i]).Seconds() / time.Since(began).Seconds(),
			colPSS:  mib(t.pss), colRSS: mib(t.rss),
		}})
	}
	return rows, nil
}

func idleNative(ctx context.Context, b *bench, w window) ([]row, error) {
	g := b.kept.native
	b.kept.native = nil
	if g == nil {
		rt, err := installed(ctx)
		if err != nil {
			return nil, err
		}
		if g, err = startNative(ctx, rt, filepath.Join(b.dir, "idle-native")); err != nil {
			return nil, err
		}
	}
	defer g.stop()
	return w.watch(ctx, []string{"native gateway"}, func(int) takes { return g.takes() })
}

func idleSandbox(ctx context.Context, b *bench, w window) (rows []row, err error) {
	u := b.kept.up
	b.kept.up = nil
	if u == nil {
		program, err := b.build(ctx)
		if err != nil {
			return nil, err
		}
		if u, err = startUp(program, filepath.Join(b.dir, "idle-data"), "gvisor"); err != nil {
			return nil, err
		}
	}
	defer func() {
		if b.short && err == nil {
			b.kept.up = u
			return
		}
		err = errors.Join(err, u.stop())
	}()
	if _, _, err := u.awaitAwake(ctx); err != nil {
		return nil, err
	}
	rows, err = w.watch(ctx, []string{"gVisor sandbox with gateway", "moltworker up"}, func(i int) takes {
		if i == 0 {
			return tree(sandboxProcesses(u.data)...)
		}
		return one(u.cmd.Process.Pid)
	})
	if err != nil {
		return nil, err
	}
	info, err := u.info(ctx)
	if err == nil && info.MemoryBytes > 0 {
		rows[0].Values[colAgentLS] = mib(info.MemoryBytes)
	}
	return rows, err
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
