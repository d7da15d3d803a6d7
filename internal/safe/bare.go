package safe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/remedy"
)

// BareOptions say what is put back on a machine where nothing runs.
type BareOptions struct {
	Repo    *backup.Repo
	Agent   string // "": every agent that the repository has
	Version string // "" or "latest": the newest
	// Home is where an agent's home is; empty or missing.
	Home func(agent string) string
	// Dir is the backup's directory of the data directory that the homes are in: this
	// host then is the one that writes the agents' versions, with Key. "": the homes
	// are copies, and whoever wrote goes on.
	Dir string
	Key backup.Key

	Tell func(string)
	Log  *slog.Logger
}

// Bare restores agents with nothing but a repository and a key to it.
func Bare(ctx context.Context, opts BareOptions) ([]backup.Report, error) {
	names, err := bareNames(ctx, opts)
	if err != nil {
		return nil, err
	}
	var writer string
	if opts.Dir != "" {
		if writer, err = takeOver(ctx, opts); err != nil {
			return nil, err
		}
	}
	var reports []backup.Report
	for _, name := range names {
		o := backup.VaultOptions{Host: hostName(), Log: opts.Log}
		if opts.Dir != "" {
			o.Writer, o.Cache = writer, filepath.Join(opts.Dir, "cache", name)
		}
		vault := opts.Repo.Vault(name, o)
		id, err := resolve(ctx, vault, opts.Version)
		if errors.Is(err, backup.ErrNoVersion) && opts.Agent == "" {
			continue
		}
		if err != nil {
			return reports, err
		}
		opts.Tell("restoring " + name)
		report, err := vault.Restore(ctx, id, opts.Home(name), backup.RestoreOptions{Progress: telling(opts.Tell)})
		if err == nil && opts.Dir != "" {
			err = vault.Claim(ctx)
		}
		if err != nil {
			return reports, err
		}
		reports = append(reports, report)
	}
	return reports, nil
}

func bareNames(ctx context.Context, opts BareOptions) ([]string, error) {
	if opts.Agent != "" {
		return []string{opts.Agent}, nil
	}
	vaults, err := opts.Repo.Vaults(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, v := range vaults {
		names = append(names, v.Agent)
	}
	if len(names) == 0 {
		return nil, remedy.With(fmt.Errorf("there is no agent in the repository at %s", opts.Repo), "look whether that is the right place")
	}
	return names, nil
}

// takeOver lets this host open the repository, and says as whom it writes.
func takeOver(ctx context.Context, opts BareOptions) (writer string, err error) {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return "", err
	}
	if writer, err = identity(filepath.Join(opts.Dir, "writer")); err != nil {
		return "", err
	}
	ours, err := opts.Key.Recipient()
	if err != nil {
		return "", err
	}
	slots, err := opts.Repo.Recipients(ctx)
	if err != nil {
		return "", err
	}
	for _, slot := range slots {
		if slot.Recipient == ours.Text() {
			return writer, nil
		}
	}
	ours.Name = hostName()
	_, err = opts.Repo.AddRecipient(ctx, ours)
	return writer, err
}
