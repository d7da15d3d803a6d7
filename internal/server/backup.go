package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/dir"
	"github.com/moltworker/moltworker/internal/blob/pace"
	"github.com/moltworker/moltworker/internal/blob/retry"
	"github.com/moltworker/moltworker/internal/blob/s3"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/migrate"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/safe"
)

// lastVersion bounds how long the last version of an agent that is removed may take.
const lastVersion = time.Minute

// place is where this moltworker keeps versions.
func (s *server) place() config.Backup { return s.cfg.BackupPlace(s.secrets.lookup) }

// openStore opens the store at a place, the directory data/backups when it names
// none.
func openStore(place config.Backup, data string, bandwidth int64) (blob.Store, error) {
	var store blob.Store
	var err error
	if place.Bucket != "" {
		if place.Endpoint == "" {
			place.Endpoint = "https://s3." + place.Region + ".amazonaws.com"
		}
		store, err = s3.New(s3.Options{
			Endpoint: place.Endpoint, Region: place.Region, Bucket: place.Bucket, Prefix: place.Prefix,
			AccessKey: place.Access.Reveal(), SecretKey: place.Secret, SessionToken: place.Session, PathStyle: place.PathStyle,
		})
	} else {
		where := place.Dir
		if where == "" {
			where = filepath.Join(data, "backups")
		}
		if err := os.MkdirAll(where, 0o700); err != nil {
			return nil, remedy.With(fmt.Errorf("make the directory for backups: %w", err), "name another in MOLTWORKER_BACKUP")
		}
		store, err = dir.Open(where)
	}
	if err != nil {
		return nil, err
	}
	if bandwidth > 0 {
		store = pace.New(store, bandwidth)
	}
	return retry.New(store, retry.Options{}), nil
}

// whereIs is a place in words for people, and whether it is on another machine.
func whereIs(place config.Backup, data string) (where string, off bool) {
	switch {
	case place.Bucket != "":
		where = "s3://" + place.Bucket
		if place.Prefix != "" {
			where += "/" + place.Prefix
		}
		if place.Endpoint != "" {
			where += " at " + place.Endpoint
		}
		return where, true
	case place.Dir != "":
		return place.Dir, !sameDisk(place.Dir, data)
	}
	return filepath.Join(data, "backups"), false
}

// newSafe makes the backup of the agents; nil when it is switched off.
func (s *server) newSafe() (*safe.Safe, error) {
	place := s.place()
	if place.Off {
		return nil, nil
	}
	key, err := s.secrets.ensureBackupKey()
	if err != nil {
		return nil, err
	}
	where, off := whereIs(place, s.cfg.Data)
	var parts []safe.Part
	for _, p := range openclaw.State() {
		parts = append(parts, safe.Part{Name: p.Name, What: p.What, Critical: p.Critical})
	}
	return safe.New(safe.Options{
		Dir:   filepath.Join(s.cfg.Data, "backup"),
		Store: func() (blob.Store, error) { return openStore(s.place(), s.cfg.Data, s.cfg.BackupBandwidth) },
		Where: where, OffMachine: off, Key: key, Recovery: s.con.recovery,
		Policy: backup.Policy(s.cfg.BackupKeep), DrillEvery: s.cfg.BackupDrill,
		Leave: openclaw.Regenerated, Parts: parts, PartOf: openclaw.PartOf,
		Create: s.createFrom,
		Try:    s.try,
		Bucket: s.foreignBucket,
		PutSecret: func(_ context.Context, agent, name, value string) error {
			defer s.secretChanged(name)
			return s.secrets.adopt(agent, name, value)
		},
		Log: s.log.With("part", "backup"),
	})
}

// prepare puts an agent's newest version into its empty home.
func (s *server) prepare(name string) func(context.Context, string, func(string)) error {
	return func(ctx context.Context, home string, tell func(string)) error {
		if s.safe == nil {
			return nil
		}
		return s.safe.Prepare(ctx, name, home, tell)
	}
}

// keepSafe begins with the backup of an agent.
func (s *server) keepSafe(a *agent.Agent) {
	if s.safe != nil {
		s.safe.Attach(a)
	}
}

// letGo makes a last version of an agent that is being removed.
func (s *server) letGo(ctx context.Context, name string) {
	if s.safe == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lastVersion)
	defer cancel()
	if _, err := s.safe.Now(ctx, name, "before its removal"); err != nil {
		s.log.Warn("the agent's last changes are not in the backup", "agent", name, "err", err)
	}
	s.safe.Detach(name)
}

// foreignBucket is the bucket that Cloudflare's moltworker filled.
func (s *server) foreignBucket() (migrate.Bucket, error) {
	access, _ := s.secrets.lookup("R2_ACCESS_KEY_ID")
	if access == "" || s.cfg.R2Place() == "" {
		return safe.NoBucket()
	}
	return migrate.NewR2(migrate.R2Options{Endpoint: s.cfg.R2Place(), Region: s.cfg.R2Region(), Bucket: s.cfg.R2Bucket, AccessKey: access, SecretKey: s.secrets.value("R2_SECRET_ACCESS_KEY")})
}
