package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Kinds of links.
const (
	LinkSetup   = "setup"   // makes the first person
	LinkInvite  = "invite"  // makes a further person
	LinkRecover = "recover" // gives a person a new way in
)

// A Link lets somebody in once.
type Link struct {
	Hash    []byte
	Kind    string
	Person  string // ID of whom a recovery is for
	By      string // who made it
	Created time.Time
	Expires time.Time // zero: until it is used or replaced
}

// AddLink keeps a link, if there are fewer than max of its kind. A setup link
// replaces the one before, and is refused, ErrTaken, once there is anybody. A
// recovery replaces its person's, whose sessions it ends.
func (d *DB) AddLink(ctx context.Context, l Link, max int) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "DELETE FROM links WHERE expires <> 0 AND expires <= ?", millis(l.Created)); err != nil {
			return err
		}
		if err := clearFor(ctx, tx, l); err != nil {
			return err
		}
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM links WHERE kind = ?", l.Kind).Scan(&n); err != nil {
			return err
		}
		if n >= max {
			return ErrFull
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO links (hash, kind, person, by, created, expires) VALUES (?, ?, nullif(?, ''), ?, ?, ?)",
			l.Hash, l.Kind, l.Person, l.By, millis(l.Created), millis(l.Expires))
		return err
	})
	if err != nil {
		return fmt.Errorf("keep the link: %w", err)
	}
	return nil
}

// clearFor removes what a new link replaces.
func clearFor(ctx context.Context, tx *sql.Tx, l Link) error {
	switch l.Kind {
	case LinkSetup:
		if err := nobody(ctx, tx); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM links WHERE kind = ?", LinkSetup)
		return err
	case LinkRecover:
		if _, err := tx.ExecContext(ctx, "DELETE FROM links WHERE kind = ? AND person = ?", LinkRecover, l.Person); err != nil {
			return err
		}
		return endOthers(ctx, tx, l.Person, "")
	}
	return nil
}

// nobody is ErrTaken when there is a person already.
func nobody(ctx context.Context, tx *sql.Tx) error {
	var any bool
	err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM people)").Scan(&any)
	if err == nil && any {
		err = ErrTaken
	}
	return err
}

// Link finds a link that is still good.
func (d *DB) Link(ctx context.Context, hash []byte, kind string, now time.Time) (Link, error) {
	l, err := scanLink(d.read.QueryRowContext(ctx, "SELECT hash, kind, coalesce(person, ''), by, created, expires FROM links WHERE hash = ? AND kind = ? AND (expires = 0 OR expires > ?)",
		hash, kind, millis(now)))
	if err != nil {
		return l, fmt.Errorf("find the link: %w", err)
	}
	return l, nil
}

func scanLink(r row) (l Link, err error) {
	var created, expires int64
	if err := r.Scan(&l.Hash, &l.Kind, &l.Person, &l.By, &created, &expires); err != nil {
		return l, none(err)
	}
	l.Created, l.Expires = fromMillis(created), fromMillis(expires)
	return l, nil
}

// ErrUsed says that a link is no longer good: used, replaced or too old.
var ErrUsed = errors.New("the link is no longer good")

// takeLink uses a link up. Of two who come at once one gets it.
func takeLink(ctx context.Context, tx *sql.Tx, hash []byte, kind string, now time.Time) (Link, error) {
	l, err := scanLink(tx.QueryRowContext(ctx, "DELETE FROM links WHERE hash = ? AND kind = ? AND (expires = 0 OR expires > ?) RETURNING hash, kind, coalesce(person, ''), by, created, expires",
		hash, kind, millis(now)))
	if errors.Is(err, ErrNotFound) {
		err = ErrUsed
	}
	return l, err
}

// Join uses a setup link or an invitation up and makes the person, with a passkey
// or without.
func (d *DB) Join(ctx context.Context, hash []byte, kind string, p Person, k *Passkey) (Link, error) {
	var used Link
	err := d.change(ctx, func(tx *sql.Tx) (err error) {
		if used, err = takeLink(ctx, tx, hash, kind, p.Created); err != nil {
			return err
		}
		if kind == LinkSetup {
			if err := nobody(ctx, tx); err != nil {
				return ErrUsed
			}
		}
		if err := insertPerson(ctx, tx, p); err != nil || k == nil {
			return err
		}
		return insertPasskey(ctx, tx, *k)
	})
	if err != nil {
		return used, fmt.Errorf("join: %w", err)
	}
	return used, nil
}

// Recover uses a recovery up: its person gets the password, unless that is "", or
// the passkey, may sign in again if they were disabled, and loses all sessions.
// Their other ways in stay.
func (d *DB) Recover(ctx context.Context, hash []byte, now time.Time, password string, k *Passkey) (Link, error) {
	var used Link
	err := d.change(ctx, func(tx *sql.Tx) (err error) {
		if used, err = takeLink(ctx, tx, hash, LinkRecover, now); err != nil {
			return err
		}
		if err := found(tx.ExecContext(ctx, "UPDATE people SET disabled = 0, password = coalesce(nullif(?, ''), password) WHERE id = ?", password, used.Person)); err != nil {
			return err
		}
		if err := endOthers(ctx, tx, used.Person, ""); err != nil || k == nil {
			return err
		}
		if k.Person != used.Person {
			return ErrUsed
		}
		return insertPasskey(ctx, tx, *k)
	})
	if err != nil {
		return used, fmt.Errorf("recover: %w", err)
	}
	return used, nil
}
