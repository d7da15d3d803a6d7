package openclaw

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/remedy"
)

// The model providers that we render. A configuration holds those whose
// upstream the host can reach; the demo only when there is no other.
const (
	ProviderAnthropic = "mw-anthropic"
	ProviderOpenAI    = "mw-openai"
	ProviderDemo      = "mw-demo"
	ProviderCompat    = "mw-compat" // any other, by the one path for all
)

var ourProviders = []string{ProviderAnthropic, ProviderOpenAI, ProviderDemo, ProviderCompat}

// A Provider is a model API as OpenClaw is told of it.
type Provider struct {
	ID      string
	API     string // OpenClaw's name of the wire protocol
	BaseURL string
	Models  []Model // the first is the provider's default
}

// A Model is one entry of a provider's catalogue.
type Model struct {
	ID            string   `json:"id"`
	Name          string   `json:"name"`
	Reasoning     bool     `json:"reasoning,omitempty"`
	Input         []string `json:"input,omitempty"`
	ContextWindow int      `json:"contextWindow,omitempty"`
	MaxTokens     int      `json:"maxTokens,omitempty"`
}

var textAndImage = []string{"text", "image"}

// Providers are those to render when the host holds a key for Anthropic, for
// OpenAI, for both or for none.
func Providers(anthropic, openai bool) []Provider {
	var ps []Provider
	if anthropic {
		ps = append(ps, Anthropic())
	}
	if openai {
		ps = append(ps, OpenAI())
	}
	if len(ps) == 0 {
		ps = append(ps, Demo())
	}
	return ps
}

// Anthropic speaks Anthropic Messages through our AI gateway. The models are set
// to reason: OpenClaw knows each Claude's way of doing so by its ID.
func Anthropic() Provider {
	claude := func(id, name string, window, most int) Model {
		return Model{ID: id, Name: name, Reasoning: true, Input: textAndImage, ContextWindow: window, MaxTokens: most}
	}
	return Provider{
		ID: ProviderAnthropic, API: "anthropic-messages", BaseURL: AIGatewayURL + "/anthropic",
		Models: []Model{
			claude("claude-sonnet-5-5", "Claude Sonnet 5.5", 1_000_000, 128_000),
			claude("claude-opus-5-5", "Claude Opus 5.5", 1_000_000, 128_000),
			claude("claude-haiku-5-5", "Claude Haiku 5.5", 1_000_000, 128_000),
			claude("claude-fable-5-2", "Claude Fable 5.2", 1_000_000, 128_000),
			claude("claude-sonnet-5", "Claude Sonnet 5", 1_000_000, 128_000),
			claude("claude-opus-5", "Claude Opus 5", 1_000_000, 128_000),
			claude("claude-haiku-4-5", "Claude Haiku 4.5", 200_000, 64_000),
		},
	}
}

// OpenAI speaks Chat Completions through our AI gateway. The models are not set
// to reason: OpenClaw does not send effort levels on a route it does not know.
func OpenAI() Provider {
	gpt := func(id, name string, window int) Model {
		return Model{ID: id, Name: name, Input: textAndImage, ContextWindow: window, MaxTokens: 128_000}
	}
	return Provider{
		ID: ProviderOpenAI, API: "openai-completions", BaseURL: AIGatewayURL + "/openai/v1",
		Models: []Model{
			gpt("gpt-6.1-sol", "GPT-6.1 Sol", 272_000),
			gpt("gpt-6.1-terra", "GPT-6.1 Terra", 272_000),
			gpt("gpt-6-luna", "GPT-6 Luna", 272_000),
			gpt("gpt-6-astra", "GPT-6 Astra", 272_000),
			gpt("gpt-5.5", "GPT-5.5", 272_000),
			gpt("gpt-5.4-mini", "GPT-5.4 mini", 400_000),
		},
	}
}

// Compat reaches any provider that our AI gateway knows in the form of OpenAI's Chat
// Completions; model is "provider/model".
func Compat(model string) Provider {
	return Provider{
		ID: ProviderCompat, API: "openai-completions", BaseURL: AIGatewayURL + "/compat",
		Models: []Model{{ID: model, Name: model}},
	}
}

// Demo is the built-in model that needs no key.
func Demo() Provider {
	return Provider{
		ID: ProviderDemo, API: "anthropic-messages", BaseURL: AIGatewayURL + "/demo",
		Models: []Model{{ID: "demo", Name: "Built-in demo", Input: []string{"text"}, ContextWindow: 200_000, MaxTokens: 8192}},
	}
}

// chooseModel gives the primary model as OpenClaw writes it, and the providers
// with that model in their catalogue. override is "provider/model" or empty; the
// provider may be named with or without our prefix.
func chooseModel(providers []Provider, override string) (primary string, with []Provider, err error) {
	if len(providers) == 0 {
		return "", nil, remedy.With(errors.New("no model provider is set"), "set a key with `moltworker secret put ANTHROPIC_API_KEY`")
	}
	if override == "" {
		first := providers[0]
		if len(first.Models) == 0 {
			return "", nil, fmt.Errorf("model provider %s has no models", first.ID)
		}
		return first.ID + "/" + first.Models[0].ID, providers, nil
	}
	name, model, ok := strings.Cut(override, "/")
	if !ok || name == "" || model == "" {
		return "", nil, remedy.With(fmt.Errorf("model %q has no provider", override), "write it as provider/model, e.g. anthropic/claude-sonnet-5-5")
	}
	with = slices.Clone(providers)
	for i, p := range with {
		if p.ID != name && p.ID != "mw-"+name {
			continue
		}
		if !p.has(model) {
			with[i].Models = append(slices.Clone(p.Models), Model{ID: model, Name: model})
		}
		return p.ID + "/" + model, with, nil
	}
	return "", nil, remedy.With(fmt.Errorf("model %q: no key is set for provider %q", override, name),
		fmt.Sprintf("set one with `moltworker secret put %s_API_KEY`, or choose a model of another provider", strings.ToUpper(strings.TrimPrefix(name, "mw-"))))
}

func (p Provider) has(model string) bool {
	return slices.ContainsFunc(p.Models, func(m Model) bool { return m.ID == model })
}

// isGone says whether a model reference names one of our providers but nothing
// that it has now.
func isGone(ref string, providers []Provider) bool {
	id, model, _ := strings.Cut(ref, "/")
	if !slices.Contains(ourProviders, id) {
		return false
	}
	for _, p := range providers {
		if p.ID == id {
			return !p.has(model)
		}
	}
	return true
}
