package budget

import (
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// Period is how long a limit holds before it starts anew.
type Period string

// The periods. Days and months are those of the calendar in the ledger's zone.
const (
	Day   Period = "day"
	Month Period = "month"
	Total Period = "total" // never starts anew
)

// Match says which calls a rule is for. Empty fields fit all; a * at the end stands
// for anything.
type Match struct {
	Agent    string `json:"agent,omitempty"`
	Team     string `json:"team,omitempty"`
	Provider string `json:"provider,omitempty"`
	Model    string `json:"model,omitempty"`
	Trigger  string `json:"trigger,omitempty"`
}

// Rule is a limit to what calls may cost in a period.
type Rule struct {
	ID     string `json:"id"` // 1 to 64 of a-z 0-9 . _ -; what is counted in a total belongs to it
	Name   string `json:"name,omitempty"`
	Match  Match  `json:"match"`
	Period Period `json:"period"`
	// Each gives every agent the limit for itself; else all that match share it.
	Each bool `json:"each_agent,omitempty"`

	Limit  price.Money `json:"limit,omitempty"`  // 0: none in money
	Tokens int64       `json:"tokens,omitempty"` // 0: none in tokens; one of the two is needed
	// SoftPercent of the limit is where an alert is sent; 1 to 100, 0 means 80.
	SoftPercent int `json:"soft_percent,omitempty"`
}

const (
	maxRules    = 1000
	maxName     = 100 // bytes
	maxID       = 64
	softDefault = 80
)

func (r Rule) check() error {
	switch {
	case !isID(r.ID):
		return invalid("the ID %q is not 1 to %d of a-z, 0-9, dot, dash and underscore", r.ID, maxID)
	case len(r.Name) > maxName || !printable(r.Name):
		return invalid("rule %s: the name is longer than %d bytes or has characters that do not print", r.ID, maxName)
	case r.Period != Day && r.Period != Month && r.Period != Total:
		return invalid("rule %s: the period %q is not day, month or total", r.ID, r.Period)
	case r.Limit < 0 || r.Tokens < 0 || r.Limit > maxCost || r.Tokens > maxCost:
		return invalid("rule %s: a limit is below zero or too large", r.ID)
	case r.Limit == 0 && r.Tokens == 0:
		return invalid("rule %s has no limit", r.ID)
	case r.SoftPercent < 0 || r.SoftPercent > 100:
		return invalid("rule %s: soft_percent is not 1 to 100", r.ID)
	}
	for _, s := range []string{r.Match.Agent, r.Match.Team, r.Match.Provider, r.Match.Model, r.Match.Trigger} {
		if len(s) > maxField || !printable(s) || strings.Contains(strings.TrimSuffix(s, "*"), "*") {
			return invalid("rule %s: %q is no pattern: a * may only be its last character", r.ID, s)
		}
	}
	return nil
}

func checkRules(rules []Rule) error {
	if len(rules) > maxRules {
		return invalid("more than %d rules", maxRules)
	}
	seen := map[string]bool{}
	for _, r := range rules {
		if err := r.check(); err != nil {
			return err
		}
		if seen[r.ID] {
			return invalid("two rules have the ID %s", r.ID)
		}
		seen[r.ID] = true
	}
	return nil
}

func isID(s string) bool {
	for _, c := range s {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return s != "" && len(s) <= maxID
}

func printable(s string) bool {
	return strings.ToValidUTF8(s, "") == s && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}

func (r Rule) soft() int64 {
	if r.SoftPercent == 0 {
		return softDefault
	}
	return int64(r.SoftPercent)
}

// who is a call as rules see it.
type who struct {
	Agent, Team, Provider, Model, Trigger string
}

func (m Match) fits(w *who) bool {
	return fits(m.Agent, w.Agent) && fits(m.Team, w.Team) && fits(m.Provider, w.Provider) &&
		fits(m.Trigger, w.Trigger) && (w.Model == otherModels || fits(m.Model, w.Model))
}

func fits(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	if last := len(pattern) - 1; pattern[last] == '*' {
		return strings.HasPrefix(s, pattern[:last])
	}
	return pattern == s
}

// dayOf names the day of a time: 20260131. Years beyond four digits are the last
// that have them.
func dayOf(t time.Time, zone *time.Location) int32 {
	y, m, d := t.In(zone).Date()
	switch {
	case y < 1:
		return 1_01_01
	case y > 9999:
		return 9999_12_31
	}
	return int32(y*10000 + int(m)*100 + d)
}

// of names the period in which a day lies: the day, 202601, or 0.
func (p Period) of(day int32) int32 {
	switch p {
	case Day:
		return day
	case Month:
		return day / 100
	}
	return 0
}

// resets is when the period with a day in it is over; zero when it never is.
func (p Period) resets(day int32, zone *time.Location) time.Time {
	y, m, d := int(day/10000), time.Month(day/100%100), int(day%100)
	switch p {
	case Day:
		return time.Date(y, m, d+1, 0, 0, 0, 0, zone)
	case Month:
		return time.Date(y, m+1, 1, 0, 0, 0, 0, zone)
	}
	return time.Time{}
}
