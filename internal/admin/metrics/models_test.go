package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// What agents and programs call themselves is a label, whatever it is.
func TestModelsAreMeasured(t *testing.T) {
	now := time.Date(2026, 11, 26, 15, 0, 0, 0, time.UTC)
	records := admintest.FilledModels(t, now, func(s string) string {
		if s == "my-model" {
			return "my \"model\"\n\x1b"
		}
		return s
	})
	w := admintest.New(t, func(o *admin.Options) { o.Models = records })
	if err := records.Budget.AddCredit(budget.Grant{ID: "g", Team: "red", Amount: price.Dollar}); err != nil {
		t.Fatal(err)
	}
	status, body := get(t, w, access.Scraper(), "GET")
	// 40 days of 6 calls of the user's, 5 of them at $0.02: $4; 1000 tokens each.
	for _, line := range []string{
		`moltworker_ai_agent_calls_total{agent="main",trigger="user"} 240`, `moltworker_ai_agent_cost_dollars_total{agent="main",trigger="user"} 4`,
		`moltworker_ai_agent_errors_total{agent="second",trigger="cron"} 40`, `moltworker_ai_agent_unpriced_calls_total{agent="second",trigger="outside"} 40`,
		`moltworker_ai_model_tokens_total{kind="input",model="claude-sonnet-4-5",provider="anthropic"} 240000`,
		`moltworker_ai_model_tokens_total{kind="cache_read",model="claude-haiku-4-5",provider="anthropic"} 320000`,
		`moltworker_ai_model_saved_dollars_total{model="claude-sonnet-4-5",provider="anthropic"} 0.8`,
		`moltworker_ai_model_unpriced_calls_total{model="my \"model\"`, `moltworker_ai_log_calls 400`, `moltworker_ai_log_dropped_total 0`, `moltworker_ai_log_works 1`,
		`moltworker_ai_budget_limit_dollars{agent="",budget="main-month",kind="rule"} 20`, `moltworker_ai_budget_spent_dollars{agent="",budget="main-month",kind="rule"} 2.86`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("%s is missing", line)
		}
	}
	if status != 200 || strings.Contains(body, "error gathering") {
		t.Errorf("%d %.300s", status, body)
	}
}
