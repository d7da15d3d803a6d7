package admin

import (
	"context"

	"github.com/moltworker/moltworker/internal/access"
)

// Measures is what is counted and watched, for those who draw it or are woken by
// it.
type Measures struct {
	Version Version
	Agents  []AgentInfo
	Backup  BackupOverview
	Models  *ModelMeasures // nil where calls are not recorded
}

// Measures says how everything is. It reads no store of backups and wakes no agent.
func (p *Plane) Measures(ctx context.Context) (Measures, error) {
	if err := p.may(ctx, access.ReadMetrics); err != nil {
		return Measures{}, err
	}
	m := Measures{Version: p.opts.Version, Backup: p.opts.Backups.Overview()}
	for _, ag := range p.opts.Agents.All() {
		m.Agents = append(m.Agents, describe(ctx, ag))
	}
	if p.opts.Models == nil {
		return m, nil
	}
	var err error
	m.Models, err = p.opts.Models.measures(ctx)
	return m, err
}
