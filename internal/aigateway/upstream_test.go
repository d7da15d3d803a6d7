package aigateway

import (
	"strings"
	"testing"

	"github.com/moltworker/moltworker/test/fakemodel"
)

func TestBaseURLs(t *testing.T) {
	tests := []struct {
		name, raw string
		want      string // URL of an endpoint /x, or part of the error when it begins with "!"
	}{
		{"ANTHROPIC_BASE_URL", "https://api.anthropic.com", "https://api.anthropic.com/x"},
		{"ANTHROPIC_BASE_URL", "https://h/a/b//", "https://h/a/b/x"},
		{"OPENAI_BASE_URL", "https://h:8443/v1/", "https://h:8443/v1/x"},
		{"OPENAI_BASE_URL", "https://h/a%2Fb", "https://h/a%2Fb/x"},
		{"OPENAI_BASE_URL", "http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1/x"},
		{"OPENAI_BASE_URL", "http://localhost:11434/v1", "http://localhost:11434/v1/x"},
		{"OPENAI_BASE_URL", "http://[::1]:80", "http://[::1]:80/x"},
		{"OPENAI_BASE_URL", "http://192.168.1.9/v1", "http://192.168.1.9/v1/x"},
		{"OPENAI_BASE_URL", "http://8.8.8.8/v1", "!https://"},
		{"OPENAI_BASE_URL", "http://169.254.169.254/v1", "!https://"},
		{"OPENAI_BASE_URL", "http://localhost.evil.example", "!https://"},
		{"OPENAI_BASE_URL", "ftp://h", "!https://"},
		{"OPENAI_BASE_URL", "api.openai.com/v1", "!not a URL"},
		{"OPENAI_BASE_URL", "https:///v1", "!not a URL"},
		{"OPENAI_BASE_URL", "https://u:p@h/v1", "!no user"},
		{"OPENAI_BASE_URL", "https://h/v1?k=v", "!no user, query"},
		{"OPENAI_BASE_URL", "sk-proj-pasted-in-the-wrong-place", "!not a URL"},
		{"AI_GATEWAY_BASE_URL", "https://gw.example/v1/acc/gw/anthropic", "https://gw.example/v1/acc/gw/anthropic/x"},
		{"AI_GATEWAY_BASE_URL", "https://gw.example/v1/acc/gw", "!must end in /anthropic or /openai"},
	}
	for _, tt := range tests {
		u, err := parseBase(tt.name, tt.raw)
		if say, isErr := strings.CutPrefix(tt.want, "!"); isErr {
			if err == nil || !strings.Contains(err.Error(), say) || !strings.Contains(err.Error(), tt.name) || strings.Contains(err.Error(), tt.raw) {
				t.Errorf("%s=%s: error %v, want one that says %q", tt.name, tt.raw, err, say)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s=%s: %v", tt.name, tt.raw, err)
			continue
		}
		if got := (upstream{base: u}).at("/x", "").String(); got != tt.want {
			t.Errorf("%s=%s: got %s, want %s", tt.name, tt.raw, got, tt.want)
		}
	}
}

func TestNewRefusesUnusableBaseURL(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	_, err := New(Options{Secrets: none, Upstreams: Upstreams{OpenAI: "http://models.example/v1"}})
	if err == nil || !strings.Contains(err.Error(), "OPENAI_BASE_URL must begin with https://") {
		t.Errorf("got %v", err)
	}
	if _, err := New(Options{Secrets: none}); err != nil {
		t.Errorf("defaults: %v", err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no Secrets, no error")
	}
}

// Which server and which key a call gets, by what is set.
func TestResolve(t *testing.T) {
	const gw = "https://gw.example/v1/acc/gw"
	tests := []struct {
		name string
		p    *provider
		set  map[string]string
		base string
		key  string // or the setting that is asked for, when it begins with "!"
	}{
		{"defaults", anthropic, map[string]string{"ANTHROPIC_API_KEY": "a"}, "https://api.anthropic.com", "a"},
		{"defaults", openai, map[string]string{"OPENAI_API_KEY": "o"}, "https://api.openai.com/v1", "o"},
		{"nothing set", anthropic, nil, "", "!ANTHROPIC_API_KEY"},
		{"nothing set", openai, map[string]string{"ANTHROPIC_API_KEY": "a"}, "", "!OPENAI_API_KEY"},
		{"own base", openai, map[string]string{"OPENAI_API_KEY": "o", "OPENAI_BASE_URL": "https://o.example/v1"}, "https://o.example/v1", "o"},
		{"chained", anthropic, map[string]string{"ANTHROPIC_API_KEY": "a", "AI_GATEWAY_API_KEY": "g", "AI_GATEWAY_BASE_URL": gw + "/anthropic/"}, gw + "/anthropic", "g"},
		{"chained for the other", openai, map[string]string{"OPENAI_API_KEY": "o", "AI_GATEWAY_API_KEY": "g", "AI_GATEWAY_BASE_URL": gw + "/anthropic"}, "https://api.openai.com/v1", "o"},
		{"chained openai", openai, map[string]string{"AI_GATEWAY_API_KEY": "g", "AI_GATEWAY_BASE_URL": gw + "/openai"}, gw + "/openai", "g"},
		{"chained without its key", anthropic, map[string]string{"ANTHROPIC_API_KEY": "a", "AI_GATEWAY_BASE_URL": gw + "/anthropic"}, "", "!AI_GATEWAY_API_KEY"},
		{"gateway as ANTHROPIC_BASE_URL", anthropic, map[string]string{"AI_GATEWAY_API_KEY": "g", "ANTHROPIC_BASE_URL": gw + "/anthropic"}, gw + "/anthropic", "g"},
		{"its key stays off the public API", anthropic, map[string]string{"AI_GATEWAY_API_KEY": "g"}, "", "!ANTHROPIC_API_KEY"},
		{"demo", demoProvider, nil, "http://demo.invalid", ""},
	}
	for _, tt := range tests {
		g, err := New(Options{Secrets: func(n string) (string, bool) { v, ok := tt.set[n]; return v, ok }})
		if err != nil {
			t.Fatal(err)
		}
		up, err := g.resolve(tt.p)
		if ask, isErr := strings.CutPrefix(tt.key, "!"); isErr {
			if err == nil || !strings.Contains(err.Error(), "moltworker secret put "+ask) || g.Ready(tt.p.name) {
				t.Errorf("%s, %s: got %v", tt.p.name, tt.name, err)
			}
			continue
		}
		if err != nil || up.base.String() != tt.base || up.key != tt.key || !g.Ready(tt.p.name) {
			t.Errorf("%s, %s: got %v %q, %v", tt.p.name, tt.name, up.base, up.key, err)
		}
	}
}

// The other routes reach their place.
func TestOtherRoutes(t *testing.T) {
	r := newRig(t, func(*fakemodel.Call) fakemodel.Reply { return fakemodel.Reply{Usage: fakemodel.Usage{In: 321}} })
	count := apis[0].request(r.url, false)
	count.URL.Path += "/count_tokens"
	if got := r.do(count); got.StatusCode != 200 || got.body != `{"input_tokens":321}` {
		t.Errorf("count_tokens: %d %s", got.StatusCode, got.body)
	}
	models := apis[1].request(r.url+"/openai/v1/models", false)
	models.Method, models.URL.Path = "GET", "/openai/v1/models"
	models.Body, models.ContentLength = nil, 0
	if got := r.do(models); got.StatusCode != 200 || !strings.Contains(got.body, "fake-model") {
		t.Errorf("models: %d %s", got.StatusCode, got.body)
	}
}
