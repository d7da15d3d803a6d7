package audit

import (
	"context"
	"fmt"
	"net/url"
	"strconv"

	"github.com/moltworker/moltworker/internal/store"
)

// Bounds of one listing: entries without a limit given, entries, and bytes of
// encoded entries (a listing that would be larger ends before).
const (
	usualLimit = 100
	maxLimit   = 1000
	maxListing = 2 << 20
)

// Filter says which entries are meant. Zero fields exclude nothing.
type Filter struct {
	After, Before int64  // sequence numbers, both exclusive
	Action        string // how the action begins
	Agent, Actor  string
	Limit         int // 100 when 0, at most 1000; the newest ones count
}

// ParseFilter reads a filter from a query: after, before, action, agent, actor,
// limit. Its error is safe to show.
func ParseFilter(q url.Values) (Filter, error) {
	f := Filter{Action: q.Get("action"), Agent: q.Get("agent"), Actor: q.Get("actor")}
	var limit int64
	for name, into := range map[string]*int64{"after": &f.After, "before": &f.Before, "limit": &limit} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return Filter{}, fmt.Errorf("%s=%.40q is no number from 0 up", name, text)
		}
		*into = n
	}
	f.Limit = int(min(limit, maxLimit))
	return f, nil
}

// Query is what ParseFilter reads.
func (f Filter) Query() url.Values {
	q := url.Values{}
	for name, n := range map[string]int64{"after": f.After, "before": f.Before, "limit": int64(f.Limit)} {
		if n != 0 {
			q.Set(name, strconv.FormatInt(n, 10))
		}
	}
	for name, s := range map[string]string{"action": f.Action, "agent": f.Agent, "actor": f.Actor} {
		if s != "" {
			q.Set(name, s)
		}
	}
	return q
}

// List returns the entries that are meant, newest first. What is before them is
// had by Filter.Before with the last one's Seq.
func (l *Log) List(ctx context.Context, f Filter) ([]Entry, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = usualLimit
	}
	rows, err := l.db.Audit(ctx, store.AuditFilter{After: f.After, Before: f.Before, Action: f.Action,
		Actor: f.Actor, Agent: f.Agent, Limit: min(limit, maxLimit)})
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(rows))
	size := 0
	for _, r := range rows {
		if size += len(r.Entry); size > maxListing && len(entries) > 0 {
			break
		}
		entries = append(entries, entryOf(r))
	}
	return entries, nil
}

// Bounds of those who watch: how many there are, and how many entries one of
// them may be behind.
const (
	maxWatchers = 128
	maxBehind   = 256
)

// Watch returns a channel of the entries that this process records from now on.
// It is closed when ctx ends, and also when its reader falls 256 entries behind
// or too many watch: then List, and Watch anew.
func (l *Log) Watch(ctx context.Context) <-chan Entry {
	c := make(chan Entry, maxBehind)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.watchers) >= maxWatchers {
		close(c)
		return c
	}
	l.watchers[c] = struct{}{}
	context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.unwatch(c)
	})
	return c
}

// publish hands entries to those who watch; l.mu is held.
func (l *Log) publish(entries []Entry) {
	for c := range l.watchers {
		for _, e := range entries {
			select {
			case c <- e:
				continue
			default:
			}
			l.unwatch(c)
			break
		}
	}
}

// unwatch closes a watcher's channel, once; l.mu is held.
func (l *Log) unwatch(c chan Entry) {
	if _, watches := l.watchers[c]; watches {
		delete(l.watchers, c)
		close(c)
	}
}
