package provider

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func namesOf(creds []Credential) string {
	var all []string
	for _, c := range creds {
		all = append(all, c.Name)
	}
	return strings.Join(all, " ")
}

func TestCredentials(t *testing.T) {
	chain := []string{chainAccountName, "acc", chainGatewayName, "gw"}
	with := func(pairs ...string) []string { return append(pairs, chain...) }
	tests := []struct {
		name, provider string
		set            []string
		names          string // of the credentials
		cred           string // headers of the first
	}{
		{"one", "groq", []string{"GROQ_API_KEY", " k1\n"}, "GROQ_API_KEY", "Authorization: Bearer k1"},
		{"several, with gaps, each value once", "groq", []string{"GROQ_API_KEY_2", "k2", "GROQ_API_KEY_32", "k32", "GROQ_API_KEY_33", "k33", "GROQ_API_KEY_5", "k2"},
			"GROQ_API_KEY_2 GROQ_API_KEY_32", "Authorization: Bearer k2"},
		{"the second name", "google", []string{"GOOGLE_API_KEY", "g"}, "GOOGLE_API_KEY", "X-Goog-Api-Key: g"},
		{"both names", "google", []string{"GOOGLE_API_KEY", "g", "GEMINI_API_KEY", "m", "GEMINI_API_KEY_2", "m2"}, "GEMINI_API_KEY GOOGLE_API_KEY GEMINI_API_KEY_2", "X-Goog-Api-Key: m"},
		{"a bad one is left out", "groq", []string{"GROQ_API_KEY", "a b", "GROQ_API_KEY_2", "k2"}, "GROQ_API_KEY_2", "Authorization: Bearer k2"},
		{"none needed", "ollama", []string{"OLLAMA_BASE_URL", "http://127.0.0.1:1"}, "", ""},
		{"none needed but there", "vllm", []string{"VLLM_BASE_URL", "http://127.0.0.1:1", "VLLM_API_KEY", "v"}, "VLLM_API_KEY", "Authorization: Bearer v"},
		{"AWS, by number", "aws-bedrock", []string{awsIDName, "a", awsSecretName, "b", awsIDName + "_2", "c", awsSecretName + "_2", "d", awsIDName + "_3", "e", bedrockBearerName + "_4", "t"},
			"AWS_BEARER_TOKEN_BEDROCK_4 AWS_ACCESS_KEY_ID AWS_ACCESS_KEY_ID_2", "Authorization: Bearer t"},
		{"gateway", "anthropic", []string{gatewayBaseName, "https://gw/anthropic", gatewayKeyName, "g", "ANTHROPIC_API_KEY", "own"}, gatewayKeyName, "X-Api-Key: g"},
		{"gateway as the base", "anthropic", []string{"ANTHROPIC_BASE_URL", "https://gw", gatewayKeyName, "g"}, gatewayKeyName, "X-Api-Key: g"},
		{"gateway as the base, own key", "anthropic", []string{"ANTHROPIC_BASE_URL", "https://gw", gatewayKeyName, "g", "ANTHROPIC_API_KEY", "own"}, "ANTHROPIC_API_KEY", "X-Api-Key: own"},
		{"chain with both", "anthropic", with("ANTHROPIC_API_KEY", "own", chainKeyName, "cf"), "ANTHROPIC_API_KEY", "Cf-Aig-Authorization: Bearer cf\nX-Api-Key: own"},
		{"chain with keys there", "groq", with(chainKeyName, "cf"), chainKeyName, "Cf-Aig-Authorization: Bearer cf"},
		{"chain that asks for nothing", "groq", with("GROQ_API_KEY", "own"), "GROQ_API_KEY", "Authorization: Bearer own"},
		{"chain, workers", "workers-ai", with(chainKeyName, "cf"), chainKeyName, "Authorization: Bearer cf\nCf-Aig-Authorization: Bearer cf"},
		{"chain, a provider's key", "anthropic", with(chainKeyName, "sk-ant-1"), chainKeyName, "X-Api-Key: sk-ant-1"},
		{"chain, the named provider's key", "openai", with(chainKeyName, "sk-1", chainModelName, "openai/gpt-5"), chainKeyName, "Authorization: Bearer sk-1"},
		{"chain, by an alias", "grok", with(chainKeyName, "xai-1", chainModelName, "xai/grok-4"), chainKeyName, "Authorization: Bearer xai-1"},
		{"chain, own key first", "anthropic", with(chainKeyName, "sk-ant-1", "ANTHROPIC_API_KEY", "own"), "ANTHROPIC_API_KEY", "X-Api-Key: own"},
	}
	for _, tt := range tests {
		p, _ := Lookup(tt.provider)
		get := settings(tt.set...)
		pl, err := p.Place(get)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		creds, err := pl.Credentials(get)
		if err != nil || namesOf(creds) != tt.names || len(creds) == 0 {
			t.Errorf("%s: %s, %v, want %s", tt.name, namesOf(creds), err, tt.names)
			continue
		}
		req := &http.Request{Header: http.Header{"Authorization": {"client"}, "Cf-Aig-Authorization": {"client"}}}
		if err := (&Signer{}).Sign(req, Endpoint{Provider: p}, creds[0], nil); err != nil || credentialsIn(req.Header) != tt.cred {
			t.Errorf("%s: %q, %v, want %q", tt.name, credentialsIn(req.Header), err, tt.cred)
		}
	}
	// One provider's key, put into the gateway's setting, goes to no other.
	for _, set := range [][]string{with(chainKeyName, "sk-ant-1"), with(chainKeyName, "sk-1", chainModelName, "openai/gpt-5")} {
		get := settings(set...)
		pl, _ := byName["groq"].Place(get)
		if creds, err := pl.Credentials(get); err == nil {
			t.Errorf("%v: groq is called with %v", set, creds)
		}
	}
}

func TestThirtyTwoKeys(t *testing.T) {
	var pairs []string
	for i, name := range numbered([]string{"GROQ_API_KEY"}) {
		pairs = append(pairs, name, fmt.Sprint("k", i))
	}
	pl, _ := byName["groq"].Place(settings())
	creds, err := pl.Credentials(settings(pairs...))
	if err != nil || len(creds) != 32 || creds[31].Name != "GROQ_API_KEY_32" {
		t.Errorf("%v, %v", creds, err)
	}
}

// However a credential is printed, its values are not.
func TestKeyHygiene(t *testing.T) {
	const key = "sk-live-0123456789"
	get := settings("GROQ_API_KEY", key, chainAccountName, "a", chainGatewayName, "g", chainKeyName, "cf-"+key,
		awsIDName, "id-"+key, awsSecretName, key, awsSessionName, key)
	for _, name := range []string{"groq", "aws-bedrock"} {
		pl, err := byName[name].Place(get)
		if err != nil {
			t.Fatal(err)
		}
		creds, err := pl.Credentials(get)
		if err != nil {
			t.Fatal(err)
		}
		c := creds[0]
		hidden := struct{ c Credential }{c}
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "c", c, "creds", creds, "hidden", hidden, "place", pl)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "c", c, "creds", creds, "hidden", hidden)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			fmt.Fprintf(&log, verb+" "+verb+" "+verb+" "+verb+"\n", c, creds, hidden, &hidden)
		}
		hex := fmt.Sprintf("%x", key)
		if strings.Contains(log.String(), key) || strings.Contains(log.String(), hex) {
			t.Errorf("%s: the key is shown: %s", name, log.String())
		}
		if !strings.Contains(log.String(), c.Name) {
			t.Errorf("%s: the name is not shown", name)
		}
		if got := (&Signer{}).Secrets(c); !slices.Contains(got, key) || !slices.Contains(got, "cf-"+key) {
			t.Errorf("%s: secrets: %d", name, len(got))
		}
	}
	bad := map[string][]string{
		"groq":        {"GROQ_API_KEY", key + " x"},
		"openai":      {"OPENAI_API_KEY", key + "\nInjected: 1"},
		"aws-bedrock": {awsIDName, "id", awsSecretName, key + "\x00"},
		"anthropic":   {"ANTHROPIC_API_KEY", key + "é"},
		"mistral":     {"MISTRAL_API_KEY", key + strings.Repeat("x", maxKey)},
		"cerebras":    {"CEREBRAS_API_KEY", key, chainAccountName, "a", chainGatewayName, "g", chainKeyName, "cf " + key},
	}
	for name, set := range bad {
		get := settings(set...)
		pl, err := byName[name].Place(get)
		if err == nil {
			_, err = pl.Credentials(get)
		}
		if err == nil || strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "moltworker secret put ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if (&Signer{}).Secrets(Credential{}) != nil || fmt.Sprint(Credential{}) != "" {
		t.Error("the credential of those that need none has something in it")
	}
}
