package migrate

import (
	"archive/tar"
	"path"
	"strings"
	"testing"
)

const plainConfig = `{ // of an old agent
  agents: { defaults: { workspace: WORKSPACE, model: { primary: "anthropic/claude-opus-5-5" } } },
  gateway: { port: 18789, bind: "lan", auth: { token: "` + gatewayToken + `" } },
}`

func configWith(workspace string) string {
	return strings.Replace(plainConfig, "WORKSPACE", `"`+workspace+`"`, 1)
}

// TestLayouts brings in the same small agent in every form that it is known to come
// in, and finds it at the same place each time.
func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		name, kind   string
		state, space string // where they are in the source
		config       string
		workspace    string // as the configuration has it
	}{
		{"the seed's archive", "Moltbot", "root/.moltbot", "root/clawd", "moltbot.json", "/root/clawd"},
		{"the seed's, with its workspace inside", "Moltbot", "root/.moltbot", "root/.moltbot/workspace", "moltbot.json", "/root/.moltbot/workspace"},
		{"the seed's, with Clawdbot's file", "Moltbot", "root/.moltbot", "root/clawd", "clawdbot.json", "~/clawd"},
		{"of all the machine", "OpenClaw", "./root/.openclaw", "./root/.openclaw/workspace", "openclaw.json", "/root/.openclaw/workspace"},
		{"absolute names", "Clawdbot", "/root/.clawdbot", "/root/clawd", "clawdbot.json", "/root/clawd"},
		{"a container's", "OpenClaw", "home/node/.openclaw", "home/node/work", "openclaw.json", "/home/node/work"},
		{"made in the home", "Clawdbot", ".clawdbot", "clawd", "clawdbot.json", "/home/alice/clawd"},
		{"made in the home, with ~", "OpenClaw", "./.openclaw", "./clawd", "openclaw.json", "~/clawd"},
		{"a volume of Railway", "OpenClaw", "data/.openclaw", "data/workspace", "openclaw.json", "/data/workspace"},
		{"OpenClaw's own backup", "backup made by OpenClaw", "2026-03-09T00-00-00.000Z-openclaw-backup/payload/posix/root/.openclaw",
			"2026-03-09T00-00-00.000Z-openclaw-backup/payload/posix/srv/space", "openclaw.json", "/srv/space"},
		{"made in the state", "state directory", ".", "workspace", "openclaw.json", "/home/x/.openclaw/workspace"},
		{"a state of another name", "state directory", "old-state", "old-state/workspace", "moltbot.json", "/home/x/.moltbot/workspace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := func(dir, name string) string {
				if strings.HasPrefix(dir, "./") {
					return dir + "/" + name
				}
				return path.Join(dir, name)
			}
			entries := []packed{
				{name: at(c.space, ""), kind: tar.TypeDir, mode: 0o755},
				file(at(c.space, "MEMORY.md"), "I remember."),
				file(at(c.space, "skills/weather/SKILL.md"), "# Weather"),
				file(at(c.state, "agents/main/sessions/1.jsonl"), "{}\n"),
				file(at(c.state, c.config), configWith(c.workspace)),
			}
			data := tarOf(t, entries...)
			for form, data := range map[string][]byte{"tar": data, "gzip": gzipped(t, data), "zstd": zstded(t, data)} {
				b, err := open(t, data)
				got := bring(t, b, err)
				got.mustHave(t, map[string]string{
					".openclaw/workspace/MEMORY.md":               "I remember.",
					".openclaw/workspace/skills/weather/SKILL.md": "# Weather",
					".openclaw/agents/main/sessions/1.jsonl":      "{}\n",
				})
				got.mustNotHave(t, ".openclaw/clawdbot.json", ".openclaw/moltbot.json", ".clawdbot", ".moltbot", "root")
				if !strings.Contains(got.report.Kind, c.kind) {
					t.Errorf("%s: kind %q, want %q in it", form, got.report.Kind, c.kind)
				}
				if w := dig(got.config, "agents", "defaults", "workspace"); w != "/home/agent/.openclaw/workspace" && w != "~/.openclaw/workspace" {
					t.Errorf("%s: workspace %v", form, w)
				}
				if m := dig(got.config, "agents", "defaults", "model", "primary"); m != "mw-anthropic/claude-opus-5-5" {
					t.Errorf("%s: model %v", form, m)
				}
				if got.config["gateway"] != nil {
					t.Errorf("%s: gateway %v, want nothing: the host decides it", form, got.config["gateway"])
				}
				if got.secrets["MOLTBOT_GATEWAY_TOKEN"] != gatewayToken {
					t.Errorf("%s: the gateway's token was not found: %q", form, keysOf(got.secrets))
				}
				if !got.report.Doctor {
					t.Errorf("%s: sessions of an earlier version came along, but nothing says that the doctor is needed", form)
				}
			}
		})
	}
}

func TestDirectories(t *testing.T) {
	files := map[string]string{
		".moltbot/moltbot.json":     configWith("~/clawd"),
		"clawd/SOUL.md":             "A lobster.",
		"clawd/.env":                "GH_PAT=" + githubToken + "\n",
		".ssh/id_ed25519":           "a key that is nobody's business",
		"Downloads/film.mp4":        "large",
		".moltbot/cache/x":          "again",
		".moltbot/media/in/1.png":   "\x89PNG",
		".moltbot/agents/a/b.jsonl": "{}",
	}
	top := laid(t, files)
	for _, given := range []string{"", ".moltbot"} {
		b, err := Open(t.Context(), path.Join(top, given), Options{})
		got := bring(t, b, err)
		got.mustHave(t, map[string]string{
			".openclaw/workspace/SOUL.md": "A lobster.",
			".openclaw/workspace/.env":    "GH_PAT=" + Placeholder + "\n",
			".openclaw/media/in/1.png":    "\x89PNG",
		})
		got.mustNotHave(t, ".ssh", ".openclaw/cache", "Downloads", ".openclaw/workspace/.ssh")
		if got.secrets["GH_PAT"] != githubToken {
			t.Errorf("secrets %q, want GH_PAT among them", keysOf(got.secrets))
		}
	}
}

// TestHostileWorkspaces: a configuration that was unpacked into somebody's home must
// not reach for what is theirs.
func TestHostileWorkspaces(t *testing.T) {
	for _, w := range []string{"~", "/", "~/.ssh", "~/../../etc", "/etc", "~/x/../.ssh", "..", "~/.", "$HOME", "~/private/.hidden", "\x00"} {
		top := laid(t, map[string]string{".moltbot/moltbot.json": `{"agents":{"defaults":{"workspace":` + mustQuote(w) + `}}}`, ".ssh/id": "mine", "private/.hidden/x": "mine"})
		b, err := Open(t.Context(), top, Options{})
		got := bring(t, b, err)
		for name, text := range got.files(t) {
			if text == "mine" {
				t.Errorf("workspace %q: %s was brought", w, name)
			}
		}
	}
}

func TestNothingOfOpenClaw(t *testing.T) {
	for name, path := range map[string]string{
		"an empty directory":  t.TempDir(),
		"an empty file":       saved(t, nil),
		"a text":              saved(t, []byte(strings.Repeat("no archive at all\n", 100))),
		"an archive of else":  saved(t, tarOf(t, file("etc/passwd", "root"))),
		"a device":            "/dev/null",
		"a compressed nobody": saved(t, gzipped(t, tarOf(t))),
	} {
		if b, err := Open(t.Context(), path, Options{}); err == nil {
			b.Close()
			t.Errorf("%s: %s, want an error", name, b.Kind())
		} else if !strings.Contains(err.Error(), ErrUnknown.Error()) {
			t.Errorf("%s: %v, want %v", name, err, ErrUnknown)
		}
	}
}

// TestWorkspaceIsMissing: what the seed's backup leaves out is not passed over.
func TestWorkspaceIsMissing(t *testing.T) {
	b, err := open(t, gzipped(t, tarOf(t, file("root/.moltbot/moltbot.json", configWith("/root/clawd")))))
	got := bring(t, b, err)
	got.mustWarn(t, `the workspace "/root/clawd" is not in what was imported`)
	if w := dig(got.config, "agents", "defaults", "workspace"); w != "/home/agent/.openclaw/workspace" {
		t.Errorf("workspace %v: there is no /root here", w)
	}
}

func TestSeveralWorkspaces(t *testing.T) {
	b, err := open(t, tarOf(t,
		file("root/.openclaw/openclaw.json", `{"agents":{"defaults":{"workspace":"/root/clawd"},"list":[{"id":"main","default":true},{"id":"Work Bot","workspace":"/root/work"},{"id":"in","workspace":"/root/.openclaw/workspace-in"}]},
			"skills":{"load":{"extraDirs":["/root/clawd/skills","/opt/elsewhere","/root/gone"]}}}`),
		file("root/.openclaw/workspace/BOOTSTRAP.md", "unused"),
		file("root/.openclaw/workspace-in/SOUL.md", "in"),
		file("root/clawd/SOUL.md", "main"),
		file("root/work/SOUL.md", "work"),
		file("root/other/x", "not the agent's"),
	))
	got := bring(t, b, err)
	got.mustHave(t, map[string]string{
		".openclaw/workspace/BOOTSTRAP.md":     "unused",
		".openclaw/workspace-clawd/SOUL.md":    "main",
		".openclaw/workspace-Work-Bot/SOUL.md": "work",
		".openclaw/workspace-in/SOUL.md":       "in",
	})
	got.mustNotHave(t, "other", "root")
	if dirs := dig(got.config, "skills", "load", "extraDirs").([]any); dirs[0] != "/home/agent/.openclaw/workspace-clawd/skills" || dirs[1] != "/opt/elsewhere" {
		t.Errorf("extraDirs %v", dirs)
	}
	got.mustWarn(t, `"/root/gone", which was not brought`)
	list := dig(got.config, "agents", "list").([]any)
	if w := dig(list[1], "workspace"); w != "/home/agent/.openclaw/workspace-Work-Bot" {
		t.Errorf("the second agent's workspace is %v", w)
	}
	if w := dig(list[2], "workspace"); w != "/home/agent/.openclaw/workspace-in" {
		t.Errorf("the third agent's workspace is %v", w)
	}
}

// TestOldAndNewStateTogether: OpenClaw leaves ~/.clawdbot as a link to ~/.openclaw, and
// takes the newer one when both are there.
func TestOldAndNewStateTogether(t *testing.T) {
	b, err := open(t, tarOf(t,
		packed{name: "root/.clawdbot", kind: tar.TypeSymlink, link: ".openclaw"},
		file("root/.clawdbot-backup/clawdbot.json", "{}"),
		file("root/.openclaw/clawdbot.json", `{"agents":{"defaults":{"workspace":"/root/.clawdbot/workspace"}}}`),
		file("root/.openclaw/openclaw.json", `{"ui":{"assistant":{"name":"Clawd"}}}`),
		file("root/.openclaw/workspace/SOUL.md", "me")))
	got := bring(t, b, err)
	got.mustNotHave(t, ".clawdbot", ".openclaw/clawdbot.json")
	if name := dig(got.config, "ui", "assistant", "name"); name != "Clawd" {
		t.Errorf("the configuration is %v, want that of openclaw.json", got.config)
	}
}

func TestPathsInSessions(t *testing.T) {
	b, err := open(t, tarOf(t,
		file("root/.moltbot/moltbot.json", `{}`),
		file("root/.moltbot/agents/main/sessions/sessions.json", `{"main":{"sessionFile":"/root/.moltbot/agents/main/sessions/1.jsonl","say":"not /root/.moltbot/x"}}`),
		file("root/.moltbot/agents/main/sessions/1.jsonl", `{"text":"\"/root/.moltbot/x\""}`)))
	got := bring(t, b, err)
	got.mustHave(t, map[string]string{
		".openclaw/agents/main/sessions/sessions.json": `{"main":{"sessionFile":"/home/agent/.openclaw/agents/main/sessions/1.jsonl","say":"not /root/.moltbot/x"}}`,
		".openclaw/agents/main/sessions/1.jsonl":       `{"text":"\"/root/.moltbot/x\""}`,
	})
}
