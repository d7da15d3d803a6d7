package admin

import (
	"context"
	"errors"
	"io/fs"
	"net/http"

	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/migrate"
)

// backupKinds say how errors of the backup travel. The first that fits counts; its
// remedy is for errors that bring none.
var backupKinds = []struct {
	is           error
	status       int
	kind, remedy string
}{
	{backup.ErrNoVersion, http.StatusNotFound, "not_found", "`moltworker backup ls` lists the versions"},
	{backup.ErrNoRepo, http.StatusNotFound, "no_repository", "check where MOLTWORKER_BACKUP points; `moltworker up` makes a repository where there is none"},
	{backup.ErrExists, http.StatusConflict, "exists", ""},
	{backup.ErrFenced, http.StatusConflict, "fenced", "stop moltworker on the other machine; then `moltworker backup claim` makes this one write the versions"},
	{backup.ErrUnchanged, http.StatusConflict, "unchanged", ""},
	{backup.ErrKey, http.StatusConflict, "locked", "`moltworker backup unlock` takes a key that opens the repository"},
	{backup.ErrDamaged, http.StatusBadGateway, "damaged", "`moltworker backup verify --full` says what is damaged, `moltworker backup repair` mends what can be mended"},
	{blob.ErrDenied, http.StatusBadGateway, "store_denied", "check the credentials of the backup's store and what they permit"},
	{blob.ErrUnavailable, http.StatusServiceUnavailable, "store_away", "it is tried again by itself; check that the backup's store can be reached from this machine"},
	{migrate.ErrUnknown, http.StatusBadRequest, "not_an_agent", "name a home with .openclaw in it, that directory, or an archive of either"},
	{migrate.ErrHostile, http.StatusBadRequest, "hostile", "have the archive made anew by somebody you trust"},
	{migrate.ErrDamaged, http.StatusBadRequest, "damaged", "make the archive anew"},
	{migrate.ErrLocked, http.StatusBadRequest, "locked", "decrypt it first: age -d"},
	{migrate.ErrExists, http.StatusConflict, "exists", ""},
}

// asBackupError fills in what is known of an error of the backup.
func asBackupError(e *Error, err error) {
	for _, k := range backupKinds {
		if !errors.Is(err, k.is) {
			continue
		}
		e.Status, e.Kind = k.status, k.kind
		if e.Remedy == "" {
			e.Remedy = k.remedy
		}
		return
	}
}

// noSuchFile tells a path that is not in a version from a failure of ours.
func noSuchFile(err error) error {
	var bad *fs.PathError
	if !errors.As(err, &bad) || errors.Is(err, backup.ErrDamaged) {
		return err
	}
	message := "the version has no such file"
	if !errors.Is(bad.Err, fs.ErrNotExist) {
		message = "that cannot be read: " + bad.Err.Error()
	}
	return &Error{Status: http.StatusNotFound, Kind: "not_found", Message: message,
		Remedy: "`moltworker backup show --dir PATH` lists what a version has"}
}

// noted records a change that may leave something behind when it fails, whatever
// became of it.
func (p *Plane) noted(ctx context.Context, e audit.Event, err error) error {
	if err != nil {
		if e.Detail != "" {
			e.Detail += "; "
		}
		e.Detail += "failed: " + AsError(err).Message
	}
	return errors.Join(err, p.record(ctx, e))
}
