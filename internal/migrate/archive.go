package migrate

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"github.com/moltworker/moltworker/internal/remedy"
)

// archive reads a tar, plain or compressed with gzip or zstd, and each of them plain
// or as an age file. Its first bytes say which.
type archive struct {
	from string
	opts Options
	open func(context.Context) (io.ReadCloser, error)
	cut  bool // its last walk found no mark at the end
}

func (a *archive) String() string  { return a.from }
func (a *archive) Close() error    { return nil }
func (a *archive) first() []string { return nil }

func (a *archive) walk(ctx context.Context, _ []string, f func(entry, io.Reader) error) error {
	file, err := a.open(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", a.from, err)
	}
	defer file.Close()
	raw := &counter{r: file}
	stream, done, err := a.unwrap(raw)
	if err != nil {
		return err
	}
	defer done()
	// Twice the size of all files leaves room for the headers of small ones.
	out := &gauge{r: stream, raw: raw, most: saturatedDouble(a.opts.MaxBytes), from: a.opts.ratioFrom}
	return a.read(tar.NewReader(out), out, f)
}

func saturatedDouble(n int64) int64 {
	if n > math.MaxInt64/4 {
		return math.MaxInt64 / 2
	}
	return 2*n + 1<<20
}

// unwrap takes off encryption and compression.
func (a *archive) unwrap(raw io.Reader) (io.Reader, func(), error) {
	in := bufio.NewReaderSize(raw, 64<<10)
	head, err := in.Peek(32)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read %s: %w", a.from, err)
	}
	if bytes.HasPrefix(head, []byte("age-encryption.org/")) {
		if in, err = a.decrypt(in); err != nil {
			return nil, nil, err
		}
		if head, err = in.Peek(32); err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, a.damaged(err)
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, a.damaged(err)
		}
		return z, func() { z.Close() }, nil
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, nil, a.damaged(err)
		}
		return z, z.Close, nil
	}
	return in, func() {}, nil
}

func (a *archive) decrypt(in io.Reader) (*bufio.Reader, error) {
	const what = "export it for this host's key, which moltworker backup key ls shows; or open it with age -d first"
	if len(a.opts.Keys) == 0 {
		return nil, remedy.With(fmt.Errorf("%w: %s", ErrLocked, a.from), what)
	}
	plain, err := age.Decrypt(in, a.opts.Keys...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, remedy.With(fmt.Errorf("%w: none of the keys opens %s", ErrLocked, a.from), what)
	}
	if err != nil {
		return nil, a.damaged(err)
	}
	return bufio.NewReaderSize(plain, 64<<10), nil
}

// read goes through the entries.
func (a *archive) read(tr *tar.Reader, out *gauge, f func(entry, io.Reader) error) error {
	for n := 0; ; n++ {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF) && n == 0 && out.n == 0:
			return unknown(a.from)
		case errors.Is(err, io.EOF):
			a.cut = !out.ended
			return a.drain(out)
		case err != nil && n == 0 && errors.Is(err, tar.ErrHeader):
			return unknown(a.from)
		case err != nil:
			return a.damaged(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		e, err := tarEntry(h)
		if err != nil {
			return err
		}
		content := &strict{r: tr, wrap: a.damaged, out: out}
		if err := f(e, content); err != nil {
			return err
		}
	}
}

// drain reads what follows the archive's end, so that a checksum there is checked.
func (a *archive) drain(out *gauge) error {
	if _, err := io.Copy(io.Discard, out); err != nil {
		return a.damaged(err)
	}
	return nil
}

func (a *archive) damaged(err error) error {
	if errors.Is(err, ErrHostile) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	// No word of the archive's own: only what kind of failure it was.
	return remedy.With(fmt.Errorf("%w: %s: %w", ErrDamaged, a.from, err), "copy or download it again, and compare its size with the original's")
}

func tarEntry(h *tar.Header) (entry, error) {
	name, err := cleanPath(h.Name)
	if err != nil {
		return entry{}, err
	}
	e := entry{path: name, mode: fs.FileMode(h.Mode) & fs.ModePerm, time: h.ModTime}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, '\x00', tar.TypeCont:
		e.size = h.Size
		if strings.HasSuffix(h.Name, "/") {
			e.kind, e.size = isDir, 0
		}
	case tar.TypeDir:
		e.kind = isDir
	case tar.TypeSymlink:
		e.kind, e.target = isSymlink, h.Linkname
		if len(h.Linkname) > maxPath || strings.ContainsRune(h.Linkname, 0) {
			return entry{}, hostilePath(h.Name, "points at something without end")
		}
	case tar.TypeLink:
		e.kind = isHardLink
		if e.target, err = cleanPath(h.Linkname); err != nil {
			return entry{}, err
		}
	default:
		e.kind = isSpecial
	}
	return e, nil
}

// strict names errors of reading for what they are. It measures what a file comes
// to with its holes, which the stream of the archive does not have.
type strict struct {
	r    io.Reader
	wrap func(error) error
	out  *gauge
}

func (s *strict) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.out.files += int64(n)
	if tooMuch := s.out.beyond(s.out.files); tooMuch != nil {
		return 0, tooMuch
	}
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = s.wrap(err)
	}
	return n, err
}

type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// gauge ends a stream that grows beyond all measure: more than most bytes, or many
// times what went in.
type gauge struct {
	r     io.Reader
	raw   *counter
	n     int64 // bytes that came out
	files int64 // bytes of files' contents
	most  int64
	from  int64
	ended bool // the last that came out was a block of zeros, as at the end of a tar
}

func (g *gauge) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	g.n += int64(n)
	if n > 0 {
		g.ended = n == 512 && !bytes.ContainsFunc(p[:n], func(r rune) bool { return r != 0 })
	}
	if g.n > g.most {
		return 0, remedy.With(fmt.Errorf("%w: it unpacks to more than %s", ErrHostile, size(g.most)), "remove what the agent does not need, or allow more")
	}
	if tooMuch := g.beyond(g.n); tooMuch != nil {
		return 0, tooMuch
	}
	return n, err
}

// beyond refuses n bytes when they are out of proportion to what was read.
func (g *gauge) beyond(n int64) error {
	if n <= g.from || n/maxRatio <= g.raw.n {
		return nil
	}
	return remedy.With(fmt.Errorf("%w: it unpacks to more than %d times its size", ErrHostile, maxRatio), "do not use this archive; if it is your own, unpack it and import the directory")
}
