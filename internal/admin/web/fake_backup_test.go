package web

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/backup"
)

// stocked is a backup with something of everything.
func stocked(says func(string) string) *admintest.Backups {
	now := testNow.Add(-26 * time.Hour)
	b := admintest.NewBackups(func() time.Time { return now }, "main", "second", "research")
	say := func(path string) string {
		// No "/" within a name.
		return strings.ReplaceAll(says(path), "</", "<|")
	}
	b.Write("main", ".openclaw/openclaw.json", "{}")
	b.Write("main", ".openclaw/workspace/MEMORY.md", strings.Repeat("remembered. ", 900))
	b.Write("main", ".openclaw/agents/main/agent/openclaw-agent.sqlite", strings.Repeat("p", 300<<10))
	b.Write("main", "notes/"+say("Plans for the garden.txt"), "beans")
	b.Write("main", "notes/archive/"+say("2025.md"), "old")
	b.Link("main", "notes/latest", says("archive/2025.md"))
	_, _ = b.Now(context.Background(), "main", says("change"))
	_, _ = b.Now(context.Background(), "second", "sleep")
	now = testNow.Add(-3 * time.Minute)
	b.Write("main", "notes/"+say("Plans for the garden.txt"), "beans and peas")
	b.Write("main", "notes/"+say("new.md"), "new")
	_, _ = b.Now(context.Background(), "main", says("asked for"))
	b.Set(func(o *admin.BackupOverview) { o.Where = says(o.Where) })
	return b
}

// backup is the fake's, or an empty one.
func (f *fakePlane) backup() *admintest.Backups {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.backups == nil {
		f.backups = admintest.NewBackups(time.Now)
	}
	return f.backups
}

func (f *fakePlane) Backup(context.Context) (admin.BackupOverview, error) {
	return f.backup().Overview(), nil
}
func (f *fakePlane) WatchBackup(ctx context.Context) (<-chan struct{}, error) {
	changed, out := f.backup().Changed(), make(chan struct{}, 1)
	go func() {
		select {
		case <-changed:
			out <- struct{}{}
		case <-ctx.Done():
		}
	}()
	return out, nil
}
func (f *fakePlane) SyncStorage(context.Context) (admin.Storage, error) {
	return admin.Storage{}, f.note("sync")
}
func (f *fakePlane) BackupVersions(ctx context.Context, name string) ([]backup.Version, error) {
	return f.backup().Versions(ctx, name)
}
func (f *fakePlane) BackupContents(ctx context.Context, name, version, dir string) ([]backup.Entry, error) {
	return f.backup().Contents(ctx, name, version, dir)
}
func (f *fakePlane) BackupParts(ctx context.Context, name, version string) ([]admin.StatePart, error) {
	return f.backup().Parts(ctx, name, version)
}
func (f *fakePlane) BackupFile(ctx context.Context, name, version, path string) (io.ReadCloser, int64, error) {
	return f.backup().File(ctx, name, version, path)
}
func (f *fakePlane) BackupDiff(ctx context.Context, name, from, to string) ([]backup.Change, error) {
	return f.backup().Diff(ctx, name, from, to)
}
func (f *fakePlane) BackupExport(ctx context.Context, name, version, recipient string, w io.Writer) error {
	if err := f.note("export %s %s %s", name, version, recipient); err != nil {
		return err
	}
	return f.backup().Export(ctx, name, version, recipient, w)
}
func (f *fakePlane) BackupKeys(ctx context.Context) ([]admin.BackupKey, error) {
	return f.backup().Keys(ctx)
}
func (f *fakePlane) BackupNow(ctx context.Context, name string) (backup.Version, error) {
	if err := f.note("back up %s", name); err != nil {
		return backup.Version{}, err
	}
	f.backup().Write(name, "notes/of the moment", "x")
	return f.backup().Now(ctx, name, "asked for")
}
func (f *fakePlane) BackupRestore(ctx context.Context, name, version string, to admin.RestoreTo, tell func(string)) (admin.Restored, error) {
	if err := f.note("restore %s %s {As:%s Only:%s}", name, version, to.As, strings.ReplaceAll(fmt.Sprintf("%q", to.Only), `"`, "")); err != nil {
		return admin.Restored{}, err
	}
	f.backup().Write(name, "notes/of the moment", "x")
	return f.backup().Restore(ctx, name, fmt.Sprintf("%016s", version), to, tell)
}
func (f *fakePlane) BackupVerify(ctx context.Context, name string, full bool, tell func(string)) (backup.VerifyReport, error) {
	if err := f.note("verify %s %t", name, full); err != nil {
		return backup.VerifyReport{}, err
	}
	return f.backup().Verify(ctx, name, full, tell)
}
func (f *fakePlane) BackupRepair(ctx context.Context, name string, tell func(string)) (backup.RepairReport, error) {
	if err := f.note("repair %s", name); err != nil {
		return backup.RepairReport{}, err
	}
	return f.backup().Repair(ctx, name, tell)
}
func (f *fakePlane) BackupPrune(ctx context.Context, name string) (backup.PruneReport, error) {
	if err := f.note("prune %s", name); err != nil {
		return backup.PruneReport{}, err
	}
	return f.backup().Prune(ctx, name)
}
func (f *fakePlane) BackupDrill(ctx context.Context, name string, tell func(string)) (admin.Drill, error) {
	if err := f.note("drill %s", name); err != nil {
		return admin.Drill{}, err
	}
	return f.backup().Drill(ctx, name, tell)
}
func (f *fakePlane) BackupClaim(ctx context.Context, name string) error {
	if err := f.note("claim %s", name); err != nil {
		return err
	}
	return f.backup().Claim(ctx, name)
}
func (f *fakePlane) BackupUnlock(_ context.Context, key string) error {
	return f.note("unlock %s", key)
}
func (f *fakePlane) BackupAddKey(ctx context.Context, name, recipient string) (admin.BackupKey, error) {
	if err := f.note("add key %s %s", name, recipient); err != nil {
		return admin.BackupKey{}, err
	}
	return f.backup().AddKey(ctx, name, recipient)
}
func (f *fakePlane) BackupNewKey(ctx context.Context, name string) (admin.BackupKey, string, error) {
	if err := f.note("new key %s", name); err != nil {
		return admin.BackupKey{}, "", err
	}
	return f.backup().NewKey(ctx, name)
}
func (f *fakePlane) BackupRemoveKey(_ context.Context, id string) error {
	return f.note("remove key %s", id)
}
