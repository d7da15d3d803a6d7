package provider

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestHostilePaths(t *testing.T) {
	const v = "/google-vertex-ai/v1/projects/p/locations/"
	const tail = "/publishers/google/models/g:generateContent"
	const b = "/aws-bedrock/bedrock-runtime/"
	const m = "/model/x/converse"
	paths := []string{
		"", "/", "//", "openai/chat/completions", "/openai", "/openai/", "/openai//chat/completions", "/openai/chat//completions",
		"/openai/chat/completions/", "/openai/v1/v1/chat/completions", "/openai/v1", "/openai/./chat/completions", "/openai/x/../chat/completions",
		"/openai/..%2fchat/completions", "/openai/chat%2Fcompletions", "/openai/chat%2fcompletions", "/openai/chat%252fcompletions",
		"/openai/%2e/chat/completions", "/openai/%2e%2E/chat/completions", "/openai/chat\\completions", "/openai/chat%5Ccompletions",
		"/openai/chat/completions%00", "/openai/chat/completions\x00", "/openai/chat/completions%", "/openai/chat/completions%4", "/openai/chat/completions%zz",
		"/openai/chat/completions?x", "/openai/chat/completions#x", "/openai/chat/completions;x", "/openai/chat/completions%20", "/openai/chat/completions ",
		"/openai/chat/completions\n", "/openai/CHAT/completions", "/OPENAI/chat/completions", "/openai/files", "/openai/v1/batches", "/openai/v1/realtime/client_secrets",
		"/openai/models/.", "/openai/models/..", "/openai/models/...", "/openai/models/%2e%2e", "/openai/models/" + strings.Repeat("a", maxSegment+1),
		"/openai/" + strings.Repeat("a/", 2000), "/openai/" + strings.Repeat("a", 1<<20), "/openai/models/\xff", "/openai/models/%ff", "/openai/models/é",
		"/unknown/chat/completions", "/demo/v1/messages", "/custom-/chat/completions", "/custom-a%2f/chat/completions",
		"/ollama/api/pull", "/ollama/api/delete", "/ollama/api/create", "/replicate/predictions//cancel",
		"/google-ai-studio/v1beta/models/:generateContent", "/google-ai-studio/v1beta/models/g:streamgeneratecontent", "/google-ai-studio/v9/models/g:generateContent",
		"/google-ai-studio/v1beta/models/a/b:generateContent", "/google-ai-studio/upload/v1beta/files",
		"/workers-ai/@evil/meta/llama", "/workers-ai/@cf/meta", "/workers-ai/@cf/../llama", "/workers-ai/@cf/a/b/c",
		// What chooses a host.
		"/azure-openai/evil.com/d/chat/completions", "/azure-openai/evil.com%23/d/chat/completions", "/azure-openai/a@evil.com/d/chat/completions",
		"/azure-openai/a:80/d/chat/completions", "/azure-openai/-a/d/chat/completions", "/azure-openai/a-/d/chat/completions", "/azure-openai/A/d/chat/completions",
		"/azure-openai/a_b/d/chat/completions", "/azure-openai/" + strings.Repeat("a", 64) + "/d/chat/completions", "/azure-openai/%61%2e/d/chat/completions",
		b + "evil.com" + m, b + "us-east-1.evil.com" + m, b + "us-east-1@evil.com" + m, b + "us-east-1:443" + m, b + "us-east" + m, b + "us-east-" + m, b + "us--1" + m,
		b + "us-east-1-" + m, b + "-us-east-1" + m, b + "us-east-123" + m, b + "US-EAST-1" + m, b + "u-east-1" + m, b + "us-e4st-1" + m, b + "us-a-b-c-1" + m, b + "1" + m,
		b + "us-east-1%2eevil.com" + m, b + strings.Repeat("us-", 80) + "1" + m, "/aws-bedrock/s3/us-east-1/model/x/converse", "/aws-bedrock/bedrock/us-east-1/model/x/converse",
		v + "evil.com" + tail, v + "us-central1.evil.com" + tail, v + "us-central1@evil" + tail, v + "global.evil" + tail, v + "us-central" + tail, v + "central1" + tail,
		v + "us-central1-x" + tail, v + "us-1" + tail, v + "us-central123" + tail, v + "-central1" + tail, v + "us_central1" + tail, v + "US-CENTRAL1" + tail, v + "asia" + tail,
		"/google-vertex-ai/v1/projects/p:q/locations/us-central1" + tail, "/google-vertex-ai/v2/projects/p/locations/us-central1" + tail,
	}
	for _, path := range paths {
		for _, method := range []string{post, get} {
			if p, rest, ok := Cut(path); ok {
				if ep, ok := p.Match(method, rest); ok {
					t.Errorf("%s %.80q is %s%s", method, path, p, ep.Path())
				}
			}
		}
	}
	for _, method := range []string{"", "post", "PUT", "DELETE", "OPTIONS", "CONNECT", "HEAD", get} {
		if _, ok := byName["openai"].Match(method, "/chat/completions"); ok {
			t.Errorf("%q is allowed", method)
		}
	}
}

func TestHosts(t *testing.T) {
	tests := []struct{ path, host string }{
		{"/azure-openai/myres/d/chat/completions", "myres.openai.azure.com"},
		{"/aws-bedrock/bedrock-runtime/us-gov-west-1/model/x/converse", "bedrock-runtime.us-gov-west-1.amazonaws.com"},
		{"/aws-bedrock/bedrock-runtime/ap-southeast-5/model/x/converse", "bedrock-runtime.ap-southeast-5.amazonaws.com"},
		{"/aws-bedrock/bedrock-runtime/cn-north-1/model/x/converse", "bedrock-runtime.cn-north-1.amazonaws.com.cn"},
		{"/aws-bedrock/bedrock-runtime/eusc-de-east-1/model/x/converse", "bedrock-runtime.eusc-de-east-1.amazonaws.eu"},
		{"/aws-bedrock/bedrock-mantle/us-west-2/v1/responses", "bedrock-mantle.us-west-2.api.aws"},
		{"/google-vertex-ai/v1/projects/p/locations/northamerica-northeast1/publishers/google/models/g:generateContent", "northamerica-northeast1-aiplatform.googleapis.com"},
		{"/google-vertex-ai/v1/projects/p/locations/global/publishers/anthropic/models/claude-opus-4@20250514:streamRawPredict", "aiplatform.googleapis.com"},
		{"/google-vertex-ai/v1beta1/projects/p/locations/eu/endpoints/openapi/chat/completions", "aiplatform.eu.rep.googleapis.com"},
	}
	for _, tt := range tests {
		p, rest, _ := Cut(tt.path)
		ep, ok := p.Match(post, rest)
		if !ok {
			t.Errorf("%s: no match", tt.path)
			continue
		}
		pl, err := p.Place(allSet())
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		u, err := pl.URL(ep, "")
		if err != nil || u.Host != tt.host {
			t.Errorf("%s: host %v, %v, want %s", tt.path, u, err, tt.host)
		}
	}
}

// ownHost are the domains of the providers' own hosts, in allSet.
var ownHost = map[string]string{
	"anthropic": "api.anthropic.com", "openai": "api.openai.com", "google-ai-studio": "generativelanguage.googleapis.com",
	"openrouter": "openrouter.ai", "groq": "api.groq.com", "mistral": "api.mistral.ai", "deepseek": "api.deepseek.com",
	"grok": "api.x.ai", "cerebras": "api.cerebras.ai", "perplexity-ai": "api.perplexity.ai", "cohere": "api.cohere.com",
	"workers-ai": "api.cloudflare.com", "huggingface": "router.huggingface.co", "replicate": "api.replicate.com",
	"ollama": "127.0.0.1:11434", "vllm": "gpu:8000", "llamacpp": "10.0.0.2:8080", "azure-openai": "myres.openai.azure.com",
}

// isOwnHost reports whether a host is one of p's.
func isOwnHost(p *Provider, host string) bool {
	if want := ownHost[p.Name]; want != "" {
		return host == want
	}
	for _, c := range []byte(host) {
		if !isLower(c) && !isDigit(c) && c != '-' && c != '.' {
			return false
		}
	}
	switch p.Name {
	case "aws-bedrock":
		middle, ok := strings.CutPrefix(host, "bedrock-")
		for _, end := range []string{".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws"} {
			if s, cut := strings.CutSuffix(middle, end); ok && cut {
				return strings.Count(s, ".") == 1 // runtime.REGION or mantle.REGION
			}
		}
	case "google-vertex-ai":
		s, ok := strings.CutSuffix(host, "aiplatform.googleapis.com")
		return ok && (s == "" || strings.HasSuffix(s, "-") && !strings.Contains(s, ".")) ||
			host == "aiplatform.us.rep.googleapis.com" || host == "aiplatform.eu.rep.googleapis.com"
	}
	return strings.HasPrefix(p.Name, customPrefix) && host == "lab.example.org"
}

// Whatever the path is, a call goes to a host of its provider, below its base, and
// what is on the wire is what was meant.
func FuzzMatch(f *testing.F) {
	for _, path := range []string{
		"/openai/v1/chat/completions", "/anthropic/v1/messages", "/google-ai-studio/v1beta/models/g:generateContent",
		"/azure-openai/myres/gpt/chat/completions", "/azure-openai/evil.com/gpt/chat/completions",
		"/aws-bedrock/bedrock-runtime/us-east-1/model/a.b-v1%3A0/converse-stream", "/aws-bedrock/bedrock-mantle/us-east-1/v1/responses",
		"/google-vertex-ai/v1/projects/p/locations/us-central1/publishers/anthropic/models/c@1:rawPredict",
		"/workers-ai/@cf/meta/llama", "/huggingface/a/b", "/replicate/predictions/x", "/ollama/api/chat", "/custom-my-lab/models/a",
		"/openai/models/%2e%2e", "/openai/models/..", "/openai/models/a%2fb", "/openai/models/\x00", "/azure-openai/a@b/%40/chat/completions",
	} {
		f.Add(path, "alt=sse&key=x")
	}
	get := allSet()
	f.Fuzz(func(t *testing.T, path, query string) {
		p, rest, ok := Cut(path)
		if !ok {
			return
		}
		for _, method := range []string{post, http.MethodGet} {
			ep, ok := p.Match(method, rest)
			if !ok {
				continue
			}
			pl, err := p.Place(get)
			if err != nil {
				if !strings.HasPrefix(p.Name, customPrefix) {
					t.Fatalf("%s has no place: %v", p, err)
				}
				continue
			}
			u, err := pl.URL(ep, query)
			if err != nil {
				continue
			}
			again, err := url.Parse(u.String())
			if err != nil || again.Host != u.Host || again.Path != u.Path || again.EscapedPath() != u.EscapedPath() {
				t.Fatalf("%q is read again as %v, %v", u, again, err)
			}
			if !isOwnHost(p, u.Host) || u.User != nil || u.Fragment != "" {
				t.Fatalf("%q goes to %q", path, u)
			}
			if strings.Contains(u.Path, "//") || strings.Contains(u.Path+"/", "/../") || strings.Contains(u.Path+"/", "/./") || strings.ContainsAny(u.Path, "\\%\x00 ?#") {
				t.Fatalf("%q becomes the path %q", path, u.Path)
			}
			for name := range u.Query() {
				if isCredentialQuery(name) {
					t.Fatalf("%q passes as %q", query, u.RawQuery)
				}
			}
		}
	})
}

func FuzzStrip(f *testing.F) {
	f.Add("key=1&alt=sse", "Authorization", "realtime, openai-insecure-api-key.sk-1")
	f.Add("%6bey=1;key=2&Key=3", "x-amz-date", "openai-insecure-api-key.a")
	f.Add("a=%zz&b", "cookie", "")
	f.Fuzz(func(t *testing.T, query, name, protocols string) {
		h := http.Header{name: {"v"}, protocol: {protocols}}
		q, _ := url.ParseQuery(query)
		Strip(h, q)
		for n := range q {
			if isCredentialQuery(n) {
				t.Fatalf("kept %q of %q", n, query)
			}
		}
		if h.Get("Authorization")+h.Get("Cookie")+h.Get("X-Api-Key")+h.Get("X-Amz-Date") != "" {
			t.Fatalf("kept %v", h)
		}
		if strings.Contains(strings.ToLower(h.Get(protocol)), ", openai-insecure-api-key.") {
			t.Fatalf("kept %v", h)
		}
		if clean, err := cleanQuery(query); err == nil {
			for pair := range strings.SplitSeq(clean, "&") {
				n, _, _ := strings.Cut(pair, "=")
				if n, err := url.QueryUnescape(n); err == nil && isCredentialQuery(n) {
					t.Fatalf("%q became %q", query, clean)
				}
			}
		}
	})
}

func TestStrip(t *testing.T) {
	h := http.Header{}
	for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cf-Aig-Authorization", "Cookie", "Proxy-Authorization",
		"X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256", "x-api-key", "AUTHORIZATION"} {
		h[name] = []string{"client"}
	}
	h["Anthropic-Beta"], h["X-Amzn-Bedrock-Accept"] = []string{"b"}, []string{"*/*"}
	h["Sec-Websocket-Protocol"] = []string{"realtime, openai-insecure-api-key.sk-1, openai-beta.realtime-v1", "OpenAI-Insecure-Api-Key.x"}
	q := url.Values{"key": {"1"}, "KEY": {"2"}, "access_token": {"3"}, "X-Amz-Signature": {"4"}, "alt": {"sse"}, "api-version": {"v"}}
	Strip(h, q)
	if len(h) != 3 || h.Get("Anthropic-Beta") != "b" || h.Get("X-Amzn-Bedrock-Accept") != "*/*" || h.Get(protocol) != "realtime, openai-beta.realtime-v1" {
		t.Errorf("left: %v", h)
	}
	if len(q) != 2 || q.Get("alt") != "sse" || q.Get("api-version") != "v" {
		t.Errorf("left: %v", q)
	}
	Strip(nil, nil)
}

func TestCleanQuery(t *testing.T) {
	tests := []struct {
		raw, want string
		bad       bool
	}{
		{"", "", false},
		{"beta=true", "beta=true", false},
		{"alt=sse&key=AIza", "alt=sse", false},
		{"%6bey=AIza&alt=sse&%4BEY=x", "alt=sse", false},
		{"key", "", false},
		{"$httpHeaders=authorization:x&%24httpMethod=GET&$alt=json", "$alt=json", false},
		{"a=%41&b=1+2", "a=%41&b=1+2", false}, // otherwise byte for byte
		{"a=1;key=x", "a=1%3Bkey=x", false},
		{"&&a=1&", "a=1", false},
		{"a=%zz", "a=%zz", false},
		{"%zz=1", "", true},
		{"a b", "", true},
		{"a=\n", "", true},
		{"a=é", "", true},
		{"a#b", "", true},
		{strings.Repeat("a", maxQuery+1), "", true},
	}
	for _, tt := range tests {
		if got, err := cleanQuery(tt.raw); got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%.40q: %q, %v", tt.raw, got, err)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for name, path := range map[string]string{
		"literal": "/anthropic/v1/messages",
		"loose":   "/openai/v1/images/variations",
		"gemini":  "/google-ai-studio/v1beta/models/gemini-2.5-flash:streamGenerateContent",
		"bedrock": "/aws-bedrock/bedrock-runtime/us-east-1/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse-stream",
		"vertex":  "/google-vertex-ai/v1/projects/p/locations/us-central1/publishers/anthropic/models/c@1:streamRawPredict",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p, rest, _ := Cut(path)
				if _, ok := p.Match(post, rest); !ok {
					b.Fatal("no match")
				}
			}
		})
	}
}
