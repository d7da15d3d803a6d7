package provider

import (
	"errors"
	"strings"
	"testing"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// Where the unified API sends a model, and what the body must call it there.
func TestCompat(t *testing.T) {
	chain := []string{chainAccountName, "acc", chainGatewayName, "gw", chainKeyName, "cf"}
	tests := []struct {
		model, wire string
		set         []string
		url         string
	}{
		{"anthropic/claude-sonnet-4-5", "claude-sonnet-4-5", nil, "https://api.anthropic.com/v1/chat/completions"},
		{"openai/gpt-5-mini", "gpt-5-mini", nil, "https://api.openai.com/v1/chat/completions"},
		{"google-ai-studio/gemini-2.5-flash", "gemini-2.5-flash", nil, "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions"},
		{"openrouter/openai/gpt-5", "openai/gpt-5", nil, "https://openrouter.ai/api/v1/chat/completions"},
		{"groq/meta-llama/llama-4", "meta-llama/llama-4", nil, "https://api.groq.com/openai/v1/chat/completions"},
		{"mistral/mistral-large-latest", "mistral-large-latest", nil, "https://api.mistral.ai/v1/chat/completions"},
		{"deepseek/deepseek-chat", "deepseek-chat", nil, "https://api.deepseek.com/chat/completions"},
		{"xai/grok-4", "grok-4", nil, "https://api.x.ai/v1/chat/completions"},
		{"cerebras/gpt-oss-120b", "gpt-oss-120b", nil, "https://api.cerebras.ai/v1/chat/completions"},
		{"perplexity/sonar", "sonar", nil, "https://api.perplexity.ai/chat/completions"},
		{"cohere/command-a-03-2025", "command-a-03-2025", nil, "https://api.cohere.com/compatibility/v1/chat/completions"},
		{"huggingface/openai/gpt-oss-120b:fastest", "openai/gpt-oss-120b:fastest", nil, "https://router.huggingface.co/v1/chat/completions"},
		{"workers-ai/@cf/meta/llama-3.1-8b-instruct", "@cf/meta/llama-3.1-8b-instruct", nil, "https://api.cloudflare.com/client/v4/accounts/" + account32 + "/ai/v1/chat/completions"},
		{"azure-openai/gpt-4o", "gpt-4o", nil, "https://myres.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"},
		{"aws-bedrock/openai.gpt-oss-20b-1:0", "openai.gpt-oss-20b-1:0", []string{awsRegionName, "us-west-2"}, "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1/chat/completions"},
		{"google-vertex-ai/google/gemini-2.5-pro", "google/gemini-2.5-pro", []string{projectName, "proj", locationName, "us-central1"},
			"https://us-central1-aiplatform.googleapis.com/v1/projects/proj/locations/us-central1/endpoints/openapi/chat/completions"},
		{"google-vertex-ai/google/gemini-2.5-pro", "google/gemini-2.5-pro", []string{googleAccountName, `{"project_id":"acct"}`},
			"https://aiplatform.googleapis.com/v1/projects/acct/locations/global/endpoints/openapi/chat/completions"},
		{"ollama/llama3.2:3b", "llama3.2:3b", nil, "http://127.0.0.1:11434/v1/chat/completions"},
		{"vllm/Qwen/Qwen3-8B", "Qwen/Qwen3-8B", nil, "http://gpu:8000/v1/chat/completions"},
		{"llamacpp/any", "any", nil, "http://10.0.0.2:8080/v1/chat/completions"},
		{"custom-my-lab/m", "m", nil, "https://lab.example.org/api/v1/chat/completions"},
		{"azure-openai/gpt-4o", "gpt-4o", chain, "https://gateway.ai.cloudflare.com/v1/acc/gw/azure-openai/myres/gpt-4o/chat/completions?api-version=2024-10-21"},
		{"groq/llama", "llama", chain, "https://gateway.ai.cloudflare.com/v1/acc/gw/groq/chat/completions"},
	}
	for _, tt := range tests {
		p, wire, ok := Compat(tt.model)
		if !ok || wire != tt.wire {
			t.Errorf("%s: %v %q %v", tt.model, p, wire, ok)
			continue
		}
		get := allSet(tt.set...)
		ep, err := p.Chat(wire, get)
		if err != nil || ep.Kind != usage.Chat || !ep.Paid || !ep.Retry {
			t.Errorf("%s: %+v %v", tt.model, ep, err)
			continue
		}
		pl, err := p.Place(get)
		if err != nil {
			t.Errorf("%s: %v", tt.model, err)
			continue
		}
		if u, err := pl.URL(ep, ""); err != nil || u.String() != tt.url {
			t.Errorf("%s: %v, %v, want %s", tt.model, u, err, tt.url)
		}
	}
	for _, model := range []string{"", "/", "gpt-5", "openai/", "/gpt-5", "unknown/x", "demo/x", "replicate/meta/llama", "openai/a b", "openai/a\n", "openai/é", "custom-/x", "openai/" + strings.Repeat("a", maxModel)} {
		if p, wire, ok := Compat(model); ok {
			t.Errorf("%q is %v %q", model, p, wire)
		}
	}
}

func TestChatNeeds(t *testing.T) {
	tests := []struct {
		provider, model string
		set             []string
		missing         string // "" where the error is another
	}{
		{"azure-openai", "gpt", nil, azureResourceName},
		{"azure-openai", "gpt", []string{azureResourceName, "evil.com"}, ""},
		{"azure-openai", "a/../../b", []string{azureResourceName, "r"}, ""},
		{"azure-openai", "..", []string{azureResourceName, "r"}, ""},
		{"azure-openai", "a%2fb", []string{azureResourceName, "r"}, ""},
		{"azure-openai", "{resource}", []string{azureResourceName, "r"}, ""},
		{"aws-bedrock", "m", nil, awsRegionName},
		{"aws-bedrock", "m", []string{awsRegionName, "evil.com/"}, ""},
		{"google-vertex-ai", "m", nil, projectName},
		{"google-vertex-ai", "m", []string{projectName, "p", locationName, "x.evil"}, ""},
		{"google-vertex-ai", "m", []string{projectName, "p/../q"}, ""},
		{"google-vertex-ai", "m", []string{googleAccountName, `{"project_id":"{location}"}`}, ""},
		{"replicate", "m", nil, ""},
	}
	for _, tt := range tests {
		ep, err := byName[tt.provider].Chat(tt.model, settings(tt.set...))
		var missing *MissingError
		if err == nil || (tt.missing != "") != errors.As(err, &missing) || tt.missing != "" && missing.Names[0] != tt.missing {
			t.Errorf("%s %s %v: %s, %v", tt.provider, tt.model, tt.set, ep.Path(), err)
		}
	}
}

func FuzzCompat(f *testing.F) {
	for _, m := range []string{"azure-openai/gpt", "anthropic/claude", "google-vertex-ai/google/g", "azure-openai/../x", "azure-openai/{a}"} {
		f.Add(m)
	}
	get := allSet(awsRegionName, "us-east-1", projectName, "p")
	f.Fuzz(func(t *testing.T, model string) {
		p, wire, ok := Compat(model)
		if !ok {
			return
		}
		ep, err := p.Chat(wire, get)
		if err != nil {
			return
		}
		pl, err := p.Place(get)
		if err != nil {
			return
		}
		u, err := pl.URL(ep, "")
		if err != nil || !isOwnHost(p, u.Host) || !strings.HasSuffix(u.Path, "/chat/completions") {
			t.Fatalf("%q goes to %v, %v", model, u, err)
		}
	})
}
