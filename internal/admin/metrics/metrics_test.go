package metrics_test

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/admin/metrics"
)

func get(t *testing.T, w *admintest.World, who access.Principal, method string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(access.With(t.Context(), who, access.Place{}), method, "/metrics", nil)
	metrics.Handler(w.Plane, slog.New(slog.DiscardHandler)).ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

func TestWhoReadsTheMetrics(t *testing.T) {
	w := admintest.New(t, nil)
	for name, tt := range map[string]struct {
		who  access.Principal
		want int
	}{
		"nobody":            {access.Principal{}, 403},
		"a holder":          {access.Principal{Kind: access.KindHolder, Agent: "main"}, 403},
		"an agent's person": {access.Principal{Kind: access.KindPerson, Agent: "main"}, 403},
		"another service":   {access.Principal{Kind: access.KindService, Scopes: []access.Scope{access.ReadAgents, access.ReadStorage}}, 403},
		"a service":         {access.Principal{Kind: access.KindService, Scopes: []access.Scope{access.ReadMetrics}}, 200},
		"a scraper":         {access.Scraper(), 200},
		"a person":          {access.Principal{Kind: access.KindPerson}, 200},
	} {
		if status, body := get(t, w, tt.who, "GET"); status != tt.want || strings.Contains(body, "moltworker_") != (tt.want == 200) {
			t.Errorf("%s: %d %.300s", name, status, body)
		}
	}
	if status, _ := get(t, w, access.Scraper(), "POST"); status != 405 {
		t.Errorf("POST: %d", status)
	}
}

func TestADrillIsMeasured(t *testing.T) {
	backups := admintest.NewBackups(time.Now, "main")
	w := admintest.New(t, func(o *admin.Options) { o.Backups = backups })
	_, before := get(t, w, access.Scraper(), "GET")
	for _, line := range []string{
		`moltworker_build_info{`, `moltworker_agent_state{agent="main",state="asleep"} 1`, `moltworker_agent_state{agent="main",state="failed"} 0`,
		`moltworker_backup_state{state="ready"} 1`, `moltworker_backup_agent_state{agent="main",state="safe"}`, `go_goroutines`, `process_resident_memory_bytes`,
	} {
		if !strings.Contains(before, line) {
			t.Errorf("%s is missing in\n%s", line, before)
		}
	}
	if strings.Contains(before, "drill_ok") {
		t.Error("a drill is told of before there was one")
	}
	owner := admintest.Owner(t.Context())
	if _, err := w.BackupNow(owner, "main"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.BackupDrill(owner, "main", func(string) {}); err != nil {
		t.Fatal(err)
	}
	_, after := get(t, w, access.Scraper(), "GET")
	for _, line := range []string{`moltworker_backup_drill_ok{agent="main"} 1`, `moltworker_backup_drill_seconds{agent="main"} `, `moltworker_backup_last_version_seconds{agent="main"} `} {
		if !strings.Contains(after, line) {
			t.Errorf("%s is missing in\n%s", line, after)
		}
	}
}
