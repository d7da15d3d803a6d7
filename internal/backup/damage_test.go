package backup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/faulttest"
)

// twoVersions makes a vault with two versions that share a file of their own pack.
// The second pack is one that only version 2 needs.
func twoVersions(t testing.TB) (g *given, first, second string) {
	t.Helper()
	g = start(t, nil)
	g.write("shared", string(noise(1, 300_000)))
	g.write("z-old", string(noise(2, 50_000)))
	g.snapshot()
	packs, err := faulttest.Names(t.Context(), g.store, g.vault.packs.prefix)
	check(t, err)
	first = packs[0]
	check(t, os.Remove(filepath.Join(g.home, "z-old")))
	g.write("new", string(noise(3, 50_000)))
	g.snapshot()
	packs, err = faulttest.Names(t.Context(), g.store, g.vault.packs.prefix)
	check(t, err)
	for _, p := range packs {
		if p != first {
			second = p
		}
	}
	return g, first, second
}

// TestDamageIsFoundAndNamed spoils every object in every way, one at a time: a full
// verification names it and the versions that need it, and those versions only do
// not come back.
func TestDamageIsFoundAndNamed(t *testing.T) {
	g, _, second := twoVersions(t)
	other := g.repo.Vault("paul", VaultOptions{})
	_, _, err := other.Snapshot(t.Context(), g.source(), SnapshotOptions{})
	check(t, err)
	before := faulttest.Take(t, g.store)
	foreign := map[string]string{} // an object of the same kind, of another agent
	for name := range before {
		if rest, ok := strings.CutPrefix(name, other.prefix); ok {
			kind, _, _ := strings.Cut(rest, "/")
			foreign[kind] = name
		}
	}
	v1, v2 := versionID(1), versionID(2)
	objects := map[string][]string{} // versions that need an object
	for name := range before {
		if strings.HasPrefix(name, g.vault.packs.prefix) {
			objects[name] = []string{v1, v2}
		}
	}
	objects[second] = []string{v2}
	objects[g.vault.versionName(1)] = []string{v1}
	objects[g.vault.versionName(2)] = []string{v2}
	objects[g.vault.prefix+aboutName] = nil
	sibling := map[string]string{g.vault.versionName(1): g.vault.versionName(2), g.vault.versionName(2): g.vault.versionName(1)}

	for object, needing := range objects {
		ways := map[string]func(){
			"lost":      func() { faulttest.Lose(t, g.store, object) },
			"truncated": func() { faulttest.Shorten(t, g.store, object, -7) },
			"halved":    func() { faulttest.Shorten(t, g.store, object, len(before[object])/2) },
			"emptied":   func() { faulttest.Shorten(t, g.store, object, 0) },
			"first bit": func() { faulttest.FlipBit(t, g.store, object, 0) },
			"a bit":     func() { faulttest.FlipBit(t, g.store, object, len(before[object])/2) },
			"last bit":  func() { faulttest.FlipBit(t, g.store, object, -1) },
			"longer":    func() { check(t, g.store.Put(t.Context(), object, append(bytes.Clone(before[object]), 0), false)) },
			"foreign": func() {
				kind, _, _ := strings.Cut(strings.TrimPrefix(object, g.vault.prefix), "/")
				faulttest.Copy(t, g.store, foreign[kind], object)
			},
		}
		if s := sibling[object]; s != "" {
			ways["another version"] = func() { faulttest.Copy(t, g.store, s, object) }
		}
		for way, spoil := range ways {
			if way == "lost" && strings.HasPrefix(object, g.vault.prefix+versionsFirst) {
				continue // then it was never there
			}
			t.Run(way+" "+strings.TrimPrefix(object, g.vault.prefix)[:4], func(t *testing.T) {
				defer before.Restore(t, g.store)
				spoil()
				v := g.reopen()
				report, err := v.Verify(t.Context(), VerifyOptions{Full: true})
				check(t, err)
				i := slices.IndexFunc(report.Damage, func(d Damage) bool { return d.Object == object })
				if i < 0 || !slices.Equal(report.Damage[i].Versions, needing) || len(report.Damage) != 1 {
					t.Errorf("damage: %+v, want %s needed by %v", report.Damage, object, needing)
				}
				for _, id := range []string{v1, v2} {
					_, err := v.Restore(t.Context(), id, filepath.Join(fastDir(t), "x"), RestoreOptions{})
					need := slices.Contains(needing, id)
					if !need && err != nil || need && (err != nil && (!errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), object))) {
						t.Errorf("version %s: %v", id, err)
					}
				}
				list, err := v.Versions(t.Context())
				check(t, err)
				if len(list) != 2 {
					t.Errorf("versions: %+v", list)
				}
			})
		}
	}
	if report, err := g.reopen().Verify(t.Context(), VerifyOptions{Full: true}); err != nil || !report.OK() || report.Chunks < 5 || report.Packs != 2 {
		t.Errorf("at the end: %+v, %v", report, err)
	}
}

// TestEveryByteOfAPackMatters flips each byte of a small pack in turn.
func TestEveryByteOfAPackMatters(t *testing.T) {
	g := start(t, nil)
	g.write("a", "content")
	g.snapshot()
	names, err := faulttest.Names(t.Context(), g.store, g.vault.prefix)
	check(t, err)
	for _, name := range names {
		data, err := g.store.Get(t.Context(), name, 0, -1)
		check(t, err)
		for i := range data {
			faulttest.FlipBit(t, g.store, name, i)
			report, err := g.vault.Verify(t.Context(), VerifyOptions{Full: true})
			check(t, err)
			if report.OK() || report.Damage[0].Object != name {
				t.Errorf("%s, byte %d: %+v", name, i, report.Damage)
			}
			faulttest.FlipBit(t, g.store, name, i)
		}
	}
}

// TestReplayedAndStrangeObjectsAreFound: an old state of the store, or what never
// was in it.
func TestReplayedAndStrangeObjectsAreFound(t *testing.T) {
	g, first, second := twoVersions(t)
	before := faulttest.Take(t, g.store)
	_, err := g.vault.Prune(t.Context(), Policy{Last: 1}, PruneOptions{Alone: true})
	check(t, err)
	g.write("new", string(noise(4, 50_000)))
	g.write("shared", "another")
	g.snapshot()
	_, err = g.vault.Prune(t.Context(), Policy{Last: 1}, PruneOptions{Alone: true})
	check(t, err)
	for _, gone := range []string{first, second} {
		if _, err := g.store.Stat(t.Context(), gone); !errors.Is(err, blob.ErrNotFound) {
			t.Fatalf("%s is still there: %v", gone, err)
		}
	}
	v2 := g.vault.versionName(2)
	check(t, g.store.Put(t.Context(), v2, before[v2], false)) // a version that was let go of
	strange := g.vault.prefix + "p/hello"
	check(t, g.store.Put(t.Context(), strange, []byte("x"), false))
	report, err := g.vault.Verify(t.Context(), VerifyOptions{})
	check(t, err)
	found := map[string][]string{}
	for _, d := range report.Damage {
		found[d.Object] = d.Versions
	}
	// What else version 2 needed is not known: its list of files is gone.
	if len(found) != 2 || !slices.Equal(found[second], []string{versionID(2)}) || found[strange] != nil {
		t.Errorf("found %+v", report.Damage)
	}
	// A store that was set back is noticed by the host that wrote what is missing.
	before.Restore(t, g.store)
	report, err = g.vault.Verify(t.Context(), VerifyOptions{})
	check(t, err)
	if len(report.Damage) != 1 || report.Damage[0].Object != g.vault.versionName(3) {
		t.Errorf("a store set back: %+v", report.Damage)
	}
}

// TestRepairBringsBackWhatTheHomeStillHas: the shared file is still there, the old
// one is not.
func TestRepairBringsBackWhatTheHomeStillHas(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, s blob.Store, pack string){
		"lost":         func(t *testing.T, s blob.Store, pack string) { faulttest.Lose(t, s, pack) },
		"cut off":      func(t *testing.T, s blob.Store, pack string) { faulttest.Shorten(t, s, pack, -20_000) },
		"no table":     func(t *testing.T, s blob.Store, pack string) { faulttest.FlipBit(t, s, pack, -10) },
		"an old bit":   func(t *testing.T, s blob.Store, pack string) { flipAt(t, s, pack, 310_000) },
		"bits flipped": func(t *testing.T, s blob.Store, pack string) { faulttest.FlipBit(t, s, pack, 1000) },
	} {
		t.Run(name, func(t *testing.T) {
			g, first, second := twoVersions(t)
			want := picture(t, g.home)
			spoil(t, g.store, first)
			spoil(t, g.store, second)
			v := g.reopen()
			report, err := v.Verify(t.Context(), VerifyOptions{Full: true})
			check(t, err)
			if len(report.Damage) != 2 && name != "an old bit" {
				t.Fatalf("damage: %+v", report.Damage)
			}
			mended, err := v.Repair(t.Context(), report, g.source())
			check(t, err)
			samePicture(t, want, picture(t, g.restored(v, versionID(2))))
			report, err = v.Verify(t.Context(), VerifyOptions{Full: true})
			check(t, err)
			switch name {
			case "no table", "bits flipped": // nothing that is not to be had was lost
				if !report.OK() || len(mended.Lost) > 0 || len(mended.Mended) != 2 {
					t.Errorf("repaired %+v, left %+v", mended, report.Damage)
				}
			default:
				if len(mended.Lost) != 1 || mended.Lost[0].Object != first || !strings.Contains(mended.Lost[0].Why, "not to be had") {
					t.Errorf("repaired %+v", mended)
				}
				if len(report.Damage) != 1 || !slices.Equal(report.Damage[0].Versions, []string{versionID(1)}) {
					t.Errorf("left %+v", report.Damage)
				}
				_, err := v.Restore(t.Context(), versionID(1), filepath.Join(fastDir(t), "x"), RestoreOptions{})
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("version 1: %v", err)
				}
				if name == "cut off" {
					break
				}
				// Somebody finds the old file again.
				g.write("found", string(noise(2, 50_000)))
				mended, err = v.Repair(t.Context(), report, g.source())
				check(t, err)
				if name != "an old bit" {
					break // what is lost is version 1's list of files
				}
				if len(mended.Lost) > 0 || !slices.Equal(mended.Mended, []string{first}) {
					t.Errorf("the second time: %+v", mended)
				}
				g.restored(v, versionID(1))
			}
			// What was lost is not relied upon by what comes next.
			g.write("z-old", string(noise(2, 50_000)))
			next := g.snapshot()
			samePicture(t, picture(t, g.home), picture(t, g.restored(g.vault, next.ID)))
		})
	}
}

// TestChunksCannotChangePlaces, even with their seals and of the same size.
func TestChunksCannotChangePlaces(t *testing.T) {
	g := start(t, nil)
	g.write("a", string(noise(1, 5000)))
	g.write("b", string(noise(2, 5000)))
	v := g.snapshot()
	packs, err := faulttest.Names(t.Context(), g.store, g.vault.packs.prefix)
	check(t, err)
	data, err := g.store.Get(t.Context(), packs[0], 0, -1)
	check(t, err)
	n := 5000 + 1 + sealOverhead
	swapped := slices.Concat(data[n:2*n], data[:n], data[2*n:])
	check(t, g.store.Put(t.Context(), packs[0], swapped, false))
	_, err = g.vault.Restore(t.Context(), v.ID, filepath.Join(fastDir(t), "x"), RestoreOptions{})
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "belongs elsewhere") {
		t.Errorf("restored: %v", err)
	}
}

// flipAt flips a bit, if the object is as long as that.
func flipAt(t testing.TB, s blob.Store, object string, at int) {
	t.Helper()
	if info, err := s.Stat(t.Context(), object); err != nil || info.Size > int64(at) {
		faulttest.FlipBit(t, s, object, at)
	}
}

// TestARepairGivesNothingUpTooSoon: what is spoiled on its way only is whole in the
// store, and stays so.
func TestARepairGivesNothingUpTooSoon(t *testing.T) {
	g, first, _ := twoVersions(t)
	report := VerifyReport{Damage: []Damage{{Object: first, Why: "a bad line"}}}
	repo, err := Open(t.Context(), g.store, g.key)
	check(t, err)
	repo.store = faulttest.New(g.store, faulttest.Nth(faulttest.Get, 1, faulttest.Flip))
	mended, err := repo.Vault("clara", VaultOptions{}).Repair(t.Context(), report, Source{})
	check(t, err)
	if !slices.Equal(mended.Mended, []string{first}) || len(mended.Lost) > 0 {
		t.Errorf("repaired %+v", mended)
	}
	found, err := g.reopen().Verify(t.Context(), VerifyOptions{Full: true})
	check(t, err)
	if !found.OK() {
		t.Errorf("afterwards: %+v", found.Damage)
	}
}

// TestADamagedNewestVersionStopsNobody: the cache has it, or it is taken over.
func TestADamagedNewestVersionStopsNobody(t *testing.T) {
	g, _, _ := twoVersions(t)
	want := picture(t, g.home)
	faulttest.FlipBit(t, g.store, g.vault.versionName(2), 40)
	v := g.reopen()
	g.write("more", "x")
	if _, _, err := v.Snapshot(t.Context(), g.source(), SnapshotOptions{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), v.versionName(2)) {
		t.Fatalf("on top of a version that cannot be read: %v", err)
	}
	if list, err := v.Versions(t.Context()); err != nil || len(list) != 2 || list[0].Damaged == "" || list[1].Damaged != "" {
		t.Errorf("versions %+v, %v", list, err)
	}
	if _, err := v.Prune(t.Context(), Policy{Last: 1}, PruneOptions{Alone: true}); !errors.Is(err, ErrDamaged) {
		t.Errorf("pruned although nobody knows what is needed: %v", err)
	}
	report, err := v.Verify(t.Context(), VerifyOptions{})
	check(t, err)
	mended, err := v.Repair(t.Context(), report, g.source())
	check(t, err)
	if len(mended.Lost) > 0 {
		t.Errorf("repaired %+v", mended)
	}
	samePicture(t, want, picture(t, g.restored(v, versionID(2))))

	faulttest.FlipBit(t, g.store, g.vault.versionName(2), 40)
	g.opts.Cache = ""
	v = g.reopen()
	check(t, v.Claim(t.Context()))
	next := g.snapshot()
	if next.Seq != 3 || next.Epoch < 2 {
		t.Errorf("made %+v", next)
	}
	samePicture(t, picture(t, g.home), picture(t, g.restored(v, next.ID)))
	_, err = v.Prune(t.Context(), Policy{Last: 1}, PruneOptions{Alone: true, Drop: []string{versionID(2)}})
	check(t, err)
	if report, err := v.Verify(t.Context(), VerifyOptions{Full: true}); err != nil || !report.OK() {
		t.Errorf("%+v %v", report, err)
	}
}

// TestACacheMayBeAnything loses and spoils the cache: the next version is right,
// and stores no content again.
func TestACacheMayBeAnything(t *testing.T) {
	for name, spoil := range map[string]func(dir string){
		"lost":    func(dir string) { check(t, os.RemoveAll(dir)) },
		"emptied": func(dir string) { eachFile(t, dir, func([]byte) []byte { return nil }) },
		"halved":  func(dir string) { eachFile(t, dir, func(b []byte) []byte { return b[:len(b)/2] }) },
		"flipped": func(dir string) { eachFile(t, dir, flipped) },
		"longer":  func(dir string) { eachFile(t, dir, func(b []byte) []byte { return append(b, b...) }) },
		"noise":   func(dir string) { eachFile(t, dir, func(b []byte) []byte { return noise(1, len(b)) }) },
		"linked": func(dir string) {
			check(t, os.RemoveAll(dir))
			check(t, os.Symlink("/nowhere", dir))
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, _, _ := twoVersions(t)
			spoil(g.opts.Cache)
			v := g.reopen()
			if _, _, err := v.Snapshot(t.Context(), g.source(), SnapshotOptions{}); !errors.Is(err, ErrUnchanged) {
				t.Errorf("nothing changed: %v", err)
			}
			g.write("more", "x")
			version := g.snapshot()
			if version.Stored > 5000 {
				t.Errorf("stored %d bytes", version.Stored)
			}
			samePicture(t, picture(t, g.home), picture(t, g.restored(v, version.ID)))
		})
	}
}

func eachFile(t testing.TB, dir string, change func([]byte) []byte) {
	t.Helper()
	n := 0
	check(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, change(data), 0o600)
	}))
	if n < 2 {
		t.Fatal(fmt.Errorf("the cache has %d files", n))
	}
}
