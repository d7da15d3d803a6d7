package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Many versions one after another leave many small packs, and each costs a restore
// some requests. When there are enough of them, the next version puts what it needs
// of them into large ones. The small ones go with the last version that needs them.
const (
	gatherFrom  = 128      // small packs, before anything is gathered
	gatherSmall = 1 << 20  // bytes of a pack that counts as small
	gatherMost  = 64 << 20 // bytes of packs gathered at once
)

// gather stores what entries need of small packs anew, when those are many.
func (t *taking) gather(ctx context.Context, entries []entry) error {
	small := t.smallPacks(entries)
	if len(small) < gatherFrom {
		return nil
	}
	moved, err := t.move(ctx, entries, small)
	if errors.Is(err, ErrDamaged) {
		// It is a verification that says so; here all stays where it is.
		t.v.opts.Log.Warn("small packs were not gathered", "agent", t.v.agent, "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("gather small packs: %w", err)
	}
	for i, runs := range moved {
		entries[i].runs = runs
	}
	return nil
}

// smallPacks returns the numbers of the small packs that the version refers to, as
// many as are gathered at once.
func (t *taking) smallPacks(entries []entry) map[uint32]bool {
	b := t.v.base
	small := map[uint32]bool{}
	for n, size := range b.sizes {
		if size < gatherSmall {
			small[n] = true
		}
	}
	if len(small) < gatherFrom {
		return nil
	}
	needed := map[uint32]bool{}
	for i := range entries {
		for _, r := range entries[i].runs {
			if r.pack != hole && small[r.pack] {
				needed[r.pack] = true
			}
		}
	}
	total := int64(0)
	out := map[uint32]bool{}
	for n := range b.packs.ids {
		n := uint32(n)
		if !needed[n] || total+b.sizes[n] > gatherMost {
			continue
		}
		total += b.sizes[n]
		out[n] = true
	}
	return out
}

// move stores chunks of packs anew, and returns the runs of entries that refer to
// them as they are then, by the entries' numbers. The entries stay as they are.
func (t *taking) move(ctx context.Context, entries []entry, from map[uint32]bool) (map[int][]run, error) {
	table := &packTable{ids: t.packer.packs.ids} // as it is now: the packer goes on numbering
	affected := func(r run) bool { return r.pack != hole && from[r.pack] }
	s := t.v.packs.stream(ctx, func(yield func(want) bool) {
		for i := range entries {
			for _, r := range entries[i].runs {
				if !affected(r) {
					continue
				}
				for w := range wants(table, []run{r}) {
					if !yield(w) {
						return
					}
				}
			}
		}
	})
	defer s.close()
	t.packer.avoid = from
	moved := map[int][]run{}
	for i := range entries {
		if !slices.ContainsFunc(entries[i].runs, affected) {
			continue
		}
		var runs []run
		for _, r := range entries[i].runs {
			if !affected(r) {
				runs = appendRun(runs, r)
				continue
			}
			for range r.n {
				data, err := s.next()
				if err != nil {
					return nil, err
				}
				at, _, err := t.packer.add(chunkData, data)
				if err != nil {
					return nil, err
				}
				runs = appendRun(runs, run{at.pack, at.ordinal, 1})
			}
		}
		moved[i] = runs
	}
	return moved, nil
}
