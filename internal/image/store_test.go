package image

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/remedy"
)

var policies = []Policy{Auto, Always, Never}

func TestAnAgentSleepsAndWakes(t *testing.T) {
	for _, p := range policies {
		for _, cold := range []bool{false, true} {
			t.Run(p.String()+map[bool]string{false: " raw", true: " cold"}[cold], func(t *testing.T) {
				w := newWorld(t, p)
				_, err := w.Peek()
				wantErr(t, err, ErrNone)
				w.sleep(7)
				w.holds("image")
				if cold {
					if err := w.Cool(t.Context()); err != nil {
						t.Fatal(err)
					}
					if err := w.Cool(t.Context()); err != nil { // nothing to do
						t.Fatal(err)
					}
					w.holds("image")
				}
				w.reopen()
				m, err := w.Peek()
				if err != nil || m.Binding != binding(7) || m.Compressed != cold || !m.Created.Equal(w.now) ||
					m.Sealed != (p == Always || p == Auto && cold) || !bytes.Contains(m.Meta, []byte("cron")) {
					t.Fatalf("%+v, %v", m, err)
				}
				checkOnDisk(t, w, m)
				taken := w.wake(7)
				_, err = w.Take(t.Context(), binding(7))
				wantErr(t, err, ErrNone)
				if err := taken.Done(); err != nil {
					t.Fatal(err)
				}
				wantErr(t, taken.Verify(t.Context()), ErrUsed)
				w.holds()
			})
		}
	}
}

// checkOnDisk makes sure that words of the payload can be found on disk just when
// the image is not sealed, and that packing helps.
func checkOnDisk(t *testing.T, w *world, m Manifest) {
	t.Helper()
	var all int64
	for _, f := range m.Files {
		data, err := os.ReadFile(filepath.Join(w.dir, imageName, filesName, m.encoding().storedName(f.Name)))
		if err != nil {
			t.Fatal(err)
		}
		all += int64(len(data))
		if f.Name == "pages.img" && bytes.Contains(data, []byte("the same words")) == m.Sealed {
			t.Errorf("sealed %v, and the words can be found or not", m.Sealed)
		}
	}
	if m.Compressed && all > m.Size()*3/4 {
		t.Errorf("compressed %d bytes to %d", m.Size(), all)
	}
	u, err := w.Size()
	if err != nil || u.Image < all || u.Bad != 0 || u.Total() < u.Image {
		t.Errorf("usage %+v, %v; files have %d bytes", u, err, all)
	}
}

func TestAnImageThatDoesNotFitStays(t *testing.T) {
	w := newWorld(t, Auto)
	w.sleep(7)
	for what, change := range map[string]func(*Binding){
		"agent":      func(b *Binding) { b.Agent = "other" },
		"generation": func(b *Binding) { b.Generation++ },
		"runtime":    func(b *Binding) { b.Runtime = "2026.4.1" },
		"driver":     func(b *Binding) { b.Format = "runsc 2" },
		"set up":     func(b *Binding) { b.Spec = "def" },
	} {
		b := binding(7)
		change(&b)
		_, err := w.Take(t.Context(), b)
		if !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.wake(7).Done()
}

func TestANewImageReplacesTheOld(t *testing.T) {
	w := newWorld(t, Auto)
	w.sleep(7)
	w.sleep(8)
	w.holds("image")
	_, err := w.Take(t.Context(), binding(7))
	wantErr(t, err, ErrMismatch)
	if err := w.Drop(); err != nil {
		t.Fatal(err)
	}
	w.holds()
	if err := w.Drop(); err != nil {
		t.Fatal(err)
	}
}

func TestDraftsThatCannotBe(t *testing.T) {
	for _, p := range policies {
		w := newWorld(t, p)
		w.sleep(7)
		for what, lay := range map[string]func(dir string) error{
			"nothing":       func(string) error { return nil },
			"a link":        func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "pages.img")) },
			"a pipe":        func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "pages.img"), 0o600) },
			"a directory":   func(dir string) error { return os.Mkdir(filepath.Join(dir, "pages.img"), 0o700) },
			"a strange one": func(dir string) error { return os.WriteFile(filepath.Join(dir, "\n"), nil, 0o600) },
			"two of a name": func(dir string) error {
				return errors.Join(os.WriteFile(filepath.Join(dir, "a"), nil, 0o600), os.WriteFile(filepath.Join(dir, "a.packed"), nil, 0o600))
			},
		} {
			d, err := w.Begin(0)
			if err != nil {
				t.Fatal(err)
			}
			if err := lay(d.Dir()); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Commit(t.Context(), binding(8), nil); err == nil {
				t.Errorf("%s became an image", what)
			}
			_, err = d.Commit(t.Context(), binding(8), nil)
			wantErr(t, err, ErrUsed)
			w.holds("image")
		}
		d, err := w.Begin(0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Discard(), d.Discard()); err != nil {
			t.Fatal(err)
		}
		w.wake(7).Done()
		w.holds()
	}
}

func TestFullDisk(t *testing.T) {
	w := newWorld(t, Auto)
	_, err := w.Begin(1 << 60)
	if !errors.Is(err, syscall.ENOSPC) || remedy.Of(err) == "" {
		t.Fatal(err)
	}
	w.holds()
}

func TestAlwaysSealedNeedsMemory(t *testing.T) {
	w := newWorld(t, Always)
	w.sleep(7)
	w.opts.memoryRoom = func() int64 { return 1 << 20 }
	w.reopen()
	_, err := w.Begin(20 << 20)
	if err == nil || remedy.Of(err) == "" {
		t.Fatal(err)
	}
	_, err = w.Take(t.Context(), binding(7))
	if err == nil || remedy.Of(err) == "" {
		t.Fatal(err)
	}
	w.holds("image")

	// With the other policies the disk will do.
	w.opts.Encrypt = Auto
	w.reopen()
	taken := w.wake(7)
	if !strings.HasPrefix(taken.Dir(), w.dir) {
		t.Errorf("written out to %s", taken.Dir())
	}
	if err := taken.Quarantine("it did not start"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(w.dir, badName, "plain")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("plain files stay: %v", err)
	}
	w.holds("bad")
}

func TestSomebodyElsesDirectoryInMemory(t *testing.T) {
	w := newWorld(t, Always)
	w.sleep(7)
	victim := t.TempDir()
	if err := os.WriteFile(filepath.Join(victim, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.RemoveAll(w.scratch.base), os.Symlink(victim, w.scratch.base)); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	if _, err := w.Take(t.Context(), binding(7)); err == nil || remedy.Of(err) == "" {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(victim); len(entries) != 1 {
		t.Errorf("the other directory holds %v", entries)
	}
	if err := os.Remove(w.scratch.base); err != nil {
		t.Fatal(err)
	}
	w.wake(7).Done()
}

func TestAnInterruptedTakeLeavesTheImage(t *testing.T) {
	for _, p := range policies {
		w := newWorld(t, p)
		w.sleep(7)
		if err := w.Cool(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := w.Take(ctx, binding(7))
		wantErr(t, err, context.Canceled)
		w.holds("image")
		w.wake(7).Done()
	}
}

func TestOneBadImageIsKept(t *testing.T) {
	w := newWorld(t, Auto)
	for _, reason := range []string{"first", "second"} {
		w.sleep(7)
		if err := w.wake(7).Quarantine(reason); err != nil {
			t.Fatal(err)
		}
	}
	w.sleep(8)
	w.reopen()
	w.holds("bad", "image")
	note, err := os.ReadFile(filepath.Join(w.dir, badName, reasonName))
	if err != nil || string(note) != "2026-03-01T07:00:00Z second\n" {
		t.Fatalf("%q, %v", note, err)
	}
	if u, err := w.Size(); err != nil || u.Bad == 0 || u.Image == 0 {
		t.Fatalf("%+v, %v", u, err)
	}
	if err := w.DropBad(); err != nil {
		t.Fatal(err)
	}
	w.holds("image")
}

func TestDamageIsFound(t *testing.T) {
	for _, p := range policies {
		for _, cold := range []bool{false, true} {
			for _, file := range []string{"checkpoint.img", "pages.img"} {
				w := newWorld(t, p)
				m := w.sleep(7)
				if cold {
					if err := w.Cool(t.Context()); err != nil {
						t.Fatal(err)
					}
					m, _ = w.Peek()
				}
				path := filepath.Join(w.dir, imageName, filesName, m.encoding().storedName(file))
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				change(t, path, info.Size()-3)
				taken, err := w.Take(t.Context(), binding(7))
				if err == nil {
					if !m.encoding().plain() || file != "pages.img" {
						t.Errorf("%v: damage of %s not found at once", m.encoding(), file)
					}
					err = taken.Verify(t.Context())
					wantErr(t, taken.Quarantine("damaged"), nil)
				}
				wantErr(t, err, ErrCorrupt)
				w.holds("bad")
			}
		}
	}
}

func TestDamageIsFoundWhenCompressing(t *testing.T) {
	for _, p := range policies {
		w := newWorld(t, p)
		m := w.sleep(7)
		change(t, filepath.Join(w.dir, imageName, filesName, m.encoding().storedName("pages.img")), 5<<20)
		wantErr(t, w.Cool(t.Context()), ErrCorrupt)
		w.holds("bad")
	}
}

func TestAnotherKeyOrManifest(t *testing.T) {
	w := newWorld(t, Auto)
	w.sleep(7)
	w.opts.Key = key(2)
	w.reopen()
	_, err := w.Take(t.Context(), binding(7))
	wantErr(t, err, ErrCorrupt)
	w.holds("bad")

	m := w.sleep(7)
	path := filepath.Join(w.dir, imageName, manifestName)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.Replace(data, []byte(`"generation":7`), []byte(`"generation":8`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if now, err := w.Peek(); err != nil || now.Binding.Generation != 8 || now.ID != m.ID {
		t.Fatal(now, err)
	}
	_, err = w.Take(t.Context(), binding(8))
	wantErr(t, err, ErrCorrupt)
	w.holds("bad")

	w.sleep(9)
	locked := errors.New("locked")
	w.opts.Key = func() ([]byte, error) { return nil, locked }
	w.reopen()
	_, err = w.Take(t.Context(), binding(9))
	wantErr(t, err, locked)
	wantErr(t, w.Cool(t.Context()), locked)
	w.holds("bad", "image")
}

func TestAPoolGivesAnImageAway(t *testing.T) {
	for _, p := range policies {
		pool, agent := newWorld(t, p), newWorld(t, p)
		agent.opts.Key = key(9)
		agent.reopen()
		pool.sleep(1)
		if p == Auto {
			if err := pool.Cool(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		to := binding(1)
		to.Agent = "new"
		wantErr(t, pool.Rebind(binding(2), agent.Store, to), ErrMismatch)
		if err := pool.Rebind(binding(1), agent.Store, to); err != nil {
			t.Fatal(err)
		}
		pool.holds()
		wantErr(t, pool.Rebind(binding(1), agent.Store, to), ErrNone)
		pool.sleep(2)
		wantErr(t, pool.Rebind(binding(2), agent.Store, to), fs.ErrExist)
		pool.holds("image")
		agent.holds("image")
		taken, err := agent.Take(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		wantErr(t, taken.Verify(t.Context()), nil)
		checkPayload(t, taken.Dir(), 1)
		wantErr(t, taken.Done(), nil)
		agent.holds()

		// In place, too.
		if err := pool.Rebind(binding(2), pool.Store, binding(2)); err != nil {
			t.Fatal(err)
		}
		pool.wake(2).Done()
	}
}

// What was written a while ago, or before the host booted, is read again; what is
// young is trusted.
func TestYoungImagesAreTrusted(t *testing.T) {
	for name, tc := range map[string]struct {
		after, age time.Duration
		want       error
	}{
		"young":            {time.Hour, time.Minute, nil},
		"old":              {time.Hour, 2 * time.Hour, ErrCorrupt},
		"before the boot":  {1e6 * time.Hour, 2e5 * time.Hour, ErrCorrupt},
		"of the future":    {time.Hour, -time.Minute, ErrCorrupt},
		"nothing is young": {0, 0, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Auto)
			w.opts.VerifyAfter = tc.after
			w.reopen()
			w.sleep(7)
			change(t, filepath.Join(w.dir, imageName, filesName, "pages.img"), 5<<20)
			w.now = w.now.Add(tc.age)
			taken, err := w.Take(t.Context(), binding(7))
			if err != nil {
				t.Fatal(err)
			}
			wantErr(t, taken.Verify(t.Context()), tc.want)
			wantErr(t, taken.Done(), nil)
		})
	}
}
