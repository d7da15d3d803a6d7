// Package store owns the control plane's database, one SQLite file in the data
// directory: its schema, its migrations, and typed queries for what others keep
// in it. What changes is durable when a query returns.
//
// It must not know why something is kept, check who may change it, or hold
// anything of which a stolen copy would let somebody in: sessions, invitations
// and service tokens are kept as hashes.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/moltworker/moltworker/internal/remedy"
)

//go:embed schema
var schema embed.FS

// FileName is the database's in the data directory.
const FileName = "control.sqlite"

// Errors of queries.
var (
	ErrNotFound = errors.New("not found")
	ErrTaken    = errors.New("already there")
)

// DB is the open database. Its methods may be called from anywhere.
type DB struct {
	path  string
	write *sql.DB // one connection: SQLite has one writer; nil: nothing may be changed
	read  *sql.DB
}

// ErrReadOnly says that a database was opened to look at it only.
var ErrReadOnly = errors.New("the database is open for reading only")

// Open opens the database file, making it when it is not there, and brings its
// schema up to date. The file is for its owner's eyes only.
func Open(ctx context.Context, path string) (*DB, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	d := &DB{path: path}
	if d.write, err = connect(path, 1, url.Values{"_pragma": pragmas, "_txlock": {"immediate"}}); err != nil {
		return nil, err
	}
	if d.read, err = connect(path, 4, url.Values{"_pragma": pragmas, "_txlock": {"deferred"}}); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	err = d.logAhead(ctx)
	if err == nil {
		err = d.migrate(ctx, schema)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), d.Close())
	}
	return d, nil
}

// OpenReadOnly opens a database that is there, to look at it only. It may be in
// use by another process, and on a medium that cannot be written. Without a file
// the error is fs.ErrNotExist.
func OpenReadOnly(ctx context.Context, path string) (*DB, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	d := &DB{path: path}
	version, err := d.look(ctx, url.Values{"mode": {"ro"}})
	if err != nil && unix.Faccessat(unix.AT_FDCWD, filepath.Dir(path), unix.W_OK, unix.AT_EACCESS) != nil {
		// Without the right to make a file of locks, it can be read only as one
		// that nobody changes, and without what is in its log yet.
		if log, statErr := os.Stat(path + "-wal"); statErr == nil && log.Size() > 0 {
			return nil, remedy.With(fmt.Errorf("database %s: its log cannot be read without writing beside it: %w", path, err),
				"copy the file, and those that begin with its name, to where you may write")
		}
		version, err = d.look(ctx, url.Values{"immutable": {"1"}})
	}
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	files, err := fs.Glob(schema, "schema/*.sql")
	if err == nil {
		err = known(version, len(files))
	}
	if err == nil && version < len(files) {
		err = remedy.With(fmt.Errorf("written by an older moltworker (schema %d, this one wants %d)", version, len(files)),
			"start `moltworker up` once, which brings it up to date")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), d.Close())
	}
	return d, nil
}

// look connects for reading and returns the version of the schema.
func (d *DB) look(ctx context.Context, options url.Values) (version int, err error) {
	options["_pragma"] = []string{"busy_timeout(10000)", "query_only(on)"}
	if d.read, err = connect(d.path, 4, options); err != nil {
		return 0, err
	}
	if version, err = userVersion(ctx, d.read); err != nil {
		return 0, errors.Join(err, d.Close())
	}
	return version, nil
}

// Path is where the database's file is.
func (d *DB) Path() string { return d.path }

var pragmas = []string{"synchronous(full)", "foreign_keys(on)", "busy_timeout(10000)"}

func connect(path string, connections int, options url.Values) (*sql.DB, error) {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: options.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	db.SetMaxOpenConns(connections)
	return db, nil
}

// Close closes the database.
func (d *DB) Close() error {
	var err error
	for _, db := range []*sql.DB{d.read, d.write} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// logAhead has the file keep a write-ahead log, which it then does for good.
// SQLite does not wait for others when it changes that, so this does.
func (d *DB) logAhead(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		var mode string
		err := d.write.QueryRowContext(ctx, "PRAGMA journal_mode = wal").Scan(&mode)
		var refused *sqlite.Error
		switch {
		case err == nil && mode == "wal":
			return nil
		case err == nil:
			return fmt.Errorf("its file system allows no write-ahead log (journal mode %s)", mode)
		case !errors.As(err, &refused) || refused.Code()&0xff != sqlite3.SQLITE_BUSY:
			return fmt.Errorf("have it keep a write-ahead log: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("have it keep a write-ahead log: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// migrate applies the files of the schema that the database has not seen, each
// in one transaction. user_version counts those it has. When two processes do
// this at once, each file is applied by one of them.
func (d *DB) migrate(ctx context.Context, schema fs.FS) error {
	files, err := fs.Glob(schema, "schema/*.sql")
	if err != nil {
		return fmt.Errorf("find the schema: %w", err)
	}
	version, err := userVersion(ctx, d.write)
	if err != nil {
		return err
	}
	if err := known(version, len(files)); err != nil {
		return err
	}
	for i := version; i < len(files); i++ {
		text, err := fs.ReadFile(schema, files[i])
		if err != nil {
			return fmt.Errorf("read the schema: %w", err)
		}
		err = d.change(ctx, func(tx *sql.Tx) error {
			now, err := userVersion(ctx, tx)
			if err != nil || now > i {
				return err
			}
			if _, err := tx.ExecContext(ctx, string(text)); err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", i+1))
			return err
		})
		if err != nil {
			return fmt.Errorf("apply %s: %w", files[i], err)
		}
	}
	return nil
}

// known refuses a schema that only a newer moltworker knows.
func known(version, files int) error {
	if version <= files {
		return nil
	}
	return remedy.With(fmt.Errorf("written by a newer moltworker (schema %d, this one knows %d)", version, files),
		"start that newer version again")
}

func userVersion(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}) (version int, err error) {
	if err := q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return 0, fmt.Errorf("read its version: %w", err)
	}
	return version, nil
}

// change runs do in a transaction that no other writer interrupts.
func (d *DB) change(ctx context.Context, do func(*sql.Tx) error) error {
	if d.write == nil {
		return ErrReadOnly
	}
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := do(tx); err != nil {
		return errors.Join(err, rollback(tx))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// rollback undoes a transaction, which its context may have ended already.
func rollback(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) {
		return err
	}
	return nil
}

// Times are kept as Unix milliseconds; 0 is the zero time.

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
