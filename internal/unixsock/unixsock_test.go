package unixsock_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/unixsock"
)

func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s.sock")
	for range 2 { // the second time a socket is in the way
		l, err := unixsock.Listen(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := l.Accept()
			if err == nil {
				io.WriteString(conn, "hello")
				conn.Close()
			}
		}()
		conn, err := unixsock.Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || string(got) != "hello" {
			t.Fatalf("read %q, %v", got, err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("socket mode %v, %v", info.Mode(), err)
		}
		conn.Close()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("socket left behind: %v", err)
		}
	}
}

func TestDialNobody(t *testing.T) {
	if _, err := unixsock.Dial(t.Context(), filepath.Join(t.TempDir(), "none.sock")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want ErrNotExist", err)
	}
}
