package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// A Person may sign in.
type Person struct {
	ID       string
	Name     string
	Password string // PHC string; "" when there is none
	Created  time.Time
	Disabled time.Time // zero while the person may sign in
}

// A Passkey is one of a person's.
type Passkey struct {
	ID         []byte // the authenticator's name for it
	Person     string // ID of its owner
	Name       string
	RP         string // host name that it was made for
	Credential []byte // JSON
	Created    time.Time
	Used       time.Time
}

const personColumns = "id, name, password, created, disabled"

// row is what a query answers with: *sql.Row or *sql.Rows.
type row interface{ Scan(into ...any) error }

func scanPerson(r row) (p Person, err error) {
	var created, disabled int64
	if err := r.Scan(&p.ID, &p.Name, &p.Password, &created, &disabled); err != nil {
		return p, none(err)
	}
	p.Created, p.Disabled = fromMillis(created), fromMillis(disabled)
	return p, nil
}

// none is err, or ErrNotFound when a query found no row.
func none(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// taken is err, or ErrTaken when a row of that name is there already.
func taken(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) && (e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY) {
		return ErrTaken
	}
	return err
}

// found is ErrNotFound when a change changed nothing.
func found(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return ErrNotFound
}

// list reads all rows of a query.
func list[T any](rows *sql.Rows, err error, scan func(row) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// People lists everybody by name.
func (d *DB) People(ctx context.Context) ([]Person, error) {
	rows, err := d.read.QueryContext(ctx, "SELECT "+personColumns+" FROM people ORDER BY folded")
	all, err := list(rows, err, scanPerson)
	if err != nil {
		return nil, fmt.Errorf("list people: %w", err)
	}
	return all, nil
}

// AnyPeople says whether there is anybody.
func (d *DB) AnyPeople(ctx context.Context) (any bool, err error) {
	if err := d.read.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM people)").Scan(&any); err != nil {
		return false, fmt.Errorf("look for people: %w", err)
	}
	return any, nil
}

// PersonNamed finds a person by name, in any case of its letters.
func (d *DB) PersonNamed(ctx context.Context, name string) (Person, error) {
	p, err := scanPerson(d.read.QueryRowContext(ctx, "SELECT "+personColumns+" FROM people WHERE folded = ?", strings.ToLower(name)))
	if err != nil {
		return p, fmt.Errorf("find person %q: %w", name, err)
	}
	return p, nil
}

// Person finds a person by ID.
func (d *DB) Person(ctx context.Context, id string) (Person, error) {
	p, err := scanPerson(d.read.QueryRowContext(ctx, "SELECT "+personColumns+" FROM people WHERE id = ?", id))
	if err != nil {
		return p, fmt.Errorf("find person: %w", err)
	}
	return p, nil
}

func insertPerson(ctx context.Context, tx *sql.Tx, p Person) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO people (id, name, folded, password, created, disabled) VALUES (?, ?, ?, ?, ?, ?)",
		p.ID, p.Name, strings.ToLower(p.Name), p.Password, millis(p.Created), millis(p.Disabled))
	return taken(err)
}

// SetPassword changes a person's password and ends their other sessions.
func (d *DB) SetPassword(ctx context.Context, person, password, keepSession string) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		if err := found(tx.ExecContext(ctx, "UPDATE people SET password = ? WHERE id = ?", password, person)); err != nil {
			return err
		}
		return endOthers(ctx, tx, person, keepSession)
	})
	if err != nil {
		return fmt.Errorf("set the password: %w", err)
	}
	return nil
}

// endOthers ends a person's sessions but one, and the visits that hang on them;
// their former devices are strangers again.
func endOthers(ctx context.Context, tx *sql.Tx, person, keep string) error {
	if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE person = ? AND id <> ? AND (parent IS NULL OR parent <> ?)", person, keep, keep); err != nil {
		return err
	}
	if keep != "" {
		return nil
	}
	_, err := tx.ExecContext(ctx, "DELETE FROM devices WHERE person = ?", person)
	return err
}

// DisablePerson lets a person in no more and ends their sessions. With
// exceptLast, the only person who may still sign in stays: ErrLast.
func (d *DB) DisablePerson(ctx context.Context, person string, now time.Time, exceptLast bool) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		if err := leaveOne(ctx, tx, person, exceptLast); err != nil {
			return err
		}
		if err := found(tx.ExecContext(ctx, "UPDATE people SET disabled = ? WHERE id = ?", millis(now), person)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM links WHERE person = ?", person); err != nil {
			return err
		}
		return endOthers(ctx, tx, person, "")
	})
	if err != nil {
		return fmt.Errorf("disable: %w", err)
	}
	return nil
}

// RemovePerson forgets a person with all that is theirs. exceptLast is as with
// DisablePerson.
func (d *DB) RemovePerson(ctx context.Context, person string, exceptLast bool) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		if err := leaveOne(ctx, tx, person, exceptLast); err != nil {
			return err
		}
		return found(tx.ExecContext(ctx, "DELETE FROM people WHERE id = ?", person))
	})
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// ErrLast says that nobody would be left who may sign in.
var ErrLast = errors.New("the last person who can sign in")

func leaveOne(ctx context.Context, tx *sql.Tx, person string, wanted bool) error {
	if !wanted {
		return nil
	}
	var others bool
	err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM people WHERE id <> ? AND disabled = 0)", person).Scan(&others)
	if err == nil && !others {
		err = ErrLast
	}
	return err
}

const passkeyColumns = "id, person, name, rp, credential, created, used"

func scanPasskey(r row) (k Passkey, err error) {
	var created, used int64
	if err := r.Scan(&k.ID, &k.Person, &k.Name, &k.RP, &k.Credential, &created, &used); err != nil {
		return k, none(err)
	}
	k.Created, k.Used = fromMillis(created), fromMillis(used)
	return k, nil
}

// Passkeys lists a person's passkeys, oldest first.
func (d *DB) Passkeys(ctx context.Context, person string) ([]Passkey, error) {
	rows, err := d.read.QueryContext(ctx, "SELECT "+passkeyColumns+" FROM passkeys WHERE person = ? ORDER BY created, id", person)
	all, err := list(rows, err, scanPasskey)
	if err != nil {
		return nil, fmt.Errorf("list passkeys: %w", err)
	}
	return all, nil
}

// Passkey finds a passkey by its ID.
func (d *DB) Passkey(ctx context.Context, id []byte) (Passkey, error) {
	k, err := scanPasskey(d.read.QueryRowContext(ctx, "SELECT "+passkeyColumns+" FROM passkeys WHERE id = ?", id))
	if err != nil {
		return k, fmt.Errorf("find the passkey: %w", err)
	}
	return k, nil
}

// AddPasskey keeps a person's further passkey, if there are fewer than max.
func (d *DB) AddPasskey(ctx context.Context, k Passkey, max int) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM passkeys WHERE person = ?", k.Person).Scan(&n); err != nil {
			return err
		}
		if n >= max {
			return ErrFull
		}
		return insertPasskey(ctx, tx, k)
	})
	if err != nil {
		return fmt.Errorf("keep the passkey: %w", err)
	}
	return nil
}

// ErrFull says that there are as many of a kind as there may be.
var ErrFull = errors.New("too many")

func insertPasskey(ctx context.Context, tx *sql.Tx, k Passkey) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO passkeys ("+passkeyColumns+") VALUES (?, ?, ?, ?, ?, ?, ?)",
		k.ID, k.Person, k.Name, k.RP, k.Credential, millis(k.Created), millis(k.Used))
	return taken(err)
}

// UsePasskey notes that a passkey was used, and its state after that. It fails with
// ErrNotFound when the state before is not the one given: somebody else has used
// it meanwhile.
func (d *DB) UsePasskey(ctx context.Context, id, before, after []byte, now time.Time) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		return found(tx.ExecContext(ctx, "UPDATE passkeys SET credential = ?, used = ? WHERE id = ? AND credential = ?", after, millis(now), id, before))
	})
	if err != nil {
		return fmt.Errorf("note the passkey's use: %w", err)
	}
	return nil
}

// RemovePasskey forgets one of a person's passkeys. It refuses to take the last
// way in, ErrLast: a person without a password keeps one passkey.
func (d *DB) RemovePasskey(ctx context.Context, person string, id []byte) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		var other bool
		err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM people WHERE id = ?1 AND password <> '')
			OR EXISTS (SELECT 1 FROM passkeys WHERE person = ?1 AND id <> ?2)`, person, id).Scan(&other)
		if err != nil {
			return err
		}
		if !other {
			return ErrLast
		}
		return found(tx.ExecContext(ctx, "DELETE FROM passkeys WHERE person = ? AND id = ?", person, id))
	})
	if err != nil {
		return fmt.Errorf("remove the passkey: %w", err)
	}
	return nil
}
