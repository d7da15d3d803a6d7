package server

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/secret"
	"github.com/moltworker/moltworker/internal/telemetry"
)

// gatewayToken is the name of the secret that opens an agent's Control UI.
const gatewayToken = "MOLTBOT_GATEWAY_TOKEN"

// secrets finds a secret's value: what the configuration says, else what is
// sealed in the store. Every value it ever saw is kept out of the log.
type secrets struct {
	cfg      config.Config
	store    *secret.Store
	redactor *telemetry.Redactor
}

// OpenSecrets opens the sealed store of a data directory.
func OpenSecrets(cfg config.Config) (*secret.Store, error) {
	return secret.Open(filepath.Join(cfg.Data, "secrets"), secret.Options{PassphraseFile: cfg.PassphraseFile})
}

func openSecrets(cfg config.Config, agents []string, redactor *telemetry.Redactor) (*secrets, error) {
	store, err := OpenSecrets(cfg)
	if err != nil {
		return nil, err
	}
	s := &secrets{cfg: cfg, store: store, redactor: redactor}
	for name, value := range cfg.Secrets() {
		redactor.Register(name, value.Reveal())
	}
	list, err := store.List()
	if err != nil {
		return nil, err
	}
	for _, info := range list {
		s.register(info.Name)
	}
	for _, agent := range agents {
		if err := s.ensureToken(agent); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// register keeps a stored secret's value out of the log from now on.
func (s *secrets) register(name string) {
	if v, _, err := s.store.Get(name); err == nil {
		s.redactor.Register(name, v.Reveal())
	}
}

// lookup returns the current value of a named setting or secret. A store that
// cannot be read has no values; reading it again is tried at the next call.
func (s *secrets) lookup(name string) (string, bool) {
	if v, ok := s.cfg.Lookup(name); ok && v.IsSet() {
		return v.Reveal(), true
	}
	v, _, err := s.store.Get(name)
	return v.Reveal(), err == nil
}

// view is lookup as it would answer at this moment, for who asks for many names.
func (s *secrets) view() func(name string) (string, bool) {
	stored := s.store.View()
	return func(name string) (string, bool) {
		if v, ok := s.cfg.Lookup(name); ok && v.IsSet() {
			return v.Reveal(), true
		}
		v, ok := stored(name)
		return v.Reveal(), ok
	}
}

// value is lookup as a value that does not print; unset when there is none.
func (s *secrets) value(name string) secret.Value {
	v, _ := s.lookup(name)
	return secret.NewValue(v)
}

// tokenName: the main agent's token has the name that people know from
// elsewhere; every other agent has a token of its own.
func tokenName(agent string) string {
	if agent == "main" {
		return gatewayToken
	}
	return secret.ScopedName(agent, gatewayToken)
}

// token is the agent's current gateway token, or "" when it has none.
func (s *secrets) token(agent string) string {
	v, _ := s.lookup(tokenName(agent))
	return v
}

// ensureToken gives an agent a token on its first start.
func (s *secrets) ensureToken(agent string) error {
	name := tokenName(agent)
	if _, ok := s.cfg.Lookup(name); ok {
		return nil
	}
	_, _, err := s.store.Get(name)
	if !errors.Is(err, secret.ErrNotFound) {
		return err
	}
	if err := s.store.Put(name, secret.GenerateToken()); err != nil {
		return fmt.Errorf("make a gateway token for %s: %w", agent, err)
	}
	s.register(name)
	return nil
}

// backupKey is the sealed secret that opens the backups that this host makes.
const backupKey = admin.BackupKeySecret

// ensureBackupKey is this host's key to its backups, made on the first start.
func (s *secrets) ensureBackupKey() (backup.Key, error) {
	v, _, err := s.store.Get(backupKey)
	if err == nil {
		return backup.ParseKey(v.Reveal())
	}
	if !errors.Is(err, secret.ErrNotFound) {
		return backup.Key{}, err
	}
	key, err := backup.GenerateKey()
	if err != nil {
		return key, err
	}
	if err := s.store.Put(backupKey, key.Reveal()); err != nil {
		return key, fmt.Errorf("keep the key of the backups: %w", err)
	}
	s.register(backupKey)
	return key, nil
}

// adopt keeps a secret that a foreign agent brought along. One that is there already
// under its name, with another value, is not touched: the new one is the agent's own.
func (s *secrets) adopt(agent, name, value string) error {
	if name == gatewayToken {
		name = tokenName(agent)
	} else if known, ok := s.lookup(name); ok {
		if known == value {
			return nil
		}
		name = secret.ScopedName(agent, name)
	}
	if err := s.store.Put(name, value); err != nil {
		return err
	}
	s.register(name)
	return nil
}

// moveToken makes the token of one agent that of another.
func (s *secrets) moveToken(from, to string) error {
	v, _, err := s.store.Get(tokenName(from))
	if err != nil {
		return fmt.Errorf("find the gateway token of %s: %w", from, err)
	}
	if err := s.store.Put(tokenName(to), v.Reveal()); err != nil {
		return fmt.Errorf("keep the gateway token of %s: %w", to, err)
	}
	s.register(tokenName(to))
	return s.dropToken(from)
}

// configured says where the configuration has each secret from that it sets.
func (s *secrets) configured() map[string]string {
	from := map[string]string{}
	for name := range s.cfg.Secrets() {
		from[name] = s.cfg.Origin(name)
	}
	return from
}

// dropToken forgets the token of an agent that is no more.
func (s *secrets) dropToken(agent string) error {
	err := s.store.Remove(tokenName(agent))
	if errors.Is(err, secret.ErrNotFound) {
		return nil
	}
	return err
}
