package debug_test

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/admin/debug"
	"github.com/moltworker/moltworker/internal/agent"
)

// get asks as somebody and returns status and body.
func get(t testing.TB, w *admintest.World, who access.Principal, enabled bool, path string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(access.With(t.Context(), who, access.Place{}), "GET", path, nil)
	debug.Handler(w.Plane, debug.Options{Enabled: enabled, Log: slog.New(slog.DiscardHandler), NodeVersion: "24.0.0"}).ServeHTTP(rec, r)
	if rec.Header().Get("Content-Type") != "application/json" || rec.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s: %v", path, rec.Header())
	}
	return rec.Code, rec.Body.String()
}

var owner = access.Principal{Kind: access.KindOwner}

var paths = []string{"/debug/processes", "/debug/processes?logs=true", "/debug/logs", "/debug/logs?id=17", "/debug/version", "/debug/env",
	"/debug/cli?cmd=status", "/debug/gateway-api?path=/x", "/debug/container-config"}

func TestDebugIsOffUnlessSwitchedOn(t *testing.T) {
	w := admintest.New(t, nil)
	for _, path := range append(paths, "/debug/", "/debug/ws-test") {
		if status, body := get(t, w, owner, false, path); status != 404 {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := get(t, w, owner, true, "/debug/other"); status != 404 {
		t.Errorf("a route that is not there: %d", status)
	}
}

func TestDebugIsForThoseWhoMay(t *testing.T) {
	w := admintest.New(t, nil)
	for _, path := range paths {
		for name, who := range map[string]access.Principal{
			"nobody":            {},
			"a holder":          {Kind: access.KindHolder, Agent: "main"},
			"an agent's person": {Kind: access.KindPerson, Agent: "main"},
			"a service":         {Kind: access.KindService, Scopes: []access.Scope{access.ReadAgents, access.UseAgents, access.WriteAgents}},
		} {
			if status, body := get(t, w, who, true, path); status != 403 {
				t.Errorf("%s by %s: %d %s", path, name, status, body)
			}
		}
	}
	reader := access.Principal{Kind: access.KindService, Scopes: []access.Scope{access.ReadDebug, access.ReadAgents}}
	for _, path := range []string{"/debug/cli?cmd=status", "/debug/gateway-api?path=/x"} {
		if status, body := get(t, w, reader, true, path); status != 403 {
			t.Errorf("%s by one who may only read: %d %s", path, status, body)
		}
	}
	if w.Main.Status().State != agent.StateAsleep {
		t.Error("somebody woke it")
	}
}

func TestDebugTellsWithoutWaking(t *testing.T) {
	w := admintest.New(t, nil)
	if err := w.PutSecret(admintest.Owner(t.Context()), "ANTHROPIC_API_KEY", "sk-very-secret"); err != nil {
		t.Fatal(err)
	}
	w.Conf["CF_ACCOUNT_ID"] = "environment"
	for path, wants := range map[string][]string{
		"/debug/processes":           {`"count":1`, `"id":"gateway"`, `"command":"openclaw gateway"`, `"status":"completed"`},
		"/debug/processes?logs=true": {`"stdout":"one\n"`, `"stderr":"two\n"`},
		"/debug/logs":                {`"status":"ok"`, `"process_id":"gateway"`, `"process_status":"completed"`, `"stdout":"one\n"`},
		"/debug/version":             {`"moltbot_version":"1.2.3"`, `"node_version":"24.0.0"`},
		"/debug/env":                 {`"has_anthropic_key":true`, `"has_openai_key":false`, `"has_gateway_token":true`, `"has_cf_account_id":true`, `"dev_mode":"false"`},
	} {
		status, body := get(t, w, owner, true, path)
		for _, want := range wants {
			if status != 200 || !strings.Contains(body, want) {
				t.Errorf("%s: %d %s; want %s", path, status, body, want)
			}
		}
		if strings.Contains(body, "very-secret") || strings.Contains(body, w.Main.Token()) {
			t.Errorf("%s shows a secret: %s", path, body)
		}
	}
	if status, body := get(t, w, owner, true, "/debug/logs?id=17"); status != 404 || !strings.Contains(body, `"status":"not_found"`) {
		t.Errorf("another's log: %d %s", status, body)
	}
	if w.Main.Log() != "" {
		t.Errorf("the agent was asked: %s", w.Main.Log())
	}
}

func TestCommandsAreWordsOfOpenClawsOwn(t *testing.T) {
	for cmd, ran := range map[string]string{
		"":                               "openclaw --help",
		"openclaw":                       "openclaw",
		"status --json":                  "openclaw status --json",
		"openclaw devices list":          "openclaw devices list",
		"status; rm -rf /":               "openclaw status; rm -rf /",
		"$(id) `id` | cat > /x && a\nb":  "openclaw $(id) `id` | cat > /x && a b",
		"/bin/sh -c id":                  "openclaw /bin/sh -c id",
		"openclaw openclaw":              "openclaw openclaw",
		"--help '<script>alert</script>": "openclaw --help '<script>alert</script>",
	} {
		w := admintest.New(t, nil)
		w.Main.Outputs[ran] = "out with " + w.Main.Token()
		status, body := get(t, w, owner, true, "/debug/cli?cmd="+url.QueryEscape(cmd))
		var answer struct {
			Command, Status, Stdout string
			ExitCode                int
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 || answer.Status != "completed" || answer.Stdout != "out with [redacted]" || answer.Command != ran {
			t.Errorf("%q: %d %s, %v", cmd, status, body, err)
		}
		if !strings.HasSuffix(w.Main.Log(), "exec: "+ran) {
			t.Errorf("%q ran as %s", cmd, w.Main.Log())
		}
	}
	w := admintest.New(t, nil)
	for _, cmd := range []string{"a\x00b", strings.Repeat("x", 5000)} {
		if status, _ := get(t, w, owner, true, "/debug/cli?cmd="+url.QueryEscape(cmd)); status != 400 {
			t.Errorf("%.10q: %d", cmd, status)
		}
	}
	if status, body := get(t, w, owner, true, "/debug/cli?cmd=fails"); status != 200 || !strings.Contains(body, `"status":"failed"`) || !strings.Contains(body, `"exitCode":1`) {
		t.Errorf("a command that fails: %d %s", status, body)
	}
}

func TestTheGatewaysOwnHTTP(t *testing.T) {
	w := admintest.New(t, nil)
	for path, want := range map[string]string{
		"":            `"body":{"path":"/"}`,
		"/x/y?z=1":    `"body":{"path":"/x/y?z=1"}`,
		"/text":       `"body":"my token is [redacted]"`,
		"/away":       `"status":302`,
		"/startupz":   `"contentType":"application/json; charset=utf-8"`,
		"/plugins/a/": `"path":"/plugins/a/"`,
	} {
		if status, body := get(t, w, owner, true, "/debug/gateway-api?path="+url.QueryEscape(path)); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for _, path := range []string{"x", "//host/x", "/../x", "/a/./b", "/a//b", "/a/..", "/%2e%2e/", `/a\b`, "/a;b", "http://host/", "/a b", "/a\r\nX: y", "/\x00", "/ä", "/a#b", "@host/", "/" + strings.Repeat("x", 3000)} {
		if status, body := get(t, w, owner, true, "/debug/gateway-api?path="+url.QueryEscape(path)); status != 400 {
			t.Errorf("%q: %d %s", path, status, body)
		}
	}
}

func TestConfigurationAndProcessesAreShownWithoutSecrets(t *testing.T) {
	w := admintest.New(t, nil)
	w.Main.Become(agent.StateAwake)
	w.Main.Outputs["cat /home/agent/.openclaw/openclaw.json"] = `{gateway: {auth: {token: "` + w.Main.Token() + `"}, port: 18789}, channels: {telegram: {botToken: "tg-secret"}}}`
	status, body := get(t, w, owner, true, "/debug/container-config")
	if status != 200 || !strings.Contains(body, "18789") || !strings.Contains(body, `"exitCode":0`) || strings.Contains(body, w.Main.Token()) || strings.Contains(body, "tg-secret") {
		t.Errorf("%d %s", status, body)
	}
	w.Main.Outputs["cat /home/agent/.openclaw/openclaw.json"] = `{gateway: {auth: {token: "torn-` // never shown raw
	if status, body := get(t, w, owner, true, "/debug/container-config"); status < 400 || strings.Contains(body, "torn-") {
		t.Errorf("a torn one: %d %s", status, body)
	}
}
