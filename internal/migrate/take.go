package migrate

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/openclaw"
)

// readConfig reads the configuration, if there is one that can be read.
func (b *Bundle) readConfig() {
	if b.layout.config == "" {
		b.warnings.addf("there is no configuration: the agent starts with the host's own")
		return
	}
	where := path.Join(b.layout.state, b.layout.config)
	text, ok := b.texts[where]
	delete(b.texts, where)
	if !ok {
		b.warnings.addf("%s was not read: the agent starts with the host's own configuration", quote(where))
		return
	}
	config, err := openclaw.Values(text)
	if err != nil {
		// Its text is not shown: it may be a secret that makes it unreadable.
		b.warnings.addf("%s is not valid, so that nothing was taken from it: the agent starts with the host's own configuration; correct it and import again to have its settings", quote(where))
		return
	}
	b.config = config
	renewKeys(config, &b.changed)
	// The old AI Gateway of Cloudflare stood before these providers with a key of its own.
	for _, id := range []string{"anthropic", "openai"} {
		p, _ := dig(config, "models", "providers", id).(map[string]any)
		url, _ := p["baseUrl"].(string)
		key, _ := p["apiKey"].(string)
		if strings.Contains(url, "gateway.ai.cloudflare.com") && b.secrets.put("AI_GATEWAY_API_KEY", key, configWhere("models", "providers", id, "apiKey")) {
			p["apiKey"] = Placeholder
		}
	}
	b.takeJSON(stateDir+"/openclaw.json", config, declared(config))
}

func configWhere(path ...string) string { return stateDir + "/openclaw.json: " + dotted(path) }

// dotted shows a path in a JSON file.
func dotted(path []string) string {
	text := strings.Join(path, ".")
	if len(text) > 200 {
		text = text[:200] + "..."
	}
	return strings.Trim(fmt.Sprintf("%q", text), `"`)
}

// declared are the environment variables that a configuration sets itself.
func declared(config map[string]any) (names []string) {
	vars, _ := dig(config, "env", "vars").(map[string]any)
	env, _ := config["env"].(map[string]any)
	for _, m := range []map[string]any{vars, env} {
		for name, v := range m {
			if _, ok := v.(string); ok {
				names = append(names, name)
			}
		}
	}
	return names
}

// takeSecrets takes the secrets out of a small file that was read beforehand.
func (b *Bundle) takeSecrets(from string, text []byte) {
	to, ours := b.layout.to(from)
	if !ours {
		delete(b.texts, from)
		return
	}
	if isEnvFile(to) {
		b.texts[from] = b.takeEnv(to, text)
		return
	}
	var v any
	if json.Unmarshal(text, &v) != nil {
		return // by their shape only, when it is copied
	}
	if b.takeJSON(to, v, nil) {
		if out, err := json.MarshalIndent(v, "", "  "); err == nil {
			b.texts[from] = append(out, '\n')
		}
	}
}

func isEnvFile(name string) bool {
	base := path.Base(name)
	return base == ".env" || strings.HasPrefix(base, ".env.") && !strings.HasSuffix(base, ".example")
}

var envLine = regexp.MustCompile(`^(\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*)(.*?)(\s*)$`)

// takeEnv replaces secrets in a file of variables, line by line.
func (b *Bundle) takeEnv(where string, text []byte) []byte {
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		body := strings.TrimRight(line, "\r\n")
		if m := envLine.FindStringSubmatch(body); m != nil {
			value := unquote(m[3])
			name := m[2]
			shape := shapeOf(value)
			if (isSecretName(name) || shape != "") && b.secrets.put(name, value, where+": "+name) {
				line = m[1] + Placeholder + m[4] + line[len(body):]
			}
		}
		out.WriteString(line)
	}
	return []byte(out.String())
}

func unquote(v string) string {
	if n := len(v); n >= 2 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
		return v[1 : n-1]
	}
	v, _, _ = strings.Cut(v, " #")
	return strings.TrimSpace(v)
}

// takeJSON replaces secrets in values and says whether it changed anything. env are
// variables that references may name.
func (b *Bundle) takeJSON(where string, v any, env []string) (changed bool) {
	visit(v, nil, func(at []string, value any) any {
		next := b.takeValue(where, at, value, env)
		if next != nil {
			changed = true
		}
		return next
	})
	return changed
}

// takeValue looks at one value and gives what is to stand in its place; nil to leave
// it.
func (b *Bundle) takeValue(where string, at []string, value any, env []string) any {
	name := secretPlace(at)
	full := where + ": " + dotted(at)
	text, isText := value.(string)
	switch {
	case !isText:
		if m, ok := value.(map[string]any); ok && name != "" && m["source"] != nil {
			b.warnings.addf("%s took its value from the old machine: put it in with `moltworker secret put %s`", full, name)
			return Placeholder
		}
		return nil
	case name != "" && isReference(text):
		if slices.Contains(env, strings.Trim(text, "${} ")) || hostOwned(at) {
			return nil
		}
		b.warnings.addf("%s took its value from the old machine's environment: put it in with `moltworker secret put %s`", full, name)
		return Placeholder
	case name == "":
		name = shapeOf(text)
	}
	if name != "" && b.secrets.put(name, text, full) {
		return Placeholder
	}
	if cdpSecret.MatchString(text) && b.secrets.put("CDP_SECRET", cdpSecret.FindStringSubmatch(text)[1], full) {
		return strings.Replace(text, cdpSecret.FindStringSubmatch(text)[1], Placeholder, 1)
	}
	if isLiteral(text) && len(text) >= 8 && isSecretName(at[len(at)-1]) {
		b.warnings.addf("%s may be a secret of a kind that is not known here: it was left there; look at it", full)
	}
	return nil
}

// hostOwned says whether what is at a path of a configuration is left out anyway.
func hostOwned(at []string) bool {
	return at[0] == "gateway" || len(at) > 2 && at[0] == "models" && strings.HasPrefix(at[2], "mw-")
}

var cdpSecret = regexp.MustCompile(`^(?:https?|wss?)://[^?#]*\?(?:[^#]*&)?secret=([^&#]+)`)

// maxVisit is how deep values are looked at; OpenClaw itself nests far less.
const maxVisit = 64

// visit goes through values, objects in the order of their names. What f returns for
// a value, unless nil, takes its place and is not gone into.
func visit(v any, at []string, f func(at []string, value any) any) {
	if len(at) >= maxVisit {
		return
	}
	step := func(name string, old any, set func(any)) {
		path := append(at[:len(at):len(at)], name)
		if next := f(path, old); next != nil {
			set(next)
			return
		}
		visit(old, path, f)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range sortedKeys(v) {
			step(name, v[name], func(next any) { v[name] = next })
		}
	case []any:
		for i := range v {
			step(fmt.Sprint(i), v[i], func(next any) { v[i] = next })
		}
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
