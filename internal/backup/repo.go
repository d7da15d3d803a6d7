package backup

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

const (
	rootName    = "moltworker-backup"
	vaultsFirst = "v/"
	maxRoot     = 4 << 10
	maxVaults   = 10_000
)

// A Repo is an encrypted repository of agents' states in an object store. Its
// methods may be called at any time from any goroutine.
type Repo struct {
	store   blob.Store
	id      string
	master  masterKey
	records *sealer // for what belongs to no vault

	mu    sync.Mutex
	turns map[string]chan struct{} // by vault; who puts something in may change the vault
}

// root is the object that makes a store a repository. It is not encrypted.
type root struct {
	Format     string `json:"format"`
	Repository string `json:"repository"`
}

// Create makes a repository in a store that has none, and returns it open. Each
// recipient can open it later. ErrExists when there is one.
func Create(ctx context.Context, store blob.Store, recipients []Recipient) (*Repo, error) {
	var key masterKey
	rand.Read(key[:]) // never fails
	return create(ctx, store, key, recipients)
}

func create(ctx context.Context, store blob.Store, key masterKey, recipients []Recipient) (*Repo, error) {
	fail := func(err error) (*Repo, error) {
		return nil, fmt.Errorf("create backup repository in %s: %w", store, err)
	}
	if len(recipients) == 0 || len(recipients) > maxSlots {
		return fail(fmt.Errorf("%d recipients, must be 1 to %d", len(recipients), maxSlots))
	}
	r := open(store, key)
	if _, err := r.store.Stat(ctx, rootName); err == nil {
		return fail(ErrExists)
	} else if !errors.Is(err, blob.ErrNotFound) {
		return fail(err)
	}
	var slots []Slot
	for _, to := range recipients {
		slot, err := r.addSlot(ctx, to)
		if err != nil {
			return fail(err)
		}
		slots = append(slots, slot)
	}
	data, err := json.Marshal(root{format, r.id})
	if err != nil {
		return fail(err)
	}
	err = r.store.Put(ctx, rootName, data, true)
	if errors.Is(err, blob.ErrExists) {
		// Somebody else made one meanwhile. Our slots open nothing; they go.
		for _, s := range slots {
			err = errors.Join(err, r.store.Delete(ctx, keysPrefix+s.ID), r.store.Delete(ctx, slotsPrefix+s.ID))
		}
		return fail(fmt.Errorf("%w: %w", ErrExists, err))
	}
	if err != nil {
		return fail(err)
	}
	return r, nil
}

func open(store blob.Store, key masterKey) *Repo {
	return &Repo{
		store:   timed{store, callLimit},
		id:      key.repositoryID(),
		master:  key,
		records: newSealer(derive(contextRecords, key[:])),
		turns:   map[string]chan struct{}{},
	}
}

// Open opens the repository in a store with the first of the keys that can.
// ErrNoRepo when there is none, ErrKey when no key fits.
func Open(ctx context.Context, store blob.Store, keys ...Key) (*Repo, error) {
	key, err := unlock(ctx, timed{store, callLimit}, keys)
	if err != nil {
		return nil, fmt.Errorf("open backup repository in %s: %w", store, err)
	}
	return open(store, key), nil
}

func unlock(ctx context.Context, store blob.Store, keys []Key) (master masterKey, err error) {
	data, err := getWhole(ctx, store, rootName, maxRoot)
	if errors.Is(err, blob.ErrNotFound) {
		return master, remedy.With(ErrNoRepo, "create one, or look whether the storage settings name the right place")
	}
	if err != nil {
		return master, err
	}
	var at root
	if err := json.Unmarshal(data, &at); err != nil {
		return master, damaged(rootName, "it is not what a repository begins with")
	}
	if at.Format != format {
		return master, remedy.With(fmt.Errorf("the repository's format is %.40q, and this program knows %q", at.Format, format),
			"use the version of moltworker that wrote it, or a newer one")
	}
	ids, err := (&Repo{store: store}).slotIDs(ctx)
	if err != nil {
		return master, err
	}
	var odd error
	for _, id := range ids {
		file, err := getWhole(ctx, store, keysPrefix+id, maxSlot)
		if errors.Is(err, blob.ErrNotFound) || errors.Is(err, ErrDamaged) {
			continue // removed just now, or useless
		}
		if err != nil {
			return master, err
		}
		for _, k := range keys {
			if k.identity == nil {
				continue
			}
			if err := ctx.Err(); err != nil {
				return master, err
			}
			master, err := openSlot(file, k.identity, at.Repository)
			if err == nil {
				return master, nil
			}
			if !errors.Is(err, age.ErrIncorrectIdentity) {
				odd = damaged(keysPrefix+id, err.Error())
			}
		}
	}
	if odd != nil {
		return master, fmt.Errorf("%w: %w", ErrKey, odd)
	}
	return master, remedy.With(ErrKey, "give one of the keys that the repository was made for")
}

// ID names the repository; it is not secret, and cannot be had without its key.
// A store in which another repository was put has another ID.
func (r *Repo) ID() string { return r.id }

// String says where the repository is.
func (r *Repo) String() string { return r.store.String() }

// VaultInfo says what a repository has of one agent.
type VaultInfo struct {
	Agent    string    `json:"agent"`
	ID       string    `json:"id"`       // how the store knows it
	Versions int       `json:"versions"` // at most; some may have been let go of
	Objects  int       `json:"objects"`
	Bytes    int64     `json:"bytes"`
	Newest   time.Time `json:"newest"` // when the newest version came, by the store's clock
}

// Vaults lists the agents that the repository has versions of, by name.
func (r *Repo) Vaults(ctx context.Context) ([]VaultInfo, error) {
	found := map[string]*VaultInfo{}
	last := map[string]uint64{}
	err := r.store.List(ctx, vaultsFirst, func(info blob.Info) error {
		vault, rest, _ := strings.Cut(strings.TrimPrefix(info.Name, vaultsFirst), "/")
		if !isHex(vault, 2*idSize) {
			return nil
		}
		v := found[vault]
		if v == nil {
			if len(found) >= maxVaults {
				return fmt.Errorf("more than %d agents", maxVaults)
			}
			v = &VaultInfo{ID: vault}
			found[vault] = v
		}
		v.Objects++
		v.Bytes += info.Size
		if id, ok := strings.CutPrefix(rest, versionsFirst); ok {
			if seq, ok := parseVersionID(id); ok {
				v.Versions++
				v.Newest, last[vault] = info.Modified, seq
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list agents in backup: %w", err)
	}
	var list []VaultInfo
	for id, info := range found {
		if info.Versions == 0 {
			continue
		}
		info.Agent, err = r.agentOf(ctx, id, last[id])
		if err != nil {
			return nil, fmt.Errorf("list agents in backup: %w", err)
		}
		if info.Agent != "" {
			list = append(list, *info)
		}
	}
	slices.SortFunc(list, func(a, b VaultInfo) int { return strings.Compare(a.Agent, b.Agent) })
	return list, nil
}

// about is the record that names a vault's agent.
type about struct {
	Format string `json:"format"`
	Agent  string `json:"agent"`
}

// agentOf returns the name of a vault's agent: what the vault says of itself, or
// its newest version; "" when neither can be read.
func (r *Repo) agentOf(ctx context.Context, vault string, newest uint64) (string, error) {
	v := &Vault{repo: r, keys: r.master.keyring(vault), prefix: vaultsFirst + vault + "/"}
	agent, err := v.readAbout(ctx)
	if err == nil {
		return agent, nil
	}
	if !errors.Is(err, ErrDamaged) {
		return "", err
	}
	m, _, err := v.readManifest(ctx, newest)
	if err == nil {
		return m.Agent, nil
	}
	if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNoVersion) {
		return "", nil
	}
	return "", err
}

// turn waits until nobody else in this process changes the vault.
func (r *Repo) turn(ctx context.Context, vault string) (done func(), err error) {
	r.mu.Lock()
	ch := r.turns[vault]
	if ch == nil {
		ch = make(chan struct{}, 1)
		r.turns[vault] = ch
	}
	r.mu.Unlock()
	select {
	case ch <- struct{}{}:
		return func() { <-ch }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
