package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"sort"
	"strings"
)

// Tree is the state that a version holds.
type Tree struct {
	v       *Vault
	version Version
	packs   packTable
	entries []entry
}

// Tree reads what is in a version. ErrNoVersion, ErrDamaged.
func (v *Vault) Tree(ctx context.Context, id string) (*Tree, error) {
	t, err := v.tree(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("open version %s of %s: %w", id, v.agent, err)
	}
	return t, nil
}

func (v *Vault) tree(ctx context.Context, id string) (*Tree, error) {
	m, err := v.restorable(ctx, id)
	if err != nil {
		return nil, err
	}
	t := &Tree{v: v, version: m.version()}
	t.entries, err = v.readTree(ctx, m, &t.packs, nil)
	return t, err
}

// Version is the version that the tree is of.
func (t *Tree) Version() Version { return t.version }

// Len is how many entries the tree has, without the root.
func (t *Tree) Len() int { return len(t.entries) - 1 }

// All gives all entries in the order of their paths' bytes; a directory comes
// before what is in it. The root is not among them.
func (t *Tree) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for i := range t.entries[1:] {
			if !yield(t.public(&t.entries[i+1])) {
				return
			}
		}
	}
}

// public describes an entry; a hard link has the attributes of its file.
func (t *Tree) public(e *entry) Entry {
	out := e.public()
	if e.kind == recordLink {
		if f := t.resolve(e); f != nil {
			out = f.public()
			out.Path, out.Link = e.path, e.target
		}
	}
	return out
}

// find returns an entry by its path, nil when there is none.
func (t *Tree) find(path string) *entry {
	i := t.at(path)
	if i < len(t.entries) && t.entries[i].path == path {
		return &t.entries[i]
	}
	return nil
}

// at is the number of the first entry that is not before path.
func (t *Tree) at(path string) int {
	return sort.Search(len(t.entries), func(i int) bool { return t.entries[i].path >= path })
}

// resolve returns the file that an entry is, a hard link's file for a hard link;
// nil when it is none.
func (t *Tree) resolve(e *entry) *entry {
	if e != nil && e.kind == recordLink {
		e = t.find(e.target)
	}
	if e == nil || e.kind != recordFile {
		return nil
	}
	return e
}

// Stat describes one entry; "" is the root. fs.ErrNotExist when there is none.
func (t *Tree) Stat(path string) (Entry, error) {
	e := t.find(path)
	if e == nil {
		return Entry{}, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	return t.public(e), nil
}

// List gives what is in one directory, by name; "" is the root.
func (t *Tree) List(dir string) ([]Entry, error) {
	d := t.find(dir)
	if d == nil || d.kind != recordDir {
		return nil, &fs.PathError{Op: "list", Path: dir, Err: fs.ErrNotExist}
	}
	prefix := dir + "/"
	if dir == "" {
		prefix = ""
	}
	var out []Entry
	for i := max(t.at(prefix), 1); i < len(t.entries) && strings.HasPrefix(t.entries[i].path, prefix); {
		e := &t.entries[i]
		if rest := e.path[len(prefix):]; strings.Contains(rest, "/") {
			// Beyond what is in that directory: "0" follows "/".
			name, _, _ := strings.Cut(rest, "/")
			i = t.at(prefix + name + "0")
			continue
		}
		out = append(out, t.public(e))
		i++
	}
	return out, nil
}

// Open reads one file. The error of a read is ErrDamaged when the store does not
// have what was written there. The caller closes it; ctx ends it too.
func (t *Tree) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	e := t.find(path)
	if e == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	f := t.resolve(e)
	if f == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("it is not a file")}
	}
	return &fileReader{
		v: t.v, e: f, runs: f.runs,
		chunks: t.v.packs.stream(ctx, wants(&t.packs, f.runs)),
		hash:   newContentHasher(t.v.keys),
	}, nil
}

// fileReader reads a file of a version from its beginning to its end.
type fileReader struct {
	v      *Vault
	e      *entry
	runs   []run // that are not begun
	chunks *chunkStream
	hash   *contentHasher
	n      int64 // chunks left of the run begun
	zeros  int64 // bytes left of a hole
	data   []byte
	read   int64
	err    error
}

func (r *fileReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.err == nil && len(r.data) == 0 && r.zeros == 0 {
		r.err = r.more()
	}
	if r.err != nil {
		return 0, r.err
	}
	n := 0
	if r.zeros > 0 {
		n = int(min(r.zeros, int64(len(p))))
		clear(p[:n])
		r.zeros -= int64(n)
	} else {
		n = copy(p, r.data)
		r.data = r.data[n:]
	}
	return n, nil
}

// more gets the next piece.
func (r *fileReader) more() error {
	if r.n == 0 && len(r.runs) == 0 {
		return r.end()
	}
	if r.n == 0 {
		next := r.runs[0]
		r.runs = r.runs[1:]
		if next.pack == hole {
			r.zeros = next.n
			r.hash.hole(next.n)
			r.read += next.n
			return r.fits()
		}
		r.n = next.n
	}
	data, err := r.chunks.next()
	if err != nil {
		return fmt.Errorf("read %q of the backup: %w", r.e.path, err)
	}
	r.n--
	r.data = data
	r.hash.write(data)
	r.read += int64(len(data))
	return r.fits()
}

// fits makes sure that no more comes than the file has.
func (r *fileReader) fits() error {
	if r.read > r.e.size || r.read < 0 {
		return fmt.Errorf("read %q of the backup: %w: it is longer than the version says", r.e.path, ErrDamaged)
	}
	return nil
}

// end makes sure that what was read is the whole file.
func (r *fileReader) end() error {
	if r.read != r.e.size || r.hash.sum() != r.e.hash {
		return fmt.Errorf("read %q of the backup: %w: it is not what the version says", r.e.path, ErrDamaged)
	}
	return io.EOF
}

func (r *fileReader) Close() error {
	r.chunks.close()
	if r.err == nil {
		r.err = fs.ErrClosed
	}
	r.data, r.zeros = nil, 0
	return nil
}
