package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

// Source is a live directory tree, and the way to hold it still.
type Source struct {
	// Dir is the host's path of the agent's home. It is not a symbolic link; what is
	// in it may be anything.
	Dir string
	// Stage is a directory of ours on the same file system, for copies made while the
	// tree is held. It is made when missing, and emptied before and after.
	Stage string
	// Hold halts everything that writes to Dir, calls do, and lets it go on whatever do
	// returned; it returns that error, or its own. do is not called after Hold returned.
	// nil when nothing writes to Dir.
	Hold func(ctx context.Context, do func() error) error
	// Leave says what is not part of the state: caches, temporary files. path is
	// relative to Dir, with "/". A directory that is left is not looked into. nil
	// leaves nothing.
	Leave func(path string, dir bool) bool
}

// SnapshotOptions go with one version.
type SnapshotOptions struct {
	Reason string            // for people
	Tags   map[string]string // the caller's own words
	// Always makes a version even when nothing has changed.
	Always bool
}

const (
	// liveWorth is how much must have changed, in bytes, for it to be read before the
	// tree is held, so that less is left to do then.
	liveWorth = 8 << 20
	// liveRounds bounds how often that is done, as long as it helps.
	liveRounds = 3
	// maxTaking bounds how long taking a version may last: what it has stored is safe
	// from being taken for garbage for longer than that.
	maxTaking = 20 * time.Hour
)

// taking is one version being made.
type taking struct {
	v     *Vault
	src   Source
	opts  SnapshotOptions
	stats Stats
	begun time.Time
	held  time.Time // when the state was held still

	tree   *liveTree
	stage  *stage
	packer *packer
	live   map[string]liveFile // read before the tree was held
	synced time.Time           // by the file system: when memory mapped to files was last written out
}

// Snapshot makes a version of the tree as it is while it is held still.
//
// ErrUnchanged, with Stats, when it is that of the newest version; ErrFenced when
// another host writes this agent's versions. On any error there is no new version,
// unless the store lost its answer to the last step; then the next one is made on
// top of it.
func (v *Vault) Snapshot(ctx context.Context, src Source, opts SnapshotOptions) (Version, Stats, error) {
	done, err := v.repo.turn(ctx, v.keys.vault)
	if err != nil {
		return Version{}, Stats{}, fmt.Errorf("back up %s: %w", v.agent, err)
	}
	defer done()
	t := &taking{v: v, src: src, opts: opts, begun: v.opts.Now()}
	version, err := t.take(ctx)
	t.stats.Took = v.opts.Now().Sub(t.begun)
	if err != nil {
		return Version{}, t.stats, fmt.Errorf("back up %s: %w", v.agent, err)
	}
	return version, t.stats, nil
}

func (t *taking) take(ctx context.Context) (version Version, err error) {
	v := t.v
	if err := checkOptions(t.opts); err != nil {
		return version, err
	}
	newest, sealed, seq, err := v.newest(ctx)
	if errors.Is(err, ErrDamaged) {
		newest, err = v.overDamaged(seq, err)
		sealed = nil
	}
	if err != nil {
		return version, err
	}
	next, err := v.next(newest, seq)
	if err != nil {
		return version, err
	}
	if err := v.loadBase(ctx, newest, sealed); err != nil {
		return version, err
	}
	if v.cutter == nil {
		if v.cutter, err = newCutter(v.keys); err != nil {
			return version, err
		}
	}
	if t.tree, err = openTree(t.src.Dir, t.src.Leave); err != nil {
		return version, err
	}
	defer t.tree.close()
	if t.stage, err = openStage(t.src.Stage); err != nil {
		return version, err
	}
	defer func() { err = errors.Join(err, t.stage.close()) }()

	// Numbers of packs that come to nothing are forgotten.
	known := len(v.base.packs.ids)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.packer = newPacker(ctx, v.repo.store, v.keys, v.prefix+packsFirst, &v.base.packs, v.base.index)
	made, err := t.make(ctx, next)
	if err != nil {
		cancel()
		_ = t.packer.finish() // err says why
		v.base.packs.cut(known)
		return version, err
	}
	return made, nil
}

// make reads the tree, and stores what is new in it.
func (t *taking) make(ctx context.Context, next *manifest) (Version, error) {
	if err := t.look(ctx); err != nil {
		return Version{}, err
	}
	staged, err := t.hold(ctx)
	if err != nil {
		return Version{}, err
	}
	if err := t.store(ctx, staged); err != nil {
		return Version{}, err
	}
	t.count(staged)
	if t.unchanged(staged) && !next.Claimed && !t.opts.Always {
		if !t.packer.pending() {
			t.v.base.stamps = staged.stamps
			t.v.writeCache(t.v.base)
		}
		return Version{}, ErrUnchanged
	}
	return t.commit(ctx, next, staged)
}

func checkOptions(opts SnapshotOptions) error {
	if len(opts.Reason) > maxReason || len(opts.Tags) > maxTags {
		return errors.New("the reason is too long, or there are too many tags")
	}
	for k, v := range opts.Tags {
		if len(k)+len(v) > maxTag {
			return errors.New("a tag is too long")
		}
	}
	return nil
}

// next is the manifest of the version to come, as far as it is known before the
// tree is read. ErrFenced when this host may not write it.
func (v *Vault) next(newest *manifest, seq uint64) (*manifest, error) {
	m := &manifest{Format: format, Vault: v.keys.vault}
	m.Seq, m.Agent, m.Host, m.Writer, m.Epoch = seq+1, v.agent, v.opts.Host, v.opts.Writer, 1
	m.ID = versionID(m.Seq)
	claim := v.claimed()
	if newest == nil {
		m.Epoch, m.Claimed = max(claim, 1), true
		return m, nil
	}
	m.Parent = newest.Seq
	switch {
	case claim > newest.Epoch:
		m.Epoch, m.Claimed = claim, true
	case newest.Writer == v.opts.Writer:
		m.Epoch = newest.Epoch
	default:
		return nil, fenced(newest)
	}
	return m, nil
}

func fenced(by *manifest) error {
	return remedy.With(fmt.Errorf("%w: version %s is of %s (%s), at %s", ErrFenced, by.ID, by.Host, by.Writer, by.Time.Format(time.RFC3339)),
		"let only one of the two hosts run this agent; to go on here, take its backups over")
}

// unchanged says whether the tree is that of the newest version.
func (t *taking) unchanged(s *staged) bool {
	b := t.v.base
	if b.m == nil || len(b.entries) != len(s.entries) {
		return false
	}
	for i := range s.entries {
		if !s.entries[i].sameAs(&b.entries[i]) {
			return false
		}
	}
	return true
}

// count makes the numbers of a version.
func (t *taking) count(s *staged) {
	t.stats.Files = len(s.entries) - 1
	for i := range s.entries {
		t.stats.Bytes += s.entries[i].size
	}
	t.stats.Skipped, t.stats.NSkipped = s.listing.skipped, s.listing.nSkipped
}

// commit stores the list of files, and then the manifest: from that moment there
// is a new version.
func (t *taking) commit(ctx context.Context, m *manifest, s *staged) (Version, error) {
	v := t.v
	if m.Parent == 0 {
		if err := v.writeAbout(ctx, true); err != nil {
			return Version{}, fmt.Errorf("name the agent: %w", err)
		}
	}
	if err := t.gather(ctx, s.entries); err != nil {
		return Version{}, err
	}
	next := &base{packs: v.base.packs, entries: s.entries, stamps: s.stamps, index: v.base.index, sizes: v.base.sizes}
	refs, err := t.storeSegments(next)
	if err != nil {
		return Version{}, err
	}
	if err := t.packer.finish(); err != nil {
		return Version{}, err
	}
	m.setSegments(refs)
	m.Time, m.Reason, m.Tags = t.held.Round(0).UTC(), t.opts.Reason, maps.Clone(t.opts.Tags)
	now := v.opts.Now()
	t.stats.Stored, t.stats.Objects = t.packer.stored, len(t.packer.written)
	t.stats.Took = now.Sub(t.begun)
	m.Stats = t.stats
	if took := now.Round(0).Sub(t.begun.Round(0)); took > maxTaking {
		return Version{}, remedy.With(fmt.Errorf("it took %v, at most %v is safe", took.Round(time.Minute), maxTaking),
			"use a faster line, or leave large files out of the agent's home at first")
	}
	sealed, err := v.putManifest(ctx, m)
	if err != nil {
		return Version{}, err
	}
	m.size = int64(len(sealed))
	next.m, next.object = m, sealed
	t.adopt(next)
	t.stats = m.version().Stats
	return m.version(), nil
}

// storeSegments stores the list of files.
func (t *taking) storeSegments(next *base) ([]segmentRef, error) {
	var refs []segmentRef
	w := segmentWriter{keys: t.v.keys, packs: t.packer.packs, emit: func(raw []byte) error {
		at, id, err := t.packer.add(chunkSegment, raw)
		if err != nil {
			return err
		}
		refs = append(refs, segmentRef{id, t.packer.packs.ids[at.pack], at.ordinal})
		next.raw = append(next.raw, raw)
		return nil
	}}
	if err := w.write(next.entries); err != nil {
		return nil, fmt.Errorf("store the list of files: %w", err)
	}
	return refs, nil
}

// adopt makes the version that was written the base of the next one.
func (t *taking) adopt(next *base) {
	v := t.v
	next.packs = v.base.packs // grown since
	maps.Copy(next.index, t.packer.added)
	if next.sizes == nil {
		next.sizes = map[uint32]int64{}
	}
	for _, w := range t.packer.written {
		next.sizes[next.packs.number(w.id)] = w.size
	}
	next.trim()
	v.base = next
	v.last.Store(next.m.Seq)
	v.addFooters(next, t.packer.written)
	v.writeCache(next)
	v.unclaim(next.m.Epoch)
}

// putManifest writes a version, if its number is free: of several writers one
// succeeds. It returns the bytes written.
func (v *Vault) putManifest(ctx context.Context, m *manifest) ([]byte, error) {
	plain, err := m.encode()
	if err != nil {
		return nil, err
	}
	name := v.versionName(m.Seq)
	sealed := v.keys.seal.seal(nil, plain, where(sealManifest, name))
	err = v.repo.store.Put(ctx, name, sealed, true)
	if err == nil {
		return sealed, nil
	}
	if errors.Is(err, blob.ErrExists) || errors.Is(err, blob.ErrUnavailable) {
		// Perhaps ours was written, and only the answer was lost.
		there, got, readErr := v.readManifest(ctx, m.Seq)
		switch {
		case readErr == nil && bytes.Equal(got, sealed):
			return sealed, nil
		case readErr == nil:
			return nil, fenced(there)
		case errors.Is(err, blob.ErrExists):
			return nil, fmt.Errorf("%w: somebody wrote version %s meanwhile: %w", ErrFenced, m.ID, readErr)
		}
	}
	return nil, fmt.Errorf("store version %s: %w", m.ID, err)
}
