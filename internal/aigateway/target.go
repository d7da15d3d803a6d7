package aigateway

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// compatPath is where every provider is called in the one form of OpenAI's Chat
// Completions, with "provider/model" for a model.
const compatPath = "/compat/chat/completions"

// target is where a call leads.
type target struct {
	name      string // of the provider
	ep        provider.Endpoint
	demo      bool // the built-in model
	compat    bool // the provider is named in the body, and not known yet
	form      *form
	logPath   string // below the provider
	universal bool   // the body holds several calls, see item
	route     string // name of the one that is called in place of a model; "" none
}

// find finds the target of a request. On failure the target still has the form of
// error that fits the path.
func find(r *http.Request) (target, error) {
	path := r.URL.EscapedPath()
	switch {
	case path == "/"+provider.Demo+"/v1/messages":
		return demoTarget(), onlyPost(r)
	case path == compatPath:
		return target{name: "compat", compat: true, form: openaiForm, logPath: compatPath, ep: provider.Endpoint{Kind: usage.Chat, Paid: true}}, onlyPost(r)
	}
	if path == "/" && r.Method == http.MethodPost {
		return target{name: "universal", universal: true, form: openaiForm, logPath: "/", ep: provider.Endpoint{Kind: usage.Opaque, Paid: true}}, nil
	}
	p, rest, ok := provider.Cut(path)
	if !ok {
		return target{form: formFor(path)}, fail(http.StatusNotFound,
			"no such path; the model APIs are at /anthropic/v1/messages, /openai/v1/chat/completions, /compat/chat/completions, /demo/v1/messages and as Cloudflare's AI Gateway has them for other providers")
	}
	t := target{name: p.Name, form: formOf(p.Kind)}
	if t.ep, ok = p.Match(r.Method, rest); ok {
		t.form, t.logPath = formOf(t.ep.Kind), t.ep.Path()
		return t, nil
	}
	for _, method := range []string{http.MethodPost, http.MethodGet} {
		if _, other := p.Match(method, rest); other {
			return t, fail(http.StatusMethodNotAllowed, "use "+method+" on this path")
		}
	}
	return t, fail(http.StatusNotFound, fmt.Sprintf("%s has no such path that may be called here", p.Name))
}

func demoTarget() target {
	return target{name: provider.Demo, demo: true, form: anthropicForm, logPath: "/v1/messages", ep: provider.Endpoint{Kind: usage.Anthropic, Paid: true}}
}

func onlyPost(r *http.Request) error {
	if r.Method != http.MethodPost {
		return fail(http.StatusMethodNotAllowed, "use "+http.MethodPost+" on this path")
	}
	return nil
}

// formFor is the form of error for a path that leads nowhere.
func formFor(path string) *form {
	if strings.HasPrefix(path, "/openai/") {
		return openaiForm
	}
	return anthropicForm
}
