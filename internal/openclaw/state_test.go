package openclaw

import (
	"path"
	"strings"
	"testing"
)

func TestPartOf(t *testing.T) {
	for name, want := range map[string]string{
		".openclaw/state/openclaw.sqlite":                            "devices and schedules",
		".openclaw/state/openclaw.sqlite-wal":                        "devices and schedules",
		".openclaw/state/openclaw-quarantine.sqlite":                 "devices and schedules",
		".openclaw/agents/main/agent/openclaw-agent.sqlite":          "conversations",
		".openclaw/agents/main/agent/openclaw-agent.sqlite-wal":      "conversations",
		".openclaw/agents/main/sessions/cold/x.zst":                  "conversations",
		".openclaw/agents/main/agent/auth-profiles.json":             "channel logins",
		".openclaw/agents/main/agent/models.json":                    "agents",
		".openclaw/agents":                                           "agents",
		".openclaw/openclaw.json":                                    "settings",
		".openclaw/openclaw.json.last-good":                          "settings",
		".openclaw/config-journal-fingerprint.key":                   "settings",
		".openclaw/workspace":                                        "workspace",
		".openclaw/workspace/MEMORY.md":                              "workspace",
		".openclaw/workspace/memory/2026-11-22.md":                   "workspace",
		".openclaw/workspace-work/SOUL.md":                           "workspace",
		"./.openclaw/workspace/.git/HEAD":                            "workspace",
		".openclaw/credentials/whatsapp/default/creds.json":          "channel logins",
		".openclaw/media/browser/1.png":                              "media",
		".openclaw/npm/projects/openclaw-slack-1a/node_modules/x.js": "plugins",
		".openclaw/plugin-skills/slack":                              "plugins",
		".openclaw/skills/weather/SKILL.md":                          "skills",
		".openclaw/something-new/x":                                  "other state",
		".openclaw":                                                  "other state",
		"report.pdf":                                                 "files",
		"clawd/AGENTS.md":                                            "files",
		".openclawish/openclaw.json":                                 "files",
		".":                                                          "files",
	} {
		if got := PartOf(name); got != want {
			t.Errorf("PartOf(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestRegenerated(t *testing.T) {
	const uuid = "0b0cd9c0-35a1-4c3c-9a5c-6f5b7d1f2a3e"
	db := ".openclaw/agents/main/agent/openclaw-agent.sqlite"
	for _, c := range []struct {
		name string
		dir  bool
		want bool
	}{
		{".openclaw/cache", true, true},
		{".openclaw/cache", false, false}, // somebody's file
		{".openclaw/cache/control-ui-assets/a.js", false, true},
		{".openclaw/cached", true, false},
		{".openclaw/tmp", true, true},
		{".openclaw/tmp/openclaw-1000/gateway.state.lock", false, true},
		{".openclaw/workspace/tmp", true, false},
		{".openclaw/workspace/cache/x", false, false},
		{".cache", true, true},
		{".cache/node-compile-cache/x", false, true},
		{".npm/_cacache", true, true},
		{".npm", true, false},
		{db, false, false},
		{db + "-wal", false, false}, // may hold what the database does not yet
		{db + "-journal", false, false},
		{db + "-shm", false, true},
		{"notes.db-shm", false, true},
		{"some-shm", true, false},
		{db + ".generation-lock.sqlite", false, true},
		{db + ".generation-writer.sqlite-wal", false, true},
		{db + ".reindex-lock.sqlite", false, true},
		{db + ".memory-reindex-" + uuid, false, true},
		{db + ".tmp-" + strings.ToUpper(uuid) + "-wal", false, true},
		{db + ".backup-mine", false, false},
		{"generation-lock.sqlite", false, false},
		{".", true, false},
	} {
		if got := Regenerated(c.name, c.dir); got != c.want {
			t.Errorf("Regenerated(%q, %t) = %t, want %t", c.name, c.dir, got, c.want)
		}
	}
}

// TestStateIsKept makes sure that nothing which is declared critical is left out.
func TestStateIsKept(t *testing.T) {
	seen := map[string]bool{}
	for _, part := range State() {
		if part.Name == "" || part.What == "" || len(part.Paths) == 0 || seen[part.Name] {
			t.Errorf("part %+v: want a name of its own, a description, and patterns", part)
		}
		seen[part.Name] = true
		for _, pattern := range part.Paths {
			if _, err := path.Match(pattern, ""); err != nil {
				t.Errorf("%s: pattern %q: %v", part.Name, pattern, err)
			}
			example := strings.ReplaceAll(strings.ReplaceAll(pattern, "**", "a/b"), "*", "x")
			if part.Critical && Regenerated(example, false) {
				t.Errorf("%s is critical, but %s is left out", part.Name, example)
			}
			if got := PartOf(example); pattern != "**" && got != part.Name {
				t.Errorf("PartOf(%q) = %q, want %q: another part has it first", example, got, part.Name)
			}
		}
	}
	State()[0].Paths[0] = "changed"
	if State()[0].Paths[0] == "changed" {
		t.Error("a caller can change the declared state")
	}
}

func TestValues(t *testing.T) {
	v, err := Values([]byte("{ // a comment\n gateway: { port: 0x10 }, 'list': [1,], }"))
	if err != nil {
		t.Fatal(err)
	}
	if port := v["gateway"].(map[string]any)["port"]; port != 16.0 {
		t.Errorf("port = %v, want 16", port)
	}
	for _, bad := range []string{"[]", "{", "{a: NaN}", strings.Repeat("[", 1000), `"x"`} {
		if v, err := Values([]byte(bad)); err == nil {
			t.Errorf("Values(%.20q) = %v, want an error", bad, v)
		}
	}
}
