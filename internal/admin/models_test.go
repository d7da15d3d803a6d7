package admin_test

import (
	"errors"
	"math"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// modelsNow is a Thursday, the 26th.
var modelsNow = time.Date(2026, 11, 26, 15, 0, 0, 0, time.UTC)

func usual(s string) string { return s }

func withModels(t *testing.T) (*admintest.World, *admin.Models) {
	t.Helper()
	m := admintest.FilledModels(t, modelsNow, usual)
	return admintest.New(t, func(o *admin.Options) {
		o.Models = m
		o.Now = func() time.Time { return modelsNow }
	}), m
}

func TestWhatModelsCost(t *testing.T) {
	w, _ := withModels(t)
	ctx := admintest.Owner(t.Context())
	u, err := w.ModelUsage(ctx, calllog.Query{})
	if err != nil {
		t.Fatal(err)
	}
	// 5 of 6 calls at $0.02 and 2 at $0.005 are $0.11 a day; of 10 calls 1 failed, 1 has
	// no price, 1 was a hit that saved $0.02.
	if d := u.Today; d.Calls != 10 || d.Errors != 1 || d.Unpriced != 1 || d.Hits != 1 || d.Saved != price.Dollar/50 || d.Spent() != "$0.11 + 1 unknown" {
		t.Errorf("today %+v %s", d, d.Spent())
	}
	// 26 days of the month are $2.86; 4 more are expected at $0.11 each.
	if u.Month.Calls != 260 || u.Month.Cost != 286*price.Dollar/100 || !u.Forecast.Enough || admin.Dollars(u.Forecast.Expected) != "$3.30" {
		t.Errorf("month %+v, %+v", u.Month, u.Forecast)
	}
	// Of the model without a price nothing is known.
	if u, err = w.ModelUsage(ctx, calllog.Query{Provider: "ollama"}); err != nil || u.Today.Spent() != "unknown" || u.Month.Unpriced != 26 {
		t.Errorf("%+v, %v", u, err)
	}
	top, err := w.ModelTop(ctx, calllog.Query{}, calllog.ByTrigger, 0)
	if err != nil || len(top) != 4 || top[0].Group != "user" || top[0].Calls != 6*admintest.FilledDays || top[0].Cost != 10*admintest.FilledDays*price.Dollar/100 || top[1].Group != "heartbeat" {
		t.Errorf("%+v, %v", top, err)
	}
	points, err := w.ModelSeries(ctx, calllog.Query{From: modelsNow.AddDate(0, 0, -1)}, calllog.ByAgent)
	if err != nil || len(points) != 4 || points[0].Group != "main" || points[0].Calls != 8 || !points[0].Start.Equal(time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)) ||
		points[0].TookP50 < 2000 || points[0].TookP95 > 3100 || points[0].Tokens.Total != 8*5200 {
		t.Errorf("%+v, %v", points, err)
	}
}

func TestCallsOfModels(t *testing.T) {
	w, _ := withModels(t)
	ctx := admintest.Owner(t.Context())
	var ids []string
	for before := ""; ; {
		page, err := w.ModelCalls(ctx, calllog.Filter{Agents: []string{"second"}}, before, 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Calls {
			ids = append(ids, c.ID)
		}
		if before = page.Next; before == "" {
			break
		}
	}
	if len(ids) != 2*admintest.FilledDays || !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("%d calls", len(ids))
	}
	c, err := w.ModelCall(ctx, ids[0])
	if err != nil || c.Spent() != "unknown" || c.Cost != nil || c.Metadata["project"] != "garden" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, id := range []string{"", "x", "../" + ids[0], strings.Repeat("0", len(ids[0]))} {
		if _, err := w.ModelCall(ctx, id); admin.AsError(err).Status != 404 {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := w.ModelCalls(ctx, calllog.Filter{Status: "often"}, "", 0); admin.AsError(err).Status != 400 {
		t.Error(err)
	}
	if err := w.RateModelCall(ctx, ids[0], admin.ModelFeedback{Vote: 1, Comment: "well said"}); err != nil {
		t.Fatal(err)
	}
	if err := w.RateModelCall(ctx, ids[0], admin.ModelFeedback{Vote: 2}); admin.AsError(err).Status != 400 {
		t.Error(err)
	}
	if c, err = w.ModelCall(ctx, ids[0]); err != nil || c.Feedback == nil || c.Feedback.Comment != "well said" {
		t.Errorf("%+v, %v", c.Feedback, err)
	}
	found := actions(t, w, "models.rate")
	if len(found) != 1 || found[0].Target != ids[0] || found[0].Old != "0" || found[0].New != "1" {
		t.Errorf("%+v", found)
	}
}

// What was said is for those who may also run commands in agents, and that somebody
// read it is recorded.
func TestWhatWasSaidToModels(t *testing.T) {
	w, _ := withModels(t)
	ctx := admintest.Owner(t.Context())
	page, err := w.ModelCalls(ctx, calllog.Filter{}, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	first := page.Calls[9].ID // of the ten of today
	said, err := w.ModelPayload(ctx, first)
	if err != nil || !strings.Contains(said.Request, "\n  \"messages\"") || said.Response != "Good morning." {
		t.Errorf("%+v, %v", said, err)
	}
	if _, err := w.ModelPayload(ctx, page.Calls[0].ID); admin.AsError(err).Status != 404 {
		t.Error(err)
	}
	service := access.With(t.Context(), access.Principal{Kind: access.KindService, Scopes: []access.Scope{access.ReadModels}}, access.Place{})
	var refused *access.Refusal
	if _, err := w.ModelPayload(service, first); !errors.As(err, &refused) {
		t.Error(err)
	}
	if found := actions(t, w, "models.payload"); len(found) != 1 || found[0].Target != first || found[0].Agent != "main" {
		t.Errorf("%+v", found)
	}
}

func TestBudgetsOfModels(t *testing.T) {
	w, m := withModels(t)
	ctx := admintest.Owner(t.Context())
	rule := budget.Rule{ID: "cron", Match: budget.Match{Trigger: "cron"}, Period: budget.Month, Limit: 3 * price.Dollar}
	if err := w.SetBudget(ctx, rule); err != nil {
		t.Fatal(err)
	}
	rule.Limit = 4 * price.Dollar
	if err := w.SetBudget(ctx, rule); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []budget.Rule{{}, {ID: "x y", Period: budget.Day, Limit: 1}, {ID: "x", Period: "year", Limit: 1}, {ID: "x", Period: budget.Day}, {ID: "x", Period: budget.Day, Limit: -1}} {
		if err := w.SetBudget(ctx, bad); admin.AsError(err).Status != 400 {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	b, err := w.ModelBudgets(ctx)
	if err != nil || len(b.Rules) != 3 || b.Rules[2] != rule {
		t.Errorf("%+v, %v", b.Rules, err)
	}
	i := slices.IndexFunc(b.States, func(s admin.BudgetState) bool { return s.Rule.ID == "main-month" })
	// $2.86 of $20, of 26 days with 8 calls each.
	if i < 0 || b.States[i].Spent != 286*price.Dollar/100 || b.States[i].Calls != 26*8 || math.Abs(b.States[i].Fraction-.143) > 1e-9 ||
		!b.States[i].Resets.Equal(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", b.States)
	}
	if err := w.RemoveBudget(ctx, "cron"); err != nil {
		t.Fatal(err)
	}
	if err := w.RemoveBudget(ctx, "cron"); admin.AsError(err).Status != 404 {
		t.Error(err)
	}

	g, err := w.AddCredit(ctx, budget.Grant{Agent: "second", Amount: 10 * price.Dollar, Note: "for the trip"})
	if err != nil || g.ID == "" {
		t.Fatal(err)
	}
	if again, err := w.AddCredit(ctx, g); err != nil || again.ID != g.ID || len(m.Budget.Grants()) != 1 {
		t.Errorf("%+v, %v, %+v", again, err, m.Budget.Grants())
	}
	if _, err := w.AddCredit(ctx, budget.Grant{Amount: price.Dollar}); admin.AsError(err).Status != 400 {
		t.Error(err)
	}
	if err := w.SetHeartbeats(ctx, budget.Heartbeats{QuietHours: 24, DayLimit: price.Dollar}); err != nil || m.Budget.Heartbeats().QuietHours != 24 {
		t.Error(err)
	}
	if err := w.SetHeartbeats(ctx, budget.Heartbeats{QuietHours: -1}); admin.AsError(err).Status != 400 {
		t.Error(err)
	}

	if err := w.StopModels(ctx, "main", "heartbeat", "too much"); err != nil {
		t.Fatal(err)
	}
	var stopped *budget.Stopped
	if _, err := m.Budget.Reserve(budget.Call{Agent: "main", Trigger: "heartbeat"}, 0, 1); !errors.As(err, &stopped) {
		t.Errorf("it is let through: %v", err)
	}
	if err := w.ResumeModels(ctx, "main", ""); admin.AsError(err).Status != 404 {
		t.Error(err)
	}
	if err := w.ResumeModels(ctx, "main", "heartbeat"); err != nil {
		t.Error(err)
	}
	if err := w.StopModels(ctx, "main\x00", "", ""); admin.AsError(err).Status != 400 {
		t.Error(err)
	}
	var done []string
	for _, e := range actions(t, w, "models.") {
		done = append(done, e.Action+" "+e.Target+" "+e.Old+" > "+e.New+" "+e.Detail)
	}
	want := []string{
		"models.budget.set cron none > $3.00 a month, trigger cron ",
		"models.budget.set cron $3.00 a month, trigger cron > $4.00 a month, trigger cron ",
		"models.budget.remove cron $4.00 a month, trigger cron > none ",
		"models.credit second  > $10.00 for the trip",
		"models.heartbeats  quiet hours 72, a day no limit > quiet hours 24, a day $1.00 ",
		"models.stop agent main, trigger heartbeat  >  too much", "models.resume agent main, trigger heartbeat  >  ",
	}
	if !slices.Equal(done, want) {
		t.Errorf("recorded:\n%s\nwant:\n%s", strings.Join(done, "\n"), strings.Join(want, "\n"))
	}
}

func TestAStatementAndPrices(t *testing.T) {
	w, _ := withModels(t)
	ctx := admintest.Owner(t.Context())
	rows, err := w.ModelStatement(ctx, "2026-11", "second", "")
	if err != nil || len(rows) != 2 || rows[0].Provider != "anthropic" || rows[1].Unknown != 26 {
		t.Errorf("%+v, %v", rows, err)
	}
	for _, month := range []string{"", "2026", "2026-13", "2026-11-01"} {
		if _, err := w.ModelStatement(ctx, month, "", ""); admin.AsError(err).Status != 400 {
			t.Errorf("%s: %v", month, err)
		}
	}
	found, err := w.ModelPrices(ctx, "Anthropic  SONNET", 1)
	if err != nil || len(found.Models) != 1 || found.Total < 2 || !strings.Contains(found.Models[0].Model, "sonnet") || found.Date == "" || len(found.Sources) == 0 {
		t.Errorf("%+v, %v", found, err)
	}
}

// Counters do not fall, whatever becomes dear later.
func TestWhatTheMetricsTellApart(t *testing.T) {
	w, m := withModels(t)
	scraper := access.With(t.Context(), access.Scraper(), access.Place{})
	sums := func() (all int64, models map[string]int64) {
		t.Helper()
		got, err := w.Measures(scraper)
		if err != nil {
			t.Fatal(err)
		}
		models = map[string]int64{}
		var agents int64
		for _, s := range got.Models.Models {
			all += s.Calls
			models[s.Provider+"/"+s.Model] += s.Calls
		}
		for _, s := range got.Models.Agents {
			agents += s.Calls
		}
		if agents != all {
			t.Errorf("%d calls of agents, %d of models", agents, all)
		}
		return all, models
	}
	all, before := sums()
	if all != 10*admintest.FilledDays || before["ollama/my-model"] != admintest.FilledDays {
		t.Errorf("%d %v", all, before)
	}
	for i := range 60 {
		m.Calls.Add(calllog.Call{Agent: "main", Provider: "p", Model: "m" + string(rune('0'+i)), Status: 200, Cost: price.Dollar * 100, CostKnown: true})
	}
	if err := m.Calls.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, after := sums()
	if all != 10*admintest.FilledDays+60 || len(after) != 51 {
		t.Errorf("%d calls, %d models", all, len(after))
	}
	for name, n := range before {
		if after[name] < n {
			t.Errorf("%s falls from %d to %d", name, n, after[name])
		}
	}
}

func TestWithoutARecordOfCalls(t *testing.T) {
	w := admintest.New(t, nil)
	if _, err := w.ModelUsage(admintest.Owner(t.Context()), calllog.Query{}); !errors.Is(admin.AsError(err), admin.ErrNotConfigured) {
		t.Error(err)
	}
}

func TestDollars(t *testing.T) {
	for in, want := range map[string]string{
		"0": "$0", "12.34": "$12.34", "12.345": "$12.35", "1234.5": "$1,234.50", "0.0042": "$0.0042", "0.00421": "$0.0042", "0.5": "$0.50", "0.999": "$1.00",
		"0.00996": "$0.01", "0.000000000001": "$0.000000000001", "-0.25": "-$0.25", "-1234567.891": "-$1,234,567.89",
	} {
		m, err := price.ParseMoney(in)
		if got := admin.Dollars(m); err != nil || got != want {
			t.Errorf("%s is %s, want %s (%v)", in, got, want, err)
		}
	}
}

func FuzzQueriesOfModels(f *testing.F) {
	f.Add("agent=main&from=2026-11-01&to=2026-11-02T03:04:05Z&min_cost=0.5&status=4xx&cache=hit&unit=hour")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		if c, err := admin.ParseCalls(r); err == nil {
			if back, err := admin.ParseCalls(admin.CallsQuery(c)); err != nil || back.Trigger != c.Trigger || back.From.Unix() != c.From.Unix() || back.MinCost != c.MinCost {
				t.Errorf("%+v becomes %+v, %v", c, back, err)
			}
		}
		if q, err := admin.ParseSums(r); err == nil {
			if back, err := admin.ParseSums(admin.SumsQuery(q)); err != nil || back.Unit != q.Unit || !slices.Equal(back.Agents, q.Agents) {
				t.Errorf("%+v becomes %+v, %v", q, back, err)
			}
		}
	})
}
