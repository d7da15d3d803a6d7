package migrate

import (
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/openclaw"
)

// hosted says which provider of ours stands for one of the old configuration: the
// host holds the key and speaks to the service.
func hosted(provider string) (openclaw.Provider, bool) {
	switch strings.TrimPrefix(provider, "cf-ai-gw-") {
	case "anthropic", openclaw.ProviderAnthropic:
		return openclaw.Anthropic(), true
	case "openai", openclaw.ProviderOpenAI:
		return openclaw.OpenAI(), true
	}
	return openclaw.Provider{}, false
}

// moveModels lets models of Anthropic and OpenAI go through the host's AI gateway.
func (w *writer) moveModels(config map[string]any) {
	providers, _ := dig(config, "models", "providers").(map[string]any)
	for _, id := range sortedKeys(providers) {
		if p, ok := hosted(id); ok {
			prune(config, "models", "providers", id)
			w.changed.change("model provider "+dotted([]string{id}), "the host's own, "+p.ID+", stands in its place; the key stays with the host")
		}
	}
	if models, ok := dig(config, "agents", "defaults", "models").(map[string]any); ok {
		w.moveCatalogue(models)
	}
	for _, pattern := range []string{"agents.defaults.model", "agents.defaults.imageModel"} {
		w.moveModel(config, strings.Split(pattern, "."))
	}
	agents, _ := dig(config, "agents", "list").([]any)
	for _, a := range agents {
		if m, ok := a.(map[string]any); ok {
			w.moveModel(m, []string{"model"})
		}
	}
}

// moveModel moves one choice of a model: a text, or an object with primary and
// fallbacks. What the host does not have is left out, so that its default holds.
func (w *writer) moveModel(m map[string]any, at []string) {
	move := func(at []string) {
		old, ok := dig(m, at...).(string)
		if !ok {
			return
		}
		switch next, here := modelHere(old); {
		case !here:
			prune(m, at...)
			w.dropped.change("model "+quote(old), "the host does not offer it; the default is used")
		case next != old:
			plant(m, next, at...)
			w.changed.change("model "+quote(old), "it is "+quote(next)+" here")
		}
	}
	move(at)
	move(append(slices.Clone(at), "primary"))
	list, _ := dig(m, append(slices.Clone(at), "fallbacks")...).([]any)
	kept := []any{}
	for _, v := range list {
		old, _ := v.(string)
		if next, here := modelHere(old); here {
			kept = append(kept, next)
		}
	}
	switch {
	case len(list) == 0:
	case len(kept) == 0:
		prune(m, append(slices.Clone(at), "fallbacks")...)
	default:
		plant(m, kept, append(slices.Clone(at), "fallbacks")...)
	}
}

// moveCatalogue moves the models that may be chosen, which are names in an object.
func (w *writer) moveCatalogue(models map[string]any) {
	for _, old := range sortedKeys(models) {
		next, here := modelHere(old)
		if here && next == old {
			continue
		}
		if here && models[next] == nil {
			models[next] = models[old]
		} else if !here {
			w.dropped.change("model "+quote(old), "the host does not offer it; the default is used")
		}
		delete(models, old)
	}
}

// modelHere gives a "provider/model" as it is in our sandbox; false when the host
// would have to offer it and does not. What is not the host's stays as it is.
func modelHere(ref string) (string, bool) {
	provider, model, _ := strings.Cut(ref, "/")
	if provider == openclaw.ProviderDemo {
		return "", false
	}
	if provider == "cloudflare-ai-gateway" {
		provider = "anthropic" // what it was set up for
		model = strings.TrimPrefix(model, "anthropic/")
	}
	p, ok := hosted(provider)
	if !ok {
		return ref, true
	}
	has := slices.ContainsFunc(p.Models, func(m openclaw.Model) bool { return m.ID == model })
	return p.ID + "/" + model, has
}
