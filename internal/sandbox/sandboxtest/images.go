package sandboxtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// imager is the test's driver, if it keeps images.
func (b *bench) imager() sandbox.Imager {
	b.t.Helper()
	d, ok := b.driver.(sandbox.Imager)
	if !ok {
		if _, ok := b.start(b.probeSpec("sleep", nil)).(sandbox.Freezable); ok {
			b.t.Errorf("the %s driver keeps no images, but its sandboxes can be frozen", b.driver.Name())
		}
		b.t.Skipf("the %s driver keeps no images", b.driver.Name())
	}
	if first, second := d.ImageFormat(), d.ImageFormat(); first == "" || first != second {
		b.t.Errorf("ImageFormat = %q, then %q", first, second)
	}
	return d
}

// counted are the numbers that the probe has written to its home.
func counted(t *testing.T, home string) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(home, "count"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Fields(string(content))
}

// consecutive fails when a number was left out or came twice.
func consecutive(t *testing.T, home string) {
	t.Helper()
	for i, n := range counted(t, home) {
		if n != fmt.Sprint(i+1) {
			t.Fatalf("the %d. number counted is %s", i+1, n)
		}
	}
}

// counts waits until the probe counts.
func (b *bench) counts(home string) {
	b.t.Helper()
	before := len(counted(b.t, home))
	b.until("the count to go on", func() bool { return len(counted(b.t, home)) > before })
}

// frozen is a sandbox that was started, counts and is paused.
func (b *bench) frozen(spec sandbox.Spec) sandbox.Freezable {
	b.t.Helper()
	s := b.start(spec).(sandbox.Freezable)
	b.counts(b.home)
	if err := s.Pause(b.ctx()); err != nil {
		b.t.Fatalf("Pause: %v", err)
	}
	return s
}

// asleep puts a frozen sandbox into an image in a new directory.
func (b *bench) asleep(s sandbox.Freezable) (dir string) {
	b.t.Helper()
	dir, err := os.MkdirTemp(b.out, "image")
	if err != nil {
		b.t.Fatal(err)
	}
	if err := s.Checkpoint(b.ctx(), dir); err != nil {
		b.t.Fatalf("Checkpoint: %v", err)
	}
	if err := s.Destroy(b.ctx()); err != nil {
		b.t.Fatalf("Destroy after Checkpoint: %v", err)
	}
	return dir
}

// The process that paused a sandbox is killed; the sandbox stays paused, is
// found, and runs on when it is resumed.
func testPause(t *testing.T, b *bench) {
	b.imager()
	arg, err := json.Marshal(order{Root: b.root, Spec: b.probeSpec("live", routine{}), Pause: filepath.Join(b.home, "count")})
	if err != nil {
		t.Fatal(err)
	}
	starter, line := b.elsewhere(startArg, string(arg))
	if line != "started" {
		t.Fatalf("start and pause in another process: %s", line)
	}
	before := counted(t, b.home)
	starter.Process.Kill()
	starter.Wait()
	found, err := b.driver.Open(b.ctx(), b.id)
	if err != nil {
		t.Fatalf("Open after the pausing process's death: %v", err)
	}
	s := found.(sandbox.Freezable)
	if _, err := s.Usage(b.ctx()); err != nil {
		t.Errorf("Usage while paused: %v", err)
	}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("Pause of a paused sandbox", s.Pause(b.ctx()))
	if after := counted(t, b.home); !slices.Equal(before, after) {
		t.Errorf("the paused sandbox counted from %d to %d", len(before), len(after))
	}
	for range 2 {
		must("Resume", s.Resume(b.ctx()))
		b.counts(b.home)
	}
	must("Pause", s.Pause(b.ctx()))
	must("Signal while paused", s.Signal(b.ctx(), syscall.SIGTERM))
	must("Resume", s.Resume(b.ctx()))
	if e := b.wait(s); e != (sandbox.Exit{Known: true, Code: 7}) {
		t.Errorf("Wait = %v, want exit code 7", e)
	}
	consecutive(t, b.home)
	for what, change := range map[string]func(context.Context) error{"Pause": s.Pause, "Resume": s.Resume} {
		if err := change(b.ctx()); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("%s after the end = %v, want ErrNotFound", what, err)
		}
	}
	must("Destroy", s.Destroy(b.ctx()))
	paused := b.frozen(b.probeSpec("live", routine{}))
	must("Destroy of a paused sandbox", paused.Destroy(b.ctx()))
}

// Two nights: a sandbox is put into an image and comes back under another name,
// with its home, its sockets and its log elsewhere, and then once more. Inside
// nothing is lost but connections.
func testSleep(t *testing.T, b *bench) {
	d := b.imager()
	var heard, log, home string
	var spec sandbox.Spec
	connections := make(chan net.Conn, 8)
	// Where things are in the nth life.
	place := func(n int) {
		heard, log = filepath.Join(b.out, fmt.Sprint("sockets", n)), filepath.Join(b.out, fmt.Sprint("log", n))
		next := filepath.Join(b.out, fmt.Sprint("home", n))
		old := home
		if n == 0 {
			old = b.home
		}
		if err := errors.Join(os.Rename(old, next), os.Mkdir(heard, 0o755)); err != nil {
			t.Fatal(err)
		}
		home = next
		listen(t, filepath.Join(heard, "s"), connections)
		spec = b.probeSpec("live", routine{Ballast: 48, Unix: "/run/mw/s"})
		spec.ID, spec.Log = fmt.Sprintf("%s-%d", b.id, n), log
		spec.Mounts[0].Source = home
		spec.Mounts = append(spec.Mounts, sandbox.Mount{Source: heard, Destination: "/run/mw", ReadOnly: true})
	}
	place(0)
	s := b.start(spec)
	b.counts(home)
	b.connected(connections)
	for n := 1; n <= 2; n++ {
		if err := s.(sandbox.Freezable).Pause(b.ctx()); err != nil {
			t.Fatalf("Pause: %v", err)
		}
		dir := b.asleep(s.(sandbox.Freezable))
		place(n)
		spec.Limits.Scratch *= 2
		spec.Limits.Memory *= 2
		var err error
		if s, err = d.Restore(b.ctx(), spec, dir); err != nil {
			t.Fatalf("Restore: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil { // nobody needs it any more
			t.Fatal(err)
		}
		if _, err := d.Restore(b.ctx(), spec, dir); !errors.Is(err, sandbox.ErrExists) {
			t.Errorf("Restore of a name that runs = %v, want ErrExists", err)
		}
		b.counts(home)
		b.connected(connections)
		if err := s.Signal(b.ctx(), syscall.SIGUSR1); err != nil {
			t.Fatalf("Signal: %v", err)
		}
		b.log = log
		b.logged("all as it was")
	}
	if err := s.Signal(b.ctx(), syscall.SIGTERM); err != nil {
		t.Fatalf("Signal: %v", err)
	}
	if e := b.wait(s); e != (sandbox.Exit{Known: true, Code: 7}) {
		t.Errorf("Wait = %v, want exit code 7", e)
	}
	consecutive(t, home)
	if err := s.Destroy(b.ctx()); err != nil {
		t.Errorf("Destroy: %v", err)
	}
}

// listen accepts connections on a new socket until the test ends.
func listen(t *testing.T, path string, accepted chan<- net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
}

// connected waits for a connection from inside.
func (b *bench) connected(accepted <-chan net.Conn) {
	b.t.Helper()
	select {
	case conn := <-accepted:
		b.t.Cleanup(func() { conn.Close() })
	case <-b.ctx().Done():
		b.t.Fatal("nobody dialed from inside")
	}
}

// An image that is not what was written, or not of this sandbox, is refused; it
// stays as it is, and nothing else is left.
func testBadImage(t *testing.T, b *bench) {
	d := b.imager()
	spec := b.probeSpec("live", routine{Ballast: 4})
	good := b.asleep(b.frozen(spec))
	bad := filepath.Join(b.out, "bad")
	refused := func(what string, spec sandbox.Spec) {
		t.Helper()
		if _, err := d.Restore(b.ctx(), spec, bad); !errors.Is(err, sandbox.ErrImage) {
			t.Errorf("%s: Restore = %v, want ErrImage", what, err)
		} else {
			t.Logf("%s: %v", what, err)
		}
		if left := b.remains(); len(left) > 0 {
			t.Fatalf("%s, left on the host: %.2000s", what, strings.Join(left, "\n"))
		}
	}
	refused("no directory", spec)
	copyImage(t, good, bad)
	entries, err := os.ReadDir(bad)
	if err != nil || len(entries) == 0 {
		t.Fatalf("the image has %v, %v", entries, err)
	}
	for _, e := range entries {
		for what, spoil := range spoils {
			copyImage(t, good, bad)
			name := filepath.Join(bad, e.Name())
			if err := spoil(name); err != nil {
				t.Fatal(err)
			}
			refused(e.Name()+" "+what, spec)
		}
		copyImage(t, good, bad)
		b.altered(d, spec, bad, e.Name())
	}
	copyImage(t, good, bad)
	other := spec
	other.Args = append(slices.Clone(spec.Args), "more")
	refused("other arguments", other)
	other = spec
	other.Mounts = append(slices.Clone(spec.Mounts), sandbox.Mount{Source: b.out, Destination: "/mnt/more", ReadOnly: true})
	refused("another mount", other)
	if err := os.Rename(filepath.Join(b.home, "count"), filepath.Join(b.home, "gone")); err != nil {
		t.Fatal(err)
	}
	refused("an open file gone", spec)
	if err := os.Rename(filepath.Join(b.home, "gone"), filepath.Join(b.home, "count")); err != nil {
		t.Fatal(err)
	}

	// None of that has hurt it.
	s, err := d.Restore(b.ctx(), spec, bad)
	if err != nil {
		t.Fatalf("Restore of the image as it was: %v", err)
	}
	b.counts(b.home)
	if err := s.Destroy(b.ctx()); err != nil {
		t.Errorf("Destroy: %v", err)
	}
}

// altered restores an image with a byte of one file changed. That need not be
// noticed; but if it is, the image is said to be the reason.
func (b *bench) altered(d sandbox.Imager, spec sandbox.Spec, dir, file string) {
	b.t.Helper()
	name := filepath.Join(dir, file)
	content, err := os.ReadFile(name)
	if err == nil {
		content[len(content)/2] ^= 0x10
		err = os.WriteFile(name, content, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	s, err := d.Restore(b.ctx(), spec, dir)
	b.t.Logf("%s altered: %v", file, err)
	if err == nil {
		err = s.Destroy(b.ctx())
	} else if errors.Is(err, sandbox.ErrImage) {
		err = nil
	}
	if err != nil {
		b.t.Errorf("%s altered: %v", file, err)
	}
	if left := b.remains(); len(left) > 0 {
		b.t.Fatalf("%s altered, left on the host: %.2000s", file, strings.Join(left, "\n"))
	}
}

// spoils are what can befall a file.
var spoils = map[string]func(name string) error{
	"missing":   os.Remove,
	"empty":     func(name string) error { return os.Truncate(name, 0) },
	"cut short": func(name string) error { return resize(name, func(size int64) int64 { return size / 2 }) },
	"longer":    func(name string) error { return resize(name, func(size int64) int64 { return size + 4096 }) },
	"a link": func(name string) error {
		return errors.Join(os.Rename(name, name+".elsewhere"), os.Symlink(name+".elsewhere", name))
	},
	"a pipe":      func(name string) error { return errors.Join(os.Remove(name), syscall.Mkfifo(name, 0o600)) },
	"a directory": func(name string) error { return errors.Join(os.Remove(name), os.Mkdir(name, 0o700)) },
}

func resize(name string, to func(int64) int64) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return os.Truncate(name, to(info.Size()))
}

// copyImage makes to a copy of from.
func copyImage(t *testing.T, from, to string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from))); err != nil {
		t.Fatal(err)
	}
}

// A checkpoint that cannot be written leaves nothing in its directory, and the
// sandbox as it was.
func testBadImageDirectory(t *testing.T, b *bench) {
	b.imager()
	s := b.start(b.probeSpec("live", routine{Ballast: 8})).(sandbox.Freezable)
	b.counts(b.home)
	dirs := map[string]string{}
	for _, name := range []string{"running", "taken", "open", "target", "full", "good"} {
		dirs[name] = filepath.Join(b.out, name)
		if err := os.Mkdir(dirs[name], 0o700); err != nil {
			t.Fatal(err)
		}
	}
	dirs["missing"], dirs["link"], dirs["file"] = filepath.Join(b.out, "missing"), filepath.Join(b.out, "link"), filepath.Join(b.out, "file")
	if err := errors.Join(
		os.Symlink(dirs["target"], dirs["link"]),
		os.WriteFile(dirs["file"], nil, 0o600),
		os.Symlink(filepath.Join(b.out, "nowhere"), filepath.Join(dirs["taken"], "checkpoint.img")),
		os.Chmod(dirs["open"], 0o777),
	); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dirs["full"], "tmpfs", 0, "size=4m,mode=700"); err != nil {
		t.Logf("no full directory: %v", err)
		delete(dirs, "full")
	} else {
		t.Cleanup(func() { syscall.Unmount(dirs["full"], 0) })
	}
	if err := s.Checkpoint(b.ctx(), dirs["running"]); err == nil {
		t.Error("Checkpoint of a running sandbox worked")
	}
	for name, dir := range dirs {
		if name == "running" || name == "target" || name == "good" {
			continue
		}
		if err := s.Pause(b.ctx()); err != nil {
			t.Fatalf("Pause: %v", err)
		}
		before, _ := os.ReadDir(dir)
		if err := s.Checkpoint(b.ctx(), dir); err == nil {
			t.Errorf("%s: Checkpoint worked", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
		if after, _ := os.ReadDir(dir); len(after) != len(before) {
			t.Errorf("%s: the failed checkpoint left %v", name, after)
		}
		if err := s.Resume(b.ctx()); err != nil {
			t.Fatalf("%s: Resume: %v", name, err)
		}
		b.counts(b.home)
	}
	// And it is good for an image still.
	if err := errors.Join(s.Pause(b.ctx()), s.Checkpoint(b.ctx(), dirs["good"])); err != nil {
		t.Errorf("Checkpoint after the failures: %v", err)
	}
	if again := s.Checkpoint(b.ctx(), dirs["good"]); again == nil {
		t.Error("Checkpoint over an image worked")
	}
	ours(t, dirs["good"])
	if err := s.Resume(b.ctx()); err != nil {
		t.Errorf("Resume after Checkpoint: %v", err)
	}
	b.counts(b.home)
	consecutive(t, b.home)
}

// ours checks that others cannot read what was in a sandbox's memory.
func ours(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Errorf("the image has %v, %v", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s of the image: %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

// A checkpoint or a restore that is called off leaves nothing and hurts nothing.
func testCancelledImage(t *testing.T, b *bench) {
	d := b.imager()
	spec := b.probeSpec("live", routine{Ballast: 32})
	called := func(after time.Duration) (context.Context, context.CancelFunc) {
		return context.WithTimeout(b.ctx(), after*time.Millisecond)
	}
	for _, after := range []time.Duration{0, 1, 10, 30} {
		s := b.frozen(spec)
		dir, err := os.MkdirTemp(b.out, "image")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := called(after)
		err = s.Checkpoint(ctx, dir)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Checkpoint called off after %d ms: %v, want DeadlineExceeded", after, err)
		}
		if err := s.Destroy(b.ctx()); err != nil {
			t.Errorf("Destroy: %v", err)
		}
	}
	os.Remove(filepath.Join(b.home, "count"))
	dir := b.asleep(b.frozen(spec))
	for _, after := range []time.Duration{0, 5, 20, 40, 80, 120, 200} {
		ctx, cancel := called(after)
		s, err := d.Restore(ctx, spec, dir)
		cancel()
		if err == nil {
			if err := s.Destroy(b.ctx()); err != nil {
				t.Errorf("Destroy: %v", err)
			}
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Restore called off after %d ms: %v, want DeadlineExceeded", after, err)
		}
		if left := b.remains(); len(left) > 0 {
			t.Fatalf("called off after %d ms, left on the host:\n%s", after, strings.Join(left, "\n"))
		}
	}
	s, err := d.Restore(b.ctx(), spec, dir)
	if err != nil {
		t.Fatalf("Restore at last: %v", err)
	}
	b.counts(b.home)
	if err := s.Destroy(b.ctx()); err != nil {
		t.Errorf("Destroy: %v", err)
	}
	if content, err := os.ReadFile(b.log); err != nil || bytes.Contains(content, []byte("panic")) {
		t.Errorf("log = %q, %v", content, err)
	}
}
