package provider

import (
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// builtin are the providers in order of their names. The base URLs are those that
// Cloudflare's documentation of each provider says its own URL stands for, so that a
// path means the same behind both (developers.cloudflare.com/ai-gateway, usage,
// providers).
var builtin = prepare([]*Provider{
	{Name: "anthropic", Kind: usage.Anthropic, BaseName: "ANTHROPIC_BASE_URL", Default: "https://api.anthropic.com",
		KeyNames: []string{"ANTHROPIC_API_KEY"}, style: xAPIKey, rooted: true, chat: "/v1/chat/completions", rules: anthropicPaths},
	{Name: "aws-bedrock", Kind: usage.Converse, BaseName: "BEDROCK_BASE_URL", host: bedrockHost,
		KeyNames: []string{bedrockBearerName, awsIDName}, style: aws,
		chat: "/bedrock-runtime/{region}/openai/v1/chat/completions", rules: bedrockPaths},
	{Name: "azure-openai", Kind: usage.Chat, BaseName: "AZURE_OPENAI_BASE_URL", host: azureHost,
		KeyNames: []string{"AZURE_OPENAI_API_KEY"}, style: apiKey,
		chat: "/{resource}/{deployment}/chat/completions", rules: azurePaths},
	{Name: "cerebras", Kind: usage.Chat, BaseName: "CEREBRAS_BASE_URL", Default: "https://api.cerebras.ai/v1",
		KeyNames: []string{"CEREBRAS_API_KEY"}, style: bearer, loose: true, chat: "/chat/completions", rules: chatOnly},
	{Name: "cohere", Kind: usage.Cohere, BaseName: "COHERE_BASE_URL", Default: "https://api.cohere.com",
		KeyNames: []string{"COHERE_API_KEY"}, style: bearer, rooted: true, chat: "/compatibility/v1/chat/completions", rules: coherePaths},
	{Name: "deepseek", Kind: usage.Chat, BaseName: "DEEPSEEK_BASE_URL", Default: "https://api.deepseek.com",
		KeyNames: []string{"DEEPSEEK_API_KEY"}, style: bearer, loose: true, rooted: true, chat: "/chat/completions", rules: deepseekPaths},
	{Name: "google-ai-studio", Aliases: []string{"google", "gemini"}, Kind: usage.Gemini, BaseName: "GEMINI_BASE_URL",
		Default: "https://generativelanguage.googleapis.com", KeyNames: []string{"GEMINI_API_KEY", "GOOGLE_API_KEY"},
		style: google, chat: "/v1beta/openai/chat/completions", rules: geminiPaths},
	{Name: "google-vertex-ai", Kind: usage.Gemini, BaseName: "VERTEX_BASE_URL", host: vertexHost,
		KeyNames: []string{googleAccountName}, style: serviceAccount,
		chat: "/v1/projects/{project}/locations/{location}/endpoints/openapi/chat/completions", rules: vertexPaths},
	{Name: "grok", Aliases: []string{"xai"}, Kind: usage.Chat, BaseName: "XAI_BASE_URL", Default: "https://api.x.ai",
		KeyNames: []string{"XAI_API_KEY"}, style: bearer, loose: true, rooted: true, prefix: "/v1", chat: "/chat/completions", rules: grokPaths},
	{Name: "groq", Kind: usage.Chat, BaseName: "GROQ_BASE_URL", Default: "https://api.groq.com/openai/v1",
		KeyNames: []string{"GROQ_API_KEY"}, style: bearer, loose: true, chat: "/chat/completions", rules: groqPaths},
	{Name: "huggingface", Kind: usage.HuggingFace, BaseName: "HF_BASE_URL", Default: "https://router.huggingface.co",
		KeyNames: []string{"HF_TOKEN"}, style: bearer, rooted: true, chat: "/v1/chat/completions", rules: huggingFacePaths},
	{Name: "llamacpp", Kind: usage.Chat, BaseName: "LLAMACPP_BASE_URL", KeyNames: []string{"LLAMACPP_API_KEY"},
		Local: true, keyless: true, relaxed: true, unchain: true, style: bearer, loose: true, chat: "/chat/completions", rules: compatible},
	{Name: "mistral", Kind: usage.Chat, BaseName: "MISTRAL_BASE_URL", Default: "https://api.mistral.ai",
		KeyNames: []string{"MISTRAL_API_KEY"}, style: bearer, loose: true, rooted: true, prefix: "/v1", chat: "/chat/completions", rules: mistralPaths},
	{Name: "ollama", Kind: usage.Ollama, BaseName: "OLLAMA_BASE_URL", KeyNames: []string{"OLLAMA_API_KEY"},
		Local: true, keyless: true, relaxed: true, unchain: true, style: bearer, rooted: true, chat: "/v1/chat/completions", rules: ollamaPaths},
	{Name: "openai", Kind: usage.Chat, BaseName: "OPENAI_BASE_URL", Default: "https://api.openai.com/v1",
		KeyNames: []string{"OPENAI_API_KEY"}, style: bearer, loose: true, chat: "/chat/completions", rules: openaiPaths},
	{Name: "openrouter", Kind: usage.Chat, BaseName: "OPENROUTER_BASE_URL", Default: "https://openrouter.ai/api/v1",
		KeyNames: []string{"OPENROUTER_API_KEY"}, style: bearer, loose: true, chat: "/chat/completions", rules: openrouterPaths},
	{Name: "perplexity-ai", Aliases: []string{"perplexity"}, Kind: usage.Chat, BaseName: "PERPLEXITY_BASE_URL",
		Default: "https://api.perplexity.ai", KeyNames: []string{"PERPLEXITY_API_KEY"}, style: bearer, loose: true, rooted: true,
		chat: "/chat/completions", rules: perplexityPaths},
	{Name: "replicate", Kind: usage.Replicate, BaseName: "REPLICATE_BASE_URL", Default: "https://api.replicate.com/v1",
		KeyNames: []string{"REPLICATE_API_TOKEN"}, style: bearer, loose: true, rules: replicatePaths},
	{Name: "vllm", Kind: usage.Chat, BaseName: "VLLM_BASE_URL", KeyNames: []string{"VLLM_API_KEY"},
		Local: true, keyless: true, relaxed: true, unchain: true, style: bearer, loose: true, chat: "/chat/completions", rules: compatible},
	{Name: "workers-ai", Kind: usage.WorkersAI, BaseName: "WORKERS_AI_BASE_URL",
		KeyNames: []string{"CLOUDFLARE_API_TOKEN"}, style: bearer, chat: "/v1/chat/completions", rules: workersPaths},
})

// byName has the providers under their names and aliases.
var byName = func() map[string]*Provider {
	m := map[string]*Provider{}
	for _, p := range builtin {
		for _, name := range append([]string{p.Name}, p.Aliases...) {
			m[name] = p
		}
	}
	return m
}()

// prepare works out once what every call needs.
func prepare(all []*Provider) []*Provider {
	for _, p := range all {
		p.numbers = numbered(p.KeyNames)
		if p.Default != "" {
			p.base, _ = parseBase(p.BaseName, p.Default, false) // each is tried in a test
		}
	}
	slices.SortFunc(all, func(a, b *Provider) int { return strings.Compare(a.Name, b.Name) })
	return all
}
