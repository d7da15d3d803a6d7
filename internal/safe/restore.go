package safe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/remedy"
)

// Restore puts a version back; see [admin.Backups].
func (s *Safe) Restore(ctx context.Context, name, id string, to admin.RestoreTo, tell func(string)) (admin.Restored, error) {
	vault, err := s.versions(name)
	if err != nil {
		return admin.Restored{}, err
	}
	if id, err = resolve(ctx, vault, id); err != nil {
		return admin.Restored{}, err
	}
	if to.As != "" && to.As != name {
		if len(to.Only) > 0 {
			return admin.Restored{}, remedy.With(errors.New("single files cannot be made an agent of"), "restore them in place, or the whole version as a new agent")
		}
		return s.fork(ctx, vault, id, to.As, tell)
	}
	c, err := s.charge(name)
	if err != nil {
		return admin.Restored{}, remedy.With(err, "restore it as a new agent of that name")
	}
	if !c.restoring.TryLock() {
		return admin.Restored{}, remedy.With(fmt.Errorf("a restore of %s is under way", name), "wait for its end")
	}
	defer c.restoring.Unlock()
	if len(to.Only) > 0 {
		return s.putBack(ctx, c, id, to.Only, tell)
	}
	return s.swap(ctx, c, id, tell)
}

// telling makes words for people of how far a restore is.
func telling(tell func(string)) func(done, total int64) {
	last := int64(-1)
	return func(done, total int64) {
		if percent := 100 * done / max(total, 1); percent/10 != last/10 || last < 0 {
			last = percent
			tell(fmt.Sprintf("restoring: %d of %d MB", done/1e6, total/1e6))
		}
	}
}

// fork makes a new agent of a version.
func (s *Safe) fork(ctx context.Context, vault *backup.Vault, id, as string, tell func(string)) (admin.Restored, error) {
	var report backup.Report
	link, err := s.opts.Create(ctx, as, func(home string) (err error) {
		report, err = vault.Restore(ctx, id, home, backup.RestoreOptions{Progress: telling(tell)})
		return err
	})
	return admin.Restored{Report: report, Agent: as, Link: link}, err
}

// swap restores a whole version beside the agent's home, and then puts the one in
// the place of the other, while nothing of the agent runs and its state of that
// moment is in a version.
func (s *Safe) swap(ctx context.Context, c *charge, id string, tell func(string)) (admin.Restored, error) {
	home := c.source.Dir
	next, old := home+".restored", home+".before"
	if err := errors.Join(os.RemoveAll(next), os.RemoveAll(old)); err != nil {
		return admin.Restored{}, err
	}
	defer os.RemoveAll(next)
	report, err := c.vault.Load().Restore(ctx, id, next, backup.RestoreOptions{Against: home, Leave: s.opts.Leave, Progress: telling(tell)})
	if err != nil {
		return admin.Restored{}, err
	}
	restored := admin.Restored{Report: report, Agent: c.name}
	tell("stopping the agent")
	err = s.instead(ctx, c, &restored, func() error {
		if err := os.Rename(home, old); err != nil {
			return fmt.Errorf("set the home aside: %w", err)
		}
		if err := os.Rename(next, home); err != nil {
			return errors.Join(fmt.Errorf("put the restored home in place: %w", err), os.Rename(old, home))
		}
		return nil
	})
	if err == nil {
		err = os.RemoveAll(old)
	}
	return restored, err
}

// putBack restores single files into the agent's home, while nothing of it runs.
func (s *Safe) putBack(ctx context.Context, c *charge, id string, only []string, tell func(string)) (admin.Restored, error) {
	restored := admin.Restored{Agent: c.name}
	tell("stopping the agent")
	err := s.instead(ctx, c, &restored, func() (err error) {
		restored.Report, err = c.vault.Load().Restore(ctx, id, c.source.Dir, backup.RestoreOptions{Only: only, Leave: s.opts.Leave, Progress: telling(tell)})
		return err
	})
	return restored, err
}

// instead ends the agent, makes a version of what it has then, calls do, and has it
// boot. Without that version nothing is changed.
func (s *Safe) instead(ctx context.Context, c *charge, restored *admin.Restored, do func() error) error {
	release, err := c.keeper.Hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	return c.agent.Replace(ctx, func() error {
		source := c.source
		source.Hold = nil // nothing runs
		before, _, err := c.vault.Load().Snapshot(ctx, source, backup.SnapshotOptions{Reason: "before a restore"})
		if errors.Is(err, backup.ErrUnchanged) {
			restored.Before, err = resolve(ctx, c.vault.Load(), Latest)
		} else {
			restored.Before = before.ID
		}
		if err != nil {
			return fmt.Errorf("keep what is there now: %w", err)
		}
		return do()
	})
}

// Prepare puts an agent's newest version into its empty home, when it has one; the
// host that does so is the one that writes from then on. See agent.Options.
func (s *Safe) Prepare(ctx context.Context, name, home string, tell func(string)) error {
	s.mu.Lock()
	c, attached := s.charges[name]
	s.mu.Unlock()
	if attached {
		defer c.gate.close()()
	}
	vault, id, err := s.lookBack(ctx, name)
	if err != nil || id == "" {
		return err
	}
	report, err := vault.Restore(ctx, id, home, backup.RestoreOptions{Progress: telling(func(p string) { tell(": " + p) })})
	if err != nil {
		return err
	}
	if err := vault.Claim(ctx); err != nil {
		return err
	}
	s.opts.Log.Warn("an agent without a home got its newest version", "agent", name, "version", id, "from", report.Version.Time, "files", report.Files)
	return nil
}

// lookBack finds an agent's newest version, "" when it has none. How long that may
// take is bounded, so that an agent without a past is not kept from its start by a
// store that is away; how long the restore takes is not.
func (s *Safe) lookBack(ctx context.Context, name string) (vault *backup.Vault, id string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lookBackTime, errors.New("the store does not answer"))
	defer cancel()
	repo, err := s.opening(ctx)
	if err != nil {
		return nil, "", err
	}
	vault = s.vault(repo, name)
	id, err = resolve(ctx, vault, Latest)
	if errors.Is(err, backup.ErrNoVersion) {
		return vault, "", nil
	}
	return vault, id, err
}

// lookBackTime is how long an agent with an empty home waits for the store to say
// whether it has an earlier state.
const lookBackTime = time.Minute

// scratch is a new directory of ours that nobody else uses.
func (s *Safe) scratch(name string) (string, error) {
	parent := filepath.Join(s.opts.Dir, "scratch")
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(parent, name+"-")
}
