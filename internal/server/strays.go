package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// removeStrays ends sandboxes of this data directory that nobody will adopt: of
// agents that are no more, or in another driver than the chosen
// one. Two gateways must never run on one agent's home.
func removeStrays(ctx context.Context, data string, agents []string, chosen sandbox.Driver, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ours := map[string]bool{}
	for _, name := range agents {
		ours[sandboxID(data, name)] = true
	}
	if err := destroyAll(ctx, chosen, func(id string) bool { return !ours[id] }, log); err != nil {
		return err
	}
	for _, name := range []string{driverGVisor, driverProcess} {
		if name == chosen.Name() {
			continue
		}
		if _, err := os.Stat(driverRoot(data, name)); errors.Is(err, fs.ErrNotExist) {
			continue // never used here
		}
		d, err := openDriver(name, data, nil)
		if err != nil {
			return fmt.Errorf("look for sandboxes left by the %s driver: %w", name, err)
		}
		if err := destroyAll(ctx, d, func(string) bool { return true }, log); err != nil {
			return err
		}
	}
	return nil
}

func destroyAll(ctx context.Context, d sandbox.Driver, unwanted func(id string) bool, log *slog.Logger) error {
	ids, err := d.List(ctx)
	if err != nil {
		return fmt.Errorf("list sandboxes: %w", err)
	}
	for _, id := range ids {
		if !unwanted(id) {
			continue
		}
		log.Warn("removing a sandbox that no agent is configured for", "driver", d.Name(), "sandbox", id)
		sb, err := d.Open(ctx, id)
		if errors.Is(err, sandbox.ErrNotFound) {
			continue
		}
		if err == nil {
			err = sb.Destroy(ctx)
		}
		if err != nil {
			return fmt.Errorf("remove sandbox %s: %w", id, err)
		}
	}
	return nil
}
