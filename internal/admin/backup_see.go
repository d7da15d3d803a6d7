package admin

import (
	"context"
	"io"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/backup"
)

// What a version holds is shown to those who may both read storage and run commands
// in agents: a home holds logins and tokens, and `agent exec` is how else one reads
// them. Using an agent's pages is less: it asks the agent, which may decline.
var readsContent = []access.Scope{access.ReadStorage, access.ExecAgents}

// mayAll refuses a caller who lacks one of the scopes.
func (p *Plane) mayAll(ctx context.Context, scopes ...access.Scope) error {
	for _, s := range scopes {
		if err := p.may(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// Backup says where versions are kept, and how each agent's are.
func (p *Plane) Backup(ctx context.Context) (BackupOverview, error) {
	if err := p.may(ctx, access.ReadStorage); err != nil {
		return BackupOverview{}, err
	}
	o := p.opts.Backups.Overview()
	o.Agents = list(o.Agents)
	return o, nil
}

// WatchBackup returns a channel that receives when what [Plane.Backup] says may have
// changed, and once now. It is closed when ctx ends.
func (p *Plane) WatchBackup(ctx context.Context) (<-chan struct{}, error) {
	if err := p.may(ctx, access.ReadStorage); err != nil {
		return nil, err
	}
	out := make(chan struct{}, 1)
	go func() {
		defer close(out)
		for {
			changed := p.opts.Backups.Changed()
			select {
			case out <- struct{}{}:
			default: // told already
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// BackupVersions lists an agent's versions, newest first.
func (p *Plane) BackupVersions(ctx context.Context, name string) ([]backup.Version, error) {
	if err := p.may(ctx, access.ReadStorage); err != nil {
		return nil, err
	}
	name, err := p.backedUp(name)
	if err != nil {
		return nil, err
	}
	found, err := p.opts.Backups.Versions(ctx, name)
	return list(found), err
}

// BackupParts says how each part of what an agent needs is in a version.
func (p *Plane) BackupParts(ctx context.Context, name, id string) ([]StatePart, error) {
	if err := p.may(ctx, access.ReadStorage); err != nil {
		return nil, err
	}
	name, id, err := p.theVersion(name, id)
	if err != nil {
		return nil, err
	}
	found, err := p.opts.Backups.Parts(ctx, name, id)
	return list(found), err
}

// BackupContents lists one directory of a version, by name; "" is the home.
func (p *Plane) BackupContents(ctx context.Context, name, id, dir string) ([]backup.Entry, error) {
	if err := p.mayAll(ctx, readsContent...); err != nil {
		return nil, err
	}
	name, id, err := p.theVersion(name, id)
	if err != nil {
		return nil, err
	}
	if dir, err = homePath(dir); err != nil {
		return nil, err
	}
	found, err := p.opts.Backups.Contents(ctx, name, id, dir)
	return list(found), noSuchFile(err)
}

// BackupFile opens a file of a version, and says how large it is. That it was opened
// is recorded.
func (p *Plane) BackupFile(ctx context.Context, name, id, file string) (io.ReadCloser, int64, error) {
	if err := p.mayAll(ctx, readsContent...); err != nil {
		return nil, 0, err
	}
	name, id, err := p.theVersion(name, id)
	if err != nil {
		return nil, 0, err
	}
	if file, err = homePath(file); err != nil {
		return nil, 0, err
	}
	if file == "" {
		return nil, 0, invalid("no file is named", "")
	}
	body, size, err := p.opts.Backups.File(ctx, name, id, file)
	if err != nil {
		return nil, 0, noSuchFile(err)
	}
	if err := p.record(ctx, audit.Event{Action: "backup.read", Agent: name, Target: file, Detail: "version " + id}); err != nil {
		body.Close()
		return nil, 0, err
	}
	return body, size, nil
}

// BackupDiff says what differs between two versions.
func (p *Plane) BackupDiff(ctx context.Context, name, from, to string) ([]backup.Change, error) {
	if err := p.mayAll(ctx, readsContent...); err != nil {
		return nil, err
	}
	name, from, err := p.theVersion(name, from)
	if err != nil {
		return nil, err
	}
	if to, err = WholeVersion(to); err != nil {
		return nil, err
	}
	found, err := p.opts.Backups.Diff(ctx, name, from, to)
	return list(found), err
}

// BackupExport writes an agent's newest state (version "" or "latest"), or a version of
// it, as one file that a plain OpenClaw can run; encrypted to a recipient unless that
// is "". What has been written when it fails is of no use. It is recorded before
// anything is written.
func (p *Plane) BackupExport(ctx context.Context, name, id, recipient string, w io.Writer) error {
	if err := p.mayAll(ctx, readsContent...); err != nil {
		return err
	}
	if id == "" {
		id = LatestVersion
	}
	name, id, err := p.theVersion(name, id)
	if err != nil {
		return err
	}
	to := "nobody in particular: it is not encrypted"
	if recipient != "" {
		if to, err = checkRecipient(recipient); err != nil {
			return err
		}
	}
	if err := p.record(ctx, audit.Event{Action: "agent.export", Agent: name, Target: id, Detail: "for " + to}); err != nil {
		return err
	}
	return p.opts.Backups.Export(ctx, name, id, recipient, w)
}
