package backup

import (
	"fmt"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/blob/faulttest"
)

// TestManySmallVersionsDoNotMakeRestoresSlow: what a version needs is never spread
// over more packs than some hundred, and what it is spread over costs little to
// gather.
func TestManySmallVersionsDoNotMakeRestoresSlow(t *testing.T) {
	g := start(t, nil)
	n := gatherFrom + 20
	most, stored := 0, int64(0)
	for i := range n {
		g.write(fmt.Sprintf("notes/%03d", i), fmt.Sprint("note ", i, strings.Repeat(" and more", i)))
		if i == gatherFrom-10 {
			g.reopen()
		}
		v := g.snapshot()
		stored += v.Stored
		if i%10 == 0 || i > n-5 {
			m, _, err := g.vault.readManifest(t.Context(), v.Seq)
			check(t, err)
			needed, err := g.vault.needed(t.Context(), []listed{{manifest: m}})
			check(t, err)
			most = max(most, len(needed))
		}
	}
	if most > gatherFrom+5 || most < gatherFrom/2 {
		t.Errorf("a version needs up to %d packs", most)
	}
	_, all := count(t, g.store, g.vault.prefix)
	t.Logf("%d versions: at most %d packs, %d bytes stored, %d there", n, most, stored, all)
	want := picture(t, g.home)
	for _, seq := range []uint64{1, gatherFrom - 1, gatherFrom + 1, uint64(n)} {
		dir := g.restored(g.vault, versionID(seq))
		if got := len(picture(t, dir)); got != int(seq)+2 {
			t.Errorf("version %d has %d entries", seq, got)
		}
		if seq == uint64(n) {
			samePicture(t, want, picture(t, dir))
		}
	}
	got, err := g.vault.Prune(t.Context(), Policy{Last: 1}, PruneOptions{Alone: true})
	check(t, err)
	samePicture(t, want, picture(t, g.restored(g.vault, versionID(uint64(n)))))
	packs, _ := count(t, g.store, g.vault.packs.prefix)
	t.Logf("pruned %+v, %d packs are left", got, packs)
	report, err := g.vault.Verify(t.Context(), VerifyOptions{Full: true})
	check(t, err)
	if !report.OK() {
		t.Errorf("%+v", report.Damage)
	}
}

// TestGatheringOverDamage goes on without what cannot be read.
func TestGatheringOverDamage(t *testing.T) {
	g := start(t, nil)
	for i := range gatherFrom + 1 {
		g.write(fmt.Sprint(i), fmt.Sprint("note ", i))
		g.snapshot()
	}
	packs, err := faulttest.Names(t.Context(), g.store, g.vault.packs.prefix)
	check(t, err)
	faulttest.Lose(t, g.store, packs[7])
	g.write("next", "x")
	v := g.snapshot()
	report, err := g.vault.Verify(t.Context(), VerifyOptions{})
	check(t, err)
	mended, err := g.vault.Repair(t.Context(), report, g.source())
	check(t, err)
	t.Logf("mended %v", mended.Mended)
	samePicture(t, picture(t, g.home), picture(t, g.restored(g.vault, v.ID)))
}
