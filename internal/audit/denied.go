package audit

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/access"
)

// Bounds of what denials may write, however many there are: single ones (a burst,
// then one per refill), and summaries in one minute, beside one for each action
// that sums up the rest.
const (
	summaryEvery = time.Minute
	maxCounted   = 512 // pairs of address prefix and action that are counted at a time
	maxActions   = 16  // and actions from further prefixes
	firstBurst   = 30
	firstRefill  = 10 * time.Second
	maxSummaries = 16
)

// denials counts what was denied and not recorded. The zero value is ready.
type denials struct {
	mu      sync.Mutex // guards what follows
	counted map[deniedKey]*deniedCount
	full    time.Time // when the burst of single entries is there again
}

// deniedKey is whose denials are summed up.
type deniedKey struct {
	from   netip.Prefix // an IPv4 address or an IPv6 /64; invalid: none is known
	rest   bool         // all that are not counted by themselves
	action string
}

// deniedCount is what was not recorded of one key.
type deniedCount struct {
	first    *Event // the first of all, when it was not recorded
	more     int    // those after it
	since    time.Time
	recorded time.Time // when there was last an entry of this key
}

func (d *deniedCount) pending() int {
	if d.first != nil {
		return d.more + 1
	}
	return d.more
}

// Denied records that something was denied to the address e.From. The first time
// is recorded at once; what follows from there is counted, and Run records the
// number. It returns when the entry is on stable storage or the denial counted.
func (l *Log) Denied(ctx context.Context, e Event) {
	if e.Action == "" {
		e.Action = "denied"
	}
	e = e.clean(l.Redact)
	now := l.now()
	key := deniedKey{from: prefixOf(e.From), action: e.Action}
	if !l.denials.count(key, e, now) {
		return
	}
	if err := l.Record(ctx, e); err != nil {
		l.denials.putBack(key, deniedCount{first: &e, since: now})
		l.failed(err)
	}
}

func (l *Log) failed(err error) {
	if l.Failed != nil {
		l.Failed(err)
	}
}

// prefixOf is the address, or the invalid prefix when there is none.
func prefixOf(from string) netip.Prefix {
	addr, err := netip.ParseAddr(from)
	if err != nil {
		port, err := netip.ParseAddrPort(from)
		if err != nil {
			return netip.Prefix{}
		}
		addr = port.Addr()
	}
	return access.Network(addr)
}

// count says whether to record e now; else it counts it.
func (d *denials) count(key deniedKey, e Event, now time.Time) (first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, known := d.find(&key)
	if !known && !key.rest && d.pay(now) {
		c.recorded = now
		return true
	}
	if c.pending() == 0 {
		c.since = now
	}
	if !known && !key.rest {
		c.first = &e
	} else {
		c.more++
	}
	return false
}

// find returns the count of a key, or of the one that stands for it when there
// are too many, made if it was not there.
func (d *denials) find(key *deniedKey) (c *deniedCount, known bool) {
	if c, known = d.counted[*key]; known {
		return c, true
	}
	if len(d.counted) >= maxCounted {
		key.from, key.rest = netip.Prefix{}, true
		if len(d.counted) >= maxCounted+maxActions {
			key.action = "denied"
		}
		if c, known = d.counted[*key]; known {
			return c, true
		}
	}
	if d.counted == nil {
		d.counted = map[deniedKey]*deniedCount{}
	}
	c = &deniedCount{}
	d.counted[*key] = c
	return c, false
}

// pay takes one single entry from the burst, if there is one left.
func (d *denials) pay(now time.Time) bool {
	if d.full.Before(now) {
		d.full = now
	}
	if d.full.Sub(now) > (firstBurst-1)*firstRefill {
		return false
	}
	d.full = d.full.Add(firstRefill)
	return true
}

// putBack counts again what could not be recorded.
func (d *denials) putBack(key deniedKey, was deniedCount) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, _ := d.find(&key)
	if c.pending() == 0 || was.since.Before(c.since) {
		c.since = was.since
	}
	if c.first == nil && !key.rest {
		c.first, c.more = was.first, c.more+was.more
	} else {
		c.more += was.pending()
	}
}

// taken is a key with what is to be recorded of it.
type taken struct {
	key deniedKey
	deniedCount
}

// take hands out what is to be recorded now, most denials first, and forgets the
// keys that have been quiet.
func (d *denials) take(now time.Time, all bool) []taken {
	d.mu.Lock()
	defer d.mu.Unlock()
	var due []taken
	for key, c := range d.counted {
		if !all && now.Sub(c.recorded) < summaryEvery {
			continue
		}
		if c.pending() == 0 {
			delete(d.counted, key)
			continue
		}
		due = append(due, taken{key, *c})
		*c = deniedCount{recorded: now}
	}
	slices.SortFunc(due, func(a, b taken) int {
		return cmp.Or(cmp.Compare(b.pending(), a.pending()), a.key.from.Addr().Compare(b.key.from.Addr()), cmp.Compare(a.key.action, b.key.action))
	})
	return due
}

// Run records every minute how many denials were not recorded by themselves,
// until ctx ends, and then the rest.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(summaryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.Flush(context.WithoutCancel(ctx))
		case <-tick.C:
		}
		if err := l.summarize(ctx, false); err != nil {
			l.failed(err)
		}
	}
}

// Flush records all denials that were only counted yet.
func (l *Log) Flush(ctx context.Context) error { return l.summarize(ctx, true) }

// summarize records what is due: an entry each for the busiest keys, and one for
// the rest of each action. What cannot be recorded is counted again.
func (l *Log) summarize(ctx context.Context, all bool) error {
	due := l.denials.take(l.now(), all)
	var err error
	record := func(e Event, of ...taken) {
		if err == nil { // a disk that failed once is left alone until the next time
			err = l.Record(ctx, e)
		}
		if err != nil {
			for _, t := range of {
				l.denials.putBack(t.key, t.deniedCount)
			}
		}
	}
	for _, t := range due[:min(maxSummaries, len(due))] {
		record(t.event(), t)
	}
	rest := map[string][]taken{}
	for _, t := range due[min(maxSummaries, len(due)):] {
		rest[t.key.action] = append(rest[t.key.action], t)
	}
	for action, of := range rest {
		record(sumUp(action, of), of...)
	}
	if err != nil {
		return fmt.Errorf("record the number of denials: %w", err)
	}
	return nil
}

// event is the entry for one key.
func (t taken) event() Event {
	if t.first != nil {
		e := *t.first
		if t.more > 0 {
			e.Detail = fmt.Sprintf("first of %d since %s; %s", t.pending(), stamp(t.since), e.Detail)
		}
		return e
	}
	e := Event{Action: t.key.action, Detail: fmt.Sprintf("%d more since %s", t.more, stamp(t.since))}
	switch from := t.key.from; {
	case t.key.rest:
		e.Detail = fmt.Sprintf("%d since %s, from various addresses", t.more, stamp(t.since))
	case !from.IsValid():
	case from.IsSingleIP():
		e.From = from.Addr().String()
	default:
		e.From = from.String()
	}
	return e
}

// sumUp is one entry for several keys.
func sumUp(action string, of []taken) Event {
	total, since := 0, of[0].since
	for _, t := range of {
		total += t.pending()
		if t.since.Before(since) {
			since = t.since
		}
	}
	return Event{Action: action, Detail: fmt.Sprintf("%d since %s, from %d further addresses", total, stamp(since), len(of))}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
