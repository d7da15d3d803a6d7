package provider

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

const (
	awsID     = "AKIDEXAMPLE" // of AWS's published examples
	awsSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	account32 = "0123456789abcdef0123456789abcdef"
)

// settings are made of pairs NAME, value.
func settings(pairs ...string) Settings {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

// allSet has a key for every provider, "key-of-" and its name.
func allSet(more ...string) Settings {
	var pairs []string
	for _, p := range builtin {
		switch {
		case p.style == aws:
			pairs = append(pairs, awsIDName, awsID, awsSecretName, awsSecret)
		case p.style != serviceAccount && !p.Local:
			pairs = append(pairs, p.KeyNames[0], "key-of-"+p.Name)
		}
	}
	pairs = append(pairs, azureResourceName, "myres", "CLOUDFLARE_ACCOUNT_ID", account32,
		"OLLAMA_BASE_URL", "http://127.0.0.1:11434", "VLLM_BASE_URL", "http://gpu:8000/v1", "LLAMACPP_BASE_URL", "http://10.0.0.2:8080/v1",
		"CUSTOM_MY_LAB_BASE_URL", "https://lab.example.org/api/v1", "CUSTOM_MY_LAB_API_KEY", "key-of-lab")
	return settings(append(pairs, more...)...)
}

func at2015() time.Time { return time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC) }

// prepareCall does what a caller does with a request.
func prepareCall(get Settings, s *Signer, method, target string, body string) (*http.Request, Endpoint, error) {
	path, query, _ := strings.Cut(target, "?")
	p, rest, ok := Cut(path)
	if !ok {
		return nil, Endpoint{}, fmt.Errorf("no provider")
	}
	ep, ok := p.Match(method, rest)
	if !ok {
		return nil, ep, fmt.Errorf("no match")
	}
	pl, err := p.Place(get)
	if err != nil {
		return nil, ep, err
	}
	u, err := pl.URL(ep, query)
	if err != nil {
		return nil, ep, err
	}
	creds, err := pl.Credentials(get)
	if err != nil {
		return nil, ep, err
	}
	req := &http.Request{Method: method, URL: u, Header: http.Header{"Content-Type": {"application/json"},
		"Authorization": {"Bearer client"}, "X-Api-Key": {"client"}, "Cookie": {"client"}}}
	return req, ep, s.Sign(req, ep, creds[0], []byte(body))
}

// credentialsIn are the headers that Sign is responsible for, "Name: value".
func credentialsIn(h http.Header) string {
	var all []string
	for name, values := range h {
		if credentialHeaders[name] || strings.HasPrefix(name, amzPrefix) {
			all = append(all, name+": "+strings.Join(values, ","))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

const converseModel = "us.anthropic.claude-haiku-4-5-20251001-v1:0"

// Every row is an endpoint: what a client sends and what goes out for it.
func TestCalls(t *testing.T) {
	const bearerOf = "Authorization: Bearer key-of-"
	tests := []struct {
		method, path, url, cred string
		kind                    usage.Kind
		model                   string
		is                      trait
	}{
		{post, "/anthropic/v1/messages?beta=true", "https://api.anthropic.com/v1/messages?beta=true", "X-Api-Key: key-of-anthropic", usage.Anthropic, "", paid | safe},
		{post, "/anthropic/v1/messages/count_tokens", "https://api.anthropic.com/v1/messages/count_tokens", "X-Api-Key: key-of-anthropic", usage.Opaque, "", safe},
		{post, "/anthropic/v1/chat/completions", "https://api.anthropic.com/v1/chat/completions", bearerOf + "anthropic", usage.Chat, "", paid | safe},
		{get, "/anthropic/v1/models", "https://api.anthropic.com/v1/models", "X-Api-Key: key-of-anthropic", usage.Opaque, "", safe},
		{get, "/anthropic/v1/models/claude-opus-4-1", "https://api.anthropic.com/v1/models/claude-opus-4-1", "X-Api-Key: key-of-anthropic", usage.Opaque, "claude-opus-4-1", safe},

		{post, "/openai/chat/completions", "https://api.openai.com/v1/chat/completions", bearerOf + "openai", usage.Chat, "", paid | safe},
		{post, "/openai/v1/chat/completions", "https://api.openai.com/v1/chat/completions", bearerOf + "openai", usage.Chat, "", paid | safe},
		{post, "/openai/v1/completions", "https://api.openai.com/v1/completions", bearerOf + "openai", usage.Chat, "", paid | safe},
		{post, "/openai/responses", "https://api.openai.com/v1/responses", bearerOf + "openai", usage.Responses, "", paid},
		{post, "/openai/v1/responses/compact", "https://api.openai.com/v1/responses/compact", bearerOf + "openai", usage.Responses, "", paid | safe},
		{post, "/openai/v1/responses/input_tokens", "https://api.openai.com/v1/responses/input_tokens", bearerOf + "openai", usage.Opaque, "", safe},
		{post, "/openai/embeddings", "https://api.openai.com/v1/embeddings", bearerOf + "openai", usage.Embeddings, "", paid | safe},
		{post, "/openai/v1/images/generations", "https://api.openai.com/v1/images/generations", bearerOf + "openai", usage.Images, "", paid | safe},
		{post, "/openai/v1/images/variations", "https://api.openai.com/v1/images/variations", bearerOf + "openai", usage.Images, "", paid | safe},
		{post, "/openai/v1/audio/speech", "https://api.openai.com/v1/audio/speech", bearerOf + "openai", usage.Audio, "", paid | safe},
		{post, "/openai/v1/audio/transcriptions", "https://api.openai.com/v1/audio/transcriptions", bearerOf + "openai", usage.Audio, "", paid | safe},
		{post, "/openai/v1/moderations", "https://api.openai.com/v1/moderations", bearerOf + "openai", usage.Opaque, "", safe},
		{get, "/openai/models", "https://api.openai.com/v1/models", bearerOf + "openai", usage.Opaque, "", safe},
		{get, "/openai/v1/realtime?model=gpt-realtime", "https://api.openai.com/v1/realtime?model=gpt-realtime", bearerOf + "openai", usage.Realtime, "", paid | socket},

		{post, "/google-ai-studio/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse&key=client",
			"https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", "X-Goog-Api-Key: key-of-google-ai-studio", usage.Gemini, "gemini-2.5-flash", paid | safe},
		{post, "/google-ai-studio/v1/models/gemini-2.5-flash%3AgenerateContent",
			"https://generativelanguage.googleapis.com/v1/models/gemini-2.5-flash:generateContent", "X-Goog-Api-Key: key-of-google-ai-studio", usage.Gemini, "gemini-2.5-flash", paid | safe},
		{post, "/google-ai-studio/v1beta/models/gemini-2.5-flash:countTokens",
			"https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:countTokens", "X-Goog-Api-Key: key-of-google-ai-studio", usage.Opaque, "gemini-2.5-flash", safe},
		{post, "/google-ai-studio/v1beta/models/gemini-embedding-001:embedContent",
			"https://generativelanguage.googleapis.com/v1beta/models/gemini-embedding-001:embedContent", "X-Goog-Api-Key: key-of-google-ai-studio", usage.Gemini, "gemini-embedding-001", paid | safe},
		{get, "/google-ai-studio/v1beta/models", "https://generativelanguage.googleapis.com/v1beta/models", "X-Goog-Api-Key: key-of-google-ai-studio", usage.Opaque, "", safe},
		{post, "/google-ai-studio/v1beta/openai/chat/completions", "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions", bearerOf + "google-ai-studio", usage.Chat, "", paid | safe},

		{post, "/openrouter/chat/completions", "https://openrouter.ai/api/v1/chat/completions", bearerOf + "openrouter", usage.Chat, "", paid | safe},
		{post, "/openrouter/v1/messages", "https://openrouter.ai/api/v1/messages", bearerOf + "openrouter", usage.Anthropic, "", paid | safe},
		{post, "/groq/chat/completions", "https://api.groq.com/openai/v1/chat/completions", bearerOf + "groq", usage.Chat, "", paid | safe},
		{post, "/groq/v1/audio/transcriptions", "https://api.groq.com/openai/v1/audio/transcriptions", bearerOf + "groq", usage.Audio, "", paid | safe},
		{post, "/mistral/v1/chat/completions", "https://api.mistral.ai/v1/chat/completions", bearerOf + "mistral", usage.Chat, "", paid | safe},
		{post, "/mistral/fim/completions", "https://api.mistral.ai/v1/fim/completions", bearerOf + "mistral", usage.Chat, "", paid | safe},
		{post, "/deepseek/chat/completions", "https://api.deepseek.com/chat/completions", bearerOf + "deepseek", usage.Chat, "", paid | safe},
		{post, "/deepseek/anthropic/v1/messages", "https://api.deepseek.com/anthropic/v1/messages", bearerOf + "deepseek", usage.Anthropic, "", paid | safe},
		{post, "/grok/v1/chat/completions", "https://api.x.ai/v1/chat/completions", bearerOf + "grok", usage.Chat, "", paid | safe},
		{post, "/xai/chat/completions", "https://api.x.ai/v1/chat/completions", bearerOf + "grok", usage.Chat, "", paid | safe},
		{post, "/grok/v1/messages", "https://api.x.ai/v1/messages", bearerOf + "grok", usage.Anthropic, "", paid | safe},
		{post, "/cerebras/chat/completions", "https://api.cerebras.ai/v1/chat/completions", bearerOf + "cerebras", usage.Chat, "", paid | safe},
		{post, "/perplexity-ai/chat/completions", "https://api.perplexity.ai/chat/completions", bearerOf + "perplexity-ai", usage.Chat, "", paid | safe},
		{post, "/perplexity/v1/responses", "https://api.perplexity.ai/v1/responses", bearerOf + "perplexity-ai", usage.Responses, "", paid | safe},
		{post, "/cohere/v2/chat", "https://api.cohere.com/v2/chat", bearerOf + "cohere", usage.Cohere, "", paid | safe},
		{post, "/cohere/v2/rerank", "https://api.cohere.com/v2/rerank", bearerOf + "cohere", usage.Cohere, "", paid | safe},
		{post, "/cohere/compatibility/v1/chat/completions", "https://api.cohere.com/compatibility/v1/chat/completions", bearerOf + "cohere", usage.Chat, "", paid | safe},

		{post, "/azure-openai/myres/gpt-4o/chat/completions?api-version=2025-01-01-preview",
			"https://myres.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2025-01-01-preview", "Api-Key: key-of-azure-openai", usage.Chat, "gpt-4o", paid | safe},
		{post, "/azure-openai/myres/emb/embeddings", "https://myres.openai.azure.com/openai/deployments/emb/embeddings?api-version=2024-10-21", "Api-Key: key-of-azure-openai", usage.Embeddings, "emb", paid | safe},

		{post, "/workers-ai/@cf/meta/llama-3.1-8b-instruct", "https://api.cloudflare.com/client/v4/accounts/" + account32 + "/ai/run/@cf/meta/llama-3.1-8b-instruct", bearerOf + "workers-ai", usage.WorkersAI, "@cf/meta/llama-3.1-8b-instruct", paid | safe},
		{post, "/workers-ai/run/%40cf/meta/llama-3.1-8b-instruct", "https://api.cloudflare.com/client/v4/accounts/" + account32 + "/ai/run/@cf/meta/llama-3.1-8b-instruct", bearerOf + "workers-ai", usage.WorkersAI, "@cf/meta/llama-3.1-8b-instruct", paid | safe},
		{post, "/workers-ai/v1/chat/completions", "https://api.cloudflare.com/client/v4/accounts/" + account32 + "/ai/v1/chat/completions", bearerOf + "workers-ai", usage.Chat, "", paid | safe},

		{post, "/huggingface/bigcode/starcoder", "https://router.huggingface.co/hf-inference/models/bigcode/starcoder", bearerOf + "huggingface", usage.HuggingFace, "bigcode/starcoder", paid | safe},
		{post, "/huggingface/gpt2", "https://router.huggingface.co/hf-inference/models/gpt2", bearerOf + "huggingface", usage.HuggingFace, "gpt2", paid | safe},
		{post, "/huggingface/v1/chat/completions", "https://router.huggingface.co/v1/chat/completions", bearerOf + "huggingface", usage.Chat, "", paid | safe},
		{post, "/replicate/predictions", "https://api.replicate.com/v1/predictions", bearerOf + "replicate", usage.Replicate, "", paid},
		{get, "/replicate/predictions/abc123", "https://api.replicate.com/v1/predictions/abc123", bearerOf + "replicate", usage.Replicate, "", safe},
		{post, "/replicate/v1/models/meta/llama-3/predictions", "https://api.replicate.com/v1/models/meta/llama-3/predictions", bearerOf + "replicate", usage.Replicate, "meta/llama-3", paid},

		{post, "/ollama/api/chat", "http://127.0.0.1:11434/api/chat", "", usage.Ollama, "", paid | safe},
		{post, "/ollama/v1/chat/completions", "http://127.0.0.1:11434/v1/chat/completions", "", usage.Chat, "", paid | safe},
		{get, "/ollama/api/tags", "http://127.0.0.1:11434/api/tags", "", usage.Opaque, "", safe},
		{post, "/vllm/v1/chat/completions", "http://gpu:8000/v1/chat/completions", "", usage.Chat, "", paid | safe},
		{post, "/llamacpp/embeddings", "http://10.0.0.2:8080/v1/embeddings", "", usage.Embeddings, "", paid | safe},
		{post, "/custom-my-lab/chat/completions", "https://lab.example.org/api/v1/chat/completions", bearerOf + "lab", usage.Chat, "", paid | safe},
		{get, "/custom-my-lab/v1/models", "https://lab.example.org/api/v1/models", bearerOf + "lab", usage.Opaque, "", safe},
	}
	for _, tt := range tests {
		req, ep, err := prepareCall(allSet(), &Signer{}, tt.method, tt.path, "{}")
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		if got := req.URL.String(); got != tt.url {
			t.Errorf("%s goes to %s, want %s", tt.path, got, tt.url)
		}
		if got := credentialsIn(req.Header); got != tt.cred {
			t.Errorf("%s: headers %q, want %q", tt.path, got, tt.cred)
		}
		if !strings.HasSuffix(req.URL.Path, ep.Path()) || ep.Path() == "" {
			t.Errorf("%s: path %q is not in %s", tt.path, ep.Path(), req.URL)
		}
		is := ep.rule.is
		if ep.Kind != tt.kind || ep.Model != tt.model || is != tt.is {
			t.Errorf("%s: kind %q model %q traits %b, want %q %q %b", tt.path, ep.Kind, ep.Model, is, tt.kind, tt.model, tt.is)
		}
		if ep.Paid != (is&paid != 0) || ep.Retry != (is&safe != 0) || ep.WebSocket != (is&socket != 0) {
			t.Errorf("%s: %+v does not say what its rule does", tt.path, ep)
		}
	}
}

// What botocore 1.43.11 makes of the same requests, keys and time.
func TestBedrockCalls(t *testing.T) {
	const (
		head = "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/"
		date = "\nX-Amz-Date: 20150830T123600Z"
		wire = "us.anthropic.claude-haiku-4-5-20251001-v1%3A0"
	)
	session := []string{awsSessionName, "SESSION/TOKEN+EXAMPLE=="}
	chain := []string{chainAccountName, "acc", chainGatewayName, "gw", chainKeyName, "cftoken"}
	tests := []struct {
		path, body string
		more       []string
		url, cred  string
	}{
		{"/aws-bedrock/bedrock-runtime/us-east-1/model/" + converseModel + "/converse-stream", `{"messages":[]}`, nil,
			"https://bedrock-runtime.us-east-1.amazonaws.com/model/" + wire + "/converse-stream",
			head + "bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=664df4edc74973cb2761bc9431b672228ddf1c2accae77450fc7fa6c7416a054" + date},
		{"/aws-bedrock/bedrock-runtime/us-east-1/model/" + wire + "/converse-stream", `{"messages":[]}`, session,
			"https://bedrock-runtime.us-east-1.amazonaws.com/model/" + wire + "/converse-stream",
			head + "bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=ea1c3595f5972f6717657d48472a5ea191fb089635c97c92e22050a690d488a6" + date + "\nX-Amz-Security-Token: SESSION/TOKEN+EXAMPLE=="},
		// Cloudflare's gateway is called with what is signed for AWS, so the signature is the first row's.
		{"/aws-bedrock/bedrock-runtime/us-east-1/model/" + converseModel + "/converse-stream", `{"messages":[]}`, chain,
			"https://gateway.ai.cloudflare.com/v1/acc/gw/aws-bedrock/bedrock-runtime/us-east-1/model/" + wire + "/converse-stream",
			head + "bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=664df4edc74973cb2761bc9431b672228ddf1c2accae77450fc7fa6c7416a054\nCf-Aig-Authorization: Bearer cftoken" + date},
		{"/aws-bedrock/bedrock-mantle/us-east-1/anthropic/v1/messages?beta=true", `{}`, nil,
			"https://bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages?beta=true",
			head + "bedrock-mantle/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=dc8653f3e0363aa117d94db42a3aa1e5dc67f2be76455ef406ee7a42b118432d" + date},
		{"/aws-bedrock/bedrock-runtime/eu-west-1/openai/v1/chat/completions", `{}`, []string{bedrockBearerName, "bedrock-token"},
			"https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1/chat/completions", "Authorization: Bearer bedrock-token"},
		{"/aws-bedrock/bedrock-mantle/us-east-1/anthropic/v1/messages", `{}`, []string{bedrockBearerName, "bedrock-token"},
			"https://bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages", "X-Api-Key: bedrock-token"},
		{"/aws-bedrock/bedrock-mantle/us-east-1/anthropic/v1/messages", `{}`, append([]string{bedrockBearerName, "bedrock-token"}, chain...),
			"https://gateway.ai.cloudflare.com/v1/acc/gw/aws-bedrock/bedrock-mantle/us-east-1/anthropic/v1/messages",
			"Authorization: Bearer bedrock-token\nCf-Aig-Authorization: Bearer cftoken"},
	}
	for _, tt := range tests {
		req, _, err := prepareCall(allSet(tt.more...), &Signer{Now: at2015}, post, tt.path, tt.body)
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		if got := req.URL.String(); got != tt.url {
			t.Errorf("%s goes to %s, want %s", tt.path, got, tt.url)
		}
		if got := credentialsIn(req.Header); got != tt.cred {
			t.Errorf("%s:\n got %s\nwant %s", tt.path, got, tt.cred)
		}
	}
}

// Behind Cloudflare's gateway a path is what its documentation of the provider says.
func TestChainedCalls(t *testing.T) {
	const root = "https://gateway.ai.cloudflare.com/v1/" + account32 + "/my-gw/"
	chain := []string{chainAccountName, account32, chainGatewayName, "my-gw", chainKeyName, "cftoken"}
	tests := []struct{ method, path, url string }{
		{post, "/anthropic/v1/messages", root + "anthropic/v1/messages"},
		{post, "/openai/v1/chat/completions", root + "openai/chat/completions"},
		{get, "/openai/v1/realtime?model=m", root + "openai?model=m"},
		{post, "/groq/chat/completions", root + "groq/chat/completions"},
		{post, "/mistral/chat/completions", root + "mistral/v1/chat/completions"},
		{post, "/xai/v1/chat/completions", root + "grok/v1/chat/completions"},
		{post, "/deepseek/v1/chat/completions", root + "deepseek/chat/completions"},
		{post, "/perplexity/chat/completions", root + "perplexity-ai/chat/completions"},
		{post, "/openrouter/v1/chat/completions", root + "openrouter/chat/completions"},
		{post, "/cohere/v2/chat", root + "cohere/v2/chat"},
		{post, "/google-ai-studio/v1beta/models/g:generateContent", root + "google-ai-studio/v1beta/models/g:generateContent"},
		{post, "/workers-ai/run/@cf/meta/llama", root + "workers-ai/@cf/meta/llama"},
		{post, "/workers-ai/v1/chat/completions", root + "workers-ai/v1/chat/completions"},
		{post, "/huggingface/hf-inference/models/bigcode/starcoder", root + "huggingface/bigcode/starcoder"},
		{post, "/replicate/predictions", root + "replicate/predictions"},
		{post, "/azure-openai/myres/gpt/chat/completions?api-version=v", root + "azure-openai/myres/gpt/chat/completions?api-version=v"},
		{post, "/google-vertex-ai/v1/projects/p/locations/us-central1/publishers/google/models/g:generateContent",
			root + "google-vertex-ai/v1/projects/p/locations/us-central1/publishers/google/models/g:generateContent"},
		{post, "/ollama/api/chat", "http://127.0.0.1:11434/api/chat"},
		{post, "/custom-my-lab/chat/completions", "https://lab.example.org/api/v1/chat/completions"},
	}
	for _, tt := range tests {
		req, ep, err := prepareCall(allSet(chain...), &Signer{}, tt.method, tt.path, "{}")
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		if got := req.URL.String(); got != tt.url {
			t.Errorf("%s goes to %s, want %s", tt.path, got, tt.url)
		}
		want := "Bearer cftoken"
		if ep.Provider.unchain {
			want = ""
		}
		if got := req.Header.Get("Cf-Aig-Authorization"); got != want {
			t.Errorf("%s: gateway's header %q, want %q", tt.path, got, want)
		}
	}
	if _, _, err := prepareCall(allSet(chain...), &Signer{}, post, "/huggingface/v1/chat/completions", ""); err == nil {
		t.Error("a path that Cloudflare's gateway does not have was sent there")
	}
}

// No list has two rules for one path, and every rule can be reached as it is written.
func TestEveryRuleIsReached(t *testing.T) {
	sample := map[string]string{"version": "v1beta", "resource": "myres", "region": "us-east-1", "location": "us-central1",
		"project": "proj", "cf": "@cf", "publisher": "google"}
	seen := map[string]bool{}
	for _, p := range builtin {
		for i := range p.rules {
			r := &p.rules[i]
			var path strings.Builder
			for _, part := range r.in {
				path.WriteByte('/')
				if part.arg >= 0 {
					v := sample[r.names[part.arg]]
					if v == "" {
						v = "x"
					}
					path.WriteString(v)
				}
				path.WriteString(part.lit)
			}
			key := p.Name + " " + r.m + path.String()
			if seen[key] {
				t.Errorf("two rules for %s", key)
			}
			seen[key] = true
			ep, ok := p.Match(r.m, path.String())
			if !ok || ep.rule != r {
				t.Errorf("%s is not matched by its own rule", key)
			}
			if len(r.names) > maxArgs {
				t.Errorf("%s has %d parameters", key, len(r.names))
			}
		}
	}
	if len(seen) < 150 {
		t.Errorf("only %d endpoints", len(seen))
	}
}

func TestLookup(t *testing.T) {
	for _, name := range []string{"anthropic", "google", "gemini", "xai", "grok", "perplexity", "custom-a", "custom-my-lab-2"} {
		if _, ok := Lookup(name); !ok {
			t.Errorf("%s is unknown", name)
		}
	}
	for _, name := range []string{"", Demo, "OpenAI", "custom-", "custom--a", "custom-a-", "custom-A", "custom-a.b", "custom-a_b", "custom-" + strings.Repeat("a", 64)} {
		if p, ok := Lookup(name); ok {
			t.Errorf("%q is %v", name, p)
		}
	}
	names := slices.Collect(maps.Keys(byName))
	if len(names) != len(builtin)+4 { // google, gemini, xai, perplexity
		t.Errorf("names: %v", names)
	}
	for _, p := range Providers() {
		if p.Default != "" {
			if u, err := url.Parse(p.Default); err != nil || u.Scheme != "https" || p.base == nil || p.base.String() != p.Default {
				t.Errorf("%s has the base %v", p, p.base)
			}
		}
	}
}
