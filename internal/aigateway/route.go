package aigateway

import (
	"net/http"
	"strings"
)

// provider is one model API and how to speak to it.
type provider struct {
	name        string
	form        *form
	baseName    string // setting that holds its base URL
	defaultBase string
	keyName     string // setting that holds its key
	sign        func(h http.Header, key string)
}

var (
	anthropic = &provider{
		name: "anthropic", form: anthropicForm,
		baseName: "ANTHROPIC_BASE_URL", defaultBase: "https://api.anthropic.com",
		keyName: "ANTHROPIC_API_KEY",
		sign:    func(h http.Header, key string) { h["X-Api-Key"] = []string{key} },
	}
	openai = &provider{
		name: "openai", form: openaiForm,
		baseName: "OPENAI_BASE_URL", defaultBase: "https://api.openai.com/v1",
		keyName: "OPENAI_API_KEY",
		sign:    func(h http.Header, key string) { h["Authorization"] = []string{"Bearer " + key} },
	}
	// demoProvider is the built-in model: Anthropic's API, no network, no key.
	demoProvider = &provider{name: "demo", form: anthropicForm}
)

// endpoint is one path agents may call.
type endpoint struct {
	provider *provider
	method   string
	path     string // appended to the upstream's base URL
}

var endpoints = map[string]endpoint{
	"/anthropic/v1/messages":              {anthropic, http.MethodPost, "/v1/messages"},
	"/anthropic/v1/messages/count_tokens": {anthropic, http.MethodPost, "/v1/messages/count_tokens"},
	"/openai/v1/chat/completions":         {openai, http.MethodPost, "/chat/completions"},
	"/openai/v1/models":                   {openai, http.MethodGet, "/models"},
	"/demo/v1/messages":                   {demoProvider, http.MethodPost, "/v1/messages"},
}

// route finds the endpoint of a request. On failure the endpoint still has the
// provider whose error form fits the path.
func route(r *http.Request) (endpoint, error) {
	ep, ok := endpoints[r.URL.Path]
	if !ok {
		return endpoint{provider: nearest(r.URL.Path)}, fail(http.StatusNotFound,
			"no such path; the model APIs are at /anthropic/v1/messages, /openai/v1/chat/completions and /demo/v1/messages")
	}
	if r.Method != ep.method {
		return ep, fail(http.StatusMethodNotAllowed, "use "+ep.method+" on this path")
	}
	return ep, nil
}

func nearest(path string) *provider {
	if strings.HasPrefix(path, "/openai/") {
		return openai
	}
	if strings.HasPrefix(path, "/demo/") {
		return demoProvider
	}
	return anthropic
}
