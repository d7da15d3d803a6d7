package calllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Bounds of letting go, so that no transaction of it lasts long. They also bound what
// a clock that is wrong for a minute can cost.
const (
	letGoLeast  = 1000 // calls at a time
	letGoSteps  = 20   // times in one tidying
	startsOnce  = 24   // hours or days of sums at a time
	givePages   = 2000 // returned to the file system at a time
	unusedLeast = 256  // pages that may always be unused
	unusedShare = 4    // a file of which more than a quarter is unused gives some back
)

// letGo deletes the oldest calls that exceed what is kept, at most so many or 1000.
// The caller has the turn.
func (l *Log) letGo(ctx context.Context, most int) error {
	_, err := l.letGoSome(ctx, int64(max(most, letGoLeast)))
	return err
}

func (l *Log) letGoSome(ctx context.Context, most int64) (gone int64, err error) {
	over := l.rows.Load() - l.opts.MaxCalls
	all, unused, size, err := l.calls.pages(ctx)
	if err != nil {
		return 0, fmt.Errorf("see how large the record of calls is: %w", err)
	}
	if (all-unused)*size > l.opts.MaxBytes {
		over = max(over, most)
	}
	old := int64(0)
	if l.opts.MaxAge > 0 {
		old = keyAt(l.opts.Now().Add(-l.opts.MaxAge))
	}
	if over <= 0 && old == 0 {
		return 0, nil
	}
	var last int64
	err = l.calls.change(ctx, func(tx *sql.Tx) error {
		last, gone = 0, 0
		err := tx.QueryRowContext(ctx, `SELECT max(
				coalesce((SELECT max(id) FROM (SELECT id FROM calls ORDER BY id LIMIT ?)), 0),
				coalesce((SELECT max(id) FROM (SELECT id FROM calls WHERE id < ? ORDER BY id LIMIT ?)), 0))`,
			min(max(over, 0), most), old, most).Scan(&last)
		if err != nil || last == 0 {
			return err
		}
		result, err := tx.ExecContext(ctx, "DELETE FROM calls WHERE id <= ?", last)
		if err != nil {
			return err
		}
		if gone, err = result.RowsAffected(); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "DELETE FROM feedback WHERE id <= ?", last); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE state SET rows = rows - ?", gone)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("let go of old calls: %w", err)
	}
	l.rows.Add(-gone)
	if gone > 0 && l.payloads != nil {
		if _, err := l.payloads.write.ExecContext(ctx, "DELETE FROM payloads WHERE id <= ?", last); err != nil {
			return gone, fmt.Errorf("let go of old payloads: %w", err)
		}
	}
	return gone, nil
}

// tidy lets go of what is too old or too much, a bounded step of it.
func (l *Log) tidy(ctx context.Context) error {
	if err := take(ctx, l.turn); err != nil {
		return err
	}
	defer func() { l.turn <- struct{}{} }()
	gone := int64(0)
	for range letGoSteps {
		n, err := l.letGoSome(ctx, letGoLeast)
		if err != nil {
			return err
		}
		gone += n
		if n < letGoLeast {
			break
		}
	}
	sums, err := l.letGoSums(ctx)
	if err != nil {
		return err
	}
	if err := l.letGoPayloads(ctx); err != nil {
		return err
	}
	if gone+sums > 0 {
		l.announce()
	}
	return l.shrink(ctx)
}

// letGoSums deletes sums that are too old, and the series that nothing refers to.
func (l *Log) letGoSums(ctx context.Context) (gone int64, err error) {
	now := l.opts.Now()
	delete := func(table string, unit int64, age time.Duration) {
		if err != nil {
			return
		}
		var result sql.Result
		// Without sums the inner SELECT is NULL, and so nothing is less.
		result, err = l.calls.write.ExecContext(ctx,
			fmt.Sprintf("DELETE FROM %s WHERE start < min(?, (SELECT min(start) FROM %s) + ?)", table, table),
			now.Add(-max(age, l.opts.MaxAge)).UnixMilli()/unit, startsOnce)
		if err == nil {
			var n int64
			n, err = result.RowsAffected()
			gone += n
		}
	}
	delete("hours", hourMillis, l.opts.HourAge)
	hours := gone
	delete("days", dayMillis, l.opts.DayAge)
	if err == nil && gone > hours {
		_, err = l.calls.write.ExecContext(ctx, `DELETE FROM series WHERE id NOT IN (SELECT series FROM days)
			AND id NOT IN (SELECT series FROM hours) AND NOT EXISTS (SELECT 1 FROM calls WHERE calls.series = series.id)`)
		if err == nil {
			err = l.loadSeries(ctx)
		}
	}
	if err != nil {
		return gone, fmt.Errorf("let go of old sums: %w", err)
	}
	return gone, nil
}

// shrink returns unused room when there is much of it, as after a bound was lowered;
// usually new calls take the room of old ones.
func (l *Log) shrink(ctx context.Context) error {
	for _, f := range []*file{l.calls, l.payloads} {
		if f == nil {
			continue
		}
		all, unused, _, err := f.pages(ctx)
		if err == nil && unused > unusedLeast && unused > all/unusedShare {
			err = f.giveBack(ctx, givePages)
		}
		if err != nil {
			return fmt.Errorf("shrink the record of calls: %w", errors.Join(err, ctx.Err()))
		}
	}
	return nil
}
