package calllog

import (
	"container/heap"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// Bounds of one listing.
const (
	usualLimit = 50
	maxLimit   = 500
	firstLook  = 2000   // newest rows that are looked at before the index of series is
	maxLook    = 50_000 // rows that are looked at
	chunk      = 64     // keys of a series that are read at a time
)

// Page is a part of a listing.
type Page struct {
	Calls []Call
	// Next is where the listing goes on; zero when it is complete. A page may have
	// fewer calls than were asked for, even none, and yet a Next: so much was looked
	// at without finding more.
	Next ID
}

// List returns the calls that are meant, newest first, those before a call (the Next
// of the page before; zero: from the newest). limit is 50 when 0 and at most 500.
func (l *Log) List(ctx context.Context, f Filter, before ID, limit int) (Page, error) {
	if limit <= 0 {
		limit = usualLimit
	}
	limit = min(limit, maxLimit)
	c, err := l.choose(ctx, f)
	if err != nil {
		return Page{}, err
	}
	if !before.IsZero() {
		c.high = min(c.high, before.key())
	}
	p, err := l.find(ctx, &c, limit)
	if err != nil {
		return Page{}, fmt.Errorf("list calls: %w", err)
	}
	return p, nil
}

// find takes the way that has to look at least.
func (l *Log) find(ctx context.Context, c *choice, limit int) (Page, error) {
	switch {
	case c.low >= c.high || !c.all && len(c.series) == 0:
		return Page{}, nil
	case c.event != "":
		calls, err := l.read(ctx, "c.event = ? AND c.id < ? AND c.id >= ?", []any{c.event, c.high, c.low}, c, limit)
		return pageOf(calls, limit, 0), err
	case c.all:
		return l.walk(ctx, c, limit, maxLook)
	}
	// What is common is among the newest; what is rare is found by its index.
	p, err := l.walk(ctx, c, limit, firstLook)
	if err != nil || len(p.Calls) >= limit || p.Next.IsZero() {
		return p, err
	}
	c.high = p.Next.key()
	more, err := l.merge(ctx, c, limit-len(p.Calls))
	return Page{append(p.Calls, more.Calls...), more.Next}, err
}

// pageOf is a page that ended because it is full, or at a key before which nothing
// was looked at (0: everything was).
func pageOf(calls []Call, limit int, end int64) Page {
	p := Page{Calls: calls}
	switch {
	case len(calls) >= limit:
		p.Next = calls[len(calls)-1].ID
	case end != 0:
		p.Next = makeID(end, 0)
	}
	return p
}

// walk looks at rows one after another, in steps that grow: at most so many.
func (l *Log) walk(ctx context.Context, c *choice, limit, most int) (Page, error) {
	var found []Call
	high := c.high
	for step := max(limit, 500); most > 0; step *= 4 {
		step = min(step, most)
		most -= step
		low, ended := int64(0), false
		err := l.calls.read.QueryRowContext(ctx, "SELECT id FROM calls NOT INDEXED WHERE id < ? AND id >= ? ORDER BY id DESC LIMIT 1 OFFSET ?",
			high, c.low, step-1).Scan(&low)
		if errors.Is(err, sql.ErrNoRows) {
			low, ended, err = c.low, true, nil
		}
		if err != nil {
			return Page{}, err
		}
		some, err := l.read(ctx, "c.id < ? AND c.id >= ?", []any{high, low}, c, limit-len(found))
		if err != nil {
			return Page{}, err
		}
		found, high = append(found, some...), low
		if len(found) >= limit {
			return pageOf(found, limit, 0), nil
		}
		if ended {
			return pageOf(found, limit, 0), nil
		}
	}
	return pageOf(found, limit, high), nil
}

// run is what is known of the keys of one series below high, descending.
type run struct {
	series int64
	keys   []int64
}

// runs is a heap with the newest key on top.
type runs []run

func (r runs) Len() int           { return len(r) }
func (r runs) Less(i, j int) bool { return r[i].keys[0] > r[j].keys[0] }
func (r runs) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *runs) Push(x any)        { *r = append(*r, x.(run)) }
func (r *runs) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// merge takes the newest keys of several series from the index, and looks at their
// rows.
func (l *Log) merge(ctx context.Context, c *choice, limit int) (Page, error) {
	heads, err := l.heads(ctx, c)
	if err != nil {
		return Page{}, err
	}
	heap.Init(&heads)
	var found []Call
	for looked := 0; len(heads) > 0; {
		keys := make([]int64, 0, maxLimit)
		want := maxLimit
		if c.rest == "" {
			want = limit - len(found)
		}
		for len(heads) > 0 && len(keys) < want {
			keys = append(keys, heads[0].keys[0])
			if err := l.advance(ctx, &heads, c.low); err != nil {
				return Page{}, err
			}
		}
		list, err := json.Marshal(keys)
		if err != nil {
			return Page{}, err
		}
		some, err := l.read(ctx, "c.id IN (SELECT value FROM json_each(?))", []any{string(list)}, c, limit-len(found))
		if err != nil {
			return Page{}, err
		}
		found = append(found, some...)
		looked += len(keys)
		if len(found) >= limit {
			break
		}
		if looked >= maxLook && len(heads) > 0 {
			return pageOf(found, limit, keys[len(keys)-1]), nil
		}
	}
	return pageOf(found, limit, 0), nil
}

// heads finds the newest key of each series.
func (l *Log) heads(ctx context.Context, c *choice) (runs, error) {
	list, err := json.Marshal(c.series)
	if err != nil {
		return nil, err
	}
	rows, err := l.calls.read.QueryContext(ctx, `SELECT j.value, (SELECT id FROM calls INDEXED BY calls_series
		WHERE series = j.value AND id < ? AND id >= ? ORDER BY id DESC LIMIT 1) FROM json_each(?) j`, c.high, c.low, string(list))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var heads runs
	for rows.Next() {
		var series int64
		var key sql.NullInt64
		if err := rows.Scan(&series, &key); err != nil {
			return nil, err
		}
		if key.Valid {
			heads = append(heads, run{series, []int64{key.Int64}})
		}
	}
	return heads, rows.Err()
}

// advance takes the key on top away.
func (l *Log) advance(ctx context.Context, heads *runs, low int64) error {
	top := &(*heads)[0]
	last := top.keys[0]
	top.keys = top.keys[1:]
	if len(top.keys) == 0 {
		rows, err := l.calls.read.QueryContext(ctx, `SELECT id FROM calls INDEXED BY calls_series
			WHERE series = ? AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?`, top.series, last, low, chunk)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key int64
			if err := rows.Scan(&key); err != nil {
				return err
			}
			top.keys = append(top.keys, key)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if len(top.keys) == 0 {
			heap.Pop(heads)
			return nil
		}
	}
	heap.Fix(heads, 0)
	return nil
}

// Get returns one call. One that still waits to be written is written first.
func (l *Log) Get(ctx context.Context, id ID) (Call, error) {
	c := choice{all: true}
	get := func() ([]Call, error) {
		return l.read(ctx, "c.id = ? AND c.secret = ?", []any{id.key(), id.secret()}, &c, 1)
	}
	calls, err := get()
	if err == nil && len(calls) == 0 && l.catchUp(ctx) {
		calls, err = get()
	}
	if err == nil && len(calls) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Call{}, fmt.Errorf("call %s: %w", id, err)
	}
	return calls[0], nil
}

// catchUp writes what waits, unless that takes long, and reports whether there was
// anything.
func (l *Log) catchUp(ctx context.Context) bool {
	if l.queued.Load() == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return l.Flush(ctx) == nil
}

const selectCalls = `SELECT c.id, c.secret, s.agent, s.cause, s.provider, coalesce(c.counted, s.model), coalesce(c.asked, s.model),
	coalesce(c.answered, s.model), c.status, c.flags, coalesce(c.error, ''), coalesce(c.endpoint, ''), coalesce(c.tier, ''),
	coalesce(c.key, ''), coalesce(c.event, ''), c.metadata, c.guards, c.cache, c.attempts, c.step, c.input, c.cache_read,
	c.cache_write_5m, c.cache_write_1h, c.audio_input, c.output, c.audio_output, c.reasoning, c.images, c.searches, c.millis,
	c.cost, c.saved, c.took, c.first, c.request_bytes, c.response_bytes, f.vote, f.score, coalesce(f.comment, '')
	FROM calls c CROSS JOIN series s ON s.id = c.series LEFT JOIN feedback f ON f.id = c.id WHERE `

// read reads the rows that a condition and what is chosen mean, newest first.
func (l *Log) read(ctx context.Context, condition string, args []any, c *choice, limit int) ([]Call, error) {
	query := selectCalls + condition + c.rest
	args = append(args, c.restArgs...)
	if !c.all {
		list, err := json.Marshal(c.series)
		if err != nil {
			return nil, err
		}
		// The plus keeps SQLite from reading whole series by their index.
		query += " AND +c.series IN (SELECT value FROM json_each(?))"
		args = append(args, string(list))
	}
	rows, err := l.calls.read.QueryContext(ctx, query+" ORDER BY c.id DESC LIMIT ?", append(args, limit)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var calls []Call
	for rows.Next() {
		c, err := scanCall(rows)
		if err != nil {
			return nil, err
		}
		calls = append(calls, c)
	}
	return calls, rows.Err()
}

func scanCall(rows *sql.Rows) (c Call, err error) {
	var key, secret, ms, took, first int64
	var flags, cache int
	var metadata, guards sql.NullString
	var cost, vote, score sql.NullInt64
	var comment string
	u := &c.Usage
	err = rows.Scan(&key, &secret, &c.Agent, &c.Trigger, &c.Provider, &c.Model, &c.Asked, &u.Model, &c.Status, &flags, &c.Error,
		&c.Endpoint, &u.Tier, &c.Key, &c.Event, &metadata, &guards, &cache, &c.Attempts, &c.Step, &u.Input, &u.CacheRead,
		&u.CacheWrite5m, &u.CacheWrite1h, &u.AudioInput, &u.Output, &u.AudioOutput, &u.Reasoning, &u.Images, &u.WebSearches, &ms,
		&cost, (*int64)(&c.Saved), &took, &first, &c.RequestBytes, &c.ResponseBytes, &vote, &score, &comment)
	if err != nil {
		return c, err
	}
	c.ID = makeID(key, secret)
	c.Stream, u.Known, u.Estimated = flags&flagStream != 0, flags&flagKnown != 0, flags&flagEstimated != 0
	c.Cache, u.Seconds = cacheName(cache), float64(ms)/1000
	c.Cost, c.CostKnown = price.Money(cost.Int64), cost.Valid
	c.Took, c.FirstByte = time.Duration(took)*time.Microsecond, time.Duration(first)*time.Microsecond
	if metadata.Valid {
		err = json.Unmarshal([]byte(metadata.String), &c.Metadata)
	}
	if guards.Valid && err == nil {
		err = json.Unmarshal([]byte(guards.String), &c.Guards)
	}
	if vote.Valid {
		c.Feedback = &Feedback{Vote: int(vote.Int64), Comment: comment}
		if score.Valid {
			n := int(score.Int64)
			c.Feedback.Score = &n
		}
	}
	return c, err
}
