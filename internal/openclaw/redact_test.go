package openclaw_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/openclaw"
)

func TestRedactHidesWhatMayBeSecret(t *testing.T) {
	config := `{ // with a comment
		"gateway": {"port": 18789, "auth": {"mode": "token", "token": "HIDE-1"}},
		"models": {"providers": {"anthropic": {"apiKey": "HIDE-2", "baseUrl": "https://user:HIDE-3@host.example/v1?key=HIDE-4#HIDE-5",
			"headers": {"X-Custom": "HIDE-6"}, "models": [{"id": "claude-opus-4-5-20251101", "maxTokens": 8192}]}}},
		"channels": {"telegram": {"botToken": "HIDE-7", "accounts": {"a": {"bot_token": {"deep": ["HIDE-8"]}}}}},
		"mcp": {"servers": {"x": {"command": "npx", "args": ["-y", "--api-key=HIDE-9", "--token", "HIDE-10"], "env": {"SOME": "HIDE-11"}}}},
		"env": {"vars": {"ANY": "HIDE-12"}},
		"note": "call 123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
		"webhook": {"privateKey": "HIDE-13", "Pass": "HIDE-14", "auth": "HIDE-15"},
		"agents": {"defaults": {"model": {"primary": "anthropic/claude-opus-4-5"}}, "known": "a word KNOWN in a text"},
	}`
	got, err := openclaw.Redact([]byte(config), func(s string) string { return strings.ReplaceAll(s, "KNOWN", "[known]") })
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{"HIDE", "AAHdq", "KNOWN"} {
		if strings.Contains(string(text), hidden) {
			t.Errorf("%s is shown: %s", hidden, text)
		}
	}
	for _, shown := range []string{"18789", `"mode":"token"`, "claude-opus-4-5-20251101", "8192", "anthropic/claude-opus-4-5", "https://[redacted]@host.example/v1", `"--api-key=[redacted]"`, `"npx"`, "[known]"} {
		if !strings.Contains(string(text), shown) {
			t.Errorf("%s is hidden: %s", shown, text)
		}
	}
	if _, err := openclaw.Redact([]byte(`{"a":`), strings.ToUpper); err == nil {
		t.Error("a torn configuration was read")
	}
}
