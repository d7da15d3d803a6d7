package backupreader

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/blob/dir"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// repository is one with three versions of an agent's home, the first let go of.
type repository struct {
	store, home, stage string
	vault              *backup.Vault
	key                backup.Key
	pictures           map[string]map[string]string // by version
}

func make3(t *testing.T) *repository {
	base := t.TempDir()
	r := &repository{store: filepath.Join(base, "store"), home: filepath.Join(base, "home"), stage: filepath.Join(base, "stage"), pictures: map[string]map[string]string{}}
	store, err := dir.Open(r.store)
	check(t, err)
	t.Cleanup(func() { check(t, store.Close()) })
	r.key, err = backup.GenerateKey()
	check(t, err)
	to, err := r.key.Recipient()
	check(t, err)
	another, err := backup.GenerateKey()
	check(t, err)
	toAnother, err := another.Recipient()
	check(t, err)
	repo, err := backup.Create(t.Context(), store, []backup.Recipient{toAnother, to})
	check(t, err)
	r.vault = repo.Vault("clara", backup.VaultOptions{Writer: "host"})
	check(t, os.Mkdir(r.home, 0o750))
	r.fill(t)
	for i := range 3 {
		r.change(t, i)
		v, _, err := r.vault.Snapshot(t.Context(), backup.Source{Dir: r.home, Stage: r.stage}, backup.SnapshotOptions{Reason: fmt.Sprint("number ", i)})
		check(t, err)
		r.pictures[v.ID] = picture(t, r.home)
	}
	_, err = r.vault.Prune(t.Context(), backup.Policy{Last: 2}, backup.PruneOptions{})
	check(t, err)
	return r
}

// fill makes a home with one of everything.
func (r *repository) fill(t *testing.T) {
	at := func(name string) string { return filepath.Join(r.home, name) }
	for _, d := range []string{"a", "a.b", "empty", "many", "deep/er"} {
		check(t, os.MkdirAll(at(d), 0o755))
	}
	write := func(name string, data []byte, mode os.FileMode) {
		check(t, os.WriteFile(at(name), data, 0o600))
		check(t, os.Chmod(at(name), mode))
	}
	write("a/b", []byte("sorts behind a.b"), 0o644)
	write("a.b/c", nil, 0o600)
	write("text", bytes.Repeat([]byte("compresses well\n"), 60_000), 0o640)
	write("noise", noise(1, 700_000), 0o755|os.ModeSetuid)
	write("db", append([]byte("SQLite format 3\x00"), noise(2, 100_000)...), 0o600)
	write("odd \xff name\n", []byte("odd"), 0o644)
	write("zeros", make([]byte, 200_000), 0o600)
	for i := range 700 {
		write(fmt.Sprintf("many/%03d", i), []byte(fmt.Sprint("file ", i)), 0o644)
	}
	f, err := os.Create(at("sparse"))
	check(t, err)
	_, err = f.WriteAt([]byte("here"), 3<<20+17)
	check(t, errors.Join(err, f.Truncate(7<<20), f.Close()))
	check(t, os.Link(at("text"), at("deep/hard")))
	check(t, os.Symlink("../a/b", at("deep/er/link")))
	check(t, os.Symlink("\xfe", at("dangling")))
	_ = unix.Setxattr(at("noise"), "user.color", []byte("\x00blue"), 0) // where there are attributes
	check(t, os.Chtimes(at("noise"), time.Unix(0, 0), time.Date(1969, 7, 20, 20, 17, 40, 500_000_000, time.UTC)))
}

func (r *repository) change(t *testing.T, i int) {
	check(t, os.WriteFile(filepath.Join(r.home, "version"), []byte(fmt.Sprint(i)), 0o600))
	check(t, os.WriteFile(filepath.Join(r.home, fmt.Sprintf("many/%03d", i*7)), noise(uint64(i), 20_000), 0o600))
	f, err := os.OpenFile(filepath.Join(r.home, "db"), os.O_WRONLY, 0)
	check(t, err)
	_, err = f.WriteAt(noise(uint64(i), 5000), int64(40_000*i))
	check(t, errors.Join(err, f.Close()))
}

func noise(seed uint64, n int) []byte {
	out := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(out)
	return out
}

// picture describes what the reader can put back: content, kind, mode, links, and
// times to the second, as Node sets no finer ones.
func picture(t *testing.T, root string) map[string]string {
	out, first := map[string]string{}, map[uint64]string{}
	check(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		line := info.Mode().String()
		if info.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			out[rel] = line + " " + target
			return err
		}
		line += " " + info.ModTime().UTC().Format(time.DateTime)
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %x", len(data), sha256.Sum256(data))
			if first[st.Ino] == "" {
				first[st.Ino] = rel
			}
			line += " " + first[st.Ino]
		}
		out[rel] = line
		return nil
	}))
	return out
}

func (r *repository) read(ctx context.Context, program, key, agent, out string, version ...string) ([]byte, error) {
	keyFile := filepath.Join(filepath.Dir(r.home), "key")
	if err := os.WriteFile(keyFile, []byte(key+"\n"), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "node", append([]string{program, r.store, keyFile, agent, out}, version...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, stderr.String())
	}
	return stdout, nil
}

// TestASecondReaderRestores runs the program that knows only the page.
func TestASecondReaderRestores(t *testing.T) {
	program, err := Install(t.Context(), t.TempDir())
	check(t, err)
	r := make3(t)
	for id, want := range r.pictures {
		out := filepath.Join(t.TempDir(), "out")
		said, err := r.read(t.Context(), program, r.key.Reveal(), "clara", out, id)
		if id == "0000000000000001" {
			if err == nil || !strings.Contains(err.Error(), "no such version any more") {
				t.Errorf("a version that was let go of: %v", err)
			}
			continue
		}
		check(t, err)
		got := picture(t, out)
		for path, line := range want {
			if got[path] != line {
				t.Errorf("version %s: %q is\n%s, want\n%s", id, path, got[path], line)
			}
		}
		if len(got) != len(want) {
			t.Errorf("version %s: %d entries, want %d", id, len(got), len(want))
		}
		r.compareAttributes(t, said)
	}
	// Without a version's ID, the newest.
	out := filepath.Join(t.TempDir(), "out")
	_, err = r.read(t.Context(), program, r.key.Reveal(), "clara", out)
	check(t, err)
	if data, err := os.ReadFile(filepath.Join(out, "version")); err != nil || string(data) != "2" {
		t.Errorf("the newest version is %q, %v", data, err)
	}
	other, err := backup.GenerateKey()
	check(t, err)
	if _, err := r.read(t.Context(), program, other.Reveal(), "clara", out+"2"); err == nil || !strings.Contains(err.Error(), "the key opens no slot") {
		t.Errorf("another key: %v", err)
	}
	r.spoil(t)
	if _, err := r.read(t.Context(), program, r.key.Reveal(), "clara", out+"3"); err == nil || !strings.Contains(err.Error(), "was changed, or belongs elsewhere") {
		t.Errorf("spoiled packs: %v", err)
	}
}

// compareAttributes compares what the reader read of owners and attributes.
func (r *repository) compareAttributes(t *testing.T, said []byte) {
	t.Helper()
	var report struct {
		Files []struct {
			Path, Kind string
			UID, GID   uint32
			Xattrs     map[string]string
		}
	}
	check(t, json.Unmarshal(said, &report))
	seen := false
	for _, f := range report.Files {
		path, err := hex.DecodeString(f.Path)
		check(t, err)
		info, err := os.Lstat(filepath.Join(r.home, string(path)))
		check(t, err)
		st := info.Sys().(*syscall.Stat_t)
		if f.Kind != "h" && (f.UID != st.Uid || f.GID != st.Gid) {
			t.Errorf("%q is of %d:%d", path, f.UID, f.GID)
		}
		if string(path) == "noise" {
			seen = true
			value := make([]byte, 100)
			n, err := unix.Getxattr(filepath.Join(r.home, "noise"), "user.color", value)
			if err == nil && f.Xattrs["user.color"] != string(value[:n]) {
				t.Errorf("attributes %q", f.Xattrs)
			}
		}
	}
	if !seen {
		t.Error("a file is missing")
	}
}

// spoil flips a bit in every pack.
func (r *repository) spoil(t *testing.T) {
	packs, err := filepath.Glob(filepath.Join(r.store, "v/*/p/*"))
	check(t, err)
	if len(packs) == 0 {
		t.Fatal("no packs")
	}
	for _, p := range packs {
		data, err := os.ReadFile(p)
		check(t, err)
		data[len(data)/2] ^= 1
		check(t, os.WriteFile(p, data, 0o600))
	}
}
