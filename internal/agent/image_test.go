package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// Whatever is wrong with an image, the agent boots, keeps its home, says why, and
// can sleep again.
func TestABadImageIsSetAsideAndTheAgentBoots(t *testing.T) {
	for name, spoil := range map[string]func(files string) error{
		"a page altered": func(files string) error { return alter(filepath.Join(files, "pages.img"), 1<<20) },
		"cut short":      func(files string) error { return os.Truncate(filepath.Join(files, "pages.img"), 1<<20) },
		"no memory":      func(files string) error { return os.Remove(filepath.Join(files, "pages.img")) },
		"no state":       func(files string) error { return os.Remove(filepath.Join(files, "checkpoint.img")) },
		"no manifest":    func(files string) error { return os.Remove(filepath.Join(files, "../manifest.json")) },
		"another's": func(files string) error {
			return alter(filepath.Join(files, "../manifest.json"), 40)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, d := newSleepyWorld(t)
			a, _ := w.run()
			awake(t, a)
			sh(t, a, "echo mine > $HOME/kept")
			lull(t, a)
			if err := spoil(filepath.Join(w.opts.Dir, "images/image/files")); err != nil {
				t.Fatal(err)
			}
			rouse(t, a)
			if s := a.Status(); d.started() != 2 || !strings.Contains(s.Note, "its image was of no use") {
				t.Errorf("%d starts; it says %q", d.started(), s.Note)
			}
			if got := sh(t, a, "cat $HOME/kept"); got != "mine" {
				t.Errorf("the home has %q", got)
			}
			lull(t, a)
			rouse(t, a)
			if d.started() != 2 {
				t.Error("the image made after a bad one was not used")
			}
		})
	}
}

func alter(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 0x55
	_, err = f.WriteAt(b, at)
	return err
}

// An image that was used comes back, as after a loss of power that undid its
// renaming: it is of an older generation of the home.
func TestAnImageThatComesBackIsNotUsedAgain(t *testing.T) {
	w, d := newSleepyWorld(t)
	a, stop := w.run()
	awake(t, a)
	newTally(t, a).next()
	lull(t, a)
	images := filepath.Join(w.opts.Dir, "images")
	if err := os.CopyFS(filepath.Join(w.opts.Dir, "kept"), os.DirFS(images)); err != nil {
		t.Fatal(err)
	}
	newTally(t, a).next()
	stop()
	err := errors.Join(os.RemoveAll(images), os.Rename(filepath.Join(w.opts.Dir, "kept"), images),
		filepath.WalkDir(images, func(path string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				err = os.Chmod(path, 0o700)
			} else if err == nil {
				err = os.Chmod(path, 0o600)
			}
			return err
		}))
	if err := errors.Join(err, want(a, true)); err != nil {
		t.Fatal(err)
	}
	w.opts.Images = w.images(w.opts.Dir)
	b, _ := w.run()
	asleep(t, b)
	if _, err := b.images.Peek(); err != nil {
		t.Fatalf("the image is not back: %v", err)
	}
	if got := newTally(t, b).next(); got != "1" || d.restored() != 1 {
		t.Errorf("counted %s after %d restores: an old image was brought to life", got, d.restored())
	}
	if note := b.Status().Note; !strings.Contains(note, "generation") {
		t.Errorf("it says %q", note)
	}
	livedOnce(t, b)
}

func TestAnotherRuntimeMakesItBoot(t *testing.T) {
	w, d := newSleepyWorld(t)
	a, stop := w.run()
	awake(t, a)
	lull(t, a)
	stop()
	w.opts.Images = w.images(w.opts.Dir)
	w.opts.TimeZone = "Asia/Tokyo" // what the sandbox is started with has changed
	b, _ := w.run()
	asleep(t, b)
	rouse(t, b)
	if d.started() != 2 || !strings.Contains(b.Status().Note, "set up differently") {
		t.Errorf("%d starts; it says %q", d.started(), b.Status().Note)
	}
}

func TestADriverWithoutImagesBoots(t *testing.T) {
	w, _ := newWorld(t)
	a, _ := w.run()
	awake(t, a)
	s := lull(t, a)
	if s.Image != nil || !strings.Contains(s.Note, "makes no images") {
		t.Errorf("asleep as %+v", s)
	}
	w.gone()
	rouse(t, a)
	if w.driver.started() != 2 {
		t.Errorf("%d starts", w.driver.started())
	}
}

func TestASleeperOutlivesItsHost(t *testing.T) {
	w, d := newSleepyWorld(t)
	a, leave := w.abandon()
	awake(t, a)
	newTally(t, a).next()
	lull(t, a)
	leave()
	w.opts.Images = w.images(w.opts.Dir)
	b, _ := w.run()
	if s := asleep(t, b); s.Image == nil {
		t.Errorf("asleep without its image: %+v", s)
	}
	if got := newTally(t, b).next(); got != "2" || d.restored() != 1 || d.started() != 1 {
		t.Errorf("counted %s after %d starts and %d restores", got, d.started(), d.restored())
	}
	livedOnce(t, b)
}

// A host that dies on the way to sleep leaves a paused sandbox, a note that the
// agent is to sleep, and maybe an image.
func TestAHostThatDiesWhileItPutsTheAgentToSleep(t *testing.T) {
	for name, tc := range map[string]struct {
		until string // the last step that was taken
		want  State
		life  string // the number counted next
	}{
		"promised":    {"promised", StateAwake, "2"}, // it may not be left so
		"noted":       {"noted", StateAsleep, "2"},   // it was told to sleep, so it does
		"paused":      {"paused", StateAsleep, "2"},
		"drawn":       {"drawn", StateAsleep, "2"},
		"roused":      {"roused", StateAwake, "2"}, // somebody came just then
		"destroyed":   {"destroyed", StateAsleep, "2"},
		"taken":       {"taken", StateAwake, "1"}, // the image is spent: it boots
		"unannounced": {"unannounced", StateAwake, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := newSleepyWorld(t)
			a, leave := w.abandon()
			awake(t, a)
			newTally(t, a).next()
			rt, _ := w.opts.Runtime(t.Context(), nil)
			dieWhile(t, w, a, boot{runtime: rt}, tc.until, leave)
			w.opts.Images = w.images(w.opts.Dir)
			b, _ := w.run()
			await(t, b, string(tc.want), in(tc.want))
			if got := newTally(t, b).next(); got != tc.life {
				t.Errorf("counted %s, want %s", got, tc.life)
			}
			livedOnce(t, b)
			err := b.Gateway(soon(t), func(c *gateway.Client) error { return c.Health(soon(t)) })
			if err != nil {
				t.Errorf("its gateway refuses work: %v", err)
			}
		})
	}
}

// want notes what is wanted of an agent.
func want(a *Agent, asleep bool) error {
	return a.ledger.write(func(p *page) { p.Asleep = asleep })
}

// dieWhile takes the steps of a sleep, and of a wake, up to the one named. The
// keeper leaves before it can interfere.
func dieWhile(t *testing.T, w *world, a *Agent, b boot, until string, leave func()) {
	t.Helper()
	defer leave()
	sb, err := w.opts.Driver.Open(t.Context(), w.opts.ID)
	if err != nil {
		t.Fatal(err)
	}
	frozen := sb.(sandbox.Freezable)
	for _, step := range []struct {
		name string
		take func() error
	}{
		{"promised", func() error {
			_, err := a.quiet(t.Context(), "promise")
			if err == nil {
				a.calm.close()
			}
			return errors.Join(err, a.ledger.write(func(p *page) { p.Promise = "promise" }))
		}},
		{"noted", func() error { return want(a, true) }},
		{"paused", func() error { leave(); return frozen.Pause(t.Context()) }},
		{"drawn", func() error { return a.draw(t.Context(), frozen, a.binding(b.runtime)) }},
		{"roused", func() error { return want(a, false) }},
		{"destroyed", func() error {
			return errors.Join(want(a, true), sb.Destroy(t.Context()))
		}},
		{"taken", func() error {
			_, err := a.images.Take(t.Context(), a.binding(b.runtime))
			return errors.Join(want(a, false), err)
		}},
		{"unannounced", func() error { return a.ledger.advance() }},
	} {
		if err := step.take(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if step.name == until {
			return
		}
	}
}
