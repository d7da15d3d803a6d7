package migrate

import (
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/openclaw"
)

// upstream are the services behind the host's AI gateway.
var upstream = map[string]struct{ url, key string }{
	openclaw.ProviderAnthropic: {"https://api.anthropic.com", "ANTHROPIC_API_KEY"},
	openclaw.ProviderOpenAI:    {"https://api.openai.com/v1", "OPENAI_API_KEY"},
}

// turnBack takes out of a configuration what holds in our sandbox only. Where a secret
// is wanted it puts a reference to an environment variable, ${NAME}.
func (x *exporter) turnBack(config map[string]any) {
	x.turnBackProviders(config)
	for _, path := range []string{"gateway.trustedProxies", "gateway.controlUi.allowedOrigins"} {
		if at := strings.Split(path, "."); dig(config, at...) != nil {
			prune(config, at...)
			x.changed.change("setting "+path, "it named this host")
		}
	}
	plant(config, "local", "gateway", "mode")
	plant(config, "token", "gateway", "auth", "mode")
	plant(config, "${OPENCLAW_GATEWAY_TOKEN}", "gateway", "auth", "token")
	x.changed.change("setting gateway.auth.token", "it is ${OPENCLAW_GATEWAY_TOKEN} now")
	// Here the sandbox is the boundary; there it would be the whole machine.
	if dig(config, "tools", "exec", "mode") == "full" {
		prune(config, "tools", "exec", "mode")
		x.changed.change("setting tools.exec.mode", "without the sandbox the agent asks before it runs programs")
	}
	if dig(config, "tools", "exec", "host") == "gateway" {
		prune(config, "tools", "exec", "host")
	}
	visit(config, nil, func(at []string, value any) any {
		text, ok := value.(string)
		switch {
		case !ok:
			return nil
		case text == Placeholder:
			return x.wanted(at)
		case text == openclaw.Home || strings.HasPrefix(text, openclaw.Home+"/"):
			x.changed.change("setting "+dotted(at), "its path begins with ~ now")
			return "~" + strings.TrimPrefix(text, openclaw.Home)
		}
		return nil
	})
}

// wanted is the reference that stands for a secret of the host's.
func (x *exporter) wanted(at []string) any {
	name := secretPlace(at)
	if name == "" {
		name = secretName(at[len(at)-1])
	}
	x.changed.change("setting "+dotted(at), "set it in the environment as "+name)
	return "${" + name + "}"
}

// turnBackProviders lets our providers speak to their services directly.
func (x *exporter) turnBackProviders(config map[string]any) {
	providers, _ := dig(config, "models", "providers").(map[string]any)
	for _, id := range sortedKeys(providers) {
		p, ok := providers[id].(map[string]any)
		url, _ := p["baseUrl"].(string)
		if !ok || url != openclaw.AIGatewayURL && !strings.HasPrefix(url, openclaw.AIGatewayURL+"/") {
			continue
		}
		if to, known := upstream[id]; known {
			p["baseUrl"], p["apiKey"] = to.url, "${"+to.key+"}"
			x.changed.change("model provider "+id, "it speaks to "+to.url+" itself; set "+to.key)
			continue
		}
		prune(config, "models", "providers", id)
		x.changed.change("model provider "+dotted([]string{id}), "it is part of this host only")
		x.withoutModelsOf(config, id)
	}
}

// withoutModelsOf removes choices of a model that is not there any more.
func (x *exporter) withoutModelsOf(config map[string]any, id string) {
	for _, at := range [][]string{{"agents", "defaults", "model"}, {"agents", "defaults", "model", "primary"}} {
		if ref, _ := dig(config, at...).(string); strings.HasPrefix(ref, id+"/") {
			prune(config, at...)
			x.warnings.addf("the agent used the model %s, which is part of this host: choose another with `openclaw models set`", quote(ref))
		}
	}
	models, _ := dig(config, "agents", "defaults", "models").(map[string]any)
	for _, ref := range slices.Clone(sortedKeys(models)) {
		if strings.HasPrefix(ref, id+"/") {
			delete(models, ref)
		}
	}
}
