package safe

import (
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup/safekeeper"
	"github.com/moltworker/moltworker/internal/remedy"
)

// Overview says how all this is; see [admin.Backups].
func (s *Safe) Overview() admin.BackupOverview {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := admin.BackupOverview{
		State: s.state, Where: s.opts.Where, OffMachine: s.opts.OffMachine, Since: s.since, Policy: s.opts.Policy,
		Recovery: len(s.slots) > 1, Agents: []admin.AgentBackup{},
	}
	if s.err != nil {
		o.Error, o.Remedy = s.err.Error(), remedy.Of(s.err)
	}
	for _, c := range s.charges {
		a := admin.AgentBackup{Agent: c.name, Drill: c.drill, Verified: c.verified, Status: safekeeper.Status{State: safekeeper.StateStarting, Since: s.since}}
		if c.keeper != nil {
			a.Status = c.keeper.Status()
		}
		o.Agents = append(o.Agents, a)
	}
	slices.SortFunc(o.Agents, func(a, b admin.AgentBackup) int { return strings.Compare(a.Agent, b.Agent) })
	return o
}
