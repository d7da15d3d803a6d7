package provider

import (
	"fmt"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// ways are the paths of forms beside Chat Completions, by provider: those that a
// provider's documentation names as its own API of that form. "{method}" is Google's.
var ways = map[usage.Kind]map[string]string{
	usage.Anthropic: {"anthropic": "/v1/messages", "deepseek": "/anthropic/v1/messages", "grok": "/messages", "openrouter": "/messages"},
	usage.Gemini: {
		"google-ai-studio": "/v1beta/models/{deployment}:{method}",
		"google-vertex-ai": "/v1/projects/{project}/locations/{location}/publishers/google/models/{deployment}:{method}",
	},
	usage.Responses: {"openai": "/responses", "openrouter": "/responses", "groq": "/responses", "grok": "/responses", "ollama": "/v1/responses"},
	usage.Embeddings: {"openai": "/embeddings", "openrouter": "/embeddings", "mistral": "/embeddings", "ollama": "/v1/embeddings", "vllm": "/embeddings",
		"llamacpp": "/embeddings", "workers-ai": "/v1/embeddings", "azure-openai": "/{resource}/{deployment}/embeddings",
		"google-ai-studio": "/v1beta/openai/embeddings", "cohere": "/compatibility/v1/embeddings"},
}

// At is the provider's endpoint of an API's form for a model, whole or as a stream.
// It fails where the provider does not speak that form, and as [Provider.Chat] does.
func (p *Provider) At(form usage.Kind, model string, stream bool, get Settings) (Endpoint, error) {
	path := p.chat
	if form != usage.Chat {
		path = ways[form][p.Name]
	}
	if path == "" {
		return Endpoint{}, fmt.Errorf("%s does not speak this form of API", p.Name)
	}
	method := "generateContent"
	if stream {
		method = "streamGenerateContent"
	}
	return p.fill(strings.ReplaceAll(path, "{method}", method), model, get)
}
