package admin

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/backup/safekeeper"
)

// Storage is how the agents' state is kept beyond this machine, in the shape that
// programs for cloudflare/moltworker read, and more. [Plane.Backup] says all of it.
type Storage struct {
	Configured bool       `json:"configured"`
	Missing    []string   `json:"missing,omitempty"` // settings it would need
	LastSync   *time.Time `json:"lastSync"`          // up to which the main agent is safe, or the first there is; nil when nothing is known to be
	Message    string     `json:"message"`
	State      string     `json:"state"` // one of the Backup constants
	Where      string     `json:"where"` // the store, for people
	OffMachine bool       `json:"offMachine"`
}

// Storage says how the agents' state is kept beyond this machine.
func (p *Plane) Storage(ctx context.Context) (Storage, error) {
	o, err := p.Backup(ctx)
	if err != nil {
		return Storage{}, err
	}
	s := Storage{
		Configured: o.State != BackupOff, Missing: o.Missing, Message: o.Sentence(),
		State: o.State, Where: o.Where, OffMachine: o.OffMachine,
	}
	for _, a := range o.Agents {
		if safe := a.SafeUntil(); !safe.IsZero() && (s.LastSync == nil || a.Agent == "main") {
			s.LastSync = &safe
		}
	}
	return s, nil
}

// SyncStorage makes a version of every agent now, and says what the storage is like
// then. It fails with the first agent's error that failed, after trying all. Without a
// backup the error is ErrNotConfigured.
func (p *Plane) SyncStorage(ctx context.Context) (Storage, error) {
	if err := p.may(ctx, access.WriteStorage); err != nil {
		return Storage{}, err
	}
	o := p.opts.Backups.Overview()
	if o.State == BackupOff {
		return Storage{}, errBackupOff
	}
	var failed []error
	for _, a := range o.Agents {
		if _, err := p.BackupNow(ctx, a.Agent); err != nil {
			failed = append(failed, fmt.Errorf("back up agent %s: %w", a.Agent, err))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return Storage{}, err
	}
	if !access.From(ctx).May(access.ReadStorage) {
		now := p.opts.Now()
		return Storage{Configured: true, LastSync: &now, Message: o.Sentence(), State: o.State}, nil
	}
	return p.Storage(ctx)
}

// Sentence says in one sentence or two how the backup as a whole is.
func (o BackupOverview) Sentence() string {
	switch o.State {
	case BackupOff:
		return "Backup is not configured. What agents have is on this machine's disk only."
	case BackupStarting:
		return "The backup is starting."
	case BackupAway:
		return "The backup's store cannot be reached. It is tried again, and what changes meanwhile is backed up then."
	case BackupLocked:
		return "Another machine made this backup, and this one has no key to it. Nothing is backed up until it is unlocked."
	case BackupFailed:
		return "The backup does not work and needs a person."
	}
	worst := ""
	for _, a := range o.Agents {
		switch a.State {
		case safekeeper.StateFenced:
			return "Agent " + a.Agent + " is backed up by another machine and no longer by this one."
		case safekeeper.StateBehind:
			worst = a.Agent
		}
	}
	if worst != "" {
		return "The backup of agent " + worst + " is behind. It is tried again."
	}
	if !o.OffMachine {
		return "Agents are backed up to this machine's own disk: a broken disk takes both."
	}
	return "Agents are backed up within seconds of every change."
}

// SafeUntil is a time up to which all of an agent's changes are known to be in the
// store; zero when none is.
func (a AgentBackup) SafeUntil() time.Time {
	if a.LastSafe.IsZero() && a.Last != nil {
		return a.Last.Time
	}
	return a.LastSafe
}
