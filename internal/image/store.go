package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/remedy"
)

const (
	imageName  = "image"
	badName    = "bad"
	reasonName = "reason.txt"

	draftPrefix   = "draft-"
	takenPrefix   = "taken-"
	coolingPrefix = "cooling-"
)

// Options of a Store.
type Options struct {
	// Key returns the agent's image key, 32 bytes; asked for when it is needed.
	Key func() ([]byte, error)
	// Encrypt says which images are sealed.
	Encrypt Policy
	// Memory is a directory of a tmpfs for plain bytes of sealed images;
	// /dev/shm when empty.
	Memory string
	// VerifyAfter is the age from which the large files of a plain image are read
	// again by [Taken.Verify]; younger ones only after a boot of the host. What was
	// written minutes ago by this very system is trusted as its memory is.
	VerifyAfter time.Duration
	Now         func() time.Time // time.Now when nil
	Log         *slog.Logger     // none when nil

	memoryRoom func() int64 // for tests
}

// Store keeps the image of one agent. One process at a time may have it open; its
// methods may be called at any time from any goroutine.
type Store struct {
	dir     string
	opts    Options
	scratch scratch

	mu       sync.Mutex // held while names in dir change
	stopCool context.CancelCauseFunc

	coolMu sync.Mutex // held by the one Cool that runs
}

// Open opens the store in dir, which it makes if need be. What a crash left there
// is removed: half-written images, and those that were taken. A damaged image is
// set aside.
func Open(dir string, opts Options) (*Store, error) {
	fail := func(err error) (*Store, error) { return nil, fmt.Errorf("open image store: %w", err) }
	if opts.Key == nil {
		return fail(errors.New("no key given"))
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.memoryRoom == nil {
		opts.memoryRoom = memoryRoom
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fail(err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	if err := ownDirectory(dir); err != nil {
		return fail(remedy.With(err, "move it away; a new one is made"))
	}
	s := &Store{dir: dir, opts: opts, scratch: newScratch(opts.Memory, dir, opts.memoryRoom)}
	if err := s.clean(); err != nil {
		return fail(err)
	}
	return s, nil
}

// clean removes what a crash may have left.
func (s *Store) clean() error {
	if err := s.scratch.clean(); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		for _, prefix := range []string{draftPrefix, takenPrefix, coolingPrefix} {
			if strings.HasPrefix(e.Name(), prefix) {
				s.opts.Log.Info("removed an unfinished image", "dir", s.path(e.Name()))
				if err := os.RemoveAll(s.path(e.Name())); err != nil {
					return err
				}
			}
		}
	}
	m, _, err := s.read()
	switch {
	case errors.Is(err, ErrNone):
		return nil
	case errors.Is(err, ErrCorrupt):
		return s.setAside(s.path(imageName), err.Error())
	case err != nil:
		return err
	}
	return removeUnnamed(s.path(imageName), m)
}

// removeUnnamed removes from an image what its manifest does not name: what Cool
// had not finished, or not cleaned up.
func removeUnnamed(image string, m Manifest) error {
	named := map[string]bool{}
	for _, f := range m.Files {
		named[m.encoding().storedName(f.Name)] = true
	}
	return errors.Join(
		removeBut(image, map[string]bool{manifestName: true, filesName: true}),
		removeBut(filepath.Join(image, filesName), named))
}

// removeBut removes all of a directory but what keep names.
func removeBut(dir string, keep map[string]bool) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !keep[e.Name()] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// read reads the manifest of the image. Callers hold mu, but for Open.
func (s *Store) read() (Manifest, sealedManifest, error) {
	if _, err := os.Lstat(s.path(imageName)); errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, sealedManifest{}, ErrNone
	}
	if err := ownDirectory(s.path(imageName)); err != nil {
		return Manifest{}, sealedManifest{}, damage(err)
	}
	return readManifest(s.path(imageName))
}

// readKeyed reads the manifest, makes sure that it fits want and is authentic,
// and returns the image key, nil when the image is not sealed. A damaged image is
// set aside. Callers hold mu.
func (s *Store) readKeyed(want Binding) (Manifest, []byte, error) {
	m, sm, err := s.read()
	if err == nil {
		if diff := m.Binding.Differs(want); diff != "" {
			return m, nil, fmt.Errorf("%w: %s", ErrMismatch, diff)
		}
		var agentKey, imageKey []byte
		if agentKey, err = s.opts.Key(); err != nil {
			return m, nil, fmt.Errorf("key of images: %w", err)
		}
		if imageKey, err = sm.open(m, agentKey); err == nil {
			return m, imageKey, nil
		}
	}
	if errors.Is(err, ErrCorrupt) {
		err = errors.Join(err, s.setAside(s.path(imageName), err.Error()))
	}
	return m, nil, err
}

// Peek describes the image without touching it, or asking for the key: whether it
// is authentic and undamaged shows when it is taken. Errors: ErrNone, ErrCorrupt.
func (s *Store) Peek() (Manifest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, _, err := s.read()
	return m, err
}

// Drop removes the image, if there is one.
func (s *Store) Drop() error { return s.drop("") }

// drop removes the image if its ID is the given one; "" is any.
func (s *Store) drop(id string) error {
	s.mu.Lock()
	m, _, err := s.read()
	if errors.Is(err, ErrNone) || id != "" && m.ID != id {
		s.mu.Unlock()
		return nil
	}
	s.interruptCool(errors.New("the image is dropped"))
	gone, err := s.moveAway()
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("drop image: %w", err)
	}
	return os.RemoveAll(gone)
}

// moveAway durably renames the image so that it cannot be used again, and returns
// where it is now. Callers hold mu.
func (s *Store) moveAway() (string, error) {
	to := s.path(takenPrefix + randomName())
	if err := os.Rename(s.path(imageName), to); err != nil {
		return "", err
	}
	return to, atomicfile.SyncDir(s.dir)
}

// setAside keeps what is at path as the one bad image, with the reason beside it.
// What is not a directory of ours is removed. Callers hold mu.
func (s *Store) setAside(path, reason string) error {
	s.opts.Log.Warn("set a bad image aside", "dir", s.path(badName), "reason", reason)
	if err := ownDirectory(path); err != nil {
		return os.RemoveAll(path)
	}
	if err := os.RemoveAll(s.path(badName)); err != nil {
		return err
	}
	note := s.opts.Now().UTC().Format(time.RFC3339) + " " + reason + "\n"
	if err := atomicfile.Write(filepath.Join(path, reasonName), []byte(note), 0o600); err != nil {
		// On a full disk the space is worth more than the evidence.
		return os.RemoveAll(path)
	}
	return os.Rename(path, s.path(badName))
}

// DropBad removes the image that was set aside, if there is one.
func (s *Store) DropBad() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return os.RemoveAll(s.path(badName))
}

// Usage is what a store takes on disk, in bytes.
type Usage struct {
	Image int64 // the image
	Bad   int64 // the one set aside
	Other int64 // drafts, taken images, copies being compressed
}

// Total is all of it.
func (u Usage) Total() int64 { return u.Image + u.Bad + u.Other }

// Size returns what the store takes on disk.
func (s *Store) Size() (Usage, error) {
	var (
		u   Usage
		err [3]error
		all int64
	)
	all, err[0] = usage(s.dir)
	u.Image, err[1] = usage(s.path(imageName))
	u.Bad, err[2] = usage(s.path(badName))
	u.Other = max(0, all-u.Image-u.Bad)
	return u, errors.Join(err[:]...)
}

// Rebind gives the image, which must fit want, to the agent that dst belongs to:
// it fits to from then on. dst may be s. It holds no image yet, and is on the same
// file system. A crash on the way may lose the image, and never leaves it to both.
// Errors: those of Take, and fs.ErrExist if dst has an image.
func (s *Store) Rebind(want Binding, dst *Store, to Binding) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("give image to %s: %w", to.Agent, err)
		}
	}()
	stores := []*Store{s}
	if dst != s {
		stores = append(stores, dst)
		slices.SortFunc(stores, func(a, b *Store) int { return strings.Compare(a.dir, b.dir) })
	}
	for _, store := range stores {
		store.mu.Lock()
		defer store.mu.Unlock()
	}
	m, imageKey, err := s.readKeyed(want)
	if err != nil {
		return err
	}
	if dst != s {
		if err := sameDisk(s.dir, dst.dir); err != nil {
			return err
		}
		if _, err := os.Lstat(dst.path(imageName)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("it has an image: %w", fs.ErrExist)
		}
	}
	agentKey, err := dst.opts.Key()
	if err != nil {
		return fmt.Errorf("key of images: %w", err)
	}
	s.interruptCool(errors.New("the image is given away"))
	gone, err := s.moveAway()
	if err != nil {
		return err
	}
	m.Binding = to
	if err := writeManifest(gone, m, agentKey, imageKey); err != nil {
		return errors.Join(withSpaceRemedy(err), os.RemoveAll(gone))
	}
	if err := os.Rename(gone, dst.path(imageName)); err != nil {
		return errors.Join(err, os.RemoveAll(gone))
	}
	return atomicfile.SyncDir(dst.dir)
}

func sameDisk(a, b string) error {
	var x, y syscall.Stat_t
	if err := errors.Join(syscall.Stat(a, &x), syscall.Stat(b, &y)); err != nil {
		return err
	}
	if x.Dev != y.Dev {
		return fmt.Errorf("%s and %s are on different file systems", a, b)
	}
	return nil
}

// interruptCool makes a running Cool give up. Callers hold mu.
func (s *Store) interruptCool(why error) {
	if s.stopCool != nil {
		s.stopCool(why)
	}
}
