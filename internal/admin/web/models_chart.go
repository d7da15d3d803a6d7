package web

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/page"
)

// maxLines is how many groups one chart tells apart: as many as there are colours.
const maxLines = 8

// chart is a picture over days, and the table behind it.
type chart struct {
	ID, Title string
	Kind      string // "stack" of bars, or "lines"
	Unit      string // "usd", "count" or "ms"
	Note      string
	Lines     []chartLine
	Starts    []time.Time // days of UTC
}

// chartLine is one group or measure; a value is nil where there is none.
type chartLine struct {
	Label  string
	Values []*float64
}

// Data is what the script draws.
func (c chart) Data() (string, error) {
	x := make([]int64, 0, len(c.Starts))
	for _, t := range c.Starts {
		x = append(x, t.Unix())
	}
	y := make([][]*float64, 0, len(c.Lines))
	labels := make([]string, 0, len(c.Lines))
	for _, l := range c.Lines {
		y, labels = append(y, l.Values), append(labels, l.Label)
	}
	b, err := json.Marshal(map[string]any{"kind": c.Kind, "unit": c.Unit, "x": x, "labels": labels, "y": y})
	return string(b), err
}

// tableRow is one day of the table behind a chart.
type tableRow struct {
	Day   string
	Cells []string
}

// Rows are the days on which something was, newest first.
func (c chart) Rows() (rows []tableRow) {
	for i := len(c.Starts) - 1; i >= 0; i-- {
		row, any := tableRow{Day: c.Starts[i].Format(time.DateOnly)}, false
		for _, l := range c.Lines {
			v := l.Values[i]
			if v == nil {
				row.Cells = append(row.Cells, "–")
				continue
			}
			any = any || *v > 0
			row.Cells = append(row.Cells, c.words(*v))
		}
		if any {
			rows = append(rows, row)
		}
	}
	return rows
}

func (c chart) words(v float64) string {
	switch c.Unit {
	case "usd":
		return admin.Dollars(price.Money(v * float64(price.Dollar)))
	case "ms":
		return tookWords(v)
	}
	return admin.Thousands(int64(v))
}

// tookWords is a duration of milliseconds, to the digits that matter.
func tookWords(millis float64) string {
	switch {
	case millis <= 0:
		return "–"
	case millis < 1000:
		return fmt.Sprintf("%.0f ms", millis)
	case millis < 10_000:
		return fmt.Sprintf("%.1f s", millis/1000)
	}
	return page.Long(time.Duration(millis * float64(time.Millisecond)))
}

// draw makes the charts of a page.
func (s *site) draw(ctx context.Context, v *modelsView) error {
	year, month, day := s.Now().UTC().Date()
	today := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	var starts []time.Time
	for ago := v.Days - 1; ago >= 0; ago-- {
		starts = append(starts, today.AddDate(0, 0, -ago))
	}
	q := calllog.Query{From: starts[0]}
	groups, err := s.plane.ModelSeries(ctx, q, v.By)
	if err != nil {
		return err
	}
	all, err := s.plane.ModelSeries(ctx, q, calllog.None)
	if err != nil {
		return err
	}
	v.Charts = []chart{costChart(starts, groups, v.By), tokenChart(starts, all), latencyChart(starts, all), errorChart(starts, groups, v.By)}
	return nil
}

// measured makes a line of one number of each day; absent where there is no day.
func measured(label string, starts []time.Time, points []admin.ModelPoint, of func(admin.ModelSums) float64, gaps bool) chartLine {
	l := chartLine{Label: label, Values: make([]*float64, len(starts))}
	for i, at := range starts {
		if !gaps {
			l.Values[i] = new(float64)
		}
		for _, p := range points {
			if p.Start.Equal(at) {
				n := of(p.ModelSums)
				l.Values[i] = &n
			}
		}
	}
	return l
}

// grouped makes a line of each group, those with the most in front, and one of the rest.
func grouped(starts []time.Time, points []admin.ModelPoint, of func(admin.ModelSums) float64) []chartLine {
	byGroup, totals := map[string][]admin.ModelPoint{}, map[string]float64{}
	for _, p := range points {
		byGroup[p.Group] = append(byGroup[p.Group], p)
		totals[p.Group] += of(p.ModelSums)
	}
	var names []string
	for name := range byGroup {
		if totals[name] > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(totals[b], totals[a]), cmp.Compare(a, b)) })
	var lines []chartLine
	for i, name := range names {
		line := measured(page.Plain(cmp.Or(name, "unknown"), 60), starts, byGroup[name], of, false)
		if i >= maxLines { // the last one takes the rest
			last := &lines[maxLines-1]
			last.Label = calllog.Other
			for d := range line.Values {
				*last.Values[d] += *line.Values[d]
			}
			continue
		}
		lines = append(lines, line)
	}
	return lines
}

func costChart(starts []time.Time, points []admin.ModelPoint, by calllog.Group) chart {
	c := chart{ID: "cost", Title: "Cost by day and " + string(by), Kind: "stack", Unit: "usd", Starts: starts,
		Lines: grouped(starts, points, func(s admin.ModelSums) float64 { return float64(s.Cost) / float64(price.Dollar) })}
	var unpriced int64
	for _, p := range points {
		unpriced += p.Unpriced
	}
	if unpriced > 0 {
		c.Note = fmt.Sprintf("%s calls of unknown price are not in it.", admin.Thousands(unpriced))
	}
	return c
}

func tokenChart(starts []time.Time, all []admin.ModelPoint) chart {
	c := chart{ID: "tokens", Title: "Tokens by day", Kind: "stack", Unit: "count", Starts: starts}
	for _, k := range []struct {
		label string
		of    func(admin.ModelTokens) int64
	}{
		{"read", func(t admin.ModelTokens) int64 { return t.Input + t.AudioInput }},
		{"read from the provider's cache", func(t admin.ModelTokens) int64 { return t.CacheRead }},
		{"written to that cache", func(t admin.ModelTokens) int64 { return t.CacheWrite }},
		{"written", func(t admin.ModelTokens) int64 { return t.Output + t.AudioOutput }},
	} {
		line := measured(k.label, starts, all, func(s admin.ModelSums) float64 { return float64(k.of(s.Tokens)) }, false)
		if slices.ContainsFunc(line.Values, func(v *float64) bool { return *v > 0 }) {
			c.Lines = append(c.Lines, line)
		}
	}
	return c
}

func latencyChart(starts []time.Time, all []admin.ModelPoint) chart {
	return chart{ID: "latency", Title: "How long calls take", Kind: "lines", Unit: "ms", Starts: starts,
		Note: "Half of the calls, and all but a twentieth, take no longer.",
		Lines: []chartLine{
			measured("p50", starts, all, func(s admin.ModelSums) float64 { return s.TookP50 }, true),
			measured("p95", starts, all, func(s admin.ModelSums) float64 { return s.TookP95 }, true),
			measured("answer begins, p50", starts, all, func(s admin.ModelSums) float64 { return s.FirstP50 }, true),
		}}
}

func errorChart(starts []time.Time, points []admin.ModelPoint, by calllog.Group) chart {
	return chart{ID: "errors", Title: "Errors by day and " + string(by), Kind: "stack", Unit: "count", Starts: starts,
		Lines: grouped(starts, points, func(s admin.ModelSums) float64 { return float64(s.Errors) })}
}
