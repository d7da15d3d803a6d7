package admin

import (
	"context"
	"fmt"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/config"
)

// askedFor is the reason of versions that somebody asked for.
const askedFor = "asked for"

// agentBackup is what is known of an agent's backup, and of its newest version in
// a record's words.
func (p *Plane) agentBackup(name string) (one AgentBackup, newest string) {
	for _, a := range p.opts.Backups.Overview().Agents {
		if a.Agent == name {
			one = a
		}
	}
	if one.Last == nil {
		return one, "none"
	}
	return one, one.Last.ID
}

// change begins an operation that changes an agent's versions.
func (p *Plane) change(ctx context.Context, name string, scopes ...access.Scope) (string, error) {
	if err := p.mayAll(ctx, append([]access.Scope{access.WriteStorage}, scopes...)...); err != nil {
		return "", err
	}
	return p.backedUp(name)
}

// list is a list that is empty rather than nothing, for those who read JSON.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// telling is tell, or one who tells nobody.
func telling(tell func(string)) func(string) {
	if tell == nil {
		return func(string) {}
	}
	return tell
}

// BackupNow makes a version of all that an agent has at this moment. Where nothing
// has changed it is the newest one.
func (p *Plane) BackupNow(ctx context.Context, name string) (backup.Version, error) {
	name, err := p.change(ctx, name)
	if err != nil {
		return backup.Version{}, err
	}
	_, before := p.agentBackup(name)
	v, err := p.opts.Backups.Now(ctx, name, askedFor)
	if err != nil {
		return v, err
	}
	return v, p.record(ctx, audit.Event{Action: "backup.now", Agent: name, Old: before, New: v.ID})
}

// BackupRestore puts a version in an agent's place, or makes another agent of it. What
// was there is kept as a version of its own first. tell, which may be nil, is called
// with how far it is, from this or another goroutine, one call at a time.
func (p *Plane) BackupRestore(ctx context.Context, name, id string, to RestoreTo, tell func(string)) (Restored, error) {
	name, err := p.change(ctx, name, access.WriteAgents)
	if err != nil {
		return Restored{}, err
	}
	if id, err = WholeVersion(id); err != nil {
		return Restored{}, err
	}
	if to, err = checkRestore(to); err != nil {
		return Restored{}, err
	}
	r, err := p.opts.Backups.Restore(ctx, name, id, to, telling(tell))
	e := audit.Event{Action: "backup.restore", Agent: name, Target: id, Old: r.Before, New: r.Version.ID}
	switch {
	case to.As != "":
		e.Detail = "as a new agent, " + to.As
	case len(to.Only) > 0:
		e.Detail = fmt.Sprintf("only %s: %s", count(len(to.Only), "path", "paths"), to.Only[0])
	}
	if !access.From(ctx).May(access.UseAgents) {
		r.Link = ""
	}
	return r, p.noted(ctx, e, err)
}

// checkRestore says whether a version can be put there, and cleans paths.
func checkRestore(to RestoreTo) (RestoreTo, error) {
	if to.As != "" && len(to.Only) > 0 {
		return to, invalid("single paths are restored in place, not as a new agent", "leave one of the two away")
	}
	if to.As != "" {
		return to, config.CheckAgentName(to.As)
	}
	if len(to.Only) > maxOnly {
		return to, invalid(fmt.Sprintf("%d paths: want up to %d", len(to.Only), maxOnly), "name directories")
	}
	clean := make([]string, 0, len(to.Only))
	for _, one := range to.Only {
		path, err := homePath(one)
		if err != nil {
			return to, err
		}
		if path == "" {
			return to, invalid("the whole home is not a single path", "restore without paths")
		}
		clean = append(clean, path)
	}
	to.Only = clean
	return to, nil
}

// BackupVerify looks whether every version of an agent can be restored; full reads and
// decrypts every byte. It takes what changing takes, since reading a store costs.
func (p *Plane) BackupVerify(ctx context.Context, name string, full bool, tell func(string)) (backup.VerifyReport, error) {
	name, err := p.change(ctx, name)
	if err != nil {
		return backup.VerifyReport{}, err
	}
	r, err := p.opts.Backups.Verify(ctx, name, full, telling(tell))
	if err != nil {
		return r, err
	}
	e := audit.Event{Action: "backup.verify", Agent: name, New: "whole", Detail: count(r.Versions, "version", "versions")}
	if full {
		e.Detail += ", every byte"
	}
	if !r.OK() {
		e.New = count(len(r.Damage), "thing", "things") + " damaged"
	}
	return r, p.record(ctx, e)
}

// BackupRepair mends what a full verification finds to be damaged, from what the agent
// still has.
func (p *Plane) BackupRepair(ctx context.Context, name string, tell func(string)) (backup.RepairReport, error) {
	name, err := p.change(ctx, name)
	if err != nil {
		return backup.RepairReport{}, err
	}
	r, err := p.opts.Backups.Repair(ctx, name, telling(tell))
	r.Mended, r.Lost = list(r.Mended), list(r.Lost)
	return r, p.noted(ctx, audit.Event{Action: "backup.repair", Agent: name,
		New: fmt.Sprintf("%d mended, %d lost", len(r.Mended), len(r.Lost))}, err)
}

// BackupPrune lets go of versions that the policy does not keep.
func (p *Plane) BackupPrune(ctx context.Context, name string) (backup.PruneReport, error) {
	name, err := p.change(ctx, name)
	if err != nil {
		return backup.PruneReport{}, err
	}
	r, err := p.opts.Backups.Prune(ctx, name)
	return r, p.noted(ctx, audit.Event{Action: "backup.prune", Agent: name,
		Old: count(r.Kept+r.Removed, "version", "versions"), New: count(r.Kept, "version", "versions")}, err)
}

// BackupDrill restores the newest version into a scratch agent, boots OpenClaw on it,
// and discards it. A drill that ends badly is no error: it says so.
func (p *Plane) BackupDrill(ctx context.Context, name string, tell func(string)) (Drill, error) {
	name, err := p.change(ctx, name)
	if err != nil {
		return Drill{}, err
	}
	d, err := p.opts.Backups.Drill(ctx, name, telling(tell))
	e := audit.Event{Action: "backup.drill", Agent: name, Target: d.Version, New: "it runs"}
	if err == nil && !d.OK {
		e.New = "it does not: " + d.Error
	}
	if err != nil {
		e.New = ""
	}
	return d, p.noted(ctx, e, err)
}

// BackupClaim makes this host the one that writes an agent's versions.
func (p *Plane) BackupClaim(ctx context.Context, name string) error {
	name, err := p.change(ctx, name)
	if err != nil {
		return err
	}
	one, _ := p.agentBackup(name)
	before := "this host"
	if one.Last != nil && one.State == "fenced" {
		before = "another host"
	}
	if one.Last != nil && one.Last.Host != "" {
		before += " (the newest version is of " + one.Last.Host + ")"
	}
	return p.noted(ctx, audit.Event{Action: "backup.claim", Agent: name, Old: before, New: "this host"}, p.opts.Backups.Claim(ctx, name))
}
