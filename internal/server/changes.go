package server

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/allow"
	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/config"
)

// settingsFile keeps the settings of the last start, in the data directory.
const settingsFile = "settings.json"

// noteStart records that moltworker was started, and what in its settings is not as
// it was at the last start. Of a secret that is only that it is another one.
func (c *control) noteStart(ctx context.Context) error {
	ctx = access.With(ctx, access.Principal{Kind: access.KindOwner, Via: "start"}, access.Place{})
	now, err := c.settings()
	if err != nil {
		return err
	}
	path := filepath.Join(c.s.cfg.Data, settingsFile)
	before := map[string]string{}
	data, err := os.ReadFile(path)
	first := errors.Is(err, fs.ErrNotExist)
	if err == nil {
		err = json.Unmarshal(data, &before)
	}
	if err != nil && !first {
		c.s.log.Warn("it is not known what the settings were at the last start", "err", err)
		first = true
	}
	e := audit.By(ctx)
	e.Action, e.New, e.Detail = "server.start", Version().Moltworker, c.s.report.Summary
	if err := c.audit.Record(ctx, e); err != nil {
		return err
	}
	if !first {
		if err := c.noteChanges(ctx, before, now); err != nil {
			return err
		}
	}
	if data, err = json.MarshalIndent(now, "", "  "); err != nil {
		return fmt.Errorf("encode the settings: %w", err)
	}
	return atomicfile.Write(path, data, 0o600)
}

// noteChanges records each setting that is another one now.
func (c *control) noteChanges(ctx context.Context, before, now map[string]string) error {
	for _, key := range config.Keys() {
		old, value := before[key.Name], now[key.Name]
		if old == value {
			continue
		}
		e := audit.By(ctx)
		e.Action, e.Target, e.Old, e.New, e.Detail = "config.change", key.Name, old, value, "from "+c.s.cfg.Origin(key.Name)
		if key.Secret {
			e.Old, e.New = shown(old), shown(value)
		}
		if err := c.audit.Record(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// endStrangers ends the sign-ins of people for whom the provider vouched, and who
// are not on the list any more.
func (c *control) endStrangers(ctx context.Context) error {
	ctx = access.With(ctx, access.Principal{Kind: access.KindOwner, Via: "start"}, access.Place{})
	signedIn, err := c.accounts.SignIns(ctx)
	if err != nil {
		return err
	}
	list := allow.New(c.s.cfg.OIDCAllow)
	for _, s := range signedIn {
		if s.Via == access.ViaOIDC && !list.HasAddress(s.Name) {
			err = errors.Join(err, c.accounts.End(ctx, s.ID))
		}
	}
	return err
}

// shown is what is told of a secret.
func shown(fingerprint string) string {
	if fingerprint == "" {
		return ""
	}
	return "a secret"
}

// settings are those that were given, by name; of secrets a fingerprint that says
// nothing without the key of the sealed store.
func (c *control) settings() (map[string]string, error) {
	key, err := c.s.secrets.store.Derive("fingerprints of settings")
	if err != nil {
		return nil, err
	}
	now := map[string]string{}
	for _, k := range config.Keys() {
		v, ok := c.s.cfg.Lookup(k.Name)
		if !ok || !v.IsSet() {
			continue
		}
		now[k.Name] = v.Reveal()
		if k.Secret {
			mac := hmac.New(sha256.New, key)
			mac.Write([]byte(k.Name + "\x00" + v.Reveal()))
			now[k.Name] = hex.EncodeToString(mac.Sum(nil)[:8])
		}
	}
	return now, nil
}
