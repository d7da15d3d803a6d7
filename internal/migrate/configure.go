package migrate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/openclaw"
)

// renewed are keys that have moved since they were first used, old and new.
var renewed = [][2]string{
	{"agent.workspace", "agents.defaults.workspace"},
	{"agent.model.primary", "agents.defaults.model.primary"},
	{"agent.model", "agents.defaults.model.primary"},
	{"gateway.token", "gateway.auth.token"},
	{"routing.allowFrom", "channels.whatsapp.allowFrom"},
	{"routing.groupChat.historyLimit", "messages.groupChat.historyLimit"},
	{"routing.groupChat.mentionPatterns", "messages.groupChat.mentionPatterns"},
	{"routing.queue", "messages.queue"},
	{"routing.bindings", "bindings"},
	{"routing.agentToAgent", "tools.agentToAgent"},
	{"telegram", "channels.telegram"},
	{"discord", "channels.discord"},
	{"slack", "channels.slack"},
	{"whatsapp", "channels.whatsapp"},
	{"signal", "channels.signal"},
	{"imessage", "channels.imessage"},
	{"channels.discord.dm.policy", "channels.discord.dmPolicy"},
	{"channels.discord.dm.allowFrom", "channels.discord.allowFrom"},
	{"channels.slack.dm.policy", "channels.slack.dmPolicy"},
	{"channels.slack.dm.allowFrom", "channels.slack.allowFrom"},
}

// renewKeys brings keys of earlier versions to where they are now.
func renewKeys(config map[string]any, changed *tally) {
	for _, move := range renewed {
		from, to := strings.Split(move[0], "."), strings.Split(move[1], ".")
		v := dig(config, from...)
		if _, isObject := v.(map[string]any); v == nil || isObject && move[0] == "agent.model" {
			continue
		}
		if dig(config, to...) != nil || !plant(config, v, to...) {
			continue // both are there: the new one counts, the old one is left out below
		}
		prune(config, from...)
		changed.change("setting "+move[0], "it is "+move[1]+" now")
	}
}

// plant sets a value in nested objects; false when something else is in the way.
func plant(m map[string]any, v any, path ...string) bool {
	for _, name := range path[:len(path)-1] {
		next, ok := m[name].(map[string]any)
		if !ok {
			if m[name] != nil {
				return false
			}
			next = map[string]any{}
			m[name] = next
		}
		m = next
	}
	m[path[len(path)-1]] = v
	return true
}

// prune removes a value, and the objects that are empty without it.
func prune(m map[string]any, path ...string) {
	if len(path) > 1 {
		next, ok := m[path[0]].(map[string]any)
		if !ok {
			return
		}
		if prune(next, path[1:]...); len(next) > 0 {
			return
		}
	}
	delete(m, path[0])
}

// A refusal is a setting that does not come along. "*" stands for any name.
type refusal struct{ path, why string }

const (
	hostDecides = "the host decides it here"
	oldAddress  = "it is an address of the old host"
)

var refused = []refusal{
	{"$schema", "it is for editors"},
	{"meta", "OpenClaw writes it itself"},
	{"wizard", "OpenClaw writes it itself"},
	{"proxy", hostDecides},
	{"gateway.port", hostDecides},
	{"gateway.mode", hostDecides},
	{"gateway.bind", hostDecides},
	{"gateway.customBindHost", hostDecides},
	{"gateway.auth", hostDecides},
	{"gateway.token", hostDecides},
	{"gateway.remote", hostDecides},
	{"gateway.tls", hostDecides},
	{"gateway.tailscale", hostDecides},
	{"gateway.trustedProxies", hostDecides},
	{"gateway.allowRealIpFallback", hostDecides},
	{"gateway.publicOrigin", hostDecides},
	{"gateway.controlUi.allowedOrigins", oldAddress},
	{"gateway.controlUi.basePath", hostDecides},
	{"gateway.controlUi.root", hostDecides},
	{"gateway.controlUi.allowInsecureAuth", "it would let browsers in without approval"},
	{"gateway.controlUi.dangerouslyDisableDeviceAuth", "it would let browsers in without approval"},
	{"gateway.controlUi.dangerouslyAllowHostHeaderOriginFallback", "it would let other sites in"},
	{"models.providers." + openclaw.ProviderAnthropic, hostDecides},
	{"models.providers." + openclaw.ProviderOpenAI, hostDecides},
	{"models.providers." + openclaw.ProviderDemo, hostDecides},
	{"browser.color", "it is no setting any more"},
	{"browser.profiles.*.color", "it is no setting any more"},
	{"channels.telegram.webhookUrl", oldAddress},
	{"channels.telegram.webhookSecret", oldAddress},
	{"channels.telegram.webhookHost", oldAddress},
	{"channels.telegram.webhookPort", oldAddress},
	{"channels.telegram.webhookPath", oldAddress},
	{"channels.telegram.apiRoot", oldAddress},
}

// known are the names at the top of an openclaw.json. The schema is strict: with
// another one the gateway does not start.
var knownTop = []string{"acp", "agents", "approvals", "audio", "auth", "bindings", "broadcast", "browser", "channels", "cli", "commands",
	"cron", "diagnostics", "discovery", "env", "gateway", "hooks", "logging", "mcp", "media", "memory", "messages", "models", "nodeHost",
	"plugins", "secrets", "session", "skills", "surfaces", "talk", "tools", "ui", "update", "web"}

// configure makes the agent's new openclaw.json: what the host decides and what
// OpenClaw does not know any more is left out, and paths and models are those that
// are here.
func (w *writer) configure(config map[string]any) []byte {
	for _, r := range refused {
		for _, at := range expand(config, strings.Split(r.path, ".")) {
			prune(config, at...)
			w.dropped.change("setting "+dotted(at), r.why)
		}
	}
	for _, name := range sortedKeys(config) {
		if !slices.Contains(knownTop, name) {
			delete(config, name)
			w.dropped.change("setting "+dotted([]string{name}), "this version of OpenClaw does not know it; it is still in openclaw.json.imported")
		}
	}
	w.moveBrowser(config)
	w.moveModels(config)
	w.movePaths(config)
	return render(config)
}

func render(config map[string]any) []byte {
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("render openclaw.json: %v", err)) // it was read from JSON
	}
	return append(text, '\n')
}

// expand gives the paths in a configuration that a pattern fits.
func expand(v any, pattern []string) (found [][]string) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	names := []string{pattern[0]}
	if pattern[0] == "*" {
		names = sortedKeys(m)
	}
	for _, name := range names {
		next, ok := m[name]
		switch {
		case !ok:
		case len(pattern) == 1:
			found = append(found, []string{name})
		default:
			for _, rest := range expand(next, pattern[1:]) {
				found = append(found, append([]string{name}, rest...))
			}
		}
	}
	return found
}

// moveBrowser leaves out browsers that stood behind the old host's door.
func (w *writer) moveBrowser(config map[string]any) {
	for _, pattern := range []string{"browser.cdpUrl", "browser.profiles.*.cdpUrl"} {
		for _, at := range expand(config, strings.Split(pattern, ".")) {
			if url, _ := dig(config, at...).(string); strings.Contains(url, "secret=") {
				if len(at) > 2 {
					at = at[:len(at)-1]
				}
				prune(config, at...)
				w.dropped.change("setting "+dotted(at), "the browser was the old host's")
			}
		}
	}
	name, _ := dig(config, "browser", "defaultProfile").(string)
	if name != "" && dig(config, "browser", "profiles", name) == nil && name != "openclaw" && name != "user" {
		prune(config, "browser", "defaultProfile")
		w.dropped.change("setting browser.defaultProfile", "that browser is not here")
	}
}

// movePaths rewrites paths of the old machine.
func (w *writer) movePaths(config map[string]any) {
	visit(config, nil, func(at []string, value any) any {
		old, ok := value.(string)
		if !ok || len(old) > maxPath {
			return nil
		}
		if to, moved := w.b.layout.newPath(old); moved {
			if samePlace(old, to) {
				return nil
			}
			w.changed.change("setting "+dotted(at), fmt.Sprintf("%s is %s here", quote(old), quote(to)))
			return to
		}
		if homeLike.MatchString(old) && !strings.HasPrefix(old, openclaw.Home) {
			w.warnings.addf("setting %s names %s, which was not brought", dotted(at), quote(old))
		}
		return nil
	})
}

// samePlace says whether a path that begins with "~/" is another already.
func samePlace(old, full string) bool {
	rest, ok := strings.CutPrefix(old, "~/")
	return ok && openclaw.Home+"/"+rest == full || old == full
}
