package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDiff bounds what Diff returns.
const maxDiff = 100_000

// Diff lists what changed from one version to another, by path, at most 100,000
// changes. When a directory was last changed does not count.
func (v *Vault) Diff(ctx context.Context, from, to string) ([]Change, error) {
	old, err := v.Tree(ctx, from)
	if err != nil {
		return nil, err
	}
	now, err := v.Tree(ctx, to)
	if err != nil {
		return nil, err
	}
	var out []Change
	sink := func(c Change) {
		if c.What != "" && len(out) < maxDiff {
			out = append(out, c)
		}
	}
	i, j := 1, 1 // beyond the roots
	for i < len(old.entries) || j < len(now.entries) {
		switch {
		case j == len(now.entries) || i < len(old.entries) && old.entries[i].path < now.entries[j].path:
			sink(removed(old.real(&old.entries[i])))
			i++
		case i == len(old.entries) || now.entries[j].path < old.entries[i].path:
			sink(added(now.real(&now.entries[j])))
			j++
		default:
			sink(difference(old.real(&old.entries[i]), now.real(&now.entries[j])))
			i++
			j++
		}
	}
	return out, nil
}

// real is an entry, or what a hard link is, at the link's path.
func (t *Tree) real(e *entry) *entry {
	f := t.resolve(e)
	if f == nil || f == e {
		return e
	}
	out := *f
	out.path = e.path
	return &out
}

func removed(e *entry) Change { return Change{e.path, "removed", e.size, -1} }
func added(e *entry) Change   { return Change{e.path, "added", -1, e.size} }

// difference says how two entries of a path differ; What is "" when they do not.
func difference(old, now *entry) Change {
	c := Change{Path: now.path, From: old.size, To: now.size}
	switch {
	case old.kind != now.kind:
		c.What = "kind"
	case now.kind == recordSymlink && old.target != now.target, now.kind == recordFile && !old.sameContent(now):
		c.What = "content"
	case !old.sameMeta(now):
		c.What = "metadata"
	}
	return c
}

// compare fills in what of a tree is as it is in a directory, and what is not.
// Where there is nothing, all is as it is in the version.
func (t *Tree) compare(ctx context.Context, dir string, opts RestoreOptions, r *Report) error {
	r.Kept = t.Len()
	if err := mustBeEmpty(dir); err == nil {
		return nil
	} else if errors.Is(err, unix.ENOTDIR) {
		return err
	}
	live, err := openTree(dir, opts.Leave)
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	defer live.close()
	l, err := live.walk(ctx)
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	r.Kept = 0
	sink := func(c Change) {
		if c.What == "" {
			r.Kept++
			return
		}
		r.NChanges++
		if len(r.Changes) < maxChanges {
			r.Changes = append(r.Changes, c)
		}
	}
	i, j := 1, 1
	for i < len(l.nodes) || j < len(t.entries) {
		switch {
		case j == len(t.entries) || i < len(l.nodes) && l.nodes[i].path < t.entries[j].path:
			if inside(l.nodes[i].path, opts.Only) {
				sink(removed(entryOf(l.nodes[i])))
			}
			i++
		case i == len(l.nodes) || t.entries[j].path < l.nodes[i].path:
			sink(added(t.real(&t.entries[j])))
			j++
		default:
			now := t.real(&t.entries[j])
			old, err := t.lookAt(ctx, live, l.nodes[i], now)
			if err != nil {
				return fmt.Errorf("compare %q: %w", now.path, err)
			}
			sink(difference(old, now))
			i++
			j++
		}
	}
	return nil
}

// inside says whether a path is, or is in, one of those; in none when there are none.
func inside(p string, only []string) bool {
	for _, o := range only {
		if p == o || strings.HasPrefix(p, o+"/") {
			return true
		}
	}
	return len(only) == 0
}

// entryOf is what a node alone says.
func entryOf(n node) *entry {
	e := &entry{path: n.path, kind: recordFile, mode: n.mode & 0o7777, uid: n.uid, gid: n.gid, sec: n.sec, nsec: n.nsec, size: n.size}
	switch n.kind() {
	case unix.S_IFDIR:
		e.kind, e.size = recordDir, 0
	case unix.S_IFLNK:
		e.kind, e.size = recordSymlink, 0
	}
	return e
}

// lookAt describes what is at a path of a live tree, as far as that matters beside
// like: a content of another size is not read. What cannot be read differs.
func (t *Tree) lookAt(ctx context.Context, live *liveTree, n node, like *entry) (*entry, error) {
	e := entryOf(n)
	if e.kind != like.kind {
		return e, nil
	}
	dir, err := live.dir(parent(n.path))
	if err != nil {
		return e, passOver(err)
	}
	defer dir.Close()
	switch e.kind {
	case recordDir:
		d, err := live.dir(n.path)
		if err != nil {
			return e, passOver(err)
		}
		defer d.Close()
		e.xattrs, err = readXattrs(d)
		return e, passOver(err)
	case recordSymlink:
		e.target, err = readLink(dir, path.Base(n.path))
		return e, passOver(err)
	}
	if e.size != like.size {
		return e, nil
	}
	f, _, err := live.file(dir, path.Base(n.path))
	if err != nil {
		return e, passOver(err)
	}
	defer f.Close()
	if e.xattrs, err = readXattrs(f); err != nil {
		return e, passOver(err)
	}
	e.hash, err = hashFile(ctx, t.v.keys, f, e.size)
	return e, passOver(err)
}

// passOver forgets what only says that a file was not to be read.
func passOver(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// hashFile makes the contentHash of a file's first size bytes.
func hashFile(ctx context.Context, keys keyring, f *os.File, size int64) (contentHash, error) {
	h := newContentHasher(keys)
	buf := make([]byte, 256<<10)
	for at := int64(0); at < size; {
		from, to, err := extent(f, at, size)
		if err != nil {
			return contentHash{}, err
		}
		h.hole(from - at)
		for from < to {
			if err := ctx.Err(); err != nil {
				return contentHash{}, err
			}
			n, err := f.ReadAt(buf[:min(int64(len(buf)), to-from)], from)
			h.write(buf[:n])
			from += int64(n)
			if n == 0 && err != nil {
				return contentHash{}, errShort
			}
		}
		at = to
	}
	return h.sum(), nil
}
