package migrate

import (
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/remedy"
)

// A Bucket is somebody else's object storage, which is only read. Names may be
// anything.
type Bucket interface {
	// List calls f for every object whose name begins with prefix, in any order, until
	// f returns an error, which List returns.
	List(ctx context.Context, prefix string, f func(Object) error) error
	// Get returns the bytes [off, off+n) of an object, fewer at its end.
	Get(ctx context.Context, name string, off, n int64) ([]byte, error)
	// String says where the bucket is; it has no credentials in it.
	String() string
}

// Object is one that a bucket lists.
type Object struct {
	Name     string
	Size     int64
	Modified time.Time
}

// archiveNames are those under which moltworker on Workers and its users keep an
// agent in one piece.
var archiveNames = []string{"moltbot-backup.tar.gz", "backup.tar.gz", "clawdbot-backup.tar.gz", "openclaw-backup.tar.gz"}

func isArchiveName(name string) bool {
	base := path.Base(name)
	return slices.Contains(archiveNames, base) || strings.HasSuffix(base, "-openclaw-backup.tar.gz")
}

// OpenBucket recognises the agent in a bucket of moltworker on Workers: an archive
// (moltbot-backup.tar.gz), or its files under openclaw/ (or clawdbot/), workspace/ and
// skills/. Of two, the newer is taken. Errors are as from [Open].
func OpenBucket(ctx context.Context, bucket Bucket, opts Options) (*Bundle, error) {
	opts = opts.withDefaults()
	var newest, config Object
	count := 0
	err := bucket.List(ctx, "", func(o Object) error {
		if count++; count > opts.MaxEntries {
			return remedy.With(fmt.Errorf("%w: the bucket has more than %d objects", ErrHostile, opts.MaxEntries), "name the bucket of one agent, with a prefix if it has several")
		}
		if isArchiveName(o.Name) && !o.Modified.Before(newest.Modified) {
			newest = o
		}
		dir, base := path.Split(o.Name)
		if slices.Contains(configNames, base) && (dir == "" || slices.Contains(mirrorNames, strings.TrimSuffix(dir, "/"))) && !o.Modified.Before(config.Modified) {
			config = o
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", bucket, err)
	}
	taken, other := config, newest
	var src source = &mirror{bucket: bucket}
	switch {
	case newest.Name == "" && config.Name == "":
		return nil, remedy.With(fmt.Errorf("%w in %s", ErrUnknown, bucket), "name the bucket that moltworker wrote to (moltbot-data unless it was set otherwise)")
	case newest.Name != "" && !config.Modified.After(newest.Modified):
		taken, other = newest, config
		src = &archive{from: bucket.String() + "/" + newest.Name, opts: opts, open: func(ctx context.Context) (io.ReadCloser, error) {
			return &objectReader{ctx: ctx, bucket: bucket, name: newest.Name, size: newest.Size}, nil
		}}
	}
	b, err := look(ctx, src, opts)
	if err == nil && other.Name != "" {
		b.warnings.addf("the bucket also has %s of %s: what was taken, with %s, is of %s", quote(other.Name), other.Modified.UTC().Format(time.DateTime), quote(taken.Name), taken.Modified.UTC().Format(time.DateTime))
	}
	return b, err
}

// mirror reads a bucket whose objects are an agent's files.
type mirror struct{ bucket Bucket }

func (m *mirror) String() string  { return m.bucket.String() }
func (m *mirror) Close() error    { return nil }
func (m *mirror) first() []string { return nil }

func (m *mirror) walk(ctx context.Context, _ []string, f func(entry, io.Reader) error) error {
	err := m.bucket.List(ctx, "", func(o Object) error {
		name, err := cleanPath(o.Name)
		if err != nil {
			return err
		}
		if strings.HasSuffix(o.Name, "/") { // what some tools put for a directory
			return f(entry{path: name, kind: isDir, mode: 0o755}, nil)
		}
		e := entry{path: name, mode: 0o644, time: o.Modified, size: o.Size}
		return f(e, &objectReader{ctx: ctx, bucket: m.bucket, name: o.Name, size: o.Size})
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", m.bucket, err)
	}
	return nil
}

// objectReader reads an object piece by piece.
type objectReader struct {
	ctx    context.Context
	bucket Bucket
	name   string
	size   int64
	at     int64
	piece  []byte
}

const pieceSize = 8 << 20

func (o *objectReader) Read(p []byte) (int, error) {
	if len(o.piece) == 0 {
		want := min(pieceSize, o.size-o.at)
		if want <= 0 {
			return 0, io.EOF
		}
		piece, err := o.bucket.Get(o.ctx, o.name, o.at, want)
		if err != nil {
			return 0, fmt.Errorf("get %s: %w", quote(o.name), err)
		}
		if int64(len(piece)) != want {
			return 0, remedy.With(fmt.Errorf("%w: %s changed while it was read", ErrDamaged, quote(o.name)), "stop the old agent, and try again")
		}
		o.piece, o.at = piece, o.at+want
	}
	n := copy(p, o.piece)
	o.piece = o.piece[n:]
	return n, nil
}

func (o *objectReader) Close() error { return nil }
