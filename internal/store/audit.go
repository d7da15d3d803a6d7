package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Bounds of what is read of one audit row. Longer values, which nobody who
// appends in the intended way makes, come cut to one byte more than the bound.
const (
	MaxAuditEntry = 64 << 10
	maxAuditWord  = 4 << 10
)

// AuditRow is a row of the audit log. Store does not look into entries.
type AuditRow struct {
	Seq                  int64
	At                   time.Time // to the millisecond
	Action, Actor, Agent string
	Entry, Hash          []byte
}

// AuditFilter says which rows are meant; zero fields exclude nothing.
type AuditFilter struct {
	After, Before int64  // sequence numbers, both exclusive
	Action        string // how the action begins
	Actor, Agent  string
	Limit         int // at most so many, the newest ones; required
}

const auditColumns = `seq, at, substr(action, 1, ?1), substr(actor, 1, ?1), substr(agent, 1, ?1), substr(entry, 1, ?2), substr(hash, 1, 33) FROM audit`

// AuditTail is the end of the audit log while nobody else can append.
type AuditTail struct {
	Last AuditRow // the row with the highest Seq; Seq 0 when there is none
	tx   *sql.Tx
}

// AuditTail calls f with the log's end. What f appends is durable when AuditTail
// returns nil, and none of it is there when f fails. No other process appends
// meanwhile either.
func (d *DB) AuditTail(ctx context.Context, f func(*AuditTail) error) error {
	return d.change(ctx, func(tx *sql.Tx) error {
		last, err := auditRows(ctx, tx, "ORDER BY seq DESC LIMIT 1")
		if err != nil {
			return err
		}
		t := &AuditTail{tx: tx}
		if len(last) > 0 {
			t.Last = last[0]
		}
		return f(t)
	})
}

// Row returns the row with that sequence number, or ErrNotFound.
func (t *AuditTail) Row(ctx context.Context, seq int64) (AuditRow, error) {
	rows, err := auditRows(ctx, t.tx, "WHERE seq = ?3", seq)
	if err != nil {
		return AuditRow{}, err
	}
	if len(rows) == 0 {
		return AuditRow{}, fmt.Errorf("audit entry %d: %w", seq, ErrNotFound)
	}
	return rows[0], nil
}

// Append adds a row, whose Seq must be free, and makes it the last.
func (t *AuditTail) Append(ctx context.Context, row AuditRow) error {
	_, err := t.tx.ExecContext(ctx, "INSERT INTO audit (seq, at, action, actor, agent, entry, hash) VALUES (?, ?, ?, ?, ?, ?, ?)",
		row.Seq, millis(row.At), row.Action, row.Actor, row.Agent, row.Entry, row.Hash)
	if err != nil {
		return fmt.Errorf("append audit entry %d: %w", row.Seq, err)
	}
	t.Last = row
	return nil
}

// Audit returns the rows that are meant, newest first.
func (d *DB) Audit(ctx context.Context, f AuditFilter) ([]AuditRow, error) {
	return auditRows(ctx, d.read, `
		WHERE seq > ?3 AND (?4 = 0 OR seq < ?4) AND substr(action, 1, length(?5)) = ?5
		AND (?6 = '' OR actor = ?6) AND (?7 = '' OR agent = ?7)
		ORDER BY seq DESC LIMIT ?8`, f.After, f.Before, f.Action, f.Actor, f.Agent, f.Limit)
}

// AuditFrom returns at most limit rows in order, beginning with sequence number
// seq or the next higher there is. Numbers below 1 are nobody's who appends in
// the intended way; they too are returned.
func (d *DB) AuditFrom(ctx context.Context, seq int64, limit int) ([]AuditRow, error) {
	return auditRows(ctx, d.read, "WHERE seq >= ?3 ORDER BY seq LIMIT ?4", seq, limit)
}

// AuditLast returns the highest sequence number, 0 when nothing was recorded.
func (d *DB) AuditLast(ctx context.Context) (seq int64, err error) {
	if err := d.read.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM audit").Scan(&seq); err != nil {
		return 0, fmt.Errorf("read the audit log: %w", err)
	}
	return seq, nil
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// auditRows reads rows; where counts its parameters from ?3.
func auditRows(ctx context.Context, q querier, where string, args ...any) (list []AuditRow, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read the audit log: %w", err)
		}
	}()
	rows, err := q.QueryContext(ctx, "SELECT "+auditColumns+" "+where, append([]any{maxAuditWord + 1, MaxAuditEntry + 1}, args...)...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r AuditRow
		var at int64
		if err := rows.Scan(&r.Seq, &at, &r.Action, &r.Actor, &r.Agent, &r.Entry, &r.Hash); err != nil {
			return nil, err
		}
		r.At = fromMillis(at)
		list = append(list, r)
	}
	return list, rows.Err()
}
