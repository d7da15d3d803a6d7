package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// body is what a file holds, as an entry has it.
type body struct {
	size int64
	hash contentHash
	runs []run
}

// liveFile is a file that was read before the tree was held.
type liveFile struct {
	stamp
	body
	xattrs []xattr
}

// staged is the tree as it was while it was held, with copies of what is to be read.
type staged struct {
	listing *listing
	entries []entry
	stamps  []stamp
	copies  []stagedCopy
}

type stagedCopy struct {
	entry int
	name  string // in the stage
}

// look walks the tree while everything runs. When much has changed it reads that
// already, so that little is left to do while the tree is held.
func (t *taking) look(ctx context.Context) error {
	t.live = map[string]liveFile{}
	before := int64(1) << 62
	for round := 0; ; round++ {
		clock, err := t.stage.clock()
		if err != nil {
			return err
		}
		t.synced = clock
		list, err := t.tree.walk(ctx)
		if err != nil {
			return err
		}
		changed := t.changed(list)
		if err := t.sync(changed); err != nil {
			return err
		}
		size := int64(0)
		for _, n := range changed {
			size += n.size
		}
		if size <= liveWorth || size > before/2 || round == liveRounds {
			return nil
		}
		before = size
		if err := t.readLive(ctx, changed); err != nil {
			return err
		}
	}
}

// changed lists the files that may have changed since they were read, for the
// newest version or just now.
func (t *taking) changed(l *listing) []node {
	var out []node
	at := 0
	for _, n := range l.nodes {
		if n.kind() != unix.S_IFREG {
			continue
		}
		var known bool
		if at, known = t.v.base.find(n.path, at); known && t.v.base.stamps[at].reuses(n.stamp) {
			continue
		}
		if f, ok := t.live[n.path]; ok && f.stamp.reuses(n.stamp) {
			continue
		}
		out = append(out, n)
	}
	return out
}

// reuses says whether what was read under stamp s is what is under stamp now.
func (s stamp) reuses(now stamp) bool { return s.settled && s.sameAs(now) }

// sync makes the file system notice what was written to files through memory, so
// that the next such write gives the file a new time.
func (t *taking) sync(changed []node) error {
	for _, n := range changed {
		err := t.withFile(n.path, func(f *os.File, _ stamp) error {
			return unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE_AND_WAIT)
		})
		if err != nil && !vanished(err) && !unreadable(err) && !errors.Is(err, errNotNow) {
			return fmt.Errorf("write out %q: %w", n.path, err)
		}
	}
	return nil
}

// withFile opens a file of the tree.
func (t *taking) withFile(name string, do func(*os.File, stamp) error) error {
	dir, err := t.tree.dir(parent(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	f, st, err := t.tree.file(dir, path.Base(name))
	if err != nil {
		return err
	}
	defer f.Close()
	return do(f, st)
}

// readLive reads and stores changed files. What is written to meanwhile does not
// count, but most of it is in the store then.
func (t *taking) readLive(ctx context.Context, changed []node) error {
	for _, n := range changed {
		settled := n.stamp.settledBefore(t.synced)
		if n.size == 0 || !settled && n.size < 1<<20 {
			continue
		}
		err := t.withFile(n.path, func(f *os.File, st stamp) error {
			if !st.sameAs(n.stamp) {
				return nil
			}
			b, err := t.read(ctx, f, st.size)
			if errors.Is(err, errShort) {
				return nil
			}
			if err != nil {
				return err
			}
			xattrs, err := readXattrs(f)
			if err != nil {
				return nil // said when the tree is held
			}
			var after unix.Stat_t
			if err := unix.Fstat(int(f.Fd()), &after); err != nil {
				return err
			}
			if now := stampOf(&after); settled && now.sameAs(st) {
				st.settled = true
				t.live[n.path] = liveFile{st, b, xattrs}
			}
			return nil
		})
		if err != nil && !vanished(err) && !unreadable(err) && !errors.Is(err, errNotNow) {
			return fmt.Errorf("read %q: %w", n.path, err)
		}
	}
	return nil
}

// read stores the first size bytes of a file.
func (t *taking) read(ctx context.Context, f *os.File, size int64) (body, error) {
	b := body{size: size}
	hash := newContentHasher(t.v.keys)
	t.stats.Changed++
	err := t.v.cutter.cut(ctx, f, size, func(data []byte) error {
		hash.write(data)
		t.stats.Read += int64(len(data))
		at, _, err := t.packer.add(chunkData, data)
		b.runs = appendRun(b.runs, run{at.pack, at.ordinal, 1})
		return err
	}, func(n int64) error {
		hash.hole(n)
		b.runs = appendRun(b.runs, run{pack: hole, n: n})
		return nil
	})
	b.hash = hash.sum()
	return b, err
}

// hold has the tree held still, and meanwhile lists it and copies what changed.
func (t *taking) hold(ctx context.Context) (*staged, error) {
	var s *staged
	do := func() error {
		begun := t.v.opts.Now()
		t.held = begun
		var err error
		s, err = t.copyOut(ctx)
		t.stats.Held = t.v.opts.Now().Sub(begun)
		return err
	}
	var err error
	if t.src.Hold == nil {
		err = do()
	} else {
		err = t.src.Hold(ctx, do)
	}
	if err == nil && s == nil {
		err = errors.New("nobody held it")
	}
	if err != nil {
		return nil, fmt.Errorf("hold the state still: %w", err)
	}
	return s, nil
}

func (t *taking) copyOut(ctx context.Context) (*staged, error) {
	list, err := t.tree.walk(ctx)
	if err != nil {
		return nil, err
	}
	s := &staged{listing: list, entries: make([]entry, 0, len(list.nodes)), stamps: make([]stamp, 0, len(list.nodes))}
	c := copying{t: t, s: s, links: map[uint64]string{}}
	defer c.close()
	for _, n := range list.nodes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e, st, ok, err := c.entry(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", n.path, err)
		}
		if !ok {
			continue
		}
		s.entries = append(s.entries, e)
		s.stamps = append(s.stamps, st)
		list.bytes += len(e.target)
		for _, x := range e.xattrs {
			list.bytes += len(x.name) + len(x.value)
		}
		if err := list.fits(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// copying makes entries of nodes, in order.
type copying struct {
	t       *taking
	s       *staged
	at      int               // in the base
	links   map[uint64]string // the first path of a file with several, by inode
	dir     *os.File          // open; of dirPath
	dirPath string
}

func (c *copying) close() {
	if c.dir != nil {
		c.dir.Close()
	}
}

// open opens the directory that a path is in, or returns the one that is open.
func (c *copying) open(name string) (*os.File, error) {
	in := parent(name)
	if c.dir != nil && c.dirPath == in {
		return c.dir, nil
	}
	c.close()
	var err error
	c.dir, err = c.t.tree.dir(in)
	c.dirPath = in
	if err != nil {
		c.dir = nil
	}
	return c.dir, err
}

// entry returns what is known of a node, and copies a file if it must be read. ok
// is false when it is not to be had, which is noted.
func (c *copying) entry(ctx context.Context, n node) (e entry, st stamp, ok bool, err error) {
	st = n.stamp
	st.settled = st.settledBefore(c.t.synced)
	e = entry{path: n.path, mode: n.mode & 0o7777, uid: n.uid, gid: n.gid, sec: n.sec, nsec: n.nsec}
	b := c.t.v.base
	var known bool
	c.at, known = b.find(n.path, c.at)
	same := known && b.stamps[c.at].reuses(n.stamp)
	switch n.kind() {
	case unix.S_IFDIR:
		e.kind = recordDir
		if same {
			e.xattrs, st.settled = b.entries[c.at].xattrs, true
			return e, st, true, nil
		}
		return e, st, true, c.directory(&e)
	case unix.S_IFLNK:
		e.kind = recordSymlink
		if same {
			e.target, st.settled = b.entries[c.at].target, true
			return e, st, true, nil
		}
		ok, err = c.symlink(&e)
		return e, st, ok, err
	}
	e.kind = recordFile
	if n.nlink > 1 {
		if first, again := c.links[n.ino]; again {
			return entry{path: n.path, kind: recordLink, target: first}, st, true, nil
		}
	}
	switch live, read := c.t.live[n.path]; {
	case same && b.entries[c.at].kind == recordFile:
		old := &b.entries[c.at]
		e.xattrs, e.size, e.hash, e.runs, st.settled = old.xattrs, old.size, old.hash, old.runs, true
		ok = true
	case read && live.stamp.reuses(n.stamp):
		e.xattrs, e.size, e.hash, e.runs, st.settled = live.xattrs, live.body.size, live.hash, live.runs, true
		ok = true
	default:
		ok, err = c.file(ctx, &e, &st)
	}
	if ok && n.nlink > 1 {
		c.links[n.ino] = n.path
	}
	return e, st, ok, err
}

// skipped notes what cannot be had, and passes on errors that are not about that.
func (c *copying) skipped(path string, err error) error {
	if vanished(err) {
		return nil
	}
	if unreadable(err) || errors.Is(err, errNotNow) {
		c.s.listing.skip(path, err)
		return nil
	}
	return err
}

func (c *copying) directory(e *entry) error {
	d, err := c.t.tree.dir(e.path)
	if err != nil {
		return c.skipped(e.path, err)
	}
	defer d.Close()
	if e.xattrs, err = readXattrs(d); err != nil {
		c.s.listing.skip(e.path, err)
	}
	return nil
}

func (c *copying) symlink(e *entry) (bool, error) {
	d, err := c.open(e.path)
	if err != nil {
		return false, c.skipped(e.path, err)
	}
	if e.target, err = readLink(d, path.Base(e.path)); err != nil {
		return false, c.skipped(e.path, fmt.Errorf("%w: %w", errNotNow, err))
	}
	return true, nil
}

// file copies a file, to be read later.
func (c *copying) file(ctx context.Context, e *entry, st *stamp) (bool, error) {
	d, err := c.open(e.path)
	if err != nil {
		return false, c.skipped(e.path, err)
	}
	f, now, err := c.t.tree.file(d, path.Base(e.path))
	if err != nil {
		return false, c.skipped(e.path, err)
	}
	defer f.Close()
	if !now.sameAs(*st) {
		// Somebody writes all the same. What is copied will be looked at again.
		*st = now
		e.mode, e.uid, e.gid, e.sec, e.nsec = now.mode&0o7777, now.uid, now.gid, now.sec, now.nsec
	}
	if e.xattrs, err = readXattrs(f); err != nil {
		c.s.listing.skip(e.path, err)
	}
	if e.size = now.size; e.size == 0 {
		e.hash = newContentHasher(c.t.v.keys).sum()
		return true, nil
	}
	name, err := c.t.stage.copy(ctx, f, e.size)
	if err != nil {
		return false, err
	}
	var after unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &after); err != nil {
		return false, err
	}
	if now := stampOf(&after); !now.sameAs(*st) {
		st.settled = false
	}
	c.s.copies = append(c.s.copies, stagedCopy{len(c.s.entries), name})
	return true, nil
}

// store reads the copies and stores what is new in them.
func (t *taking) store(ctx context.Context, s *staged) error {
	for _, c := range s.copies {
		e := &s.entries[c.entry]
		f, err := t.stage.root.Open(c.name)
		if err != nil {
			return fmt.Errorf("read the copy of %q: %w", e.path, err)
		}
		b, err := t.read(ctx, f, e.size)
		err = errors.Join(err, f.Close(), t.stage.root.Remove(c.name))
		if err != nil {
			return fmt.Errorf("read the copy of %q: %w", e.path, err)
		}
		e.hash, e.runs = b.hash, b.runs
	}
	return nil
}
