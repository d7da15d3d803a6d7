package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/moltworker/moltworker/internal/remedy"
)

// claimOverDamage is how far a claim goes beyond what is known when the newest
// version cannot be read: nobody else gets there one by one.
const claimOverDamage = 1000

// Claim makes this host the one that writes the agent's versions, from its next one
// on. The host that did gets ErrFenced then. The claim outlives this process when
// there is a cache.
func (v *Vault) Claim(ctx context.Context) error {
	done, err := v.repo.turn(ctx, v.keys.vault)
	if err != nil {
		return fmt.Errorf("claim backups of %s: %w", v.agent, err)
	}
	defer done()
	newest, _, _, err := v.newest(ctx)
	epoch := uint64(1)
	switch {
	case errors.Is(err, ErrDamaged):
		list, err := v.manifests(ctx)
		if err != nil {
			return fmt.Errorf("claim backups of %s: %w", v.agent, err)
		}
		for _, m := range list {
			epoch = max(epoch, m.Epoch)
		}
		epoch += claimOverDamage
	case err != nil:
		return fmt.Errorf("claim backups of %s: %w", v.agent, err)
	case newest != nil && newest.Writer == v.opts.Writer:
		return nil // it is ours already
	case newest != nil:
		epoch = newest.Epoch + 1
	}
	v.claim = epoch
	if v.cacheDir() == "" {
		return nil
	}
	if err := v.writeCacheFile(claimFile, strconv.AppendUint(nil, epoch, 10)); err != nil {
		return fmt.Errorf("claim backups of %s: %w", v.agent, err)
	}
	return nil
}

// claimed returns the epoch that this host claimed, 0 if none.
func (v *Vault) claimed() uint64 {
	if v.claim == 0 {
		data, err := v.readCacheFile(claimFile)
		if err == nil {
			v.claim, _ = strconv.ParseUint(string(data), 10, 64) // 0 when it is not ours
		}
	}
	return v.claim
}

// unclaim ends a claim that has had its effect.
func (v *Vault) unclaim(epoch uint64) {
	if v.claim == 0 || v.claim > epoch {
		return
	}
	v.claim = 0
	if dir := v.cacheDir(); dir != "" {
		// What stays behind is for an epoch that is not new any more.
		_ = os.Remove(filepath.Join(dir, claimFile))
	}
}

// overDamaged decides about a newest version that cannot be read: who wrote it is
// not known, so only who claimed the agent may go on.
func (v *Vault) overDamaged(seq uint64, damage error) (*manifest, error) {
	claim := v.claimed()
	if claim == 0 {
		return nil, remedy.With(damage, "repair the backup; if that does not help, take the agent's backups over")
	}
	m := &manifest{Format: format, Vault: v.keys.vault}
	m.Seq, m.ID, m.Epoch = seq, versionID(seq), claim-1
	return m, nil
}
