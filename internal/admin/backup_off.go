package admin

import (
	"context"
	"io"
	"net/http"

	"github.com/moltworker/moltworker/internal/backup"
)

// off are the Backups of a moltworker that keeps no versions.
type off struct{}

// errBackupOff refuses what needs a backup.
var errBackupOff = &Error{
	Status: http.StatusBadRequest, Kind: "not_configured",
	Message: "Backup is not configured.",
	Remedy:  "set MOLTWORKER_BACKUP to a directory or a bucket, or R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY and CF_ACCOUNT_ID, and start moltworker again",
}

func (off) Overview() BackupOverview {
	return BackupOverview{State: BackupOff, Agents: []AgentBackup{}}
}

// Changed is never closed.
func (off) Changed() <-chan struct{} { return nil }

func (off) Now(context.Context, string, string) (backup.Version, error) {
	return backup.Version{}, errBackupOff
}
func (off) Versions(context.Context, string) ([]backup.Version, error) { return nil, errBackupOff }
func (off) Contents(context.Context, string, string, string) ([]backup.Entry, error) {
	return nil, errBackupOff
}
func (off) Parts(context.Context, string, string) ([]StatePart, error) { return nil, errBackupOff }
func (off) File(context.Context, string, string, string) (io.ReadCloser, int64, error) {
	return nil, 0, errBackupOff
}
func (off) Diff(context.Context, string, string, string) ([]backup.Change, error) {
	return nil, errBackupOff
}
func (off) Restore(context.Context, string, string, RestoreTo, func(string)) (Restored, error) {
	return Restored{}, errBackupOff
}
func (off) Verify(context.Context, string, bool, func(string)) (backup.VerifyReport, error) {
	return backup.VerifyReport{}, errBackupOff
}
func (off) Repair(context.Context, string, func(string)) (backup.RepairReport, error) {
	return backup.RepairReport{}, errBackupOff
}
func (off) Prune(context.Context, string) (backup.PruneReport, error) {
	return backup.PruneReport{}, errBackupOff
}
func (off) Drill(context.Context, string, func(string)) (Drill, error) { return Drill{}, errBackupOff }
func (off) Claim(context.Context, string) error                        { return errBackupOff }
func (off) Unlock(context.Context, string) error                       { return errBackupOff }
func (off) Keys(context.Context) ([]BackupKey, error)                  { return nil, errBackupOff }
func (off) AddKey(context.Context, string, string) (BackupKey, error) {
	return BackupKey{}, errBackupOff
}
func (off) NewKey(context.Context, string) (BackupKey, string, error) {
	return BackupKey{}, "", errBackupOff
}
func (off) RemoveKey(context.Context, string) error { return errBackupOff }
func (off) Import(context.Context, string, string, func(string)) (Imported, error) {
	return Imported{}, errBackupOff
}
func (off) Export(context.Context, string, string, string, io.Writer) error { return errBackupOff }
