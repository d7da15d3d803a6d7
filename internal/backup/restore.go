package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/remedy"
)

// RestoreOptions of one restore.
type RestoreOptions struct {
	// Only are paths in the version: just those, and what is in them, are put back, and
	// what is at their place is replaced. Nothing else in the directory changes.
	Only []string
	// Against is a directory to compare with in the report, such as the home that the
	// restored one will take the place of. "" compares with what is at the places
	// themselves.
	Against string
	// Leave says what of Against does not count, as it says of a Source.
	Leave func(path string, dir bool) bool
	// Progress is told now and then how many of all bytes are written.
	Progress func(done, total int64)
}

// partialMark is in the names of directories that are being restored.
const partialMark = ".partial-"

// maxWarnings and maxChanges bound what a report lists.
const (
	maxWarnings = 100
	maxChanges  = 1000
)

// Restore puts a version back: the whole of it as dir, which must be empty or
// missing, or single files into dir. All is written beside dir first, checked, and
// then renamed: on an error dir is as it was. (When several paths were asked for,
// each is as it was or put back.)
//
// ErrNoVersion, ErrDamaged. An owner or attribute that cannot be set is a warning.
func (v *Vault) Restore(ctx context.Context, id, dir string, opts RestoreOptions) (Report, error) {
	report, err := v.restore(ctx, id, dir, opts)
	if err != nil {
		return Report{}, fmt.Errorf("restore version %s of %s: %w", id, v.agent, noRoom(err, dir))
	}
	return report, nil
}

func (v *Vault) restore(ctx context.Context, id, dir string, opts RestoreOptions) (report Report, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return report, err
	}
	t, err := v.tree(ctx, id)
	if err != nil {
		return report, err
	}
	if len(opts.Only) > 0 {
		if t, err = t.only(opts.Only); err != nil {
			return report, err
		}
	} else if err := mustBeEmpty(dir); err != nil {
		return report, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return report, err
	}
	if err := sweepPartial(dir); err != nil {
		return report, err
	}
	p, err := newPartial(dir)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	w := &restoring{t: t, p: p, progress: opts.Progress}
	if err := w.write(ctx); err != nil {
		return report, err
	}
	report = Report{Version: t.version, Files: t.Len(), Bytes: w.done}
	against := opts.Against
	if against == "" {
		against = dir
	}
	if err := t.compare(ctx, against, opts, &report); err != nil {
		return report, err
	}
	if err := w.finish(); err != nil {
		return report, err
	}
	report.Warnings = w.warnings
	if len(opts.Only) > 0 {
		return report, p.place(opts.Only)
	}
	return report, p.become(dir)
}

// only returns a tree of just these paths, what is in them, and the directories
// that they are in.
func (t *Tree) only(paths []string) (*Tree, error) {
	keep := map[string]bool{"": true}
	for _, path := range paths {
		if path == "" || t.find(path) == nil {
			return nil, remedy.With(fmt.Errorf("%q: %w", path, fs.ErrNotExist), "list the files of the version")
		}
		for in := path; in != ""; in = parent(in) {
			keep[in] = true
		}
	}
	out := &Tree{v: t.v, version: t.version, packs: t.packs}
	first := map[string]string{} // where the file of hard links is put back, by its own path
	for i := range t.entries {
		e := t.entries[i]
		if !keep[e.path] && !slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(e.path, p+"/") }) {
			continue
		}
		switch e.kind {
		case recordFile:
			first[e.path] = e.path
		case recordLink:
			f := t.resolve(&e)
			if f == nil {
				return nil, fmt.Errorf("%w: %q is a link to no file", ErrDamaged, e.path)
			}
			if at, ok := first[e.target]; ok {
				e.target = at
				break
			}
			first[e.target] = e.path
			path := e.path
			e = *f
			e.path = path
		}
		out.entries = append(out.entries, e)
	}
	return out, nil
}

// allWants lists the chunks of all files, in order.
func (t *Tree) allWants() iter.Seq[want] {
	return func(yield func(want) bool) {
		for i := range t.entries {
			for w := range wants(&t.packs, t.entries[i].runs) {
				if !yield(w) {
					return
				}
			}
		}
	}
}

// needs lists the packs of all files.
func (t *Tree) needs() iter.Seq[packID] {
	return func(yield func(packID) bool) {
		seen := make([]bool, len(t.packs.ids))
		for i := range t.entries {
			for _, r := range t.entries[i].runs {
				if r.pack == hole || seen[r.pack] {
					continue
				}
				seen[r.pack] = true
				if !yield(t.packs.ids[r.pack]) {
					return
				}
			}
		}
	}
}

// mustBeEmpty refuses a place where there is something.
func mustBeEmpty(dir string) error {
	names, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(names) > 0:
		return remedy.With(fmt.Errorf("%s is not empty", dir), "move it away, or restore single files")
	}
	return nil
}

// sweepPartial removes what an earlier restore, whose process was killed, left
// beside dir.
func sweepPartial(dir string) error {
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), filepath.Base(dir)+partialMark) {
			continue
		}
		path := filepath.Join(filepath.Dir(dir), e.Name())
		d, err := os.Open(path)
		if err != nil {
			continue // not ours
		}
		if unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			err = removeTree(path)
		}
		if err := errors.Join(err, d.Close()); err != nil {
			return fmt.Errorf("remove what an earlier restore left: %w", err)
		}
	}
	return nil
}

// partial is a directory that is being restored.
type partial struct {
	path string // "" when it is there no more
	into string // the directory that it is for
	d    *os.File
	dev  uint64
}

// tree is for one goroutine, which goes back to 0 in it at the end.
func (p *partial) tree() *liveTree { return &liveTree{root: p.d, dev: p.dev} }

func newPartial(dir string) (*partial, error) {
	path := dir + partialMark + randomHex(4)
	if err := os.Mkdir(path, 0o700); err != nil {
		return nil, err
	}
	t, err := openTree(path, nil)
	if err == nil {
		err = unix.Flock(int(t.root.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return &partial{path: path, into: dir, d: t.root, dev: t.dev}, nil
}

// close removes what has not become anything.
func (p *partial) close() error {
	err := p.d.Close()
	if p.path != "" {
		err = errors.Join(err, removeTree(p.path))
	}
	return err
}

// removeTree removes a directory of ours, those in it included that nobody may
// write to.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // RemoveAll says what remains
		}
		return nil
	})
	return os.RemoveAll(dir)
}

// become gives the whole directory its name.
func (p *partial) become(dir string) error {
	if err := unix.Syncfs(int(p.d.Fd())); err != nil {
		return fmt.Errorf("write to disk: %w", err)
	}
	err := unix.Renameat2(unix.AT_FDCWD, p.path, unix.AT_FDCWD, dir, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// It takes the place of an empty directory, and of nothing else.
		err = unix.Rename(p.path, dir)
	}
	if err != nil {
		return fmt.Errorf("put %s in place: %w", dir, err)
	}
	p.path = ""
	return atomicfile.SyncDir(filepath.Dir(dir))
}

// place puts single paths into the directory, each in place of what is there.
func (p *partial) place(paths []string) error {
	if err := unix.Syncfs(int(p.d.Fd())); err != nil {
		return fmt.Errorf("write to disk: %w", err)
	}
	if err := os.Mkdir(p.into, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	into, err := openTree(p.into, nil)
	if err != nil {
		return err
	}
	defer into.close()
	from, err := openTree(p.path, nil)
	if err != nil {
		return err
	}
	defer from.close()
	slices.Sort(paths)
	last := "/"
	for _, path := range slices.Compact(paths) {
		if strings.HasPrefix(path, last+"/") {
			continue // it is in one that was put there
		}
		if err := placeOne(from, into, path); err != nil {
			return fmt.Errorf("put %q in place: %w", path, err)
		}
		last = path
	}
	return nil
}

func placeOne(from, into *liveTree, path string) error {
	src, err := from.dir(parent(path))
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := into.makeDirs(from, parent(path))
	if err != nil {
		return err
	}
	defer dst.Close()
	name := filepath.Base(path)
	err = unix.Renameat2(int(src.Fd()), name, int(dst.Fd()), name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		// What was there goes away with the partial directory.
		err = unix.Renameat2(int(src.Fd()), name, int(dst.Fd()), name, unix.RENAME_EXCHANGE)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		err = unix.Renameat(int(src.Fd()), name, int(dst.Fd()), name)
	}
	return errors.Join(err, dst.Sync())
}

// makeDirs opens a directory, and makes it, and those it is in, as they are in from
// where they are missing.
func (t *liveTree) makeDirs(from *liveTree, path string) (*os.File, error) {
	d, err := t.dir(path)
	if !errors.Is(err, unix.ENOENT) || path == "" {
		return d, err
	}
	above, err := t.makeDirs(from, parent(path))
	if err != nil {
		return nil, err
	}
	defer above.Close()
	like, err := from.dir(path)
	if err != nil {
		return nil, err
	}
	defer like.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(like.Fd()), &st); err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(int(above.Fd()), filepath.Base(path), 0o700); err != nil {
		return nil, err
	}
	if d, err = t.dir(path); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		err = unix.Fchown(int(d.Fd()), int(st.Uid), int(st.Gid))
	}
	if err = errors.Join(err, unix.Fchmod(int(d.Fd()), st.Mode&0o7777)); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}
