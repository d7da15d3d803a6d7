package admin_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/agent"
)

func TestSecretsAgeByTheirKind(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Now()
	w := admintest.New(t, func(o *admin.Options) { o.Now = func() time.Time { return now } })
	w.Conf["OPENAI_API_KEY"] = "environment"
	w.Conf["CDP_SECRET"] = ".dev.vars:3"
	for _, name := range []string{"second/MOLTBOT_GATEWAY_TOKEN", "CDP_SECRET", "ANTHROPIC_API_KEY", "R2_SECRET_ACCESS_KEY", "SOMETHING_ELSE"} {
		if err := w.PutSecret(ann(t), name, "a value of it"); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	for _, tt := range []struct {
		age                time.Duration
		token, key, others string
	}{
		{0, "fine", "fine", "fine"},
		{75*day - time.Hour, "fine", "fine", "fine"},
		{75*day + time.Hour, "old", "fine", "fine"},
		{90*day + time.Hour, "overdue", "fine", "fine"},
		{150*day + time.Hour, "overdue", "old", "fine"},
		{180*day + time.Hour, "overdue", "overdue", "fine"},
		{10_000 * day, "overdue", "overdue", "fine"},
	} {
		now = start.Add(tt.age)
		list, err := w.Secrets(ann(t))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"MOLTBOT_GATEWAY_TOKEN store 90": tt.token, "second/MOLTBOT_GATEWAY_TOKEN store 90": tt.token, "CDP_SECRET store 90": tt.token,
			"ANTHROPIC_API_KEY store 180": tt.key, "R2_SECRET_ACCESS_KEY store 180": tt.key, "SOMETHING_ELSE store 0": tt.others,
			"OPENAI_API_KEY environment 180": "unknown", "CDP_SECRET .dev.vars:3 90": "unknown",
		}
		for _, s := range list {
			key := s.Name + " " + s.From + " " + map[int]string{0: "0", 90: "90", 180: "180"}[s.LimitDays]
			if want[key] != s.State {
				t.Errorf("after %s %s is %s, want %s", tt.age, key, s.State, want[key])
			}
			delete(want, key)
			if s.Unused != (s.Name == "CDP_SECRET" && s.From == admin.FromStore) {
				t.Errorf("%s is unused: %t", key, s.Unused)
			}
		}
		if len(want) > 0 {
			t.Errorf("not listed: %v", want)
		}
	}
}

func TestSecretsChangeOnRecordWithoutValues(t *testing.T) {
	w := admintest.New(t, nil)
	for _, value := range []string{"sk-very-secret-1", "sk-very-secret-2"} {
		if err := w.PutSecret(ann(t), "ANTHROPIC_API_KEY", value); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.RemoveSecret(ann(t), "ANTHROPIC_API_KEY"); err != nil {
		t.Fatal(err)
	}
	if err := w.RemoveSecret(ann(t), "ANTHROPIC_API_KEY"); admin.AsError(err).Status != http.StatusNotFound {
		t.Errorf("twice: %v", err)
	}
	found := actions(t, w, "secret.")
	if len(found) != 3 || found[0].Old != "none" || !strings.HasPrefix(found[1].Old, "a value of 20") || found[2].New != "none" {
		t.Errorf("%+v", found)
	}
	for _, e := range found {
		if strings.Contains(e.Old+e.New+e.Detail+e.Target, "very-secret") || e.Target != "ANTHROPIC_API_KEY" {
			t.Errorf("%+v", e)
		}
	}
	for range 3 {
		if name, _ := wait(t, w.Changed, "word of a change"); name != "ANTHROPIC_API_KEY" {
			t.Errorf("told of %s", name)
		}
	}
}

// A new token counts, whether the gateway follows by itself or has to be started
// anew, and whether the agent slept.
func TestATokenIsRotated(t *testing.T) {
	for name, tt := range map[string]struct {
		hot   bool
		state agent.State
	}{
		"a gateway that follows by itself": {true, agent.StateAwake},
		"one that must be restarted":       {false, agent.StateAwake},
		"of an agent that sleeps":          {true, agent.StateAsleep},
	} {
		t.Run(name, func(t *testing.T) {
			w := admintest.New(t, nil)
			w.Main.Hot = tt.hot
			w.Main.OpenClaw.Ask("r", "d", "")
			if _, err := w.ApproveDevice(ann(t), "main", "r"); err != nil {
				t.Fatal(err)
			}
			w.Main.Become(tt.state)
			old := w.Main.Token()
			r, err := w.RotateToken(ann(t), "main")
			if err != nil || !r.Verified || !r.OldRefused || r.Restarted == tt.hot || r.Devices != 1 || r.Lost != 0 || r.Secret != "MOLTBOT_GATEWAY_TOKEN" {
				t.Fatalf("%+v, %v", r, err)
			}
			if token := w.Main.Token(); token == old || r.Link != "http://here/?token="+token || len(token) < 32 {
				t.Errorf("from %s to %s, link %s", old, token, r.Link)
			}
			if found := actions(t, w, "token.rotate"); len(found) != 1 || found[0].Agent != "main" || strings.Contains(found[0].Old+found[0].New+found[0].Detail, old) {
				t.Errorf("%+v", found)
			}
		})
	}
}

func TestATokenOfTheConfigurationIsNotRotated(t *testing.T) {
	w := admintest.New(t, nil)
	w.Conf["MOLTBOT_GATEWAY_TOKEN"] = ".dev.vars:7"
	old := w.Main.Token()
	_, err := w.RotateToken(ann(t), "main")
	if e := admin.AsError(err); e.Kind != "configured" || e.Status != http.StatusConflict || e.Remedy == "" || !strings.Contains(e.Message, ".dev.vars:7") {
		t.Errorf("%+v", e)
	}
	if w.Main.Token() != old {
		t.Error("it changed all the same")
	}
}

// An agent that cannot start has its new token all the same; that its gateway does
// not know it is said.
func TestATokenIsRotatedOfAnAgentThatFails(t *testing.T) {
	w := admintest.New(t, nil)
	w.Main.Become(agent.StateFailed)
	old := w.Main.Token()
	r, err := w.RotateToken(ann(t), "main")
	if err != nil || r.Verified || r.OldRefused || w.Main.Token() == old || !strings.Contains(r.Message, "agent restart main") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestTheBackupsKeyIsNotTouchedByHand(t *testing.T) {
	w := admintest.New(t, nil)
	for what, err := range map[string]error{
		"put":    w.PutSecret(ann(t), admin.BackupKeySecret, "another key"),
		"remove": w.RemoveSecret(ann(t), admin.BackupKeySecret),
	} {
		if e := admin.AsError(err); err == nil || e.Status != http.StatusBadRequest || !strings.Contains(e.Remedy, "backup key") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
