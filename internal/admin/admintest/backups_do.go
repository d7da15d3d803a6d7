package admintest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/migrate"
	"github.com/moltworker/moltworker/internal/remedy"
)

// step says something and waits, where a test wants that.
func (b *Backups) step(ctx context.Context, tell func(string), format string, args ...any) error {
	tell(fmt.Sprintf(format, args...))
	b.mu.Lock()
	steps := b.steps
	b.mu.Unlock()
	if steps == nil {
		return nil
	}
	select {
	case <-steps:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Restore puts a version in an agent's place, or makes another agent of it.
func (b *Backups) Restore(ctx context.Context, name, id string, to admin.RestoreTo, tell func(string)) (admin.Restored, error) {
	b.mu.Lock()
	_, v, err := b.at("Restore", name, id)
	b.mu.Unlock()
	if err != nil {
		return admin.Restored{}, err
	}
	if err := b.step(ctx, tell, "reading version %s", v.ID); err != nil {
		return admin.Restored{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.tell()
	r := admin.Restored{Agent: name, Report: backup.Report{Version: v.Version, Files: len(v.files), Bytes: v.Bytes}}
	if to.As != "" {
		if b.agents[to.As] != nil {
			return admin.Restored{}, fmt.Errorf("%w: %s", agent.ErrTaken, to.As)
		}
		b.agents[to.As] = &kept{live: maps.Clone(v.files), since: b.now()}
		r.Agent, r.Link = to.As, "http://here/?agent="+to.As
		return r, nil
	}
	k := b.agents[name]
	before, err := b.snapshot(k, name, "before a restore")
	if err != nil {
		return admin.Restored{}, err
	}
	r.Before = before.ID
	wanted := maps.Clone(v.files)
	if len(to.Only) > 0 {
		wanted, r.Files = maps.Clone(k.live), 0
		for path, f := range v.files {
			if slices.ContainsFunc(to.Only, func(one string) bool { return path == one || strings.HasPrefix(path, one+"/") }) {
				wanted[path] = f
				r.Files++
			}
		}
		if r.Files == 0 {
			return admin.Restored{}, fmt.Errorf("%w: the version has none of these paths", backup.ErrNoVersion)
		}
	}
	r.Changes = changes(k.live, wanted)
	r.NChanges = len(r.Changes)
	r.Kept = len(wanted) - r.NChanges
	k.live = wanted
	return r, nil
}

// Verify finds what Damage broke.
func (b *Backups) Verify(ctx context.Context, name string, full bool, tell func(string)) (backup.VerifyReport, error) {
	if err := b.step(ctx, tell, "reading versions of %s", name); err != nil {
		return backup.VerifyReport{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	k, err := b.find("Verify", name)
	if err != nil {
		return backup.VerifyReport{}, err
	}
	r := backup.VerifyReport{Full: full, Time: b.now(), Versions: len(k.versions), Packs: 2 * len(k.versions), Chunks: 7, Damage: slices.Clone(k.damage)}
	k.verified = &r
	b.tell()
	return r, nil
}

// Repair mends damage that names a version, and no other.
func (b *Backups) Repair(ctx context.Context, name string, tell func(string)) (backup.RepairReport, error) {
	if err := b.step(ctx, tell, "reading all of %s", name); err != nil {
		return backup.RepairReport{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	k, err := b.find("Repair", name)
	if err != nil {
		return backup.RepairReport{}, err
	}
	r := backup.RepairReport{Mended: []string{}, Lost: []backup.Damage{}}
	for _, d := range k.damage {
		if len(d.Versions) > 0 {
			r.Mended = append(r.Mended, d.Object)
		} else {
			r.Lost = append(r.Lost, d)
		}
	}
	k.damage = slices.Clone(r.Lost)
	b.tell()
	return r, nil
}

// Prune keeps as many versions as the policy's Last says.
func (b *Backups) Prune(_ context.Context, name string) (backup.PruneReport, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, err := b.find("Prune", name)
	if err != nil {
		return backup.PruneReport{}, err
	}
	gone := max(len(k.versions)-b.overview.Policy.Last, 0)
	r := backup.PruneReport{Kept: len(k.versions) - gone, Removed: gone, Deleted: gone}
	for _, v := range k.versions[:gone] {
		r.Freed += v.Stored
	}
	k.versions = slices.Clone(k.versions[gone:])
	b.tell()
	return r, nil
}

// Drill runs where there is a version without damage.
func (b *Backups) Drill(ctx context.Context, name string, tell func(string)) (admin.Drill, error) {
	b.mu.Lock()
	k, v, err := b.at("Drill", name, admin.LatestVersion)
	b.mu.Unlock()
	if err != nil {
		return admin.Drill{}, err
	}
	for _, what := range []string{"restoring version " + v.ID, "looking at every database", "booting OpenClaw"} {
		if err := b.step(ctx, tell, "%s", what); err != nil {
			return admin.Drill{}, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	d := admin.Drill{Agent: name, Version: v.ID, Time: b.now(), OK: len(k.damage) == 0, Files: v.Files, Bytes: v.Bytes, Databases: 3,
		Restored: 1200 * time.Millisecond, Booted: 9 * time.Second}
	if !d.OK {
		d.Error, d.Booted = k.damage[0].Why, 0
	}
	k.drill = &d
	b.tell()
	return d, nil
}

// Claim ends what Fence began.
func (b *Backups) Claim(_ context.Context, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, err := b.find("Claim", name)
	if err != nil {
		return err
	}
	k.fenced = false
	b.tell()
	return nil
}

// Unlock takes a key that Opens named.
func (b *Backups) Unlock(_ context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.secrets[key] {
		return fmt.Errorf("unlock: %w", backup.ErrKey)
	}
	b.overview.State = admin.BackupReady
	b.tell()
	return nil
}

// Keys lists them.
func (b *Backups) Keys(context.Context) ([]admin.BackupKey, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.fails["Keys"]; err != nil {
		return nil, err
	}
	return slices.Clone(b.keys), nil
}

// AddKey adds one.
func (b *Backups) AddKey(_ context.Context, name, recipient string) (admin.BackupKey, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.HasPrefix(recipient, admin.PassphrasePrefix) {
		recipient = "passphrase"
	}
	k := admin.BackupKey{ID: fmt.Sprintf("%016x", 0xbb+len(b.keys)), Name: name, Recipient: recipient, Added: b.now()}
	b.keys = append(b.keys, k)
	b.tell()
	return k, nil
}

// NewKey makes one.
func (b *Backups) NewKey(ctx context.Context, name string) (admin.BackupKey, string, error) {
	key, err := backup.GenerateKey()
	if err != nil {
		return admin.BackupKey{}, "", err
	}
	to, err := key.Recipient()
	if err != nil {
		return admin.BackupKey{}, "", err
	}
	b.Opens(key.Reveal())
	k, err := b.AddKey(ctx, name, to.Text())
	return k, key.Reveal(), err
}

// RemoveKey removes one.
func (b *Backups) RemoveKey(_ context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keys = slices.DeleteFunc(b.keys, func(k admin.BackupKey) bool { return k.ID == id })
	b.tell()
	return nil
}

// Import makes an agent of what is called "agent" somewhere.
func (b *Backups) Import(ctx context.Context, name, from string, tell func(string)) (admin.Imported, error) {
	if err := b.step(ctx, tell, "looking through %s", from); err != nil {
		return admin.Imported{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.agents[name] != nil {
		return admin.Imported{}, fmt.Errorf("%w: %s", agent.ErrTaken, name)
	}
	if !strings.Contains(from, "agent") && !strings.HasPrefix(from, admin.BucketPrefix) {
		return admin.Imported{}, remedy.With(fmt.Errorf("%w in %s", migrate.ErrUnknown, from), "name a home with .openclaw in it")
	}
	b.agents[name] = &kept{live: map[string]File{".openclaw/openclaw.json": {Data: "{}", Time: b.now()}}, since: b.now()}
	b.tell()
	return admin.Imported{Agent: name, Link: "http://here/?agent=" + name, Kind: "an OpenClaw state directory",
		Kept: []string{"12 sessions"}, Changed: []string{"the gateway's port: the sandbox has its own"}, Dropped: []string{"logs"},
		Secrets: []string{name + "/TELEGRAM_BOT_TOKEN"}, Warnings: []string{"1 link led out of the home"}}, nil
}
