package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"

	"golang.org/x/sync/errgroup"
)

// base is the newest version, with what spares reading files and storing chunks
// again. Of a base whose m is nil there is no version.
type base struct {
	m       *manifest
	object  []byte // that m was read from, sealed
	packs   packTable
	entries []entry
	stamps  []stamp // of the entries; zero where not known
	index   map[chunkID]place
	raw     [][]byte         // the segments, as they are in the store
	sizes   map[uint32]int64 // of packs, by number
}

// find returns the number of the first entry that is not before path, from at on;
// callers go through both in order.
func (b *base) find(path string, at int) (next int, there bool) {
	for at < len(b.entries) && b.entries[at].path < path {
		at++
	}
	return at, at < len(b.entries) && b.entries[at].path == path
}

// used says of every pack whether the version refers to it.
func (b *base) used() []bool {
	for i := range b.m.Segments {
		b.packs.number(b.m.pack(i))
	}
	used := make([]bool, len(b.packs.ids))
	for i := range b.entries {
		for _, r := range b.entries[i].runs {
			if r.pack != hole {
				used[r.pack] = true
			}
		}
	}
	for i := range b.m.Segments {
		used[b.packs.number(b.m.pack(i))] = true
	}
	return used
}

// trim forgets chunks in packs that the version does not refer to: those may be
// deleted.
func (b *base) trim() {
	used := b.used()
	for id, at := range b.index {
		if !used[at.pack] {
			delete(b.index, id)
		}
	}
	for n := range b.sizes {
		if !used[n] {
			delete(b.sizes, n)
		}
	}
}

// segmentWants lists the chunks that a version's segments are.
func (m *manifest) segmentWants() iter.Seq[want] {
	return func(yield func(want) bool) {
		for i, s := range m.Segments {
			if !yield(want{m.pack(i), s[1]}) {
				return
			}
		}
	}
}

// readTree reads a version's list of files. raw gets the segments when it is not
// nil.
func (v *Vault) readTree(ctx context.Context, m *manifest, packs *packTable, raw *[][]byte) ([]entry, error) {
	ids := map[packID]bool{}
	for w := range m.segmentWants() {
		ids[w.pack] = true
	}
	if err := v.packs.prepare(ctx, maps.Keys(ids)); err != nil {
		return nil, err
	}
	s := v.packs.stream(ctx, m.segmentWants())
	defer s.close()
	var all []entry
	var tree treeCheck
	chunks := make([]chunkID, 0, len(m.Segments))
	for i := range m.Segments {
		data, err := s.next()
		if err != nil {
			return nil, fmt.Errorf("list of files, part %d: %w", i, err)
		}
		chunks = append(chunks, v.keys.chunkID(chunkSegment, data))
		part, err := decodeSegment(data, packs)
		if err == nil {
			all, err = tree.join(all, part)
		}
		if err != nil {
			return nil, damaged(v.packs.name(m.pack(i)), err.Error())
		}
		if raw != nil {
			*raw = append(*raw, data)
		}
	}
	if rootOf(chunks) != m.Root || len(all) == 0 {
		return nil, damaged(v.versionName(m.Seq), "its list of files is another one")
	}
	return all, nil
}

// newest returns the newest version in the store, with its object's bytes; nil when
// there is none. The error wraps ErrDamaged when it cannot be read; seq is right
// all the same.
func (v *Vault) newest(ctx context.Context) (m *manifest, sealed []byte, seq uint64, err error) {
	infos, err := v.versionObjects(ctx)
	if err != nil || len(infos) == 0 {
		return nil, nil, 0, err
	}
	seq, _ = parseVersionID(infos[len(infos)-1].Name[len(v.prefix+versionsFirst):])
	m, sealed, err = v.readManifest(ctx, seq)
	return m, sealed, seq, err
}

// loadBase makes v.base the version m. What the store has lost of it is left out,
// and will be stored anew. The caller has the turn.
func (v *Vault) loadBase(ctx context.Context, m *manifest, sealed []byte) error {
	if m == nil {
		v.base = &base{index: map[chunkID]place{}}
		return nil
	}
	if v.base != nil && v.base.m != nil && bytes.Equal(v.base.object, sealed) {
		return nil
	}
	b := &base{m: m, object: sealed, index: map[chunkID]place{}}
	stamps, ok := v.readCache(b)
	if !ok {
		entries, err := v.readTree(ctx, m, &b.packs, &b.raw)
		if errors.Is(err, ErrDamaged) {
			v.opts.Log.Warn("the newest version is damaged; a whole one is stored next", "agent", v.agent, "version", m.ID, "err", err)
			v.base = &base{m: m, index: map[chunkID]place{}}
			return nil
		}
		if err != nil {
			return err
		}
		b.entries, stamps = entries, make([]stamp, len(entries))
	}
	b.stamps = stamps
	if err := v.loadIndex(ctx, b); err != nil {
		return err
	}
	v.base = b
	return nil
}

// loadIndex makes the index of all chunks in the packs that the version refers to.
func (v *Vault) loadIndex(ctx context.Context, b *base) error {
	known := v.readFooters()
	var fetched []writtenPack
	b.sizes = map[uint32]int64{}
	used := b.used()
	footers := make([]*footer, len(used))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for n, id := range b.packs.ids {
		if !used[n] {
			continue
		}
		if footers[n] = known[id]; footers[n] != nil {
			continue
		}
		g.Go(func() error {
			f, err := v.packs.footer(gctx, id)
			if errors.Is(err, ErrDamaged) {
				v.opts.Log.Warn("a part of the newest version is damaged; what is in it is stored anew", "agent", v.agent, "err", err)
				return nil
			}
			footers[n] = f
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for n, f := range footers {
		if f == nil {
			continue
		}
		if known[b.packs.ids[n]] == nil {
			fetched = append(fetched, writtenPack{id: b.packs.ids[n], footer: encodeFooter(f.chunks)})
		}
		b.sizes[uint32(n)] = int64(f.offsets[len(f.chunks)])
		for ordinal, c := range f.chunks {
			if !isLost(c.kind) {
				b.index[c.id] = place{uint32(n), uint32(ordinal)}
			}
		}
	}
	v.addFooters(b, fetched)
	return nil
}
