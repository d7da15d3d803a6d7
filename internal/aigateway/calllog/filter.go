package calllog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// ErrFilter says that a filter, a query or a value is none that can be used. Its text is safe to
// show.
var ErrFilter = errors.New("not possible")

// Filter says which calls are meant. Zero fields exclude nothing.
type Filter struct {
	Agents                   []string // any of them; nil means all, and an empty list none
	Trigger, Provider, Model string
	Status                   string // "404", an Outcome ("2xx", "broken" ...), or "error": what is not 1xx to 3xx

	From, To time.Time // when the call began: from From on, before To

	MinCost price.Money // calls whose cost is known and at least this
	Cache   string      // "hit", "miss", "bypass"
	Event   string      // the whole of it
	Text    string      // somewhere in the metadata or the event, capitals of ASCII being the same
}

const (
	maxText   = 200 // bytes
	maxAgents = 10_000
)

// choice is a filter in the terms of the database.
type choice struct {
	all      bool    // every series
	series   []int64 // else these
	low      int64   // lowest key
	high     int64   // first key that is too high
	rest     string  // conditions on a row, "" none
	restArgs []any
	event    string
}

// choose finds out which series and rows a filter means.
func (l *Log) choose(ctx context.Context, f Filter) (c choice, err error) {
	if len(f.Text) > maxText || len(f.Agents) > maxAgents {
		return c, fmt.Errorf("%w: the filter is too long", ErrFilter)
	}
	c = choice{low: 0, high: 1<<63 - 1, event: f.Event}
	if !f.From.IsZero() {
		c.low = keyAt(f.From)
	}
	if !f.To.IsZero() {
		c.high = keyAt(f.To)
	}
	outcomes, status, err := parseStatus(f.Status)
	if err != nil {
		return c, err
	}
	c.conditions(f, status)
	if f.Agents == nil && f.Trigger+f.Provider+f.Model == "" && outcomes == nil {
		c.all = true
		return c, nil
	}
	c.series, err = l.seriesIDs(ctx, Query{Agents: f.Agents, Trigger: f.Trigger, Provider: f.Provider, Model: f.Model}, outcomes)
	return c, err
}

// conditions are those that no index helps with.
func (c *choice) conditions(f Filter, status int) {
	where := func(condition string, args ...any) {
		c.rest += " AND " + condition
		c.restArgs = append(c.restArgs, args...)
	}
	if status != 0 {
		where("c.status = ?", status)
	}
	if f.MinCost > 0 {
		where("c.cost >= ?", int64(f.MinCost))
	}
	if f.Cache != "" {
		where("c.cache = ?", slices.Index(cacheNames, f.Cache))
	}
	if f.Text != "" {
		quoted, _ := json.Marshal(f.Text) // a string: cannot fail
		where(`(c.event LIKE ? ESCAPE '\' OR c.metadata LIKE ? ESCAPE '\')`, pattern(f.Text), pattern(string(quoted[1:len(quoted)-1])))
	}
}

var escapePattern = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`)

func pattern(text string) string { return "%" + escapePattern.Replace(text) + "%" }

// parseStatus reads Filter.Status; nil outcomes are all.
func parseStatus(s string) (outcomes []Outcome, status int, err error) {
	switch i := slices.Index(outcomeNames, s); {
	case s == "":
		return nil, 0, nil
	case s == "error":
		return []Outcome{Unanswered, Refused, Failed, Interrupted}, 0, nil
	case i >= 0:
		return []Outcome{Outcome(i)}, 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 100 || n > 599 || len(s) != 3 {
		return nil, 0, fmt.Errorf("%w: status=%.40q is neither a status nor one of %s, error", ErrFilter, s, strings.Join(outcomeNames, ", "))
	}
	outcomes = []Outcome{Outcome(n / 100)}
	if n < 400 {
		outcomes = append(outcomes, Interrupted)
	}
	return outcomes, n, nil
}

// seriesWhere are the conditions on series s that a query and outcomes (nil: all) mean.
func seriesWhere(q Query, outcomes []Outcome) (conditions string, args []any) {
	where := func(condition string, arg any) {
		conditions, args = conditions+" AND "+condition, append(args, arg)
	}
	for _, c := range [][2]string{{"s.cause = ?", q.Trigger}, {"s.provider = ?", q.Provider}, {"s.model = ?", q.Model}} {
		if c[1] != "" {
			where(c[0], c[1])
		}
	}
	if q.Agents != nil {
		list, _ := json.Marshal(q.Agents) // strings and numbers: cannot fail
		where("s.agent IN (SELECT value FROM json_each(?))", string(list))
	}
	if outcomes != nil {
		list, _ := json.Marshal(outcomes)
		where("s.outcome IN (SELECT value FROM json_each(?))", string(list))
	}
	return conditions, args
}

func (l *Log) seriesIDs(ctx context.Context, q Query, outcomes []Outcome) ([]int64, error) {
	conditions, args := seriesWhere(q, outcomes)
	rows, err := l.calls.read.QueryContext(ctx, "SELECT s.id FROM series s WHERE TRUE"+conditions, args...)
	if err != nil {
		return nil, fmt.Errorf("look for calls: %w", err)
	}
	defer rows.Close()
	ids := []int64{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("look for calls: %w", err)
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
