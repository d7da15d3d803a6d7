package api

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// modelRoutes are the ways in to what model calls cost and may cost.
func (a *routes) modelRoutes() []route {
	return []route{
		{"GET /api/admin/models/usage", a.modelUsage},
		{"GET /api/admin/models/totals", a.modelTotals},
		{"GET /api/admin/models/series", a.modelSeries},
		{"GET /api/admin/models/top", a.modelTop},
		{"GET /api/admin/models/calls", a.modelCalls},
		{"GET /api/admin/models/calls/export", a.exportCalls},
		{"GET /api/admin/models/calls/{id}", a.modelCall},
		{"GET /api/admin/models/calls/{id}/payload", a.modelPayload},
		{"PUT /api/admin/models/calls/{id}/feedback", a.rateCall},
		{"GET /api/admin/models/budgets", a.budgets},
		{"PUT /api/admin/models/budgets/{id}", a.setBudget},
		{"DELETE /api/admin/models/budgets/{id}", a.removeBudget},
		{"POST /api/admin/models/credit", a.addCredit},
		{"POST /api/admin/models/stop", a.stopModels},
		{"POST /api/admin/models/resume", a.resumeModels},
		{"PUT /api/admin/models/heartbeats", a.heartbeats},
		{"GET /api/admin/models/statement", a.statement},
		{"GET /api/admin/models/prices", a.prices},
		{"GET /api/admin/models/route", a.modelRoute},
	}
}

func (a *routes) modelUsage(w http.ResponseWriter, r *http.Request) error {
	q, err := admin.ParseSums(r.URL.Query())
	if err != nil {
		return err
	}
	u, err := a.ModelUsage(r.Context(), q)
	return answer(w, http.StatusOK, u, err)
}

func (a *routes) modelTotals(w http.ResponseWriter, r *http.Request) error {
	q, err := admin.ParseSums(r.URL.Query())
	if err != nil {
		return err
	}
	sums, err := a.ModelTotals(r.Context(), q)
	return answer(w, http.StatusOK, sums, err)
}

// grouped reads which sums are meant and what they are told apart by.
func grouped(v url.Values) (calllog.Query, calllog.Group, error) {
	q, err := admin.ParseSums(v)
	if err != nil {
		return q, "", err
	}
	by, err := admin.ParseGroup(v.Get("by"))
	return q, by, err
}

// Series are sums by time and group.
type Series struct {
	Points []admin.ModelPoint `json:"points"`
}

func (a *routes) modelSeries(w http.ResponseWriter, r *http.Request) error {
	q, by, err := grouped(r.URL.Query())
	if err != nil {
		return err
	}
	points, err := a.ModelSeries(r.Context(), q, by)
	return answer(w, http.StatusOK, Series{points}, err)
}

// Top are the most expensive groups.
type Top struct {
	Groups []admin.ModelRank `json:"groups"`
}

func (a *routes) modelTop(w http.ResponseWriter, r *http.Request) error {
	q, by, err := grouped(r.URL.Query())
	if err != nil {
		return err
	}
	n, err := admin.Limit(r.URL.Query().Get("limit"))
	if err != nil {
		return err
	}
	groups, err := a.ModelTop(r.Context(), q, by, n)
	return answer(w, http.StatusOK, Top{groups}, err)
}

func (a *routes) modelCalls(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	f, err := admin.ParseCalls(v)
	if err != nil {
		return err
	}
	limit, err := admin.Limit(v.Get("limit"))
	if err != nil {
		return err
	}
	page, err := a.ModelCalls(r.Context(), f, v.Get("before"), limit)
	return answer(w, http.StatusOK, page, err)
}

// kinds of exports, by the format's name.
var kinds = map[calllog.Format]string{calllog.CSV: "text/csv; charset=utf-8", calllog.JSON: "application/json", calllog.NDJSON: "application/x-ndjson"}

// format reads what an export is to be written as.
func format(v url.Values) (calllog.Format, string, error) {
	f := calllog.Format(v.Get("format"))
	if f == "" {
		f = calllog.JSON
	}
	kind, ok := kinds[f]
	if !ok {
		return "", "", invalid("format: want csv, json or ndjson")
	}
	return f, kind, nil
}

func (a *routes) exportCalls(w http.ResponseWriter, r *http.Request) error {
	filter, err := admin.ParseCalls(r.URL.Query())
	if err != nil {
		return err
	}
	as, kind, err := format(r.URL.Query())
	if err != nil {
		return err
	}
	out := &begun{ResponseWriter: w, kind: kind}
	err = a.ExportModelCalls(r.Context(), filter, as, out)
	if err != nil && out.started {
		// A client that reads to the end must not take it for whole.
		a.log.Error("the export of model calls broke off", "err", err)
		panic(http.ErrAbortHandler)
	}
	return err
}

// begun says whether something of an answer was written, and sets its headers then.
type begun struct {
	http.ResponseWriter
	kind    string
	started bool
}

func (b *begun) Write(p []byte) (int, error) {
	if !b.started {
		b.started = true
		b.Header().Set("Content-Type", b.kind)
		b.Header().Set("Cache-Control", "no-store")
	}
	return b.ResponseWriter.Write(p)
}

func (a *routes) modelCall(w http.ResponseWriter, r *http.Request) error {
	c, err := a.ModelCall(r.Context(), r.PathValue("id"))
	return answer(w, http.StatusOK, c, err)
}

func (a *routes) modelPayload(w http.ResponseWriter, r *http.Request) error {
	said, err := a.ModelPayload(r.Context(), r.PathValue("id"))
	return answer(w, http.StatusOK, said, err)
}

func (a *routes) rateCall(w http.ResponseWriter, r *http.Request) error {
	var f admin.ModelFeedback
	if err := order(w, r, &f); err != nil {
		return err
	}
	return done(w, a.RateModelCall(r.Context(), r.PathValue("id"), f))
}

func (a *routes) budgets(w http.ResponseWriter, r *http.Request) error {
	b, err := a.ModelBudgets(r.Context())
	return answer(w, http.StatusOK, b, err)
}

func (a *routes) setBudget(w http.ResponseWriter, r *http.Request) error {
	var rule budget.Rule
	if err := order(w, r, &rule); err != nil {
		return err
	}
	if rule.ID != "" && rule.ID != r.PathValue("id") {
		return invalid("the ID in the path is another than the one in the object")
	}
	rule.ID = r.PathValue("id")
	return done(w, a.SetBudget(r.Context(), rule))
}

func (a *routes) removeBudget(w http.ResponseWriter, r *http.Request) error {
	return done(w, a.RemoveBudget(r.Context(), r.PathValue("id")))
}

func (a *routes) addCredit(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		ID     string      `json:"id"`
		Agent  string      `json:"agent"`
		Team   string      `json:"team"`
		Amount price.Money `json:"amount"`
		Note   string      `json:"note"`
	}
	if err := order(w, r, &req); err != nil {
		return err
	}
	g, err := a.AddCredit(r.Context(), budget.Grant{ID: req.ID, Agent: req.Agent, Team: req.Team, Amount: req.Amount, Note: req.Note})
	return answer(w, http.StatusCreated, g, err)
}

// Stopping names calls that are to be stopped or to go on.
type Stopping struct {
	Agent   string `json:"agent"`   // "" all
	Trigger string `json:"trigger"` // "" whatever they call for
	Reason  string `json:"reason"`
}

func (a *routes) stopModels(w http.ResponseWriter, r *http.Request) error {
	var req Stopping
	if err := order(w, r, &req); err != nil {
		return err
	}
	return done(w, a.StopModels(r.Context(), req.Agent, req.Trigger, req.Reason))
}

func (a *routes) resumeModels(w http.ResponseWriter, r *http.Request) error {
	var req Stopping
	if err := order(w, r, &req); err != nil {
		return err
	}
	return done(w, a.ResumeModels(r.Context(), req.Agent, req.Trigger))
}

func (a *routes) heartbeats(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		QuietHours *int         `json:"quiet_hours"`
		DayLimit   *price.Money `json:"day_limit"`
	}
	if err := order(w, r, &req); err != nil {
		return err
	}
	if req.QuietHours == nil || req.DayLimit == nil {
		return invalid("want quiet_hours and day_limit")
	}
	return done(w, a.SetHeartbeats(r.Context(), budget.Heartbeats{QuietHours: *req.QuietHours, DayLimit: *req.DayLimit}))
}

func (a *routes) statement(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	as, kind, err := format(v)
	if err != nil || as == calllog.NDJSON {
		return invalid("format: want csv or json")
	}
	rows, err := a.ModelStatement(r.Context(), v.Get("month"), v.Get("agent"), v.Get("team"))
	if err != nil {
		return err
	}
	out := &begun{ResponseWriter: w, kind: kind}
	if as == calllog.CSV {
		return budget.WriteCSV(out, rows)
	}
	return budget.WriteJSON(out, rows)
}

func (a *routes) prices(w http.ResponseWriter, r *http.Request) error {
	limit, err := admin.Limit(r.URL.Query().Get("limit"))
	if err != nil {
		return err
	}
	found, err := a.ModelPrices(r.Context(), r.URL.Query().Get("search"), limit)
	return answer(w, http.StatusOK, found, err)
}

func (a *routes) modelRoute(w http.ResponseWriter, r *http.Request) error {
	v := r.URL.Query()
	metadata := map[string]string{}
	for _, pair := range v["metadata"] {
		name, value, _ := strings.Cut(pair, "=")
		metadata[name] = value
	}
	found, err := a.ModelRoute(r.Context(), v.Get("model"), v.Get("agent"), v.Get("trigger"), metadata)
	return answer(w, http.StatusOK, found, err)
}
