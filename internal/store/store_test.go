package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"

	"github.com/moltworker/moltworker/internal/remedy"
)

// TestMain lets the test program be the other process of some stories.
func TestMain(m *testing.M) {
	path := os.Getenv("STORE_TEST_DATABASE")
	switch os.Getenv("STORE_TEST_ROLE") {
	case "":
		os.Exit(m.Run())
	case "append":
		exit(appendRows(path, 50))
	case "die while migrating":
		sqlite.MustRegisterScalarFunction("die", 0, func(*sqlite.FunctionContext, []driver.Value) (driver.Value, error) {
			return nil, syscall.Kill(os.Getpid(), syscall.SIGKILL)
		})
		d, err := bare(path)
		if err != nil {
			exit(err)
		}
		exit(d.migrate(context.Background(), files("CREATE TABLE a (x)", "CREATE TABLE b (x); INSERT INTO b VALUES (1); SELECT die()")))
	}
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// other starts this test program in another role.
func other(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_TEST_ROLE="+role, "STORE_TEST_DATABASE="+path)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// files is a schema of those files.
func files(texts ...string) fs.FS {
	m := fstest.MapFS{}
	for i, text := range texts {
		m[fmt.Sprintf("schema/%04d_x.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

// bare is a database without a schema.
func bare(path string) (*DB, error) {
	d := &DB{path: path}
	var err error
	if d.write, err = connect(path, 1, map[string][]string{"_pragma": pragmas, "_txlock": {"immediate"}}); err != nil {
		return nil, err
	}
	d.read = d.write
	return d, d.logAhead(context.Background())
}

func open(t *testing.T, path string) *DB {
	t.Helper()
	d, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// appendRows opens the database and appends n rows to the audit log, each after
// whatever is the last one then.
func appendRows(path string, n int) error {
	ctx := context.Background()
	d, err := Open(ctx, path)
	if err != nil {
		return err
	}
	for range n {
		err := d.AuditTail(ctx, func(tail *AuditTail) error {
			return tail.Append(ctx, AuditRow{Seq: tail.Last.Seq + 1, At: time.Unix(1, 0), Entry: []byte("e"), Hash: []byte("h")})
		})
		if err != nil {
			return errors.Join(err, d.Close())
		}
	}
	return d.Close()
}

func TestOpenAgain(t *testing.T) {
	// A name with everything that means something in a URL.
	path := filepath.Join(t.TempDir(), "a?mode=memory&b#c%20d e.sqlite")
	if err := appendRows(path, 3); err != nil {
		t.Fatal(err)
	}
	if last, err := open(t, path).AuditLast(t.Context()); err != nil || last != 3 {
		t.Fatalf("last entry %d, %v; want 3", last, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
}

func TestFilesAreForTheirOwner(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "control.sqlite")
	// One that was made too readable is mended.
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	d := open(t, path)
	if _, err := d.AuditLast(t.Context()); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(path + "*")
	if err != nil || len(names) != 3 {
		t.Fatalf("files %q, %v; want the database, its log and its locks", names, err)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v; want 0600", name, info.Mode(), err)
		}
	}
}

func TestCommitsAreDurable(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "control.sqlite"))
	for name, db := range map[string]*sql.DB{"write": d.write, "read": d.read} {
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
			var got string
			if err := db.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s connection: %s is %q, %v; want %s", name, pragma, got, err, want)
			}
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sqlite")
	d := open(t, path)
	if _, err := d.write.ExecContext(t.Context(), "PRAGMA user_version = 1000"); err != nil {
		t.Fatal(err)
	}
	for name, opening := range map[string]func(context.Context, string) (*DB, error){"Open": Open, "OpenReadOnly": OpenReadOnly} {
		_, err := opening(t.Context(), path)
		if err == nil || !strings.Contains(err.Error(), "newer moltworker") || remedy.Of(err) == "" {
			t.Errorf("%s: %v, remedy %q; want a refusal with a remedy", name, err, remedy.Of(err))
		}
	}
	if version, err := userVersion(t.Context(), d.read); err != nil || version != 1000 {
		t.Errorf("version %d, %v afterwards; want it untouched", version, err)
	}
}

func TestFailedMigrationLeavesTheLastGoodOne(t *testing.T) {
	d, err := bare(filepath.Join(t.TempDir(), "control.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.migrate(t.Context(), files("CREATE TABLE a (x)", "CREATE TABLE b (x); CREATE TABEL c (x)")); err == nil || !strings.Contains(err.Error(), "0002_x.sql") {
		t.Fatalf("%v; want an error that names the file", err)
	}
	wantTables(t, d, 1, "a")
	if err := d.migrate(t.Context(), files("CREATE TABLE a (x)", "CREATE TABLE b (x)")); err != nil {
		t.Fatal(err)
	}
	wantTables(t, d, 2, "a b")
}

func TestKilledWhileMigrating(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sqlite")
	var ended *exec.ExitError
	if err := other(t, "die while migrating", path).Wait(); !errors.As(err, &ended) || ended.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the other process: %v; want it killed", err)
	}
	d, err := bare(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	wantTables(t, d, 1, "a")
	if err := d.migrate(t.Context(), files("CREATE TABLE a (x)", "CREATE TABLE b (x)")); err != nil {
		t.Fatal(err)
	}
	wantTables(t, d, 2, "a b")
}

func wantTables(t *testing.T, d *DB, version int, names string) {
	t.Helper()
	var got string
	err := d.write.QueryRowContext(t.Context(), "SELECT coalesce(group_concat(name, ' '), '') FROM (SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name)").Scan(&got)
	if err != nil || got != names {
		t.Errorf("tables %q, %v; want %q", got, err, names)
	}
	if v, err := userVersion(t.Context(), d.write); err != nil || v != version {
		t.Errorf("version %d, %v; want %d", v, err, version)
	}
}

func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sqlite")
	// All make the database, bring it up to date and append, at once.
	var started []*exec.Cmd
	for range 4 {
		started = append(started, other(t, "append", path))
	}
	for _, cmd := range started {
		if err := cmd.Wait(); err != nil {
			t.Errorf("a process that appends: %v", err)
		}
	}
	d := open(t, path)
	rows, err := d.AuditFrom(t.Context(), 1, 1000)
	if err != nil || len(rows) != 200 || rows[199].Seq != 200 {
		t.Fatalf("%d rows, %v; want those of all, one after the other", len(rows), err)
	}
}

func TestOpenReadOnly(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "control.sqlite")
	if _, err := OpenReadOnly(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("without a file: %v; want fs.ErrNotExist", err)
	}
	if names, _ := os.ReadDir(dir); len(names) != 0 {
		t.Fatalf("looking at nothing left %v", names)
	}
	if err := appendRows(path, 3); err != nil {
		t.Fatal(err)
	}
	look := func() {
		t.Helper()
		d, err := OpenReadOnly(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if last, err := d.AuditLast(t.Context()); err != nil || last != 3 {
			t.Errorf("last entry %d, %v; want 3", last, err)
		}
		if err := d.AuditTail(t.Context(), func(*AuditTail) error { return nil }); !errors.Is(err, ErrReadOnly) {
			t.Errorf("a change: %v; want ErrReadOnly", err)
		}
		if _, err := d.read.ExecContext(t.Context(), "DELETE FROM audit"); err == nil {
			t.Error("the file itself lets us write")
		}
	}
	look()
	open(t, path) // and while another has it open
	look()
}

func TestOpenReadOnlyWithoutTheRightToWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "control.sqlite")
	if err := appendRows(path, 3); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(path, 0o444), os.Chmod(dir, 0o555), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(dir, 0o755) })
	look := func() (last int64, err error) {
		asNobody(t, func() {
			var d *DB
			if d, err = OpenReadOnly(t.Context(), path); err != nil {
				return
			}
			defer d.Close()
			last, err = d.AuditLast(t.Context())
		})
		return last, err
	}
	if last, err := look(); err != nil || last != 3 {
		t.Errorf("last entry %d, %v; want 3", last, err)
	}
	// With entries in the write-ahead log, an answer would leave those out.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"-wal", []byte("not in the file yet"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if last, err := look(); err == nil || remedy.Of(err) == "" {
		t.Errorf("with a log that cannot be read: last entry %d, %v; want a remedy", last, err)
	}
}

// asNobody calls f with the rights of nobody, if we are root.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock it: the thread ends with us
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

func TestAuditQueries(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "control.sqlite"))
	ctx := t.Context()
	at := time.UnixMilli(1_700_000_000_123).UTC()
	err := d.AuditTail(ctx, func(tail *AuditTail) error {
		for i := range int64(6) {
			row := AuditRow{Seq: i + 1, At: at, Action: "signin.ok", Actor: "person ann", Entry: []byte{byte(i)}, Hash: []byte("h")}
			if i%2 == 1 {
				row.Action, row.Actor, row.Agent = "agent.restart", "owner", "main"
			}
			if err := tail.Append(ctx, row); err != nil {
				return err
			}
		}
		if row, err := tail.Row(ctx, 2); err != nil || row.Agent != "main" || !row.At.Equal(at) {
			t.Errorf("row 2: %+v, %v", row, err)
		}
		if _, err := tail.Row(ctx, 7); !errors.Is(err, ErrNotFound) {
			t.Errorf("row 7: %v; want ErrNotFound", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.AuditTail(ctx, func(tail *AuditTail) error {
		return tail.Append(ctx, AuditRow{Seq: 6, Entry: []byte{}, Hash: []byte{}})
	}); err == nil {
		t.Error("a sequence number was taken twice")
	}
	for _, test := range []struct {
		filter AuditFilter
		want   string
	}{
		{AuditFilter{Limit: 10}, "654321"},
		{AuditFilter{Limit: 2}, "65"},
		{AuditFilter{Limit: 10, After: 2, Before: 5}, "43"},
		{AuditFilter{Limit: 10, Action: "signin"}, "531"},
		{AuditFilter{Limit: 10, Action: "signin.o%"}, ""},
		{AuditFilter{Limit: 10, Action: "agent.", Agent: "main", Before: 6}, "42"},
		{AuditFilter{Limit: 10, Actor: "owner"}, "642"},
		{AuditFilter{Limit: 10, Actor: "own"}, ""},
	} {
		rows, err := d.Audit(ctx, test.filter)
		var got strings.Builder
		for _, r := range rows {
			fmt.Fprint(&got, r.Seq)
		}
		if err != nil || got.String() != test.want {
			t.Errorf("%+v: %s, %v; want %s", test.filter, got.String(), err, test.want)
		}
	}
	// What somebody else put in is not read without bounds.
	if _, err := d.write.ExecContext(ctx, "UPDATE audit SET entry = zeroblob(10000000), actor = printf('%.*c', 10000000, 'x') WHERE seq = 6"); err != nil {
		t.Fatal(err)
	}
	rows, err := d.AuditFrom(ctx, 6, 1)
	if err != nil || len(rows) != 1 || len(rows[0].Entry) != MaxAuditEntry+1 || len(rows[0].Actor) != maxAuditWord+1 {
		t.Errorf("a huge row came with %d bytes, %v", len(rows[0].Entry), err)
	}
}
