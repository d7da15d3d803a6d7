package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/blob"
)

// repairAtOnce is how many packs are repaired in one reading of the state.
const repairAtOnce = 4

// Repair brings back what a verification found damaged, as far as it can be had:
// from what of a pack is whole still, from the state as it is now, and from the
// cache. It reads the state without holding it: a piece is what was lost, or not.
//
// What cannot be had is in the report. Its place is kept, and a later repair may
// find it.
func (v *Vault) Repair(ctx context.Context, found VerifyReport, src Source) (RepairReport, error) {
	done, err := v.repo.turn(ctx, v.keys.vault)
	if err != nil {
		return RepairReport{}, fmt.Errorf("repair backups of %s: %w", v.agent, err)
	}
	defer done()
	r := &repairing{v: v, src: src}
	if err := r.run(ctx, found.Damage); err != nil {
		return r.report, fmt.Errorf("repair backups of %s: %w", v.agent, err)
	}
	return r.report, nil
}

// repairing is one repair.
type repairing struct {
	v      *Vault
	src    Source
	report RepairReport
	seq    uint64   // of the version that the cache has
	object []byte   // its manifest's object
	parts  [][]byte // its segments
	tables map[packID]*footer
}

func (r *repairing) run(ctx context.Context, damage []Damage) error {
	v := r.v
	r.remember()
	var packs []Damage
	for _, d := range damage {
		var err error
		switch name, ok := strings.CutPrefix(d.Object, v.prefix); {
		case ok && strings.HasPrefix(name, packsFirst):
			packs = append(packs, d)
		case ok && name == aboutName:
			err = v.writeAbout(ctx, false)
			r.report.Mended = append(r.report.Mended, d.Object)
		case ok && r.seq > 0 && d.Object == v.versionName(r.seq):
			err = v.repo.store.Put(ctx, d.Object, r.object, false)
			r.report.Mended = append(r.report.Mended, d.Object)
		default:
			r.report.Lost = append(r.report.Lost, d)
		}
		if err != nil {
			return err
		}
	}
	for len(packs) > 0 {
		some := packs[:min(len(packs), repairAtOnce)]
		packs = packs[len(some):]
		if err := r.packs(ctx, some); err != nil {
			return err
		}
	}
	// What was known of the packs is not so any more.
	v.packs.forget()
	v.base = nil
	if dir := v.cacheDir(); dir != "" {
		if err := os.Remove(filepath.Join(dir, packsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// remember takes what the cache has, in memory or on disk, of the newest version.
func (r *repairing) remember() {
	v := r.v
	r.tables = v.readFooters()
	if r.tables == nil {
		r.tables = map[packID]*footer{}
	}
	v.packs.mu.Lock()
	for id, f := range v.packs.footers {
		r.tables[id] = f
	}
	v.packs.mu.Unlock()
	if b := v.base; b != nil && b.m != nil && len(b.object) > 0 {
		r.seq, r.object, r.parts = b.m.Seq, b.object, b.raw
		return
	}
	seq, object, rest, ok := v.openCache()
	if !ok {
		return
	}
	plain, err := v.keys.seal.open(object, where(sealManifest, v.versionName(seq)))
	if err != nil {
		return // another agent's, or another repository's
	}
	if _, err := decodeManifest(plain, v.keys.vault, seq); err != nil {
		return
	}
	r.seq, r.object = seq, object
	for range rest.count(maxEntries) {
		r.parts = append(r.parts, rest.bytes(rest.count(maxRaw)))
	}
}

// broken is a pack that is made anew, under its old name.
type broken struct {
	Damage
	table   []chunkInfo
	chunks  [][]byte // sealed; nil while one is not to be had
	old     [][]byte // what stands in its place, where that is known
	missing int
	whole   int // still, or again
}

// slot is a chunk's place in a broken pack.
type slot struct {
	pack    *broken
	ordinal int
}

// packs repairs some packs.
func (r *repairing) packs(ctx context.Context, damage []Damage) error {
	var all []*broken
	wanted := map[chunkID][]slot{}
	for _, d := range damage {
		b, err := r.open(ctx, d)
		if err != nil {
			return err
		}
		if b == nil {
			r.report.Lost = append(r.report.Lost, d)
			continue
		}
		all = append(all, b)
		for o, c := range b.table {
			if b.chunks[o] == nil {
				wanted[c.id] = append(wanted[c.id], slot{b, o})
			}
		}
	}
	for _, part := range r.parts {
		r.offer(chunkSegment, part, wanted)
	}
	if len(wanted) > 0 {
		if err := r.search(ctx, wanted); err != nil {
			return err
		}
	}
	for _, b := range all {
		if err := r.close(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// open takes what is whole of a pack; nil when nobody knows what was in it.
func (r *repairing) open(ctx context.Context, d Damage) (*broken, error) {
	v := r.v
	id, ok := parsePackID(strings.TrimPrefix(d.Object, v.packs.prefix))
	if !ok {
		return nil, nil
	}
	data, err := getWhole(ctx, v.repo.store, d.Object, maxPack)
	if err != nil && !errors.Is(err, blob.ErrNotFound) && !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	f, err := v.packs.readFooter(ctx, d.Object)
	if errors.Is(err, ErrDamaged) {
		f, err = r.tables[id], nil
	}
	if err != nil || f == nil {
		return nil, err
	}
	b := &broken{Damage: d, chunks: make([][]byte, len(f.chunks)), old: make([][]byte, len(f.chunks))}
	b.table = append(b.table, f.chunks...)
	for o := range b.table {
		b.table[o].kind = found(b.table[o].kind)
	}
	whole := &footer{chunks: b.table, offsets: f.offsets}
	for o := range b.table {
		if int(f.offsets[o+1]) <= len(data) {
			b.old[o] = data[f.offsets[o]:f.offsets[o+1]]
		}
		if _, err := intact(v.keys, d.Object, whole, o, data); err == nil {
			b.chunks[o] = b.old[o]
			b.whole++
			continue
		}
		// Once more: what was spoiled on its way only must not be given up.
		again, err := v.packs.read(ctx, id, whole, []uint32{uint32(o)})
		switch {
		case err == nil && v.keys.chunkID(b.table[o].kind, again[0]) == b.table[o].id:
			b.chunks[o] = v.keys.seal.seal(nil, press(nil, again[0]), whereChunk(d.Object, o))
			b.whole++
			continue
		case err != nil && !errors.Is(err, ErrDamaged):
			return nil, err
		}
		b.missing++
	}
	return b, nil
}

// offer puts a piece wherever it is wanted.
func (r *repairing) offer(kind byte, raw []byte, wanted map[chunkID][]slot) {
	id := r.v.keys.chunkID(kind, raw)
	for _, s := range wanted[id] {
		s.pack.chunks[s.ordinal] = r.v.keys.seal.seal(nil, press(nil, raw), whereChunk(s.pack.Object, s.ordinal))
		s.pack.missing--
		s.pack.whole++
	}
	delete(wanted, id)
}

// search reads the state for pieces until all are found.
func (r *repairing) search(ctx context.Context, wanted map[chunkID][]slot) error {
	if r.src.Dir == "" {
		return nil
	}
	tree, err := openTree(r.src.Dir, r.src.Leave)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer tree.close()
	list, err := tree.walk(ctx)
	if err != nil {
		return err
	}
	cutter, err := newCutter(r.v.keys)
	if err != nil {
		return err
	}
	t := &taking{v: r.v, tree: tree}
	for _, n := range list.nodes {
		if len(wanted) == 0 {
			return nil
		}
		if n.kind() != unix.S_IFREG {
			continue
		}
		err := t.withFile(n.path, func(f *os.File, st stamp) error {
			return cutter.cut(ctx, f, st.size, func(data []byte) error {
				r.offer(chunkData, data, wanted)
				return nil
			}, func(int64) error { return nil })
		})
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			r.v.opts.Log.Debug("a file is no source for the repair", "path", n.path, "err", err)
		}
	}
	return nil
}

// close writes a pack with what was brought back. What was not is marked as lost,
// and what stands in its place stays there.
func (r *repairing) close(ctx context.Context, b *broken) error {
	if b.missing > 0 {
		b.Why = fmt.Sprintf("%s; %d of its %d pieces are not to be had", b.Why, b.missing, len(b.table))
		r.report.Lost = append(r.report.Lost, b.Damage)
	}
	if b.whole == 0 && b.missing > 0 {
		return nil // there is nothing to keep
	}
	var body []byte
	for o := range b.table {
		piece := b.chunks[o]
		if piece == nil {
			piece = b.old[o]
			b.table[o].kind = lost(b.table[o].kind)
		}
		b.table[o].stored = uint32(len(piece))
		body = append(body, piece...)
	}
	object := sealPack(r.v.keys, b.Object, body, encodeFooter(b.table))
	if err := r.v.repo.store.Put(ctx, b.Object, object, false); err != nil {
		return err
	}
	if b.missing == 0 {
		r.report.Mended = append(r.report.Mended, b.Object)
	}
	return nil
}
