package backup

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/blob"
	"github.com/moltworker/moltworker/internal/blob/mem"
)

// given is a repository with one agent, its home, and a way to hold it.
type given struct {
	t     testing.TB
	store blob.Store
	key   Key
	repo  *Repo
	vault *Vault
	home  string
	stage string
	opts  VaultOptions
}

func start(t testing.TB, store blob.Store) *given {
	t.Helper()
	return startIn(t, store, fastDir(t))
}

// startIn is start with everything in a directory.
func startIn(t testing.TB, store blob.Store, base string) *given {
	t.Helper()
	if store == nil {
		store = mem.New()
	}
	key, err := GenerateKey()
	check(t, err)
	to, err := key.Recipient()
	check(t, err)
	// Always the same key: where lists of files are cut depends on it.
	repo, err := create(t.Context(), store, masterKey{1}, []Recipient{to})
	check(t, err)
	g := &given{t: t, store: store, key: key, repo: repo, home: filepath.Join(base, "home"), stage: filepath.Join(base, "stage"),
		opts: VaultOptions{Cache: filepath.Join(base, "cache"), Writer: "writer-1", Host: "host-1"}}
	check(t, os.MkdirAll(g.home, 0o700))
	g.vault = repo.Vault("clara", g.opts)
	return g
}

// fastDir is a directory in memory where there is one, else on the disk.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "moltworker-backup-test-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = removeTree(dir) })
	return dir
}

func (g *given) source() Source { return Source{Dir: g.home, Stage: g.stage} }

// reopen is a new process: the repository opened again, with what the cache has.
func (g *given) reopen() *Vault {
	g.t.Helper()
	repo, err := Open(g.t.Context(), g.store, g.key)
	check(g.t, err)
	g.repo, g.vault = repo, repo.Vault("clara", g.opts)
	return g.vault
}

func (g *given) snapshot() Version {
	g.t.Helper()
	v, _, err := g.vault.Snapshot(g.t.Context(), g.source(), SnapshotOptions{Reason: "test"})
	check(g.t, err)
	left, err := os.ReadDir(g.stage)
	check(g.t, err)
	if len(left) > 0 {
		g.t.Fatalf("left in the stage: %v", left)
	}
	return v
}

// restored puts a version back somewhere and returns where.
func (g *given) restored(v *Vault, id string) string {
	g.t.Helper()
	dir := filepath.Join(fastDir(g.t), "restored")
	_, err := v.Restore(g.t.Context(), id, dir, RestoreOptions{})
	check(g.t, err)
	return dir
}

func (g *given) write(name, content string) {
	g.t.Helper()
	path := filepath.Join(g.home, name)
	check(g.t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(g.t, os.WriteFile(path, []byte(content), 0o644))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// picture is a tree as text: one line for each entry, with everything that a
// backup keeps.
func picture(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	first := map[uint64]string{}
	check(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		out[rel] = line(t, path, rel, first)
		return nil
	}))
	return out
}

func line(t testing.TB, path, rel string, first map[uint64]string) string {
	t.Helper()
	info, err := os.Lstat(path)
	check(t, err)
	st := info.Sys().(*syscall.Stat_t)
	text := fmt.Sprintf("%v %d:%d %s", info.Mode(), st.Uid, st.Gid, info.ModTime().UTC().Format(time.RFC3339Nano))
	switch {
	case info.Mode()&os.ModeSymlink != 0:
		target, err := os.Readlink(path)
		check(t, err)
		return text + " -> " + target
	case info.Mode().IsRegular():
		data, err := os.ReadFile(path)
		check(t, err)
		text += fmt.Sprintf(" %d %x", info.Size(), sha256.Sum256(data))
		if st.Nlink > 1 {
			if first[st.Ino] == "" {
				first[st.Ino] = rel
			}
			text += " first " + first[st.Ino]
		}
	}
	for _, name := range xattrNames(path) {
		value := make([]byte, 1<<16)
		n, err := unix.Getxattr(path, name, value)
		check(t, err)
		text += fmt.Sprintf(" %s=%q", name, value[:n])
	}
	return text
}

func xattrNames(path string) []string {
	buf := make([]byte, 1<<16)
	n, err := unix.Llistxattr(path, buf)
	if err != nil || n == 0 {
		return nil
	}
	names := strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00")
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "user.") })
	slices.Sort(names)
	return names
}

// samePicture compares two trees.
func samePicture(t testing.TB, want, got map[string]string) {
	t.Helper()
	n := 0
	for path, line := range want {
		if got[path] != line {
			t.Errorf("%q:\n want %s\n  got %s", path, line, got[path])
			n++
		}
		if n > 10 {
			break
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%q should not be there", path)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// noise is n bytes that do not compress.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1], key[2] = byte(seed), byte(seed>>8), byte(seed>>16)
	out := make([]byte, n)
	rand.NewChaCha8(key).Read(out)
	return out
}

// prose is n bytes that do.
func prose(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	words := strings.Fields("the agent reads its notes and writes what it has learned into another file of its home for tomorrow")
	var out []byte
	for len(out) < n {
		out = append(out, words[r.IntN(len(words))]...)
		out = append(out, " \n"[r.IntN(2)])
	}
	return out[:n]
}

// count counts objects and their bytes.
func count(t testing.TB, s blob.Store, prefix string) (n int, bytes int64) {
	t.Helper()
	check(t, s.List(context.Background(), prefix, func(i blob.Info) error {
		n++
		bytes += i.Size
		return nil
	}))
	return n, bytes
}

func readAll(t testing.TB, tree *Tree, path string) []byte {
	t.Helper()
	f, err := tree.Open(t.Context(), path)
	check(t, err)
	data, err := io.ReadAll(f)
	check(t, err)
	check(t, f.Close())
	return data
}
