package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// A Session is somebody's sign-in at one browser, or their visit to one agent's
// own host, which hangs on such a sign-in.
type Session struct {
	ID        string // public
	Hash      []byte // of the value
	Previous  []byte // hash of the value before, or nil
	Seed      []byte // hash of the part of the value that stays
	Rotated   time.Time
	Confirmed time.Time // when the value of Hash was first seen; zero before
	Person    string    // ID; "" when another party vouches for Name
	Name      string
	Via       string
	Parent    string // ID of the sign-in that a visit hangs on
	Agent     string // a visit's agent
	Created   time.Time
	Used      time.Time
	Expires   time.Time
	Address   string
	Client    string // User-Agent
}

const sessionColumns = `id, hash, previous, seed, rotated, confirmed, coalesce(person, ''), name, via,
	coalesce(parent, ''), agent, created, used, expires, address, client`

func scanSession(r row) (s Session, err error) {
	var rotated, confirmed, created, used, expires int64
	err = r.Scan(&s.ID, &s.Hash, &s.Previous, &s.Seed, &rotated, &confirmed, &s.Person, &s.Name, &s.Via,
		&s.Parent, &s.Agent, &created, &used, &expires, &s.Address, &s.Client)
	if err != nil {
		return s, none(err)
	}
	s.Rotated, s.Confirmed = fromMillis(rotated), fromMillis(confirmed)
	s.Created, s.Used, s.Expires = fromMillis(created), fromMillis(used), fromMillis(expires)
	return s, nil
}

// AddSession keeps a new session and forgets the sign-ins that were not used since
// idle or have expired, and of the same person's all but the max newest. A visit
// replaces its sign-in's earlier one to the same agent.
func (d *DB) AddSession(ctx context.Context, s Session, idle time.Time, max int) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE expires <= ? OR parent IS NULL AND used <= ?", millis(s.Created), millis(idle)); err != nil {
			return err
		}
		if s.Parent != "" {
			if _, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE parent = ? AND agent = ?", s.Parent, s.Agent); err != nil {
				return err
			}
		}
		if err := stillThere(ctx, tx, s); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO sessions (id, hash, previous, seed, rotated, confirmed, person, name, via, parent, agent, created, used, expires, address, client)
			VALUES (?, ?, NULL, ?, ?, ?, nullif(?, ''), ?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?)`,
			s.ID, s.Hash, s.Seed, millis(s.Rotated), millis(s.Confirmed), s.Person, s.Name, s.Via, s.Parent, s.Agent,
			millis(s.Created), millis(s.Used), millis(s.Expires), s.Address, s.Client)
		if err != nil || s.Parent != "" {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM sessions WHERE id IN (SELECT id FROM sessions
			WHERE parent IS NULL AND name = ? AND coalesce(person, '') = ? ORDER BY used DESC, rowid DESC LIMIT -1 OFFSET ?)`, s.Name, s.Person, max)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep the session: %w", err)
	}
	return nil
}

// stillThere is ErrNotFound when the person, or the sign-in that a visit hangs
// on, has gone meanwhile.
func stillThere(ctx context.Context, tx *sql.Tx, s Session) error {
	var ok bool
	err := tx.QueryRowContext(ctx, `SELECT (?1 = '' OR EXISTS (SELECT 1 FROM people WHERE id = ?1 AND disabled = 0))
		AND (?2 = '' OR EXISTS (SELECT 1 FROM sessions WHERE id = ?2))`, s.Person, s.Parent).Scan(&ok)
	if err == nil && !ok {
		err = ErrNotFound
	}
	return err
}

// SessionByValue finds the session whose value, or value before that, has this hash.
func (d *DB) SessionByValue(ctx context.Context, hash []byte) (Session, error) {
	s, err := scanSession(d.read.QueryRowContext(ctx, "SELECT "+sessionColumns+" FROM sessions WHERE hash = ?1 OR previous = ?1", hash))
	if err != nil {
		return s, fmt.Errorf("find the session: %w", err)
	}
	return s, nil
}

// Session finds a session by its public ID.
func (d *DB) Session(ctx context.Context, id string) (Session, error) {
	s, err := scanSession(d.read.QueryRowContext(ctx, "SELECT "+sessionColumns+" FROM sessions WHERE id = ?", id))
	if err != nil {
		return s, fmt.Errorf("find the session: %w", err)
	}
	return s, nil
}

// Sessions lists everybody's sign-ins, not the visits, newest first.
func (d *DB) Sessions(ctx context.Context) ([]Session, error) {
	rows, err := d.read.QueryContext(ctx, "SELECT "+sessionColumns+" FROM sessions WHERE parent IS NULL ORDER BY used DESC, id")
	all, err := list(rows, err, scanSession)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return all, nil
}

// UseSession notes that a session, and the one that it hangs on, is in use, and
// with confirmed that its newest value was seen.
func (d *DB) UseSession(ctx context.Context, id string, now time.Time, confirmed bool) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE sessions SET used = max(used, ?1) WHERE id = ?2 OR id = (SELECT parent FROM sessions WHERE id = ?2)", millis(now), id)
		if err != nil || !confirmed {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE sessions SET confirmed = ? WHERE id = ? AND confirmed = 0", millis(now), id)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the session's use: %w", err)
	}
	return nil
}

// RotateSession gives a session another value. The one shown stays good beside
// it. It returns false when somebody else has done so meanwhile.
func (d *DB) RotateSession(ctx context.Context, id string, shown, next []byte, before, now time.Time) (bool, error) {
	err := d.change(ctx, func(tx *sql.Tx) error {
		return found(tx.ExecContext(ctx, "UPDATE sessions SET previous = ?, hash = ?, rotated = ?, confirmed = 0 WHERE id = ? AND rotated = ?",
			shown, next, millis(now), id, millis(before)))
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("rotate the session: %w", err)
	}
	return true, nil
}

// EndSession ends a session and what hangs on it.
func (d *DB) EndSession(ctx context.Context, id string) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		return found(tx.ExecContext(ctx, "DELETE FROM sessions WHERE id = ?", id))
	})
	if err != nil {
		return fmt.Errorf("end the session: %w", err)
	}
	return nil
}

// KnowDevice notes that a person has signed in at the browser whose device value
// has the hash next, and whose value before had the hash last (nil without one).
// Of each person the max newest are known.
func (d *DB) KnowDevice(ctx context.Context, person string, last, next []byte, now time.Time, max int) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE devices SET hash = ? WHERE hash = ?", next, last); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO devices (hash, person, used) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET used = excluded.used", next, person, millis(now)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM devices WHERE rowid IN (SELECT rowid FROM devices
			WHERE person = ? ORDER BY used DESC, rowid DESC LIMIT -1 OFFSET ?)`, person, max)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the device: %w", err)
	}
	return nil
}

// DeviceOf says whether a person has signed in, since a time, at the browser whose
// device value has this hash.
func (d *DB) DeviceOf(ctx context.Context, person string, hash []byte, since time.Time) (known bool, err error) {
	err = d.read.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM devices WHERE hash = ? AND person = ? AND used > ?)", hash, person, millis(since)).Scan(&known)
	if err != nil {
		return false, fmt.Errorf("look the device up: %w", err)
	}
	return known, nil
}
