package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/server"
)

// maxExposed is how long a change may be on this machine only.
const maxExposed = 10 * time.Second

// trySaving talks to an agent without a pause while it is backed up, then restores
// every version that came of it, has SQLite check every database, and has OpenClaw
// boot on some.
func trySaving(ctx context.Context, b *bench) (tables []table, err error) {
	s, err := b.newStage(ctx, "saving", "MOLTWORKER_BACKUP=") // to where they go without a setting
	if s != nil {
		defer func() {
			s.faulty = err != nil
			err = errors.Join(err, s.end())
		}()
	}
	if err != nil {
		return nil, err
	}
	lasts := 2 * time.Minute
	if b.short {
		lasts = 20 * time.Second
	}
	var f faults
	began := time.Now()
	seen := watchVersions(ctx, s)
	turns, err := s.talk(ctx, began.Add(lasts))
	if err != nil {
		return nil, err
	}
	if _, err := s.admin.BackupNow(ctx, agentName); err != nil {
		return nil, err
	}
	versions := seen.stop()
	exposed := exposure(turns, versions, &f)
	var held samples
	for _, v := range versions {
		if v.Time.After(began) {
			held.add("held still", map[string]float64{"ms": ms(v.Held)})
			held.add("changed to stored", map[string]float64{"ms": ms(v.Took)})
		}
	}
	good, err := s.restoreAll(ctx, b, &f)
	if err != nil {
		return nil, err
	}
	boots, err := s.bootSome(ctx, !b.short, &f)
	if err != nil {
		return nil, err
	}
	say("saving: %d turns, %d versions, %d databases good, %d booted", len(turns), len(versions), good, boots)
	return []table{
		{Title: fmt.Sprintf("Saving: %d turns in %s", len(turns), lasts), Columns: []string{"times", "p50 s", "p99 s", "max s"}, Rows: exposed.spreads("s"),
			Notes: []string{fmt.Sprintf("from the end of a turn until a version that has it is in the store; %d versions, all restored, %d databases passed integrity_check, OpenClaw booted on %d", len(versions), good, boots)}},
		{Title: "Saving: what it costs the agent", Columns: []string{"times", "p50 ms", "p99 ms", "max ms"}, Rows: held.spreads("ms")},
	}, f.err()
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// talk asks one question after the other, and says when each was answered.
func (s *stage) talk(ctx context.Context, until time.Time) (turns []time.Time, err error) {
	for time.Now().Before(until) {
		if _, err := s.ask(ctx); err != nil {
			return turns, err
		}
		turns = append(turns, time.Now())
	}
	return turns, nil
}

// seenVersion is a version and when it was seen in the store.
type seenVersion struct {
	backup.Version
	seen time.Time
}

// spotter notes versions as they come.
type spotter struct {
	cancel context.CancelFunc
	done   chan struct{}
	found  []seenVersion
}

func watchVersions(ctx context.Context, s *stage) *spotter {
	ctx, cancel := context.WithCancel(ctx)
	w := &spotter{cancel: cancel, done: make(chan struct{})}
	look := func() {
		o, err := s.admin.Backup(context.WithoutCancel(ctx))
		if err != nil || len(o.Agents) == 0 || o.Agents[0].Last == nil {
			return
		}
		last := *o.Agents[0].Last
		if n := len(w.found); n == 0 || w.found[n-1].Seq < last.Seq {
			w.found = append(w.found, seenVersion{last, time.Now()})
		}
	}
	go func() {
		defer close(w.done)
		for pause(ctx, 100*time.Millisecond) == nil {
			look()
		}
		look()
	}()
	return w
}

func (w *spotter) stop() []seenVersion {
	w.cancel()
	<-w.done
	return w.found
}

// exposure is for each turn how long it took until a version that has it was seen.
func exposure(turns []time.Time, versions []seenVersion, f *faults) samples {
	var all samples
	for _, turn := range turns {
		var safe time.Time
		for _, v := range versions {
			if v.Time.After(turn) {
				safe = v.seen
				break
			}
		}
		if safe.IsZero() {
			f.add("a turn that ended at %s is in no version", turn.Format(time.TimeOnly))
			continue
		}
		if d := safe.Sub(turn); d > maxExposed {
			f.add("a turn was on this machine only for %.1f s", d.Seconds())
		}
		all.add("turn to safe", map[string]float64{"s": safe.Sub(turn).Seconds()})
	}
	return all
}

// restoreAll restores every version, with nothing but the recovery key, and checks
// its databases. It says how many there were.
func (s *stage) restoreAll(ctx context.Context, b *bench, f *faults) (good int, err error) {
	versions, err := s.admin.Versions(ctx, agentName)
	if err != nil {
		return 0, err
	}
	made, err := s.admin.NewKey(ctx, "trial")
	if err != nil {
		return 0, err
	}
	keyFile := filepath.Join(b.dir, "trial.key")
	if err := os.WriteFile(keyFile, []byte(made.Secret), 0o600); err != nil {
		return 0, err
	}
	for _, v := range versions {
		to := filepath.Join(b.dir, "restored")
		_, err := server.RestoreBare(ctx, server.BareOptions{
			From: filepath.Join(s.data, "backups"), KeyFile: keyFile, Data: filepath.Join(b.dir, "elsewhere"), Agent: agentName, Version: v.ID, To: to, Tell: func(string) {},
		})
		if err != nil {
			f.add("version %s does not restore: %w", v.ID, err)
			continue
		}
		n, err := checkDatabases(to)
		if err != nil {
			f.add("version %s: %w", v.ID, err)
		}
		good += n // none in a version that is older than OpenClaw's first boot
		if err := os.RemoveAll(to); err != nil {
			return good, err
		}
	}
	if good < len(versions) {
		f.add("%d versions have only %d databases", len(versions), good)
	}
	return good, nil
}

// checkDatabases has SQLite check every database below a directory.
func checkDatabases(home string) (good int, err error) {
	err = filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(path, ".sqlite") {
			return err
		}
		db, err := sql.Open("sqlite", path)
		if err != nil {
			return err
		}
		defer db.Close()
		var said string
		if err := db.QueryRow("PRAGMA integrity_check").Scan(&said); err != nil || said != "ok" {
			return fmt.Errorf("%s: %w: %s", filepath.Base(path), errors.Join(err, errors.New("damaged")), said)
		}
		good++
		return nil
	})
	return good, err
}

// bootSome boots OpenClaw on the newest version as a trial of a restore does, and,
// if an older one is wanted too, on that as another agent.
func (s *stage) bootSome(ctx context.Context, older bool, f *faults) (booted int, err error) {
	drill, err := s.admin.Drill(ctx, agentName, func(string) {})
	if err != nil {
		return 0, err
	}
	if drill.OK {
		booted++
	} else {
		f.add("the newest version: %s", drill.Error)
	}
	if !older {
		return booted, nil
	}
	versions, err := s.admin.Versions(ctx, agentName)
	if err != nil {
		return booted, err
	}
	const copied = "of-a-version"
	if _, err := s.admin.Restore(ctx, agentName, versions[len(versions)/2].ID, admin.RestoreTo{As: copied}, func(string) {}); err != nil {
		return booted, err
	}
	if _, err := s.admin.Wake(ctx, copied); err != nil {
		f.add("an older version as another agent: %w", err)
	} else {
		booted++
	}
	_, err = s.admin.Remove(ctx, copied)
	return booted, err
}
