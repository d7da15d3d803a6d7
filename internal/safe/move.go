package safe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"filippo.io/age"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/migrate"
	"github.com/moltworker/moltworker/internal/remedy"
)

// fromBucket names the bucket of Cloudflare's moltworker where a path is asked for.
const fromBucket = "r2:"

// Import makes an agent of a foreign state; see [admin.Backups].
func (s *Safe) Import(ctx context.Context, name, from string, tell func(string)) (admin.Imported, error) {
	tell("looking at " + from)
	bundle, err := s.bundle(ctx, from)
	if err != nil {
		return admin.Imported{}, err
	}
	defer bundle.Close()
	var report migrate.Report
	link, err := s.opts.Create(ctx, name, func(home string) (err error) {
		tell("copying " + bundle.Kind())
		if report, err = bundle.Write(ctx, home); err != nil {
			return err
		}
		for _, found := range bundle.Secrets() {
			if err := s.opts.PutSecret(ctx, name, found.Name, found.Value.Reveal()); err != nil {
				return fmt.Errorf("keep the secret %s: %w", found.Name, err)
			}
		}
		return nil
	})
	if err != nil {
		return admin.Imported{}, err
	}
	made := admin.Imported{Agent: name, Link: link, Kind: report.Kind, Warnings: report.Warnings,
		Kept: lines(report.Kept), Changed: lines(report.Changed), Dropped: lines(report.Dropped)}
	for _, found := range report.Secrets {
		made.Secrets = append(made.Secrets, found.Name+" (was in "+strings.Join(found.Where, ", ")+")")
	}
	return made, nil
}

// bundle recognises a foreign state. An archive that was encrypted to this host's own
// key, as another host of ours exports it for a move, is opened with that.
func (s *Safe) bundle(ctx context.Context, from string) (*migrate.Bundle, error) {
	opts := migrate.Options{Keys: []age.Identity{s.opts.Key.Age()}}
	if from == fromBucket || strings.HasPrefix(from, fromBucket) {
		bucket, err := s.opts.Bucket()
		if err != nil {
			return nil, err
		}
		return migrate.OpenBucket(ctx, bucket, opts)
	}
	return migrate.Open(ctx, from, opts)
}

func lines(items []migrate.Item) []string {
	var all []string
	for _, item := range items {
		line := item.What
		if item.Files > 0 {
			line += fmt.Sprintf(" (%d files, %.1f MB)", item.Files, float64(item.Bytes)/1e6)
		}
		if item.Reason != "" {
			line += ": " + item.Reason
		}
		all = append(all, line)
	}
	return all
}

// Export writes an agent's state as one file; see [admin.Backups].
func (s *Safe) Export(ctx context.Context, name, id, recipient string, w io.Writer) error {
	opts := migrate.ExportOptions{Agent: name, Leave: s.opts.Leave}
	if recipient != "" {
		to, err := backup.ParseRecipient(recipient)
		if err != nil {
			return err
		}
		opts.Recipients = append(opts.Recipients, to.Age())
	}
	if id == "" { // what it has now
		version, err := s.Now(ctx, name, "export")
		if err != nil {
			return err
		}
		id = version.ID
	}
	tree, err := s.tree(ctx, name, id)
	if err != nil {
		return err
	}
	_, err = migrate.Export(ctx, exported{tree}, w, opts)
	return err
}

// exported is a version as migrate takes it.
type exported struct{ *backup.Tree }

// Walk calls f for every entry; see [migrate.Files].
func (t exported) Walk(ctx context.Context, f func(migrate.File) error) error {
	for e := range t.All() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		mode := e.Mode
		switch e.Kind {
		case backup.KindDir:
			mode |= fs.ModeDir
		case backup.KindSymlink:
			mode |= fs.ModeSymlink
		}
		if err := f(migrate.File{Path: e.Path, Mode: mode, Size: e.Size, Time: e.Time, Target: e.Target, Link: e.Link}); err != nil {
			return err
		}
	}
	return nil
}

// NoBucket is what Options.Bucket returns where no bucket is set up.
func NoBucket() (migrate.Bucket, error) {
	return nil, remedy.With(errors.New("no bucket is set up"), "set R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY and CF_ACCOUNT_ID, and R2_BUCKET_NAME if it has another name than moltbot-data")
}
