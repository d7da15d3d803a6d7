package image

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// world is an agent's store with all that a test says about it.
type world struct {
	*Store
	t    *testing.T
	dir  string
	opts Options
	now  time.Time
}

func key(b byte) func() ([]byte, error) {
	return func() ([]byte, error) { return bytes.Repeat([]byte{b}, keySize), nil }
}

// memory is a tmpfs for one test, or skips it.
func memory(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "image-test-*")
	if err != nil {
		t.Skip("no /dev/shm here")
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newWorld(t *testing.T, p Policy) *world {
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "image"), now: time.Date(2026, 3, 1, 7, 0, 0, 0, time.UTC)}
	w.opts = Options{Key: key(1), Encrypt: p, Memory: memory(t), Now: func() time.Time { return w.now },
		memoryRoom: func() int64 { return 1 << 40 }}
	w.reopen()
	return w
}

// reopen is what the next process does after a crash of this one.
func (w *world) reopen() {
	w.t.Helper()
	s, err := Open(w.dir, w.opts)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Store = s
}

func binding(generation uint64) Binding {
	return Binding{"main", generation, "2026.3.1", "runsc 1, x86-64-v4", "abc"}
}

// payload is like an image: a small file, an empty one, and a large one with text,
// zeros and noise that ends amid a chunk.
func payload(seed uint64) map[string][]byte {
	noise := make([]byte, 3*chunkSize+12345)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 32)}).Read(noise)
	pages := bytes.Repeat([]byte("the same words again and again, "), 3*chunkSize/32)
	pages = append(pages, make([]byte, 2*chunkSize)...)
	pages = append(pages, noise...) // over checkAtOnce
	return map[string][]byte{"checkpoint.img": []byte(fmt.Sprint("state ", seed)), "pages_meta.img": {}, "pages.img": pages}
}

// sleep lays an image down.
func (w *world) sleep(generation uint64) Manifest {
	w.t.Helper()
	d, err := w.Begin(20 << 20)
	if err != nil {
		w.t.Fatal(err)
	}
	for name, data := range payload(generation) {
		if err := os.WriteFile(filepath.Join(d.Dir(), name), data, 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	m, err := d.Commit(w.t.Context(), binding(generation), []byte(`{"cron": "<07:00> & \u2028"}`))
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// wake takes an image and makes sure that it holds what it should.
func (w *world) wake(generation uint64) *Taken {
	w.t.Helper()
	taken, err := w.Take(w.t.Context(), binding(generation))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := taken.Verify(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	checkPayload(w.t, taken.Dir(), generation)
	return taken
}

func checkPayload(t *testing.T, dir string, generation uint64) {
	t.Helper()
	for name, want := range payload(generation) {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: %d bytes, %v; want %d bytes", name, len(got), err, len(want))
		}
	}
}

// holds makes sure that the directory of the store holds just these names, and
// that nobody else can read anything in it.
func (w *world) holds(names ...string) {
	w.t.Helper()
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if fmt.Sprint(got) != fmt.Sprint(names) {
		w.t.Fatalf("the store holds %q, want %q", got, names)
	}
	for _, dir := range []string{w.dir, w.opts.Memory} {
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode()&fs.ModeSymlink == 0 && info.Mode().Perm()&0o077 != 0 {
				w.t.Errorf("%s has mode %v", path, info.Mode())
			}
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(w.opts.Memory, "*", "*", "*")); len(left) > 0 {
		w.t.Errorf("left in memory: %q", left)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// change flips a bit of a file.
func change(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 4
	if _, err := f.WriteAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
}
