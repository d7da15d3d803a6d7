package backup

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

const (
	keysPrefix  = "keys/"
	slotsPrefix = "slots/"
	slotDigits  = 16
	maxSlots    = 64
	maxSlot     = 64 << 10 // bytes of a key slot, and of what describes it
)

// Slot is one way to open a repository.
type Slot struct {
	ID        string    `json:"id"` // 16 hex digits
	Name      string    `json:"name"`
	Recipient string    `json:"recipient"` // the public key, or "passphrase"
	Created   time.Time `json:"created"`
}

// slotPayload is what a key slot, an age file, has inside.
type slotPayload struct {
	Format     string `json:"format"`
	Repository string `json:"repository"`
	Key        []byte `json:"key"`
}

// AddRecipient lets one more key open the repository.
func (r *Repo) AddRecipient(ctx context.Context, to Recipient) (Slot, error) {
	slots, err := r.slotIDs(ctx)
	if err != nil {
		return Slot{}, fmt.Errorf("add recipient: %w", err)
	}
	if len(slots) >= maxSlots {
		return Slot{}, remedy.With(fmt.Errorf("the backup repository has %d keys already", len(slots)), "remove one that is not used")
	}
	slot, err := r.addSlot(ctx, to)
	if err != nil {
		return Slot{}, fmt.Errorf("add recipient: %w", err)
	}
	return slot, nil
}

// addSlot writes what describes a slot, then the slot.
func (r *Repo) addSlot(ctx context.Context, to Recipient) (Slot, error) {
	if to.to == nil {
		return Slot{}, errors.New("no recipient given")
	}
	slot := Slot{ID: randomHex(slotDigits / 2), Name: shorten(to.Name), Recipient: to.text, Created: time.Now().UTC()}
	file, err := sealKey(to, slotPayload{format, r.id, r.master[:]})
	if err != nil {
		return Slot{}, err
	}
	about, err := json.Marshal(slot)
	if err != nil {
		return Slot{}, err
	}
	name := slotsPrefix + slot.ID
	if err := r.store.Put(ctx, name, r.records.seal(nil, about, where(sealSlot, name)), true); err != nil {
		return Slot{}, err
	}
	return slot, r.store.Put(ctx, keysPrefix+slot.ID, file, true)
}

// sealKey makes an age file that holds the payload.
func sealKey(to Recipient, p slotPayload) ([]byte, error) {
	plain, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	var file bytes.Buffer
	w, err := age.Encrypt(&file, to.to)
	if err != nil {
		return nil, fmt.Errorf("encrypt to %s: %w", to.text, err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return file.Bytes(), nil
}

// openSlot tries one identity on a slot's file.
func openSlot(file []byte, identity age.Identity, repository string) (key masterKey, err error) {
	r, err := age.Decrypt(bytes.NewReader(file), identity)
	if err != nil {
		return key, err
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxSlot))
	if err != nil {
		return key, err
	}
	var p slotPayload
	if err := json.Unmarshal(plain, &p); err != nil || p.Format != format || len(p.Key) != keySize {
		return key, errors.New("it holds no key of a repository")
	}
	copy(key[:], p.Key)
	if p.Repository != repository || key.repositoryID() != repository {
		return key, errors.New("it belongs to another repository")
	}
	return key, nil
}

// Recipients lists the ways to open the repository, by ID.
func (r *Repo) Recipients(ctx context.Context) ([]Slot, error) {
	ids, err := r.slotIDs(ctx)
	if err != nil {
		return nil, fmt.Errorf("list recipients: %w", err)
	}
	slots := make([]Slot, 0, len(ids))
	for _, id := range ids {
		slot, err := r.describe(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("list recipients: %w", err)
		}
		slots = append(slots, slot)
	}
	return slots, nil
}

// describe reads what is known of a slot; where that is lost or damaged, nothing
// but its ID.
func (r *Repo) describe(ctx context.Context, id string) (Slot, error) {
	name := slotsPrefix + id
	sealed, err := getWhole(ctx, r.store, name, maxSlot)
	if err != nil && !errors.Is(err, blob.ErrNotFound) && !errors.Is(err, ErrDamaged) {
		return Slot{}, err
	}
	slot := Slot{Name: "unknown"}
	if plain, err := r.records.open(sealed, where(sealSlot, name)); err == nil {
		_ = json.Unmarshal(plain, &slot) // we wrote it; else the name stays unknown
	}
	slot.ID = id
	return slot, nil
}

// RemoveRecipient makes a key slot useless for who has not used it yet. Who has
// may have kept the repository's key: for those make a new repository.
func (r *Repo) RemoveRecipient(ctx context.Context, slotID string) error {
	ids, err := r.slotIDs(ctx)
	if err != nil {
		return fmt.Errorf("remove recipient: %w", err)
	}
	there := false
	for _, id := range ids {
		there = there || id == slotID
	}
	switch {
	case !there:
		return remedy.With(fmt.Errorf("the backup repository has no key %q", slotID), "list its keys")
	case len(ids) == 1:
		return remedy.With(errors.New("that is the only key of the backup repository"), "add another one first")
	}
	if err := r.store.Delete(ctx, keysPrefix+slotID); err != nil {
		return fmt.Errorf("remove recipient: %w", err)
	}
	if err := r.store.Delete(ctx, slotsPrefix+slotID); err != nil {
		return fmt.Errorf("remove recipient: %w", err)
	}
	return nil
}

// slotIDs lists the key slots. What else lies there is passed over.
func (r *Repo) slotIDs(ctx context.Context) ([]string, error) {
	var ids []string
	err := r.store.List(ctx, keysPrefix, func(info blob.Info) error {
		id := strings.TrimPrefix(info.Name, keysPrefix)
		if isHex(id, slotDigits) {
			ids = append(ids, id)
		}
		if len(ids) > 2*maxSlots {
			return damaged(keysPrefix, "there are too many keys")
		}
		return nil
	})
	return ids, err
}

func isHex(s string, digits int) bool {
	return len(s) == digits && strings.Trim(s, "0123456789abcdef") == ""
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
