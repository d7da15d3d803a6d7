package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/price"
)

// TestAI tells what the command line does about model calls: a control plane with the
// real records of forty days of them.
func TestAI(t *testing.T) {
	now := time.Now()
	m := admintest.FilledModels(t, now, func(s string) string {
		if s == "garden" {
			return "garden\x1b[31m"
		}
		return s
	})
	w := admintest.New(t, func(o *admin.Options) { o.Models, o.Now = m, func() time.Time { return now } })
	page, err := m.Calls.List(t.Context(), calllog.Filter{}, calllog.ID{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Files: []string{"testdata/ai.txtar"},
		Setup: func(env *testscript.Env) error {
			data := filepath.Join(env.Getenv("WORK"), "data")
			env.Setenv("MOLTWORKER_DATA", data)
			env.Setenv("MOLTWORKER_CACHE", env.Getenv("WORK")+"/cache")
			env.Setenv("HOME", env.Getenv("WORK"))
			env.Setenv("FIRST", page.Calls[9].ID.String())
			env.Setenv("LAST", page.Calls[0].ID.String())
			env.Setenv("TODAY", now.UTC().Format(time.DateOnly))
			env.Setenv("MONTH", now.UTC().Format("2006-01"))
			return serveWorld(env, w, data)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"run": cmdRun,
			// remedy KIND: runs the command line that the refusal of a call names.
			"remedy": func(ts *testscript.TestScript, _ bool, args []string) {
				line := remedyOf(args[0])
				line = strings.NewReplacer("AMOUNT", "50", "NUMBER", "900000000").Replace(line)
				cmdRun(ts, false, append([]string{"0"}, words(line)[1:]...))
			},
		},
	})
}

// remedyOf is what a refusal of the ledger says is to be done.
func remedyOf(kind string) string {
	match := budget.Match{Agent: "main"}
	switch kind {
	case "money":
		return (&budget.Exceeded{Rule: budget.Rule{ID: "daily", Limit: price.Dollar}}).Remedy()
	case "tokens":
		return (&budget.Exceeded{Rule: budget.Rule{ID: "daily", Tokens: 1, Match: match}, OfTokens: true}).Remedy()
	case "stopped":
		return (&budget.Stopped{Stop: budget.Stop{Agent: "main", Trigger: "my cron"}}).Remedy()
	}
	return ""
}

// words takes a command line apart as a shell does, as far as remedies need it.
func words(line string) (list []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			list = append(list, part)
			continue
		}
		list = append(list, strings.Fields(part)...)
	}
	return list
}
