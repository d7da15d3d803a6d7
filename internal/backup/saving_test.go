package backup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "modernc.org/sqlite"
)

// openDB opens a database as OpenClaw keeps its state: SQLite with a write-ahead log.
func openDB(t testing.TB, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=wal_autocheckpoint(200)")
	check(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

func insert(t testing.TB, db *sql.DB, r *rand.Rand, rows int) {
	t.Helper()
	tx, err := db.Begin()
	check(t, err)
	for range rows {
		_, err := tx.Exec(`insert into m values (?, ?)`, fmt.Sprintf("%016x", r.Uint64()), string(prose(r.Uint64(), 400)))
		check(t, err)
	}
	check(t, tx.Commit())
}

// agentHome makes a home of about 40 MB: a database, logs, notes, and files that
// do not compress.
func agentHome(t testing.TB, home string) *sql.DB {
	t.Helper()
	at := func(name string) string { return filepath.Join(home, name) }
	for _, dir := range []string{"state", "logs", "notes", "media"} {
		check(t, os.MkdirAll(at(dir), 0o755))
	}
	db := openDB(t, at("state/openclaw.sqlite"))
	_, err := db.Exec(`create table m (k text primary key, v text) without rowid`)
	check(t, err)
	insert(t, db, rand.New(rand.NewPCG(1, 1)), 16_000)
	for i := range 12 {
		check(t, os.WriteFile(at(fmt.Sprintf("logs/%d.jsonl", i)), prose(uint64(i), 1_300_000), 0o644))
	}
	for i := range 400 {
		check(t, os.WriteFile(at(fmt.Sprintf("notes/%03d.md", i)), prose(uint64(i), 500+i*7), 0o644))
	}
	for i := range 4 {
		check(t, os.WriteFile(at(fmt.Sprintf("media/%d.png", i)), noise(uint64(i), 2_500_000), 0o644))
	}
	return db
}

// TestASmallChangeCostsLittle: a backup every few seconds is only to be had when a
// change of some kilobytes costs that much.
func TestASmallChangeCostsLittle(t *testing.T) {
	g := start(t, nil)
	db := agentHome(t, g.home)
	// Shared memory is no state; and a file in memory does not get a new time by it.
	src := g.source()
	src.Leave = func(path string, _ bool) bool { return strings.HasSuffix(path, "-shm") }
	snapshot := func() Version {
		t.Helper()
		v, _, err := g.vault.Snapshot(t.Context(), src, SnapshotOptions{})
		check(t, err)
		return v
	}
	first := snapshot()
	t.Logf("full: %d bytes, stored %d in %d objects, took %v", first.Bytes, first.Stored, first.Objects, first.Took)
	if first.Bytes < 30<<20 {
		t.Fatalf("the home has only %d bytes", first.Bytes)
	}

	_, stats, err := g.vault.Snapshot(t.Context(), src, SnapshotOptions{})
	if !errors.Is(err, ErrUnchanged) || stats.Stored != 0 {
		t.Errorf("nothing changed, and %d bytes were stored (%v)", stats.Stored, err)
	}

	// About 1 MB: 300 KB more in two logs, some rows, ten notes, a new picture.
	r := rand.New(rand.NewPCG(2, 2))
	changed := int64(0)
	for _, name := range []string{"logs/3.jsonl", "logs/7.jsonl"} {
		appendFile(t, filepath.Join(g.home, name), prose(r.Uint64(), 150_000))
		changed += 150_000
	}
	for i := range 10 {
		name := filepath.Join(g.home, fmt.Sprintf("notes/%03d.md", i*37))
		appendFile(t, name, []byte("and one thing more\n"))
		info, err := os.Stat(name)
		check(t, err)
		changed += info.Size()
	}
	check(t, os.WriteFile(filepath.Join(g.home, "media/new.png"), noise(77, 200_000), 0o644))
	changed += 200_000
	before, err := os.ReadFile(filepath.Join(g.home, "state/openclaw.sqlite"))
	check(t, err)
	beforeLog, err := os.ReadFile(filepath.Join(g.home, "state/openclaw.sqlite-wal"))
	check(t, err)
	insert(t, db, r, 40)
	changed += pagesChanged(t, before, filepath.Join(g.home, "state/openclaw.sqlite")) + pagesChanged(t, beforeLog, filepath.Join(g.home, "state/openclaw.sqlite-wal"))
	v := snapshot()
	t.Logf("change of %d bytes: stored %d in %d objects, took %v", changed, v.Stored, v.Objects, v.Took)
	if v.Stored > 2*changed+64<<10 {
		t.Errorf("a change of %d bytes stored %d", changed, v.Stored)
	}
	if changed < 900_000 || changed > 1_500_000 {
		t.Errorf("the change of this test has %d bytes", changed)
	}

	// Rows all over a database: pages, not the surroundings of each.
	checkpoint := func() {
		_, err := db.Exec(`pragma wal_checkpoint(truncate)`)
		check(t, err)
	}
	checkpoint()
	snapshot()
	before, err = os.ReadFile(filepath.Join(g.home, "state/openclaw.sqlite"))
	check(t, err)
	insert(t, db, r, 40)
	checkpoint()
	changed = pagesChanged(t, before, filepath.Join(g.home, "state/openclaw.sqlite"))
	v = snapshot()
	t.Logf("40 rows, %d bytes of pages: stored %d", changed, v.Stored)
	if v.Stored > 2*changed+64<<10 {
		t.Errorf("40 rows, %d bytes of pages, stored %d", changed, v.Stored)
	}

	// One line in one file: what is stored beside it.
	appendFile(t, filepath.Join(g.home, "notes/200.md"), []byte("x"))
	if v := snapshot(); v.Stored > 30_000 {
		t.Errorf("one letter stored %d bytes", v.Stored)
	}
	// A moved file costs its entry only.
	check(t, os.Rename(filepath.Join(g.home, "media/1.png"), filepath.Join(g.home, "media/moved.png")))
	if v := snapshot(); v.Stored > 60_000 {
		t.Errorf("a moved file stored %d bytes", v.Stored)
	}
	want := picture(t, g.home)
	delete(want, "state/openclaw.sqlite-shm")
	samePicture(t, want, picture(t, g.restored(g.vault, versionID(6))))
}

func appendFile(t testing.TB, name string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	check(t, err)
	_, err = f.Write(data)
	check(t, errors.Join(err, f.Close()))
}

// pagesChanged counts the bytes of 4 KiB pages of a file that are other than before.
func pagesChanged(t testing.TB, before []byte, name string) int64 {
	t.Helper()
	now, err := os.ReadFile(name)
	check(t, err)
	n := int64(0)
	for at := 0; at < len(now); at += 4096 {
		end := min(at+4096, len(now))
		if end > len(before) || string(now[at:end]) != string(before[at:end]) {
			n += int64(end - at)
		}
	}
	return n
}

// TestADatabaseThatIsWrittenAllTheTime is backed up while another goroutine writes
// to it without a pause, but for when it is held.
func TestADatabaseThatIsWrittenAllTheTime(t *testing.T) {
	g := start(t, nil)
	db := openDB(t, filepath.Join(g.home, "live.sqlite"))
	_, err := db.Exec(`create table m (k text primary key, v text)`)
	check(t, err)
	_, err = db.Exec(`create table n (total int); insert into n values (0)`)
	check(t, err)
	var writing sync.Mutex
	stop, ended := make(chan struct{}), make(chan struct{})
	defer func() {
		close(stop)
		<-ended
	}()
	go func() {
		defer close(ended)
		r := rand.New(rand.NewPCG(5, 5))
		for {
			select {
			case <-stop:
				return
			default:
			}
			// The lock is taken within a transaction too: the tree is held with files half
			// written, as a paused process leaves them.
			tx, err := db.Begin()
			for range 5 {
				writing.Lock()
				if err == nil {
					_, err = tx.Exec(`insert into m values (?, ?)`, fmt.Sprintf("%016x", r.Uint64()), string(prose(r.Uint64(), 2000)))
				}
				writing.Unlock()
			}
			writing.Lock()
			if err == nil {
				_, err = tx.Exec(`update n set total = total + 5`)
			}
			if err == nil {
				err = tx.Commit()
			}
			writing.Unlock()
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	src := g.source()
	src.Hold = func(_ context.Context, do func() error) error {
		writing.Lock()
		defer writing.Unlock()
		return do()
	}
	src.Leave = func(path string, _ bool) bool { return filepath.Ext(path) == ".sqlite-shm" }
	var ids []string
	for len(ids) < 12 {
		v, _, err := g.vault.Snapshot(t.Context(), src, SnapshotOptions{})
		if errors.Is(err, ErrUnchanged) {
			continue // the writer was not let
		}
		check(t, err)
		ids = append(ids, v.ID)
	}
	last := 0
	for _, id := range ids {
		dir := g.restored(g.vault, id)
		last = max(last, wholeDB(t, filepath.Join(dir, "live.sqlite")))
	}
	if last == 0 {
		t.Error("all versions are of an empty database")
	}
}

// wholeDB checks a database and returns how many rows it has.
func wholeDB(t testing.TB, path string) (rows int) {
	t.Helper()
	db := openDB(t, path)
	var result string
	check(t, db.QueryRow(`pragma integrity_check`).Scan(&result))
	if result != "ok" {
		t.Errorf("%s: %s", path, result)
	}
	var total int
	check(t, db.QueryRow(`select (select count(*) from m), (select total from n)`).Scan(&rows, &total))
	if rows != total {
		t.Errorf("%s has %d rows, and says %d", path, rows, total)
	}
	return rows
}
