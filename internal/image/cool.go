package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/atomicfile"
)

// Cool compresses the image, and seals it unless images are never sealed. It
// takes seconds: it works in one thread of low priority, with a few
// megabytes of memory, and gives up when ctx ends or somebody else uses the
// image, which can be used all the time. What was written is read back before the
// plain files go. It does nothing to a compressed image.
//
// Errors: ErrNone; ErrCorrupt, after which the image is set aside; ENOSPC with a
// remedy. The image is as it was after others.
func (s *Store) Cool(ctx context.Context) error {
	s.coolMu.Lock()
	defer s.coolMu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c, err := s.beginCool(cancel)
	if c == nil || err != nil {
		return err
	}
	defer c.close()
	err = quietly(func() error { return c.write(ctx) })
	if err == nil {
		err = s.commitCool(ctx, c)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		err = withSpaceRemedy(fmt.Errorf("compress image: %w", err))
	}
	if errors.Is(err, ErrCorrupt) {
		err = errors.Join(err, s.setAsideIf(c.from.ID, err.Error()))
	}
	return err
}

// cooling is one run of Cool.
type cooling struct {
	work    string // cooling-*
	from    Manifest
	fromKey []byte
	sources []*os.File // of the files of from
	to      encoding
	key     []byte
	files   []File // compressed
}

// beginCool opens the image for compressing; nil if that is done already.
func (s *Store) beginCool(cancel context.CancelCauseFunc) (_ *cooling, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c *cooling
	defer func() {
		if err != nil && c != nil {
			c.close()
		}
		if errors.Is(err, ErrCorrupt) {
			err = errors.Join(err, s.setAside(s.path(imageName), err.Error()))
		}
	}()
	m, sm, err := s.read()
	if err != nil || m.Compressed {
		return nil, err
	}
	agentKey, err := s.opts.Key()
	if err != nil {
		return nil, fmt.Errorf("key of images: %w", err)
	}
	c = &cooling{from: m, to: encoding{compressed: true, sealed: s.opts.Encrypt != Never}}
	if c.to.sealed {
		c.key = randomBytes(keySize)
	}
	if c.fromKey, err = sm.open(m, agentKey); err != nil {
		return nil, err
	}
	for _, f := range m.Files {
		src, _, err := openRegular(s.path(imageName, filesName, m.encoding().storedName(f.Name)))
		if err != nil {
			return nil, damage(err)
		}
		c.sources = append(c.sources, src)
	}
	if c.work, err = os.MkdirTemp(s.dir, coolingPrefix); err != nil {
		return nil, withSpaceRemedy(err)
	}
	s.stopCool = cancel
	return c, nil
}

func (c *cooling) close() {
	for _, f := range c.sources {
		f.Close()
	}
	if c.work != "" {
		os.RemoveAll(c.work) // or the next Open does
	}
}

// write compresses all files into c.work and reads them back.
func (c *cooling) write(ctx context.Context) error {
	for i, want := range c.from.Files {
		src, err := c.reader(ctx, i)
		if err != nil {
			return err
		}
		f, err := packFile(ctx, c.to, c.key, want.Name, src, c.work, runtime.Gosched)
		src.Close()
		if err != nil {
			return err
		}
		if f.Size != want.Size || f.Sum != want.Sum {
			return fmt.Errorf("%w: the contents of file %s have changed", ErrCorrupt, want.Name)
		}
		if err := c.readBack(ctx, f); err != nil {
			return err
		}
		c.files = append(c.files, f)
	}
	return nil
}

// reader gives the plain contents of file i.
func (c *cooling) reader(ctx context.Context, i int) (io.ReadCloser, error) {
	if c.from.encoding().plain() {
		return io.NopCloser(c.sources[i]), nil
	}
	p, err := newPacking(c.from.encoding(), c.fromKey, c.from.Files[i].Name)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(p.copyPlain(ctx, w, c.sources[i], c.from.Files[i])) }()
	return r, nil
}

// readBack makes sure that a compressed file holds what it should. What it finds
// wrong is not the image's fault.
func (c *cooling) readBack(ctx context.Context, f File) error {
	p, err := newPacking(c.to, c.key, f.Name)
	if err != nil {
		return err
	}
	src, _, err := openRegular(filepath.Join(c.work, c.to.storedName(f.Name)))
	if err != nil {
		return err
	}
	defer src.Close()
	if err := p.copyPlain(ctx, io.Discard, src, f); err != nil {
		return fmt.Errorf("what was written cannot be read back: %v", err) // %v: no ErrCorrupt
	}
	return nil
}

// commitCool puts the compressed files in the place of the others, if the image is
// still the one that they were made from.
func (s *Store) commitCool(ctx context.Context, c *cooling) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopCool = nil
	m, _, err := s.read()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	if m.ID != c.from.ID {
		return errors.New("there is a newer image")
	}
	agentKey, err := s.opts.Key()
	if err != nil {
		return fmt.Errorf("key of images: %w", err)
	}
	files := s.path(imageName, filesName)
	remove := func(e encoding) {
		for _, f := range m.Files {
			os.Remove(filepath.Join(files, e.storedName(f.Name))) // or the next Open does
		}
	}
	before := m.encoding()
	for _, f := range c.files {
		name := c.to.storedName(f.Name)
		if err = os.Rename(filepath.Join(c.work, name), filepath.Join(files, name)); err != nil {
			remove(c.to)
			return err
		}
	}
	if err = atomicfile.SyncDir(files); err == nil {
		m.Compressed, m.Sealed, m.Files = c.to.compressed, c.to.sealed, c.files
		err = writeManifest(s.path(imageName), m, agentKey, c.key)
	}
	if err != nil {
		// The manifest is the old one, or if only making it durable failed, the new.
		if now, _, rerr := s.read(); rerr == nil && !now.Compressed {
			remove(c.to)
		}
		return err
	}
	remove(before)
	return nil
}

// setAsideIf sets the image aside if its ID is the given one.
func (s *Store) setAsideIf(id, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, _, err := s.read(); err != nil || m.ID != id {
		return nil // used or replaced meanwhile
	}
	return s.setAside(s.path(imageName), reason)
}

// quietly calls work in a thread of its own that gets what processor and disk
// time others leave (nice 10: with less, a busy machine would keep the thread from
// the points where Go's garbage collector waits for it). The thread ends with it, as a priority cannot be raised again.
func quietly(work func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 10)
		const who, idle = 1, 3 << 13 // IOPRIO_WHO_PROCESS, class idle
		_, _, _ = unix.Syscall(unix.SYS_IOPRIO_SET, who, uintptr(unix.Gettid()), idle)
		done <- work()
	}()
	return <-done
}
