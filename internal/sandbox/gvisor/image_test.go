package gvisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/sandbox"
)

// sleeper is a driver, and the spec of a sandbox that says "up" and waits.
func sleeper(t *testing.T) (*Driver, sandbox.Spec) {
	t.Helper()
	prepare(t)
	dir := t.TempDir()
	d, err := New(Options{Root: filepath.Join(dir, "root")})
	if err != nil {
		t.Fatal(err)
	}
	return d, sandbox.Spec{
		ID: "sleeper", Hostname: "sleeper", Log: filepath.Join(dir, "log"),
		Args:   []string{"/bin/sh", "-c", "echo up; sleep 1000; echo down"},
		Limits: sandbox.Limits{Memory: 512 << 20, Scratch: 16 << 20},
	}
}

// asleep makes an image of a sandbox and gives its directory.
func asleep(t *testing.T, d *Driver, spec sandbox.Spec) string {
	t.Helper()
	started, err := d.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	s := started.(*Sandbox)
	for content := []byte(nil); !bytes.Contains(content, []byte("up")); content, err = os.ReadFile(spec.Log) {
		if err != nil || t.Context().Err() != nil {
			t.Fatal(err, t.Context().Err())
		}
	}
	dir := t.TempDir()
	os.Chmod(dir, 0o700)
	if err := errors.Join(s.Pause(t.Context()), s.Checkpoint(t.Context(), dir), s.Destroy(t.Context())); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What becomes of an image that passes our own look at it, but is not what
// gVisor wrote: it is refused, or the sandbox that comes of it dies; nothing
// hangs, nothing is left, and this process is none the worse.
func TestForgedImage(t *testing.T) {
	d, spec := sleeper(t)
	good := asleep(t, d, spec)
	tests := []struct {
		file, name string
		forge      func(content []byte) []byte
		refused    bool // by Restore; else the sandbox may live or die
	}{
		{"checkpoint.img", "empty", func([]byte) []byte { return nil }, true},
		{"checkpoint.img", "garbage", func(c []byte) []byte { return bytes.Repeat([]byte("garbage\n"), len(c)/8) }, true},
		{"checkpoint.img", "cut in half", func(c []byte) []byte { return c[:len(c)/2] }, true},
		{"checkpoint.img", "without its end", func(c []byte) []byte { return c[:len(c)-100] }, true},
		{"checkpoint.img", "with a byte changed", func(c []byte) []byte { c[len(c)/2] ^= 0x40; return c }, false},
		{"checkpoint.img", "with a longer head", func(c []byte) []byte { c[8] = 0xff; return c }, true},
		{"pages_meta.img", "empty", func([]byte) []byte { return nil }, true},
		{"pages_meta.img", "garbage", func(c []byte) []byte { return bytes.Repeat([]byte("garbage\n"), len(c)/8) }, true},
		{"pages_meta.img", "cut in half", func(c []byte) []byte { return c[:len(c)/2] }, true},
		{"pages.img", "empty", func([]byte) []byte { return nil }, false},
		{"pages.img", "cut in half", func(c []byte) []byte { return c[:len(c)/8192*4096] }, false},
		{"pages.img", "all zero", func(c []byte) []byte { return make([]byte, len(c)) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.file+" "+tt.name, func(t *testing.T) {
			bad := forge(t, good, tt.file, tt.forge)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s, err := d.Restore(ctx, spec, bad)
			t.Logf("Restore: %v", err)
			switch {
			case err == nil && tt.refused:
				t.Error("Restore worked")
			case err != nil && !errors.Is(err, sandbox.ErrImage):
				t.Errorf("want ErrImage")
			}
			if err == nil {
				ended, cancel := context.WithTimeout(ctx, time.Second)
				e, err := s.Wait(ended)
				cancel()
				t.Logf("the sandbox within a second: %v, %v", e, err)
				if err := s.Destroy(ctx); err != nil {
					t.Errorf("Destroy: %v", err)
				}
			}
			if left, err := filepath.Glob(d.roster.Dir("*")); len(left) > 0 || err != nil {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// forge copies an image with one file changed and listed as it is then.
func forge(t *testing.T, from, name string, change func([]byte) []byte) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "bad")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(to, name))
	if err == nil {
		err = os.WriteFile(filepath.Join(to, name), change(content), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	rewrite(t, to, func(c *contents) {
		f, err := os.Open(filepath.Join(to, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if c.Files[name], err = describe(f); err != nil {
			t.Fatal(err)
		}
	})
	return to
}

func rewrite(t *testing.T, dir string, change func(*contents)) {
	t.Helper()
	file := filepath.Join(dir, contentsFile)
	encoded, err := os.ReadFile(file)
	var c contents
	if err == nil {
		err = json.Unmarshal(encoded, &c)
	}
	if err == nil {
		change(&c)
		encoded, err = json.Marshal(c)
	}
	if err == nil {
		err = os.WriteFile(file, encoded, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A sandbox whose halting was cut short by the death of whoever did it is not
// taken for a good one; one that somebody is halting right now is.
func TestHalfHalted(t *testing.T) {
	d, spec := sleeper(t)
	for _, content := range []string{"pausing\n", "saving", "resuming\n", "garbage"} {
		s, err := d.Start(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.roster.Dir(spec.ID), haltFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"Pause":  s.(*Sandbox).Pause(t.Context()),
			"Resume": s.(*Sandbox).Resume(t.Context()),
		} {
			if err == nil || !strings.Contains(err.Error(), "cut short") {
				t.Errorf("%q: %s = %v, want an error", content, what, err)
			}
		}
		r, err := s.(*Sandbox).record()
		if err != nil {
			t.Fatal(err)
		}
		other, err := New(Options{Root: d.roster.Dir("")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Open(t.Context(), spec.ID); err != nil {
			t.Errorf("%q: Open while somebody is at it: %v", content, err)
		}
		if err := s.(*Sandbox).Pause(t.Context()); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("%q: Pause while somebody is at it: %v", content, err)
		}
		r.file.Close()
		if other, err = New(Options{Root: d.roster.Dir("")}); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Open(t.Context(), spec.ID); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("%q: Open = %v, want ErrNotFound", content, err)
		}
		if left, _ := filepath.Glob(d.roster.Dir("*")); len(left) > 0 {
			t.Errorf("%q: left %v", content, left)
		}
		if err := s.Destroy(t.Context()); err != nil {
			t.Errorf("Destroy: %v", err)
		}
	}
}

func TestReadImage(t *testing.T) {
	dir := t.TempDir()
	os.Chmod(dir, 0o700)
	target, err := openImageDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	err = target.fill(func(files []*os.File) error {
		for _, f := range files {
			f.WriteString(filepath.Base(f.Name()))
		}
		return nil
	}, 5)
	if err != nil {
		t.Fatal(err)
	}
	c, err := readImage(dir)
	if err != nil || c.Scratch != 5 || len(c.Files) != len(imageFiles) {
		t.Errorf("readImage = %+v, %v", c, err)
	}
	if c.Files["pages.img"].SHA256 != "" || c.Files["checkpoint.img"].SHA256 == "" {
		t.Errorf("sums = %+v, want one of all but the pages", c.Files)
	}
	rewrite(t, dir, func(c *contents) { delete(c.Files, "pages.img") })
	if _, err := readImage(dir); !errors.Is(err, sandbox.ErrImage) {
		t.Errorf("a file that is not listed: %v, want ErrImage", err)
	}
	if err := os.WriteFile(filepath.Join(dir, contentsFile), bytes.Repeat([]byte(" "), maxContents+10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readImage(dir); !errors.Is(err, sandbox.ErrImage) {
		t.Errorf("an endless list: %v, want ErrImage", err)
	}
	target.clear()
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left after clear: %v", left)
	}
}

func TestHostPrograms(t *testing.T) {
	root := t.TempDir()
	lib := filepath.Join(root, "usr/lib/x86_64-linux-gnu")
	if err := os.MkdirAll(lib, 0o755); err != nil {
		t.Fatal(err)
	}
	before := hostPrograms(root)
	if again := hostPrograms(root); again != before {
		t.Errorf("hostPrograms = %s, then %s", before, again)
	}
	if err := os.Chtimes(lib, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if after := hostPrograms(root); after == before {
		t.Errorf("hostPrograms = %s before and after a library was replaced", after)
	}
}
