package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/audit"
)

// BudgetState is how a rule, or a credit, stands in its present period.
type BudgetState struct {
	Rule  budget.Rule `json:"rule"`
	Kind  string      `json:"kind"`  // "rule", "credit", "heartbeat"
	Agent string      `json:"agent"` // whose it is, where each has its own

	Spent          price.Money `json:"spent"`
	Reserved       price.Money `json:"reserved"` // by calls that are under way
	Limit          price.Money `json:"limit"`    // 0: none in money, except for a credit
	SpentTokens    int64       `json:"spent_tokens"`
	ReservedTokens int64       `json:"reserved_tokens"`
	Calls          int64       `json:"calls"`
	InFlight       int64       `json:"in_flight"`
	Unpriced       int64       `json:"unpriced"`  // calls whose price is not known: Spent lacks them
	Unsettled      int64       `json:"unsettled"` // calls whose end is not known
	UnsettledMoney price.Money `json:"unsettled_money"`
	Fraction       float64     `json:"fraction"` // of the limit that is spent; may be above 1
	Resets         *time.Time  `json:"resets"`   // nil: never
}

// ModelBudgets is what agents may spend, and how that stands.
type ModelBudgets struct {
	Rules      []budget.Rule     `json:"rules"`
	States     []BudgetState     `json:"states"`
	Stops      []budget.Stop     `json:"stops"`
	Grants     []budget.Grant    `json:"grants"`
	Heartbeats budget.Heartbeats `json:"heartbeats"`
	InFlight   int               `json:"in_flight"`
	Failing    string            `json:"failing,omitempty"` // why the ledger cannot be written
	Damage     []string          `json:"damage"`            // what could not be read of it
}

// ModelBudgets says what agents may spend on models, and how that stands.
func (p *Plane) ModelBudgets(ctx context.Context) (ModelBudgets, error) {
	m, err := p.models(ctx, access.ReadModels)
	if err != nil {
		return ModelBudgets{}, err
	}
	s := m.Budget.State()
	return ModelBudgets{
		Rules: list(m.Budget.Rules()), States: budgetStates(s.Rules), Stops: list(s.Stops), Grants: list(m.Budget.Grants()),
		Heartbeats: m.Budget.Heartbeats(), InFlight: s.InFlight, Failing: s.Failing, Damage: list(s.Damage),
	}, nil
}

func budgetStates(states []budget.RuleState) []BudgetState {
	out := make([]BudgetState, 0, len(states))
	for _, r := range states {
		b := BudgetState{
			Rule: r.Rule, Kind: r.Kind, Agent: r.Agent, Spent: r.Spent, Reserved: r.Reserved, Limit: r.Limit, SpentTokens: r.SpentTokens, ReservedTokens: r.ReservedTokens,
			Calls: r.Calls, InFlight: r.InFlight, Unpriced: r.Unknown, Unsettled: r.Unsettled, UnsettledMoney: r.UnsettledMoney, Fraction: r.Fraction,
		}
		if !r.Resets.IsZero() {
			b.Resets = &r.Resets
		}
		out = append(out, b)
	}
	return out
}

// asBudgetError tells what a caller got wrong from a disk that fails.
func asBudgetError(err error) error {
	var wrong *budget.InvalidError
	if errors.As(err, &wrong) {
		return invalid(err.Error(), "")
	}
	return err
}

// SetBudget sets a rule, in place of the one of that ID or beside the others.
func (p *Plane) SetBudget(ctx context.Context, r budget.Rule) error {
	m, err := p.models(ctx, access.WriteModels)
	if err != nil {
		return err
	}
	m.rules.Lock()
	defer m.rules.Unlock()
	rules, old := m.Budget.Rules(), "none"
	if i := slices.IndexFunc(rules, func(o budget.Rule) bool { return o.ID == r.ID }); i >= 0 {
		old, rules[i] = RuleWords(rules[i]), r
	} else {
		rules = append(rules, r)
	}
	if err := asBudgetError(m.Budget.SetRules(rules)); err != nil {
		return err
	}
	return p.record(ctx, audit.Event{Action: "models.budget.set", Agent: r.Match.Agent, Target: r.ID, Old: old, New: RuleWords(r)})
}

// RemoveBudget removes a rule.
func (p *Plane) RemoveBudget(ctx context.Context, id string) error {
	m, err := p.models(ctx, access.WriteModels)
	if err != nil {
		return err
	}
	m.rules.Lock()
	defer m.rules.Unlock()
	rules := m.Budget.Rules()
	i := slices.IndexFunc(rules, func(o budget.Rule) bool { return o.ID == id })
	if i < 0 {
		return &Error{Status: http.StatusNotFound, Kind: "not_found", Message: "there is no such budget", Remedy: "`moltworker ai budget ls` lists the budgets"}
	}
	gone := rules[i]
	if err := asBudgetError(m.Budget.SetRules(slices.Delete(rules, i, i+1))); err != nil {
		return err
	}
	return p.record(ctx, audit.Event{Action: "models.budget.remove", Agent: gone.Match.Agent, Target: id, Old: RuleWords(gone), New: "none"})
}

// AddCredit gives an agent or a team credit. The same ID twice is one grant; "" has one
// made. It returns the grant.
func (p *Plane) AddCredit(ctx context.Context, g budget.Grant) (budget.Grant, error) {
	m, err := p.models(ctx, access.WriteModels)
	if err != nil {
		return g, err
	}
	if g.ID == "" {
		g.ID = strings.ToLower(rand.Text())
	}
	g.At = p.opts.Now().UTC()
	m.rules.Lock()
	defer m.rules.Unlock()
	for _, old := range m.Budget.Grants() {
		if old.ID == g.ID && old.Agent == g.Agent && old.Team == g.Team {
			return old, nil
		}
	}
	if err := asBudgetError(m.Budget.AddCredit(g)); err != nil {
		return g, err
	}
	to := g.Agent
	if g.Team != "" {
		to = "team " + g.Team
	}
	return g, p.record(ctx, audit.Event{Action: "models.credit", Agent: g.Agent, Target: to, New: g.Amount.String(), Detail: g.Note})
}

// StopModels keeps calls from being made until [Plane.ResumeModels]. Without an agent it
// is for all of them, without a trigger for whatever they call for.
func (p *Plane) StopModels(ctx context.Context, agent, trigger, reason string) error {
	m, err := p.models(ctx, access.WriteModels)
	if err != nil {
		return err
	}
	if err := asBudgetError(m.Budget.Stop(budget.Stop{Agent: agent, Trigger: trigger, Reason: reason, At: p.opts.Now().UTC()})); err != nil {
		return err
	}
	return p.record(ctx, audit.Event{Action: "models.stop", Agent: agent, Target: stopWords(agent, trigger), Detail: reason})
}

// ResumeModels lifts the stop of exactly that agent and trigger.
func (p *Plane) ResumeModels(ctx context.Context, agent, trigger string) error {
	m, err := p.models(ctx, access.WriteModels)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(m.Budget.State().Stops, func(s budget.Stop) bool { return s.Agent == agent && s.Trigger == trigger }) {
		return &Error{Status: http.StatusNotFound, Kind: "not_found", Message: "model calls are not stopped for " + stopWords(agent, trigger),
			Remedy: "`moltworker ai budget ls` lists what is stopped"}
	}
	if err := asBudgetError(m.Budget.Resume(agent, trigger)); err != nil {
		return err
	}
	return p.record(ctx, audit.Event{Action: "models.resume", Agent: agent, Target: stopWords(agent, trigger)})
}

func stopWords(agent, trigger string) string {
	words := "all agents"
	if agent != "" {
		words = "agent " + agent
	}
	if trigger != "" {
		words += ", trigger " + trigger
	}
	return words
}

// SetHeartbeats says what agents may spend on waking up by themselves.
func (p *Plane) SetHeartbeats(ctx context.Context, h budget.Heartbeats) error {
	m, err := p.models(ctx, access.WriteModels)
	if err != nil {
		return err
	}
	old := m.Budget.Heartbeats()
	if err := asBudgetError(m.Budget.SetHeartbeats(h)); err != nil {
		return err
	}
	return p.record(ctx, audit.Event{Action: "models.heartbeats", Old: heartbeatWords(old), New: heartbeatWords(h)})
}

func heartbeatWords(h budget.Heartbeats) string {
	day := "no limit"
	if h.DayLimit > 0 {
		day = h.DayLimit.String()
	}
	return fmt.Sprintf("quiet hours %d, a day %s", h.QuietHours, day)
}

// ModelStatement lists what was spent in a month, like "2026-11", by agent and model; of
// one agent, or team, where it is named.
func (p *Plane) ModelStatement(ctx context.Context, month, agent, team string) ([]budget.Row, error) {
	m, err := p.models(ctx, access.ReadModels)
	if err != nil {
		return nil, err
	}
	at, err := time.Parse("2006-01", month)
	if err != nil {
		return nil, invalid("want a month like 2026-11", "")
	}
	return m.Budget.Statement(at.Year(), at.Month(), agent, team), nil
}

// RuleWords is a rule in a few words: "$5.00 a day for agent main, each".
func RuleWords(r budget.Rule) string {
	var limits []string
	if r.Limit > 0 {
		limits = append(limits, r.Limit.String())
	}
	if r.Tokens > 0 {
		limits = append(limits, Thousands(r.Tokens)+" tokens")
	}
	words := strings.Join(limits, " and ")
	switch r.Period {
	case budget.Day:
		words += " a day"
	case budget.Month:
		words += " a month"
	case budget.Total:
		words += " in all"
	}
	if r.Each {
		words += " for each agent"
	}
	if of := MatchWords(r.Match); of != "" {
		words += ", " + of
	}
	return words
}

// MatchWords says which calls a rule is for; "" all.
func MatchWords(m budget.Match) string {
	var words []string
	for _, w := range []struct{ what, name string }{{"agent", m.Agent}, {"team", m.Team}, {"provider", m.Provider}, {"model", m.Model}, {"trigger", m.Trigger}} {
		if w.name != "" {
			words = append(words, w.what+" "+w.name)
		}
	}
	return strings.Join(words, ", ")
}
