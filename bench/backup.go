package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	_ "modernc.org/sqlite"

	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/blob/dir"
)

// backupRole turns this program into one run of our backup, so that its time and
// memory are those of a process, as for every other tool.
const backupRole = "bench-backup"

// usualState is how many MB the measured state has: what an agent has after months.
const usualState = 200

// measureBackup stores the same state by different means: all of it, again without
// any change, and after a change of about 1 MB; then it puts the last version back.
// All of them store into a directory.
func measureBackup(ctx context.Context, b *bench) ([]table, error) {
	mb := b.state
	if mb == 0 {
		if mb = usualState; b.short {
			mb = 20
		}
	}
	t := table{Title: fmt.Sprintf("Backup: a state of %d MB", mb), Columns: []string{
		"full MB", "full cpu s", "full s", "full RSS MB", "same MB", "same cpu s", "1 MB MB", "1 MB cpu s", "1 MB s", "restore s", "restore RSS MB"}}
	for _, tool := range tools(b) {
		if !strings.Contains(tool.name, b.tool) {
			continue
		}
		if tool.program != "" {
			if _, err := exec.LookPath(tool.program); err != nil {
				t.Notes = append(t.Notes, tool.name+" is not installed")
				continue
			}
		}
		say("backup: %s", tool.name)
		r, err := tool.measure(ctx, b, mb)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", tool.name, err)
		}
		t.Rows = append(t.Rows, r)
	}
	t.Notes = append(t.Notes, "MB stored by each step; cpu is user and system time of the tool's processes; tar, zstd and rclone encrypt nothing",
		"a process counts what this one had when it was made, so no RSS is below that: compare those above the least")
	return []table{t}, nil
}

// tool is a way to store a state. Each command is given a directory for what it
// stores, and the state; restore a directory to put it back into as well.
type tool struct {
	name    string
	program string // that has to be installed; "" for none
	init    func(store string) []string
	save    func(store, state string) []string
	restore func(store, to string) []string
	env     []string
	// whole: each step stores everything anew, as one file.
	whole bool
}

func tools(b *bench) []tool {
	shell := func(line string, args ...string) []string {
		return append([]string{"sh", "-c", line, "sh"}, args...)
	}
	return []tool{
		{name: "moltworker",
			save:    func(store, state string) []string { return []string{b.self, backupRole, "save", store, state} },
			restore: func(store, to string) []string { return []string{b.self, backupRole, "restore", store, to} }},
		{name: "tar.gz", program: "tar", whole: true,
			save: func(store, state string) []string {
				return shell(`exec tar -czf "$1/state.tar.gz" -C "$2" .`, store, state)
			},
			restore: func(store, to string) []string {
				return shell(`mkdir -p "$2" && exec tar -xzf "$1/state.tar.gz" -C "$2"`, store, to)
			}},
		{name: "tar, zstd -1", program: "zstd", whole: true,
			save: func(store, state string) []string {
				return shell(`tar -c -C "$2" . | zstd -q -1 -f -o "$1/state.tar.zst"`, store, state)
			},
			restore: func(store, to string) []string {
				return shell(`mkdir -p "$2" && zstd -dqc "$1/state.tar.zst" | tar -x -C "$2"`, store, to)
			}},
		{name: "restic", program: "restic", env: []string{"RESTIC_PASSWORD=x"},
			init: func(store string) []string { return []string{"restic", "-q", "-r", store, "init"} },
			save: func(store, state string) []string { return []string{"restic", "-q", "-r", store, "backup", state} },
			restore: func(store, to string) []string {
				return []string{"restic", "-q", "-r", store, "restore", "latest", "--target", to}
			}},
		{name: "rclone sync", program: "rclone",
			save:    func(store, state string) []string { return []string{"rclone", "sync", state, store} },
			restore: func(store, to string) []string { return []string{"rclone", "sync", store, to} }},
	}
}

// cost is what a process took.
type cost struct {
	cpu, wall time.Duration
	rss       int64 // bytes
}

func (t tool) measure(ctx context.Context, b *bench, mb int) (row, error) {
	work, err := os.MkdirTemp(b.dir, "backup-")
	if err != nil {
		return row{}, err
	}
	defer os.RemoveAll(work)
	state, store := filepath.Join(work, "state"), filepath.Join(work, "store")
	random := rand.New(rand.NewPCG(1, 2)) // the same state for every tool
	if err := errors.Join(makeState(state, mb, random), os.Mkdir(store, 0o700)); err != nil {
		return row{}, err
	}
	if t.init != nil {
		if _, err := t.run(ctx, t.init(store)); err != nil {
			return row{}, err
		}
	}
	values := map[string]float64{}
	for _, step := range []struct {
		name   string
		change func() error
	}{{"full", func() error { return nil }}, {"same", func() error { return nil }}, {"1 MB", func() error { return touch(state, random) }}} {
		if err := step.change(); err != nil {
			return row{}, err
		}
		before, err := stored(store)
		if err != nil {
			return row{}, err
		}
		c, err := t.run(ctx, t.save(store, state))
		if err != nil {
			return row{}, err
		}
		after, err := stored(store)
		if err != nil {
			return row{}, err
		}
		if values[step.name+" MB"] = after.since(before); t.whole {
			values[step.name+" MB"] = after.since(nil)
		}
		values[step.name+" cpu s"], values[step.name+" s"], values[step.name+" RSS MB"] = c.cpu.Seconds(), c.wall.Seconds(), float64(c.rss)/1e6
	}
	c, err := t.run(ctx, t.restore(store, filepath.Join(work, "restored")))
	values["restore s"], values["restore RSS MB"] = c.wall.Seconds(), float64(c.rss)/1e6
	return row{Name: t.name, Values: values}, err
}

func (t tool) run(ctx context.Context, args []string) (cost, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), t.env...)
	var said strings.Builder
	cmd.Stderr = &said
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	c := cost{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), wall: time.Since(began)}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.rss = usage.Maxrss << 10
	}
	return c, nil
}

// contents are the files of a store, by name, with size and time.
type contents map[string]fs.FileInfo

func stored(store string) (contents, error) {
	all := contents{}
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		all[path] = info
		return err
	})
	return all, err
}

// since is how many MB are in files that are new or were written again.
func (c contents) since(before contents) float64 {
	var bytes int64
	for path, info := range c {
		if old, ok := before[path]; !ok || !old.ModTime().Equal(info.ModTime()) || old.Size() != info.Size() {
			bytes += info.Size()
		}
	}
	return float64(bytes) / 1e6
}

// makeState makes what an agent has after months: databases with random keys, long
// logs, many notes, a few large files that do not compress.
func makeState(dir string, mb int, random *rand.Rand) error {
	share := func(percent int) int { return mb * percent * 10_000 }
	for _, name := range []string{"logs", "notes", "media"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	for i := range 120 {
		if err := appendLog(dir, i, share(39)/120, random); err != nil {
			return err
		}
	}
	for i := range 800 {
		if err := os.WriteFile(filepath.Join(dir, "notes", fmt.Sprintf("%d.md", i)), words(random, share(2)/800), 0o600); err != nil {
			return err
		}
	}
	for i := range 4 {
		if err := os.WriteFile(filepath.Join(dir, "media", fmt.Sprint(i)), noise(random, share(25)/4), 0o600); err != nil {
			return err
		}
	}
	return rows(filepath.Join(dir, "state.sqlite"), share(30)/500, random)
}

// touch changes about 1 MB: two logs grow, 250 rows and ten notes come, and a file.
func touch(dir string, random *rand.Rand) error {
	err := errors.Join(appendLog(dir, 3, 150_000, random), appendLog(dir, 7, 150_000, random),
		rows(filepath.Join(dir, "state.sqlite"), 250, random),
		os.WriteFile(filepath.Join(dir, "media", "new"), noise(random, 200_000), 0o600))
	for i := range 10 {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "notes", fmt.Sprintf("new-%d.md", i)), words(random, 5000), 0o600))
	}
	return err
}

func appendLog(dir string, i, bytes int, random *rand.Rand) error {
	f, err := os.OpenFile(filepath.Join(dir, "logs", fmt.Sprintf("%d.jsonl", i)), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(words(random, bytes))
	return errors.Join(err, f.Close())
}

// rows adds rows of about 500 bytes with random keys.
func rows(path string, n int, random *rand.Rand) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS t(k BLOB PRIMARY KEY, v TEXT) WITHOUT ROWID"); err != nil {
		return err
	}
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	for range n {
		if _, err := tx.Exec("INSERT INTO t VALUES(?, ?)", noise(random, 16), string(words(random, 400))); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

func words(random *rand.Rand, bytes int) []byte {
	out := make([]byte, 0, bytes+20)
	for len(out) < bytes {
		out = fmt.Appendf(out, "word%d ", random.IntN(20_000))
	}
	return out[:bytes]
}

func noise(random *rand.Rand, bytes int) []byte {
	out := make([]byte, bytes)
	for i := range out {
		out[i] = byte(random.Uint32())
	}
	return out
}

// runBackup is one run of ours, as another process: save STORE STATE, or restore
// STORE DIR. The key is a passphrase's, whose cost would stand for nothing here, so
// it is kept in a file beside the store.
func runBackup(args []string) error {
	if len(args) != 3 {
		return errors.New("want save or restore, a store and a directory")
	}
	ctx := context.Background()
	store, err := dir.Open(args[1])
	if err != nil {
		return err
	}
	defer store.Close()
	keyFile := args[1] + ".key"
	var repo *backup.Repo
	text, err := os.ReadFile(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		repo, err = newRepo(ctx, store, keyFile)
	} else if err == nil {
		var key backup.Key
		if key, err = backup.ParseKey(string(text)); err == nil {
			repo, err = backup.Open(ctx, store, key)
		}
	}
	if err != nil {
		return err
	}
	vault := repo.Vault("bench", backup.VaultOptions{Cache: args[1] + ".cache", Writer: "bench"})
	if args[0] == "restore" {
		_, err = vault.Restore(ctx, "0000000000000002", args[2], backup.RestoreOptions{})
		return err
	}
	_, _, err = vault.Snapshot(ctx, backup.Source{Dir: args[2], Stage: args[1] + ".stage"}, backup.SnapshotOptions{Reason: "bench"})
	if errors.Is(err, backup.ErrUnchanged) {
		return nil
	}
	return err
}

func newRepo(ctx context.Context, store *dir.Store, keyFile string) (*backup.Repo, error) {
	key, err := backup.GenerateKey()
	if err != nil {
		return nil, err
	}
	to, err := key.Recipient()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(keyFile, []byte(key.Reveal()), 0o600); err != nil {
		return nil, err
	}
	return backup.Create(ctx, store, []backup.Recipient{to})
}
