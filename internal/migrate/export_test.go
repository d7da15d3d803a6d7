package migrate

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/secret"
)

// ours is the home of an agent of this host.
func ours(t *testing.T) string {
	t.Helper()
	config, _, err := openclaw.Merge([]byte(`{
  "channels": { "telegram": { "enabled": true, "botToken": "`+Placeholder+`" } },
  "agents": { "defaults": { "workspace": "/home/agent/.openclaw/workspace" } },
  "ui": { "assistant": { "name": "Clawd" } } }`), nil,
		openclaw.Settings{Token: gatewayToken, Providers: openclaw.Providers(true, true), AllowedOrigins: []string{"https://bot.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	top := laid(t, map[string]string{
		".openclaw/openclaw.json":                              string(config),
		".openclaw/openclaw.json.last-good":                    string(config),
		".openclaw/state/openclaw.sqlite":                      "SQLite format 3\x00 state",
		".openclaw/state/openclaw.sqlite-wal":                  "a log",
		".openclaw/state/openclaw.sqlite-shm":                  "an index",
		".openclaw/agents/main/agent/openclaw-agent.sqlite":    "SQLite format 3\x00 talk",
		".openclaw/workspace/AGENTS.md":                        "# Agents",
		".openclaw/workspace/memory/2026-11-22.md":             "remember",
		".openclaw/workspace/run.sh":                           "#!/bin/sh\n",
		".openclaw/cache/control-ui-assets/x":                  "again",
		".openclaw/npm/projects/slack/node_modules/x/index.js": "code",
		".cache/node-compile-cache/x":                          "again",
		"made by the agent/\xff\xfe.txt":                       "a name that is no text",
		"report.txt":                                           "work",
	})
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(filepath.Join(top, ".openclaw/workspace/run.sh"), 0o755))
	must(os.Mkdir(filepath.Join(top, "empty"), 0o700))
	must(os.Symlink("report.txt", filepath.Join(top, "link")))
	must(os.Symlink("../npm/projects/slack", filepath.Join(top, ".openclaw/workspace/slack")))
	must(os.Link(filepath.Join(top, "report.txt"), filepath.Join(top, "second name.txt")))
	must(os.Chtimes(filepath.Join(top, "report.txt"), then, then))
	return top
}

func exported(t *testing.T, top string, opts ExportOptions) ([]byte, Report) {
	t.Helper()
	root, err := os.OpenRoot(top)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var buf bytes.Buffer
	opts.Now = func() time.Time { return then }
	r, err := Export(t.Context(), Dir(root), &buf, opts)
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), r
}

// TestRoundTrip takes an agent out and brings it in again, in every form.
func TestRoundTrip(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]ExportOptions{
		"gzip":           {},
		"zstd":           {Compression: Zstd},
		"gzip encrypted": {Recipients: []age.Recipient{id.Recipient()}},
		"zstd encrypted": {Compression: Zstd, Recipients: []age.Recipient{id.Recipient()}},
	} {
		t.Run(name, func(t *testing.T) {
			top := ours(t)
			data, _ := exported(t, top, opts)
			b, err := Open(t.Context(), saved(t, data), Options{Keys: []age.Identity{id}})
			got := bring(t, b, err)
			if !strings.Contains(got.report.Kind, "exported by moltworker") {
				t.Errorf("kind %q", got.report.Kind)
			}
			want, have := filesIn(t, top), got.files(t)
			for _, rewritten := range []string{".openclaw/openclaw.json", ".openclaw/openclaw.json.imported", ".openclaw/openclaw.json.last-good",
				".openclaw/cache/control-ui-assets/x", ".cache/node-compile-cache/x", ".openclaw/state/openclaw.sqlite-shm"} {
				delete(want, rewritten)
				delete(have, rewritten)
			}
			for name, text := range want {
				if have[name] != text {
					t.Errorf("%q = %q, want %q", name, have[name], text)
				}
				delete(have, name)
			}
			if len(have) > 0 {
				t.Errorf("made of nothing: %q", keysOf(have))
			}
			sameMetadata(t, top, got.dir, "report.txt", "link", "empty", ".openclaw/workspace/run.sh", ".openclaw/workspace/slack")
			a, errA := os.Stat(filepath.Join(got.dir, "report.txt"))
			z, errZ := os.Stat(filepath.Join(got.dir, "second name.txt"))
			if errA != nil || errZ != nil || !os.SameFile(a, z) {
				t.Errorf("the two names of one file are two files: %v, %v", errA, errZ)
			}
			if dig(got.config, "ui", "assistant", "name") != "Clawd" || dig(got.config, "agents", "defaults", "workspace") != "~/.openclaw/workspace" {
				t.Errorf("the configuration became %v", got.config)
			}
			if ref := dig(got.config, "agents", "defaults", "model", "primary"); ref != "mw-anthropic/claude-sonnet-5-5" {
				t.Errorf("the model became %v", ref)
			}
			if len(got.secrets) > 0 {
				t.Errorf("an exported agent has secrets: %q", keysOf(got.secrets))
			}
		})
	}
}

func sameMetadata(t *testing.T, a, b string, names ...string) {
	t.Helper()
	for _, name := range names {
		x, errX := os.Lstat(filepath.Join(a, name))
		y, errY := os.Lstat(filepath.Join(b, name))
		if errX != nil || errY != nil {
			t.Errorf("%s: %v, %v", name, errX, errY)
			continue
		}
		if x.Mode() != y.Mode() || x.Mode()&fs.ModeSymlink == 0 && !x.ModTime().Equal(y.ModTime()) {
			t.Errorf("%s: mode %v, %v, time %v, %v", name, x.Mode(), y.Mode(), x.ModTime(), y.ModTime())
		}
		if x.Mode()&fs.ModeSymlink != 0 {
			tx, _ := os.Readlink(filepath.Join(a, name))
			ty, _ := os.Readlink(filepath.Join(b, name))
			if tx != ty {
				t.Errorf("%s points at %q, want %q", name, ty, tx)
			}
		}
	}
}

// TestExportIsForEverybody: what is in the archive runs without us and has nothing of
// this host's.
func TestExportIsForEverybody(t *testing.T) {
	data, r := exported(t, ours(t), ExportOptions{Agent: "main"})
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	files, first := map[string]string{}, ""
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = h.Name
		}
		files[h.Name] = string(text)
		if bytes.Contains(text, []byte(gatewayToken)) || bytes.Contains(text, []byte("127.0.0.1:8700")) {
			t.Errorf("%s has something of this host's", h.Name)
		}
	}
	if text := files[first]; first != readmeName || strings.Count(text, "\n") != 6 || !strings.Contains(text, `"main"`) {
		t.Errorf("the first file is %s: %s", first, text)
	}
	config, err := openclaw.Values([]byte(files[".openclaw/openclaw.json"]))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]any{
		"gateway.auth.token":                    "${OPENCLAW_GATEWAY_TOKEN}",
		"gateway.bind":                          "loopback",
		"gateway.trustedProxies":                nil,
		"gateway.controlUi":                     nil,
		"models.providers.mw-anthropic.baseUrl": "https://api.anthropic.com",
		"models.providers.mw-anthropic.apiKey":  "${ANTHROPIC_API_KEY}",
		"models.providers.mw-openai.baseUrl":    "https://api.openai.com/v1",
		"channels.telegram.botToken":            "${TELEGRAM_BOT_TOKEN}",
		"agents.defaults.workspace":             "~/.openclaw/workspace",
		"agents.defaults.model.primary":         "mw-anthropic/claude-sonnet-5-5",
		"tools.exec":                            nil,
		"ui.assistant.name":                     "Clawd",
	} {
		if got := dig(config, strings.Split(path, ".")...); got != want {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
	if _, there := files[".openclaw/openclaw.json.last-good"]; there || len(r.Dropped) == 0 {
		t.Errorf("a copy of the configuration came along; left out: %v", r.Dropped)
	}
}

func TestExportOfTheDemo(t *testing.T) {
	config, _, err := openclaw.Merge(nil, nil, openclaw.Settings{Token: gatewayToken, Providers: openclaw.Providers(false, false)})
	if err != nil {
		t.Fatal(err)
	}
	data, r := exported(t, laid(t, map[string]string{".openclaw/openclaw.json": string(config)}), ExportOptions{})
	if len(r.Warnings) == 0 || !strings.Contains(r.Warnings[0], "mw-demo/demo") {
		t.Errorf("nothing says that the model stays behind: %q", r.Warnings)
	}
	b, err := open(t, data)
	got := bring(t, b, err)
	if got.config["models"] != nil && dig(got.config, "models", "providers") != nil {
		t.Errorf("models: %v", got.config["models"])
	}
}

func TestExportWithoutReadableConfig(t *testing.T) {
	data, r := exported(t, laid(t, map[string]string{".openclaw/openclaw.json": `{"gateway":{"auth":{"token":"` + gatewayToken, "x": "y"}), ExportOptions{})
	if len(r.Warnings) == 0 {
		t.Error("nothing says that the configuration was left out")
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(z); err != nil || bytes.Contains(text, []byte(gatewayToken)) {
		t.Errorf("the archive has the host's token, or %v", err)
	}
}

// TestUnpackedExport: an export that was unpacked into somebody's home does not make all
// of that home the agent's.
func TestUnpackedExport(t *testing.T) {
	top := laid(t, map[string]string{readmeName: "x", ".openclaw/openclaw.json": "{}", ".ssh/id": "mine", "letter.txt": "mine"})
	b, err := Open(t.Context(), top, Options{})
	got := bring(t, b, err)
	got.mustNotHave(t, ".ssh", "letter.txt")
	got.mustWarn(t, "import the archive itself")
}

func TestEncryptedArchives(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	data, _ := exported(t, ours(t), ExportOptions{Recipients: []age.Recipient{id.Recipient()}})
	name := saved(t, data)
	for what, keys := range map[string][]age.Identity{"no key": nil, "another's key": {other}} {
		if _, err := Open(t.Context(), name, Options{Keys: keys}); !errors.Is(err, ErrLocked) || remedy.Of(err) == "" {
			t.Errorf("%s: %v, want %v and what to do", what, err, ErrLocked)
		}
	}
	if _, err := Open(t.Context(), saved(t, data[:len(data)-20]), Options{Keys: []age.Identity{id}}); !errors.Is(err, ErrDamaged) {
		t.Errorf("cut off: %v, want %v", err, ErrDamaged)
	}
	data, _ = exported(t, laid(t, map[string]string{".openclaw/openclaw.json": "{}"}), ExportOptions{Passphrase: secret.NewValue("a passphrase")})
	for pass, want := range map[string]error{"a passphrase": nil, "another": ErrLocked} {
		key, err := age.NewScryptIdentity(pass)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Open(t.Context(), saved(t, data), Options{Keys: []age.Identity{key}})
		if err == nil {
			b.Close()
		}
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("passphrase %q: %v, want %v", pass, err, want)
		}
	}
	both := ExportOptions{Recipients: []age.Recipient{id.Recipient()}, Passphrase: secret.NewValue("x")}
	if _, err := Export(t.Context(), nil, io.Discard, both); err == nil || remedy.Of(err) == "" {
		t.Errorf("two ways to encrypt: %v, want an error that says what to do", err)
	}
}
