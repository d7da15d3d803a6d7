package budget

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/remedy"
)

// Call is a model call that wants to be made. Names longer than 200 bytes are cut.
type Call struct {
	ID       string // names it while it is under way; may be empty
	Agent    string
	Team     string // of the agent; may be empty
	Provider string
	Model    string
	Trigger  string    // "user", "channel", "heartbeat", "cron", "subagent", "outside" or ""
	At       time.Time // decides which day it counts in; now when zero
	// LastUser is when somebody last talked to the agent, or when it was made; zero
	// when that is not known, and then heartbeats are not kept back for it.
	LastUser time.Time
	// Unpriced says that nobody knows what the call costs. It is not made where a rule
	// about money is for it, as that could not be kept.
	Unpriced bool
}

func (c *Call) who() who {
	return who{name(c.Agent), name(c.Team), name(c.Provider), name(c.Model), name(c.Trigger)}
}

// name is a string from anywhere in a form that can be kept.
func name(s string) string {
	if len(s) > maxField {
		cut := maxField
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut]
	}
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "?")
}

// Reservation is leave to make one call. It must be ended by Settle, SettleUnknown
// or Release, of which the first counts and others do nothing.
type Reservation struct {
	l     *Ledger
	call  *pending
	ended bool // guarded by l.mu
}

// Reserve admits a call that costs at most so much and moves at most so many tokens,
// or says why not: [*Exceeded], [*Unpriced], [*Stopped], [ErrUnwritable], [ErrClosed].
func (l *Ledger) Reserve(call Call, most price.Money, tokens int64) (*Reservation, error) {
	now := l.now()
	if call.At.IsZero() {
		call.At = now
	}
	r := record{
		kind: recReserve, at: now.UnixMilli(), day: dayOf(call.At, l.zone),
		money: bounded(most), tokens: bounded(tokens), who: call.who(), id: name(call.ID),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	l.expire(now)
	if s := l.stopped(&r.who, call.LastUser, now); s != nil {
		return nil, s
	}
	if r.id != "" && l.book.ids[r.id] != nil {
		return nil, fmt.Errorf("a model call with the ID %q is under way already", r.id)
	}
	if len(l.book.flight) >= maxInFlight {
		return nil, remedy.With(errors.New("too many model calls are under way at once"), "wait for some of them to end")
	}
	exceeded, ruled := l.book.check(&r.who, r.day, r.money, r.tokens)
	if exceeded != nil {
		return nil, exceeded
	}
	if a := l.book.ofMoney(&r.who); a != nil && call.Unpriced {
		return nil, &Unpriced{Rule: a.Rule, Provider: call.Provider, Model: call.Model, kind: a.kind, agent: call.Agent}
	}
	if err := l.admit(&r, ruled); err != nil {
		return nil, err
	}
	res := &Reservation{l: l, call: l.book.last}
	l.fold()
	return res, nil
}

// admit writes a reservation down. Where that fails, a call that has a budget is not
// made, and any other goes on.
func (l *Ledger) admit(r *record, ruled bool) error {
	if l.behind {
		l.mend()
	}
	r.seq = l.book.seq
	if err := l.append(r); err != nil {
		if ruled {
			return remedy.With(fmt.Errorf("%w: %w", ErrUnwritable, err), "free space on the disk of the data directory; calls go on by themselves then")
		}
		l.behind = true
	}
	return l.book.apply(r)
}

// expire counts the calls that have been under way for too long. Called with mu
// held.
func (l *Ledger) expire(now time.Time) {
	due := now.Add(-unsettledAfter).UnixMilli()
	for p := l.book.first; p != nil && p.at <= due; p = l.book.first {
		l.keep(&record{kind: recExpire, ref: p.ref})
	}
}

// Settle ends a call that cost so much and moved so many tokens, be it more than was
// reserved.
func (r *Reservation) Settle(actual price.Money, tokens int64) {
	r.end(record{kind: recSettle, money: bounded(actual), tokens: bounded(tokens)})
}

// SettleUnknown ends a call whose price is not known: it counts, and its tokens.
func (r *Reservation) SettleUnknown(tokens int64) {
	r.end(record{kind: recUnknown, tokens: bounded(tokens)})
}

// Release ends a call that did not take place: nothing is counted.
func (r *Reservation) Release() { r.end(record{kind: recRelease}) }

// end records how a call ended. One that expired meanwhile has been counted, which
// is put right.
func (r *Reservation) end(rec record) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if r.ended || r.l.closed {
		return
	}
	r.ended = true
	p := r.call
	if rec.ref = p.ref; p.gone {
		rec.how, rec.kind = rec.kind, recLate
		rec.day, rec.who, rec.most, rec.mostTokens = p.day, p.who, p.most, p.tokens
	}
	r.l.keep(&rec)
}
