package migrate

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
)

// Compression of an exported archive.
type Compression string

// The compressions.
const (
	Gzip Compression = "gzip" // .tar.gz, which every system unpacks
	Zstd Compression = "zstd" // .tar.zst, faster and smaller
)

// ExportOptions say what an archive is to be like.
type ExportOptions struct {
	Agent       string      // its name, for the text inside
	Compression Compression // Gzip when empty
	// Recipients and Passphrase encrypt the archive with age; one of them at most. With
	// neither it is plain, and holds all that the agent knows.
	Recipients []age.Recipient
	Passphrase secret.Value
	// Leave says what is left out; [openclaw.Regenerated] when nil.
	Leave func(path string, dir bool) bool
	Now   func() time.Time // time.Now when nil
}

// readmeName is the first file of an exported archive, by which it is recognised.
const readmeName = "README-EXPORT.txt"

// Export writes a tree as an archive that a plain OpenClaw runs: the home as it is,
// with what only this host understands turned back. It has none of the host's secrets,
// as the agent never had them.
func Export(ctx context.Context, src Files, w io.Writer, opts ExportOptions) (Report, error) {
	if opts.Leave == nil {
		opts.Leave = openclaw.Regenerated
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	out, finish, err := opts.wrap(w)
	if err != nil {
		return Report{}, err
	}
	x := &exporter{src: src, tar: tar.NewWriter(out), opts: opts}
	err = x.write(ctx)
	if err = errors.Join(err, x.tar.Close(), finish()); err != nil {
		return Report{}, fmt.Errorf("export the agent: %w", err)
	}
	return Report{
		From: opts.Agent, Kind: "an agent of this host", Files: x.files, Bytes: x.bytes,
		Kept: x.kept.list(), Changed: x.changed.list(), Dropped: x.dropped.list(), Warnings: x.warnings.all(),
	}, nil
}

// wrap puts compression, and encryption around it.
func (o ExportOptions) wrap(w io.Writer) (io.Writer, func() error, error) {
	recipients := o.Recipients
	if o.Passphrase.IsSet() {
		if len(recipients) > 0 {
			return nil, nil, remedy.With(errors.New("an archive is encrypted to keys or with a passphrase, not both"), "give only one of them")
		}
		r, err := age.NewScryptRecipient(o.Passphrase.Reveal())
		if err != nil {
			return nil, nil, fmt.Errorf("use the passphrase: %w", err)
		}
		recipients = []age.Recipient{r}
	}
	outer := func() error { return nil }
	if len(recipients) > 0 {
		sealed, err := age.Encrypt(w, recipients...)
		if err != nil {
			return nil, nil, fmt.Errorf("encrypt the archive: %w", err)
		}
		w, outer = sealed, sealed.Close
	}
	var inner io.WriteCloser
	switch o.Compression {
	case Gzip, "":
		inner = gzip.NewWriter(w)
	case Zstd:
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, nil, fmt.Errorf("compress the archive: %w", err)
		}
		inner = z
	default:
		return nil, nil, remedy.With(fmt.Errorf("compression %q is not known", string(o.Compression)), "use gzip or zstd")
	}
	return inner, func() error { return errors.Join(inner.Close(), outer()) }, nil
}

type exporter struct {
	src                    Files
	tar                    *tar.Writer
	opts                   ExportOptions
	files                  int
	bytes                  int64
	kept, changed, dropped tally
	warnings               notes
	left                   string // a directory that is left out, with its "/"
}

func (x *exporter) write(ctx context.Context) error {
	text := readme(x.opts.Agent, x.opts.Now())
	if err := x.putText(File{Path: readmeName, Mode: 0o644, Time: x.opts.Now()}, []byte(text)); err != nil {
		return err
	}
	return x.src.Walk(ctx, func(f File) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return x.put(ctx, f)
	})
}

func (x *exporter) put(ctx context.Context, f File) error {
	if clean, err := cleanPath(f.Path); err != nil || clean != f.Path {
		x.dropped.add(quote(f.Path), "no archive may have such a path", f.Size)
		return nil
	}
	switch {
	case f.Path == "." || f.Path == readmeName || x.left != "" && strings.HasPrefix(f.Path, x.left):
		return nil
	case x.opts.Leave(f.Path, f.Mode.IsDir()):
		x.dropped.add(openclaw.PartOf(f.Path)+" (caches and temporary files)", "it is made again by itself", 0)
		if f.Mode.IsDir() {
			x.left = f.Path + "/"
		}
		return nil
	case f.Path == stateDir+"/openclaw.json" && f.Mode.IsRegular():
		return x.putConfig(ctx, f)
	case configCopy.MatchString(f.Path) && path.Ext(f.Path) != ".imported":
		x.dropped.add(quote(f.Path), "it is a copy of the configuration with this host's settings", f.Size)
		return nil
	}
	h := &tar.Header{Name: f.Path, Mode: int64(f.Mode.Perm()), ModTime: f.Time, Format: tar.FormatPAX}
	switch {
	case f.Mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
	case f.Mode&fs.ModeSymlink != 0:
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.Target
	case f.Mode.IsRegular() && f.Link != "":
		h.Typeflag, h.Linkname = tar.TypeLink, f.Link
	case f.Mode.IsRegular():
		h.Typeflag, h.Size = tar.TypeReg, f.Size
	default:
		x.dropped.add(quote(f.Path), "it is a device, FIFO or socket", 0)
		return nil
	}
	if err := x.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", quote(f.Path), err)
	}
	if h.Typeflag == tar.TypeReg {
		if err := x.copy(ctx, f); err != nil {
			return err
		}
	}
	x.count(f.Path, h.Size)
	return nil
}

func (x *exporter) count(name string, bytes int64) {
	x.files++
	x.bytes += bytes
	if name != readmeName {
		x.kept.add(openclaw.PartOf(name), "", bytes)
	}
}

func (x *exporter) copy(ctx context.Context, f File) error {
	content, err := x.src.Open(ctx, f.Path)
	if err != nil {
		return err
	}
	defer content.Close()
	n, err := io.CopyN(x.tar, content, f.Size)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: it became shorter, from %d to %d bytes, while it was read", quote(f.Path), f.Size, n)
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", quote(f.Path), err)
	}
	return nil
}

func (x *exporter) putText(f File, text []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Mode: int64(f.Mode.Perm()), ModTime: f.Time, Size: int64(len(text)), Format: tar.FormatPAX}
	if err := x.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("write %s: %w", quote(f.Path), err)
	}
	if _, err := x.tar.Write(text); err != nil {
		return fmt.Errorf("write %s: %w", quote(f.Path), err)
	}
	x.count(f.Path, h.Size)
	return nil
}

// putConfig writes the configuration as a plain OpenClaw takes it. One that cannot be
// read is left out: it has this host's token somewhere.
func (x *exporter) putConfig(ctx context.Context, f File) error {
	content, err := x.src.Open(ctx, f.Path)
	if err != nil {
		return err
	}
	defer content.Close()
	text, err := io.ReadAll(io.LimitReader(content, openclaw.MaxConfig+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", quote(f.Path), err)
	}
	config, err := openclaw.Values(text)
	if err != nil {
		x.dropped.add(quote(f.Path), "it cannot be read", f.Size)
		x.warnings.addf("openclaw.json is not valid and was left out, with all of the agent's settings: correct it and export again")
		return nil
	}
	x.turnBack(config)
	return x.putText(f, render(config))
}

func readme(agent string, now time.Time) string {
	if agent == "" {
		agent = "main"
	}
	return fmt.Sprintf(`This is the OpenClaw agent %q, exported by moltworker on %s.
1. Unpack it as the user who will run it: tar -xf FILE -C ~  (~/.openclaw must not be there yet); keep the original stopped.
2. Install Node and OpenClaw 2026.9.6 or later: npm install -g openclaw@latest
3. Set what is in no file: export OPENCLAW_GATEWAY_TOKEN=... and each ${NAME} of ~/.openclaw/openclaw.json (ANTHROPIC_API_KEY, ...).
4. Let it look after itself: openclaw doctor --fix
5. Run it: openclaw gateway
`, agent, now.UTC().Format(time.DateOnly))
}
