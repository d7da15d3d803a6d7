package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/page"
)

// Models is what of the control plane the pages about model calls use.
type Models interface {
	ModelUsage(ctx context.Context, q calllog.Query) (admin.ModelUsage, error)
	ModelSeries(ctx context.Context, q calllog.Query, by calllog.Group) ([]admin.ModelPoint, error)
	ModelCalls(ctx context.Context, f calllog.Filter, before string, limit int) (admin.ModelCalls, error)
	ModelCall(ctx context.Context, id string) (admin.ModelCall, error)
	ModelPayload(ctx context.Context, id string) (admin.ModelPayload, error)
	ExportModelCalls(ctx context.Context, f calllog.Filter, format calllog.Format, w io.Writer) error
	ModelBudgets(ctx context.Context) (admin.ModelBudgets, error)
	ModelStatement(ctx context.Context, month, agent, team string) ([]budget.Row, error)
	WatchModels(ctx context.Context) (<-chan struct{}, error)

	RateModelCall(ctx context.Context, id string, f admin.ModelFeedback) error
	SetBudget(ctx context.Context, r budget.Rule) error
	RemoveBudget(ctx context.Context, id string) error
	AddCredit(ctx context.Context, g budget.Grant) (budget.Grant, error)
	StopModels(ctx context.Context, agent, trigger, reason string) error
	ResumeModels(ctx context.Context, agent, trigger string) error
	SetHeartbeats(ctx context.Context, h budget.Heartbeats) error
}

// triggers are why an agent calls a model.
var triggers = []string{"user", "channel", "heartbeat", "cron", "subagent", "outside"}

const newestCalls = 8 // on the page about costs

// amounts are what the templates about models write numbers with.
type amounts struct{}

func (amounts) Dollars(m price.Money) string { return admin.Dollars(m) }
func (amounts) Count(n int64) string         { return admin.Thousands(n) }
func (amounts) Triggers() []string           { return triggers }

// Known is what calls cost as far as that is known; [amounts.CallsOf] says of how many it
// is not.
func (amounts) Known(s admin.ModelSums) string {
	if s.Unpriced > 0 && s.Cost == 0 {
		return "unknown"
	}
	return admin.Dollars(s.Cost)
}

func (amounts) CallsOf(s admin.ModelSums) string {
	words := admin.Thousands(s.Calls) + " calls"
	if s.Unpriced > 0 {
		words += ", " + admin.Thousands(s.Unpriced) + " of unknown price"
	}
	return words
}

// Took is a duration of milliseconds, to the digits that matter.
func (amounts) Took(millis float64) string { return tookWords(millis) }

// Ended is how a call ended, in a few words, and its tone.
func (amounts) Ended(c admin.ModelCall) string {
	words := fmt.Sprint(c.Status)
	if c.Status == 0 {
		words = "no answer"
	}
	if c.Error != "" {
		words += " " + c.Error
	}
	return words
}

func (amounts) Tone(c admin.ModelCall) string {
	switch c.Outcome {
	case "2xx":
		return "good"
	case "1xx", "3xx":
		return ""
	}
	return "bad"
}

// Plain is an amount as a form has it.
func (amounts) Plain(m price.Money) string {
	if m == 0 {
		return ""
	}
	return strings.TrimPrefix(m.String(), "$")
}

// modelsView is the page about costs.
type modelsView struct {
	amounts
	chosen
	Off     *admin.Error // why there is nothing to see
	Usage   admin.ModelUsage
	Budgets admin.ModelBudgets
	Rows    []budgetRow
	Charts  []chart
	Days    int
	By      calllog.Group
	Edit    budget.Rule
	Editing bool
	Newest  []admin.ModelCall
	Month   string
}

// Ranges are the lengths of time that can be chosen, in days.
func (*modelsView) Ranges() []int { return []int{7, 30, 90} }

// Groups are what costs can be told apart by.
func (*modelsView) Groups() []calllog.Group {
	return []calllog.Group{calllog.ByAgent, calllog.ByModel, calllog.ByTrigger, calllog.ByProvider}
}

// Expected is what the month will have cost, in words.
func (v *modelsView) Expected() string {
	if !v.Usage.Forecast.Enough {
		return "not known yet"
	}
	return admin.Dollars(v.Usage.Forecast.Expected)
}

// ErrorShare is how many of this month's calls failed.
func (v *modelsView) ErrorShare() string {
	m := v.Usage.Month
	if m.Calls == 0 {
		return "none"
	}
	return fmt.Sprintf("%s of %s", admin.Thousands(m.Errors), admin.Thousands(m.Calls))
}

func (s *site) models(w http.ResponseWriter, r *http.Request) error {
	v, err := s.viewModels(r)
	if err != nil {
		return err
	}
	if v.Off == nil {
		if err := s.draw(r.Context(), v); err != nil {
			return err
		}
	}
	s.pages.Write(w, r, http.StatusOK, "models.html", page.View{Title: "Models", Area: "models", Data: v})
	return nil
}

func (s *site) modelsPart(w http.ResponseWriter, r *http.Request) error {
	v, err := s.viewModels(r)
	if err != nil {
		return err
	}
	s.pages.Part(w, r, "models-part", v)
	return nil
}

func (s *site) viewModels(r *http.Request) (*modelsView, error) {
	v := &modelsView{Days: 30, By: calllog.ByAgent, Month: s.Now().UTC().Format("2006-01")}
	if n, err := strconv.Atoi(r.FormValue("days")); err == nil && slices.Contains(v.Ranges(), n) {
		v.Days = n
	}
	if by := calllog.Group(r.FormValue("by")); slices.Contains(v.Groups(), by) {
		v.By = by
	}
	var err error
	if v.Usage, err = s.plane.ModelUsage(r.Context(), calllog.Query{}); errors.Is(err, admin.ErrNotConfigured) {
		v.Off = admin.AsError(err)
		return v, nil
	} else if err != nil {
		return nil, err
	}
	if v.Budgets, err = s.plane.ModelBudgets(r.Context()); err != nil {
		return nil, err
	}
	v.Rows = budgetRows(v.Budgets)
	if id := r.FormValue("edit"); id != "" {
		if i := slices.IndexFunc(v.Budgets.Rules, func(b budget.Rule) bool { return b.ID == id }); i >= 0 {
			v.Edit, v.Editing = v.Budgets.Rules[i], true
		}
	}
	if v.Edit.Period == "" {
		v.Edit.Period = budget.Month
	}
	if c, err := s.choose(r); err == nil { // else one types the name
		v.Agents = c.Agents
	}
	newest, err := s.plane.ModelCalls(r.Context(), calllog.Filter{}, "", newestCalls)
	v.Newest = newest.Calls
	return v, err
}

// budgetRow is a budget, or a credit, as the page has it.
type budgetRow struct {
	ID, Name, Words string // ID "" of what is no rule of its own
	Agent           string
	Spent, Limit    string
	Tokens          string
	Width           float64 // of its bar, of 100
	Percent         string
	Tone            string
	Note            string
	Resets          *time.Time
}

func budgetRows(b admin.ModelBudgets) (rows []budgetRow) {
	seen := map[string]bool{}
	for _, st := range b.States {
		row := budgetRow{Name: cmp.Or(st.Rule.Name, st.Rule.ID), ID: st.Rule.ID, Words: admin.RuleWords(st.Rule), Agent: st.Agent, Resets: st.Resets}
		switch st.Kind {
		case "credit":
			row.ID, row.Name, row.Words = "", "Credit", admin.MatchWords(st.Rule.Match)
		case "heartbeat":
			row.ID, row.Name, row.Words = "", "Heartbeats", "what each agent's may cost in a day"
		default:
			seen[st.Rule.ID] = true
		}
		row.Spent, row.Limit = admin.SpentWords(st.Spent, st.Unpriced, st.Calls), admin.Dollars(st.Limit)
		if st.Limit == 0 && st.Kind == "rule" {
			row.Limit = ""
		}
		if st.Rule.Tokens > 0 {
			row.Tokens = fmt.Sprintf("%s of %s tokens", admin.Thousands(st.SpentTokens), admin.Thousands(st.Rule.Tokens))
		}
		row.Width, row.Percent = min(max(st.Fraction, 0), 1)*100, fmt.Sprintf("%.0f %%", st.Fraction*100)
		row.Tone = "good"
		if soft := cmp.Or(st.Rule.SoftPercent, 80); st.Fraction*100 >= float64(soft) {
			row.Tone = "warn"
		}
		if st.Fraction >= 1 {
			row.Tone = "bad"
		}
		if st.InFlight > 0 {
			row.Note = fmt.Sprintf("%d under way, up to %s", st.InFlight, admin.Dollars(st.Reserved))
		}
		if st.Unsettled > 0 {
			row.Note = strings.TrimPrefix(fmt.Sprintf("%s; %d whose end is not known count with %s", row.Note, st.Unsettled, admin.Dollars(st.UnsettledMoney)), "; ")
		}
		rows = append(rows, row)
	}
	for _, r := range b.Rules {
		if !seen[r.ID] { // each agent has its own, and none has called
			rows = append(rows, budgetRow{ID: r.ID, Name: cmp.Or(r.Name, r.ID), Words: admin.RuleWords(r), Spent: "nothing", Percent: "0 %", Tone: "good"})
		}
	}
	return rows
}

// callsView is the page about calls.
type callsView struct {
	amounts
	chosen
	Off    *admin.Error
	Filter calllog.Filter
	Calls  []admin.ModelCall
	First  bool         // the newest are shown
	Here   template.URL // query of this page
	Newest template.URL // query without paging
	Older  template.URL // query of the next page, "" at the end
}

// One is the agent that is chosen.
func (v *callsView) One() string {
	if len(v.Filter.Agents) == 0 {
		return ""
	}
	return v.Filter.Agents[0]
}

// Statuses are what can be chosen, with words for it.
func (*callsView) Statuses() [][2]string {
	return [][2]string{{"", "any"}, {"error", "went wrong"}, {"2xx", "went well"}, {"4xx", "refused (4xx)"}, {"429", "too many (429)"}, {"5xx", "failed (5xx)"}, {"broken", "broke off"}, {"none", "no answer"}}
}

const callsPage = 50

func (s *site) modelCalls(w http.ResponseWriter, r *http.Request) error {
	v, err := s.viewCalls(r)
	if err != nil {
		return err
	}
	s.pages.Write(w, r, http.StatusOK, "calls.html", page.View{Title: "Calls", Area: "models", Data: v})
	return nil
}

func (s *site) modelCallsPart(w http.ResponseWriter, r *http.Request) error {
	v, err := s.viewCalls(r)
	if err != nil {
		return err
	}
	s.pages.Part(w, r, "calls-part", v)
	return nil
}

func (s *site) viewCalls(r *http.Request) (*callsView, error) {
	q := r.URL.Query()
	f, err := admin.ParseCalls(q)
	if err != nil {
		return nil, err
	}
	before := q.Get("before")
	v := &callsView{Filter: f, First: before == ""}
	list, err := s.plane.ModelCalls(r.Context(), f, before, callsPage)
	if errors.Is(err, admin.ErrNotConfigured) {
		v.Off = admin.AsError(err)
		return v, nil
	} else if err != nil {
		return nil, err
	}
	v.Calls = list.Calls
	if c, err := s.choose(r); err == nil { // else one types the name
		v.Agents = c.Agents
	}
	at := func(before string) template.URL {
		query := admin.CallsQuery(f)
		if before != "" {
			query.Set("before", before)
		}
		return template.URL(query.Encode()) // which has nothing in it but what is escaped
	}
	v.Newest, v.Here = at(""), at(before)
	if list.Next != "" {
		v.Older = at(list.Next)
	}
	return v, nil
}

// callView is the page of one call.
type callView struct {
	amounts
	Call    admin.ModelCall
	Said    *admin.ModelPayload
	Problem *admin.Error // why it is not shown what was said
}

func (v *callView) Parts() []part {
	t := v.Call.Tokens
	var parts []part
	for _, p := range []part{{"Read as text", t.Input}, {"Read from the provider's cache", t.CacheRead}, {"Written to that cache", t.CacheWrite}, {"Read as audio", t.AudioInput},
		{"Written", t.Output}, {"of that, thinking", t.Reasoning}, {"Written as audio", t.AudioOutput}, {"Images made", v.Call.Images}, {"Searches of the web", v.Call.WebSearches}} {
		if p.N > 0 {
			parts = append(parts, p)
		}
	}
	return parts
}

type part struct {
	Name string
	N    int64
}

func (s *site) modelCall(w http.ResponseWriter, r *http.Request) error {
	c, err := s.plane.ModelCall(r.Context(), r.FormValue("id"))
	if err != nil {
		return err
	}
	v := &callView{Call: c}
	if r.FormValue("said") != "" {
		said, err := s.plane.ModelPayload(r.Context(), c.ID)
		if v.Said = &said; err != nil {
			v.Said, v.Problem = nil, admin.AsError(err)
		}
	}
	s.pages.Write(w, r, http.StatusOK, "call.html", page.View{Title: "Call", Area: "models", Data: v})
	return nil
}

func callPath(id string) string { return "/_admin/models/call?id=" + url.QueryEscape(id) }
