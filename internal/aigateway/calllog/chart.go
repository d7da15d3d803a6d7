package calllog

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Unit is a length of time that sums are kept for.
type Unit int

// The units, of UTC.
const (
	Day Unit = iota
	Hour
)

func (u Unit) table() string {
	if u == Hour {
		return "hours"
	}
	return "days"
}

func (u Unit) millis() int64 {
	if u == Hour {
		return hourMillis
	}
	return dayMillis
}

// Group is what sums are told apart by.
type Group string

// The groups. None is all in one.
const (
	None       Group = ""
	ByAgent    Group = "agent"
	ByModel    Group = "model"
	ByTrigger  Group = "trigger"
	ByProvider Group = "provider"
	ByOutcome  Group = "outcome"
)

func (g Group) of(k *seriesKey) (string, error) {
	switch g {
	case None:
		return "", nil
	case ByAgent:
		return k.agent, nil
	case ByModel:
		return k.model, nil
	case ByTrigger:
		return k.trigger, nil
	case ByProvider:
		return k.provider, nil
	case ByOutcome:
		return k.outcome.String(), nil
	}
	return "", fmt.Errorf("%w: there is no group %.40q", ErrFilter, string(g))
}

// Query says which sums are meant. Zero fields exclude nothing. It is answered from
// sums alone, whatever the number of calls, also of those that were let go.
type Query struct {
	Unit                     Unit
	Agents                   []string // any of them; nil means all, and an empty list none
	Trigger, Provider, Model string
	From, To                 time.Time // units that begin before To, and end after From
}

// Bounds of an answer.
const (
	maxStarts = 5000 // units of time
	maxGroups = 20
)

// Point is the sums of one unit of time and one group.
type Point struct {
	Start time.Time
	Group string
	Sums
}

// Series returns sums by time and group, in order of time. Units without calls are
// left out. Of more than 20 groups, the rest of the most expensive 19 are one, Other.
func (l *Log) Series(ctx context.Context, q Query, g Group) ([]Point, error) {
	type place struct {
		start int64
		group string
	}
	points, totals, starts := map[place]*Sums{}, map[string]*Sums{}, map[int64]bool{}
	err := l.collect(ctx, q, func(start int64, k *seriesKey, s *Sums) error {
		group, err := g.of(k)
		if err != nil {
			return err
		}
		if starts[start] = true; len(starts) > maxStarts {
			return fmt.Errorf("%w: more than %d hours or days", ErrFilter, maxStarts)
		}
		merge(points, place{start, group}, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for at, s := range points {
		merge(totals, at.group, s)
	}
	folded := map[place]*Sums{}
	shown := map[string]bool{}
	for i, r := range rank(totals) {
		shown[r.Group] = i < maxGroups-1 || len(totals) <= maxGroups
	}
	for at, s := range points {
		if !shown[at.group] {
			at.group = Other
		}
		merge(folded, at, s)
	}
	out := make([]Point, 0, len(folded))
	for at, s := range folded {
		out = append(out, Point{time.UnixMilli(at.start * q.Unit.millis()).UTC(), at.group, *s})
	}
	slices.SortFunc(out, func(a, b Point) int {
		return cmp.Or(a.Start.Compare(b.Start), strings.Compare(a.Group, b.Group))
	})
	return out, nil
}

func merge[K comparable](into map[K]*Sums, at K, s *Sums) {
	if into[at] == nil {
		into[at] = &Sums{}
	}
	into[at].merge(s)
}

// Ranked is the sums of a group.
type Ranked struct {
	Group string
	Sums
}

// rank puts groups in order: most expensive first, then most called.
func rank(totals map[string]*Sums) []Ranked {
	out := make([]Ranked, 0, len(totals))
	for _, group := range slices.Sorted(maps.Keys(totals)) {
		out = append(out, Ranked{group, *totals[group]})
	}
	slices.SortStableFunc(out, func(a, b Ranked) int {
		return cmp.Or(cmp.Compare(b.Cost, a.Cost), cmp.Compare(b.Calls, a.Calls))
	})
	return out
}

// Top returns the most expensive groups, at most n.
func (l *Log) Top(ctx context.Context, q Query, g Group, n int) ([]Ranked, error) {
	totals := map[string]*Sums{}
	err := l.collect(ctx, q, func(_ int64, k *seriesKey, s *Sums) error {
		group, err := g.of(k)
		if err == nil {
			merge(totals, group, s)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	ranked := rank(totals)
	return ranked[:min(max(n, 0), len(ranked))], nil
}

// Totals returns the sums of everything that is meant.
func (l *Log) Totals(ctx context.Context, q Query) (Sums, error) {
	var all Sums
	err := l.collect(ctx, q, func(_ int64, _ *seriesKey, s *Sums) error {
		all.merge(s)
		return nil
	})
	return all, err
}

// collect hands out the rows of sums that are meant. What it hands out is overwritten
// by the next.
func (l *Log) collect(ctx context.Context, q Query, each func(start int64, k *seriesKey, s *Sums) error) error {
	if len(q.Agents) > maxAgents {
		return fmt.Errorf("%w: too many agents", ErrFilter)
	}
	unit := q.Unit.millis()
	low, high := int64(0), int64(1<<62)
	if !q.From.IsZero() {
		low = max(q.From.UnixMilli(), 0) / unit
	}
	if !q.To.IsZero() {
		high = (max(q.To.UnixMilli(), 0) + unit - 1) / unit
	}
	conditions, args := seriesWhere(q, nil)
	rows, err := l.calls.read.QueryContext(ctx, "SELECT t.start, s.agent, s.cause, s.provider, s.model, s.outcome, t."+
		strings.Join(sumColumns, ", t.")+", t.took, t.first FROM "+q.Unit.table()+
		" t CROSS JOIN series s ON s.id = t.series WHERE t.start >= ? AND t.start < ?"+conditions, append([]any{low, high}, args...)...)
	if err != nil {
		return fmt.Errorf("add up calls: %w", err)
	}
	defer rows.Close()
	var s Sums
	for rows.Next() {
		var start int64
		var k seriesKey
		clear(s.Took.counts)
		clear(s.FirstByte.counts)
		if err := s.scan(rows, &start, &k.agent, &k.trigger, &k.provider, &k.model, &k.outcome); err != nil {
			return fmt.Errorf("add up calls: %w", err)
		}
		if err := each(start, &k, &s); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("add up calls: %w", err)
	}
	return nil
}
