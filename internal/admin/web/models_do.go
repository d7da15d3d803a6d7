package web

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
)

const modelsPath = "/_admin/models"

func badForm(message string) error {
	return &admin.Error{Status: http.StatusBadRequest, Kind: "invalid", Message: message}
}

// moneyOf reads an amount of a form; "" is none.
func moneyOf(r *http.Request, name string) (price.Money, error) {
	text := strings.TrimSpace(r.PostFormValue(name))
	if text == "" {
		return 0, nil
	}
	m, err := price.ParseMoney(text)
	if err != nil {
		return 0, badForm("That is no amount of dollars: want a number like 5 or 0.50.")
	}
	return m, nil
}

// numberOf reads a whole number of a form; "" is 0.
func numberOf(r *http.Request, name string) (int64, error) {
	text := strings.ReplaceAll(strings.TrimSpace(r.PostFormValue(name)), ",", "")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, badForm("That is no number.")
	}
	return n, nil
}

func field(r *http.Request, name string) string { return strings.TrimSpace(r.PostFormValue(name)) }

// steerModels does to budgets what the last part of the path says.
func (s *site) steerModels(w http.ResponseWriter, r *http.Request) error {
	var said string
	var do func(ctx context.Context) error
	var err error
	agent, trigger, id := field(r, "agent"), field(r, "trigger"), field(r, "id")
	switch r.PathValue("verb") {
	case "budget":
		var rule budget.Rule
		if rule, err = ruleOf(r); err == nil {
			said, do = "The budget "+rule.ID+" is set.", func(ctx context.Context) error { return s.plane.SetBudget(ctx, rule) }
		}
	case "remove":
		said, do = "The budget "+id+" is removed.", func(ctx context.Context) error { return s.plane.RemoveBudget(ctx, id) }
	case "stop":
		said, do = "Model calls are stopped.", func(ctx context.Context) error { return s.plane.StopModels(ctx, agent, trigger, field(r, "reason")) }
	case "resume":
		said, do = "Model calls go on.", func(ctx context.Context) error { return s.plane.ResumeModels(ctx, agent, trigger) }
	case "credit":
		g := budget.Grant{Agent: agent, Note: field(r, "note")}
		if g.Amount, err = moneyOf(r, "amount"); err == nil {
			said, do = agent+" is given "+admin.Dollars(g.Amount)+" of credit.", func(ctx context.Context) error { _, err := s.plane.AddCredit(ctx, g); return err }
		}
	case "heartbeats":
		var h budget.Heartbeats
		var quiet int64
		if quiet, err = numberOf(r, "quiet"); err == nil {
			h.DayLimit, err = moneyOf(r, "day")
		}
		h.QuietHours = int(min(max(quiet, -1), 1<<20))
		said, do = "The rule for heartbeats is set.", func(ctx context.Context) error { return s.plane.SetHeartbeats(ctx, h) }
	default:
		return errNoPage
	}
	if err == nil {
		err = s.act(r, do)
	}
	return back(w, r, modelsPath, err, "%s", said)
}

// ruleOf reads the form of a budget. What it has no field for stays as it is hidden in
// the form.
func ruleOf(r *http.Request) (rule budget.Rule, err error) {
	rule = budget.Rule{ID: field(r, "id"), Name: field(r, "name"), Period: budget.Period(field(r, "period")), Each: r.PostFormValue("each") != "",
		Match: budget.Match{Agent: field(r, "agent"), Team: field(r, "team"), Provider: field(r, "provider"), Model: field(r, "model"), Trigger: field(r, "trigger")}}
	if rule.Limit, err = moneyOf(r, "limit"); err != nil {
		return rule, err
	}
	if rule.Tokens, err = numberOf(r, "tokens"); err != nil {
		return rule, err
	}
	soft, err := numberOf(r, "soft")
	rule.SoftPercent = int(min(max(soft, -1), 101))
	return rule, err
}

func (s *site) rateCall(w http.ResponseWriter, r *http.Request) error {
	id, vote := field(r, "id"), map[string]int{"good": 1, "bad": -1}[r.PostFormValue("vote")]
	err := s.act(r, func(ctx context.Context) error {
		return s.plane.RateModelCall(ctx, id, admin.ModelFeedback{Vote: vote, Comment: field(r, "comment")})
	})
	return back(w, r, callPath(id), err, "That is kept.")
}

// exportCalls sends the calls that are meant as a file.
func (s *site) exportCalls(w http.ResponseWriter, r *http.Request) error {
	f, err := admin.ParseCalls(r.URL.Query())
	if err != nil {
		return err
	}
	format := calllog.CSV
	if calllog.Format(r.FormValue("format")) == calllog.NDJSON {
		format = calllog.NDJSON
	}
	return s.sendFile(w, "model-calls."+string(format), func(out *filed) error { return s.plane.ExportModelCalls(r.Context(), f, format, out) })
}

// sendStatement sends what was spent in a month as a file.
func (s *site) sendStatement(w http.ResponseWriter, r *http.Request) error {
	month := r.FormValue("month")
	rows, err := s.plane.ModelStatement(r.Context(), month, "", "")
	if err != nil {
		return err
	}
	return s.sendFile(w, "models-"+month+".csv", func(out *filed) error { return budget.WriteCSV(out, rows) })
}

// filed is an answer that becomes a file with its first byte.
type filed struct {
	http.ResponseWriter
	name  string
	begun bool
}

func (f *filed) Write(p []byte) (int, error) {
	if !f.begun {
		f.begun = true
		admin.Attach(f.Header(), f.name)
	}
	return f.ResponseWriter.Write(p)
}

func (s *site) sendFile(w http.ResponseWriter, name string, write func(*filed) error) error {
	out := &filed{ResponseWriter: w, name: name}
	err := write(out)
	if err != nil && out.begun {
		// A browser must not take it for whole.
		s.Log.Error("a download broke off", "file", name, "err", err)
		panic(http.ErrAbortHandler)
	}
	return err
}
