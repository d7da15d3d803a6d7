package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

// The names of a vault's objects, below its prefix.
const (
	aboutName     = "about"
	packsFirst    = "p/"
	versionsFirst = "s/"
	garbageFirst  = "g/"
)

// parallel is how many objects are on their way at once.
const parallel = 4

// VaultOptions say who uses a vault.
type VaultOptions struct {
	// Cache is a directory for what spares reading the state and the store again. It
	// may be lost at any time, and made anew. "" keeps that in memory only.
	Cache string
	// Writer is the ID of this host's data directory: who may write on without a
	// claim. The host's name when empty.
	Writer string
	Host   string           // this host's name for people; os.Hostname when empty
	Now    func() time.Time // time.Now when nil
	Log    *slog.Logger     // none when nil
}

// Vault is the versions of one agent. Its methods may be called at any time from
// any goroutine; those that change something wait for each other.
type Vault struct {
	repo   *Repo
	agent  string
	keys   keyring
	prefix string // of the names of its objects
	opts   VaultOptions
	packs  *packReader

	// Whoever has the vault's turn uses these.
	cutter *cutter
	base   *base  // the newest version as we know it; nil: not known yet
	claim  uint64 // the epoch to write next in, when this host was made the one that writes

	last atomic.Uint64 // the newest version that we know of

	mu   sync.Mutex
	seen map[uint64]seenVersion // guarded by mu
}

// seenVersion spares reading a version's manifest again for a list.
type seenVersion struct {
	info blob.Info
	m    *manifest
}

// maxSeen bounds how many versions are remembered for lists.
const maxSeen = 10_000

// Vault returns the versions of one agent, which need not have any yet.
func (r *Repo) Vault(agent string, opts VaultOptions) *Vault {
	if opts.Host == "" {
		opts.Host, _ = os.Hostname() // for people; "" says as little
	}
	if opts.Writer == "" {
		opts.Writer = opts.Host
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	id := r.master.vaultID(agent)
	v := &Vault{repo: r, agent: agent, keys: r.master.keyring(id), prefix: vaultsFirst + id + "/", opts: opts}
	v.packs = &packReader{store: r.store, keys: v.keys, prefix: v.prefix + packsFirst}
	return v
}

// Agent is the name of the agent whose versions these are.
func (v *Vault) Agent() string { return v.agent }

// Versions lists the versions, newest first. One that cannot be read is in the
// list with Damaged set.
func (v *Vault) Versions(ctx context.Context) ([]Version, error) {
	list, err := v.manifests(ctx)
	if err != nil {
		return nil, fmt.Errorf("list versions of %s: %w", v.agent, err)
	}
	var out []Version
	for _, m := range slices.Backward(list) {
		if !m.Removed {
			out = append(out, m.version())
		}
	}
	return out, nil
}

// listed is a version in the store, perhaps one that was let go of.
type listed struct {
	*manifest
	info blob.Info
}

// manifests reads all versions, oldest first, tombstones included. Of a damaged
// one there is no more than ID, Seq and Damaged.
func (v *Vault) manifests(ctx context.Context) ([]listed, error) {
	infos, err := v.versionObjects(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]listed, len(infos))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, info := range infos {
		g.Go(func() error {
			m, err := v.manifestAt(ctx, info)
			list[i] = listed{m, info}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	// A version may have been let go of, and its name with it, while we read.
	return slices.DeleteFunc(list, func(l listed) bool { return l.manifest == nil }), nil
}

// manifestAt reads one version, or remembers it. It is nil when it is gone, and
// has Damaged set when it cannot be read.
func (v *Vault) manifestAt(ctx context.Context, info blob.Info) (*manifest, error) {
	seq, _ := parseVersionID(strings.TrimPrefix(info.Name, v.prefix+versionsFirst))
	v.mu.Lock()
	known, ok := v.seen[seq]
	v.mu.Unlock()
	if ok && known.info.Size == info.Size && known.info.Modified.Equal(info.Modified) {
		return known.m, nil
	}
	m, _, err := v.readManifest(ctx, seq)
	switch {
	case errors.Is(err, ErrNoVersion):
		return nil, nil
	case errors.Is(err, ErrDamaged):
		m = &manifest{Version: Version{ID: versionID(seq), Seq: seq, Agent: v.agent, Damaged: err.Error()}}
	case err != nil:
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen == nil || len(v.seen) >= maxSeen {
		v.seen = map[uint64]seenVersion{}
	}
	if m.Damaged == "" {
		v.seen[seq] = seenVersion{info, m}
	}
	return m, nil
}

// versionObjects lists the objects of versions, oldest first.
func (v *Vault) versionObjects(ctx context.Context) ([]blob.Info, error) {
	var infos []blob.Info
	first := v.prefix + versionsFirst
	err := v.repo.store.List(ctx, first, func(info blob.Info) error {
		if _, ok := parseVersionID(strings.TrimPrefix(info.Name, first)); ok {
			infos = append(infos, info)
		}
		if len(infos) > maxEntries {
			return damaged(first, "there are too many versions")
		}
		return nil
	})
	return infos, err
}

func (v *Vault) versionName(seq uint64) string { return v.prefix + versionsFirst + versionID(seq) }

// readManifest reads version seq and returns the object's bytes too. It may be a
// tombstone. ErrNoVersion when there is no such object.
func (v *Vault) readManifest(ctx context.Context, seq uint64) (*manifest, []byte, error) {
	name := v.versionName(seq)
	sealed, err := getWhole(ctx, v.repo.store, name, maxManifest)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, nil, fmt.Errorf("%w: %s", ErrNoVersion, versionID(seq))
	}
	if err != nil {
		return nil, nil, err
	}
	plain, err := v.keys.seal.open(sealed, where(sealManifest, name))
	if err != nil {
		return nil, nil, fmt.Errorf("object %s: %w", name, err)
	}
	m, err := decodeManifest(plain, v.keys.vault, seq)
	if err != nil {
		return nil, nil, damaged(name, err.Error())
	}
	m.size = int64(len(sealed))
	return m, sealed, nil
}

// restorable reads a version that can be restored.
func (v *Vault) restorable(ctx context.Context, id string) (*manifest, error) {
	seq, ok := parseVersionID(id)
	if !ok {
		return nil, remedy.With(fmt.Errorf("%w: %q is not an ID of one", ErrNoVersion, id), "list the versions")
	}
	m, _, err := v.readManifest(ctx, seq)
	if err != nil {
		return nil, err
	}
	if m.Removed {
		return nil, remedy.With(fmt.Errorf("%w: %s was let go of", ErrNoVersion, id), "list the versions")
	}
	return m, nil
}

// readAbout returns the name of the vault's agent.
func (v *Vault) readAbout(ctx context.Context) (string, error) {
	name := v.prefix + aboutName
	sealed, err := getWhole(ctx, v.repo.store, name, maxRoot)
	if errors.Is(err, blob.ErrNotFound) {
		return "", damaged(name, "it is not there")
	}
	if err != nil {
		return "", err
	}
	plain, err := v.keys.seal.open(sealed, where(sealAbout, name))
	if err != nil {
		return "", fmt.Errorf("object %s: %w", name, err)
	}
	var a about
	if err := json.Unmarshal(plain, &a); err != nil || a.Format != format {
		return "", damaged(name, "it names no agent")
	}
	return a.Agent, nil
}

// writeAbout names the vault's agent, unless it is named.
func (v *Vault) writeAbout(ctx context.Context, ifAbsent bool) error {
	plain, err := json.Marshal(about{format, v.agent})
	if err != nil {
		return err
	}
	name := v.prefix + aboutName
	err = v.repo.store.Put(ctx, name, v.keys.seal.seal(nil, plain, where(sealAbout, name)), ifAbsent)
	if ifAbsent && errors.Is(err, blob.ErrExists) {
		return nil
	}
	return err
}
