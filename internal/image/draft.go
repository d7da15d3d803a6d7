package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moltworker/moltworker/internal/atomicfile"
)

// Draft is an image being written. It belongs to one goroutine.
type Draft struct {
	s     *Store
	work  string // becomes the image
	plain string // what the driver writes to
	seal  bool   // plain is in memory, and its files are sealed into work
	done  bool
}

// Begin begins an image of about size bytes; 0 is unknown. Where images are
// always sealed, the draft is in memory. Errors carry a remedy when there is no
// room; ENOSPC if that is on disk.
func (s *Store) Begin(size int64) (_ *Draft, err error) {
	defer func() {
		if err != nil {
			err = withSpaceRemedy(fmt.Errorf("begin image: %w", err))
		}
	}()
	if err := needRoom(s.dir, size); err != nil {
		return nil, err
	}
	d := &Draft{s: s, seal: s.opts.Encrypt == Always}
	d.work, err = os.MkdirTemp(s.dir, draftPrefix)
	if err != nil {
		return nil, err
	}
	d.plain = filepath.Join(d.work, filesName)
	if err := os.Mkdir(d.plain, 0o700); err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.work))
	}
	if d.seal {
		if d.plain, err = s.scratch.make(size); err != nil {
			return nil, errors.Join(err, os.RemoveAll(d.work))
		}
	}
	return d, nil
}

// Dir is the empty directory that the driver writes the image's files to: regular
// files, and nothing else.
func (d *Draft) Dir() string { return d.plain }

// Discard removes the draft. After Commit it does nothing.
func (d *Draft) Discard() error {
	if d.done {
		return nil
	}
	d.done = true
	err := os.RemoveAll(d.work)
	if d.seal {
		err = errors.Join(err, d.s.scratch.remove(d.plain))
	}
	return err
}

// Commit makes the draft the agent's image, in the place of an earlier one: on
// return it will be there after a loss of power too. meta is JSON for the owner to
// find again, at most 64 KiB. An error discards the draft, and perhaps an earlier
// image. If the sandbox goes on after Commit, the image is void: Drop it first.
func (d *Draft) Commit(ctx context.Context, b Binding, meta json.RawMessage) (_ Manifest, err error) {
	if d.done {
		return Manifest{}, fmt.Errorf("commit image: %w", ErrUsed)
	}
	defer func() {
		if err != nil {
			err = withSpaceRemedy(fmt.Errorf("commit image: %w", errors.Join(err, d.Discard())))
		}
	}()
	m := Manifest{Version: 1, ID: randomName(), Created: d.s.opts.Now().UTC(), Binding: b, Sealed: d.seal}
	if m.Meta, err = validMeta(meta); err != nil {
		return m, err
	}
	agentKey, err := d.s.opts.Key()
	if err != nil {
		return m, fmt.Errorf("key of images: %w", err)
	}
	var imageKey []byte
	if d.seal {
		imageKey = randomBytes(keySize)
	}
	entries, err := os.ReadDir(d.plain)
	if err != nil {
		return m, err
	}
	if len(entries) > maxFiles {
		return m, fmt.Errorf("the driver wrote %d files, at most %d can be kept", len(entries), maxFiles)
	}
	for _, e := range entries {
		f, err := d.lay(ctx, e.Name(), imageKey)
		if err != nil {
			return m, err
		}
		m.Files = append(m.Files, f)
	}
	if err := atomicfile.SyncDir(filepath.Join(d.work, filesName)); err != nil {
		return m, err
	}
	if err := writeManifest(d.work, m, agentKey, imageKey); err != nil {
		return m, err
	}
	if err := d.s.replace(d.work); err != nil {
		return m, err
	}
	d.done = true
	if d.seal {
		if err := d.s.scratch.remove(d.plain); err != nil {
			d.s.opts.Log.Warn("cannot remove a plain draft", "dir", d.plain, "err", err)
		}
	}
	return m, nil
}

// lay makes one of the driver's files durable, sealed if need be, and describes
// it.
func (d *Draft) lay(ctx context.Context, name string, imageKey []byte) (File, error) {
	path := filepath.Join(d.plain, name)
	src, size, err := openRegular(path)
	if err != nil {
		return File{}, err
	}
	defer src.Close()
	if !d.seal {
		if err := src.Chmod(0o600); err != nil {
			return File{}, err
		}
		sum, err := sumFile(ctx, src, size)
		if err != nil {
			return File{}, err
		}
		return File{name, size, sum, size}, src.Sync()
	}
	e := encoding{sealed: true}
	f, err := packFile(ctx, e, imageKey, name, src, filepath.Join(d.work, filesName), func() {})
	if err == nil && f.Size != size {
		err = fmt.Errorf("%s changed while it was read", path)
	}
	return f, err
}

// packFile packs src durably into a new file in dir.
func packFile(ctx context.Context, e encoding, imageKey []byte, name string, src io.Reader,
	dir string, between func()) (File, error) {
	p, err := newPacking(e, imageKey, name)
	if err != nil {
		return File{}, err
	}
	dst, err := create(filepath.Join(dir, e.storedName(name)))
	if err != nil {
		return File{}, err
	}
	defer dst.Close()
	f, err := p.pack(ctx, dst, src, between)
	if err == nil {
		err = dst.Sync()
	}
	f.Name = name
	return f, err
}

// replace makes the directory work the image. After an error there is none.
func (s *Store) replace(work string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interruptCool(errors.New("there is a newer image"))
	gone, err := s.moveAway()
	if gone != "" {
		defer os.RemoveAll(gone) // or the next Open does
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = os.Rename(work, s.path(imageName))
	if err == nil {
		if err = atomicfile.SyncDir(s.dir); err != nil {
			err = errors.Join(err, os.RemoveAll(s.path(imageName)))
		}
	}
	return err
}
