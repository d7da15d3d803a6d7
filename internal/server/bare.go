package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/safe"
	"github.com/moltworker/moltworker/internal/telemetry"
)

// BareOptions say what to put back where nothing runs.
type BareOptions struct {
	From    string // as MOLTWORKER_BACKUP is written
	KeyFile string // has a key to the repository, or a passphrase behind "passphrase:"
	Data    string // --data
	Config  string // --config
	Agent   string // "": all
	Version string // "" or "latest": the newest
	// To is a directory for one agent's home, as a plain copy; "": into the data
	// directory, whose next `up` runs the agents.
	To   string
	Tell func(string)
}

// maxKeyFile bounds a key file, in bytes.
const maxKeyFile = 64 << 10

// RestoreBare restores from a repository with nothing but a key to it.
func RestoreBare(ctx context.Context, opts BareOptions) ([]backup.Report, error) {
	if opts.To != "" && opts.Agent == "" {
		return nil, remedy.With(errors.New("which agent is to go there?"), "name it with --agent")
	}
	cfg, err := config.LoadFrom(config.Overrides{Data: opts.Data, ConfigFile: opts.Config},
		config.Process{Environ: append(os.Environ(), "MOLTWORKER_BACKUP="+opts.From), Root: os.Geteuid() == 0})
	if err != nil {
		return nil, err
	}
	key, err := readKey(opts.KeyFile)
	if err != nil {
		return nil, err
	}
	if opts.To == "" {
		lock, err := lockData(cfg.Data)
		if err != nil {
			return nil, err
		}
		defer lock.Close()
	}
	bare := safe.BareOptions{Agent: opts.Agent, Version: opts.Version, Tell: opts.Tell, Log: slog.New(slog.DiscardHandler)}
	lookup := func(name string) (string, bool) { v, ok := cfg.Lookup(name); return v.Reveal(), ok }
	if opts.To != "" {
		bare.Home = func(string) string { return opts.To }
	} else {
		secrets, err := openSecrets(cfg, nil, telemetry.NewRedactor())
		if err != nil {
			return nil, err
		}
		if bare.Key, err = secrets.ensureBackupKey(); err != nil {
			return nil, err
		}
		lookup = secrets.lookup
		bare.Dir = filepath.Join(cfg.Data, "backup")
		bare.Home = func(name string) string { return filepath.Join(agentDir(cfg.Data, name), "home") }
	}
	store, err := openStore(cfg.BackupPlace(lookup), cfg.Data, cfg.BackupBandwidth)
	if err != nil {
		return nil, err
	}
	if bare.Repo, err = backup.Open(ctx, store, key); err != nil {
		return nil, err
	}
	reports, err := safe.Bare(ctx, bare)
	if opts.To == "" {
		for _, r := range reports { // those that were restored, whatever came of others
			err = errors.Join(err, noteBirth(cfg, r.Version.Agent))
		}
	}
	return reports, err
}

// noteBirth has the next `up` run an agent.
func noteBirth(cfg config.Config, name string) error {
	if err := config.CheckAgentName(name); err != nil || name == cfg.Agents[0] {
		return err
	}
	return writeBirth(cfg.Data, name, time.Now())
}

func readKey(path string) (backup.Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return backup.Key{}, remedy.With(fmt.Errorf("open the key file: %w", err), "name the file with the recovery key that `moltworker up` showed once")
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return backup.Key{}, fmt.Errorf("read the key file: %w", err)
	}
	return safe.ParseKey(strings.TrimSpace(string(text)))
}
