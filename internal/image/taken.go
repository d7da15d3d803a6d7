package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// checkAtOnce is the size in bytes up to which Take checks a plain file itself.
const checkAtOnce = 8 << 20

// Taken is an image that is being restored, once. End it with Done or Quarantine.
type Taken struct {
	Manifest Manifest

	s     *Store
	work  string // taken-*
	dir   string // plain files
	plain string // directory to remove beside work, in memory; "" if none

	mu   sync.Mutex // held while files are read or removed
	stop context.CancelFunc
	life context.Context
	done bool
}

// Take takes the image for a restore. It must fit want. From here on nobody can
// take it again, not even after a crash. The small files of a plain image are
// checked before Take returns, the large ones by Verify; those of a sealed or
// compressed image are checked wholly while they are written out.
//
// Errors: ErrNone; ErrMismatch, which says what differs; ErrCorrupt, after which
// the image is set aside. After others, a full disk or the end of ctx, the image
// is there as before.
func (s *Store) Take(ctx context.Context, want Binding) (*Taken, error) {
	t, err := s.take(ctx, want)
	if err != nil {
		return nil, withSpaceRemedy(fmt.Errorf("take image: %w", err))
	}
	return t, nil
}

func (s *Store) take(ctx context.Context, want Binding) (*Taken, error) {
	s.mu.Lock()
	m, imageKey, err := s.readKeyed(want)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	s.interruptCool(errors.New("the image is used"))
	work, err := s.moveAway()
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	t := &Taken{Manifest: m, s: s, work: work, dir: filepath.Join(work, filesName)}
	t.life, t.stop = context.WithCancel(context.Background())
	if m.encoding().plain() {
		err = t.check(ctx, func(f File) bool { return f.Size <= checkAtOnce })
	} else {
		err = t.unpack(ctx, imageKey)
	}
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, ErrCorrupt):
		return nil, errors.Join(err, t.Quarantine(err.Error()))
	}
	return nil, errors.Join(err, t.putBack())
}

// check compares those of the plain files that which names with the manifest.
func (t *Taken) check(ctx context.Context, which func(File) bool) error {
	for _, f := range t.Manifest.Files {
		if !which(f) {
			continue
		}
		if err := checkFile(ctx, filepath.Join(t.dir, f.Name), f); err != nil {
			return err
		}
	}
	return nil
}

// unpack writes the image's files out in plain.
func (t *Taken) unpack(ctx context.Context, imageKey []byte) error {
	if err := t.makePlainDir(); err != nil {
		return err
	}
	for _, f := range t.Manifest.Files {
		if err := t.unpackFile(ctx, imageKey, f); err != nil {
			return err
		}
	}
	return nil
}

// makePlainDir chooses where plain files go: memory for those of a sealed image,
// if there is plenty or nothing else is allowed.
func (t *Taken) makePlainDir() error {
	size := t.Manifest.Size()
	if t.Manifest.Sealed {
		dir, err := t.s.scratch.make(size)
		if err == nil {
			t.dir, t.plain = dir, dir
			return nil
		}
		if t.s.opts.Encrypt == Always {
			return err
		}
		t.s.opts.Log.Info("a sealed image is written to disk for its restore", "dir", t.work, "reason", err)
	}
	if err := needRoom(t.work, size); err != nil {
		return err
	}
	t.dir = filepath.Join(t.work, "plain")
	return os.Mkdir(t.dir, 0o700)
}

func (t *Taken) unpackFile(ctx context.Context, imageKey []byte, f File) (err error) {
	e := t.Manifest.encoding()
	p, err := newPacking(e, imageKey, f.Name)
	if err != nil {
		return err
	}
	src, _, err := openRegular(filepath.Join(t.work, filesName, e.storedName(f.Name)))
	if err != nil {
		return damage(err)
	}
	defer src.Close()
	dst, err := create(filepath.Join(t.dir, f.Name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if err := dst.Truncate(f.Size); err != nil {
		return err
	}
	return p.unpack(ctx, dst, src, f)
}

// Dir holds the image's plain files, until Done or Quarantine.
func (t *Taken) Dir() string { return t.dir }

// Verify reads the files that Take has not checked. It may run beside the
// restore, and should have returned nil before what was restored serves anybody;
// if not, destroy the sandbox and Quarantine the image. Errors: ErrCorrupt, that
// of ctx, ErrUsed.
func (t *Taken) Verify(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return fmt.Errorf("verify image: %w", ErrUsed)
	}
	if !t.Manifest.encoding().plain() || t.fresh() {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.life, cancel)()
	if err := t.check(ctx, func(f File) bool { return f.Size > checkAtOnce }); err != nil {
		return fmt.Errorf("verify image: %w", err)
	}
	return nil
}

// fresh says whether the image is young and was made since the host booted.
func (t *Taken) fresh() bool {
	now := t.s.opts.Now()
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return false
	}
	booted := now.Add(-time.Duration(info.Uptime) * time.Second)
	age := now.Sub(t.Manifest.Created)
	return age >= 0 && age < t.s.opts.VerifyAfter && t.Manifest.Created.After(booted)
}

// Done removes the image, which was restored or is of no use. A Verify that still
// runs gives up. After Done or Quarantine it does nothing.
func (t *Taken) Done() error {
	return t.end(func() error { return os.RemoveAll(t.work) })
}

// Quarantine sets the image aside, as it was stored, with the reason why it could
// not be used. An earlier bad one goes.
func (t *Taken) Quarantine(reason string) error {
	return t.end(func() error {
		if t.plain == "" && t.dir != filepath.Join(t.work, filesName) {
			if err := os.RemoveAll(t.dir); err != nil {
				return err
			}
		}
		t.s.mu.Lock()
		defer t.s.mu.Unlock()
		return t.s.setAside(t.work, reason)
	})
}

// putBack makes an image that no driver has seen the agent's again.
func (t *Taken) putBack() error {
	return t.end(func() error {
		if t.plain == "" && t.dir != filepath.Join(t.work, filesName) {
			if err := os.RemoveAll(t.dir); err != nil {
				return err
			}
		}
		t.s.mu.Lock()
		defer t.s.mu.Unlock()
		if _, err := os.Lstat(t.s.path(imageName)); !errors.Is(err, fs.ErrNotExist) {
			return os.RemoveAll(t.work) // a newer one
		}
		return os.Rename(t.work, t.s.path(imageName))
	})
}

func (t *Taken) end(how func() error) error {
	t.stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return nil
	}
	t.done = true
	return errors.Join(t.s.scratch.remove(t.plain), how())
}
