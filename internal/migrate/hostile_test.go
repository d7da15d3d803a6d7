package migrate

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/remedy"
)

var someConfig = file("root/.moltbot/moltbot.json", "{}")

// TestHostileArchives: none of these writes anywhere but in the new home, and those that
// try are refused as a whole.
func TestHostileArchives(t *testing.T) {
	long := strings.Repeat("a/", maxDepth+1) + "x"
	for _, c := range []struct {
		name    string
		entries []packed
		refused error
	}{
		{"goes up", []packed{file("root/.moltbot/../../../evil", "x")}, ErrHostile},
		{"goes up at once", []packed{file("../evil", "x")}, ErrHostile},
		{"ends with going up", []packed{{name: "root/.moltbot/a/..", kind: tar.TypeDir}}, ErrHostile},
		{"too deep", []packed{file("root/.moltbot/"+long, "x")}, ErrHostile},
		{"too long a name", []packed{file("root/.moltbot/"+strings.Repeat("n", 300), "x")}, ErrHostile},
		{"too long a path", []packed{file("root/.moltbot/"+strings.Repeat(strings.Repeat("n", 200)+"/", 25)+"x", "x")}, ErrHostile},
		{"a hard link that goes up", []packed{{name: "root/.moltbot/x", kind: tar.TypeLink, link: "../../etc/passwd"}}, ErrHostile},
		{"a directory that is also a file", []packed{file("root/.moltbot/x/y", "1"), file("root/.moltbot/x", "2")}, ErrHostile},
		{"a file that is also a directory", []packed{file("root/.moltbot/x", "2"), file("root/.moltbot/x/y", "1")}, ErrHostile},

		{"absolute", []packed{file("/root/.moltbot/abs", "fine")}, nil},
		{"a link out", []packed{{name: "root/.moltbot/evil", kind: tar.TypeSymlink, link: "/etc"}, file("root/.moltbot/ok", "fine")}, nil},
		{"a link up and out", []packed{{name: "root/.moltbot/evil", kind: tar.TypeSymlink, link: "../../../../etc"}}, nil},
		{"a file through a link out", []packed{{name: "root/.moltbot/evil", kind: tar.TypeSymlink, link: "/tmp"}, file("root/.moltbot/evil/x", "fine")}, nil},
		{"a hard link out", []packed{{name: "root/.moltbot/evil", kind: tar.TypeLink, link: "/etc/passwd"}}, nil},
		{"a hard link to a link", []packed{{name: "root/.moltbot/l", kind: tar.TypeSymlink, link: "/etc/passwd"}, {name: "root/.moltbot/evil", kind: tar.TypeLink, link: "root/.moltbot/l"}}, nil},
		{"a device", []packed{{name: "root/.moltbot/evil", kind: tar.TypeBlock}}, nil},
		{"a character device", []packed{{name: "root/.moltbot/evil", kind: tar.TypeChar}}, nil},
		{"a FIFO", []packed{{name: "root/.moltbot/evil", kind: tar.TypeFifo}}, nil},
		{"the configuration as a link", []packed{{name: "root/.moltbot/openclaw.json", kind: tar.TypeSymlink, link: "/etc/passwd"}}, nil},
		{"the state as a link", []packed{{name: "root/.moltbot", kind: tar.TypeSymlink, link: "/etc"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := open(t, tarOf(t, append([]packed{someConfig}, c.entries...)...))
			dir := filepath.Join(t.TempDir(), "parent", "home")
			if err := os.Mkdir(filepath.Dir(dir), 0o755); err != nil {
				t.Fatal(err)
			}
			if err == nil {
				defer b.Close()
				_, err = b.Write(t.Context(), dir)
			}
			if !errors.Is(err, c.refused) || (err == nil) != (c.refused == nil) {
				t.Fatalf("err = %v, want %v", err, c.refused)
			}
			around, readErr := os.ReadDir(filepath.Dir(dir))
			if readErr != nil {
				t.Fatal(readErr)
			}
			if err != nil {
				if remedy.Of(err) == "" {
					t.Errorf("%v: nothing says what to do", err)
				}
				if len(around) > 0 {
					t.Errorf("refused, but there is %v", around)
				}
				return
			}
			if len(around) != 1 {
				t.Errorf("around the home: %v", around)
			}
			checkInside(t, dir)
		})
	}
}

// checkInside makes sure that a home has files, directories and links only, that no
// link leads out, and that no program in it can become another user.
func checkInside(t *testing.T, dir string) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := root.Lstat(name)
		if err != nil {
			return err
		}
		if info.Mode()&^(fs.ModePerm|fs.ModeDir|fs.ModeSymlink) != 0 || info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSymlink == 0 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		if _, err := root.Stat(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
		if filepath.Base(name) == "evil" && !info.IsDir() {
			t.Errorf("%s is there: %v", name, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLinkChain: two links that lead inside, each by itself, and out together, and two
// that lead to each other.
func TestLinkChain(t *testing.T) {
	b, err := open(t, tarOf(t, someConfig,
		file("root/.moltbot/top.txt", "x"),
		packed{name: "root/.moltbot/t/", kind: tar.TypeDir, mode: 0o755},
		packed{name: "root/.moltbot/d1/d2/d3/x", kind: tar.TypeSymlink, link: "../../../t"},
		packed{name: "root/.moltbot/d1/d2/d3/y", kind: tar.TypeSymlink, link: "x/../../../../q"},
		packed{name: "root/.moltbot/d1/good", kind: tar.TypeSymlink, link: "../top.txt"},
		packed{name: "root/.moltbot/abs", kind: tar.TypeSymlink, link: "/root/.moltbot/top.txt"},
		packed{name: "root/.moltbot/round", kind: tar.TypeSymlink, link: "and-round"},
		packed{name: "root/.moltbot/and-round", kind: tar.TypeSymlink, link: "round"},
		packed{name: "root/.moltbot/dangling", kind: tar.TypeSymlink, link: "not-there"}))
	got := bring(t, b, err)
	checkInside(t, got.dir)
	for name, want := range map[string]string{"d1/good": "../top.txt", "abs": "top.txt", "dangling": "not-there", "d1/d2/d3/x": "../../../t"} {
		if target, err := os.Readlink(filepath.Join(got.dir, ".openclaw", name)); target != want || err != nil {
			t.Errorf("%s points at %q, %v; want %q", name, target, err, want)
		}
	}
}

func TestDoubledNames(t *testing.T) {
	b, err := open(t, tarOf(t, file("root/.moltbot/moltbot.json", `{"ui":{"seamColor":"old"}}`), file("root/.moltbot/media/x", "first"),
		file("root/.moltbot/media/x", "second"), file("root/.moltbot/moltbot.json", `{"ui":{"seamColor":"new"}}`),
		file("root/.moltbot/a", "one"), packed{name: "root/.moltbot/b", kind: tar.TypeLink, link: "root/.moltbot/a"}, file("root/.moltbot/b", "two")))
	got := bring(t, b, err)
	got.mustHave(t, map[string]string{".openclaw/media/x": "second", ".openclaw/a": "one", ".openclaw/b": "two"})
	got.mustWarn(t, "more than once")
	if dig(got.config, "ui", "seamColor") != "new" {
		t.Errorf("the configuration is the first of two: %v", got.config)
	}
}

func TestBounds(t *testing.T) {
	many := []packed{someConfig}
	for i := range 200 {
		many = append(many, file(fmt.Sprintf("root/.moltbot/media/%d", i), "x"))
	}
	large := []packed{someConfig, file("root/.moltbot/media/zeros", strings.Repeat("\x00", 3<<20))}
	for name, c := range map[string]struct {
		data []byte
		opts Options
	}{
		"entries":      {tarOf(t, many...), Options{MaxEntries: 100}},
		"bytes":        {tarOf(t, large...), Options{MaxBytes: 1 << 20}},
		"a gzip bomb":  {gzipped(t, tarOf(t, large...)), Options{ratioFrom: 1 << 20}},
		"a zstd bomb":  {zstded(t, tarOf(t, large...)), Options{ratioFrom: 1 << 20}},
		"a small bomb": {gzipped(t, bytes.Repeat([]byte{0}, 5<<20)), Options{MaxBytes: 1 << 20}},
	} {
		b, err := Open(t.Context(), saved(t, c.data), c.opts)
		if err == nil {
			b.Close()
		}
		if name == "a small bomb" && errors.Is(err, ErrUnknown) {
			continue // an empty archive ends at its first bytes
		}
		if !errors.Is(err, ErrHostile) || remedy.Of(err) == "" {
			t.Errorf("%s: %v, want %v and what to do", name, err, ErrHostile)
		}
	}
}

// sparseBomb is a tar whose one file is said to be huge, and is a hole.
func TestSparseBomb(t *testing.T) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "root/.moltbot/moltbot.json", Typeflag: tar.TypeReg, Size: 2, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(w, "{}")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	const name = "root/.moltbot/media/hole"
	buf.Write(oldSparse(name, 1<<30))
	buf.Write(make([]byte, 1024))
	b, err := Open(t.Context(), saved(t, buf.Bytes()), Options{ratioFrom: 1 << 20})
	if err == nil {
		defer b.Close()
		dir := filepath.Join(t.TempDir(), "home")
		_, err = b.Write(t.Context(), dir)
	}
	if !errors.Is(err, ErrHostile) {
		t.Errorf("err = %v, want %v", err, ErrHostile)
	}
}

// oldSparse is the header of a file that is one hole, in GNU tar's old form.
func oldSparse(name string, size int64) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	copy(h[124:], "00000000000\x00") // nothing is stored
	copy(h[136:], "00000000000\x00")
	h[156] = tar.TypeGNUSparse
	copy(h[257:], "ustar  \x00")
	copy(h[386:], fmt.Sprintf("%011o\x00%011o\x00", size, 0)) // one piece, of nothing, at the end
	copy(h[483:], fmt.Sprintf("%011o\x00", size))
	copy(h[148:], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

func TestDamagedArchives(t *testing.T) {
	whole := gzipped(t, tarOf(t, someConfig, file("root/.moltbot/media/x", strings.Repeat("abcdefghij", 10000)+telegramToken)))
	broken := bytes.Clone(whole)
	broken[len(broken)-6] ^= 0xff
	for name, data := range map[string][]byte{"cut off": whole[:len(whole)/2], "cut off at its end": whole[:len(whole)-4], "a wrong sum": broken, "gzip of a part": gzipped(t, tarOf(t, someConfig)[:513])} {
		b, err := open(t, data)
		if err == nil {
			b.Close()
		}
		if !errors.Is(err, ErrDamaged) || remedy.Of(err) == "" {
			t.Errorf("%s: %v, want %v and what to do", name, err, ErrDamaged)
		}
	}
}

// TestArchiveWithoutEnd: a plain tar that ends between two files cannot be told from
// one that some tool did not finish; people are.
func TestArchiveWithoutEnd(t *testing.T) {
	whole := tarOf(t, someConfig, file("root/.moltbot/media/x", "x"))
	b, err := open(t, whole[:1024])
	got := bring(t, b, err)
	got.mustWarn(t, "cut off")
	b, err = open(t, whole)
	got = bring(t, b, err)
	for _, w := range got.report.Warnings {
		if strings.Contains(w, "cut off") {
			t.Errorf("a whole archive: %s", w)
		}
	}
}

func TestWriteLeavesNothingHalf(t *testing.T) {
	data := tarOf(t, someConfig, file("root/.moltbot/media/x", "x"), file("root/.moltbot/media/y", "y"))
	b, err := open(t, data)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	top := t.TempDir()

	full := filepath.Join(top, "full")
	if err := os.MkdirAll(filepath.Join(full, "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write(t.Context(), full); !errors.Is(err, ErrExists) || remedy.Of(err) == "" {
		t.Errorf("into a directory that is not empty: %v, want %v", err, ErrExists)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b.src = &interrupted{b.src, cancel}
	if _, err := b.Write(ctx, filepath.Join(top, "new")); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v, want %v", err, context.Canceled)
	}
	if entries, err := os.ReadDir(top); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	b.src = b.src.(*interrupted).source
	empty := filepath.Join(top, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write(t.Context(), empty); err != nil {
		t.Errorf("into an empty directory: %v", err)
	}
}

// interrupted cancels after the second entry.
type interrupted struct {
	source
	cancel func()
}

func (i *interrupted) walk(ctx context.Context, prefixes []string, f func(entry, io.Reader) error) error {
	n := 0
	return i.source.walk(ctx, prefixes, func(e entry, content io.Reader) error {
		if n++; n == 3 {
			i.cancel()
		}
		return f(e, content)
	})
}

// TestFullDisk fills a small file system.
func TestFullDisk(t *testing.T) {
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("no small file system to be had: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	b, err := open(t, tarOf(t, someConfig, file("root/.moltbot/media/x", strings.Repeat("x", 1<<20))))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	_, err = b.Write(t.Context(), filepath.Join(small, "home"))
	if !errors.Is(err, unix.ENOSPC) || remedy.Of(err) == "" {
		t.Errorf("err = %v, want ENOSPC and what to do", err)
	}
	if entries, err := os.ReadDir(small); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func noSync(int) error { return nil }

func mustQuote(s string) string { return fmt.Sprintf("%q", s) }

func FuzzOpen(f *testing.F) {
	f.Add(tarOf(f, someConfig, packed{name: "root/clawd/x", kind: tar.TypeSymlink, link: "../.moltbot"}))
	f.Add(gzipped(f, tarOf(f, file(".openclaw/openclaw.json", `{"gateway":{"auth":{"token":"x"}}}`))))
	f.Add(zstded(f, tarOf(f, file("openclaw.json", `{a:[1,{b:"/root/x"}]}`), file(".env", "A=b"))))
	f.Add([]byte("age-encryption.org/v1\n-> X25519 x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		opts := Options{MaxBytes: 1 << 20, MaxEntries: 1000, sync: noSync}
		b, err := Open(t.Context(), saved(t, data), opts)
		if err != nil {
			return
		}
		defer b.Close()
		dir := filepath.Join(t.TempDir(), "home")
		if _, err := b.Write(t.Context(), dir); err == nil {
			checkInside(t, dir)
		}
		if found, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*")); len(found) > 0 {
			t.Errorf("left behind: %q", found)
		}
	})
}

// FuzzConfig brings in whatever configuration: what comes of it is one that can be
// read, and the host's own settings are not in it.
func FuzzConfig(f *testing.F) {
	f.Add(strings.ReplaceAll(configWith("/root/clawd"), gatewayToken, "some-token"))
	f.Add(`{agents:{list:[{id:"a",workspace:"~/x",model:{primary:"openai/x",fallbacks:["anthropic/claude-opus-5-5",1]}}],defaults:{models:{"anthropic/x":{}},model:"cf-ai-gw-openai/gpt-5.5"}}}`)
	f.Add(`{routing:{bindings:[],queue:1},agent:{model:{primary:"x"}},channels:{slack:{dm:{policy:"x"}}},browser:{defaultProfile:"r",profiles:{r:{cdpUrl:"http://x/?secret=abc"}}}}`)
	f.Add(`{gateway:[],models:{providers:{"mw-demo":1}},env:{"A_KEY":{"source":"env"},B_TOKEN:"${B_TOKEN}"}}`)
	f.Fuzz(func(t *testing.T, config string) {
		top := laid(t, map[string]string{".openclaw/openclaw.json": config, ".openclaw/workspace/SOUL.md": "x", "x/y": "z"})
		b, err := Open(t.Context(), top, Options{sync: noSync})
		if err != nil {
			t.Fatal(err)
		}
		if got := bring(t, b, err); dig(got.config, "gateway", "auth") != nil || got.config["meta"] != nil {
			t.Errorf("%q became %v", config, got.config)
		}
	})
}
