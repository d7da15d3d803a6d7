package calllog

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/moltworker/moltworker/internal/remedy"
)

//go:embed schema/*.sql payloads/*.sql
var schemas embed.FS

// file is one open database.
type file struct {
	write *sql.DB // one connection
	read  *sql.DB
}

// Pragmas. A power cut may take the last calls with it, but what is there stays
// consistent (synchronous normal with a write-ahead log); this is no audit log, and
// syncing every batch would wear disks out. The writer waits little for others, as
// it tries again by itself.
var (
	writePragmas = []string{"busy_timeout(500)", "synchronous(normal)", "cache_size(-32768)",
		"wal_autocheckpoint(4000)", "journal_size_limit(67108864)"}
	readPragmas = []string{"busy_timeout(5000)", "query_only(on)", "cache_size(-8192)"}
)

// readers is how many queries run at a time.
const readers = 4

// openFile opens a database, made if it is not there, and applies the schema in
// the folder. Only its owner may read it.
func openFile(ctx context.Context, path, folder string) (*file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the record of calls: %w", err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return nil, fmt.Errorf("open the record of calls: %w", err)
	}
	d := &file{}
	d.write, err = connect(path, 1, url.Values{"_pragma": writePragmas, "_txlock": {"immediate"}})
	if err == nil {
		err = d.prepare(ctx, folder)
	}
	if err == nil {
		d.read, err = connect(path, readers, url.Values{"_pragma": readPragmas, "_txlock": {"deferred"}})
	}
	if err != nil {
		return nil, errors.Join(hint(fmt.Errorf("record of calls %s: %w", path, err), path), d.close())
	}
	return d, nil
}

// hint says what helps against a file that is none of ours.
func hint(err error, path string) error {
	if code := codeOf(err); code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB {
		return remedy.With(err, "move "+path+" and the files that begin with its name away; a new record begins")
	}
	return err
}

// codeOf is SQLite's primary result code, or 0.
func codeOf(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code() & 0xff
}

func connect(path string, connections int, options url.Values) (*sql.DB, error) {
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: options.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

func (d *file) close() (err error) {
	for _, db := range []*sql.DB{d.read, d.write} {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}
	return err
}

// prepare waits for another process that does the same, for a while.
func (d *file) prepare(ctx context.Context, folder string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := d.setUp(ctx, folder)
		if code := codeOf(err); code != sqlite3.SQLITE_BUSY && code != sqlite3.SQLITE_LOCKED {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// setUp has the file give back room piece by piece, which can be said only before
// its first table, keep a write-ahead log, and have the tables of the schema.
// user_version counts the files of it that were applied.
func (d *file) setUp(ctx context.Context, folder string) error {
	if _, err := d.write.ExecContext(ctx, "PRAGMA auto_vacuum = incremental"); err != nil {
		return err
	}
	var mode string
	if err := d.write.QueryRowContext(ctx, "PRAGMA journal_mode = wal").Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("its file system allows no write-ahead log (journal mode %s)", mode)
	}
	files, err := fs.Glob(schemas, folder+"/*.sql")
	if err != nil {
		return err
	}
	return d.change(ctx, func(tx *sql.Tx) error {
		var version int
		if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
			return err
		}
		if version > len(files) {
			return remedy.With(fmt.Errorf("written by a newer moltworker (schema %d, this one knows %d)", version, len(files)),
				"start that newer version again")
		}
		for i := version; i < len(files); i++ {
			text, err := fs.ReadFile(schemas, files[i])
			if err == nil {
				_, err = tx.ExecContext(ctx, string(text)+fmt.Sprintf(";PRAGMA user_version = %d", i+1))
			}
			if err != nil {
				return fmt.Errorf("apply %s: %w", files[i], err)
			}
		}
		return nil
	})
}

// change runs do in a transaction that no other writer interrupts.
func (d *file) change(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		if back := tx.Rollback(); back != nil && !errors.Is(back, sql.ErrTxDone) {
			return errors.Join(err, back)
		}
		return err
	}
	return tx.Commit()
}

// giveBack returns up to so many unused pages to the file system.
func (d *file) giveBack(ctx context.Context, pages int) error {
	// Each row that the pragma yields is a page: all must be fetched.
	rows, err := d.write.QueryContext(ctx, fmt.Sprintf("PRAGMA incremental_vacuum(%d)", pages))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

// pages is the size of the file in pages, how many of them are unused, and the size
// of one in bytes.
func (d *file) pages(ctx context.Context) (all, unused, size int64, err error) {
	err = d.write.QueryRowContext(ctx, "SELECT page_count, freelist_count, page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size").
		Scan(&all, &unused, &size)
	return all, unused, size, err
}
