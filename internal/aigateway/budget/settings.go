package budget

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/remedy"
)

const (
	rulesFile    = "rules.json"
	maxRulesFile = 16 << 20 // bytes
	maxGrants    = 10_000   // in all
	maxStops     = 10_000
	heartbeatID  = "heartbeat:day" // no rule of a person can have it
	creditID     = "credit:"
)

// Grant is credit that an agent or a team is given. It adds to what was given
// before; an amount below zero takes back.
type Grant struct {
	ID     string      `json:"id"` // the same one twice is one grant
	Agent  string      `json:"agent,omitempty"`
	Team   string      `json:"team,omitempty"` // one of the two
	Amount price.Money `json:"amount"`
	At     time.Time   `json:"at"` // now when zero
	Note   string      `json:"note,omitempty"`
}

// Stop keeps calls from being made until it is lifted. Without an agent it is for
// all of them, without a trigger for whatever they call for.
type Stop struct {
	Agent   string    `json:"agent,omitempty"`
	Trigger string    `json:"trigger,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	At      time.Time `json:"at"` // now when zero
}

// Heartbeats says what agents may spend on waking up by themselves.
type Heartbeats struct {
	// QuietHours without a word of a user end an agent's heartbeats; 0: they never do.
	// Where nothing was set it is 72.
	QuietHours int `json:"quiet_hours"`
	// DayLimit is what the heartbeats of each agent may cost in a day; 0: no limit.
	DayLimit price.Money `json:"day_limit,omitempty"`
}

// settings is rules.json.
type settings struct {
	Format     int        `json:"format"`
	Rules      []setRule  `json:"rules"`
	Credits    []creditOf `json:"credits"`
	Stops      []Stop     `json:"stops"`
	Heartbeats Heartbeats `json:"heartbeats"`
}

// setRule is a rule with the record from which its total counts.
type setRule struct {
	Rule
	From uint64 `json:"from"`
}

// creditOf is the credit of an agent or team.
type creditOf struct {
	Agent  string  `json:"agent,omitempty"`
	Team   string  `json:"team,omitempty"`
	From   uint64  `json:"from"` // first record that counts
	Grants []Grant `json:"grants"`
}

func (c creditOf) rule() Rule {
	r := Rule{ID: creditID + "agent:" + c.Agent, Name: "Credit of " + c.Agent, Match: Match{Agent: c.Agent}, Period: Total}
	if c.Team != "" {
		r.ID, r.Name, r.Match = creditID+"team:"+c.Team, "Credit of team "+c.Team, Match{Team: c.Team}
	}
	for _, g := range c.Grants {
		r.Limit = add(r.Limit, g.Amount)
	}
	r.Limit = bounded(r.Limit)
	return r
}

// accounts are all rules, each with no counters yet.
func (s *settings) accounts(zone *time.Location) []*account {
	var out []*account
	put := func(r Rule, k kind, from uint64) {
		out = append(out, &account{Rule: r, kind: k, from: from, zone: zone, counters: map[counterKey]*counter{}})
	}
	for _, r := range s.Rules {
		put(r.Rule, plainRule, r.From)
	}
	for _, c := range s.Credits {
		put(c.rule(), credit, c.From)
	}
	if limit := s.Heartbeats.DayLimit; limit > 0 {
		put(Rule{ID: heartbeatID, Name: "Heartbeats", Match: Match{Trigger: "heartbeat"}, Period: Day, Each: true, Limit: limit}, heartbeat, 0)
	}
	return out
}

// newestFrom is the latest record that settings speak of.
func (s *settings) newestFrom() (seq uint64) {
	for _, r := range s.Rules {
		seq = max(seq, r.From)
	}
	for _, c := range s.Credits {
		seq = max(seq, c.From)
	}
	return seq
}

func (s *settings) check() error {
	rules := make([]Rule, 0, len(s.Rules))
	for _, r := range s.Rules {
		rules = append(rules, r.Rule)
	}
	if err := checkRules(rules); err != nil {
		return err
	}
	if s.newestFrom() >= maxCost {
		return errors.New("a rule begins at no record that can be")
	}
	if h := s.Heartbeats; h.QuietHours < 0 || h.QuietHours > 24*366 || h.DayLimit < 0 || h.DayLimit > maxCost {
		return invalid("heartbeats: quiet_hours is 0 to 8784, day_limit not below zero")
	}
	if len(s.Stops) > maxStops {
		return invalid("more than %d stops", maxStops)
	}
	grants := 0
	for _, c := range s.Credits {
		grants += len(c.Grants)
	}
	if grants > maxGrants {
		return invalid("more than %d grants", maxGrants)
	}
	return nil
}

func (l *Ledger) loadSettings() error {
	l.settings = settings{Format: fileFormat, Heartbeats: Heartbeats{QuietHours: defaultQuiet}}
	data, err := readBounded(filepath.Join(l.dir, rulesFile), maxRulesFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var s settings
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err = d.Decode(&s); err == nil {
			if _, more := d.Token(); more != io.EOF {
				err = errors.New("something follows its end")
			}
		}
	}
	if err == nil && s.Format != fileFormat {
		err = fmt.Errorf("its format %d is not known", s.Format)
	}
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return remedy.With(fmt.Errorf("what may be spent is not known: %s: %w", rulesFile, err),
			"mend the file or restore it from a backup; moved away, there are no rules and no credit")
	}
	l.settings = s
	return nil
}

// change replaces the settings, on disk first. Called with mu held, so that no call
// is admitted between a rule's first record and its count.
func (l *Ledger) change(s settings) error {
	if l.closed {
		return ErrClosed
	}
	s.Format = fileFormat
	if err := s.check(); err != nil {
		return err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if len(data) > maxRulesFile {
		return invalid("too many rules, grants and stops")
	}
	if err := atomicfile.Write(filepath.Join(l.dir, rulesFile), append(data, '\n'), 0o600); err != nil {
		return err
	}
	l.settings = s
	l.book.setAccounts(s.accounts(l.zone))
	return nil
}

// SetRules replaces all rules, at once or, on error, not at all. Days and months
// count what was spent in them already. A total counts from when its ID is first
// set, and goes on as long as the ID is there, whatever else of the rule changes.
func (l *Ledger) SetRules(rules []Rule) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.settings
	s.Rules = make([]setRule, 0, len(rules))
	for _, r := range rules {
		from := l.book.seq
		for _, old := range l.settings.Rules {
			if old.ID == r.ID && old.Period == r.Period && old.Each == r.Each {
				from = old.From
			}
		}
		s.Rules = append(s.Rules, setRule{r, from})
	}
	if err := l.change(s); err != nil {
		return fmt.Errorf("set the rules: %w", err)
	}
	return nil
}

// Rules returns all rules.
func (l *Ledger) Rules() []Rule {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Rule, 0, len(l.settings.Rules))
	for _, r := range l.settings.Rules {
		out = append(out, r.Rule)
	}
	return out
}

// SetHeartbeats says what heartbeats may cost.
func (l *Ledger) SetHeartbeats(h Heartbeats) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.settings
	s.Heartbeats = h
	if err := l.change(s); err != nil {
		return fmt.Errorf("set the budget of heartbeats: %w", err)
	}
	return nil
}

// Heartbeats returns what heartbeats may cost.
func (l *Ledger) Heartbeats() Heartbeats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settings.Heartbeats
}

// AddCredit gives an agent or a team credit. From the first grant on its calls need
// some; what they cost before does not count.
func (l *Ledger) AddCredit(g Grant) error {
	switch {
	case !isID(g.ID):
		return invalid("the ID %q of a grant is not 1 to %d of a-z, 0-9, dot, dash and underscore", g.ID, maxID)
	case (g.Agent == "") == (g.Team == ""):
		return invalid("credit is for an agent or for a team")
	case !plainName(g.Agent) || !plainName(g.Team):
		return invalid("credit is for one agent or team, by its name")
	case g.Amount == 0 || g.Amount > maxCost || g.Amount < -maxCost:
		return invalid("the amount of credit is zero or too large")
	case len(g.Note) > maxField || !printable(g.Note):
		return invalid("the note is longer than %d bytes or has characters that do not print", maxField)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if g.At.IsZero() {
		g.At = l.now().UTC()
	}
	s := l.settings
	s.Credits = slices.Clone(s.Credits)
	i := slices.IndexFunc(s.Credits, func(c creditOf) bool { return c.Agent == g.Agent && c.Team == g.Team })
	if i < 0 {
		i = len(s.Credits)
		s.Credits = append(s.Credits, creditOf{Agent: g.Agent, Team: g.Team, From: l.book.seq})
	}
	grants := s.Credits[i].Grants
	if slices.ContainsFunc(grants, func(old Grant) bool { return old.ID == g.ID }) {
		return nil
	}
	s.Credits[i].Grants = append(slices.Clone(grants), g)
	if err := l.change(s); err != nil {
		return fmt.Errorf("add credit: %w", err)
	}
	return nil
}

func plainName(s string) bool {
	return len(s) <= maxField && printable(s) && !strings.Contains(s, "*")
}

// Grants returns all credit that was given, in the order in which it was.
func (l *Ledger) Grants() []Grant {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Grant
	for _, c := range l.settings.Credits {
		out = append(out, c.Grants...)
	}
	slices.SortStableFunc(out, func(a, b Grant) int { return a.At.Compare(b.At) })
	return out
}

// Stop keeps calls from being made, from now on. Those that are under way go on. One
// for the same agent and trigger is replaced.
func (l *Ledger) Stop(stop Stop) error {
	if !plainName(stop.Agent) || !plainName(stop.Trigger) || len(stop.Reason) > maxField || !printable(stop.Reason) {
		return invalid("stop calls: a name or reason is longer than %d bytes or has characters that do not print", maxField)
	}
	if stop.At.IsZero() {
		stop.At = l.now().UTC()
	}
	return l.setStops(stop.Agent, stop.Trigger, &stop)
}

// Resume lifts the stop that was set for exactly this agent and trigger. It is no
// error when there is none.
func (l *Ledger) Resume(agent, trigger string) error { return l.setStops(agent, trigger, nil) }

func (l *Ledger) setStops(agent, trigger string, stop *Stop) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.settings
	s.Stops = slices.DeleteFunc(slices.Clone(s.Stops), func(o Stop) bool { return o.Agent == agent && o.Trigger == trigger })
	if stop != nil {
		s.Stops = append(s.Stops, *stop)
	}
	if err := l.change(s); err != nil {
		return fmt.Errorf("stop or resume calls: %w", err)
	}
	return nil
}

// stopped finds what keeps a call from being made. Called with mu held.
func (l *Ledger) stopped(w *who, lastUser, now time.Time) *Stopped {
	for _, s := range l.settings.Stops {
		if (s.Agent == "" || s.Agent == w.Agent) && (s.Trigger == "" || s.Trigger == w.Trigger) {
			return &Stopped{Stop: s, Agent: w.Agent}
		}
	}
	quiet := time.Duration(l.settings.Heartbeats.QuietHours) * time.Hour
	if w.Trigger == "heartbeat" && quiet > 0 && !lastUser.IsZero() && now.Sub(lastUser) >= quiet {
		return &Stopped{Stop: Stop{Agent: w.Agent, Trigger: w.Trigger, At: lastUser.Add(quiet)}, Agent: w.Agent, Quiet: quiet}
	}
	return nil
}
