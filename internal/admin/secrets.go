package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/secret"
)

// States of a secret's age.
const (
	AgeFine    = "fine"
	AgeOld     = "old"     // its limit is near
	AgeOverdue = "overdue" // it should have been changed
	AgeUnknown = "unknown" // the configuration does not tell when it was set
)

// FromStore is where a sealed secret comes from.
const FromStore = "store"

// SecretInfo is what may be told about a secret.
type SecretInfo struct {
	secret.Info               // Name, Created, Updated, Hosts
	Age         time.Duration `json:"age_ns"`     // since Updated; 0 when that is not known
	LimitDays   int           `json:"limit_days"` // after which it should be changed; 0: no limit
	State       string        `json:"state"`      // one of the Age constants
	From        string        `json:"from"`       // FromStore, or where the configuration has it from
	Unused      bool          `json:"unused"`     // sealed, but the configuration says otherwise
}

// Ages in days after which secrets should be changed. A sixth of it before, they
// are called old.
const (
	tokenLimit = 90  // what opens something of ours
	keyLimit   = 180 // what opens an account elsewhere
)

// limitOf is the age in days at which a secret should be changed; 0 when there is
// none.
func limitOf(name string) int {
	name = name[strings.LastIndexByte(name, '/')+1:] // without the agent it belongs to
	switch {
	case name == "MOLTBOT_GATEWAY_TOKEN", name == "CDP_SECRET":
		return tokenLimit
	case strings.HasSuffix(name, "_API_KEY"), strings.HasPrefix(name, "R2_"), strings.HasPrefix(name, "AWS_"):
		return keyLimit
	}
	return 0
}

// stateOf judges an age.
func stateOf(age time.Duration, limit int) string {
	days := int(age / (24 * time.Hour))
	switch {
	case limit == 0 || days < limit-limit/6:
		return AgeFine
	case days < limit:
		return AgeOld
	}
	return AgeOverdue
}

// Secrets lists the secrets there are, sealed and configured, without their
// values.
func (p *Plane) Secrets(ctx context.Context) ([]SecretInfo, error) {
	if err := p.may(ctx, access.ReadSecrets); err != nil {
		return nil, err
	}
	list, err := p.opts.Secrets.List()
	if err != nil {
		return nil, err
	}
	configured := p.opts.Configured()
	infos := []SecretInfo{}
	for _, s := range list {
		_, unused := configured[s.Name]
		info := SecretInfo{Info: s, Age: max(p.opts.Now().Sub(s.Updated), 0), LimitDays: limitOf(s.Name), From: FromStore, Unused: unused}
		info.State = stateOf(info.Age, info.LimitDays)
		infos = append(infos, info)
	}
	for name, from := range configured {
		infos = append(infos, SecretInfo{Info: secret.Info{Name: name}, LimitDays: limitOf(name), State: AgeUnknown, From: from})
	}
	slices.SortStableFunc(infos, func(a, b SecretInfo) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

// BackupKeySecret is the sealed secret with which this host opens its backups.
const BackupKeySecret = "MOLTWORKER_BACKUP_KEY"

// notByHand refuses to touch what is made and kept by moltworker itself.
func notByHand(name string) error {
	if name != BackupKeySecret {
		return nil
	}
	return invalid("this secret opens the backups and is not set by hand", "`moltworker backup key` adds and removes other keys")
}

// PutSecret seals a value in place of what was there.
func (p *Plane) PutSecret(ctx context.Context, name, value string) error {
	if err := p.may(ctx, access.WriteSecrets); err != nil {
		return err
	}
	if err := notByHand(name); err != nil {
		return err
	}
	before := p.sealedSince(name)
	if err := p.opts.Secrets.Put(name, value); err != nil {
		return err
	}
	p.opts.SecretChanged(name)
	return p.record(ctx, audit.Event{Action: "secret.put", Target: name, Old: before, New: "a value"})
}

// RemoveSecret removes a sealed value.
func (p *Plane) RemoveSecret(ctx context.Context, name string) error {
	if err := p.may(ctx, access.WriteSecrets); err != nil {
		return err
	}
	if err := notByHand(name); err != nil {
		return err
	}
	before := p.sealedSince(name)
	if err := p.opts.Secrets.Remove(name); err != nil {
		return err
	}
	p.opts.SecretChanged(name)
	return p.record(ctx, audit.Event{Action: "secret.remove", Target: name, Old: before, New: "none"})
}

// sealedSince says in a record's words what was there before.
func (p *Plane) sealedSince(name string) string {
	_, info, err := p.opts.Secrets.Get(name)
	switch {
	case errors.Is(err, secret.ErrNotFound):
		return "none"
	case err != nil:
		return "unknown"
	}
	return "a value of " + info.Updated.UTC().Format(time.RFC3339)
}
