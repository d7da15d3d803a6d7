package openclaw_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/openclaw/openclawtest"
)

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), openclawtest.BootLimit)
	t.Cleanup(cancel)
	return ctx
}

// Every key that we can render, merged into what a user wrote by hand, is one
// that the real gateway takes: its schema refuses any it does not know.
func TestRealGatewayTakesEveryKeyWeRender(t *testing.T) {
	rt := openclawtest.Runtime(t)
	port, err := openclawtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	model := openclawtest.NewModel()
	defer model.Close()
	anthropic := openclaw.Anthropic()
	anthropic.BaseURL = model.URL
	const user = `// by hand
{
  gateway: { port: 1, reload: { mode: 'hot' } },
  "agents": { "defaults": { "heartbeat": { "every": "0m" }, }, },
}`
	config, record, err := openclaw.Merge([]byte(user), nil, openclaw.Settings{
		Port: port, Token: "t", AllowedOrigins: []string{"http://localhost:8787"},
		Providers: []openclaw.Provider{anthropic, openclaw.OpenAI(), openclaw.Demo()},
	})
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	g, err := openclawtest.StartGateway(rt, home, port, config)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	t.Logf("boot %v", g.Boot)
	c, err := gateway.Dial(within(t), g.Dial, "t")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if answer, err := c.Chat(within(t), "main", "ping"); err != nil || !strings.Contains(answer, "ping") {
		t.Fatalf("%q, %v\n%s", answer, err, g.Log())
	}
	checkRequest(t, model.Requests())

	// What OpenClaw made of the file in the meantime needs nothing from us.
	after, err := os.ReadFile(filepath.Join(home, ".openclaw/openclaw.json"))
	if err != nil {
		t.Fatal(err)
	}
	next, _, err := openclaw.Merge(after, record, openclaw.Settings{
		Port: port, Token: "t", AllowedOrigins: []string{"http://localhost:8787"},
		Providers: []openclaw.Provider{anthropic, openclaw.OpenAI(), openclaw.Demo()},
	})
	if err != nil || string(next) != string(after) {
		t.Errorf("%v\n%s\n%s", err, after, next)
	}
	if err := rt.Verify(within(t), false); err != nil {
		t.Errorf("running it changed the runtime: %v", err)
	}
}

// checkRequest looks at what went to the model: the default model by its own
// name, thinking in the way that it knows.
func checkRequest(t *testing.T, requests []json.RawMessage) {
	t.Helper()
	if len(requests) == 0 {
		t.Fatal("the model was not asked")
	}
	var body struct {
		Model     string          `json:"model"`
		MaxTokens int             `json:"max_tokens"`
		Thinking  json.RawMessage `json:"thinking"`
		Output    json.RawMessage `json:"output_config"`
	}
	if err := json.Unmarshal(requests[0], &body); err != nil {
		t.Fatal(err)
	}
	if body.Model != "claude-sonnet-5-5" || !strings.Contains(string(body.Thinking), `"adaptive"`) {
		t.Errorf("asked %s, thinking %s, output %s", body.Model, body.Thinking, body.Output)
	}
	t.Logf("asked %s, max_tokens %d, thinking %s, output %s", body.Model, body.MaxTokens, body.Thinking, body.Output)
}

// A configuration that OpenClaw refuses ends the gateway with the exit code that
// our process spec calls fatal.
func TestRealGatewayRefusesAnUnknownKeyForGood(t *testing.T) {
	rt := openclawtest.Runtime(t)
	port, err := openclawtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	config := []byte(`{"gateway": {"mode": "local", "bind": "loopback", "auth": {"mode": "token", "token": "t"}, "noSuchKey": 1}}`)
	_, err = openclawtest.StartGateway(rt, t.TempDir(), port, config)
	if err == nil || !strings.Contains(err.Error(), "exit status 78") {
		t.Errorf("%v", err)
	}
}
