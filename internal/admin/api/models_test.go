package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
)

const models = "/api/admin/models"

// modelStories are requests about models and what their answers' statuses are.
func modelStories(t *testing.T, w *admintest.World) []story {
	t.Helper()
	page, err := w.ModelCalls(admintest.Owner(t.Context()), calllog.Filter{}, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	first := models + "/calls/" + page.Calls[9].ID
	long := strings.Repeat("x", 300)
	return []story{
		{"GET /api/admin/models/usage", models + "/usage", "", 200},
		{"GET /api/admin/models/usage", models + "/usage?agent=" + long, "", 400},
		{"GET /api/admin/models/totals", models + "/totals?agent=main&agent=second&trigger=user&from=2020-01-01", "", 200},
		{"GET /api/admin/models/totals", models + "/totals?from=yesterday", "", 400},
		{"GET /api/admin/models/series", models + "/series?by=model&unit=hour", "", 200},
		{"GET /api/admin/models/series", models + "/series?unit=minute", "", 400},
		{"GET /api/admin/models/top", models + "/top?by=trigger&limit=3", "", 200},
		{"GET /api/admin/models/top", models + "/top?by=colour", "", 400},
		{"GET /api/admin/models/top", models + "/top?by=agent&limit=501", "", 400},
		{"GET /api/admin/models/calls", models + "/calls?limit=20", "", 200},
		{"GET /api/admin/models/calls", models + "/calls?limit=0", "", 400},
		{"GET /api/admin/models/calls", models + "/calls?status=often", "", 400},
		{"GET /api/admin/models/calls", models + "/calls?before=x", "", 400},
		{"GET /api/admin/models/calls", models + "/calls?min_cost=much", "", 400},
		{"GET /api/admin/models/calls", models + "/calls?cache=full", "", 400},
		{"GET /api/admin/models/calls", models + "/calls?text=" + long, "", 400},
		{"GET /api/admin/models/calls/export", models + "/calls/export?agent=second", "", 200},
		{"GET /api/admin/models/calls/export", models + "/calls/export?format=ndjson", "", 200},
		{"GET /api/admin/models/calls/export", models + "/calls/export?format=csv", "", 200},
		{"GET /api/admin/models/calls/export", models + "/calls/export?format=xlsx", "", 400},
		{"GET /api/admin/models/calls/{id}", first, "", 200},
		{"GET /api/admin/models/calls/{id}", models + "/calls/..%2f", "", 404},
		{"GET /api/admin/models/calls/{id}/payload", first + "/payload", "", 200},
		{"GET /api/admin/models/calls/{id}/payload", models + "/calls/" + page.Calls[0].ID + "/payload", "", 404},
		{"PUT /api/admin/models/calls/{id}/feedback", first + "/feedback", `{"vote":1,"score":90,"comment":"good"}`, 204},
		{"PUT /api/admin/models/calls/{id}/feedback", first + "/feedback", `{"vote":7}`, 400},
		{"GET /api/admin/models/calls/{id}", first, "", 200},
		{"PUT /api/admin/models/budgets/{id}", models + "/budgets/cron", `{"match":{"trigger":"cron"},"period":"month","limit":2.5}`, 204},
		{"PUT /api/admin/models/budgets/{id}", models + "/budgets/cron", `{"period":"year","limit":2.5}`, 400},
		{"PUT /api/admin/models/budgets/{id}", models + "/budgets/cron", `{"id":"other","period":"day","limit":2.5}`, 400},
		{"PUT /api/admin/models/budgets/{id}", models + "/budgets/cron", `{"limit":"much"}`, 400},
		{"POST /api/admin/models/credit", models + "/credit", `{"agent":"main","amount":"5","note":"x"}`, 201},
		{"POST /api/admin/models/credit", models + "/credit", `{"amount":5}`, 400},
		{"POST /api/admin/models/stop", models + "/stop", `{"agent":"main","trigger":"heartbeat","reason":"too much"}`, 204},
		{"GET /api/admin/models/budgets", models + "/budgets", "", 200},
		{"POST /api/admin/models/resume", models + "/resume", `{"agent":"main"}`, 404},
		{"POST /api/admin/models/resume", models + "/resume", `{"agent":"main","trigger":"heartbeat"}`, 204},
		{"PUT /api/admin/models/heartbeats", models + "/heartbeats", `{"quiet_hours":24,"day_limit":0.5}`, 204},
		{"PUT /api/admin/models/heartbeats", models + "/heartbeats", `{"quiet_hours":24}`, 400},
		{"DELETE /api/admin/models/budgets/{id}", models + "/budgets/cron", "", 204},
		{"DELETE /api/admin/models/budgets/{id}", models + "/budgets/cron", "", 404},
		{"GET /api/admin/models/statement", models + "/statement?month=" + time.Now().UTC().Format("2006-01"), "", 200},
		{"GET /api/admin/models/statement", models + "/statement?month=2026-11&format=csv", "", 200},
		{"GET /api/admin/models/statement", models + "/statement?month=2026-11&format=ndjson", "", 400},
		{"GET /api/admin/models/statement", models + "/statement?month=now", "", 400},
		{"GET /api/admin/models/prices", models + "/prices?search=claude&limit=5", "", 200},
		{"GET /api/admin/models/prices", models + "/prices?limit=100000", "", 400},
		{"GET /api/admin/models/route", models + "/route?model=anthropic/claude-x&trigger=user&metadata=plan=paid", "", 200},
		{"GET /api/admin/models/route", models + "/route?model=dynamic/unknown", "", 200},
		{"GET /api/admin/models/route", models + "/route", "", 400},
	}
}

// An export has every call that is meant, and one who may not see them gets none.
func TestExportsOfCalls(t *testing.T) {
	m := admintest.FilledModels(t, time.Now(), func(s string) string { return s })
	w := admintest.New(t, func(o *admin.Options) { o.Models = m })
	ask := func(ctx context.Context, query string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		Handler(w.Plane, slog.New(slog.DiscardHandler)).ServeHTTP(rec, httptest.NewRequestWithContext(ctx, http.MethodGet, models+"/calls/export?"+query, nil))
		return rec
	}
	owner := admintest.Owner(t.Context())
	rec := ask(owner, "agent=second&format=csv")
	lines, err := csv.NewReader(rec.Body).ReadAll()
	if err != nil || len(lines) != 1+2*admintest.FilledDays || rec.Header().Get("Content-Type") != "text/csv; charset=utf-8" {
		t.Errorf("%d lines, %v, %v", len(lines), err, rec.Header())
	}
	var all []any
	if err := json.Unmarshal(ask(owner, url.Values{"status": {"error"}}.Encode()).Body.Bytes(), &all); err != nil || len(all) != admintest.FilledDays {
		t.Errorf("%d, %v", len(all), err)
	}
	service := access.With(t.Context(), access.Principal{Kind: access.KindService, Scopes: []access.Scope{access.WriteModels, access.UseModels}}, access.Place{})
	rec = ask(service, "format=csv")
	if body, _ := io.ReadAll(rec.Body); rec.Code != 403 || rec.Header().Get("Content-Type") != "application/json" || !strings.Contains(string(body), "forbidden") {
		t.Errorf("%d %s", rec.Code, body)
	}
}
