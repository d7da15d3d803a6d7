package safe

import (
	"context"
	"fmt"

	"github.com/moltworker/moltworker/internal/backup"
)

// Verify looks whether every version can be restored; see [admin.Backups].
func (s *Safe) Verify(ctx context.Context, name string, full bool, tell func(string)) (backup.VerifyReport, error) {
	vault, err := s.versions(name)
	if err != nil {
		return backup.VerifyReport{}, err
	}
	tell("reading what is stored of " + name)
	report, err := vault.Verify(ctx, backup.VerifyOptions{Full: full})
	if err != nil {
		return report, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.charges[name]; ok {
		c.verified = &report
		s.note()
	}
	return report, nil
}

// Repair mends what is damaged from what the agent still has.
func (s *Safe) Repair(ctx context.Context, name string, tell func(string)) (backup.RepairReport, error) {
	c, err := s.charge(name)
	if err != nil {
		return backup.RepairReport{}, err
	}
	found, err := s.Verify(ctx, name, true, tell)
	if err != nil {
		return backup.RepairReport{}, err
	}
	if found.OK() {
		return backup.RepairReport{}, nil
	}
	tell(fmt.Sprintf("mending %d objects", len(found.Damage)))
	return c.vault.Load().Repair(ctx, found, c.source)
}

// Prune lets go of versions that the policy does not keep.
func (s *Safe) Prune(ctx context.Context, name string) (backup.PruneReport, error) {
	vault, err := s.versions(name)
	if err != nil {
		return backup.PruneReport{}, err
	}
	return vault.Prune(ctx, s.opts.Policy, backup.PruneOptions{})
}
