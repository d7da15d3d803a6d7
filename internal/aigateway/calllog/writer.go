package calllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	sqlite3 "modernc.org/sqlite/lib"
)

// Bounds of writing.
const (
	batchSize  = 1000                   // calls in a transaction
	batchEvery = 250 * time.Millisecond // how long a call waits for others
	tidyEvery  = 10 * time.Second       // looks for what is too old while nothing happens
	firstWait  = 50 * time.Millisecond  // after a failed attempt; doubles
	maxWait    = 2 * time.Second
	maxTries   = 3 // of a batch that the database refuses for what is in it
)

// writer is what the one who writes has in hands.
type writer struct {
	batch   []Call
	tries   int                 // that failed, of this batch
	series  map[seriesKey]int64 // IDs of all series
	ofAgent map[string]int      // how many of them each agent has
	squeeze squeeze
}

// begin reads what the writer must know.
func (l *Log) begin(ctx context.Context) error {
	if err := l.loadSeries(ctx); err != nil {
		return fmt.Errorf("record of calls: %w", err)
	}
	var rows int64
	if err := l.calls.read.QueryRowContext(ctx, "SELECT rows FROM state").Scan(&rows); err != nil {
		return fmt.Errorf("record of calls: %w", err)
	}
	l.rows.Store(rows)
	return nil
}

// Run writes what Add took, every 250 ms or when a batch is full, and lets go of what
// need not be kept, until ctx ends. What waits then is left to Close.
func (l *Log) Run(ctx context.Context) error {
	batch, tidy := time.NewTicker(batchEvery), time.NewTicker(tidyEvery)
	defer batch.Stop()
	defer tidy.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-batch.C:
			err = l.Flush(ctx)
		case <-l.wake:
			err = l.Flush(ctx)
		case <-tidy.C:
			err = l.tidy(ctx)
		}
		if err != nil && ctx.Err() == nil {
			l.failed(err, 0)
		}
	}
}

// Flush writes all calls that were added before. While the database fails it goes on
// trying until ctx ends.
func (l *Log) Flush(ctx context.Context) error {
	if err := take(ctx, l.turn); err != nil {
		return err
	}
	defer func() { l.turn <- struct{}{} }()
	wait := firstWait
	for most := l.queued.Load(); most > 0 && l.fill(); {
		n := len(l.writer.batch)
		err := l.writeBatch(ctx)
		switch {
		case err == nil:
			most -= int64(n)
			wait = firstWait
			continue
		case ctx.Err() != nil:
			return fmt.Errorf("write calls: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("write calls: %w", err)
		case <-l.opts.After(wait):
		}
		wait = min(2*wait, maxWait)
	}
	return nil
}

func take(ctx context.Context, turn chan struct{}) error {
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the writer: %w", ctx.Err())
	}
}

// fill has a batch in hands, unless nothing waits.
func (l *Log) fill() bool {
	w := &l.writer
	for len(w.batch) < batchSize && w.tries == 0 {
		select {
		case c := <-l.queue:
			c.clean()
			w.batch = append(w.batch, c)
			continue
		default:
		}
		break
	}
	return len(w.batch) > 0
}

// writeBatch writes the batch, or keeps it when that fails. One that the database
// refuses for what is in it does not stand in the way for ever.
func (l *Log) writeBatch(ctx context.Context) error {
	w := &l.writer
	added, err := l.insert(ctx, w.batch)
	if err != nil {
		if ctx.Err() != nil { // interrupted, which is nobody's fault
			w.tries = max(w.tries, 1)
			return err
		}
		l.failures.Add(1)
		w.tries++
		if !refused(err) || w.tries < maxTries {
			l.failed(err, 0)
			return err
		}
		l.dropped.Add(int64(len(w.batch)))
		l.failed(err, int64(len(w.batch)))
	} else {
		l.written.Add(added)
		l.rows.Add(added)
		l.announce()
		l.follow(ctx, w.batch)
	}
	n := len(w.batch)
	for i := range w.batch {
		if p := w.batch[i].Payload; p != nil {
			l.waiting.Add(-p.size())
		}
	}
	clear(w.batch) // lets go of what the calls refer to
	w.batch, w.tries = w.batch[:0], 0
	l.queued.Add(-int64(n))
	return nil
}

// follow does what comes after calls were written. What fails of it holds no call up:
// payloads are dropped, and what should go now goes later.
func (l *Log) follow(ctx context.Context, calls []Call) {
	err := errors.Join(l.putPayloads(ctx, calls), l.letGo(ctx, 2*len(calls)))
	switch {
	case err == nil:
		l.works()
	case ctx.Err() == nil:
		l.failed(err, 0)
	}
}

// refused tells errors of what is written from those of the disk, the file and other
// processes, which pass.
func refused(err error) bool {
	switch codeOf(err) {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE:
		return true
	}
	return false
}

// failed tells the owner, once until writing works again, or whenever calls are lost.
func (l *Log) failed(err error, lost int64) {
	l.mu.Lock()
	known := l.failing != ""
	l.failing = err.Error()
	l.mu.Unlock()
	if l.opts.Fail != nil && (!known || lost > 0) {
		l.opts.Fail(err, lost)
	}
}

func (l *Log) works() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failing = ""
}

const insertCall = `INSERT INTO calls (id, secret, series, status, flags, error, asked, answered, counted, endpoint, tier,
	key, event, metadata, guards, cache, attempts, step, input, cache_read, cache_write_5m, cache_write_1h, audio_input,
	output, audio_output, reasoning, images, searches, millis, cost, saved, took, first, request_bytes, response_bytes)
	VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`

// insert writes calls and adds them to the sums, all or nothing. A call whose ID is
// there already counts for nothing, so a batch whose commit only seemed to fail may
// come again. It returns how many were new.
func (l *Log) insert(ctx context.Context, calls []Call) (added int64, err error) {
	fresh := map[seriesKey]int64{}
	err = l.calls.change(ctx, func(tx *sql.Tx) error {
		added = 0
		clear(fresh)
		hours, days := sums{}, sums{}
		stmt, err := tx.PrepareContext(ctx, insertCall)
		if err != nil {
			return err
		}
		defer stmt.Close()
		for i := range calls {
			c := &calls[i]
			key, id, err := l.seriesOf(ctx, tx, c, fresh)
			if err != nil {
				return err
			}
			// Each is short: watching ctx in every one costs more than it does. The
			// transaction ends with ctx.
			result, err := stmt.Exec(c.values(id, key.model)...)
			if err != nil {
				return err
			}
			if n, err := result.RowsAffected(); err != nil || n == 0 {
				continue
			}
			added++
			at := c.ID.key() >> numberBits
			hours.count(at/hourMillis, id, c)
			days.count(at/dayMillis, id, c)
		}
		if err := hours.save(ctx, tx, "hours"); err != nil {
			return err
		}
		if err := days.save(ctx, tx, "days"); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "UPDATE state SET rows = rows + ?", added)
		return err
	})
	if err != nil {
		return 0, err
	}
	for key, id := range fresh {
		l.writer.series[key] = id
		l.writer.ofAgent[key.agent]++
	}
	return added, nil
}

// Bits of flags.
const (
	flagStream = 1 << iota
	flagKnown
	flagEstimated
)

// values are those of insertCall.
func (c *Call) values(series int64, model string) []any {
	u := &c.Usage
	unlessModel := func(s string) any {
		if s == model {
			return nil
		}
		return s
	}
	unlessEmpty := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	var cost any
	if c.CostKnown {
		cost = int64(c.Cost)
	}
	flags := 0
	for i, set := range []bool{c.Stream, u.Known, u.Estimated} {
		if set {
			flags |= 1 << i
		}
	}
	return []any{c.ID.key(), c.ID.secret(), series, c.Status, flags, unlessEmpty(c.Error),
		unlessModel(c.Asked), unlessModel(u.Model), unlessModel(c.counted()), unlessEmpty(c.Endpoint), unlessEmpty(u.Tier),
		unlessEmpty(c.Key), unlessEmpty(c.Event), asJSON(c.Metadata), asJSON(c.Guards), cacheNumber(c.Cache), c.Attempts, c.Step,
		u.Input, u.CacheRead, u.CacheWrite5m, u.CacheWrite1h, u.AudioInput, u.Output, u.AudioOutput, u.Reasoning,
		u.Images, u.WebSearches, millis(u.Seconds), cost, int64(c.Saved), c.Took.Microseconds(), c.FirstByte.Microseconds(),
		c.RequestBytes, c.ResponseBytes}
}

func millis(seconds float64) int64 { return int64(seconds*1000 + 0.5) }
