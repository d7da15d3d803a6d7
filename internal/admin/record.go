package admin

import (
	"context"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
)

// record keeps that the caller did something. It goes on when the caller has left:
// what was done is done. An error means that there is no record of it.
func (p *Plane) record(ctx context.Context, e audit.Event) error {
	by := audit.By(ctx)
	e.Actor, e.Via, e.From = by.Actor, by.Via, by.From
	return p.opts.Audit.Record(ctx, e)
}

// Audit lists records of what was done.
func (p *Plane) Audit(ctx context.Context, f audit.Filter) ([]audit.Entry, error) {
	if err := p.may(ctx, access.ReadAudit); err != nil {
		return nil, err
	}
	return p.opts.Audit.List(ctx, f)
}

// AuditLog is the log itself, to be followed, verified and exported by those who
// may read it.
func (p *Plane) AuditLog(ctx context.Context) (*audit.Log, error) {
	if err := p.may(ctx, access.ReadAudit); err != nil {
		return nil, err
	}
	return p.opts.Audit, nil
}
