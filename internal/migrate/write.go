package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/remedy"
)

// Write lays the state out as a home for our sandbox in dir, which must be empty or
// not there. It is all written, on stable storage, and without the secrets of
// [Bundle.Secrets], or dir is as it was.
//
// Errors: ErrExists, ErrHostile, ErrDamaged, a full disk, and those of reading and
// writing.
func (b *Bundle) Write(ctx context.Context, dir string) (Report, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Report{}, fmt.Errorf("write the agent's home: %w", err)
	}
	if entries, err := os.ReadDir(dir); len(entries) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Report{}, remedy.With(fmt.Errorf("%w: %s", ErrExists, dir), "name a directory that is empty or not there yet")
	}
	stage, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".partial-")
	if err != nil {
		return Report{}, fmt.Errorf("write the agent's home: %w", err)
	}
	defer os.RemoveAll(stage) // gone by its name when all went well
	w, err := b.writer(stage)
	if err != nil {
		return Report{}, err
	}
	defer w.root.Close()
	if err := w.fill(ctx); err != nil {
		return Report{}, explainFull(err, dir)
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Report{}, fmt.Errorf("put the agent's home in place: %w", err)
	}
	if err := os.Rename(stage, dir); err != nil {
		return Report{}, fmt.Errorf("put the agent's home in place: %w", err)
	}
	if err := atomicfile.SyncDir(filepath.Dir(dir)); err != nil {
		return Report{}, fmt.Errorf("put the agent's home in place: %w", err)
	}
	return w.report(), nil
}

func explainFull(err error, dir string) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return remedy.With(fmt.Errorf("there is no room for the agent's home in %s, and nothing was written: %w", filepath.Dir(dir), err), "free some space, or choose another disk, and try again")
	}
	return err
}

// writer fills one home.
type writer struct {
	b        *Bundle
	root     *os.Root
	scrub    scrubber
	paths    *strings.Replacer // of the old machine, in OpenClaw's own JSON files
	links    []entry           // symbolic links, made last; path is that in the home
	dirTimes []entry
	files    int
	bytes    int64
	kept     tally
	dropped  tally
	changed  tally
	warnings notes
	doctor   bool
}

func (b *Bundle) writer(stage string) (*writer, error) {
	root, err := os.OpenRoot(stage)
	if err != nil {
		return nil, fmt.Errorf("write the agent's home: %w", err)
	}
	return &writer{b: b, root: root, scrub: scrubber{purse: b.secrets}, paths: b.layout.replacer(), changed: b.changed.clone(), warnings: b.warnings.clone()}, nil
}

// replacer rewrites paths of the old machine where they stand in quotes.
func (l *layout) replacer() *strings.Replacer {
	var pairs []string
	add := func(old, to string) {
		if old = strings.TrimRight(old, "/"); strings.HasPrefix(old, "/") && old != to && strings.Count(old, "/") > 1 {
			pairs = append(pairs, `"`+old+`/`, `"`+to+`/`, `"`+old+`"`, `"`+to+`"`)
		}
	}
	homes := []string{"/root", "/home/node"}
	if l.root == "." {
		homes = append(homes, "/"+l.home)
	}
	for _, home := range homes {
		for _, name := range stateNames {
			add(home+"/"+name, openclaw.StateDir)
		}
	}
	for old, to := range l.moved {
		add(old, openclaw.Home+"/"+to)
	}
	return strings.NewReplacer(pairs...)
}

func (w *writer) fill(ctx context.Context) error {
	if err := w.b.walk(ctx, w.b.layout.prefixes(), w.take); err != nil {
		return err
	}
	if err := w.putConfig(); err != nil {
		return err
	}
	if err := w.putLinks(); err != nil {
		return err
	}
	for _, d := range slices.Backward(w.dirTimes) {
		if err := w.root.Chtimes(d.path, d.time, d.time); err != nil {
			return fmt.Errorf("set the time of %s: %w", quote(d.path), err)
		}
	}
	top, err := w.root.Open(".")
	if err != nil {
		return err
	}
	defer top.Close()
	if err := w.b.opts.sync(int(top.Fd())); err != nil {
		return fmt.Errorf("write the agent's home to disk: %w", err)
	}
	return nil
}

func (w *writer) report() Report {
	p := w.b.secrets
	if p.grown {
		p.settle()
	}
	if p.full {
		w.warnings.addf("there were more than %d secrets: some were left where they are", maxFound)
	}
	if w.doctor {
		w.warnings.add("part of the state is in files of an earlier version: run `openclaw doctor --fix --yes --non-interactive` in the sandbox, with the gateway stopped, before the agent is used")
	}
	r := Report{
		From: p.hide(w.b.src.String()), Kind: w.b.layout.kind, Files: w.files, Bytes: w.bytes, Doctor: w.doctor,
		Kept: w.kept.list(), Changed: w.changed.list(), Dropped: w.dropped.list(), Secrets: p.list(), Warnings: w.warnings.all(),
	}
	for _, items := range [][]Item{r.Kept, r.Changed, r.Dropped} {
		for i := range items {
			items[i].What, items[i].Reason = p.hide(items[i].What), p.hide(items[i].Reason)
		}
	}
	for i := range r.Secrets {
		for j := range r.Secrets[i].Where {
			r.Secrets[i].Where[j] = p.hide(r.Secrets[i].Where[j])
		}
	}
	for i := range r.Warnings {
		r.Warnings[i] = p.hide(r.Warnings[i])
	}
	return r
}
