package admin_test

import (
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/agent"
)

// needs says for every operation of the control plane which scope it takes.
var needs = map[string]access.Scope{
	"Agents": access.ReadAgents, "Agent": access.ReadAgents, "WatchAgent": access.ReadAgents, "Logs": access.ReadAgents,
	"Create": access.WriteAgents, "Remove": access.WriteAgents, "Restart": access.WriteAgents, "Sleep": access.WriteAgents, "Wake": access.WriteAgents,
	"Exec": access.ExecAgents, "MayExec": access.ExecAgents, "Run": access.ExecAgents, "GatewayGet": access.ExecAgents,
	"Devices": access.ReadDevices, "WatchDevices": access.ReadDevices,
	"ApproveDevice": access.WriteDevices, "ApproveAll": access.WriteDevices, "RejectDevice": access.WriteDevices,
	"RenameDevice": access.WriteDevices, "RevokeDevice": access.WriteDevices,
	"ApproveSender": access.WriteDevices, "DismissSender": access.WriteDevices,
	"Secrets": access.ReadSecrets, "PutSecret": access.WriteSecrets, "RemoveSecret": access.WriteSecrets, "RotateToken": access.WriteSecrets,
	"Storage": access.ReadStorage, "SyncStorage": access.WriteStorage,
	"Audit": access.ReadAudit, "AuditLog": access.ReadAudit,
	"Config": access.ReadDebug, "Processes": access.ReadDebug, "Has": access.ReadDebug,
	"AutoPair": personal,
	"Backup":   access.ReadStorage, "WatchBackup": access.ReadStorage, "BackupVersions": access.ReadStorage, "BackupParts": access.ReadStorage, "BackupKeys": access.ReadStorage,
	"BackupNow": access.WriteStorage, "BackupVerify": access.WriteStorage, "BackupRepair": access.WriteStorage, "BackupPrune": access.WriteStorage,
	"BackupDrill": access.WriteStorage, "BackupClaim": access.WriteStorage,
	"BackupUnlock": access.WriteStorage, "BackupAddKey": access.WriteStorage, "BackupNewKey": access.WriteStorage, "BackupRemoveKey": access.WriteStorage,
	"BackupContents": access.ReadStorage, "BackupFile": access.ReadStorage, "BackupDiff": access.ReadStorage, "BackupExport": access.ReadStorage,
	"BackupRestore": access.WriteStorage, "Import": access.WriteStorage,
	"Measures":   access.ReadMetrics,
	"ModelUsage": access.ReadModels, "ModelTotals": access.ReadModels, "ModelSeries": access.ReadModels, "ModelTop": access.ReadModels, "WatchModels": access.ReadModels,
	"ModelCalls": access.ReadModels, "ModelCall": access.ReadModels, "ModelPayload": access.ReadModels, "ExportModelCalls": access.ReadModels,
	"ModelBudgets": access.ReadModels, "ModelStatement": access.ReadModels, "ModelPrices": access.ReadModels, "ModelRoute": access.ReadModels,
	"RateModelCall": access.WriteModels, "SetBudget": access.WriteModels, "RemoveBudget": access.WriteModels, "AddCredit": access.WriteModels,
	"StopModels": access.WriteModels, "ResumeModels": access.WriteModels, "SetHeartbeats": access.WriteModels,
}

// also says which further scope an operation takes.
var also = map[string]access.Scope{
	"BackupContents": access.ExecAgents, "BackupFile": access.ExecAgents, "BackupDiff": access.ExecAgents, "BackupExport": access.ExecAgents,
	"BackupRestore": access.WriteAgents, "Import": access.WriteAgents,
	"ModelPayload": access.ExecAgents,
}

// personal marks what no service may, whatever its scopes, and people may.
const personal access.Scope = "people alone"

// Every operation refuses every caller who has not exactly its scope, before it
// looks at anything else: what it is given here is of no sense.
func TestEveryOperationAsksWhoCalls(t *testing.T) {
	w := admintest.New(t, func(o *admin.Options) {
		o.Backups = admintest.NewBackups(time.Now, "main")
		o.Models = admintest.NewModels(t, time.Now)
	})
	w.Main.Become(agent.StateAwake)
	plane := reflect.ValueOf(w.Plane)
	tried := map[string]bool{}
	for i := range plane.NumMethod() {
		method := plane.Type().Method(i)
		if method.Type.NumIn() < 2 || method.Type.In(1) != reflect.TypeFor[context.Context]() {
			continue // it tells everybody the same
		}
		scope, known := needs[method.Name]
		if !known {
			t.Errorf("%s is new: say in this table which scope it takes", method.Name)
			continue
		}
		tried[method.Name] = true
		for who, may := range callers(scope, also[method.Name]) {
			ctx, cancel := context.WithCancel(t.Context())
			if who.Kind != "" {
				ctx = access.With(ctx, who, access.Place{})
			}
			err := callWithNonsense(ctx, plane.Method(i))
			cancel()
			var refused *access.Refusal
			if is := errors.As(err, &refused); is == may {
				t.Errorf("%s called by %s (%v, agent %q): %v", method.Name, who, who.Scopes, who.Agent, err)
			}
			if refused != nil && (refused.Reason != access.Forbidden || refused.Status() != 403) {
				t.Errorf("%s refuses with %s", method.Name, refused.Reason)
			}
		}
	}
	for name := range needs {
		if !tried[name] {
			t.Errorf("there is no %s", name)
		}
	}
}

// callerList gives principals by value, which have a slice.
type callerList func(yield func(access.Principal, bool) bool)

// callers are principals of every kind, and whether they have a scope, and a second
// one unless that is "".
func callers(scope, second access.Scope) callerList {
	without := func(scope access.Scope) []access.Scope {
		return slices.DeleteFunc(slices.Clone(access.Scopes), func(s access.Scope) bool { return s == scope })
	}
	exact := []access.Scope{scope}
	if second != "" {
		exact = append(exact, second)
	}
	return func(yield func(access.Principal, bool) bool) {
		for _, c := range []struct {
			who access.Principal
			may bool
		}{
			{access.Principal{}, false},
			{access.Principal{Kind: "a kind that is not there"}, false},
			{access.Principal{Kind: access.KindHolder, Agent: "main"}, false},
			{access.Principal{Kind: access.KindHolder}, false},
			{access.Principal{Kind: access.KindOwner}, scope != personal},
			{access.Principal{Kind: access.KindPerson, Name: "ann"}, true},
			{access.Principal{Kind: access.KindDeveloper}, true},
			// On an agent's own pages, where its scripts run.
			{access.Principal{Kind: access.KindPerson, Name: "ann", Agent: "other"}, false},
			{access.Principal{Kind: access.KindPerson, Name: "ann", Agent: "main"}, scope == personal},
			{access.Principal{Kind: access.KindService, Name: "none"}, false},
			{access.Principal{Kind: access.KindService, Name: "others", Scopes: without(scope)}, false},
			{access.Principal{Kind: access.KindService, Name: "without the second", Scopes: without(second)}, second == "" && scope != personal},
			{access.Principal{Kind: access.KindService, Name: "exact", Scopes: exact}, scope != personal},
			{access.Principal{Kind: access.KindService, Name: "all", Scopes: []access.Scope{access.Everything}}, scope != personal},
		} {
			if !yield(c.who, c.may) {
				return
			}
		}
	}
}

// callWithNonsense calls with an agent that is there and zero values, and returns
// the error.
func callWithNonsense(ctx context.Context, method reflect.Value) error {
	in := []reflect.Value{reflect.ValueOf(ctx)}
	fixed := method.Type().NumIn()
	if method.Type().IsVariadic() {
		fixed--
	}
	for i := 1; i < fixed; i++ {
		arg := reflect.New(method.Type().In(i)).Elem()
		if arg.Kind() == reflect.String && i == 1 {
			arg.SetString("main")
		}
		if arg.Type() == reflect.TypeFor[io.Writer]() {
			arg.Set(reflect.ValueOf(io.Discard))
		}
		in = append(in, arg)
	}
	out := method.Call(in)
	err, _ := out[len(out)-1].Interface().(error)
	return err
}

// A refusal is recorded for those who are known; strangers are refused before.
func TestDenialsAreRecorded(t *testing.T) {
	w := admintest.New(t, nil)
	service := access.With(t.Context(), access.Principal{Kind: access.KindService, Name: "ci", Scopes: []access.Scope{access.ReadAgents}}, access.Place{})
	if _, err := w.Restart(service, "main"); err == nil {
		t.Fatal("it may")
	}
	if _, err := w.Restart(t.Context(), "main"); err == nil {
		t.Fatal("nobody may")
	}
	found := actions(t, w, "admin.denied")
	if len(found) != 1 || found[0].Actor != "service ci" || found[0].Target != string(access.WriteAgents) {
		t.Errorf("%+v", found)
	}
	if w.Main.Log() != "" {
		t.Errorf("the agent was asked: %s", w.Main.Log())
	}
}

// A link opens an agent: those who may make one, but not use it, are not told.
func TestLinksAreForThoseWhoMayUseAgents(t *testing.T) {
	w := admintest.New(t, nil)
	for _, tt := range []struct {
		scopes []access.Scope
		link   bool
	}{
		{[]access.Scope{access.WriteAgents, access.WriteSecrets}, false},
		{[]access.Scope{access.WriteAgents, access.WriteSecrets, access.UseAgents}, true},
	} {
		ctx := access.With(t.Context(), access.Principal{Kind: access.KindService, Scopes: tt.scopes}, access.Place{})
		made, err := w.Create(ctx, "main")
		if err != nil || (made.Link != "") != tt.link {
			t.Errorf("%v: made %q, %v", tt.scopes, made.Link, err)
		}
		rotated, err := w.RotateToken(ctx, "main")
		if err != nil || (rotated.Link != "") != tt.link {
			t.Errorf("%v: rotated %q, %v", tt.scopes, rotated.Link, err)
		}
	}
}
