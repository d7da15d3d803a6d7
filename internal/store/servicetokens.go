package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// A ServiceToken lets a program in.
type ServiceToken struct {
	ID      string // public
	Name    string
	Hash    []byte
	Scopes  string // comma list
	By      string // who made it
	Created time.Time
	Expires time.Time // zero: never
	Used    time.Time // zero: not yet
}

const serviceTokenColumns = "id, name, hash, scopes, by, created, expires, used"

func scanServiceToken(r row) (t ServiceToken, err error) {
	var created, expires, used int64
	if err := r.Scan(&t.ID, &t.Name, &t.Hash, &t.Scopes, &t.By, &created, &expires, &used); err != nil {
		return t, none(err)
	}
	t.Created, t.Expires, t.Used = fromMillis(created), fromMillis(expires), fromMillis(used)
	return t, nil
}

// AddServiceToken keeps a token, if there are fewer than max.
func (d *DB) AddServiceToken(ctx context.Context, t ServiceToken, max int) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM service_tokens").Scan(&n); err != nil {
			return err
		}
		if n >= max {
			return ErrFull
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO service_tokens ("+serviceTokenColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			t.ID, t.Name, t.Hash, t.Scopes, t.By, millis(t.Created), millis(t.Expires), millis(t.Used))
		return taken(err)
	})
	if err != nil {
		return fmt.Errorf("keep service token %q: %w", t.Name, err)
	}
	return nil
}

// ServiceTokens lists all tokens by name.
func (d *DB) ServiceTokens(ctx context.Context) ([]ServiceToken, error) {
	rows, err := d.read.QueryContext(ctx, "SELECT "+serviceTokenColumns+" FROM service_tokens ORDER BY name")
	all, err := list(rows, err, scanServiceToken)
	if err != nil {
		return nil, fmt.Errorf("list service tokens: %w", err)
	}
	return all, nil
}

// ServiceTokenByValue finds the token whose value has this hash.
func (d *DB) ServiceTokenByValue(ctx context.Context, hash []byte) (ServiceToken, error) {
	t, err := scanServiceToken(d.read.QueryRowContext(ctx, "SELECT "+serviceTokenColumns+" FROM service_tokens WHERE hash = ?", hash))
	if err != nil {
		return t, fmt.Errorf("find the service token: %w", err)
	}
	return t, nil
}

// UseServiceToken notes that a token is in use.
func (d *DB) UseServiceToken(ctx context.Context, id string, now time.Time) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE service_tokens SET used = max(used, ?) WHERE id = ?", millis(now), id)
		return err
	})
	if err != nil {
		return fmt.Errorf("note the service token's use: %w", err)
	}
	return nil
}

// RemoveServiceToken forgets a token, which from then on lets nobody in.
func (d *DB) RemoveServiceToken(ctx context.Context, name string) error {
	err := d.change(ctx, func(tx *sql.Tx) error {
		return found(tx.ExecContext(ctx, "DELETE FROM service_tokens WHERE name = ?", name))
	})
	if err != nil {
		return fmt.Errorf("remove service token %q: %w", name, err)
	}
	return nil
}
