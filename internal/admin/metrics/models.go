package metrics

import "github.com/moltworker/moltworker/internal/admin"

// Two families, and not one with four labels: agents times triggers times providers
// times models would be too many.
var (
	agentCalls    = counter("ai_agent_calls_total", "Model calls.", "agent", "trigger")
	agentErrors   = counter("ai_agent_errors_total", "Model calls that were refused, failed, broke off or were not answered.", "agent", "trigger")
	agentUnpriced = counter("ai_agent_unpriced_calls_total", "Model calls whose cost is not known.", "agent", "trigger")
	agentCost     = counter("ai_agent_cost_dollars_total", "What model calls cost, without those whose cost is not known.", "agent", "trigger")

	modelCalls    = counter("ai_model_calls_total", "Calls of a model.", "provider", "model")
	modelErrors   = counter("ai_model_errors_total", "Calls of a model that were refused, failed, broke off or were not answered.", "provider", "model")
	modelUnpriced = counter("ai_model_unpriced_calls_total", "Calls of a model whose cost is not known.", "provider", "model")
	modelCost     = counter("ai_model_cost_dollars_total", "What calls of a model cost, without those whose cost is not known.", "provider", "model")
	modelSaved    = counter("ai_model_saved_dollars_total", "What answers from our cache would have cost.", "provider", "model")
	modelTokens   = counter("ai_model_tokens_total", "Tokens moved, by kind; no token is counted twice.", "provider", "model", "kind")

	logKept    = gauge("ai_log_calls", "Model calls that the log keeps.")
	logDropped = counter("ai_log_dropped_total", "Model calls that could not be recorded, since the start.")
	logWorks   = gauge("ai_log_works", "1 unless model calls cannot be recorded.")

	// A budget falls when its period begins anew.
	budgetSpent    = gauge("ai_budget_spent_dollars", "What is spent of a budget in its present period.", "budget", "kind", "agent")
	budgetLimit    = gauge("ai_budget_limit_dollars", "The limit of a budget in money; absent where it has none.", "budget", "kind", "agent")
	budgetFraction = gauge("ai_budget_spent_ratio", "Part of a budget's limit that is spent, in money or tokens; may be above 1.", "budget", "kind", "agent")
)

// maxBudgets bounds how many budgets are told: a rule that gives each agent its own limit
// has one for each.
const maxBudgets = 200

func ofModels(s sink, m *admin.ModelMeasures) {
	if m == nil {
		return
	}
	for _, a := range m.Agents {
		agentCalls.one(s, float64(a.Calls), a.Agent, a.Trigger)
		agentErrors.one(s, float64(a.Errors), a.Agent, a.Trigger)
		agentUnpriced.one(s, float64(a.Unpriced), a.Agent, a.Trigger)
		agentCost.one(s, dollars(int64(a.Cost)), a.Agent, a.Trigger)
	}
	for _, o := range m.Models {
		modelCalls.one(s, float64(o.Calls), o.Provider, o.Model)
		modelErrors.one(s, float64(o.Errors), o.Provider, o.Model)
		modelUnpriced.one(s, float64(o.Unpriced), o.Provider, o.Model)
		modelCost.one(s, dollars(int64(o.Cost)), o.Provider, o.Model)
		modelSaved.one(s, dollars(int64(o.Saved)), o.Provider, o.Model)
		t := o.Tokens
		for kind, n := range map[string]int64{"input": t.Input, "cache_read": t.CacheRead, "cache_write": t.CacheWrite, "audio_input": t.AudioInput, "output": t.Output, "audio_output": t.AudioOutput} {
			modelTokens.one(s, float64(n), o.Provider, o.Model, kind)
		}
	}
	logKept.one(s, float64(m.Log.Calls))
	logDropped.one(s, float64(m.Log.Dropped))
	logWorks.yes(s, m.Log.Failing == "")
	ofBudgets(s, m.Budgets)
}

func ofBudgets(s sink, budgets []admin.BudgetState) {
	type place struct{ id, kind, agent string }
	told := map[place]bool{}
	for _, b := range budgets {
		at := place{b.Rule.ID, b.Kind, b.Agent}
		if b.Kind == "credit" && at.agent == "" {
			at.agent = b.Rule.Match.Agent // or it is a team's
			if team := b.Rule.Match.Team; team != "" {
				at.agent = "team " + team
			}
		}
		if told[at] || len(told) >= maxBudgets {
			continue // a label set may be there once
		}
		told[at] = true
		budgetSpent.one(s, dollars(int64(b.Spent)), at.id, at.kind, at.agent)
		budgetFraction.one(s, b.Fraction, at.id, at.kind, at.agent)
		if b.Limit > 0 {
			budgetLimit.one(s, dollars(int64(b.Limit)), at.id, at.kind, at.agent)
		}
	}
}

// dollars are those of an amount in millionths of a millionth.
func dollars(pico int64) float64 { return float64(pico) / 1e12 }
