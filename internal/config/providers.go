package config

import (
	"strconv"
	"strings"
	"time"
)

// ModelLimit is how much an agent may call models in a time: so many calls, or so
// many tokens.
type ModelLimit struct {
	Requests, Tokens int64 // one of the two
	Per              time.Duration
}

// providerKeys are the settings of model providers beside Anthropic and OpenAI. The
// AI gateway looks them up by their names (see its package provider, which knows what
// they mean); here it is only checked that they can be what they should. More keys of
// one provider, NAME_2 and so on, are sealed with `moltworker secret put`.
func providerKeys() []Key {
	hush := func(name, whose string) Key {
		return Key{Name: name, Group: groupModels, Secret: true, Form: "text", Meaning: "key for " + whose, set: kept(checkSecret)}
	}
	at := func(name, whose string) Key {
		return Key{Name: name, Group: groupModels, Form: "http or https URL", Meaning: "address of " + whose, set: kept(checkBase)}
	}
	name := func(name, meaning string) Key {
		return Key{Name: name, Group: groupModels, Form: "text", Meaning: meaning, set: kept(checkName)}
	}
	return []Key{
		hush("GEMINI_API_KEY", "Google AI Studio"),
		hush("OPENROUTER_API_KEY", "OpenRouter"),
		hush("GROQ_API_KEY", "Groq"),
		hush("MISTRAL_API_KEY", "Mistral"),
		hush("DEEPSEEK_API_KEY", "DeepSeek"),
		hush("XAI_API_KEY", "xAI's Grok"),
		hush("CEREBRAS_API_KEY", "Cerebras"),
		hush("COHERE_API_KEY", "Cohere"),
		hush("PERPLEXITY_API_KEY", "Perplexity"),
		hush("HF_TOKEN", "Hugging Face"),
		hush("REPLICATE_API_TOKEN", "Replicate"),
		hush("AZURE_OPENAI_API_KEY", "Azure OpenAI"),
		name("AZURE_OPENAI_RESOURCE", "resources of Azure OpenAI that may be called, in a comma list"),
		hush("AWS_BEARER_TOKEN_BEDROCK", "Amazon Bedrock; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY serve too"),
		name("AWS_REGION", "region of Amazon Bedrock"),
		hush("GOOGLE_APPLICATION_CREDENTIALS_JSON", "Vertex AI: the JSON file of a service account, as one line"),
		name("GOOGLE_CLOUD_PROJECT", "project of Vertex AI; the service account's when not set"),
		name("GOOGLE_CLOUD_LOCATION", "location of Vertex AI"),
		hush("CLOUDFLARE_API_TOKEN", "Workers AI"),
		at("OLLAMA_BASE_URL", "an Ollama server"),
		at("VLLM_BASE_URL", "a vLLM server"),
		at("LLAMACPP_BASE_URL", "a llama.cpp server"),
		at("OTEL_EXPORTER_OTLP_ENDPOINT", "an OpenTelemetry collector that is told of model calls, over HTTP"),
		hush("OTEL_EXPORTER_OTLP_HEADERS", "that collector: NAME=VALUE pairs of headers, separated by commas"),
		hush("CLOUDFLARE_AI_GATEWAY_API_KEY", "Cloudflare AI Gateway, which all calls go by when the next two are set"),
		name("CF_AI_GATEWAY_ACCOUNT_ID", "account of the gateway"),
		name("CF_AI_GATEWAY_GATEWAY_ID", "name of the gateway"),
		{Name: "CF_AI_GATEWAY_MODEL", Group: groupModels, Form: "PROVIDER/MODEL",
			Meaning: "model that agents use through the gateway, where MOLTWORKER_MODEL is not set", set: gatewayModel},
	}
}

// kept is a setting that only others look at, by its name.
func kept(check func(v string) error) setter {
	return func(_ *Config, v string) error { return check(v) }
}

func checkName(v string) error {
	var nowhere string
	return word(func(*Config) *string { return &nowhere })(nil, v)
}

func checkBase(v string) error {
	var nowhere string
	return baseURL(func(*Config) *string { return &nowhere })(nil, v)
}

// gatewayModel counts where no model is chosen.
func gatewayModel(c *Config, v string) error {
	if !modelPattern.MatchString(v) {
		return wrong(v, "a model", "PROVIDER/MODEL, such as anthropic/claude-sonnet-5-5 or workers-ai/@cf/meta/llama-4")
	}
	c.gatewayModel = v
	return nil
}

// chooseModel settles which model agents use.
func (c *Config) chooseModel() {
	if c.Model == "" {
		c.Model = c.gatewayModel
	}
}

func modelLimits(c *Config, v string) error {
	const right = "such as 60/1m for calls, 500000t/1h for tokens, each in 1s to 744h"
	var all []ModelLimit
	for _, item := range splitList(v) {
		number, per, _ := strings.Cut(item, "/")
		digits, tokens := strings.CutSuffix(number, "t")
		n, err := strconv.ParseInt(digits, 10, 64)
		d, errPer := time.ParseDuration(per)
		if err != nil || errPer != nil || n < 1 || n > 1e12 || d < time.Second || d > 744*time.Hour || len(all) == 8 {
			return wrong(v, "a list of limits", right)
		}
		l := ModelLimit{Requests: n, Per: d}
		if tokens {
			l = ModelLimit{Tokens: n, Per: d}
		}
		all = append(all, l)
	}
	c.ModelLimits = all
	return nil
}

func sharedCache(c *Config, v string) error {
	names := splitList(v)
	for _, name := range names {
		if !agentPattern.MatchString(name) {
			return wrong(name, "an agent's name", "1 to 40 of a-z, 0-9 and inner -, names parted by commas")
		}
	}
	if len(names) > 1000 {
		return wrong(v, "a list of at most 1000 agents", "fewer names")
	}
	c.ModelCacheShared = names
	return nil
}

func modelCalls(c *Config, v string) error {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil || n > 10_000 {
		return wrong(v, "a number of calls", "a number from 0 to 10000")
	}
	c.ModelCalls = int(n)
	return nil
}
