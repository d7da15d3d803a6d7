package runtime

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// The manifest is the last file written into an installation and says what
// everything else in it must be. It is text, one line each, every line ended by
// "\n":
//
//	moltworker-manifest 1
//	d PATH                                   a directory; "." first; entries of it follow
//	f MODE SIZE MTIME SHA256 NAME            a file: octal mode, bytes, ns since 1970, raw unpadded base64
//	l TARGET NAME                            a symbolic link; the target as a Go string literal
//	end FILES BYTES SHA256                   totals, and the hex hash of all lines above
//
// Directories are in the order of a lexical walk, so a directory comes before
// what is in it. The manifest does not list itself.
const (
	manifestName   = "MANIFEST"
	manifestHeader = "moltworker-manifest 1"
)

type manifest struct {
	dirs  []directory
	files int
	bytes int64
}

type directory struct {
	path    string
	entries []entry
}

// entry is a file, or a symbolic link when target is set.
type entry struct {
	name   string
	mode   fs.FileMode
	size   int64
	mtime  int64
	sum    [sha256.Size]byte
	target string
}

// freeze walks a fresh tree, makes its files read-only and everything readable
// for all, and records it. Hashes are not filled in yet.
func freeze(root string) (*manifest, error) {
	m := &manifest{}
	index := map[string]int{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if strings.ContainsAny(rel, "\n\r") {
			return fmt.Errorf("file name %q cannot be recorded", rel)
		}
		if d.IsDir() {
			index[rel] = len(m.dirs)
			m.dirs = append(m.dirs, directory{path: rel})
			return os.Chmod(p, 0o755)
		}
		e, err := freezeEntry(p, d)
		if err != nil {
			return err
		}
		dir := &m.dirs[index[path.Dir(rel)]]
		dir.entries = append(dir.entries, e)
		if e.target == "" {
			m.files++
			m.bytes += e.size
		}
		return nil
	})
	return m, err
}

func freezeEntry(p string, d fs.DirEntry) (entry, error) {
	if d.Type() == fs.ModeSymlink {
		target, err := os.Readlink(p)
		return entry{name: d.Name(), target: target}, err
	}
	if !d.Type().IsRegular() {
		return entry{}, fmt.Errorf("%s is neither file, directory nor link", p)
	}
	info, err := d.Info()
	if err != nil {
		return entry{}, err
	}
	mode := fs.FileMode(0o444)
	if info.Mode()&0o111 != 0 {
		mode = 0o555
	}
	if err := os.Chmod(p, mode); err != nil {
		return entry{}, err
	}
	return entry{name: d.Name(), mode: mode, size: info.Size(), mtime: info.ModTime().UnixNano()}, nil
}

// hash fills in the hash of every file, adding to done as it reads.
func (m *manifest) hash(ctx context.Context, root string, done *atomic.Int64) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(goruntime.NumCPU())
	for i := range m.dirs {
		dir := &m.dirs[i]
		g.Go(func() error {
			for j := range dir.entries {
				e := &dir.entries[j]
				if e.target != "" {
					continue
				}
				if err := ctx.Err(); err != nil {
					return err
				}
				sum, err := hashFile(filepath.Join(root, dir.path, e.name))
				if err != nil {
					return err
				}
				e.sum = sum
				done.Add(e.size)
			}
			return nil
		})
	}
	return g.Wait()
}

func hashFile(p string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(p)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// encode writes the form described above.
func (m *manifest) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, manifestHeader)
	for _, d := range m.dirs {
		fmt.Fprintf(&b, "d %s\n", d.path)
		for _, e := range d.entries {
			if e.target != "" {
				fmt.Fprintf(&b, "l %s %s\n", strconv.Quote(e.target), e.name)
				continue
			}
			fmt.Fprintf(&b, "f %o %d %d %s %s\n", e.mode, e.size, e.mtime, base64.RawStdEncoding.EncodeToString(e.sum[:]), e.name)
		}
	}
	sum := sha256.Sum256(b.Bytes())
	fmt.Fprintf(&b, "end %d %d %s\n", m.files, m.bytes, hex.EncodeToString(sum[:]))
	return b.Bytes()
}

// decodeManifest reads what encode wrote and nothing else.
func decodeManifest(data []byte) (*manifest, error) {
	body, end, err := splitEnd(data)
	if err != nil {
		return nil, err
	}
	m := &manifest{}
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, 64<<10)
	if !lines.Scan() || lines.Text() != manifestHeader {
		return nil, fmt.Errorf("manifest: unknown format")
	}
	for lines.Scan() {
		if err := m.addLine(lines.Text()); err != nil {
			return nil, err
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if want := fmt.Sprintf("%d %d", m.files, m.bytes); want != end {
		return nil, fmt.Errorf("manifest: totals %s, want %s", end, want)
	}
	return m, nil
}

// splitEnd checks the hash in the last line and gives what it covers, and the
// totals it states.
func splitEnd(data []byte) (body []byte, totals string, err error) {
	i := bytes.LastIndex(data, []byte("\nend "))
	if i < 0 {
		return nil, "", fmt.Errorf("manifest: incomplete")
	}
	body = data[:i+1]
	last, ok := strings.CutSuffix(string(data[i+len("\nend "):]), "\n")
	cut := strings.LastIndexByte(last, ' ')
	if !ok || cut < 0 {
		return nil, "", fmt.Errorf("manifest: incomplete")
	}
	sum := sha256.Sum256(body)
	if last[cut+1:] != hex.EncodeToString(sum[:]) {
		return nil, "", fmt.Errorf("manifest: its own hash is wrong")
	}
	return body, last[:cut], nil
}

func (m *manifest) addLine(line string) error {
	kind, rest, _ := strings.Cut(line, " ")
	if kind == "d" {
		if !filepath.IsLocal(rest) {
			return fmt.Errorf("manifest: directory %q", rest)
		}
		m.dirs = append(m.dirs, directory{path: rest})
		return nil
	}
	var e entry
	var err error
	switch kind {
	case "f":
		e, err = parseFileLine(rest)
		m.files++
		m.bytes += e.size
	case "l":
		e, err = parseLinkLine(rest)
	default:
		err = fmt.Errorf("unknown line %q", kind)
	}
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	if len(m.dirs) == 0 || e.name == "" || strings.Contains(e.name, "/") {
		return fmt.Errorf("manifest: misplaced entry %q", e.name)
	}
	dir := &m.dirs[len(m.dirs)-1]
	dir.entries = append(dir.entries, e)
	return nil
}

func parseFileLine(s string) (e entry, err error) {
	f := strings.SplitN(s, " ", 5)
	if len(f) != 5 {
		return e, fmt.Errorf("short file line")
	}
	mode, err := strconv.ParseUint(f[0], 8, 9)
	if err != nil {
		return e, err
	}
	e.mode = fs.FileMode(mode)
	if e.size, err = strconv.ParseInt(f[1], 10, 64); err != nil || e.size < 0 {
		return e, fmt.Errorf("size %q", f[1])
	}
	if e.mtime, err = strconv.ParseInt(f[2], 10, 64); err != nil {
		return e, err
	}
	sum, err := base64.RawStdEncoding.DecodeString(f[3])
	if err != nil || len(sum) != len(e.sum) {
		return e, fmt.Errorf("hash %q", f[3])
	}
	copy(e.sum[:], sum)
	e.name = f[4]
	return e, nil
}

func parseLinkLine(s string) (e entry, err error) {
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return e, err
	}
	if e.target, err = strconv.Unquote(quoted); err != nil || e.target == "" {
		return e, fmt.Errorf("link target %s", quoted)
	}
	e.name = strings.TrimPrefix(s[len(quoted):], " ")
	return e, nil
}
