package watch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// errInstances: the system gives out no more inotify instances.
var errInstances = errors.New("no inotify instance")

const (
	// changeMask is what counts as a change. Opening, reading and closing what was
	// only read do not: a backup does that. What is written to an unlinked file is
	// nobody's state.
	changeMask = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO |
		unix.IN_CLOSE_WRITE | unix.IN_ONLYDIR | unix.IN_EXCL_UNLINK
	rootMask   = changeMask | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	parentMask = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ONLYDIR

	batchBytes = 64 << 10
)

// inotify is one inotify instance. All methods are for one goroutine.
type inotify struct {
	fd      int
	file    *os.File
	batches chan []byte // closed when no more events come
	closed  chan struct{}
}

func openInotify() (*inotify, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if errors.Is(err, unix.EMFILE) {
		return nil, fmt.Errorf("%w: %w", errInstances, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open inotify: %w", err)
	}
	return &inotify{
		fd:      fd,
		file:    os.NewFile(uintptr(fd), "inotify"),
		batches: make(chan []byte),
		closed:  make(chan struct{}),
	}, nil
}

// start begins to put events into batches.
func (in *inotify) start() { go in.read() }

func (in *inotify) read() {
	defer close(in.batches)
	buf := make([]byte, batchBytes)
	for {
		n, err := in.file.Read(buf)
		if err != nil {
			return
		}
		select {
		case in.batches <- slices.Clone(buf[:n]):
		case <-in.closed:
			return
		}
	}
}

func (in *inotify) close() {
	close(in.closed)
	in.file.Close() // nothing was written
}

// add watches the directory that is open as dir, whatever its name is by now. One
// that is watched already keeps its number.
func (in *inotify) add(dir int, mask uint32) (int32, error) {
	wd, err := unix.InotifyAddWatch(in.fd, "/proc/self/fd/"+strconv.Itoa(dir), mask)
	if err != nil {
		return 0, fmt.Errorf("watch a directory: %w", err)
	}
	return int32(wd), nil
}

// remove ends a watch. Its number is not given out again before all others were.
func (in *inotify) remove(wd int32) {
	_, _ = unix.InotifyRmWatch(in.fd, uint32(wd)) // fails when the directory is gone, and the watch with it
}

// event is one inotify event.
type event struct {
	wd   int32
	mask uint32
	name string // in the directory; "" is the directory itself
}

// events parses what the kernel wrote. It stops at anything that is cut off.
func events(batch []byte) iter.Seq[event] {
	return func(yield func(event) bool) {
		for len(batch) >= unix.SizeofInotifyEvent {
			size := uint64(binary.NativeEndian.Uint32(batch[12:]))
			if size > uint64(len(batch)-unix.SizeofInotifyEvent) {
				return
			}
			name, _, _ := bytes.Cut(batch[unix.SizeofInotifyEvent:][:size], []byte{0})
			ev := event{
				wd:   int32(binary.NativeEndian.Uint32(batch)),
				mask: binary.NativeEndian.Uint32(batch[4:]),
				name: string(name),
			}
			if !yield(ev) {
				return
			}
			batch = batch[unix.SizeofInotifyEvent+size:]
		}
	}
}
