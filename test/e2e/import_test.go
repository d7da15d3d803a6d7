package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/blob"
)

// foreignKey is in the configuration of the agent that moves in, and must go to the
// sealed secrets.
const foreignKey = "sk-ant-api03-AAbbCCddEEffGGhhIIjjKKllMMnnOOpp0123456789"

// moveIn brings in what cloudflare/moltworker keeps in its bucket, and has the real
// OpenClaw boot on it.
func moveIn(t *testing.T, u *up, bucket blob.Store) {
	archive := archiveOf(t, map[string]string{
		"root/.moltbot/moltbot.json": `{
  "agents": { "defaults": { "workspace": "/root/clawd", "model": { "primary": "anthropic/claude-opus-4-5" } } },
  "gateway": { "port": 18789, "mode": "local", "trustedProxies": ["10.1.0.0"], "auth": { "token": "of-the-container" } },
  "models": { "providers": { "anthropic": { "baseUrl": "https://api.anthropic.com", "apiKey": "` + foreignKey + `", "api": "anthropic-messages",
    "models": [ { "id": "claude-opus-4-5", "name": "Claude Opus 4.5", "contextWindow": 200000 } ] } } },
  "channels": {}
}`,
		"root/clawd/SOUL.md":                                "You are the agent of old.\n",
		"root/clawd/skills/weather/SKILL.md":                "---\nname: weather\ndescription: looks out of the window\n---\n# Weather\n",
		"root/.moltbot/agents/main/sessions/sessions.json":  `{}`,
		"root/.moltbot/cron/jobs.json":                      `{"version":1,"jobs":[]}`,
		"root/.moltbot/credentials/telegram-allowFrom.json": `{"version":1,"allowFrom":["12345"]}`,
	})
	if err := bucket.Put(t.Context(), "moltbot-backup.tar.gz", archive, true); err != nil {
		t.Fatal(err)
	}
	from := u.seen()
	r := u.moltworker("agent", "import", "moved", "--from", "r2:", "--json")
	var made admin.Imported
	if err := json.Unmarshal([]byte(r.stdout), &made); err != nil || r.code != 0 || !strings.Contains(made.Kind, "Moltbot") || len(made.Secrets) == 0 {
		t.Fatalf("code %d, %v, %+v: %s", r.code, err, made, r.stderr)
	}
	u.await(from, bootPatience, "moved agent awake", func(e event) bool {
		return e.Agent != nil && e.Agent.Agent == "moved" && e.Agent.State == agent.StateAwake
	})
	soul := moltworker(t, u.env, "agent", "exec", "--data", u.data, "moved", "--", "/bin/sh", "-c", "cd $HOME/.openclaw/workspace && cat SOUL.md && ls skills")
	if soul.code != 0 || !strings.Contains(soul.stdout, "agent of old") || !strings.Contains(soul.stdout, "weather") {
		t.Errorf("code %d: %s%s", soul.code, soul.stdout, soul.stderr)
	}
	if r := u.moltworker("secret", "ls", "--json"); r.code != 0 || !strings.Contains(r.stdout, "ANTHROPIC_API_KEY") || strings.Contains(r.stdout, foreignKey) {
		t.Errorf("secrets: code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	holdsNowhere(t, filepath.Join(u.data, "agents", "moved", "home"), foreignKey)
	if r := u.moltworker("agent", "rm", "moved", "--yes"); r.code != 0 {
		t.Errorf("code %d: %s%s", r.code, r.stdout, r.stderr)
	}
}

// holdsNowhere looks for words in all files below a directory.
func holdsNowhere(t *testing.T, dir string, words ...string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // gone meanwhile, as files of a running agent go
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return nil
		}
		files++
		for _, word := range words {
			if bytes.Contains(content, []byte(word)) {
				t.Errorf("%s holds %q", name, word)
			}
		}
		return nil
	})
	if err != nil || files < 5 {
		t.Errorf("%d files, %v", files, err)
	}
}

func archiveOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var buf bytes.Buffer
	zipped := gzip.NewWriter(&buf)
	w := tar.NewWriter(zipped)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}
