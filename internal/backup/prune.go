package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

// DefaultGrace is how long what nobody refers to is kept. It is longer than taking
// a version may last, so what a running one has stored already is safe.
const DefaultGrace = 24 * time.Hour

const (
	garbageDigits = 16
	condemnMost   = 10_000  // packs in one list
	maxGarbage    = 1 << 20 // bytes of a list
)

// PruneOptions of one run.
type PruneOptions struct {
	// Alone: no other process works on this agent's backups now, so nothing is kept
	// for one.
	Alone bool
	// Drop are IDs of versions that go whatever the policy says, such as damaged ones.
	// The newest cannot go.
	Drop []string

	grace time.Duration // for tests; DefaultGrace when 0
}

func (o PruneOptions) wait() time.Duration {
	switch {
	case o.Alone:
		return 0
	case o.grace > 0:
		return o.grace
	}
	return DefaultGrace
}

// garbageList is what a list of condemned packs has in it.
type garbageList struct {
	Format string `json:"format"`
	Packs  []byte `json:"packs"` // IDs, one after another
}

// Prune lets go of the versions that the policy does not keep, and then of the
// packs that no version needs: those are condemned first, and deleted by a run that
// comes at least DefaultGrace later and finds them needed by nobody still. It may be
// interrupted anywhere, and run beside anything else, from any host.
//
// A zero policy lets go of no version. ErrDamaged when a version cannot be read:
// what it needs is not known then, and no pack is deleted.
func (v *Vault) Prune(ctx context.Context, policy Policy, opts PruneOptions) (PruneReport, error) {
	fail := func(r PruneReport, err error) (PruneReport, error) {
		return r, fmt.Errorf("prune backups of %s: %w", v.agent, err)
	}
	done, err := v.repo.turn(ctx, v.keys.vault)
	if err != nil {
		return fail(PruneReport{}, err)
	}
	defer done()
	report, err := v.letGo(ctx, policy, opts)
	if err != nil {
		return fail(report, err)
	}
	if err := v.collect(ctx, opts.wait(), &report); err != nil {
		return fail(report, err)
	}
	return report, nil
}

// letGo removes versions.
func (v *Vault) letGo(ctx context.Context, policy Policy, opts PruneOptions) (report PruneReport, err error) {
	list, err := v.manifests(ctx)
	if err != nil {
		return report, err
	}
	list = slices.DeleteFunc(list, func(l listed) bool { return l.Removed })
	var readable []Version
	for _, l := range list {
		if l.Damaged == "" {
			readable = append(readable, l.Version)
		}
	}
	kept := policy.keep(readable)
	for i, l := range list {
		drop := slices.Contains(opts.Drop, l.ID)
		switch {
		case i == len(list)-1 && drop:
			return report, remedy.With(fmt.Errorf("version %s is the newest", l.ID), "make a new one first")
		case i == len(list)-1, !drop && (l.Damaged != "" || kept[l.Seq]):
			report.Kept++
			continue
		}
		if err := v.remove(ctx, l.manifest, opts.wait()); err != nil {
			return report, fmt.Errorf("version %s: %w", l.ID, err)
		}
		report.Removed++
	}
	return report, nil
}

// remove lets go of one version. Its number stays taken, for a writer that was held
// up and still means to write it; forever where an epoch begins, as that is where a
// writer that was replaced would go on.
func (v *Vault) remove(ctx context.Context, m *manifest, grace time.Duration) error {
	name := v.versionName(m.Seq)
	first := m.Claimed || m.Damaged != ""
	if grace == 0 && !first {
		return v.repo.store.Delete(ctx, name)
	}
	stone := &manifest{Format: format, Vault: v.keys.vault, Claimed: first, Removed: true}
	stone.ID, stone.Seq, stone.Agent, stone.Time = m.ID, m.Seq, v.agent, m.Time
	stone.Host, stone.Writer, stone.Epoch, stone.Parent = m.Host, m.Writer, m.Epoch, m.Parent
	plain, err := stone.encode()
	if err != nil {
		return err
	}
	return v.repo.store.Put(ctx, name, v.keys.seal.seal(nil, plain, where(sealManifest, name)), false)
}

// condemned is a list of packs that nobody needed when it was written.
type condemned struct {
	info  blob.Info
	packs []packID
}

// collect condemns and deletes packs. The order matters: what is in the store is
// listed before what refers to it. A pack that comes in between is not looked at,
// and one whose version comes in between was not condemned long enough ago.
func (v *Vault) collect(ctx context.Context, grace time.Duration, report *PruneReport) error {
	lists, err := v.garbageLists(ctx)
	if err != nil {
		return err
	}
	packs, err := v.packSizes(ctx)
	if err != nil {
		return err
	}
	versions, err := v.manifests(ctx)
	if err != nil {
		return err
	}
	needed, err := v.needed(ctx, versions)
	if err != nil {
		return err
	}
	fresh := unneeded(packs, needed, lists)
	stones := slices.ContainsFunc(versions, func(l listed) bool { return l.Removed && !l.Claimed })
	if len(fresh) == 0 && len(lists) == 0 && !stones {
		return nil
	}
	written, err := v.condemn(ctx, fresh)
	if err != nil {
		return err
	}
	lists = append(lists, written...)
	// The clock of the store, and nobody else's, says how old a list is.
	due := written[len(written)-1].info.Modified.Add(-grace)
	for _, l := range lists {
		if err := v.execute(ctx, l, due, packs, needed, report); err != nil {
			return err
		}
	}
	for _, l := range versions {
		if l.Removed && !l.Claimed && !l.info.Modified.After(due) {
			if err := v.repo.store.Delete(ctx, l.info.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// execute deletes what one list condemned, if that is long enough ago.
func (v *Vault) execute(ctx context.Context, l condemned, due time.Time, packs map[packID]int64, needed map[packID]bool, report *PruneReport) error {
	waits := l.info.Modified.After(due)
	for _, id := range l.packs {
		size, there := packs[id]
		switch {
		case !there || needed[id]:
			continue
		case waits:
			report.Condemned++
			continue
		}
		if err := v.repo.store.Delete(ctx, v.packs.name(id)); err != nil {
			return err
		}
		delete(packs, id)
		report.Deleted++
		report.Freed += size
	}
	if waits && len(l.packs) > 0 {
		return nil
	}
	return v.repo.store.Delete(ctx, l.info.Name)
}

// unneeded lists the packs that nobody needs, and no list names.
func unneeded(packs map[packID]int64, needed map[packID]bool, lists []condemned) []packID {
	named := map[packID]bool{}
	for _, l := range lists {
		for _, id := range l.packs {
			named[id] = true
		}
	}
	var out []packID
	for id := range packs {
		if !needed[id] && !named[id] {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, func(a, b packID) int { return strings.Compare(string(a[:]), string(b[:])) })
	return out
}

// condemn writes lists of packs, at least one, and returns them.
func (v *Vault) condemn(ctx context.Context, packs []packID) ([]condemned, error) {
	var out []condemned
	for first := true; first || len(packs) > 0; first = false {
		some := packs[:min(len(packs), condemnMost)]
		packs = packs[len(some):]
		list := garbageList{Format: format, Packs: []byte{}}
		for _, id := range some {
			list.Packs = append(list.Packs, id[:]...)
		}
		plain, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		name := v.prefix + garbageFirst + randomHex(garbageDigits/2)
		if err := v.repo.store.Put(ctx, name, v.keys.seal.seal(nil, plain, where(sealGarbage, name)), false); err != nil {
			return nil, err
		}
		info, err := v.repo.store.Stat(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, condemned{info, some})
	}
	return out, nil
}

// garbageLists reads the lists of condemned packs. Of one that cannot be read the
// packs are condemned anew.
func (v *Vault) garbageLists(ctx context.Context) ([]condemned, error) {
	var lists []condemned
	first := v.prefix + garbageFirst
	err := v.repo.store.List(ctx, first, func(info blob.Info) error {
		if isHex(strings.TrimPrefix(info.Name, first), garbageDigits) {
			lists = append(lists, condemned{info: info})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range lists {
		lists[i].packs, err = v.readGarbage(ctx, lists[i].info.Name)
		if err != nil && !errors.Is(err, ErrDamaged) {
			return nil, err
		}
	}
	return lists, nil
}

func (v *Vault) readGarbage(ctx context.Context, name string) ([]packID, error) {
	sealed, err := getWhole(ctx, v.repo.store, name, maxGarbage)
	if err != nil {
		return nil, absent(name, err)
	}
	plain, err := v.keys.seal.open(sealed, where(sealGarbage, name))
	if err != nil {
		return nil, fmt.Errorf("object %s: %w", name, err)
	}
	var list garbageList
	if err := json.Unmarshal(plain, &list); err != nil || list.Format != format || len(list.Packs)%idSize != 0 {
		return nil, damaged(name, "it is not a list of packs")
	}
	var packs []packID
	for ids := list.Packs; len(ids) > 0; ids = ids[idSize:] {
		packs = append(packs, packID(ids[:idSize]))
	}
	return packs, nil
}

// packSizes lists the packs in the store.
func (v *Vault) packSizes(ctx context.Context) (map[packID]int64, error) {
	packs := map[packID]int64{}
	err := v.repo.store.List(ctx, v.packs.prefix, func(info blob.Info) error {
		if id, ok := parsePackID(strings.TrimPrefix(info.Name, v.packs.prefix)); ok {
			packs[id] = info.Size
		}
		if len(packs) > maxEntries {
			return damaged(v.packs.prefix, "there are too many packs")
		}
		return nil
	})
	return packs, err
}

// needed says which packs the versions refer to.
func (v *Vault) needed(ctx context.Context, versions []listed) (map[packID]bool, error) {
	needed := map[packID]bool{}
	var segments []want
	seen := map[want]bool{}
	for _, m := range versions {
		if m.Damaged != "" {
			return nil, unknownNeeds(fmt.Errorf("version %s: %w: %s", m.ID, ErrDamaged, m.Damaged))
		}
		for w := range m.segmentWants() {
			needed[w.pack] = true
			if !seen[w] {
				seen[w] = true
				segments = append(segments, w)
			}
		}
	}
	s := v.packs.stream(ctx, slices.Values(segments))
	defer s.close()
	var packs packTable
	for _, w := range segments {
		raw, err := s.next()
		if err == nil {
			if _, err = decodeSegment(raw, &packs); err != nil {
				err = damaged(v.packs.name(w.pack), err.Error())
			}
		}
		if errors.Is(err, ErrDamaged) {
			return nil, unknownNeeds(err)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, id := range packs.ids {
		needed[id] = true
	}
	return needed, nil
}

func unknownNeeds(err error) error {
	return remedy.With(fmt.Errorf("what a version needs is not known, so nothing was deleted: %w", err),
		"verify and repair the backup, or drop the damaged version")
}
