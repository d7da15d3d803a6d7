// Package migrate owns moves between houses: bringing an agent that ran elsewhere
// into a home that our sandbox takes, and taking one of ours out in a form that a
// plain OpenClaw runs. It knows the layouts in which such agents come, takes their
// secrets out of the files, and says what was kept, changed and left out.
//
// It must not know of sandboxes, of agents' lives or of the control plane: it turns
// archives, directories and buckets into a directory, and a tree of files into an
// archive. Whatever it reads is hostile.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrUnknown: nothing of OpenClaw was found there.
	ErrUnknown = errors.New("no OpenClaw agent was found")
	// ErrHostile: the archive tries to write elsewhere or to use up the machine.
	ErrHostile = errors.New("the archive is not safe to unpack")
	// ErrDamaged: the archive ends early or is not what it seems to be.
	ErrDamaged = errors.New("the archive is damaged")
	// ErrLocked: the archive is encrypted, and no key that was given opens it.
	ErrLocked = errors.New("the archive is encrypted")
	// ErrExists: there is something where the home is to be written.
	ErrExists = errors.New("the target directory is not empty")
)

// Placeholder stands in the files that are written where a secret was. It is the
// same that the host renders into openclaw.json.
const Placeholder = "set-by-moltworker"

// Bounds that no option changes.
const (
	maxPath   = 4096 // bytes of a path
	maxName   = 255  // bytes of one name in it
	maxDepth  = 512  // names in a path
	maxRatio  = 200  // bytes out of a compressed one, once ratioFrom bytes came out
	ratioFrom = 256 << 20
	maxLinks  = 200_000 // symbolic links: they are remembered until the end
)

// Options bound what is taken in. The zero value is fit for use.
type Options struct {
	MaxBytes   int64          // of all files together; 0 means 64 GiB
	MaxEntries int            // files, directories and links; 0 means 2,000,000
	Keys       []age.Identity // tried on an encrypted archive

	ratioFrom int64              // for tests
	sync      func(fd int) error // of the file system; for tests
}

func (o Options) withDefaults() Options {
	if o.MaxBytes <= 0 {
		o.MaxBytes = 64 << 30
	}
	if o.MaxEntries <= 0 {
		o.MaxEntries = 2_000_000
	}
	if o.sync == nil {
		o.sync = unix.Syncfs
	}
	if o.ratioFrom <= 0 {
		o.ratioFrom = ratioFrom
	}
	return o
}

// A Bundle is a foreign agent's state that was found and looked through. Nothing has
// been written yet.
type Bundle struct {
	src      source
	opts     Options
	layout   layout
	config   map[string]any    // of the agent's configuration; nil when there was none
	texts    map[string][]byte // small files that may hold secrets, by path in the source
	secrets  *purse
	changed  tally
	warnings notes
}

// Found is a secret that stood in the agent's files.
type Found struct {
	Name  string       `json:"name"` // as our secret store names it
	Value secret.Value `json:"-"`
	Where []string     `json:"where"` // file, and path in it; at most 20 places
}

// Open recognises an agent in a directory or a file: the state directory of OpenClaw
// or of what it was called before (~/.openclaw, ~/.clawdbot, ~/.moltbot), a home with
// one, or a tar archive of either, plain or compressed with gzip or zstd, or written by
// [Export] or by OpenClaw's own backup. Close must be called.
//
// Errors: ErrUnknown, ErrHostile, ErrDamaged, ErrLocked, and those of reading.
func Open(ctx context.Context, path string, opts Options) (*Bundle, error) {
	opts = opts.withDefaults()
	info, err := os.Stat(path)
	if err != nil {
		return nil, remedy.With(fmt.Errorf("open what is to be imported: %w", err), "name a directory or an archive that is there")
	}
	var src source
	switch {
	case info.IsDir():
		src, err = openDir(path)
	case info.Mode().IsRegular():
		src = &archive{from: path, opts: opts, open: func(context.Context) (io.ReadCloser, error) { return os.Open(path) }}
	default:
		err = remedy.With(fmt.Errorf("%w: %s is neither a directory nor a file", ErrUnknown, path), "name a directory or an archive")
	}
	if err != nil {
		return nil, err
	}
	return look(ctx, src, opts)
}

// look is the first pass over a source: what is it, and what does it hold that must
// be known before anything is written?
func look(ctx context.Context, src source, opts Options) (*Bundle, error) {
	b := &Bundle{src: src, opts: opts, secrets: newPurse()}
	s := newSurvey()
	err := b.walk(ctx, src.first(), s.note)
	if err == nil {
		b.layout, err = s.settle(src)
	}
	if err != nil {
		src.Close()
		return nil, err
	}
	if a, ok := src.(*archive); ok && a.cut {
		b.warnings.addf("the archive has no mark at its end: it may have been cut off; compare its size with the original's")
	}
	b.texts = s.texts
	b.warnings.add(s.warnings...)
	b.readConfig()
	b.layout.place(b.config, &b.warnings)
	if err := b.lookBeside(ctx, s); err != nil {
		src.Close()
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(b.texts)) {
		b.takeSecrets(path, b.texts[path])
	}
	b.secrets.settle()
	return b, nil
}

// lookBeside looks at workspaces that the first walk did not come to: those of a
// directory are known only when its configuration is.
func (b *Bundle) lookBeside(ctx context.Context, s *survey) error {
	first := b.src.first()
	if first == nil {
		return nil
	}
	beside := slices.DeleteFunc(b.layout.prefixes(), func(p string) bool { return slices.Contains(first, p) })
	s.warnings = nil
	err := b.walk(ctx, beside, s.noteText)
	b.warnings.add(s.warnings...)
	return err
}

// walk reads the source within the bounds.
func (b *Bundle) walk(ctx context.Context, prefixes []string, f func(entry, io.Reader) error) error {
	var count int
	var bytes int64
	return b.src.walk(ctx, prefixes, func(e entry, content io.Reader) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		count++
		bytes += max(e.size, 0)
		switch {
		case count > b.opts.MaxEntries:
			return remedy.With(fmt.Errorf("%w: it has more than %d entries", ErrHostile, b.opts.MaxEntries), "remove what the agent does not need, such as node_modules, and try again")
		case e.size < 0 || bytes > b.opts.MaxBytes:
			return remedy.With(fmt.Errorf("%w: its files have more than %s", ErrHostile, size(b.opts.MaxBytes)), "remove what the agent does not need, or allow more")
		}
		return f(e, content)
	})
}

// Kind says in words what was recognised.
func (b *Bundle) Kind() string { return b.layout.kind }

// Secrets are what was found in the agent's files, sorted by name. After Write there
// may be more: those that were recognised by their shape in other files.
func (b *Bundle) Secrets() []Found { return b.secrets.list() }

// Close lets go of the source.
func (b *Bundle) Close() error { return b.src.Close() }

// An entry is one file, directory or link of a source.
type entry struct {
	path   string // relative, clean, with "/"; "." is the top
	kind   kind
	mode   os.FileMode // permission bits
	time   time.Time
	size   int64
	target string // of a symbolic link; of a hard link the path in the source, clean
}

type kind int

const (
	isFile kind = iota
	isDir
	isSymlink
	isHardLink
	isSpecial // a device, FIFO or socket
)

func size(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
