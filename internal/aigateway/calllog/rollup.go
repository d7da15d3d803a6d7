package calllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

const (
	hourMillis = 3600 * 1000
	dayMillis  = 24 * hourMillis
)

// Sums are what calls have in common, added up.
type Sums struct {
	Calls     int64
	Errors    int64 // that were refused, failed, broke off or were not answered
	Unpriced  int64 // whose cost is not known, and missing in Cost
	Estimated int64 // whose tokens are estimates
	Hits      int64 // answered from the cache
	Misses    int64 // that the cache had no answer for

	Cost  price.Money
	Saved price.Money // by the cache

	// As in usage.Usage.
	Input, CacheRead, CacheWrite5m, CacheWrite1h, AudioInput, Output, AudioOutput, Reasoning, Images, WebSearches int64

	Millis                      int64 // of audio or computing
	RequestBytes, ResponseBytes int64

	Took      Histogram // of all calls
	FirstByte Histogram // of those that were answered
}

// sumColumns are the columns of numbers, in the order of Sums.numbers.
var sumColumns = []string{"calls", "errors", "unpriced", "estimated", "hits", "misses", "cost", "saved", "input", "cache_read",
	"cache_write_5m", "cache_write_1h", "audio_input", "output", "audio_output", "reasoning", "images", "searches", "millis",
	"request_bytes", "response_bytes"}

func (s *Sums) numbers() []*int64 {
	return []*int64{&s.Calls, &s.Errors, &s.Unpriced, &s.Estimated, &s.Hits, &s.Misses, (*int64)(&s.Cost), (*int64)(&s.Saved),
		&s.Input, &s.CacheRead, &s.CacheWrite5m, &s.CacheWrite1h, &s.AudioInput, &s.Output, &s.AudioOutput, &s.Reasoning,
		&s.Images, &s.WebSearches, &s.Millis, &s.RequestBytes, &s.ResponseBytes}
}

// Tokens is all tokens that were moved.
func (s *Sums) Tokens() int64 {
	t := int64(0)
	for _, n := range []int64{s.Input, s.CacheRead, s.CacheWrite5m, s.CacheWrite1h, s.AudioInput, s.Output, s.AudioOutput} {
		t = add(t, n)
	}
	return t
}

func (s *Sums) merge(other *Sums) {
	from := other.numbers()
	for i, n := range s.numbers() {
		*n = add(*n, *from[i])
	}
	s.Took.merge(other.Took)
	s.FirstByte.merge(other.FirstByte)
}

// one adds a call.
func (s *Sums) one(c *Call) {
	u := &c.Usage
	count := func(yes bool) int64 {
		if yes {
			return 1
		}
		return 0
	}
	one := Sums{Calls: 1, Errors: count(c.Outcome().isError()), Unpriced: count(!c.CostKnown), Estimated: count(u.Estimated),
		Hits: count(c.Cache == "hit"), Misses: count(c.Cache == "miss"), Cost: c.Cost, Saved: c.Saved,
		Input: u.Input, CacheRead: u.CacheRead, CacheWrite5m: u.CacheWrite5m, CacheWrite1h: u.CacheWrite1h, AudioInput: u.AudioInput,
		Output: u.Output, AudioOutput: u.AudioOutput, Reasoning: u.Reasoning, Images: u.Images, WebSearches: u.WebSearches,
		Millis: millis(u.Seconds), RequestBytes: c.RequestBytes, ResponseBytes: c.ResponseBytes}
	s.merge(&one)
	s.Took.count(bucketOf(c.Took), 1)
	if c.FirstByte > 0 {
		s.FirstByte.count(bucketOf(c.FirstByte), 1)
	}
}

// cell is one row of hours or days.
type cell struct{ start, series int64 }

// sums are what a batch adds to one table.
type sums map[cell]*Sums

func (s sums) count(start, series int64, c *Call) {
	at := cell{start, series}
	if s[at] == nil {
		s[at] = &Sums{}
	}
	s[at].one(c)
}

var (
	selectSums = "SELECT " + strings.Join(sumColumns, ", ") + ", took, first FROM %s WHERE start = ? AND series = ?"
	putSums    = "INSERT OR REPLACE INTO %s (" + strings.Join(sumColumns, ", ") + ", took, first, start, series) VALUES (" +
		strings.Repeat("?, ", len(sumColumns)) + "?, ?, ?, ?)"
)

// save adds the sums to those of a table.
func (s sums) save(ctx context.Context, tx *sql.Tx, table string) error {
	get, err := tx.PrepareContext(ctx, fmt.Sprintf(selectSums, table))
	if err != nil {
		return err
	}
	defer get.Close()
	put, err := tx.PrepareContext(ctx, fmt.Sprintf(putSums, table))
	if err != nil {
		return err
	}
	defer put.Close()
	for at, new := range s {
		var old Sums
		err := old.scan(get.QueryRow(at.start, at.series))
		if errors.Is(err, errHistogram) {
			// The disk's fault. What can be read is kept, so that calls go on being recorded.
			err = nil
		}
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		new.merge(&old)
		values := make([]any, 0, len(sumColumns)+4)
		for _, n := range new.numbers() {
			values = append(values, *n)
		}
		if _, err := put.Exec(append(values, new.Took.encode(), new.FirstByte.encode(), at.start, at.series)...); err != nil {
			return err
		}
	}
	return nil
}

// scan reads a row that begins with lead and goes on with the columns of Sums.
func (s *Sums) scan(row interface{ Scan(...any) error }, lead ...any) error {
	var took, first []byte
	for _, n := range s.numbers() {
		lead = append(lead, n)
	}
	if err := row.Scan(append(lead, &took, &first)...); err != nil {
		return err
	}
	return errors.Join(s.Took.decode(took), s.FirstByte.decode(first))
}

// seriesKey is what a call is counted by.
type seriesKey struct {
	agent, trigger, provider, model string
	outcome                         Outcome
}

// Other is the model that calls are counted as when an agent has asked for so many
// that they would fill the sums: its rows still say which it was. It is also the
// group of all that are not shown by themselves.
const Other = "(other)"

// Bounds of what is counted apart.
const (
	maxSeriesOfAgent = 1000
	maxSeries        = 20_000
)

func (l *Log) loadSeries(ctx context.Context) error {
	l.writer.series, l.writer.ofAgent = map[seriesKey]int64{}, map[string]int{}
	rows, err := l.calls.read.QueryContext(ctx, "SELECT id, agent, cause, provider, model, outcome FROM series")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var k seriesKey
		if err := rows.Scan(&id, &k.agent, &k.trigger, &k.provider, &k.model, &k.outcome); err != nil {
			return err
		}
		l.writer.series[k] = id
		l.writer.ofAgent[k.agent]++
	}
	return rows.Err()
}

// seriesOf finds the series of a call, or makes it and notes it in fresh: it is there
// for good only when the transaction is.
func (l *Log) seriesOf(ctx context.Context, tx *sql.Tx, c *Call, fresh map[seriesKey]int64) (seriesKey, int64, error) {
	w := &l.writer
	key := seriesKey{c.Agent, c.Trigger, c.Provider, c.counted(), c.Outcome()}
	find := func() (int64, bool) {
		id, ok := w.series[key]
		if !ok {
			id, ok = fresh[key]
		}
		return id, ok
	}
	if id, ok := find(); ok {
		return key, id, nil
	}
	ofAgent := w.ofAgent[key.agent]
	for k := range fresh {
		if k.agent == key.agent {
			ofAgent++
		}
	}
	all := len(w.series) + len(fresh)
	switch {
	case all >= 2*maxSeries: // somebody makes up agents or providers
		key = seriesKey{agent: Other, trigger: Other, provider: Other, model: Other, outcome: key.outcome}
	case ofAgent >= maxSeriesOfAgent || all >= maxSeries:
		key.model = Other
	}
	if id, ok := find(); ok {
		return key, id, nil
	}
	var id int64
	err := tx.QueryRowContext(ctx, `INSERT INTO series (agent, cause, provider, model, outcome) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET agent = agent RETURNING id`, key.agent, key.trigger, key.provider, key.model, key.outcome).Scan(&id)
	if err != nil {
		return key, 0, err
	}
	fresh[key] = id
	return key, id, nil
}
