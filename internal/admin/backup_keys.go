package admin

import (
	"context"
	"net/http"
	"strings"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/remedy"
)

// A key opens nothing by itself: who has one also needs the store. So what takes and
// gives keys takes the scope of the store, not that of the agents' contents.

// PassphrasePrefix stands before a passphrase where a public or a secret key could be.
const PassphrasePrefix = "passphrase:"

// minPassphrase is the least that a passphrase has, in bytes: who has the store may
// guess as long as they like.
const minPassphrase = 12

// checkRecipient says whether something can be encrypted to, and what to call it in
// records.
func checkRecipient(recipient string) (string, error) {
	if phrase, ok := strings.CutPrefix(recipient, PassphrasePrefix); ok {
		if len(phrase) < minPassphrase || len(phrase) > maxKey {
			return "", invalid("a passphrase for backups has at least 12 characters", "six words that were picked at random are good")
		}
		return "a passphrase", nil
	}
	to, err := backup.ParseRecipient(recipient)
	if err != nil {
		return "", invalid(err.Error(), remedy.Of(err))
	}
	return to.Text(), nil
}

// checkKey says whether something could be a secret key, and never what it is.
func checkKey(key string) error {
	if len(key) > maxKey {
		return invalid("that is too long for a key", "")
	}
	if phrase, ok := strings.CutPrefix(key, PassphrasePrefix); ok {
		if phrase == "" {
			return invalid("the passphrase is empty", "")
		}
		return nil
	}
	if _, err := backup.ParseKey(key); err != nil {
		return invalid(err.Error(), remedy.Of(err))
	}
	return nil
}

func checkKeyName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxKeyName || audit.Visible(name) != name {
		return "", invalid("a key has a name of 1 to 200 printable characters", "say where it is kept: \"safe in the office\"")
	}
	return name, nil
}

// BackupUnlock gives this host a key to a repository that another host made.
func (p *Plane) BackupUnlock(ctx context.Context, key string) error {
	if err := p.may(ctx, access.WriteStorage); err != nil {
		return err
	}
	key = strings.TrimSpace(key)
	if err := checkKey(key); err != nil {
		return err
	}
	before := p.opts.Backups.Overview().State
	if err := p.opts.Backups.Unlock(ctx, key); err != nil {
		return err
	}
	return p.record(ctx, audit.Event{Action: "backup.unlock", Old: before, New: p.opts.Backups.Overview().State})
}

// BackupKeys lists what opens the repository, without anything secret.
func (p *Plane) BackupKeys(ctx context.Context) ([]BackupKey, error) {
	if err := p.may(ctx, access.ReadStorage); err != nil {
		return nil, err
	}
	keys, err := p.opts.Backups.Keys(ctx)
	return list(keys), err
}

// BackupAddKey lets a recipient open the repository: "age1...", "ssh-ed25519 ...", or
// a passphrase behind [PassphrasePrefix].
func (p *Plane) BackupAddKey(ctx context.Context, name, recipient string) (BackupKey, error) {
	if err := p.may(ctx, access.WriteStorage); err != nil {
		return BackupKey{}, err
	}
	name, err := checkKeyName(name)
	if err != nil {
		return BackupKey{}, err
	}
	recipient = strings.TrimSpace(recipient)
	if _, err := checkRecipient(recipient); err != nil {
		return BackupKey{}, err
	}
	k, err := p.opts.Backups.AddKey(ctx, name, recipient)
	if err != nil {
		return k, err
	}
	return k, p.recordKey(ctx, "backup.key.add", k, "none", k.Recipient)
}

// BackupNewKey makes a key, lets it open the repository, and returns its secret half,
// which is kept nowhere.
func (p *Plane) BackupNewKey(ctx context.Context, name string) (BackupKey, string, error) {
	if err := p.may(ctx, access.WriteStorage); err != nil {
		return BackupKey{}, "", err
	}
	name, err := checkKeyName(name)
	if err != nil {
		return BackupKey{}, "", err
	}
	k, secret, err := p.opts.Backups.NewKey(ctx, name)
	if err != nil {
		return k, "", err
	}
	return k, secret, p.recordKey(ctx, "backup.key.add", k, "none", k.Recipient)
}

// BackupRemoveKey takes a key's way into the repository. Who had it and kept what it
// opened can still read what was there then.
func (p *Plane) BackupRemoveKey(ctx context.Context, id string) error {
	if err := p.may(ctx, access.WriteStorage); err != nil {
		return err
	}
	keys, err := p.opts.Backups.Keys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID != id {
			continue
		}
		if k.Ours {
			return &Error{Status: http.StatusConflict, Kind: "ours", Message: "that is this machine's own key, without which it could not back up",
				Remedy: "remove it with another machine's moltworker, once this one is gone"}
		}
		if err := p.opts.Backups.RemoveKey(ctx, id); err != nil {
			return err
		}
		return p.recordKey(ctx, "backup.key.remove", k, k.Recipient, "none")
	}
	return &Error{Status: http.StatusNotFound, Kind: "not_found", Message: "the backup has no such key", Remedy: "`moltworker backup key ls` lists them"}
}

func (p *Plane) recordKey(ctx context.Context, action string, k BackupKey, before, after string) error {
	return p.record(ctx, audit.Event{Action: action, Target: k.ID, Old: before, New: after, Detail: k.Name})
}
