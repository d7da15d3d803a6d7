// Package unixsock listens on and dials Unix sockets whose path is longer than
// the 107 bytes that the kernel takes (sun_path, unix(7)): the directory is
// opened and the socket named through /proc/self/fd. It knows nothing of what is
// spoken over them.
package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Listen makes a socket at path with the given mode, in a directory that exists.
// A stale socket there is replaced: whoever calls this owns the path by other
// means. Closing the listener removes the socket.
func Listen(path string, mode os.FileMode) (net.Listener, error) {
	dir, err := openDir(path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		dir.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: via(dir, path), Net: "unix"})
	if err != nil {
		dir.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	own := &listener{Listener: l, path: path, dir: dir}
	if err := os.Chmod(path, mode); err != nil {
		own.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return own, nil
}

// Dial connects to the socket at path.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	dir, err := openDir(path)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	defer dir.Close()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", via(dir, path))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	return conn, nil
}

func openDir(path string) (*os.File, error) {
	return os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

func via(dir *os.File, path string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
}

// listener removes its socket and lets go of the directory when closed.
type listener struct {
	net.Listener
	path string
	dir  *os.File
	once sync.Once
}

func (l *listener) Close() error {
	// The name goes first: once the listener is closed, another may take it.
	var err error
	l.once.Do(func() { err = ignoreMissing(os.Remove(l.path)) })
	if closing := l.Listener.Close(); closing != nil {
		return closing
	}
	return errors.Join(err, l.dir.Close())
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
