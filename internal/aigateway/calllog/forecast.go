package calllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// Days that a forecast looks back, and those that it needs.
const (
	forecastDays  = 28
	forecastLeast = 7
)

// Forecast is what a month will have cost.
type Forecast struct {
	Spent    price.Money // in the month so far
	Expected price.Money // at its end; Spent when not Enough
	Days     int         // whole days that it is worked out from, at most 28
	Enough   bool        // there were at least 7, so that every day of the week is known
	Unpriced int64       // calls of the month so far whose cost is missing in all this
}

// Forecast works out what the month of a time (UTC) will have cost: what it has cost,
// and for each day to come the mean of the same day of the week in the last 28 days,
// of those since the first call there is a sum of. Today counts as that mean or
// as what it has cost already, whichever is more. Only the query's Agents, Trigger,
// Provider and Model count.
func (l *Log) Forecast(ctx context.Context, month time.Time, q Query) (Forecast, error) {
	now := l.opts.Now().UTC()
	today := startOfDay(now)
	first := time.Date(month.UTC().Year(), month.UTC().Month(), 1, 0, 0, 0, 0, time.UTC)
	next := first.AddDate(0, 1, 0)

	begin, err := l.firstDay(ctx, q)
	if err != nil {
		return Forecast{}, err
	}
	q.Unit, q.From, q.To = Day, earlier(first, today.AddDate(0, 0, -forecastDays)), later(next, today)
	var f Forecast
	costs := map[int64]price.Money{} // by days since 1970
	err = l.collect(ctx, q, func(start int64, _ *seriesKey, s *Sums) error {
		costs[start] = price.Money(add(int64(costs[start]), int64(s.Cost)))
		if at := time.UnixMilli(start * dayMillis); !at.Before(first) && at.Before(next) {
			f.Spent, f.Unpriced = price.Money(add(int64(f.Spent), int64(s.Cost))), f.Unpriced+s.Unpriced
		}
		return nil
	})
	if err != nil {
		return Forecast{}, err
	}
	of := func(day time.Time) price.Money { return costs[day.UnixMilli()/dayMillis] }

	var sum [7]price.Money
	var days [7]int64
	for day := later(begin, today.AddDate(0, 0, -forecastDays)); !begin.IsZero() && day.Before(today); day = day.AddDate(0, 0, 1) {
		sum[day.Weekday()] = price.Money(add(int64(sum[day.Weekday()]), int64(of(day))))
		days[day.Weekday()]++
		f.Days++
	}
	f.Expected = f.Spent
	f.Enough = f.Days >= forecastLeast || !next.After(today)
	if !f.Enough {
		return f, nil
	}
	for day := later(first, today); day.Before(next); day = day.AddDate(0, 0, 1) {
		mean := sum[day.Weekday()] / price.Money(max(days[day.Weekday()], 1))
		// What is there of the day already is in Spent.
		f.Expected = price.Money(add(int64(f.Expected), int64(max(mean-of(day), 0))))
	}
	return f, nil
}

// firstDay is the day of the first call of a query; zero when there is none.
func (l *Log) firstDay(ctx context.Context, q Query) (time.Time, error) {
	conditions, args := seriesWhere(q, nil)
	var day int64
	err := l.calls.read.QueryRowContext(ctx, "SELECT t.start FROM days t CROSS JOIN series s ON s.id = t.series WHERE TRUE"+
		conditions+" ORDER BY t.start LIMIT 1", args...).Scan(&day)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return time.Time{}, nil
	case err != nil:
		return time.Time{}, fmt.Errorf("forecast: %w", err)
	}
	return time.UnixMilli(day * dayMillis).UTC(), nil
}

func startOfDay(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
