package openclaw

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/remedy"
)

func sampleSettings() Settings {
	return Settings{Token: "T0ken", AllowedOrigins: []string{"http://localhost:8787"}, Providers: Providers(true, false)}
}

// merge is Merge that must work.
func merge(t *testing.T, current, record string, s Settings) (next, newRecord string) {
	t.Helper()
	n, r, err := Merge([]byte(current), []byte(record), s)
	if err != nil {
		t.Fatal(err)
	}
	return string(n), string(r)
}

// at reads one value of a configuration by its dotted path.
func at(t *testing.T, config, path string) any {
	t.Helper()
	doc, err := parseDocument([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	v := doc.get(strings.Split(path, ".")...)
	if v == nil {
		return nil
	}
	return decode(v)
}

func wantAt(t *testing.T, config, path string, want any) {
	t.Helper()
	got, err := json.Marshal(at(t, config, path))
	if err != nil {
		t.Fatal(err)
	}
	w, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, w) {
		t.Errorf("%s is %s, want %s", path, got, w)
	}
}

func TestMergeIntoNothing(t *testing.T) {
	next, record := merge(t, "", "", sampleSettings())
	for path, want := range map[string]any{
		"gateway.mode":                          "local",
		"gateway.port":                          18789,
		"gateway.bind":                          "loopback",
		"gateway.auth":                          map[string]string{"mode": "token", "token": "T0ken"},
		"gateway.trustedProxies":                []string{"127.0.0.1"},
		"gateway.controlUi.allowedOrigins":      []string{"http://localhost:8787"},
		"models.providers.mw-anthropic.api":     "anthropic-messages",
		"models.providers.mw-anthropic.apiKey":  apiKeyPlaceholder,
		"models.providers.mw-anthropic.baseUrl": "http://127.0.0.1:8700/anthropic",
		"models.providers.mw-demo":              nil,
		"agents.defaults.model.primary":         "mw-anthropic/claude-sonnet-5-5",
		"update.checkOnStart":                   false,
		"models.catalogRefresh.enabled":         false,
		"discovery.mdns.mode":                   "off",
		"tools.exec":                            map[string]string{"host": "gateway", "mode": "full"},
	} {
		wantAt(t, next, path, want)
	}
	if !json.Valid([]byte(next)) || !strings.HasPrefix(next, "{\n  \"gateway\": {\n    \"mode\": \"local\"") || !strings.HasSuffix(next, "\n}\n") {
		t.Errorf("not laid out for people:\n%s", next)
	}
	if again, r := merge(t, next, record, sampleSettings()); again != next || r != record {
		t.Errorf("a second merge changes:\n%s\n%s", again, r)
	}
}

func TestOwnedKeysAlwaysWin(t *testing.T) {
	first, record := merge(t, "", "", sampleSettings())
	edited := first
	for old, edit := range map[string]string{
		`"mode": "local"`:                 `"mode": "remote"`,
		`"port": 18789`:                   `"port": 1`,
		`"bind": "loopback"`:              `"bind": "lan"`,
		`"token": "T0ken"`:                `"token": "mine"`,
		`"trustedProxies": [`:             `"trustedProxies": ["10.0.0.0/8",`,
		"http://127.0.0.1:8700/anthropic": "http://evil.example/",
	} {
		if !strings.Contains(edited, old) {
			t.Fatalf("no %s in\n%s", old, edited)
		}
		edited = strings.Replace(edited, old, edit, 1)
	}
	if next, _ := merge(t, edited, record, sampleSettings()); next != first {
		// Layout inside replaced values is ours, so all of it comes back.
		t.Errorf("not repaired:\n%s", next)
	}
}

func TestDefaultsYieldToTheUser(t *testing.T) {
	first, record := merge(t, "", "", sampleSettings())
	edited := strings.Replace(first, `"mode": "full"`, `"mode": "ask"`, 1)
	edited = strings.Replace(edited, `"checkOnStart": false`, `"checkOnStart": true`, 1)
	edited = strings.Replace(edited, `"primary": "mw-anthropic/claude-sonnet-5-5"`, `"primary": "openrouter/free"`, 1)
	next, record2 := merge(t, edited, record, sampleSettings())
	if next != edited {
		t.Errorf("the user's edits did not stay:\n%s", next)
	}
	// Still theirs after a change of ours.
	s := sampleSettings()
	s.Model = "anthropic/claude-opus-5-5"
	next, _ = merge(t, next, record2, s)
	wantAt(t, next, "agents.defaults.model.primary", "openrouter/free")
	wantAt(t, next, "tools.exec.mode", "ask")
	// A default that was taken away comes back.
	without := strings.Replace(first, `"checkOnStart": false`, ``, 1)
	next, _ = merge(t, without, record, sampleSettings())
	wantAt(t, next, "update.checkOnStart", false)
}

func TestPrimaryModelFollowsTheKeys(t *testing.T) {
	demo := Settings{Token: "t", Providers: Providers(false, false)}
	config, record := merge(t, "", "", demo)
	wantAt(t, config, "agents.defaults.model.primary", "mw-demo/demo")

	config, record = merge(t, config, record, Settings{Token: "t", Providers: Providers(false, true)})
	wantAt(t, config, "agents.defaults.model.primary", "mw-openai/gpt-6.1-sol")
	wantAt(t, config, "models.providers.mw-demo", nil)

	config, record = merge(t, config, record, Settings{Token: "t", Providers: Providers(true, true)})
	wantAt(t, config, "agents.defaults.model.primary", "mw-anthropic/claude-sonnet-5-5")
	wantAt(t, config, "models.providers.mw-openai.api", "openai-completions")

	// The user chooses another of ours: it stays until it is gone.
	config = strings.Replace(config, `"primary": "mw-anthropic/claude-sonnet-5-5"`, `"primary": "mw-openai/gpt-6-luna"`, 1)
	config, record = merge(t, config, record, Settings{Token: "t", Providers: Providers(true, true)})
	wantAt(t, config, "agents.defaults.model.primary", "mw-openai/gpt-6-luna")
	config, _ = merge(t, config, record, Settings{Token: "t", Providers: Providers(true, false)})
	wantAt(t, config, "agents.defaults.model.primary", "mw-anthropic/claude-sonnet-5-5")
	wantAt(t, config, "models.providers.mw-openai", nil)
}

func TestWholeModelAsAString(t *testing.T) {
	const user = `{"agents": {"defaults": {"model": "mine/model"}}}`
	next, record := merge(t, user, "", sampleSettings())
	wantAt(t, next, "agents.defaults.model", "mine/model")
	gone := strings.Replace(next, "mine/model", "mw-demo/demo", 1)
	next, record = merge(t, gone, record, sampleSettings())
	wantAt(t, next, "agents.defaults.model", "mw-anthropic/claude-sonnet-5-5")
	s := sampleSettings()
	s.Model = "mw-anthropic/claude-opus-5-5"
	next, _ = merge(t, next, record, s)
	wantAt(t, next, "agents.defaults.model", "mw-anthropic/claude-opus-5-5")
}

func TestOriginsAreJoined(t *testing.T) {
	config, record := merge(t, "", "", sampleSettings())
	config = strings.Replace(config, `"http://localhost:8787"`, `"https://mine.example", "http://localhost:8787"`, 1)
	s := sampleSettings()
	s.AllowedOrigins = []string{"http://localhost:9999", "https://bot.example.com"}
	config, record = merge(t, config, record, s)
	wantAt(t, config, "gateway.controlUi.allowedOrigins", []string{"https://mine.example", "http://localhost:9999", "https://bot.example.com"})
	s.AllowedOrigins = nil
	config, _ = merge(t, config, record, s)
	wantAt(t, config, "gateway.controlUi.allowedOrigins", []string{"https://mine.example"})
}

func TestLayoutAndCommentsStay(t *testing.T) {
	const user = `// my agent
{
	/* keep */ "ui": { "seamColor": "#fff" }, // colour
	"gateway": {
		"port": 1, // was changed once
		"auth": {"token": "x"},
		"reload": {"mode": "hot"}, // last
	},
	"agents": {"defaults": {"thinkingDefault": "low"}} // no comma after this
}
`
	next, record := merge(t, user, "", sampleSettings())
	for _, keep := range []string{
		"// my agent\n{\n\t/* keep */ \"ui\": { \"seamColor\": \"#fff\" }, // colour\n",
		"\t\t\"port\": 18789, // was changed once\n",
		`"reload": {"mode": "hot"}, // last`,
		`"auth": {"token": "T0ken", "mode": "token"},`,
		`{"defaults": {"thinkingDefault": "low", "model": {`,
		"// no comma after this\n\t\"models\": {\n\t\t\"providers\": {",
		"\n\t\t\"bind\": \"loopback\",\n",
	} {
		if !strings.Contains(next, keep) {
			t.Errorf("no %q in\n%s", keep, next)
		}
	}
	wantAt(t, next, "gateway.reload.mode", "hot")
	wantAt(t, next, "gateway.auth.token", "T0ken")
	if again, _ := merge(t, next, record, sampleSettings()); again != next {
		t.Errorf("a second merge changes:\n%s", again)
	}
}

func TestJSON5IsRead(t *testing.T) {
	const user = `{
	// unquoted names, single quotes, hexadecimal
	gateway: {port: 0x10, 'reload': {mode: 'hot'}},
	ui: {seamColor: '#f"f',},
	big: +1, half: .5,
}`
	next, record := merge(t, user, "", sampleSettings())
	wantAt(t, next, "gateway.reload.mode", "hot")
	wantAt(t, next, "gateway.port", 18789)
	wantAt(t, next, "ui.seamColor", `#f"f`)
	wantAt(t, next, "half", 0.5)
	// When nothing is to be changed, it stays JSON5.
	if again, _ := merge(t, next, record, sampleSettings()); again != next {
		t.Errorf("a second merge changes:\n%s", again)
	}
	json5 := strings.Replace(next, `"gateway":`, `gateway: /* mine */`, 1)
	if again, _ := merge(t, json5, record, sampleSettings()); again != json5 {
		t.Errorf("a file that needs nothing was rewritten:\n%s", again)
	}
}

// The last of two members with one name counts, for OpenClaw as for us.
func TestNamesGivenTwice(t *testing.T) {
	next, _ := merge(t, `{"gateway": {"port": 18789, "port": 1}, "g\u0061teway": {"bind": "lan"}}`, "", sampleSettings())
	var plain struct {
		Gateway struct {
			Port int
			Bind string
		}
	}
	if err := json.Unmarshal([]byte(next), &plain); err != nil || plain.Gateway.Port != 18789 || plain.Gateway.Bind != "loopback" {
		t.Errorf("%+v, %v in\n%s", plain, err, next)
	}
}

func TestNonObjectsInTheWay(t *testing.T) {
	next, record := merge(t, `{"gateway": "no", "tools": 5, "models": null, "agents": {"defaults": []}}`, "", sampleSettings())
	wantAt(t, next, "gateway.port", 18789)
	wantAt(t, next, "models.providers.mw-anthropic.api", "anthropic-messages")
	wantAt(t, next, "tools", 5) // for the user to mend: OpenClaw names it
	wantAt(t, next, "agents.defaults", []any{})
	if again, _ := merge(t, next, record, sampleSettings()); again != next {
		t.Errorf("a second merge changes:\n%s", again)
	}
}

func TestUnreadableFilesAreLeftAlone(t *testing.T) {
	for _, tt := range []struct {
		name, file   string
		line, column int
		says         string
	}{
		{"cut off", "{\n  \"a\": 1", 0, 0, "end"},
		{"garbage", "{\n  \"a\": 1,\n  \"b\": @\n}", 3, 8, "'@'"},
		{"no object", "[1]", 1, 1, "must be an object"},
		{"null", "null", 1, 1, "must be an object"},
		{"deep", strings.Repeat(`{"a":`, 300), 1, 1001, "nested"},
		{"deep behind quotes", `{"a": "\"]]]]", 'b': ']]]', /* ]] */ c: ` + strings.Repeat("[", 300), 0, 0, "nested"},
		{"large", "{\"a\": \"" + strings.Repeat("x", MaxConfig) + "\"}", 0, 0, "larger than 1024 KiB"},
		{"infinity", "{a: Infinity}", 0, 0, "Infinity"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			next, record, err := Merge([]byte(tt.file), nil, sampleSettings())
			var e *ConfigError
			if !errors.As(err, &e) || next != nil || record != nil {
				t.Fatalf("%v, %q", err, next)
			}
			if !strings.Contains(e.Error(), tt.says) || remedy.Of(err) == "" {
				t.Errorf("%q; %q", e.Error(), remedy.Of(err))
			}
			if tt.line > 0 && (e.Line != tt.line || e.Column != tt.column) {
				t.Errorf("line %d, column %d; want %d, %d: %v", e.Line, e.Column, tt.line, tt.column, e)
			}
		})
	}
}

func TestSettingsThatMakeNoSense(t *testing.T) {
	for name, s := range map[string]Settings{
		"no token":      {Providers: Providers(true, false)},
		"no provider":   {Token: "t"},
		"port":          {Token: "t", Providers: Providers(true, false), Port: 70000},
		"origin":        {Token: "t", Providers: Providers(true, false), AllowedOrigins: []string{"localhost:8787/x"}},
		"model":         {Token: "t", Providers: Providers(true, false), Model: "opus"},
		"model, no key": {Token: "t", Providers: Providers(true, false), Model: "openai/gpt-6.1-sol"},
	} {
		if _, _, err := Merge(nil, nil, s); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestModelByName(t *testing.T) {
	for override, want := range map[string]string{
		"anthropic/claude-opus-5-5":  "mw-anthropic/claude-opus-5-5",
		"mw-openai/gpt-6-luna":       "mw-openai/gpt-6-luna",
		"openai/gpt-99/with-a-slash": "mw-openai/gpt-99/with-a-slash",
	} {
		next, _ := merge(t, "", "", Settings{Token: "t", Providers: Providers(true, true), Model: override})
		wantAt(t, next, "agents.defaults.model.primary", want)
		if !strings.Contains(next, `"id": "`+want[strings.Index(want, "/")+1:]+`"`) {
			t.Errorf("%s is not in the catalogue", want)
		}
	}
	// The catalogue itself is not changed by that.
	if OpenAI().has("gpt-99/with-a-slash") {
		t.Error("the shared catalogue was changed")
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte(`{}`), []byte(nil), true)
	f.Add([]byte(`{"gateway":{"controlUi":{"allowedOrigins":["a",1]}},"x":[{"y":1}],}`), []byte(`{"version":1,"defaults":{"tools.exec.mode":"ask"}}`), false)
	f.Add([]byte("// c\n{a:'b',\"agents\":{\"defaults\":{\"model\":\"mw-demo/demo\"}}}"), []byte(`{`), true)
	f.Add([]byte(`{"models":{"providers":{"mw-openai":1,"mine":{"a":[]}}},"gateway":3,"gateway":{}}`), []byte(nil), false)
	f.Add([]byte(`{"a":1 /*x*/ , /*y*/}`), []byte(nil), false)
	f.Fuzz(func(t *testing.T, current, previous []byte, openai bool) {
		s := Settings{Token: "t", AllowedOrigins: []string{"http://h"}, Providers: Providers(!openai, openai)}
		next, record, err := Merge(current, previous, s)
		if err != nil {
			var e *ConfigError
			if !errors.As(err, &e) || next != nil {
				t.Fatalf("%T %v, %q", err, err, next)
			}
			return
		}
		again, record2, err := Merge(next, record, s)
		if err != nil || !bytes.Equal(again, next) || !bytes.Equal(record2, record) {
			t.Fatalf("not settled: %v\n%q\n%q\n%s\n%s", err, next, again, record, record2)
		}
		wantAt(t, string(next), "gateway.auth.token", "t")
		survives(t, current, next)
	})
}

// survives checks that top-level values we do not render are still there.
func survives(t *testing.T, before, after []byte) {
	t.Helper()
	doc, err := parseDocument(before)
	if err != nil {
		t.Fatal(err)
	}
	old, _ := decode(&doc.root).(map[string]any)
	if doc, err = parseDocument(after); err != nil {
		t.Fatal(err)
	}
	now, _ := decode(&doc.root).(map[string]any)
	for name, v := range old {
		switch name {
		case "gateway", "models", "agents", "update", "discovery", "tools":
			continue
		}
		a, _ := json.Marshal(v)
		b, _ := json.Marshal(now[name])
		if !bytes.Equal(a, b) {
			t.Errorf("%q was %s, is %s", name, a, b)
		}
	}
}
