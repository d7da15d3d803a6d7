package budget

import (
	"slices"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// Alert tells of a limit. Each is sent once in a period.
type Alert struct {
	Rule     Rule
	Agent    string // whose limit it is, where each has its own
	Refused  bool   // a call was refused; else the soft threshold is passed
	Fraction float64
	Spent    price.Money
	Tokens   int64
	At       time.Time
}

// Alerts is where alerts come out. Those that nobody takes in time are lost; State
// counts them.
func (l *Ledger) Alerts() <-chan Alert { return l.alerts }

// tell sends an alert. Called with mu held.
func (l *Ledger) tell(a *account, k counterKey, c *counter, refused bool) {
	alert := Alert{Rule: a.Rule, Agent: k.agent, Refused: refused, Fraction: c.fraction(a), Spent: c.Money, Tokens: c.Tokens, At: l.now()}
	select {
	case l.alerts <- alert:
	default:
		l.lostAlerts++
	}
}

// fraction is how much of the limit is spent, of money or tokens, whichever is more.
func (c *counter) fraction(a *account) float64 {
	var f float64
	if a.ofMoney() && a.Limit == 0 {
		f = 1
	}
	if a.Limit > 0 {
		f = float64(c.Money) / float64(a.Limit)
	}
	if a.Tokens > 0 {
		f = max(f, float64(c.Tokens)/float64(a.Tokens))
	}
	return f
}

// State is what a page shows.
type State struct {
	Rules      []RuleState
	Stops      []Stop
	InFlight   int
	Failing    string   // why the ledger cannot be written; "" when it can
	Damage     []string // what could not be read when it was opened
	LostAlerts int64
}

// RuleState is a rule, or a credit, in its present period.
type RuleState struct {
	Rule  Rule
	Kind  string // "rule", "credit", "heartbeat"
	Agent string // whose it is, where each has its own

	Spent, Reserved, Limit      price.Money
	SpentTokens, ReservedTokens int64
	Calls, InFlight             int64
	Unknown                     int64       // calls whose price is not known
	Unsettled                   int64       // calls whose end is not known, counted
	UnsettledMoney              price.Money // part of Spent
	Fraction                    float64     // of the limit that is spent; may be above 1
	Resets                      time.Time   // zero: never
}

// State says how all rules stand. A rule that gives each agent its own limit has one
// entry for each that made calls.
func (l *Ledger) State() State {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.expire(now)
		l.mend()
	}
	s := State{Stops: slices.Clone(l.settings.Stops), InFlight: len(l.book.flight), Damage: slices.Clone(l.damage), LostAlerts: l.lostAlerts}
	if l.failing != nil {
		s.Failing = l.failing.Error()
	}
	day := dayOf(now, l.zone)
	for _, a := range l.book.accounts {
		for _, k := range l.book.present(a, day) {
			s.Rules = append(s.Rules, a.state(k, l.book.counter(a, k), day))
		}
	}
	return s
}

// present lists the counters of a rule's present period.
func (b *book) present(a *account, day int32) []counterKey {
	period := a.Period.of(day)
	if !a.Each {
		return []counterKey{{period: period}}
	}
	seen := map[counterKey]bool{}
	put := func(w *who, day int32) {
		if a.Match.fits(w) && a.Period.of(day) == period {
			seen[counterKey{period, w.Agent}] = true
		}
	}
	for k := range a.counters {
		if k.period == period {
			seen[k] = true
		}
	}
	if sh := b.months[day/100]; sh != nil && a.Period != Total {
		for k := range sh.rows {
			rowDay := k.day
			if sh.folded {
				rowDay = day
			}
			put(&k.who, rowDay)
		}
	}
	for p := b.first; p != nil; p = p.next {
		put(&p.who, p.day)
	}
	out := make([]counterKey, 0, len(seen))
	for k := range seen {
		out = append(out, k)
	}
	slices.SortFunc(out, func(x, y counterKey) int { return strings.Compare(x.agent, y.agent) })
	return out
}

func (a *account) state(k counterKey, c *counter, day int32) RuleState {
	return RuleState{
		Rule: a.Rule, Kind: string(a.kind), Agent: k.agent,
		Spent: c.Money, Reserved: c.reserved, Limit: a.Limit,
		SpentTokens: c.Tokens, ReservedTokens: c.reservedTokens,
		Calls: c.Calls, InFlight: c.inFlight, Unknown: c.Unknown,
		Unsettled: c.Unsettled, UnsettledMoney: c.UnsettledMoney,
		Fraction: c.fraction(a), Resets: a.Period.resets(day, a.zone),
	}
}
