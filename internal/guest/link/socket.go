package link

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/moltworker/moltworker/internal/unixsock"
)

// listenSocket makes the socket in dir, which it makes too if missing. Both are
// open to everybody: the guest may be any user.
func listenSocket(dir string) (net.Listener, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make link directory: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open link directory to the guest: %w", err)
	}
	return unixsock.Listen(filepath.Join(dir, SocketName), 0o666)
}

// maxSocketPath is the longest path that fits in a Unix socket's address.
const maxSocketPath = 107

// dialSocket connects to the socket at path. A short path is used as it is: that
// needs no /proc inside a sandbox.
func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	if len(path) > maxSocketPath {
		return unixsock.Dial(ctx, path)
	}
	return new(net.Dialer).DialContext(ctx, "unix", path)
}
