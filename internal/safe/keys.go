package safe

import (
	"context"
	"fmt"
	"strings"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/remedy"
)

// passphrasePrefix marks a passphrase where a recipient is asked for.
const passphrasePrefix = "passphrase:"

// Unlock gives this host a key to a repository that another host made.
func (s *Safe) Unlock(ctx context.Context, text string) error {
	key, err := ParseKey(text)
	if err != nil {
		return err
	}
	store, err := s.opts.Store()
	if err != nil {
		return err
	}
	repo, err := backup.Open(ctx, store, key)
	if err != nil {
		return err
	}
	ours, err := s.opts.Key.Recipient()
	if err != nil {
		return err
	}
	ours.Name = hostName()
	if _, err := repo.AddRecipient(ctx, ours); err != nil {
		return err
	}
	s.mu.Lock()
	if s.repo == nil {
		s.state, s.since, s.err = admin.BackupStarting, s.opts.Now(), nil
	}
	s.mu.Unlock()
	s.Reopen()
	_, err = s.opening(ctx)
	return err
}

// ParseKey reads a key, or a passphrase behind "passphrase:".
func ParseKey(text string) (backup.Key, error) {
	if phrase, ok := strings.CutPrefix(text, passphrasePrefix); ok {
		return backup.PassphraseKey(phrase)
	}
	return backup.ParseKey(text)
}

// Keys lists what opens the repository.
func (s *Safe) Keys(ctx context.Context) ([]admin.BackupKey, error) {
	repo, err := s.ready()
	if err != nil {
		return nil, err
	}
	slots, err := repo.Recipients(ctx)
	if err != nil {
		return nil, err
	}
	s.learn(slots)
	keys := []admin.BackupKey{}
	for _, slot := range slots {
		keys = append(keys, s.describe(slot))
	}
	return keys, nil
}

func (s *Safe) learn(slots []backup.Slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots = slots
	s.note()
}

func (s *Safe) describe(slot backup.Slot) admin.BackupKey {
	ours, err := s.opts.Key.Recipient()
	return admin.BackupKey{ID: slot.ID, Name: slot.Name, Recipient: slot.Recipient, Added: slot.Created, Ours: err == nil && slot.Recipient == ours.Text()}
}

// AddKey lets a recipient open the repository.
func (s *Safe) AddKey(ctx context.Context, name, text string) (admin.BackupKey, error) {
	repo, err := s.ready()
	if err != nil {
		return admin.BackupKey{}, err
	}
	var to backup.Recipient
	if phrase, ok := strings.CutPrefix(text, passphrasePrefix); ok {
		to, err = backup.PassphraseRecipient(phrase)
	} else {
		to, err = backup.ParseRecipient(text)
	}
	if err != nil {
		return admin.BackupKey{}, err
	}
	if name != "" {
		to.Name = name
	}
	slot, err := repo.AddRecipient(ctx, to)
	if err != nil {
		return admin.BackupKey{}, err
	}
	_, err = s.Keys(ctx)
	return s.describe(slot), err
}

// NewKey makes a key that opens the repository, and returns its secret half too.
func (s *Safe) NewKey(ctx context.Context, name string) (admin.BackupKey, string, error) {
	key, err := backup.GenerateKey()
	if err != nil {
		return admin.BackupKey{}, "", err
	}
	to, err := key.Recipient()
	if err != nil {
		return admin.BackupKey{}, "", err
	}
	added, err := s.AddKey(ctx, name, to.Text())
	if err != nil {
		return added, "", err
	}
	return added, key.Reveal(), nil
}

// RemoveKey takes a key away; never this host's own.
func (s *Safe) RemoveKey(ctx context.Context, id string) error {
	repo, err := s.ready()
	if err != nil {
		return err
	}
	keys, err := s.Keys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.ID == id && k.Ours {
			return remedy.With(fmt.Errorf("key %s is this host's own", id), "without it nothing can be backed up from here; remove another")
		}
	}
	if err := repo.RemoveRecipient(ctx, id); err != nil {
		return err
	}
	_, err = s.Keys(ctx)
	return err
}
