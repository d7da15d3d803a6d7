package budget

import (
	"errors"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// otherModels is the name under which calls are kept of an agent that named more
// models in a day than are kept apart. Which those were is not known any more, so
// they count for every rule about models.
const otherModels = "(other)"

const (
	maxRowsADay = 256  // of one agent
	dayMonths   = 3    // newest months whose days are kept apart
	maxMonths   = 120  // kept at all; what was spent in a total does not depend on them
	maxCounters = 4096 // of one rule, before those of other periods are let go
)

// tally is what calls came to.
type tally struct {
	Money          price.Money `json:"money,omitempty"` // with UnsettledMoney
	Tokens         int64       `json:"tokens,omitempty"`
	Calls          int64       `json:"calls,omitempty"`
	Unknown        int64       `json:"unknown,omitempty"`   // calls whose price is not known
	Unsettled      int64       `json:"unsettled,omitempty"` // calls whose end is not known
	UnsettledMoney price.Money `json:"unsettled_money,omitempty"`
}

func (t *tally) add(o tally) {
	t.Money = add(t.Money, o.Money)
	t.Tokens = add(t.Tokens, o.Tokens)
	t.Calls += o.Calls
	t.Unknown += o.Unknown
	t.Unsettled += o.Unsettled
	t.UnsettledMoney = add(t.UnsettledMoney, o.UnsettledMoney)
}

// rowKey is what statements keep apart. day is 0 in months whose days are folded.
type rowKey struct {
	day int32
	who who
}

type agentDay struct {
	day   int32
	agent string
}

// sheet holds a month.
type sheet struct {
	rows   map[rowKey]*tally
	count  map[agentDay]int
	folded bool
}

// pending is a call that was admitted and has not ended.
type pending struct {
	ref        uint64 // number of the record that admitted it, or when it is gone, ended it
	id         string
	who        who
	at         int64 // unix milliseconds
	day        int32
	most       price.Money
	tokens     int64
	gone       bool // it ended, or was counted as unsettled
	prev, next *pending
}

// counterKey names a counter of a rule; agent is set where each has its own.
type counterKey struct {
	period int32
	agent  string
}

// counter is what was spent and is reserved under a rule in a period.
type counter struct {
	tally
	reserved       price.Money
	reservedTokens int64
	inFlight       int64
	warned         bool // the soft threshold was told of
	refused        bool // and that a call was refused
}

// account is a rule with its counters.
type account struct {
	Rule
	kind     kind
	from     uint64 // first record that counts in a total
	zone     *time.Location
	counters map[counterKey]*counter
}

// kind says where a rule comes from.
type kind string

const (
	plainRule kind = "rule"
	credit    kind = "credit"
	heartbeat kind = "heartbeat"
)

// ofMoney reports whether there is a limit in money. Credit of which all was taken
// back is one of nothing.
func (a *account) ofMoney() bool { return a.Limit > 0 || a.kind == credit }

func (a *account) key(w *who, day int32) counterKey {
	k := counterKey{period: a.Period.of(day)}
	if a.Each {
		k.agent = w.Agent
	}
	return k
}

// book is the ledger in memory. It does not know files or clocks: all that changes
// it are records, so that reading the journal again leads to the same book.
type book struct {
	seq      uint64 // of the next record
	months   map[int32]*sheet
	flight   map[uint64]*pending
	ids      map[string]*pending
	first    *pending // longest under way
	last     *pending
	accounts []*account
	totals   map[string]savedTotal // read from the ledger file, until there are accounts

	tell func(a *account, k counterKey, c *counter, refused bool) // nil while reading
}

func newBook() *book {
	return &book{seq: 1, months: map[int32]*sheet{}, flight: map[uint64]*pending{}, ids: map[string]*pending{}}
}

// startAt skips numbers that records had which are lost, but settings speak of.
func (b *book) startAt(seq uint64) { b.seq = max(b.seq, seq) }

var errStranger = errors.New("it ends a call that is not known")

// apply is the one way in which the book changes.
func (b *book) apply(r *record) error {
	b.seq = r.seq + 1
	switch r.kind {
	case recReserve:
		p := &pending{ref: r.seq, id: r.id, who: r.who, at: r.at, day: r.day, most: r.money, tokens: r.tokens}
		b.link(p)
		b.hold(p, 1)
		return nil
	case recLate:
		b.charge(r.ref, &r.who, r.day, r.late()) // a total counts both its ends or none
		return nil
	}
	p := b.flight[r.ref]
	if p == nil {
		return errStranger
	}
	b.unlink(p)
	b.hold(p, -1)
	p.ref = r.seq
	if t := r.outcome(p); t != (tally{}) {
		b.charge(r.seq, &p.who, p.day, t)
	}
	return nil
}

func (b *book) link(p *pending) {
	b.flight[p.ref] = p
	if p.id != "" {
		b.ids[p.id] = p
	}
	if p.prev = b.last; p.prev != nil {
		p.prev.next = p
	} else {
		b.first = p
	}
	b.last = p
}

func (b *book) unlink(p *pending) {
	delete(b.flight, p.ref)
	if b.ids[p.id] == p {
		delete(b.ids, p.id)
	}
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		b.first = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		b.last = p.prev
	}
	p.prev, p.next, p.gone = nil, nil, true
}

// hold reserves what a call may cost, or with sign -1 gives it back.
func (b *book) hold(p *pending, sign int64) {
	for _, a := range b.accounts {
		if !a.Match.fits(&p.who) {
			continue
		}
		if c := a.counters[a.key(&p.who, p.day)]; c != nil {
			c.hold(p, sign)
		}
	}
}

func (c *counter) hold(p *pending, sign int64) {
	c.reserved = add(c.reserved, p.most*price.Money(sign))
	c.reservedTokens = add(c.reservedTokens, p.tokens*sign)
	c.inFlight += sign
}

// charge counts what a call came to, in its row and under its rules. A counter that
// is not there will be made from the rows.
func (b *book) charge(seq uint64, w *who, day int32, t tally) {
	b.row(w, day).add(t)
	for _, a := range b.accounts {
		if !a.Match.fits(w) {
			continue
		}
		k := a.key(w, day)
		c := a.counters[k]
		if c == nil && a.Period == Total {
			c = b.counter(a, k)
		}
		if c == nil || a.Period == Total && seq < a.from {
			continue
		}
		c.add(t)
		if !c.warned && c.soft(a) {
			c.warned = true
			if b.tell != nil {
				b.tell(a, k, c, false)
			}
		}
	}
}

// row finds the row of a call, and makes it.
func (b *book) row(w *who, day int32) *tally {
	s := b.months[day/100]
	if s == nil {
		s = &sheet{rows: map[rowKey]*tally{}, count: map[agentDay]int{}}
		b.months[day/100] = s
		b.foldMonths(day / 100)
		s = b.months[day/100]
	}
	k := rowKey{day, *w}
	if s.folded {
		k.day = 0
	}
	if t := s.rows[k]; t != nil {
		return t
	}
	ad := agentDay{k.day, w.Agent}
	if s.count[ad] >= maxRowsADay {
		k.who.Model = otherModels
		if t := s.rows[k]; t != nil {
			return t
		}
	}
	t := &tally{}
	s.rows[k] = t
	s.count[ad]++
	return t
}

// foldMonths adds up the days of all but the newest months, and lets go of the
// oldest, but not of the one in use. It goes by the months there are, not by a
// clock, which may be wrong.
func (b *book) foldMonths(used int32) {
	newer := func(m int32) (n int) {
		for other := range b.months {
			if other > m {
				n++
			}
		}
		return n
	}
	for m, s := range b.months {
		switch n := newer(m); {
		case n >= maxMonths && m != used:
			delete(b.months, m)
		case n >= dayMonths && !s.folded:
			b.months[m] = s.fold()
		}
	}
}

func (s *sheet) fold() *sheet {
	out := &sheet{rows: map[rowKey]*tally{}, count: map[agentDay]int{}, folded: true}
	for k, t := range s.rows {
		k.day = 0
		if out.rows[k] == nil {
			out.rows[k] = &tally{}
			out.count[agentDay{0, k.who.Agent}]++
		}
		out.rows[k].add(*t)
	}
	return out
}

// counter finds a counter of a rule. One that is not there is made from the rows of
// its period and the calls under way. In a folded month every day has the whole
// month's: too much rather than too little.
func (b *book) counter(a *account, k counterKey) *counter {
	if c := a.counters[k]; c != nil {
		return c
	}
	if a.Period != Total && len(a.counters) >= maxCounters {
		for old := range a.counters {
			if old.period != k.period {
				delete(a.counters, old)
			}
		}
	}
	c := &counter{}
	if a.Period != Total {
		b.addRows(a, k, c)
	}
	for p := b.first; p != nil; p = p.next {
		if a.Match.fits(&p.who) && a.key(&p.who, p.day) == k {
			c.hold(p, 1)
		}
	}
	c.warned = c.soft(a)
	a.counters[k] = c
	return c
}

func (b *book) addRows(a *account, k counterKey, c *counter) {
	month := k.period
	if a.Period == Day {
		month /= 100
	}
	s := b.months[month]
	if s == nil {
		return
	}
	for rk, t := range s.rows {
		if (a.Period == Month || s.folded || rk.day == k.period) && a.Match.fits(&rk.who) && (!a.Each || rk.who.Agent == k.agent) {
			c.add(*t)
		}
	}
}

// soft reports whether the soft threshold is reached.
func (c *counter) soft(a *account) bool {
	// Per cent first would overflow; a limit below 100 is rounded up.
	over := func(v, limit int64) bool { return limit > 0 && v >= limit/100*a.soft()+(limit%100*a.soft()+99)/100 }
	return over(int64(c.Money), int64(a.Limit)) || over(c.Tokens, a.Tokens)
}

// exceeded says why a call does not fit under a rule; nil when it does. Where all
// is spent nothing fits, not even a call that may cost nothing: its price may only
// be unknown.
func (c *counter) exceeded(a *account, w *who, day int32, most price.Money, tokens int64) *Exceeded {
	full := func(spent, reserved, most, limit int64) bool {
		used := add(spent, reserved)
		return used >= limit || add(used, most) > limit
	}
	money := a.ofMoney() && full(int64(c.Money), int64(c.reserved), int64(most), int64(a.Limit))
	if !money && (a.Tokens == 0 || !full(c.Tokens, c.reservedTokens, tokens, a.Tokens)) {
		return nil
	}
	return &Exceeded{
		Rule: a.Rule, Agent: w.Agent, OfTokens: !money, kind: a.kind,
		Spent: c.Money, Reserved: c.reserved, Most: most, Limit: a.Limit,
		SpentTokens: c.Tokens, ReservedTokens: c.reservedTokens, MostTokens: tokens,
		Resets: a.Period.resets(day, a.zone),
	}
}

// check asks all rules about a call. Of those that it does not fit under it returns
// the one that lasts longest, as waiting for another would be in vain. ruled is
// whether there is a rule at all.
func (b *book) check(w *who, day int32, most price.Money, tokens int64) (worst *Exceeded, ruled bool) {
	for _, a := range b.accounts {
		if !a.Match.fits(w) {
			continue
		}
		ruled = true
		k := a.key(w, day)
		c := b.counter(a, k)
		e := c.exceeded(a, w, day, most, tokens)
		if e == nil {
			continue
		}
		if !c.refused && b.tell != nil {
			c.refused = true
			b.tell(a, k, c, true)
		}
		if worst == nil || e.outlasts(worst) {
			worst = e
		}
	}
	return worst, ruled
}

// ofMoney is a rule about money that a call falls under, or nil.
func (b *book) ofMoney(w *who) *account {
	for _, a := range b.accounts {
		if (a.Limit > 0 || a.kind == credit) && a.Match.fits(w) {
			return a
		}
	}
	return nil
}

// setAccounts puts rules in place of those there were. Totals go on under the same
// ID; everything else is counted anew from the rows. A threshold that is passed
// already is told of when the limit is a new one.
func (b *book) setAccounts(accounts []*account) {
	old := map[string]*account{}
	for _, a := range b.accounts {
		old[a.ID] = a
	}
	b.accounts = accounts
	for _, a := range accounts {
		was := old[a.ID]
		if a.Period == Total {
			b.takeTotals(a, was)
		}
		if was == nil || b.tell == nil {
			continue
		}
		newest := was.newest()
		for k, c := range was.counters {
			if was.Period == a.Period && was.Each == a.Each && k.period == newest {
				b.carry(a, k, c, was.Rule == a.Rule)
			}
		}
	}
}

// newest is the latest period that a rule counted in.
func (a *account) newest() (period int32) {
	for k := range a.counters {
		period = max(period, k.period)
	}
	return period
}

// carry has a changed rule remember what was told of, and tells what is new.
func (b *book) carry(a *account, k counterKey, was *counter, same bool) {
	c := b.counter(a, k)
	if same {
		c.warned, c.refused = was.warned, was.refused
	} else if c.warned && !was.warned {
		b.tell(a, k, c, false)
	}
}

// takeTotals gives a total what was counted under its ID.
func (b *book) takeTotals(a *account, was *account) {
	taken := map[counterKey]tally{}
	if was != nil && was.Period == Total && was.Each == a.Each && was.from == a.from {
		for k, c := range was.counters {
			taken[k] = c.tally
		}
	} else if saved, ok := b.totals[a.ID]; ok && was == nil && saved.From == a.from && saved.Each == a.Each {
		for agent, t := range saved.Counts {
			taken[counterKey{agent: agent}] = t
		}
	}
	for k, t := range taken {
		c := b.counter(a, k)
		c.tally = t
		c.warned = c.soft(a)
	}
}

// savedTotal is what a total came to, in the ledger file.
type savedTotal struct {
	From   uint64           `json:"from"`
	Each   bool             `json:"each,omitempty"`
	Counts map[string]tally `json:"counts"` // by agent, or ""
}
