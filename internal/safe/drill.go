package safe

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/backup"
)

// Drill tries a restore; see [admin.Backups]. A trial that fails is a result, not
// an error.
func (s *Safe) Drill(ctx context.Context, name string, tell func(string)) (admin.Drill, error) {
	vault, err := s.versions(name)
	if err != nil {
		return admin.Drill{}, err
	}
	id, err := resolve(ctx, vault, Latest)
	if err != nil {
		return admin.Drill{}, err
	}
	tell("waiting for another trial to end")
	s.drills.Lock()
	defer s.drills.Unlock()
	d := admin.Drill{Agent: name, Version: id, Time: s.opts.Now()}
	if err := s.try(ctx, vault, &d, tell); err != nil {
		if ctx.Err() != nil {
			return d, context.Cause(ctx) // that says nothing about the version
		}
		d.Error = err.Error()
	}
	d.OK = d.Error == ""
	s.keepDrill(d)
	return d, nil
}

func (s *Safe) try(ctx context.Context, vault *backup.Vault, d *admin.Drill, tell func(string)) (err error) {
	dir, err := s.scratch(d.Agent)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	home := filepath.Join(dir, "home")
	began := s.opts.Now()
	report, err := vault.Restore(ctx, d.Version, home, backup.RestoreOptions{Progress: telling(tell)})
	if err != nil {
		return err
	}
	d.Files, d.Bytes, d.Restored = report.Files, report.Bytes, s.opts.Now().Sub(began)
	trial, err := s.opts.Try(ctx, home, tell)
	d.Databases, d.Booted = trial.Databases, trial.Booted
	return err
}

func (s *Safe) drillPath(name string) string {
	return filepath.Join(s.opts.Dir, "drills", name+".json")
}

// keepDrill shows and keeps how a trial went.
func (s *Safe) keepDrill(d admin.Drill) {
	path := s.drillPath(d.Agent)
	data, err := json.Marshal(d)
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), atomicfile.Write(path, data, 0o600))
	}
	if err != nil {
		s.opts.Log.Error("cannot keep how the trial of a restore went", "agent", d.Agent, "err", err)
	}
	if !d.OK {
		s.opts.Log.Error("a backup did not restore to an agent that runs", "agent", d.Agent, "version", d.Version, "err", d.Error)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.charges[d.Agent]; ok {
		c.drill = &d
		s.note()
	}
}

// recallDrill is how the last trial went, if there was one.
func (s *Safe) recallDrill(name string) *admin.Drill {
	data, err := os.ReadFile(s.drillPath(name))
	var d admin.Drill
	if err != nil || json.Unmarshal(data, &d) != nil {
		return nil
	}
	return &d
}

// drillCheck is how often it is looked whether a trial is due, and drillRest how
// long an agent must have been kept safe before its first one.
const (
	drillCheck = 10 * time.Minute
	drillRest  = time.Hour
)

// drillNowAndThen tries a restore of each agent when it is due.
func (s *Safe) drillNowAndThen(ctx context.Context) {
	if s.opts.DrillEvery <= 0 {
		return
	}
	tick := time.NewTicker(drillCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, name := range s.dueForDrill() {
			if _, err := s.Drill(ctx, name, func(string) {}); err != nil && ctx.Err() == nil {
				s.opts.Log.Warn("the trial of a restore could not be made", "agent", name, "err", err)
			}
		}
	}
}

// dueForDrill are the agents whose last trial was long ago. A failed one is tried
// again sooner.
func (s *Safe) dueForDrill() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []string
	for _, c := range s.charges {
		if c.keeper == nil {
			continue
		}
		since, every := s.since, drillRest
		if c.drill != nil {
			since, every = c.drill.Time, s.opts.DrillEvery
			if !c.drill.OK {
				every = min(every, 24*time.Hour)
			}
		}
		if s.opts.Now().Sub(since) >= cmp.Or(every, drillRest) {
			due = append(due, c.name)
		}
	}
	return due
}
