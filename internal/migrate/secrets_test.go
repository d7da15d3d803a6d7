package migrate

import (
	"archive/tar"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/secret"
)

// spilled is an agent that has its secrets everywhere.
func spilled(t *testing.T) []packed {
	t.Helper()
	asJSON := func(s string) string {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	return []packed{
		file("root/.moltbot/moltbot.json", `{
  // the old token was `+anthropicTwo+`
  "env": { "vars": { "GITHUB_TOKEN": "`+githubToken+`", "TZ": "Asia/Tokyo" }, "SMTP_PASSWORD": `+asJSON(wordPassword)+` },
  "gateway": { "token": "`+gatewayToken+`", "trustedProxies": ["10.1.0.0"], "controlUi": { "allowInsecureAuth": true } },
  "models": { "providers": {
    "anthropic": { "baseUrl": "https://gateway.ai.cloudflare.com/v1/a/g/anthropic", "apiKey": "`+anthropicKey+`", "models": [] },
    "ollama": { "baseUrl": "http://10.0.0.5:11434/v1", "apiKey": "ollama-local", "models": [] },
    "other": { "baseUrl": "https://x.example", "apiKey": "${OTHER_KEY}", "models": [] } } },
  "telegram": { "enabled": true, "botToken": "`+telegramToken+`", "dmPolicy": "pairing" },
  "channels": {
    "discord": { "token": "`+discordToken+`", "dm": { "policy": "open", "allowFrom": ["*"] } },
    "slack": { "accounts": { "work": { "botToken": "`+slackBot+`", "appToken": "`+slackApp+`" } } } },
  "plugins": { "entries": { "mystery": { "config": { "clientSecret": "an unknown value 42" } } } },
  "nobodyKnows": { "x": "`+openaiKey+`" },
  "meta": { "lastTouchedVersion": "2026.1.29" } }`),
		file("root/.moltbot/moltbot.json.bak", `{"telegram":{"botToken":"`+telegramToken+`"}}`),
		file("root/.moltbot/.env", "# keys\nexport OPENAI_API_KEY=\""+openaiKey+"\"\nLANG=C\nPLAIN="+slackBot+"\r\n"),
		file("root/.moltbot/agents/main/agent/auth-profiles.json", `{"version":1,"profiles":{"anthropic:default":{"type":"api_key","provider":"anthropic","key":"`+anthropicTwo+`"},
			"openai-codex:me":{"type":"oauth","refresh":"`+refreshToken+`","access":"short"}}}`),
		file("root/.moltbot/agents/main/sessions/1.jsonl", `{"text":"my token is `+telegramToken+`, `+strings.Repeat("and so on ", 30000)+githubToken+`"}`+"\n"),
		file("root/.moltbot/workspace/TOOLS.md", "curl -H 'Authorization: token "+githubToken+"'\nsmtp: "+wordPassword+"\n"),
		file("root/.moltbot/workspace/notes.md", "an example of a key: sk-ant-api03-EXAMPLEEXAMPLEEXAMPLE1\n"),
		file("root/.moltbot/state/openclaw.sqlite", "SQLite format 3\x00 sk-ant-api03-INADATABASE0123456789abcdef"),
	}
}

func TestSecretsAreTakenOut(t *testing.T) {
	b, err := open(t, gzipped(t, tarOf(t, spilled(t)...)))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range b.Secrets() {
		if s.Name == "TELEGRAM_BOT_TOKEN" && s.Value.Reveal() != telegramToken {
			t.Errorf("before it is written, %s is %q", s.Name, s.Value.Reveal())
		}
	}
	got := bring(t, b, err)
	for name, want := range map[string]string{
		"AI_GATEWAY_API_KEY":         anthropicKey,
		"ANTHROPIC_API_KEY":          anthropicTwo,
		"OPENAI_API_KEY":             openaiKey,
		"TELEGRAM_BOT_TOKEN":         telegramToken,
		"DISCORD_BOT_TOKEN":          discordToken,
		"SLACK_BOT_TOKEN_WORK":       slackBot,
		"SLACK_APP_TOKEN_WORK":       slackApp,
		"MOLTBOT_GATEWAY_TOKEN":      gatewayToken,
		"GITHUB_TOKEN":               githubToken,
		"SMTP_PASSWORD":              wordPassword,
		"OPENAI_CODEX_OAUTH_REFRESH": refreshToken,
		"OLLAMA_API_KEY":             "ollama-local",
	} {
		if got.secrets[name] != want {
			t.Errorf("%s = %q, want %q; found %q", name, got.secrets[name], want, keysOf(got.secrets))
		}
	}
	for name := range got.secrets {
		if err := secret.ValidateName(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	files := got.files(t)
	if env, want := files[".openclaw/.env"], "# keys\nexport OPENAI_API_KEY="+Placeholder+"\nLANG=C\nPLAIN="+Placeholder+"\r\n"; env != want {
		t.Errorf(".env is %q, want %q", env, want)
	}
	if text := files[".openclaw/workspace/TOOLS.md"]; text != "curl -H 'Authorization: token "+Placeholder+"'\nsmtp: "+Placeholder+"\n" {
		t.Errorf("TOOLS.md is %q", text)
	}
	if text := files[".openclaw/workspace/notes.md"]; !strings.Contains(text, "EXAMPLEEXAMPLE") {
		t.Errorf("the agent's own text was changed: %q", text)
	}
	got.mustWarn(t, "notes.md", "openclaw.sqlite", "plugins.entries.mystery.config.clientSecret", "moltworker secret put OTHER_API_KEY", "@openclaw/discord")
	for _, w := range got.report.Warnings {
		if strings.Contains(w, "unknown value") || strings.Contains(w, "INADATABASE") {
			t.Errorf("a warning shows a value: %s", w)
		}
	}
	got.mustNotHave(t, ".openclaw/moltbot.json.bak")
	checkConfig(t, got.config)
}

// checkConfig looks at what became of the configuration of spilled.
func checkConfig(t *testing.T, config map[string]any) {
	t.Helper()
	for path, want := range map[string]any{
		"channels.telegram.botToken":                  Placeholder,
		"channels.telegram.dmPolicy":                  "pairing",
		"channels.discord.dmPolicy":                   "open",
		"channels.discord.dm":                         nil,
		"channels.slack.accounts.work.botToken":       Placeholder,
		"models.providers.anthropic":                  nil,
		"models.providers.ollama.apiKey":              Placeholder,
		"models.providers.other.apiKey":               Placeholder,
		"env.vars.GITHUB_TOKEN":                       Placeholder,
		"env.vars.TZ":                                 "Asia/Tokyo",
		"plugins.entries.mystery.config.clientSecret": "an unknown value 42",
		"gateway":     nil,
		"telegram":    nil,
		"meta":        nil,
		"nobodyKnows": nil,
	} {
		if got := dig(config, strings.Split(path, ".")...); got != want {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
}

// TestPlaceholder: the host's own rendering and ours are one.
func TestPlaceholder(t *testing.T) {
	text, _, err := openclaw.Merge(nil, nil, openclaw.Settings{Token: "t", Providers: openclaw.Providers(true, false)})
	if err != nil {
		t.Fatal(err)
	}
	config, err := openclaw.Values(text)
	if err != nil {
		t.Fatal(err)
	}
	if key := dig(config, "models", "providers", openclaw.ProviderAnthropic, "apiKey"); key != Placeholder {
		t.Errorf("the host renders %v, want %q", key, Placeholder)
	}
}

// TestHostsSettingsAreLeftOut: whatever the host renders as its own is not taken from
// elsewhere, or only as the host would have it.
func TestHostsSettingsAreLeftOut(t *testing.T) {
	text, _, err := openclaw.Merge(nil, nil, openclaw.Settings{Token: gatewayToken, Providers: openclaw.Providers(true, true), AllowedOrigins: []string{"https://old.example.workers.dev"}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := open(t, tarOf(t, file(".openclaw/openclaw.json", string(text))))
	got := bring(t, b, err)
	if got.config["gateway"] != nil || dig(got.config, "models", "providers") != nil {
		t.Errorf("of the host's settings these came along: %v, %v", got.config["gateway"], got.config["models"])
	}
}

func TestShapes(t *testing.T) {
	for value, want := range map[string]string{
		anthropicKey:  "ANTHROPIC_API_KEY",
		openaiKey:     "OPENAI_API_KEY",
		telegramToken: "TELEGRAM_BOT_TOKEN",
		discordToken:  "DISCORD_BOT_TOKEN",
		slackBot:      "SLACK_BOT_TOKEN",
		slackApp:      "SLACK_APP_TOKEN",
		githubToken:   "GITHUB_TOKEN",
		"sk-or-v1-0123456789abcdef0123456789abcdef":   "OPENROUTER_API_KEY",
		"risk-assessment-of-The-1st-thing-that-comes": "",
		"sk-assessment-of-the-thing-that-comes":       "",
		"2026:01:30":                                  "",
		"1234567890:short":                            "",
		"https://example.com/a/b":                     "",
		"":                                            "",
		"abcdefgh.ijklmn.opqrstuvwxyz":                "",
		"sk-":                                         "",
	} {
		if got := shapeOf(value); got != want {
			t.Errorf("shapeOf(%q) = %q, want %q", value, got, want)
		}
	}
}

// TestScrubAcrossWindows puts secrets at every place around the seams between the
// pieces in which files are read.
func TestScrubAcrossWindows(t *testing.T) {
	p := newPurse()
	p.put("PASSWORD", wordPassword, "here")
	p.settle()
	for _, what := range []string{wordPassword, anthropicKey} {
		for at := window - 5000; at < window+100; at += 151 {
			text := strings.Repeat(".", at) + what + strings.Repeat(" x", window)
			var out strings.Builder
			s := scrubber{purse: p}
			got, err := s.copy(&out, strings.NewReader(text), thorough, "f")
			want := strings.Replace(text, what, Placeholder, 1)
			if err != nil || out.String() != want || got.replaced != 1 || got.size != int64(len(want)) {
				t.Fatalf("%.10q at %d: %v, %d replaced, %d bytes, equal %t", what, at, err, got.replaced, got.size, out.String() == want)
			}
		}
	}
}

func FuzzScrub(f *testing.F) {
	f.Add([]byte("a "+anthropicKey+" b"), "secret-value")
	f.Add([]byte("secret-valuesecret-value"), "secret-value")
	f.Fuzz(func(t *testing.T, text []byte, value string) {
		if len(value) < minScrub || strings.Contains(Placeholder, value) || strings.Contains(value, "\x00") {
			return
		}
		p := newPurse()
		if !p.put("X", value, "f") {
			return
		}
		p.settle()
		var out strings.Builder
		s := scrubber{purse: p}
		got, err := s.copy(&out, strings.NewReader(string(text)), known, "f")
		if err != nil || got.size != int64(out.Len()) {
			t.Fatalf("%v, %d bytes, wrote %d", err, got.size, out.Len())
		}
		if got.replaced == 0 && out.String() != string(text) {
			t.Errorf("nothing was replaced, but %q became %q", text, out.String())
		}
	})
}

func TestUnreadableConfig(t *testing.T) {
	b, err := open(t, tarOf(t, file("root/.moltbot/moltbot.json", `{"telegram":{"botToken":"`+telegramToken+`"`), file("root/.moltbot/x", telegramToken)))
	got := bring(t, b, err)
	got.mustWarn(t, "is not valid")
	got.mustNotHave(t, ".openclaw/openclaw.json", ".openclaw/moltbot.json", ".openclaw/openclaw.json.imported")
}

// TestHardLinksToSecrets: a second name must not bring a file past the search by name.
func TestHardLinksToSecrets(t *testing.T) {
	b, err := open(t, tarOf(t, someConfig, file("root/.moltbot/workspace/plain.txt", "MY_TOKEN=some-value-of-no-shape"),
		packed{name: "root/.moltbot/.env", kind: tar.TypeLink, link: "root/.moltbot/workspace/plain.txt"},
		packed{name: "root/.moltbot/workspace/second.txt", kind: tar.TypeLink, link: "root/.moltbot/workspace/plain.txt"}))
	got := bring(t, b, err)
	got.mustNotHave(t, ".openclaw/.env")
	got.mustHave(t, map[string]string{".openclaw/workspace/second.txt": "MY_TOKEN=some-value-of-no-shape"})
}

func TestSecretsInLinkedFiles(t *testing.T) {
	top := laid(t, map[string]string{".openclaw/openclaw.json": "{}", ".openclaw/workspace/plain.txt": "OPENAI_API_KEY=" + openaiKey})
	if err := os.Link(filepath.Join(top, ".openclaw/workspace/plain.txt"), filepath.Join(top, ".openclaw/.env")); err != nil {
		t.Fatal(err)
	}
	b, err := Open(t.Context(), top, Options{})
	got := bring(t, b, err)
	if got.secrets["OPENAI_API_KEY"] != openaiKey {
		t.Errorf("found %q", keysOf(got.secrets))
	}
}
