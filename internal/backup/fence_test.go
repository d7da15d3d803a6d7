package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/faulttest"
	"github.com/moltworker/moltworker/internal/remedy"
)

// host is another host with the same key, and a home of its own.
func (g *given) host(name string) *given {
	g.t.Helper()
	repo, err := Open(g.t.Context(), g.store, g.key)
	check(g.t, err)
	base := fastDir(g.t)
	h := &given{t: g.t, store: g.store, key: g.key, repo: repo, home: filepath.Join(base, "home"), stage: filepath.Join(base, "stage"),
		opts: VaultOptions{Cache: filepath.Join(base, "cache"), Writer: name, Host: name}}
	check(g.t, os.Mkdir(h.home, 0o700))
	h.vault = repo.Vault("clara", h.opts)
	return h
}

func (g *given) try() error {
	_, _, err := g.vault.Snapshot(g.t.Context(), g.source(), SnapshotOptions{})
	return err
}

// TestAnAgentMovesToAnotherHost: the new host takes over, and the old one, which
// does not know, writes nothing any more.
func TestAnAgentMovesToAnotherHost(t *testing.T) {
	old := start(t, nil)
	old.write("a", "1")
	old.snapshot()
	next := old.host("host-2")
	check(t, os.Remove(next.home))
	_, err := next.vault.Restore(t.Context(), versionID(1), next.home, RestoreOptions{})
	check(t, err)
	next.write("a", "2")
	err = next.try()
	if !errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), "host-1") || remedy.Of(err) == "" {
		t.Fatalf("wrote without a claim: %v", err)
	}
	check(t, next.vault.Claim(t.Context()))
	// The claim outlives the process, and holds although the old host writes on at first.
	old.write("a", "1, later")
	old.snapshot()
	next.reopen()
	v := next.snapshot()
	if v.Seq != 3 || v.Epoch != 2 || v.Writer != "host-2" {
		t.Errorf("made %+v", v)
	}
	old.write("a", "1, too late")
	before := faulttest.Take(t, old.store)
	if err := old.try(); !errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), "host-2") {
		t.Errorf("the old host: %v", err)
	}
	if changed := before.Changed(faulttest.Take(t, old.store)); changed != nil {
		t.Errorf("the old host changed %v", changed)
	}
	next.write("a", "2, later")
	next.snapshot()
	// A claim that was made use of is not one any more.
	check(t, old.vault.Claim(t.Context()))
	if v := old.snapshot(); v.Epoch != 3 {
		t.Errorf("made %+v", v)
	}
	next.reopen()
	next.write("a", "2, too late")
	if err := next.try(); !errors.Is(err, ErrFenced) {
		t.Errorf("the other host: %v", err)
	}
}

// TestOfTwoClaimsOneHolds: who made use of theirs first.
func TestOfTwoClaimsOneHolds(t *testing.T) {
	g := start(t, nil)
	g.write("a", "1")
	g.snapshot()
	a, b := g.host("host-a"), g.host("host-b")
	check(t, a.vault.Claim(t.Context()))
	check(t, b.vault.Claim(t.Context()))
	a.write("a", "a")
	b.write("a", "b")
	if v := a.snapshot(); v.Epoch != 2 {
		t.Errorf("made %+v", v)
	}
	if err := b.try(); !errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), "host-a") {
		t.Errorf("the second claim: %v", err)
	}
}

// TestOfWritersAtOnceOneWins lets several hosts that all claimed the agent write at
// the same time, again and again.
func TestOfWritersAtOnceOneWins(t *testing.T) {
	g := start(t, nil)
	g.write("a", "first")
	g.snapshot()
	var hosts []*given
	for i := range 4 {
		hosts = append(hosts, g.host(fmt.Sprint("host-", i)))
	}
	made := map[uint64]string{}
	for round := range 15 {
		var mu sync.Mutex
		var all sync.WaitGroup
		for i, h := range hosts {
			all.Go(func() {
				content := fmt.Sprint(round, " of ", i)
				if err := os.WriteFile(filepath.Join(h.home, "a"), []byte(content), 0o600); err != nil {
					t.Error(err)
					return
				}
				err := h.vault.Claim(t.Context())
				if err == nil {
					var v Version
					v, _, err = h.vault.Snapshot(t.Context(), h.source(), SnapshotOptions{})
					mu.Lock()
					defer mu.Unlock()
					if err == nil && made[v.Seq] != "" {
						t.Errorf("version %d was made twice", v.Seq)
					} else if err == nil {
						made[v.Seq] = content
					}
				}
				if err != nil && !errors.Is(err, ErrFenced) {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	if len(made) < 15 {
		t.Errorf("%d versions were made in 15 rounds", len(made))
	}
	list, err := g.vault.Versions(t.Context())
	check(t, err)
	if len(list) != len(made)+1 {
		t.Errorf("%d versions are there, %d were made", len(list), len(made)+1)
	}
	for seq, want := range made {
		dir := g.restored(g.vault, versionID(seq))
		if got, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(got) != want {
			t.Errorf("version %d has %q, want %q (%v)", seq, got, want, err)
		}
	}
	report, err := g.vault.Verify(t.Context(), VerifyOptions{Full: true})
	check(t, err)
	if !report.OK() {
		t.Errorf("%+v", report.Damage)
	}
}

// TestOneProcessTakesTurns: what changes a vault waits for what does so already, and
// is not fenced by it.
func TestOneProcessTakesTurns(t *testing.T) {
	g := start(t, nil)
	var all sync.WaitGroup
	for i := range 3 {
		base := fastDir(t)
		home := filepath.Join(base, "home")
		check(t, os.Mkdir(home, 0o700))
		all.Go(func() {
			v := g.repo.Vault("clara", VaultOptions{Writer: "writer-1"})
			for n := range 5 {
				err := os.WriteFile(filepath.Join(home, "a"), []byte(fmt.Sprint(i, n)), 0o600)
				if err == nil {
					_, _, err = v.Snapshot(t.Context(), Source{Dir: home, Stage: filepath.Join(base, "stage")}, SnapshotOptions{})
				}
				if err == nil {
					_, err = v.Prune(t.Context(), Policy{Last: 3}, PruneOptions{Alone: true})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	report, err := g.vault.Verify(t.Context(), VerifyOptions{Full: true})
	check(t, err)
	if !report.OK() || report.Versions != 3 {
		t.Errorf("%+v", report)
	}
}

// gate stops a store at one object until it is let go on.
type gate struct {
	blob.Store
	at      string
	reached chan struct{}
	open    chan struct{}
}

func (s *gate) Put(ctx context.Context, name string, data []byte, ifAbsent bool) error {
	if strings.Contains(name, s.at) {
		close(s.reached)
		<-s.open
	}
	return s.Store.Put(ctx, name, data, ifAbsent)
}

// zombie begins a version and is held up just before it writes at; what happens
// meanwhile is the test's. It returns what became of the version.
func (g *given) zombie(at string, meanwhile func()) error {
	g.t.Helper()
	repo, err := Open(g.t.Context(), g.store, g.key)
	check(g.t, err)
	s := &gate{Store: g.store, at: at, reached: make(chan struct{}), open: make(chan struct{})}
	repo.store = s
	v := repo.Vault("clara", g.opts)
	ended := make(chan error, 1)
	go func() {
		_, _, err := v.Snapshot(g.t.Context(), g.source(), SnapshotOptions{})
		ended <- err
	}()
	<-s.reached
	meanwhile()
	close(s.open)
	return <-ended
}

// TestAZombieIsFenced: a host was held up at the very last step, for as long as you
// like. Meanwhile another took over, and even let go of the version that has the
// number which the first means to write.
func TestAZombieIsFenced(t *testing.T) {
	g := start(t, nil)
	g.write("a", "1")
	g.snapshot()
	g.write("a", "zombie")
	next := g.host("host-2")
	err := g.zombie("/"+versionsFirst, func() {
		check(t, next.vault.Claim(t.Context()))
		for i := range 3 {
			next.write("a", fmt.Sprint("host-2 ", i))
			next.snapshot()
		}
		for range 2 {
			_, err := next.vault.Prune(t.Context(), Policy{Last: 1}, PruneOptions{Alone: true})
			check(t, err)
		}
	})
	if !errors.Is(err, ErrFenced) {
		t.Errorf("the zombie: %v", err)
	}
	list, err := g.vault.Versions(t.Context())
	check(t, err)
	if len(list) != 1 || list[0].Writer != "host-2" || list[0].Seq != 4 {
		t.Errorf("versions: %+v", list)
	}
}

// TestATombstoneHoldsANumberOfTheSameWriter: two processes of one host.
func TestATombstoneHoldsANumberOfTheSameWriter(t *testing.T) {
	g := start(t, nil)
	g.write("a", "1")
	g.snapshot()
	g.write("a", "zombie")
	twin := g.host("writer-1")
	err := g.zombie("/"+versionsFirst, func() {
		for i := range 3 {
			twin.write("a", fmt.Sprint("twin ", i))
			twin.snapshot()
		}
		_, err := twin.vault.Prune(t.Context(), Policy{Last: 1}, PruneOptions{})
		check(t, err)
	})
	if !errors.Is(err, ErrFenced) {
		t.Errorf("the zombie: %v", err)
	}
}

// TestGarbageCollectionSparesARunningSnapshot: all that another host finds
// unneeded while a version is being made is needed a moment later.
func TestGarbageCollectionSparesARunningSnapshot(t *testing.T) {
	g := start(t, nil)
	g.write("a", string(noise(1, 100_000)))
	g.snapshot()
	g.write("b", string(noise(2, 100_000)))
	want := picture(t, g.home)
	other := g.host("host-2")
	var report PruneReport
	err := g.zombie("/"+versionsFirst, func() {
		var err error
		report, err = other.vault.Prune(t.Context(), Policy{Last: 1}, PruneOptions{})
		check(t, err)
		if report.Condemned != 1 || report.Deleted != 0 {
			t.Errorf("beside a running snapshot: %+v", report)
		}
	})
	check(t, err)
	// Later it is needed, and that it was condemned once does not matter.
	report, err = other.vault.Prune(t.Context(), Policy{Last: 1}, PruneOptions{grace: time.Nanosecond})
	check(t, err)
	if report.Deleted != 0 || report.Removed != 1 {
		t.Errorf("afterwards: %+v", report)
	}
	samePicture(t, want, picture(t, g.restored(g.vault, versionID(2))))
}

// TestALostAnswerIsNotALostVersion: the store wrote the version, and said that it
// was unavailable.
func TestALostAnswerIsNotALostVersion(t *testing.T) {
	g := start(t, nil)
	g.write("a", "1")
	repo, err := Open(t.Context(), g.store, g.key)
	check(t, err)
	repo.store = faulttest.New(g.store, faulttest.On(faulttest.Put, g.vault.prefix+versionsFirst, faulttest.After))
	v, _, err := repo.Vault("clara", g.opts).Snapshot(t.Context(), g.source(), SnapshotOptions{})
	check(t, err)
	if v.Seq != 1 {
		t.Errorf("made %+v", v)
	}
}
