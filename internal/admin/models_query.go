package admin

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// Bounds of what callers say.
const (
	maxWords  = 200  // bytes of a name or a search
	maxNotes  = 2000 // bytes of a comment
	maxAgents = 100  // of one filter
)

// ParseCalls reads which calls are meant: agent (again and again), trigger, provider,
// model, status, from, to, min_cost, cache, event and text.
func ParseCalls(v url.Values) (f calllog.Filter, err error) {
	if f.Agents, err = agentsOf(v); err != nil {
		return f, err
	}
	if f.From, f.To, err = timesOf(v); err != nil {
		return f, err
	}
	if s := v.Get("min_cost"); s != "" {
		if f.MinCost, err = price.ParseMoney(s); err != nil || f.MinCost < 0 {
			return f, invalid("min_cost: want dollars, like 0.25", "")
		}
	}
	f.Trigger, f.Provider, f.Model, f.Status = v.Get("trigger"), v.Get("provider"), v.Get("model"), v.Get("status")
	f.Cache, f.Event, f.Text = v.Get("cache"), v.Get("event"), v.Get("text")
	for _, s := range []string{f.Trigger, f.Provider, f.Model, f.Status, f.Cache, f.Event, f.Text} {
		if len(s) > maxWords {
			return f, invalid("the filter is too long", "")
		}
	}
	if !slices.Contains([]string{"", "hit", "miss", "bypass"}, f.Cache) {
		return f, invalid("cache: want hit, miss or bypass", "")
	}
	return f, nil
}

// CallsQuery is what [ParseCalls] reads.
func CallsQuery(f calllog.Filter) url.Values {
	v := url.Values{}
	put(v, "trigger", f.Trigger, "provider", f.Provider, "model", f.Model, "status", f.Status, "cache", f.Cache, "event", f.Event, "text", f.Text)
	if f.MinCost > 0 {
		v.Set("min_cost", f.MinCost.String())
	}
	span(v, f.Agents, f.From, f.To)
	return v
}

// ParseSums reads which sums are meant: agent, trigger, provider, model, from, to, and
// unit, "day" or "hour".
func ParseSums(v url.Values) (q calllog.Query, err error) {
	if q.Agents, err = agentsOf(v); err != nil {
		return q, err
	}
	if q.From, q.To, err = timesOf(v); err != nil {
		return q, err
	}
	q.Trigger, q.Provider, q.Model = v.Get("trigger"), v.Get("provider"), v.Get("model")
	if len(q.Trigger) > maxWords || len(q.Provider) > maxWords || len(q.Model) > maxWords {
		return q, invalid("the filter is too long", "")
	}
	switch v.Get("unit") {
	case "", "day":
	case "hour":
		q.Unit = calllog.Hour
	default:
		return q, invalid("unit: want day or hour", "")
	}
	return q, nil
}

// SumsQuery is what [ParseSums] reads.
func SumsQuery(q calllog.Query) url.Values {
	v := url.Values{}
	put(v, "trigger", q.Trigger, "provider", q.Provider, "model", q.Model)
	if q.Unit == calllog.Hour {
		v.Set("unit", "hour")
	}
	span(v, q.Agents, q.From, q.To)
	return v
}

// ModelGroups are what sums can be told apart by.
var ModelGroups = []calllog.Group{calllog.ByAgent, calllog.ByModel, calllog.ByTrigger, calllog.ByProvider, calllog.ByOutcome}

// ParseGroup reads what sums are told apart by; "" is all in one.
func ParseGroup(s string) (calllog.Group, error) {
	if g := calllog.Group(s); g == calllog.None || slices.Contains(ModelGroups, g) {
		return g, nil
	}
	return "", invalid("by: want agent, model, trigger, provider or outcome", "")
}

func put(v url.Values, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
}

func span(v url.Values, agents []string, from, to time.Time) {
	for _, a := range agents {
		v.Add("agent", a)
	}
	if !from.IsZero() {
		v.Set("from", from.UTC().Format(time.RFC3339))
	}
	if !to.IsZero() {
		v.Set("to", to.UTC().Format(time.RFC3339))
	}
}

// agentsOf is nil for all. An empty name is what a form sends where none is chosen.
func agentsOf(v url.Values) ([]string, error) {
	var names []string
	for _, a := range v["agent"] {
		if len(a) > maxWords {
			return nil, invalid("the name of an agent is too long", "")
		}
		if a != "" {
			names = append(names, a)
		}
	}
	if len(names) > maxAgents {
		return nil, invalid("too many agents are named", "")
	}
	return names, nil
}

func timesOf(v url.Values) (from, to time.Time, err error) {
	if from, err = ParseTime(v.Get("from")); err == nil {
		to, err = ParseTime(v.Get("to"))
	}
	return from, to, err
}

// ParseTime reads a day of UTC, which is where it begins, or a time; "" is none.
func ParseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1970 && t.Year() <= 2109 {
			return t, nil
		}
	}
	return time.Time{}, invalid("want a time like 2026-11-24 (UTC) or 2026-11-24T10:00:00Z", "")
}

// Limit reads how many are wanted; 0 where nothing is said.
func Limit(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, invalid("want a number from 1 up", "")
	}
	return n, nil
}
