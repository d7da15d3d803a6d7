package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/sandbox/gvisor"
)

// restoreSmall puts a sandbox with PID 1 and an echo server to sleep and wakes it,
// by the driver alone: what a wake costs without OpenClaw.
func restoreSmall(ctx context.Context, b *bench) (_ []table, err error) {
	n := b.rounds(10, 1)
	say("wake: a small sandbox, %d times", n)
	if _, err := gvisor.Prepare(ctx, func(m string) { say("%s", m) }); err != nil {
		return nil, err
	}
	driver, err := gvisor.New(gvisor.Options{Root: filepath.Join(b.dir, "run", "small")})
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, "cell-small")
	c, err := startCell(ctx, driver, dir, b.self, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	spec := cellSpec(dir, b.self, nil)
	var s samples
	for i := range n {
		image := filepath.Join(dir, "image"+strconv.Itoa(i))
		if err := os.Mkdir(image, 0o700); err != nil {
			return nil, err
		}
		spec.ID = c.sandbox.ID()
		values, err := c.freeze(ctx, driver, spec, image)
		if err != nil {
			return nil, fmt.Errorf("small sandbox: %w", err)
		}
		s.add("PID 1 and an echo server", values)
		if err := os.RemoveAll(image); err != nil {
			return nil, err
		}
	}
	return []table{{
		Title:   "Sleep and wake of a small sandbox, by the driver alone",
		Columns: []string{"pause ms", "checkpoint ms", "destroy ms", "restore ms", "answer ms", "image MiB"},
		Rows:    s.medians(),
		Notes: []string{
			"medians of " + strconv.Itoa(n) + "; answer: from Restore's return until a connection over the link is taken inside",
			"the image is neither synced, summed nor kept",
		},
	}}, nil
}

// freeze sends the cell's sandbox once through sleep and wake.
func (c *cell) freeze(ctx context.Context, driver sandbox.Driver, spec sandbox.Spec, image string) (map[string]float64, error) {
	imager, can := driver.(sandbox.Imager)
	frozen, may := c.sandbox.(sandbox.Freezable)
	if !can || !may {
		return nil, fmt.Errorf("the %s driver makes no images", driver.Name())
	}
	values := map[string]float64{}
	timed := func(name string, do func() error) func() error {
		return func() error {
			began := time.Now()
			err := do()
			values[name+" ms"] = 1000 * time.Since(began).Seconds()
			return err
		}
	}
	for _, step := range []func() error{
		timed("pause", func() error { return frozen.Pause(ctx) }),
		timed("checkpoint", func() error { return frozen.Checkpoint(ctx, image) }),
		timed("destroy", func() error { return frozen.Destroy(ctx) }),
		func() (err error) {
			c.sandbox = nil
			values["image MiB"], err = sizeOf(image)
			return err
		},
		timed("restore", func() (err error) {
			sb, err := imager.Restore(ctx, spec, image)
			if err == nil {
				c.sandbox = sb
			}
			return err
		}),
		timed("answer", func() error { return listening(ctx, backend{c.host, echoPort}.DialGateway) }),
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// sizeOf is what a directory's files take on disk, in MiB.
func sizeOf(dir string) (float64, error) {
	var bytes int64
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += blocks(info)
		}
		return err
	})
	return mib(bytes), err
}
