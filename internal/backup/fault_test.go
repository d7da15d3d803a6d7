package backup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/faulttest"
	"github.com/moltworker/moltworker/internal/blob/mem"
)

// schedules is how many random stories of a bad store are told.
const schedules = 1000

// warm makes what is made once outside of the bubbles in which time is not real.
func warm(t testing.TB) {
	t.Helper()
	if raw, err := unpress(press(nil, make([]byte, 1000)), 1000); err != nil || len(raw) != 1000 {
		t.Fatal(err)
	}
}

// TestNothingIsLostWhateverTheStoreDoes tells random stories of versions being
// taken, pruned and put back while the store fails, hangs, loses answers and the
// process dies. Afterwards, with an honest store and a new process, every version
// that was reported as made, and not let go of, comes back exactly; what is in the
// store is whole; and the next version can be taken.
func TestNothingIsLostWhateverTheStoreDoes(t *testing.T) {
	warm(t)
	n := schedules
	if testing.Short() || racing {
		n /= 10
	}
	const groups = 4
	for group := range groups {
		t.Run(fmt.Sprint("group ", group), func(t *testing.T) {
			t.Parallel()
			base := fastDir(t)
			for seed := group; seed < n; seed += groups {
				dir := filepath.Join(base, fmt.Sprint(seed))
				ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { tellFaultStory(t, uint64(seed), dir) })
				})
				check(t, os.RemoveAll(dir))
				if !ok {
					return
				}
			}
		})
	}
}

// faultStory is what is known of a vault whose store is bad.
type faultStory struct {
	*given
	r     *rand.Rand
	inner blob.Store
	bad   *faulttest.Store
	n     int
	tried map[string]map[string]string // pictures of all attempts, by reason
	made  map[string]string            // the reasons of versions that were reported, by ID
	gone  map[string]bool              // versions that may have been let go of
}

func tellFaultStory(t *testing.T, seed uint64, dir string) {
	inner := mem.New()
	g := startIn(t, inner, dir)
	s := &faultStory{given: g, r: rand.New(rand.NewPCG(seed, 3)), inner: inner,
		tried: map[string]map[string]string{}, made: map[string]string{}, gone: map[string]bool{}}
	s.edit()
	s.take(t.Context(), g.vault)
	for range 2 {
		s.life(t)
	}
	s.look(t)
}

// life is one process with a bad store.
func (s *faultStory) life(t *testing.T) {
	faults := []faulttest.Fault{faulttest.Before, faulttest.After, faulttest.Hang, faulttest.HangDone}
	if s.r.IntN(2) == 0 {
		faults = append(faults, faulttest.Crash, faulttest.CrashDone)
	}
	s.bad = faulttest.New(s.inner, nil)
	repo, err := Open(t.Context(), s.bad, s.key)
	check(t, err)
	if s.r.IntN(4) == 0 {
		check(t, os.RemoveAll(s.opts.Cache))
	}
	v := repo.Vault("clara", s.opts)
	s.bad.Follow(faulttest.Random(s.r.Uint64(), 0.05+0.2*s.r.Float64(), faults...))
	for range 3 {
		switch s.r.IntN(5) {
		case 0:
			s.prune(t.Context(), v)
		case 1:
			s.restore(t, v)
		default:
			s.edit()
			s.take(t.Context(), v)
		}
	}
}

func (s *faultStory) edit() {
	s.n++
	name := fmt.Sprintf("f%d", s.r.IntN(4))
	switch s.r.IntN(4) {
	case 0:
		_ = os.Remove(filepath.Join(s.home, name))
	case 1:
		s.write("d/"+name, fmt.Sprint(s.n))
	default:
		s.write(name, string(noise(uint64(s.n), 1+s.r.IntN(3000))))
	}
	s.write("n", fmt.Sprint(s.n))
}

// take takes a version, whatever comes of it.
func (s *faultStory) take(ctx context.Context, v *Vault) {
	reason := fmt.Sprint(s.n)
	s.tried[reason] = picture(s.t, s.home)
	version, _, err := v.Snapshot(ctx, s.source(), SnapshotOptions{Reason: reason})
	if err == nil {
		s.made[version.ID] = reason
	}
}

func (s *faultStory) prune(ctx context.Context, v *Vault) {
	keep := 1 + s.r.IntN(2)
	var newest []string
	list, err := s.given.repo.Vault("clara", VaultOptions{}).Versions(ctx)
	check(s.t, err)
	for i, version := range list {
		if i >= keep {
			newest = append(newest, version.ID)
		}
	}
	for _, id := range newest {
		s.gone[id] = true
	}
	// The error, if there is one, is the store's.
	_, _ = v.Prune(ctx, Policy{Last: keep}, PruneOptions{Alone: s.r.IntN(2) == 0})
}

// restore puts a version back wholly, or leaves nothing.
func (s *faultStory) restore(t *testing.T, v *Vault) {
	list, err := s.given.repo.Vault("clara", VaultOptions{}).Versions(t.Context())
	check(t, err)
	version := list[s.r.IntN(len(list))]
	dir := filepath.Join(filepath.Dir(s.home), "out", "home")
	_, err = v.Restore(t.Context(), version.ID, dir, RestoreOptions{})
	if err == nil {
		samePicture(t, s.tried[version.Reason], picture(t, dir))
		check(t, os.RemoveAll(dir))
	}
	left, _ := os.ReadDir(filepath.Dir(dir))
	if len(left) > 0 {
		t.Errorf("left by a restore: %v (%v)", left, err)
	}
}

// look looks at what is left, as a new process with an honest store.
func (s *faultStory) look(t *testing.T) {
	v := s.reopen()
	list, err := v.Versions(t.Context())
	check(t, err)
	there := map[string]bool{}
	for _, version := range list {
		there[version.ID] = true
		if s.tried[version.Reason] == nil || version.Damaged != "" {
			t.Fatalf("a version that nobody took: %+v", version)
		}
		samePicture(t, s.tried[version.Reason], picture(t, s.restored(v, version.ID)))
	}
	for id := range s.made {
		if !there[id] && !s.gone[id] {
			t.Errorf("version %s was made, and is not there", id)
		}
	}
	s.whole(t, v)
	s.edit()
	now := picture(t, s.home)
	version, _, err := v.Snapshot(t.Context(), s.source(), SnapshotOptions{Reason: "next"})
	check(t, err)
	samePicture(t, now, picture(t, s.restored(v, version.ID)))
	_, err = v.Prune(t.Context(), Policy{Last: 1}, PruneOptions{Alone: true})
	check(t, err)
	s.whole(t, v)
	m, _, err := v.readManifest(t.Context(), version.Seq)
	check(t, err)
	needed, err := v.needed(t.Context(), []listed{{manifest: m}})
	check(t, err)
	if n, _ := count(t, s.inner, v.packs.prefix); n != len(needed) {
		t.Errorf("%d packs are left, %d are needed", n, len(needed))
	}
	if n, _ := count(t, s.inner, v.prefix+garbageFirst); n != 0 {
		t.Errorf("%d lists of garbage are left", n)
	}
}

func (s *faultStory) whole(t *testing.T, v *Vault) {
	report, err := v.Verify(t.Context(), VerifyOptions{Full: true})
	check(t, err)
	if !report.OK() {
		t.Errorf("damage: %+v", report.Damage)
	}
}

// TestRepairSurvivesEveryCrash dies at every write of a repair.
func TestRepairSurvivesEveryCrash(t *testing.T) {
	var g *given
	var pack string
	faulttest.EachCrash(t, func(t *testing.T) blob.Store {
		g = start(t, nil)
		for i := range 5 {
			g.write(fmt.Sprint("f", i), string(noise(uint64(i), 2000)))
		}
		g.snapshot()
		packs, err := faulttest.Names(t.Context(), g.store, g.vault.packs.prefix)
		check(t, err)
		pack = packs[0]
		faulttest.FlipBit(t, g.store, pack, 100)
		faulttest.FlipBit(t, g.store, g.vault.prefix+aboutName, 30)
		return g.store
	}, func(t *testing.T, s *faulttest.Store) error {
		repo, err := Open(t.Context(), s, g.key)
		if err != nil {
			return err
		}
		v := repo.Vault("clara", g.opts)
		report, err := v.Verify(t.Context(), VerifyOptions{Full: true})
		if err != nil {
			return err
		}
		_, err = v.Repair(t.Context(), report, g.source())
		return err
	}, func(t *testing.T, left blob.Store, died bool) {
		v := g.reopen()
		report, err := v.Verify(t.Context(), VerifyOptions{Full: true})
		check(t, err)
		if died {
			_, err := v.Repair(t.Context(), report, g.source())
			check(t, err)
			report, err = v.Verify(t.Context(), VerifyOptions{Full: true})
			check(t, err)
		}
		if !report.OK() {
			t.Errorf("still damaged: %+v", report.Damage)
		}
	})
}

// TestCreateSurvivesEveryCrash dies at every write of making a repository.
func TestCreateSurvivesEveryCrash(t *testing.T) {
	key, err := GenerateKey()
	check(t, err)
	to, err := key.Recipient()
	check(t, err)
	faulttest.EachCrash(t, func(t *testing.T) blob.Store { return mem.New() },
		func(t *testing.T, s *faulttest.Store) error {
			_, err := Create(t.Context(), s, []Recipient{to})
			return err
		}, func(t *testing.T, left blob.Store, died bool) {
			_, err := Open(t.Context(), left, key)
			if errors.Is(err, ErrNoRepo) && died {
				_, err = Create(t.Context(), left, []Recipient{to})
				check(t, err)
				_, err = Open(t.Context(), left, key)
			}
			check(t, err)
		})
}

// TestACancelledCallEnds cancels every operation while the store does not answer.
func TestACancelledCallEnds(t *testing.T) {
	warm(t)
	for _, op := range []faulttest.Op{faulttest.Put, faulttest.Get, faulttest.List, faulttest.Stat} {
		t.Run(string(op), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := start(t, nil)
				g.write("a", string(noise(1, 20_000)))
				version := g.snapshot()
				g.write("a", string(noise(2, 20_000)))
				repo, err := Open(t.Context(), faulttest.New(g.store, nil), g.key)
				check(t, err)
				bad := faulttest.New(g.store, faulttest.On(op, "v/", faulttest.Hang))
				repo.store = bad
				v := repo.Vault("clara", VaultOptions{Writer: "writer-1"})
				for name, do := range map[string]func(context.Context) error{
					"snapshot": func(ctx context.Context) error {
						_, _, err := v.Snapshot(ctx, g.source(), SnapshotOptions{})
						return err
					},
					"restore": func(ctx context.Context) error {
						_, err := v.Restore(ctx, version.ID, filepath.Join(fastDir(t), "x"), RestoreOptions{})
						return err
					},
					"verify": func(ctx context.Context) error {
						_, err := v.Verify(ctx, VerifyOptions{Full: true})
						return err
					},
					"prune": func(ctx context.Context) error {
						_, err := v.Prune(ctx, Policy{Last: 1}, PruneOptions{})
						return err
					},
				} {
					ctx, cancel := context.WithCancel(t.Context())
					ended := make(chan error, 1)
					go func() { ended <- do(ctx) }()
					synctest.Wait()
					cancel()
					if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
						t.Errorf("%s: %v", name, err)
					}
				}
			})
		})
	}
}

// TestASlowStoreIsUnavailable: no call waits for ever, even if nobody cancels it.
func TestASlowStoreIsUnavailable(t *testing.T) {
	warm(t)
	synctest.Test(t, func(t *testing.T) {
		g := start(t, nil)
		g.write("a", "1")
		repo, err := Open(t.Context(), g.store, g.key)
		check(t, err)
		repo.store = timed{faulttest.New(g.store, faulttest.On(faulttest.Put, "v/", faulttest.Hang)), callLimit}
		_, _, err = repo.Vault("clara", VaultOptions{}).Snapshot(t.Context(), g.source(), SnapshotOptions{})
		if !errors.Is(err, blob.ErrUnavailable) || !strings.Contains(err.Error(), "30m") {
			t.Errorf("got %v", err)
		}
	})
}
