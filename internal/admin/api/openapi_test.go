package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access/accounts"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/signin"
)

// document is the description as tests read it.
type openAPI struct {
	Paths map[string]map[string]struct {
		Scope     string `json:"x-scope"`
		Responses map[string]struct {
			Content map[string]struct {
				Schema *schema `json:"schema"`
			} `json:"content"`
		} `json:"responses"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]*schema `json:"schemas"`
	} `json:"components"`
}

// schema is the part of JSON Schema that the description uses.
type schema struct {
	Ref        string             `json:"$ref"`
	Type       any                `json:"type"` // a name, or several
	Format     string             `json:"format"`
	Enum       []string           `json:"enum"`
	Items      *schema            `json:"items"`
	Properties map[string]*schema `json:"properties"`
	Required   []string           `json:"required"`
	Additional *bool              `json:"additionalProperties"`
}

func readDocument(t testing.TB) openAPI {
	t.Helper()
	var doc openAPI
	if err := json.Unmarshal(openapi, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestEveryRouteIsDescribed(t *testing.T) {
	doc := readDocument(t)
	served := map[string]bool{}
	for _, r := range (&routes{}).list() {
		served[r.pattern] = true
		method, path, _ := strings.Cut(r.pattern, " ")
		if _, ok := doc.Paths[path][strings.ToLower(method)]; !ok {
			t.Errorf("%s is not described", r.pattern)
		}
	}
	// Those of accounts are served beside ours.
	accounts, ok := signin.API(signin.APIOptions{}).(*http.ServeMux)
	if !ok {
		t.Fatal("it cannot be told what the accounts' API serves")
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			pattern := strings.ToUpper(method) + " " + path
			_, theirs := accounts.Handler(httptest.NewRequest(strings.ToUpper(method), strings.NewReplacer("{", "", "}", "").Replace(path), nil))
			if !served[pattern] && theirs != pattern {
				t.Errorf("%s is described and not served", pattern)
			}
		}
	}
}

// check says where v is not what s describes.
func (doc openAPI) check(s *schema, v any, at string) []string {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		found := doc.Components.Schemas[name]
		if found == nil {
			return []string{at + ": no schema is called " + name}
		}
		return doc.check(found, v, at)
	}
	kinds, _ := s.Type.([]any)
	if kind, ok := s.Type.(string); ok {
		kinds = []any{kind}
	}
	var problems []string
	// A whole number is a number too.
	if kind := kindOf(v); !slices.Contains(kinds, any(kind)) && !(kind == "integer" && slices.Contains(kinds, any("number"))) {
		return []string{fmt.Sprintf("%s: %v is %s, not %v", at, v, kind, s.Type)}
	}
	switch v := v.(type) {
	case string:
		if _, err := time.Parse(time.RFC3339, v); s.Format == "date-time" && err != nil {
			problems = append(problems, at+": "+err.Error())
		}
		if len(s.Enum) > 0 && !slices.Contains(s.Enum, v) {
			problems = append(problems, at+": "+v+" is none of them")
		}
	case []any:
		for i, e := range v {
			problems = append(problems, doc.check(s.Items, e, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				problems = append(problems, at+": no "+name)
			}
		}
		for name, e := range v {
			if sub := s.Properties[name]; sub != nil {
				problems = append(problems, doc.check(sub, e, at+"."+name)...)
			} else if s.Additional != nil && !*s.Additional {
				problems = append(problems, at+": "+name+" is not described")
			}
		}
	}
	return problems
}

func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// story is a request and the status of its answer.
type story struct {
	route, path, body string
	status            int
}

// The answers that the control plane gives are as described, every one of them.
func TestAnswersAreAsDescribed(t *testing.T) {
	kept := filled()
	doc, w := readDocument(t), admintest.New(t, func(o *admin.Options) {
		o.Backups, o.Models = kept, admintest.FilledModels(t, time.Now(), func(s string) string { return s })
	})
	w.Conf["OPENAI_API_KEY"] = "environment"
	w.Main.Become(agent.StateAwake)
	for i := range 6 {
		w.Main.OpenClaw.Ask(fmt.Sprintf("r%d", i), fmt.Sprintf("d%d", i), "a name")
	}
	w.Main.OpenClaw.Ask("", "no request", "")
	for i := range 3 {
		w.Main.OpenClaw.Write(fmt.Sprintf("s%d", i), "4711", "ann")
	}
	handler := Owner(Handler(w.Plane, w.Options.Log))
	tried := map[string]bool{}
	for _, story := range append(append(backupStories, modelStories(t, w)...), []story{
		{"GET /api/status", "/api/status", "", 200},
		{"GET /api/admin/openapi.json", "/api/admin/openapi.json", "", 200},
		{"GET /api/admin/agents", "/api/admin/agents", "", 200},
		{"POST /api/admin/agents", "/api/admin/agents", `{"name":"main"}`, 201},
		{"POST /api/admin/agents", "/api/admin/agents", `{`, 400},
		{"GET /api/admin/agents/{agent}", "/api/admin/agents/main", "", 200},
		{"GET /api/admin/agents/{agent}", "/api/admin/agents/..%2f..%2f", "", 404},
		{"POST /api/admin/agents/{agent}/restart", "/api/admin/agents/main/restart", "", 202},
		{"POST /api/admin/agents/{agent}/sleep", "/api/admin/agents/main/sleep", "", 200},
		{"POST /api/admin/agents/{agent}/sleep", "/api/admin/agents/main/sleep", "", 409},
		{"POST /api/admin/agents/{agent}/wake", "/api/admin/agents/main/wake", "", 200},
		{"GET /api/admin/agents/{agent}/logs", "/api/admin/agents/main/logs?tail=1", "", 200},
		{"GET /api/admin/agents/{agent}/exec", "/api/admin/agents/nobody/exec", "", 404},
		{"GET /api/admin/devices", "/api/admin/devices", "", 200},
		{"POST /api/admin/devices/{id}/approve", "/api/admin/devices/r0/approve", "", 200},
		{"POST /api/admin/devices/{id}/approve", "/api/admin/devices/r0/approve", "", 404},
		{"POST /api/admin/devices/{id}/reject", "/api/admin/devices/r1/reject?agent=main", "", 200},
		{"POST /api/admin/devices/approve-all", "/api/admin/devices/approve-all", "", 200},
		{"POST /api/admin/devices/{id}/rename", "/api/admin/devices/d0/rename", `{"name":"mine"}`, 200},
		{"POST /api/admin/devices/{id}/rename", "/api/admin/devices/d0/rename", `{"name":""}`, 400},
		{"GET /api/admin/devices", "/api/admin/devices", "", 200},
		{"DELETE /api/admin/devices/{id}", "/api/admin/devices/d0", "", 200},
		{"DELETE /api/admin/devices/{id}", "/api/admin/devices/d0", "", 404},
		{"POST /api/admin/senders/{channel}/{account}/{id}/approve", "/api/admin/senders/telegram/default/s0/approve", "", 200},
		{"POST /api/admin/senders/{channel}/{account}/{id}/dismiss", "/api/admin/senders/telegram/default/s1/dismiss", "", 200},
		{"GET /api/admin/storage", "/api/admin/storage", "", 200},
		{"POST /api/admin/storage/sync", "/api/admin/storage/sync", "", 200},
		{"POST /api/admin/gateway/restart", "/api/admin/gateway/restart?agent=main", "", 200},
		{"PUT /api/admin/secrets/{name}", "/api/admin/secrets/main%2FANTHROPIC_API_KEY", "value", 204},
		{"GET /api/admin/secrets", "/api/admin/secrets", "", 200},
		{"DELETE /api/admin/secrets/{name}", "/api/admin/secrets/main%2FANTHROPIC_API_KEY", "", 204},
		{"POST /api/admin/tokens/rotate", "/api/admin/tokens/rotate", "", 200},
		{"POST /api/admin/tokens/rotate", "/api/admin/tokens/rotate?agent=nobody", "", 404},
		{"GET /api/admin/audit", "/api/admin/audit?limit=1000", "", 200},
		{"GET /api/admin/audit/verify", "/api/admin/audit/verify", "", 200},
		{"GET /api/admin/audit/export", "/api/admin/audit/export", "", 200},
		{"DELETE /api/admin/agents/{agent}", "/api/admin/agents/main", "", 200},
	}...) {
		tried[story.route] = true
		method, path, _ := strings.Cut(story.route, " ")
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(method, story.path, strings.NewReader(story.body)))
		text := rec.Body.String()
		if rec.Code != story.status {
			t.Errorf("%s %s: %d %s, want %d", method, story.path, rec.Code, text, story.status)
			continue
		}
		described := doc.Paths[path][strings.ToLower(method)].Responses
		key := fmt.Sprint(rec.Code)
		if rec.Code >= 400 {
			key = "default"
		}
		answer, ok := described[key]
		if !ok {
			t.Errorf("%s: the status %d is not described", story.route, rec.Code)
			continue
		}
		content, ok := answer.Content[rec.Header().Get("Content-Type")]
		if !ok && (len(answer.Content) > 0 || text != "") {
			t.Errorf("%s: %s is not described", story.route, rec.Header().Get("Content-Type"))
		}
		if !ok || content.Schema.Format == "binary" {
			continue
		}
		for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
			if rec.Header().Get("Content-Type") == "application/json" {
				line = text
			}
			var v any
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Errorf("%s: %v", story.route, err)
				continue
			}
			for _, problem := range doc.check(content.Schema, v, story.route) {
				t.Error(problem)
			}
		}
	}
	for _, r := range (&routes{}).list() {
		if !tried[r.pattern] {
			t.Errorf("%s was not tried", r.pattern)
		}
	}
}

// What no story shows is described too: every field of every type of an answer.
func TestEveryFieldIsDescribed(t *testing.T) {
	doc := readDocument(t)
	for name, v := range map[string]any{
		"Status": Status{}, "Version": admin.Version{}, "Agent": admin.AgentInfo{}, "AgentStatus": agent.Status{}, "CreatedAgent": admin.Created{},
		"RemovedAgent": admin.Removed{}, "LogEntry": agent.LogEntry{}, "Devices": Devices{}, "PendingDevice": PendingDevice{}, "PairedDevice": PairedDevice{},
		"Sender": admin.Sender{}, "ApprovedDevice": Approved{}, "ApprovedAll": ApprovedAll{}, "Done": Done{}, "Restarted": Restarted{}, "Storage": admin.Storage{},
		"Synced": Synced{}, "Secret": admin.SecretInfo{}, "Rotation": admin.Rotation{}, "AuditEntry": audit.Entry{}, "AuditReport": audit.Report{},
		"BackupOverview": admin.BackupOverview{}, "AgentBackup": admin.AgentBackup{}, "BackupPolicy": backup.Policy{}, "BackupVersion": backup.Version{},
		"BackupVersions": Versions{}, "SkippedFile": backup.Skipped{}, "Damage": backup.Damage{}, "VerifyReport": backup.VerifyReport{}, "RepairReport": backup.RepairReport{},
		"PruneReport": backup.PruneReport{}, "Drill": admin.Drill{}, "BackupEntry": Entry{}, "BackupContents": Contents{}, "BackupChange": Change{},
		"BackupChanges": Changes{}, "StatePart": admin.StatePart{}, "RestoreChange": backup.Change{}, "Restored": admin.Restored{}, "BackupKey": admin.BackupKey{},
		"BackupKeys": Keys{}, "NewBackupKey": NewKey{}, "Imported": admin.Imported{},
		"ModelSums": admin.ModelSums{}, "ModelTokens": admin.ModelTokens{}, "ModelPoint": admin.ModelPoint{}, "ModelRank": admin.ModelRank{}, "ModelSeries": Series{},
		"ModelTop": Top{}, "ModelForecast": admin.ModelForecast{}, "ModelLog": admin.ModelLog{}, "ModelUsage": admin.ModelUsage{}, "ModelCall": admin.ModelCall{},
		"ModelFeedback": admin.ModelFeedback{}, "ModelCalls": admin.ModelCalls{}, "ModelPayload": admin.ModelPayload{}, "ModelPrice": admin.ModelPrice{},
		"ModelPriceTier": admin.ModelPriceTier{}, "ModelPrices": admin.ModelPrices{}, "PriceSource": price.Source{}, "BudgetRule": budget.Rule{}, "BudgetMatch": budget.Match{},
		"BudgetState": admin.BudgetState{}, "BudgetStop": budget.Stop{}, "BudgetGrant": budget.Grant{}, "Heartbeats": budget.Heartbeats{}, "ModelBudgets": admin.ModelBudgets{},
		"Person": accounts.Person{}, "Invitation": accounts.Invitation{}, "ServiceToken": accounts.ServiceToken{}, "CreatedToken": accounts.CreatedToken{},
	} {
		described := doc.Components.Schemas[name]
		if described == nil {
			t.Errorf("no schema is called %s", name)
			continue
		}
		fields := map[string]bool{}
		fieldsOf(reflect.TypeOf(v), fields)
		for field, optional := range fields {
			if described.Properties[field] == nil {
				t.Errorf("%s.%s is not described", name, field)
			}
			if required := slices.Contains(described.Required, field); required == optional {
				t.Errorf("%s.%s is left out at times: %t; required: %t", name, field, optional, required)
			}
		}
		for field := range described.Properties {
			if _, ok := fields[field]; !ok {
				t.Errorf("%s.%s is described and not there", name, field)
			}
		}
	}
}

// fieldsOf gathers the JSON names of a struct's fields, and whether they may be
// left out.
func fieldsOf(t reflect.Type, fields map[string]bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			fieldsOf(f.Type, fields)
		case name != "" && name != "-":
			fields[name] = strings.Contains(options, "omit")
		}
	}
}

// The shapes that programs made for cloudflare/moltworker read.
func TestShapesOfMoltworker(t *testing.T) {
	w := admintest.New(t, nil)
	w.Main.Become(agent.StateAwake)
	w.Main.OpenClaw.Ask("r1", "d1", "phone")
	w.Main.OpenClaw.Ask("r2", "d2", "")
	handler := Owner(Handler(w.Plane, w.Options.Log))
	for _, story := range []struct{ request, want string }{
		{"GET /api/status", `"ok":true,"status":"running"`},
		{"GET /api/admin/devices", `"requestId":"r1","deviceId":"d1","displayName":"phone"`},
		{"GET /api/admin/devices", `"clientId":"openclaw-control-ui","remoteIp":"192.0.2.7","ts":1700000000000}`},
		{"POST /api/admin/devices/r1/approve", `{"success":true,"message":"Device approved","requestId":"r1"`},
		{"POST /api/admin/devices/approve-all", `{"approved":["r2"],"failed":[],"message":"Approved 1 of 1 device(s)"}`},
		{"POST /api/admin/devices/approve-all", `{"approved":[],"failed":[],"message":"No pending devices to approve"}`},
		{"GET /api/admin/devices", `"createdAtMs":1700000000000,"approvedAtMs":1700000000001`},
		{"GET /api/admin/storage", `{"configured":false,"lastSync":null,"message":"Backup is not configured.`},
		{"POST /api/admin/gateway/restart", `{"success":true,"message":"`},
	} {
		method, path, _ := strings.Cut(story.request, " ")
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
		if body, _ := io.ReadAll(rec.Body); rec.Code != http.StatusOK || !strings.Contains(string(body), story.want) {
			t.Errorf("%s: %d %s; want %s", story.request, rec.Code, body, story.want)
		}
	}
	stranger := httptest.NewRecorder()
	Handler(w.Plane, w.Options.Log).ServeHTTP(stranger, httptest.NewRequest("GET", "/api/status", nil))
	if got := strings.TrimSpace(stranger.Body.String()); got != `{"ok":true,"status":"running"}` {
		t.Errorf("a stranger is told %s", got)
	}
}
