package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/moltworker/moltworker/internal/blob"
)

// VerifyOptions of one verification.
type VerifyOptions struct {
	// Full reads every chunk that a version needs; else only what says where they are.
	Full bool
}

// maxDamage bounds what a verification lists.
const maxDamage = 1000

// Verify reads what the versions need and says what is wrong with it. An error means
// that the verification could not be finished; damage is in the report.
func (v *Vault) Verify(ctx context.Context, opts VerifyOptions) (VerifyReport, error) {
	store := &meter{Store: v.repo.store}
	check := &verifying{
		v:      v,
		store:  store,
		packs:  &packReader{store: store, keys: v.keys, prefix: v.packs.prefix},
		report: VerifyReport{Full: opts.Full, Time: v.opts.Now().UTC()},
		damage: map[string]*wrong{},
		parts:  map[want][]entry{},
		ids:    map[want]chunkID{},
		tables: map[uint32]*footer{},
	}
	err := check.run(ctx)
	check.report.Bytes = store.read.Load()
	if err != nil {
		return check.report, fmt.Errorf("verify backups of %s: %w", v.agent, err)
	}
	return check.report, nil
}

// verifying is one verification. It trusts nothing that was read before.
type verifying struct {
	v      *Vault
	store  blob.Store
	packs  *packReader
	report VerifyReport

	versions []*manifest
	sizes    map[packID]int64 // of the packs in the store
	table    packTable
	parts    map[want][]entry // what segments say; nil when one cannot be read
	ids      map[want]chunkID

	mu     sync.Mutex
	damage map[string]*wrong  // by object; guarded by mu
	tables map[uint32]*footer // of the packs that are needed; guarded by mu
}

// wrong is what is wrong with an object.
type wrong struct {
	why      string
	more     int
	versions []string
	ordinals map[uint32]bool // the chunks of a pack; nil: all of it
}

func (c *verifying) run(ctx context.Context) error {
	if err := c.objects(ctx); err != nil {
		return err
	}
	for _, m := range c.versions {
		if err := c.segments(ctx, m); err != nil {
			return err
		}
	}
	if err := c.readTables(ctx); err != nil {
		return err
	}
	for _, m := range c.versions {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.tree(m)
	}
	if c.report.Full {
		if err := c.chunks(ctx); err != nil {
			return err
		}
	}
	c.conclude()
	return nil
}

// note records damage to an object. ordinal is of a chunk, -1 when it is not about one.
func (c *verifying) note(object, why string, ordinal int, versions ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.damage[object]
	switch {
	case w == nil && len(c.damage) >= maxDamage:
		return
	case w == nil:
		w = &wrong{why: why, ordinals: map[uint32]bool{}}
		c.damage[object] = w
	default:
		w.more++
	}
	w.versions = append(w.versions, versions...)
	if ordinal < 0 {
		w.ordinals = nil
	} else if w.ordinals != nil {
		w.ordinals[uint32(ordinal)] = true
	}
}

// found records an error that is about damage, and returns any other.
func (c *verifying) found(err error, object string, ordinal int, versions ...string) error {
	if err == nil || !errors.Is(err, ErrDamaged) {
		return err
	}
	why := err.Error()
	for _, prefix := range []string{ErrDamaged.Error() + ": ", "object " + object} {
		why = strings.TrimPrefix(why, prefix)
	}
	c.note(object, strings.TrimLeft(why, ":, "), ordinal, versions...)
	return nil
}

// objects looks at all objects of the vault, and reads the versions.
func (c *verifying) objects(ctx context.Context) error {
	v := c.v
	c.sizes = map[packID]int64{}
	var seqs []uint64
	err := c.store.List(ctx, v.prefix, func(info blob.Info) error {
		rest := strings.TrimPrefix(info.Name, v.prefix)
		if id, ok := parsePackID(strings.TrimPrefix(rest, packsFirst)); ok && strings.HasPrefix(rest, packsFirst) {
			c.sizes[id] = info.Size
		} else if seq, ok := parseVersionID(strings.TrimPrefix(rest, versionsFirst)); ok && strings.HasPrefix(rest, versionsFirst) {
			seqs = append(seqs, seq)
		} else if rest != aboutName && !(strings.HasPrefix(rest, garbageFirst) && isHex(strings.TrimPrefix(rest, garbageFirst), garbageDigits)) {
			c.note(info.Name, "it does not belong here", -1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	reader := &Vault{repo: &Repo{store: c.store}, agent: v.agent, keys: v.keys, prefix: v.prefix}
	if len(seqs) > 0 {
		agent, err := reader.readAbout(ctx)
		if err := c.found(err, v.prefix+aboutName, -1); err != nil {
			return err
		}
		if err == nil && agent != v.agent {
			c.note(v.prefix+aboutName, "it names another agent", -1)
		}
	}
	for _, seq := range seqs {
		m, _, err := reader.readManifest(ctx, seq)
		if errors.Is(err, ErrNoVersion) {
			continue // gone meanwhile
		}
		if err := c.found(err, v.versionName(seq), -1, versionID(seq)); err != nil {
			return err
		}
		if err == nil && !m.Removed {
			c.versions = append(c.versions, m)
		}
	}
	if last := v.last.Load(); last > 0 && (len(seqs) == 0 || seqs[len(seqs)-1] < last) {
		c.note(v.versionName(last), "this host wrote it, and it is not there any more", -1, versionID(last))
	}
	c.report.Versions = len(c.versions)
	return nil
}

// segments reads the parts of a version's list that were not read yet.
func (c *verifying) segments(ctx context.Context, m *manifest) error {
	var fresh []want
	for w := range m.segmentWants() {
		if _, seen := c.parts[w]; !seen {
			c.parts[w] = nil
			fresh = append(fresh, w)
		}
	}
	// All at once; where that meets damage, each by itself, so that it hides no other.
	rest, err := c.readParts(ctx, fresh)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	for _, w := range rest {
		_, err := c.readParts(ctx, []want{w})
		if err := c.found(err, c.packs.name(w.pack), int(w.ordinal)); err != nil {
			return err
		}
	}
	return nil
}

// readParts reads segments, and returns those that it did not come to when one
// cannot be read, that one included.
func (c *verifying) readParts(ctx context.Context, parts []want) (rest []want, err error) {
	s := c.packs.stream(ctx, slices.Values(parts))
	defer s.close()
	for i, w := range parts {
		raw, err := s.next()
		if err != nil {
			return parts[i:], err
		}
		part, err := decodeSegment(raw, &c.table)
		if err != nil {
			return parts[i:], damaged(c.packs.name(w.pack), err.Error())
		}
		c.ids[w], c.parts[w] = c.v.keys.chunkID(chunkSegment, raw), part
	}
	return nil, nil
}

// readTables reads the tables of all packs that a version refers to.
func (c *verifying) readTables(ctx context.Context) error {
	for _, m := range c.versions {
		for w := range m.segmentWants() {
			c.table.number(w.pack)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for n, id := range c.table.ids {
		g.Go(func() error {
			f, err := c.packs.footer(ctx, id)
			if err := c.found(err, c.packs.name(id), -1); err != nil {
				return err
			}
			if f == nil {
				return nil
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.tables[uint32(n)] = f
			c.report.Packs++
			return nil
		})
	}
	return g.Wait()
}

// tree checks that a version is a tree of whole files.
func (c *verifying) tree(m *manifest) {
	var all []entry
	var ids []chunkID
	var tree treeCheck
	for w := range m.segmentWants() {
		part := c.parts[w]
		if part == nil {
			return // noted already; the version is among those that need it
		}
		ids = append(ids, c.ids[w])
		var err error
		if all, err = tree.join(all, part); err != nil {
			c.note(c.packs.name(w.pack), err.Error(), int(w.ordinal))
			return
		}
	}
	name := c.v.versionName(m.Seq)
	if rootOf(ids) != m.Root || len(all) == 0 {
		c.note(name, "its list of files is another one", -1, m.ID)
		return
	}
	for i := range all {
		if why := c.file(&all[i]); why != "" {
			c.note(name, fmt.Sprintf("%q: %s", all[i].path, why), -1, m.ID)
		}
	}
}

// file checks that a file's chunks are there, as far as the tables say, and make up
// its size. Packs whose table cannot be read are noted already.
func (c *verifying) file(e *entry) (why string) {
	size := int64(0)
	for _, r := range e.runs {
		if r.pack == hole {
			size += r.n
			continue
		}
		f := c.tables[r.pack]
		if f == nil {
			return ""
		}
		if int64(r.first)+r.n > int64(len(f.chunks)) {
			return "it refers to chunks that its pack does not have"
		}
		for o := r.first; int64(o) < int64(r.first)+r.n; o++ {
			size += int64(f.chunks[o].raw)
			if isLost(f.chunks[o].kind) {
				c.note(c.packs.name(c.table.ids[r.pack]), fmt.Sprintf("chunk %d is lost", o), int(o))
			}
		}
	}
	if size != e.size {
		return "its pieces do not make up its size"
	}
	return ""
}

// chunks reads all packs and checks every chunk.
func (c *verifying) chunks(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for n, f := range c.tables {
		g.Go(func() error {
			name := c.packs.name(c.table.ids[n])
			data, err := getWhole(ctx, c.store, name, maxPack)
			if err != nil {
				return c.found(absent(name, err), name, -1)
			}
			for o := range f.chunks {
				if err := checkChunk(c.v.keys, name, f, o, data); err != nil {
					if err := c.found(err, name, o); err != nil {
						return err
					}
				}
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.report.Chunks += len(f.chunks)
			return nil
		})
	}
	return g.Wait()
}

// checkChunk makes sure that a chunk, which is not one that was lost long ago, is
// in a pack's bytes.
func checkChunk(keys keyring, name string, f *footer, ordinal int, data []byte) error {
	if isLost(f.chunks[ordinal].kind) {
		return nil
	}
	_, err := intact(keys, name, f, ordinal, data)
	return err
}

// intact returns what a chunk holds when it is what the pack's table says.
func intact(keys keyring, name string, f *footer, ordinal int, data []byte) ([]byte, error) {
	if int64(f.offsets[ordinal+1]) > int64(len(data)) {
		return nil, damaged(name, "it is shorter than its table says")
	}
	raw, err := openChunk(keys, name, f, ordinal, data[f.offsets[ordinal]:f.offsets[ordinal+1]])
	if err == nil && keys.chunkID(f.chunks[ordinal].kind, raw) != f.chunks[ordinal].id {
		err = damaged(name, fmt.Sprintf("chunk %d is another one", ordinal))
	}
	return raw, err
}

// conclude makes the report of what was found.
func (c *verifying) conclude() {
	for object, w := range c.damage {
		for _, m := range c.versions {
			if c.needs(m, object, w) {
				w.versions = append(w.versions, m.ID)
			}
		}
		slices.Sort(w.versions)
		d := Damage{Object: object, Why: w.why, Versions: slices.Compact(w.versions)}
		if w.more > 0 {
			d.Why += fmt.Sprintf(", and %d more", w.more)
		}
		c.report.Damage = append(c.report.Damage, d)
	}
	slices.SortFunc(c.report.Damage, func(a, b Damage) int { return strings.Compare(a.Object, b.Object) })
}

// needs says whether a version needs what is wrong with a pack.
func (c *verifying) needs(m *manifest, object string, w *wrong) bool {
	id, ok := parsePackID(strings.TrimPrefix(object, c.packs.prefix))
	if !ok || !strings.HasPrefix(object, c.packs.prefix) {
		return false
	}
	for s := range m.segmentWants() {
		if s.pack == id && (w.ordinals == nil || w.ordinals[s.ordinal]) {
			return true
		}
		for i := range c.parts[s] {
			for _, r := range c.parts[s][i].runs {
				if r.pack != hole && c.table.ids[r.pack] == id && w.within(r) {
					return true
				}
			}
		}
	}
	return false
}

func (w *wrong) within(r run) bool {
	if w.ordinals == nil {
		return true
	}
	for o := r.first; int64(o) < int64(r.first)+r.n; o++ {
		if w.ordinals[o] {
			return true
		}
	}
	return false
}
