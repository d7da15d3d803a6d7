package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/remedy"
)

// classify turns what the file system says into the errors of the contract.
func (s *Store) classify(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		if gone := s.gone(); gone != nil {
			return gone
		}
	}
	return classify(err, s.path)
}

// gone returns an error when the store's directory is no longer the one at its
// path: deleted, or no longer mounted. Its objects are then not missing.
func (s *Store) gone() error {
	opened, err := s.root.Stat(".")
	if err == nil {
		var there fs.FileInfo
		if there, err = os.Stat(s.path); err == nil && os.SameFile(opened, there) {
			return nil
		}
	}
	return remedy.With(fmt.Errorf("%w: the directory %s is gone, or is another one now", blob.ErrUnavailable, s.path),
		"mount it again, or start moltworker anew if it was replaced on purpose")
}

func classify(err error, dir string) error {
	switch {
	case err == nil:
		return nil
	case is(err, blob.ErrNotFound, blob.ErrExists, blob.ErrDenied, blob.ErrUnavailable, blob.ErrName, blob.ErrTooLarge,
		context.Canceled, context.DeadlineExceeded):
		return err
	case is(err, syscall.ENOSPC, syscall.EDQUOT):
		return remedy.With(fmt.Errorf("%w: no space left: %w", blob.ErrUnavailable, err),
			"free space where "+dir+" is, or keep fewer versions")
	case is(err, syscall.EROFS):
		return remedy.With(fmt.Errorf("%w: %w", blob.ErrDenied, err), "mount "+dir+" so that it can be written to")
	case is(err, fs.ErrNotExist, syscall.ENOTDIR):
		return blob.ErrNotFound
	case is(err, fs.ErrPermission):
		return remedy.With(fmt.Errorf("%w: %w", blob.ErrDenied, err), "give moltworker's user the right to read and write "+dir)
	case is(err, syscall.EMFILE, syscall.ENFILE):
		return remedy.With(fmt.Errorf("%w: %w", blob.ErrUnavailable, err), "raise the limit of open files")
	case is(err, syscall.EIO, syscall.ESTALE, syscall.ENXIO, syscall.ETIMEDOUT, syscall.EBUSY, syscall.ENOTCONN):
		return remedy.With(fmt.Errorf("%w: %w", blob.ErrUnavailable, err), "look at the disk or the share that "+dir+" is on")
	}
	return remedy.With(fmt.Errorf("%w: %w", blob.ErrDenied, err), "look at what is in "+dir+"; only moltworker may write there")
}

func is(err error, any ...error) bool {
	for _, target := range any {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
