package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestWhatACrashLeaves puts each state on disk in which a crash can leave a store,
// and others that only an enemy makes.
func TestWhatACrashLeaves(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	files := func(w *world) string { return filepath.Join(w.dir, imageName, filesName) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		what string
		do   func(*world)
		want string // what the store holds afterwards
	}{
		{"killed while the driver writes", func(w *world) { w.Begin(0) }, "image"},
		{"killed in a draft that is complete", func(w *world) {
			must(os.Rename(filepath.Join(w.dir, imageName), filepath.Join(w.dir, "draft-1")))
		}, ""},
		{"killed in a restore", func(w *world) { w.wake(7) }, ""},
		{"killed while compressing", func(w *world) {
			must(os.Mkdir(filepath.Join(w.dir, "cooling-1"), 0o700))
			must(os.WriteFile(filepath.Join(w.dir, "cooling-1", "x"), []byte("x"), 0o600))
		}, "image"},
		{"killed before the compressed files count", func(w *world) {
			must(os.WriteFile(filepath.Join(files(w), "pages.img.packed-sealed"), []byte("x"), 0o600))
			must(os.WriteFile(filepath.Join(w.dir, imageName, ".manifest.json.123"), []byte("x"), 0o600))
		}, "image"},
		{"killed before the plain files are gone", func(w *world) {
			must(w.Cool(t.Context()))
			must(os.WriteFile(filepath.Join(files(w), "pages.img"), []byte("x"), 0o600))
		}, "image"},
		{"killed while giving an image away", func(w *world) {
			must(os.Rename(filepath.Join(w.dir, imageName), filepath.Join(w.dir, "taken-1")))
		}, ""},
		{"killed while removing", func(w *world) {
			must(os.Rename(filepath.Join(w.dir, imageName), filepath.Join(w.dir, "taken-1")))
			must(os.Remove(filepath.Join(w.dir, "taken-1", manifestName)))
		}, ""},
		{"killed while setting aside", func(w *world) {
			must(os.Rename(filepath.Join(w.dir, imageName), filepath.Join(w.dir, "taken-1")))
			must(os.WriteFile(filepath.Join(w.dir, "taken-1", reasonName), []byte("x"), 0o600))
		}, ""},
		{"power lost: no manifest", func(w *world) { must(os.Remove(filepath.Join(w.dir, imageName, manifestName))) }, "bad"},
		{"power lost: manifest empty", func(w *world) { must(os.Truncate(filepath.Join(w.dir, imageName, manifestName), 0)) }, "bad"},
		{"power lost: pages short", func(w *world) { must(os.Truncate(filepath.Join(files(w), "pages.img"), 1<<20)) }, "bad"},
		{"a file is missing", func(w *world) { must(os.Remove(filepath.Join(files(w), "pages_meta.img"))) }, "bad"},
		{"a huge manifest", func(w *world) { must(os.Truncate(filepath.Join(w.dir, imageName, manifestName), 1<<40)) }, "bad"},
		{"a manifest that is a pipe", func(w *world) {
			must(os.Remove(filepath.Join(w.dir, imageName, manifestName)))
			must(syscall.Mkfifo(filepath.Join(w.dir, imageName, manifestName), 0o600))
		}, "bad"},
		{"pages that are a link", func(w *world) {
			must(os.Rename(filepath.Join(files(w), "pages.img"), filepath.Join(outside, "pages.img")))
			must(os.Symlink(filepath.Join(outside, "pages.img"), filepath.Join(files(w), "pages.img")))
		}, "bad"},
		{"an image that is a link", func(w *world) {
			must(os.RemoveAll(filepath.Join(w.dir, imageName)))
			must(os.Symlink(outside, filepath.Join(w.dir, imageName)))
		}, ""},
		{"an image that is a file", func(w *world) {
			must(os.RemoveAll(filepath.Join(w.dir, imageName)))
			must(os.WriteFile(filepath.Join(w.dir, imageName), nil, 0o600))
		}, ""},
		{"leftovers that are links", func(w *world) {
			must(os.Symlink(outside, filepath.Join(w.dir, "draft-1")))
			must(os.Symlink(outside, filepath.Join(w.dir, "taken-1")))
			must(os.Symlink(outside, filepath.Join(files(w), "more")))
		}, "image"},
		{"an image that others can enter", func(w *world) { must(os.Chmod(filepath.Join(w.dir, imageName), 0o777)) }, "image"},
		{"pages of somebody else", func(w *world) {
			if os.Chown(filepath.Join(files(w), "pages.img"), 65534, 65534) != nil {
				must(os.Remove(filepath.Join(files(w), "pages.img"))) // not root: cannot be
			}
		}, "bad"},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := newWorld(t, Auto)
			w.sleep(7)
			c.do(w)
			w.reopen()
			w.holds(strings.Fields(c.want)...)
			if c.want == "image" {
				w.wake(7).Done()
				w.holds()
			} else {
				_, err := w.Take(t.Context(), binding(7))
				wantErr(t, err, ErrNone)
			}
			if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAStoreThatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, Options{Key: key(1)}); err == nil {
		t.Error("opened a link")
	}
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Chown(other, 65534, 65534) == nil {
		if _, err := Open(other, Options{Key: key(1)}); err == nil {
			t.Error("opened a directory of somebody else")
		}
	}
}

// TestKilledAtAnyTime kills a process that uses a store again and again. After
// each time the store opens with a whole image or none, and no image that was
// taken is ever there again.
func TestKilledAtAnyTime(t *testing.T) {
	if dir := os.Getenv("IMAGE_TEST_STORE"); dir != "" {
		liveUntilKilled(t, dir)
		return
	}
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	for _, p := range policies {
		w := newWorld(t, p)
		taken := filepath.Join(t.TempDir(), "taken")
		seen := map[string]int{}
		for round := range rounds {
			killed(t, w, taken, p)
			w.reopen()
			if err := w.DropBad(); err != nil {
				t.Fatal(err)
			}
			m, err := w.Peek()
			if err != nil {
				wantErr(t, err, ErrNone)
				w.holds()
				seen["none"]++
				continue
			}
			w.holds("image")
			seen[fmt.Sprint(m.encoding())]++
			list, _ := os.ReadFile(taken)
			if strings.Contains(string(list), fmt.Sprintf(" %d\n", m.Binding.Generation)) {
				t.Fatalf("%v: the image of generation %d is there after it was taken", p, m.Binding.Generation)
			}
			if round%4 == 0 {
				w.wake(m.Binding.Generation).Done()
			}
		}
		t.Logf("%v: found %v", p, seen)
	}
}

// killed runs liveUntilKilled and kills it after some steps.
func killed(t *testing.T, w *world, taken string, p Policy) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, "-test.run=^TestKilledAtAnyTime$")
	cmd.Env = append(os.Environ(), "IMAGE_TEST_STORE="+w.dir, "IMAGE_TEST_TAKEN="+taken,
		"IMAGE_TEST_MEMORY="+w.opts.Memory, "IMAGE_TEST_POLICY="+p.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	for range 1 + rand.IntN(12) {
		line, err := r.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "error") {
			t.Fatalf("%q, %v", line, err)
		}
		if _, err := in.Write([]byte("\n")); err != nil {
			t.Fatal(err)
		}
	}
	for range rand.IntN(100_000) {
		runtime.Gosched() // a little into the next step
	}
	cancel()
	io.Copy(io.Discard, r)
	cmd.Wait()
}

// liveUntilKilled sleeps and wakes in a circle. After each step it writes a line and
// reads one, and notes what it takes.
func liveUntilKilled(t *testing.T, dir string) {
	policy, _ := ParsePolicy(os.Getenv("IMAGE_TEST_POLICY"))
	s, err := Open(dir, Options{Key: key(1), Encrypt: policy, Memory: os.Getenv("IMAGE_TEST_MEMORY"),
		memoryRoom: func() int64 { return 1 << 40 }})
	note, err2 := os.OpenFile(os.Getenv("IMAGE_TEST_TAKEN"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	step := func(what string, err error) {
		if err != nil {
			fmt.Printf("error: %s: %v\n", what, err)
			os.Exit(1)
		}
		fmt.Println(what)
		if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
			os.Exit(1)
		}
	}
	step("open", errors.Join(err, err2))
	w := &world{Store: s, t: t, dir: dir}
	for generation := uint64(os.Getpid()) << 32; ; generation++ {
		w.sleep(generation)
		step("slept", nil)
		if generation%3 != 0 {
			step("cooled", s.Cool(t.Context()))
		}
		taken, err := s.Take(t.Context(), binding(generation))
		if err == nil {
			_, err = note.WriteString(" " + strconv.FormatUint(generation, 10) + "\n")
		}
		step("taken", err)
		step("verified", taken.Verify(t.Context()))
		if generation%5 == 0 {
			step("quarantined", taken.Quarantine("so"))
			step("dropped", s.DropBad())
			continue
		}
		step("done", taken.Done())
	}
}
