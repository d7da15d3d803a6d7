package web

import (
	"encoding/csv"
	"encoding/json"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/audit"
)

// modelsWorld is the pages with a real control plane that has forty days of calls.
func modelsWorld(t *testing.T) (*world, *admintest.World) {
	t.Helper()
	records := admintest.FilledModels(t, testNow, usual)
	real := admintest.New(t, func(o *admin.Options) { o.Models, o.Now = records, func() time.Time { return testNow } })
	return serveThe(t, real.Plane, real.Options.Audit), real
}

// Somebody without JavaScript sets, changes and lifts what agents may spend.
func TestWhatAgentsMaySpend(t *testing.T) {
	w, real := modelsWorld(t)
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar}
	for _, c := range []struct{ verb, form, says, then string }{
		{"budget", "id=cron&limit=2.50&period=day&trigger=cron&each=yes&agent=research", "The budget cron is set.", "$2.50 a day for each agent, agent research, trigger cron"},
		{"budget", "id=cron&tokens=1,000&period=month", "The budget cron is set.", "1,000 tokens a month"},
		{"budget", "id=cron&limit=much&period=month", "That is no amount of dollars", "1,000 tokens a month"},
		{"budget", "id=X+Y&limit=1&period=month", "is not 1 to 64 of a-z", "1,000 tokens a month"},
		{"remove", "id=cron", "The budget cron is removed.", "Every day"},
		{"remove", "id=cron", "there is no such budget", "Every day"},
		{"stop", "agent=main&trigger=heartbeat&reason=too+much", "Model calls are stopped.", "Stopped: agent main, calls of the kind heartbeat"},
		{"resume", "agent=main&trigger=heartbeat", "Model calls go on.", "Every day"},
		{"resume", "agent=main", "not stopped for agent main", "Every day"},
		{"heartbeats", "quiet=24&day=0.25", "The rule for heartbeats is set.", `value="24"`},
		{"heartbeats", "quiet=many", "That is no number.", `value="24"`},
		{"credit", "agent=main&amount=12.5&note=trip", "main is given $12.50 of credit.", "of $12.50"},
		{"credit", "agent=&amount=12.5", "credit is for an agent or for a team", "of $12.50"},
	} {
		form, _ := url.ParseQuery(c.form)
		form.Set("proof", testProof)
		resp, err := browser.PostForm(w.url+"/_admin/models/"+c.verb, form)
		if err != nil {
			t.Fatal(err)
		}
		body := html.UnescapeString(read(t, resp))
		if resp.Request.URL.Path != "/_admin/models" || !strings.Contains(body, c.says) || !strings.Contains(body, c.then) {
			t.Errorf("%s %s ended at %s, or does not say %q and %q", c.verb, c.form, resp.Request.URL, c.says, c.then)
		}
	}
	list, err := real.Options.Audit.List(t.Context(), audit.Filter{Action: "models.", Limit: 100})
	if err != nil || len(list) != 7 || list[0].Actor != "person ann@example.com" {
		t.Errorf("%d are recorded, %v", len(list), err)
	}
}

func TestCallsOnThePages(t *testing.T) {
	w, real := modelsWorld(t)
	_, body := fetch(t, http.DefaultClient, w.url+"/_admin/models/calls?agent=main&trigger=user")
	rows := regexp.MustCompile(`/_admin/models/call\?id=`)
	if n := len(rows.FindAllString(body, -1)); n != callsPage || strings.Contains(body, `>second<`) {
		t.Errorf("%d calls", n)
	}
	older, _ := follow(t, w, body, `id="older" href="([^"]*)"`)
	if strings.Contains(older, regexp.MustCompile(`call\?id=([^"]*)"`).FindStringSubmatch(body)[1]) || !strings.Contains(older, ">Newest<") {
		t.Errorf("the next page begins where the first one did: %s", regexp.MustCompile(`id="older" href="[^"]*"`).FindString(body))
	}
	for query, want := range map[string]string{"agent=nobody": "No call of that kind", "status=often": "not possible", "from=x": "want a time", "before=x": "no call", "trigger=" + strings.Repeat("x", 300): "too long"} {
		if _, body := fetch(t, http.DefaultClient, w.url+"/_admin/models/calls?"+query); !strings.Contains(body, want) {
			t.Errorf("%s does not say %q", query, want)
		}
	}

	page, err := real.ModelCalls(admintest.Owner(t.Context()), calllog.Filter{}, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	_, body = fetch(t, http.DefaultClient, w.url+callPath(page.Calls[0].ID))
	for _, want := range []string{`<dd class="num">unknown</dd>`, "its price is not known", "garden", "run-17", "claude-sonnet-4-5-20250929", "5,200"} {
		if !strings.Contains(body, want) {
			t.Errorf("the call's page does not say %q", want)
		}
	}
	if strings.Contains(body, "$0") {
		t.Error("a price that is not known is shown as nothing")
	}
	first := w.url + callPath(page.Calls[9].ID)
	if _, body = fetch(t, http.DefaultClient, first); strings.Contains(body, "Good morning.") {
		t.Error("what was said is shown unasked")
	}
	if _, body = fetch(t, http.DefaultClient, first+"&said=yes"); !strings.Contains(body, "Good morning.") || !strings.Contains(body, "$0.02") {
		t.Error("what was said is not shown")
	}
	resp, err := http.PostForm(w.url+"/_admin/models/rate", url.Values{"proof": {testProof}, "id": {page.Calls[9].ID}, "vote": {"good"}, "comment": {"<b>fine</b>"}})
	if err != nil {
		t.Fatal(err)
	}
	if body = read(t, resp); !strings.Contains(body, `value="&lt;b&gt;fine&lt;/b&gt;"`) || !strings.Contains(body, `value="good" aria-pressed="true"`) {
		t.Error("the rating is not shown")
	}
	if resp, _ := fetch(t, http.DefaultClient, w.url+"/_admin/models/call?id=x"); resp.StatusCode != http.StatusNotFound {
		t.Error(resp.Status)
	}
}

func TestDownloadsAboutModels(t *testing.T) {
	w, _ := modelsWorld(t)
	resp, body := fetch(t, http.DefaultClient, w.url+"/_admin/models/export?agent=second")
	lines, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil || len(lines) != 1+2*admintest.FilledDays || resp.Header.Get("Content-Disposition") != "attachment; filename=model-calls.csv" {
		t.Errorf("%d lines, %v, %v", len(lines), err, resp.Header)
	}
	shieldedFile(t, resp.Header)
	resp, body = fetch(t, http.DefaultClient, w.url+"/_admin/models/statement?month="+testNow.UTC().Format("2006-01"))
	if !strings.HasPrefix(body, "agent,team,provider,model") || resp.Header.Get("Content-Disposition") != "attachment; filename=models-"+testNow.UTC().Format("2006-01")+".csv" {
		t.Errorf("%v %s", resp.Header, body)
	}
	if resp, _ = fetch(t, http.DefaultClient, w.url+"/_admin/models/statement?month=../x"); resp.StatusCode != http.StatusBadRequest {
		t.Error(resp.Status)
	}
}

// What a chart draws adds up to what calls cost; more groups than there are colours are
// one, and a day without calls is there.
func TestWhatChartsDraw(t *testing.T) {
	now := time.Date(2026, 11, 26, 15, 0, 0, 0, time.UTC)
	starts := []time.Time{now.Truncate(24*time.Hour).AddDate(0, 0, -1), now.Truncate(24 * time.Hour)}
	var points []admin.ModelPoint
	for i := range 12 { // $1, $2 ... $12 today: $1 to $5 are the rest, beside $6 to $12
		points = append(points, admin.ModelPoint{Start: starts[1], Group: strings.Repeat("g", i), ModelSums: admin.ModelSums{Calls: 2, Cost: price.Money(i+1) * price.Dollar, Unpriced: 1}})
	}
	c := costChart(starts, points, calllog.ByModel)
	data, err := c.Data()
	var drawn struct {
		X      []int64
		Y      [][]float64
		Labels []string
	}
	if err != nil || json.Unmarshal([]byte(data), &drawn) != nil {
		t.Fatal(err)
	}
	if len(drawn.Labels) != maxLines || drawn.Labels[0] != "ggggggggggg" || drawn.Labels[7] != calllog.Other || drawn.Y[0][0] != 0 || drawn.Y[0][1] != 12 || drawn.Y[7][1] != 1+2+3+4+5 || drawn.X[1]-drawn.X[0] != 86400 {
		t.Errorf("%+v", drawn)
	}
	if rows := c.Rows(); len(rows) != 1 || rows[0].Day != "2026-11-26" || rows[0].Cells[0] != "$12.00" {
		t.Errorf("%+v", rows)
	}
	if c.Note != "12 calls of unknown price are not in it." {
		t.Error(c.Note)
	}
	// Of a day without calls it is not known how long they take.
	if l := latencyChart(starts, points[:1]); l.Lines[0].Values[0] != nil || l.Lines[0].Values[1] == nil {
		t.Errorf("%+v", l.Lines[0])
	}
}
