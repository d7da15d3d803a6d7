package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// A start that is called off at any moment leaves nothing; one that was too
// quick to be called off is a good sandbox.
func testCancelled(t *testing.T, b *bench) {
	for _, after := range []time.Duration{0, 5, 20, 40, 80, 120} {
		ctx, cancel := context.WithTimeout(b.ctx(), after*time.Millisecond)
		s, err := b.driver.Start(ctx, b.probeSpec("sleep", nil))
		cancel()
		if err == nil {
			if err := s.Destroy(b.ctx()); err != nil {
				t.Errorf("Destroy: %v", err)
			}
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("called off after %d ms: %v, want DeadlineExceeded", after, err)
		}
		if left := b.remains(); len(left) > 0 {
			t.Fatalf("called off after %d ms, left on the host:\n%s", after, strings.Join(left, "\n"))
		}
	}
}

// Many start at once, each is its own.
func testTogether(t *testing.T, b *bench) {
	const n = 3
	var all sync.WaitGroup
	ids := make([]string, n)
	for i := range n {
		ids[i] = fmt.Sprintf("%s-%d", b.id, i)
		all.Go(func() {
			spec := b.probeSpec("sleep", nil)
			spec.ID = ids[i]
			s, err := b.driver.Start(b.ctx(), spec)
			if err != nil {
				t.Errorf("Start %s: %v", ids[i], err)
				return
			}
			t.Cleanup(func() { s.Destroy(context.Background()) })
			// Two about one ID take turns: one starts, the other is told.
			if _, err := b.driver.Start(b.ctx(), spec); !errors.Is(err, sandbox.ErrExists) {
				t.Errorf("second Start of %s = %v, want ErrExists", ids[i], err)
			}
		})
	}
	all.Wait()
	if got, err := b.driver.List(b.ctx()); err != nil || !slices.Equal(got, ids) {
		t.Errorf("List = %v, %v; want %v", got, err, ids)
	}
	for _, id := range ids {
		s, err := b.driver.Open(b.ctx(), id)
		if err != nil {
			t.Errorf("Open %s: %v", id, err)
			continue
		}
		if err := s.Destroy(b.ctx()); err != nil {
			t.Errorf("Destroy %s: %v", id, err)
		}
	}
}

// State that a crash of the machine left, whole or spoilt, is cleaned away and
// stands in nobody's way.
func testStale(t *testing.T, b *bench) {
	s := b.start(b.probeSpec("sleep", nil))
	b.logged("up")
	whole := filepath.Join(b.out, "copy")
	if err := os.CopyFS(whole, regular{os.DirFS(b.root)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Destroy(b.ctx()); err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []string{"", "garbage", "{}", "null"} {
		if err := os.CopyFS(b.root, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		if spoil != "" {
			overwrite(t, b.root, spoil)
		}
		other, err := b.open(b.root)
		if err != nil {
			t.Fatal(err)
		}
		if ids, err := other.List(b.ctx()); err != nil || len(ids) != 0 {
			t.Errorf("spoilt with %q: List = %v, %v; want none", spoil, ids, err)
		}
		if _, err := other.Open(b.ctx(), b.id); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("spoilt with %q: Open = %v, want ErrNotFound", spoil, err)
		}
		if left := b.remains(); len(left) > 0 {
			t.Errorf("spoilt with %q, left:\n%s", spoil, strings.Join(left, "\n"))
		}
	}
	if e := b.wait(b.start(b.spec("/bin/sh", "-c", "exit 0"))); e != (sandbox.Exit{Known: true}) {
		t.Errorf("start after that: %v", e)
	}
}

// overwrite replaces the content of every file that a driver keeps.
func overwrite(t *testing.T, root, content string) {
	t.Helper()
	filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && !strings.Contains(name, "/rootfs/") {
			err = os.WriteFile(name, []byte(content), 0o600)
		}
		if err != nil {
			t.Error(err)
		}
		return nil
	})
}

// regular is a file system without sockets and links.
type regular struct{ fs.FS }

func (r regular) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(r.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !e.IsDir() && !e.Type().IsRegular() }), err
}
