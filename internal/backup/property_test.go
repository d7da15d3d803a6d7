package backup

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// gardener makes random changes to a home.
type gardener struct {
	t    testing.TB
	r    *rand.Rand
	home string
}

func (g *gardener) paths() (files, dirs []string) {
	check(g.t, filepath.WalkDir(g.home, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(g.home, path)
		if d.IsDir() {
			dirs = append(dirs, rel)
		} else {
			files = append(files, rel)
		}
		return nil
	}))
	return files, dirs
}

func (g *gardener) name() string {
	alphabet := []string{"a", "b", ".", "-", "é", "\xff", "z0", " ", "\n", "A"}
	name := alphabet[g.r.IntN(len(alphabet))]
	for g.r.IntN(3) > 0 {
		name += alphabet[g.r.IntN(len(alphabet))]
	}
	if strings.Trim(name, ".") == "" {
		name += "x"
	}
	return name
}

func (g *gardener) content() []byte {
	size := []int{0, 1, g.r.IntN(2000), 16 << 10, g.r.IntN(80_000), g.r.IntN(700_000)}[g.r.IntN(6)]
	var data []byte
	switch g.r.IntN(4) {
	case 0:
		data = make([]byte, size)
	case 1:
		data = noise(g.r.Uint64N(1000), size)
	case 2:
		data = append([]byte("SQLite format 3\x00"), noise(g.r.Uint64N(5), size)...)
	default:
		data = prose(g.r.Uint64N(1000), size)
	}
	return data
}

// change does one random thing. What cannot be done there is not done.
func (g *gardener) change() {
	files, dirs := g.paths()
	at := filepath.Join(g.home, dirs[g.r.IntN(len(dirs))], g.name())
	some := ""
	if len(files) > 0 {
		some = filepath.Join(g.home, files[g.r.IntN(len(files))])
	}
	switch g.r.IntN(12) {
	case 0, 1, 2:
		_ = os.WriteFile(at, g.content(), 0o600)
	case 3:
		_ = os.Mkdir(at, 0o700)
	case 4:
		_ = os.Symlink(g.name(), at)
	case 5:
		_ = os.Link(some, at)
	case 6:
		_ = os.Rename(some, at)
	case 7:
		_ = os.RemoveAll(filepath.Join(g.home, dirs[g.r.IntN(len(dirs))], g.name()))
	case 8:
		_ = os.Chmod(some, os.FileMode(g.r.IntN(0o1000)))
	case 9:
		g.patch(some, os.O_APPEND, 0)
	case 10:
		g.patch(some, 0, g.r.Int64N(1_000_000))
	default:
		_ = os.Truncate(some, g.r.Int64N(500_000))
	}
}

func (g *gardener) patch(name string, flag int, at int64) {
	info, err := os.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	f, err := os.OpenFile(name, os.O_WRONLY|flag, 0)
	if err != nil {
		return
	}
	defer f.Close()
	data := noise(g.r.Uint64N(1000), 1+g.r.IntN(30_000))
	if flag != 0 {
		_, _ = f.Write(data)
	} else {
		_, _ = f.WriteAt(data, at)
	}
}

// TestAnyTreeComesBack edits random trees at random, takes versions, loses the
// cache now and then, and puts random versions back.
func TestAnyTreeComesBack(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := start(t, nil)
			garden := &gardener{t, rand.New(rand.NewPCG(seed, 7)), g.home}
			pictures := map[string]map[string]string{}
			for range 8 {
				for range 1 + garden.r.IntN(12) {
					garden.change()
				}
				switch garden.r.IntN(6) {
				case 0:
					check(t, os.RemoveAll(g.opts.Cache))
					g.reopen()
				case 1:
					g.reopen()
				}
				now := picture(t, g.home)
				v, _, err := g.vault.Snapshot(t.Context(), g.source(), SnapshotOptions{})
				if errors.Is(err, ErrUnchanged) {
					continue
				}
				check(t, err)
				pictures[v.ID] = now
			}
			for id, want := range pictures {
				samePicture(t, want, picture(t, g.restored(g.vault, id)))
			}
			report, err := g.vault.Verify(t.Context(), VerifyOptions{Full: true})
			check(t, err)
			if !report.OK() || report.Versions != len(pictures) {
				t.Errorf("verified %+v", report)
			}
		})
	}
}

// TestEveryFileCanBeReadAndListed reads a version without restoring it.
func TestEveryFileCanBeReadAndListed(t *testing.T) {
	g := start(t, nil)
	garden := &gardener{t, rand.New(rand.NewPCG(99, 7)), g.home}
	for range 150 {
		garden.change()
	}
	v := g.snapshot()
	tree, err := g.vault.Tree(t.Context(), v.ID)
	check(t, err)
	n := 0
	var visit func(dir string)
	visit = func(dir string) {
		list, err := tree.List(dir)
		check(t, err)
		for _, e := range list {
			n++
			if parent(e.Path) != dir {
				t.Errorf("%q is listed in %q", e.Path, dir)
			}
			if e.Kind == KindDir {
				visit(e.Path)
			}
		}
	}
	visit("")
	if n != tree.Len() || n != v.Files {
		t.Errorf("listed %d of %d entries", n, tree.Len())
	}
	for e := range tree.All() {
		if e.Kind != KindFile {
			continue
		}
		want, err := os.ReadFile(filepath.Join(g.home, e.Path))
		check(t, err)
		got := readAll(t, tree, e.Path)
		if string(got) != string(want) || int64(len(got)) != e.Size {
			t.Errorf("%q has %d bytes, want %d", e.Path, len(got), len(want))
		}
	}
}
