package sandbox

import (
	"context"
	"errors"
)

// ErrImage: an image cannot be brought back to life: a file of it is missing,
// cut short or altered, it is of another spec, or a file that was open in a
// mount is gone. Trying again will not help.
var ErrImage = errors.New("sandbox image unusable")

// An Imager is a driver that can keep a sandbox as an image, a directory of
// files that holds the memory of everything inside, and bring it back to life
// from there. Its sandboxes are [Freezable].
//
// An image holds what the sandbox had in memory, the writable root included, and
// not the mounts. It must be restored at most once: two lives of one image would
// share their random numbers, and the mounts of the first have moved on when the
// second begins.
type Imager interface {
	Driver

	// ImageFormat names all that an image depends on beside the Spec and the
	// files in its mounts: the driver's version, the kind of processor and its
	// features, the host's programs and libraries. An image can be restored by
	// a driver of the same format only; two formats are compared for equality,
	// and the caller does that.
	ImageFormat() string

	// Restore starts a sandbox from the image in the directory dir, which it
	// only reads and does not need any more once it has returned: the files may
	// then be removed, but not written to, since memory may still be read from
	// them while the sandbox runs. PID 1 and all else inside goes on as if no
	// time had passed, except that clocks have jumped ahead and connections
	// over host sockets are lost.
	//
	// A file that is missing, or has another size than it was written with, is
	// always noticed. That the memory's content is what was written is for
	// whoever keeps the image to see to. A sandbox whose memory cannot be read
	// to its end is killed, which Wait tells.
	//
	// spec must be the one the image's sandbox was started with, except for ID,
	// Hostname, Log, the sources of Mounts, and Limits, of which Scratch stays
	// as it was. As with Start, an error leaves nothing behind, and the image as
	// it was.
	// Errors: as Start, and ErrImage.
	Restore(ctx context.Context, spec Spec, dir string) (Sandbox, error)
}

// A Freezable sandbox can be halted and written down.
type Freezable interface {
	Pausable

	// Checkpoint writes an image of a paused sandbox into dir, an empty
	// directory that nobody else may write to. It is not synced to the disk.
	// The sandbox stays paused, whether that works or not, and may then be
	// resumed, whereby the image becomes void, or destroyed. When it fails, dir
	// is left empty. Connections over host sockets are lost either way. When ctx
	// ends first, the writing may go on for a while in files that should be
	// removed, and what is done with the sandbox next, but for Destroy, waits
	// for its end.
	Checkpoint(ctx context.Context, dir string) error
}
