package budget

import (
	"fmt"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// Exceeded is why a call that does not fit under a rule is not made. Its text is
// for the user of the agent.
type Exceeded struct {
	Rule     Rule
	Agent    string // that wanted to call
	OfTokens bool   // the limit in tokens is what it does not fit under

	Spent, Reserved, Most, Limit            price.Money // Most: what the call may cost
	SpentTokens, ReservedTokens, MostTokens int64
	Resets                                  time.Time // zero: never
	kind                                    kind
}

// Busy reports whether the call would fit if the calls that are under way cost
// nothing, so that it may be worth to try again when they have ended.
func (e *Exceeded) Busy() bool {
	if e.OfTokens {
		return e.SpentTokens < e.Rule.Tokens && add(e.SpentTokens, e.MostTokens) <= e.Rule.Tokens
	}
	return e.Spent < e.Limit && add(e.Spent, e.Most) <= e.Limit
}

func (e *Exceeded) Error() string {
	var b strings.Builder
	spent, reserved, most, limit := dollars(e.Spent), dollars(e.Reserved), dollars(e.Most), dollars(e.Limit)
	left := add(e.Limit, -add(e.Spent, e.Reserved)) > 0
	hasReserved := e.Reserved > 0
	if e.OfTokens {
		spent, reserved, most, limit = count(e.SpentTokens), count(e.ReservedTokens), count(e.MostTokens), count(e.Rule.Tokens)+" tokens"
		left = add(e.Rule.Tokens, -add(e.SpentTokens, e.ReservedTokens)) > 0
		hasReserved = e.ReservedTokens > 0
	}
	fmt.Fprintf(&b, "%s %s: %s of %s %s", e.subject(), ifElse(left, "has too little left for this model call", "is used up"),
		spent, limit, ifElse(e.OfTokens, "are used", "are spent"))
	if hasReserved {
		fmt.Fprintf(&b, ", calls that are under way may need %s", reserved)
	}
	if left {
		fmt.Fprintf(&b, ", and this one may need %s", most)
	}
	b.WriteString(".")
	if e.Busy() {
		b.WriteString(" Try again when the calls under way have ended.")
	} else if !e.Resets.IsZero() {
		fmt.Fprintf(&b, " It starts anew on %s.", e.Resets.Format("2 January 2006 at 15:04 MST"))
	}
	fmt.Fprintf(&b, " For more: %s", e.Remedy())
	return b.String()
}

// subject names the rule in a sentence.
func (e *Exceeded) subject() string {
	of := map[Period]string{Day: " for today", Month: " for this month"}[e.Rule.Period]
	switch {
	case e.kind == credit && e.Rule.Match.Team != "":
		return fmt.Sprintf("The credit of team %q", e.Rule.Match.Team)
	case e.kind == credit:
		return fmt.Sprintf("The credit of agent %q", e.Agent)
	case e.kind == heartbeat:
		return fmt.Sprintf("The budget of agent %q for heartbeats", e.Agent) + of
	case e.Rule.Name != "":
		return fmt.Sprintf("The budget %q", e.Rule.Name) + of
	}
	return fmt.Sprintf("The budget %q", e.Rule.ID) + of
}

// Remedy is the command that gives more.
func (e *Exceeded) Remedy() string {
	switch {
	case e.kind == credit && e.Rule.Match.Team != "":
		return "moltworker ai budget credit --team " + word(e.Rule.Match.Team) + " AMOUNT"
	case e.kind == credit:
		return "moltworker ai budget credit --agent " + word(e.Rule.Match.Agent) + " AMOUNT"
	case e.kind == heartbeat:
		return "moltworker ai budget heartbeats --day-limit AMOUNT"
	case e.OfTokens:
		return "moltworker ai budget set " + e.Rule.ID + " --tokens NUMBER"
	}
	return "moltworker ai budget set " + e.Rule.ID + " --limit AMOUNT"
}

// outlasts reports whether waiting for e takes longer than waiting for o.
func (e *Exceeded) outlasts(o *Exceeded) bool {
	if e.Busy() != o.Busy() {
		return o.Busy()
	}
	return !o.Resets.IsZero() && (e.Resets.IsZero() || e.Resets.After(o.Resets))
}

// Stopped is why no call is made though there may be money. Its text is for the user
// of the agent.
type Stopped struct {
	Stop  Stop          // At is since when
	Agent string        // that wanted to call
	Quiet time.Duration // how long an agent may go without a user; 0 when a person stopped it
}

func (e *Stopped) Error() string {
	if e.Quiet > 0 {
		return fmt.Sprintf("The heartbeats of agent %q are paused, because nobody has talked to it for %.0f hours. They go on when somebody does. To change this: %s",
			e.Agent, e.Quiet.Hours(), e.Remedy())
	}
	what := "Model calls"
	if e.Stop.Trigger != "" {
		what = fmt.Sprintf("Model calls of the kind %q", e.Stop.Trigger)
	}
	of := "all agents"
	if e.Stop.Agent != "" {
		of = fmt.Sprintf("agent %q", e.Stop.Agent)
	}
	why := ""
	if e.Stop.Reason != "" {
		why = fmt.Sprintf(" (%s)", e.Stop.Reason)
	}
	return fmt.Sprintf("%s of %s are stopped until somebody lets them go on%s: %s", what, of, why, e.Remedy())
}

// Remedy is the command that lets calls be made again.
func (e *Stopped) Remedy() string {
	if e.Quiet > 0 {
		return "moltworker ai budget heartbeats --quiet-hours NUMBER"
	}
	cmd := "moltworker ai budget resume"
	if e.Stop.Agent != "" {
		cmd += " --agent " + word(e.Stop.Agent)
	}
	if e.Stop.Trigger != "" {
		cmd += " --trigger " + word(e.Stop.Trigger)
	}
	return cmd
}

// word quotes a name for a shell where that is needed.
func word(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-@/", r)
	}
	if s != "" && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// count writes a number with its thousands apart.
func count(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func ifElse(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

// Unpriced is why a call is not made that falls under a rule about money though
// nobody knows what it costs. Its text is for the user of the agent.
type Unpriced struct {
	Rule            Rule
	Provider, Model string
	kind            kind
	agent           string
}

func (e *Unpriced) Error() string {
	rule := Exceeded{Rule: e.Rule, Agent: e.agent, kind: e.kind}
	rule.Rule.Period = "" // it is not about this one
	return fmt.Sprintf("What model %q of %s costs is not known. %s could not be kept, so it is not called. To go on: %s", e.Model, e.Provider, rule.subject(), e.Remedy())
}

// Remedy is what makes the call possible.
func (e *Unpriced) Remedy() string {
	return "say its price in prices.json in the data directory, as docs/models.md shows, or use another model"
}
