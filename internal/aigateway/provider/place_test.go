package provider

import (
	"errors"
	"strings"
	"testing"
)

func TestPlace(t *testing.T) {
	const cf = "https://gateway.ai.cloudflare.com/v1/acc/gw/"
	chain := []string{chainAccountName, "acc", chainGatewayName, "gw"}
	tests := []struct {
		name     string
		provider string
		set      []string
		base     string
		setting  string
		chained  bool
	}{
		{"public", "openai", nil, "https://api.openai.com/v1", "OPENAI_BASE_URL", false},
		{"own", "openai", []string{"OPENAI_BASE_URL", " https://proxy.example/v1/ "}, "https://proxy.example/v1", "OPENAI_BASE_URL", false},
		{"private address", "openai", []string{"OPENAI_BASE_URL", "http://192.168.1.2:8000/v1"}, "http://192.168.1.2:8000/v1", "OPENAI_BASE_URL", false},
		{"version dropped", "anthropic", []string{"ANTHROPIC_BASE_URL", "https://proxy.example/v1"}, "https://proxy.example", "ANTHROPIC_BASE_URL", false},
		{"version dropped", "ollama", []string{"OLLAMA_BASE_URL", "http://localhost:11434/v1/"}, "http://localhost:11434", "OLLAMA_BASE_URL", false},
		{"version kept", "groq", []string{"GROQ_BASE_URL", "https://proxy.example/v1"}, "https://proxy.example/v1", "GROQ_BASE_URL", false},
		{"nearby", "ollama", []string{"OLLAMA_BASE_URL", "http://host.docker.internal:11434"}, "http://host.docker.internal:11434", "OLLAMA_BASE_URL", false},
		{"nearby", "vllm", []string{"VLLM_BASE_URL", "http://gpu-1:8000/v1"}, "http://gpu-1:8000/v1", "VLLM_BASE_URL", false},
		{"gateway", "anthropic", []string{gatewayBaseName, "https://gw.example/anthropic/"}, "https://gw.example/anthropic", gatewayBaseName, false},
		{"gateway before own", "openai", []string{gatewayBaseName, "https://gw.example/openai", "OPENAI_BASE_URL", "https://x.example"}, "https://gw.example/openai", gatewayBaseName, false},
		{"another's gateway", "openai", []string{gatewayBaseName, "https://gw.example/anthropic"}, "https://api.openai.com/v1", "OPENAI_BASE_URL", false},
		{"another's gateway", "groq", []string{gatewayBaseName, "https://gw.example/openai"}, "https://api.groq.com/openai/v1", "GROQ_BASE_URL", false},
		{"chain", "anthropic", chain, cf + "anthropic", chainGatewayName, true},
		{"chain", "grok", chain, cf + "grok", chainGatewayName, true},
		{"chain", "workers-ai", chain, cf + "workers-ai", chainGatewayName, true},
		{"own before chain", "openai", append([]string{"OPENAI_BASE_URL", "https://x.example/v1"}, chain...), "https://x.example/v1", "OPENAI_BASE_URL", false},
		{"gateway before chain", "openai", append([]string{gatewayBaseName, "https://x.example/openai"}, chain...), "https://x.example/openai", gatewayBaseName, false},
		{"no chain", "vllm", append([]string{"VLLM_BASE_URL", "http://127.0.0.1:1/v1"}, chain...), "http://127.0.0.1:1/v1", "VLLM_BASE_URL", false},
		{"account", "workers-ai", []string{"CF_ACCOUNT_ID", "abc"}, "https://api.cloudflare.com/client/v4/accounts/abc/ai", "CLOUDFLARE_ACCOUNT_ID", false},
	}
	for _, tt := range tests {
		p, _ := Lookup(tt.provider)
		pl, err := p.Place(settings(tt.set...))
		if err != nil {
			t.Errorf("%s, %s: %v", tt.provider, tt.name, err)
			continue
		}
		if pl.Base().String() != tt.base || pl.Setting != tt.setting || pl.Chained != tt.chained {
			t.Errorf("%s, %s: %s %s %v", tt.provider, tt.name, pl.Base(), pl.Setting, pl.Chained)
		}
	}
	pl, err := byName["aws-bedrock"].Place(settings())
	if err != nil || pl.Base() != nil {
		t.Errorf("bedrock: %v %v", pl.Base(), err)
	}
}

// An unusable base URL is told with the setting's name and never with its value.
func TestBadPlaces(t *testing.T) {
	const key = "sk-live-0123456789"
	values := []string{
		key, "https://" + key + "@host", "https://user:" + key + "@host/", "https://host/?key=" + key, "https://host/#" + key,
		"http://example.com/" + key, "ftp://host/" + key, "https:///" + key, "https://:443/" + key, "https:" + key, "//host/" + key,
		"http://gpu:8000/" + key, "http://169.254.169.254/" + key, "http://host.internal/" + key, "https://ho st/" + key, "https://host/%zz" + key, "https://host?",
	}
	for _, name := range []string{"OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", gatewayBaseName} {
		for _, v := range values {
			get := settings(name, v)
			err := Check(get)
			if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), key) {
				t.Errorf("%s=%s: %v", name, v, err)
			}
			if name == gatewayBaseName {
				continue // counts for a provider only where it ends in its name
			}
			p := byName[strings.ToLower(strings.TrimSuffix(name, "_BASE_URL"))]
			if _, err := p.Place(get); err == nil || strings.Contains(err.Error(), key) {
				t.Errorf("%s=%s: placed, %v", name, v, err)
			}
		}
	}
	for _, v := range []string{"http://1234:80/", "http://example.com/", "http://169.254.169.254/", "http://evil.local.com/", "http://0x7f000001/"} {
		if err := Check(settings("OLLAMA_BASE_URL", v)); err == nil {
			t.Errorf("OLLAMA_BASE_URL=%s is accepted", v)
		}
	}
	for _, set := range [][]string{
		{chainAccountName, "acc"}, {chainGatewayName, "gw"}, {chainAccountName, "a/b", chainGatewayName, "gw"}, {chainAccountName, "acc", chainGatewayName, "../x"},
		{chainAccountName, "acc", chainGatewayName, "g?x"}, {chainAccountName, strings.Repeat("a", 65), chainGatewayName, "gw"}, {chainAccountName, "a@evil.com", chainGatewayName, "gw"},
	} {
		if err := Check(settings(set...)); err == nil {
			t.Errorf("%v is accepted", set)
		}
		if pl, err := byName["openai"].Place(settings(set...)); err == nil {
			t.Errorf("%v: goes to %s past the gateway", set, pl.Base())
		}
	}
	if err := Check(allSet(chainAccountName, "acc", chainGatewayName, "gw")); err != nil {
		t.Error(err)
	}
}

func TestMissing(t *testing.T) {
	tests := []struct {
		provider string
		set      []string
		want     string
	}{
		{"groq", nil, "no GROQ_API_KEY is set on this host; set it with: moltworker secret put GROQ_API_KEY"},
		{"google", nil, "no GEMINI_API_KEY or GOOGLE_API_KEY is set on this host; set it with: moltworker secret put GEMINI_API_KEY"},
		{"ollama", nil, "no OLLAMA_BASE_URL is set on this host; set it with: moltworker secret put OLLAMA_BASE_URL"},
		{"custom-my-lab", nil, "no CUSTOM_MY_LAB_BASE_URL is set on this host; set it with: moltworker secret put CUSTOM_MY_LAB_BASE_URL"},
		{"azure-openai", []string{"AZURE_OPENAI_API_KEY", "k"}, "no AZURE_OPENAI_RESOURCE is set on this host; set it with: moltworker secret put AZURE_OPENAI_RESOURCE"},
		{"azure-openai", []string{"AZURE_OPENAI_API_KEY", "k", chainAccountName, "a", chainGatewayName, "g"}, "no AZURE_OPENAI_RESOURCE is set on this host; set it with: moltworker secret put AZURE_OPENAI_RESOURCE"},
		{"aws-bedrock", nil, "no AWS_BEARER_TOKEN_BEDROCK or AWS_ACCESS_KEY_ID is set on this host; set it with: moltworker secret put AWS_BEARER_TOKEN_BEDROCK"},
		{"aws-bedrock", []string{awsIDName, "id"}, "no AWS_SECRET_ACCESS_KEY is set on this host; set it with: moltworker secret put AWS_SECRET_ACCESS_KEY"},
		{"workers-ai", nil, "no CLOUDFLARE_ACCOUNT_ID or CF_ACCOUNT_ID is set on this host; set it with: moltworker secret put CLOUDFLARE_ACCOUNT_ID"},
		{"anthropic", []string{gatewayBaseName, "https://gw/anthropic", "ANTHROPIC_API_KEY", "k"}, "no AI_GATEWAY_API_KEY is set on this host; set it with: moltworker secret put AI_GATEWAY_API_KEY"},
		{"openai", []string{chainAccountName, "a"}, "no CF_AI_GATEWAY_GATEWAY_ID is set on this host; set it with: moltworker secret put CF_AI_GATEWAY_GATEWAY_ID"},
		{"openai", []string{chainAccountName, "a", chainGatewayName, "g"}, "no OPENAI_API_KEY is set on this host; set it with: moltworker secret put OPENAI_API_KEY"},
	}
	for _, tt := range tests {
		p, _ := Lookup(tt.provider)
		get := settings(tt.set...)
		pl, err := p.Place(get)
		if err == nil {
			_, err = pl.Credentials(get)
		}
		var missing *MissingError
		if !errors.As(err, &missing) || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.provider, err, tt.want)
		}
	}
}

// The key of one's own Azure resource does not go to a stranger's.
func TestAzureResources(t *testing.T) {
	ep, ok := byName["azure-openai"].Match(post, "/stranger/gpt/chat/completions")
	if !ok {
		t.Fatal("no match")
	}
	for _, more := range [][]string{{azureResourceName, "myres"}, {azureResourceName, "My-Res, other"}, {azureResourceName, "myres", chainAccountName, "a", chainGatewayName, "g"},
		{azureResourceName, "myres", "AZURE_OPENAI_BASE_URL", "https://apim.example/x"}} {
		pl, err := byName["azure-openai"].Place(settings(more...))
		if err != nil {
			t.Fatal(err)
		}
		if u, err := pl.URL(ep, ""); err == nil {
			t.Errorf("%v: goes to %s", more, u)
		}
	}
	pl, _ := byName["azure-openai"].Place(settings(azureResourceName, "My-Res, stranger"))
	if u, err := pl.URL(ep, ""); err != nil || u.Host != "stranger.openai.azure.com" {
		t.Errorf("%v, %v", u, err)
	}
}

func TestEndpointOfAnotherProvider(t *testing.T) {
	ep, _ := byName["openai"].Match(post, "/chat/completions")
	pl, _ := byName["groq"].Place(settings())
	if u, err := pl.URL(ep, ""); err == nil {
		t.Errorf("goes to %s", u)
	}
	if _, err := (Place{}).URL(ep, ""); err == nil {
		t.Error("a call without a place goes somewhere")
	}
	if _, err := pl.URL(Endpoint{}, ""); err == nil {
		t.Error("a call without an endpoint goes somewhere")
	}
}

func TestEscapedBase(t *testing.T) {
	pl, err := byName["openai"].Place(settings("OPENAI_BASE_URL", "https://host/a%2Fb/v1"))
	if err != nil {
		t.Fatal(err)
	}
	ep, _ := byName["openai"].Match(post, "/chat/completions")
	if u, err := pl.URL(ep, "a=1"); err != nil || u.String() != "https://host/a%2Fb/v1/chat/completions?a=1" {
		t.Errorf("%v, %v", u, err)
	}
}
