package safe

import (
	"context"
	"io"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
)

// Latest names the newest version.
const Latest = "latest"

// Versions lists an agent's versions, newest first.
func (s *Safe) Versions(ctx context.Context, name string) ([]backup.Version, error) {
	vault, err := s.versions(name)
	if err != nil {
		return nil, err
	}
	return vault.Versions(ctx)
}

// resolve finds the ID of a version that may be named "latest".
func resolve(ctx context.Context, vault *backup.Vault, id string) (string, error) {
	if id != Latest && id != "" {
		return id, nil
	}
	list, err := vault.Versions(ctx)
	if err != nil {
		return "", err
	}
	if len(list) == 0 {
		return "", backup.ErrNoVersion
	}
	return list[0].ID, nil
}

func (s *Safe) tree(ctx context.Context, name, id string) (*backup.Tree, error) {
	vault, err := s.versions(name)
	if err != nil {
		return nil, err
	}
	if id, err = resolve(ctx, vault, id); err != nil {
		return nil, err
	}
	return vault.Tree(ctx, id)
}

// Contents lists one directory of a version.
func (s *Safe) Contents(ctx context.Context, name, id, dir string) ([]backup.Entry, error) {
	tree, err := s.tree(ctx, name, id)
	if err != nil {
		return nil, err
	}
	return tree.List(dir)
}

// Parts says how each part of an agent is in a version.
func (s *Safe) Parts(ctx context.Context, name, id string) ([]admin.StatePart, error) {
	tree, err := s.tree(ctx, name, id)
	if err != nil {
		return nil, err
	}
	parts := make([]admin.StatePart, len(s.opts.Parts))
	at := map[string]*admin.StatePart{}
	for i, p := range s.opts.Parts {
		parts[i] = admin.StatePart{Name: p.Name, What: p.What, Critical: p.Critical}
		at[p.Name] = &parts[i]
	}
	for e := range tree.All() {
		part := at[s.opts.PartOf(e.Path)]
		if part == nil || e.Kind == backup.KindDir {
			continue
		}
		part.Files++
		part.Bytes += e.Size
		if e.Time.After(part.Changed) {
			part.Changed = e.Time
		}
	}
	return parts, nil
}

// File opens a file of a version.
func (s *Safe) File(ctx context.Context, name, id, path string) (io.ReadCloser, int64, error) {
	tree, err := s.tree(ctx, name, id)
	if err != nil {
		return nil, 0, err
	}
	entry, err := tree.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	content, err := tree.Open(ctx, path)
	return content, entry.Size, err
}

// Diff says what differs between two versions.
func (s *Safe) Diff(ctx context.Context, name, from, to string) ([]backup.Change, error) {
	vault, err := s.versions(name)
	if err != nil {
		return nil, err
	}
	if from, err = resolve(ctx, vault, from); err != nil {
		return nil, err
	}
	if to, err = resolve(ctx, vault, to); err != nil {
		return nil, err
	}
	return vault.Diff(ctx, from, to)
}
