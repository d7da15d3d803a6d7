package backup

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/faulttest"
	"github.com/moltworker/moltworker/internal/blob/mem"
)

func TestPolicyKeeps(t *testing.T) {
	at := func(text string) time.Time {
		tm, err := time.Parse("2006-01-02 15:04", text)
		check(t, err)
		return tm
	}
	times := []time.Time{ // seq 1..
		at("2025-12-28 10:00"), // 1: a Sunday, ISO week 52 of 2025
		at("2025-12-29 10:00"), // 2: a Monday, ISO week 1 of 2026
		at("2025-12-31 23:59"), // 3
		at("2026-01-01 00:00"), // 4: another day, month and year, the same week
		at("2026-01-01 00:30"), // 5
		at("2026-01-01 01:00"), // 6
		at("2026-02-10 12:00"), // 7
		at("2026-02-10 12:00"), // 8: the same moment
		at("2026-02-10 12:59").In(time.FixedZone("far", -12*3600)), // 9: another day there, not in UTC
	}
	var versions []Version
	for i, tm := range times {
		versions = append(versions, Version{Seq: uint64(i + 1), Time: tm})
	}
	for _, test := range []struct {
		name   string
		policy Policy
		want   []uint64
	}{
		{"nothing asked for", Policy{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"last", Policy{Last: 2}, []uint64{8, 9}},
		{"more than there are", Policy{Last: 100}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"hours", Policy{Hourly: 3}, []uint64{5, 6, 9}},
		{"days", Policy{Daily: 3}, []uint64{3, 6, 9}},
		{"weeks", Policy{Weekly: 3}, []uint64{1, 6, 9}},
		{"months", Policy{Monthly: 2}, []uint64{6, 9}},
		{"all of it", Policy{Last: 2, Hourly: 2, Daily: 3, Weekly: 3, Monthly: 3}, []uint64{1, 3, 6, 8, 9}},
		{"negative keeps the newest", Policy{Last: -1}, []uint64{9}},
	} {
		kept := test.policy.keep(versions)
		var got []uint64
		for seq := range kept {
			got = append(got, seq)
		}
		slices.Sort(got)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: keeps %v, want %v", test.name, got, test.want)
		}
	}
	if kept := (Policy{Last: 1}).keep(nil); len(kept) != 0 {
		t.Errorf("of nothing: %v", kept)
	}
}

// TestPrune tells the life of garbage: let go of, condemned, deleted a day later.
func TestPrune(t *testing.T) {
	warm(t)
	synctest.Test(t, func(t *testing.T) {
		g := start(t, mem.New())
		for i := range 5 {
			g.write("a", string(noise(uint64(i), 50_000)))
			g.snapshot()
		}
		packs := func() int { n, _ := count(t, g.store, g.vault.packs.prefix); return n }
		prune := func(want PruneReport) {
			t.Helper()
			got, err := g.vault.Prune(t.Context(), Policy{Last: 2}, PruneOptions{})
			check(t, err)
			if want.Freed = got.Freed; got != want {
				t.Errorf("pruned %+v, want %+v", got, want)
			}
		}
		prune(PruneReport{Kept: 2, Removed: 3, Condemned: 3})
		time.Sleep(DefaultGrace - time.Minute)
		prune(PruneReport{Kept: 2, Condemned: 3})
		if packs() != 5 {
			t.Errorf("%d packs are left", packs())
		}
		time.Sleep(2 * time.Minute)
		g.write("a", string(noise(99, 50_000)))
		g.snapshot()
		prune(PruneReport{Kept: 2, Removed: 1, Condemned: 1, Deleted: 3})
		time.Sleep(DefaultGrace + time.Minute)
		prune(PruneReport{Kept: 2, Deleted: 1})
		prune(PruneReport{Kept: 2})
		if n, _ := count(t, g.store, g.vault.prefix+garbageFirst); n != 0 || packs() != 2 {
			t.Errorf("%d lists and %d packs are left", n, packs())
		}
		// Only the stone where the first epoch begins is left of the versions let go of.
		names, err := faulttest.Names(t.Context(), g.store, g.vault.prefix+versionsFirst)
		check(t, err)
		if len(names) != 3 {
			t.Errorf("left: %v", names)
		}
		list, err := g.vault.Versions(t.Context())
		check(t, err)
		for _, v := range list {
			g.restored(g.vault, v.ID)
		}
		_, err = g.vault.Restore(t.Context(), versionID(1), t.TempDir(), RestoreOptions{})
		if !errors.Is(err, ErrNoVersion) {
			t.Errorf("a version that was let go of: %v", err)
		}
	})
}

// TestPruneAfterUncleanEnds: packs that no version came of are garbage too.
func TestPruneAfterUncleanEnds(t *testing.T) {
	g := start(t, nil)
	g.write("a", string(noise(1, 50_000)))
	g.snapshot()
	g.write("a", string(noise(2, 50_000)))
	repo, err := Open(t.Context(), g.store, g.key)
	check(t, err)
	repo.store = faulttest.New(g.store, faulttest.On(faulttest.Put, g.vault.prefix+versionsFirst, faulttest.Denied))
	if _, _, err := repo.Vault("clara", g.opts).Snapshot(t.Context(), g.source(), SnapshotOptions{}); !errors.Is(err, blob.ErrDenied) {
		t.Fatal(err)
	}
	if n, _ := count(t, g.store, g.vault.packs.prefix); n != 2 {
		t.Fatalf("%d packs", n)
	}
	got, err := g.vault.Prune(t.Context(), Policy{}, PruneOptions{Alone: true})
	check(t, err)
	if got.Deleted != 1 || got.Removed != 0 || got.Freed < 50_000 {
		t.Errorf("pruned %+v", got)
	}
}

// TestPruneDiesAnywhere dies at every write of a run that has something to do of
// everything; then the next run ends what it began.
func TestPruneDiesAnywhere(t *testing.T) {
	var g *given
	faulttest.EachCrash(t, func(t *testing.T) blob.Store {
		g = start(t, nil)
		for i := range 4 {
			g.write("a", fmt.Sprint(i))
			g.snapshot()
		}
		_, err := g.vault.Prune(t.Context(), Policy{Last: 3}, PruneOptions{grace: time.Nanosecond})
		check(t, err)
		return g.store
	}, func(t *testing.T, s *faulttest.Store) error {
		repo, err := Open(t.Context(), s, g.key)
		if err != nil {
			return err
		}
		_, err = repo.Vault("clara", g.opts).Prune(t.Context(), Policy{Last: 1}, PruneOptions{grace: time.Nanosecond})
		return err
	}, func(t *testing.T, left blob.Store, died bool) {
		v := g.reopen()
		g.restored(v, versionID(4))
		got, err := v.Prune(t.Context(), Policy{Last: 1}, PruneOptions{Alone: true})
		check(t, err)
		if n, _ := count(t, left, v.packs.prefix); n != 1 || got.Kept != 1 {
			t.Errorf("%d packs are left (%+v)", n, got)
		}
		report, err := v.Verify(t.Context(), VerifyOptions{Full: true})
		check(t, err)
		if !report.OK() {
			t.Errorf("%+v", report.Damage)
		}
	})
}

// TestDroppedVersions go whatever the policy says, but never the newest.
func TestDroppedVersions(t *testing.T) {
	g := start(t, nil)
	for i := range 3 {
		g.write("a", fmt.Sprint(i))
		g.snapshot()
	}
	_, err := g.vault.Prune(t.Context(), Policy{}, PruneOptions{Drop: []string{versionID(3)}})
	if err == nil || !strings.Contains(err.Error(), "newest") {
		t.Errorf("dropped the newest: %v", err)
	}
	got, err := g.vault.Prune(t.Context(), Policy{}, PruneOptions{Drop: []string{versionID(2)}})
	check(t, err)
	if got.Removed != 1 || got.Kept != 2 {
		t.Errorf("dropped %+v", got)
	}
}

// TestAListOfGarbageThatIsSpoiledIsMadeAnew: nothing is deleted because of it.
func TestAListOfGarbageThatIsSpoiledIsMadeAnew(t *testing.T) {
	g := start(t, nil)
	for i := range 2 {
		g.write("a", fmt.Sprint(i))
		g.snapshot()
	}
	_, err := g.vault.Prune(t.Context(), Policy{Last: 1}, PruneOptions{})
	check(t, err)
	lists, err := faulttest.Names(t.Context(), g.store, g.vault.prefix+garbageFirst)
	check(t, err)
	faulttest.FlipBit(t, g.store, lists[0], -1)
	got, err := g.vault.Prune(t.Context(), Policy{Last: 1}, PruneOptions{})
	check(t, err)
	if got.Condemned != 1 || got.Deleted != 0 {
		t.Errorf("pruned %+v", got)
	}
	now, err := faulttest.Names(t.Context(), g.store, g.vault.prefix+garbageFirst)
	check(t, err)
	if len(now) != 1 || now[0] == lists[0] {
		t.Errorf("lists %v, then %v", lists, now)
	}
}

// TestWhatWasDeletedIsStoredAgain: content that comes back after its pack was
// deleted must not be taken for stored, by the same process or the next.
func TestWhatWasDeletedIsStoredAgain(t *testing.T) {
	for _, reopened := range []bool{false, true} {
		g := start(t, nil)
		g.write("a", string(noise(1, 50_000)))
		g.snapshot()
		g.write("a", string(noise(2, 50_000)))
		g.snapshot()
		if reopened {
			g.reopen()
		}
		got, err := g.vault.Prune(t.Context(), Policy{Last: 1}, PruneOptions{Alone: true})
		check(t, err)
		if got.Deleted != 1 {
			t.Fatalf("pruned %+v", got)
		}
		g.write("a", string(noise(1, 50_000)))
		v := g.snapshot()
		samePicture(t, picture(t, g.home), picture(t, g.restored(g.vault, v.ID)))
	}
}
