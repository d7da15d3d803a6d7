package edge

import (
	"net/http"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
)

// oneToken is an authenticator that knows one service token.
type oneToken struct {
	token string
	who   access.Principal
}

func (o oneToken) Authenticate(r *http.Request, _ access.Place) (access.Principal, error) {
	if r.Header.Get("Authorization") != "Bearer "+o.token {
		return access.Principal{}, access.ErrNothing
	}
	return o.who, nil
}

// TestModelsFromOutside: a token for the AI gateway counts wherever an API has its
// key, and goes no further; nothing else opens the AI gateway.
func TestModelsFromOutside(t *testing.T) {
	const good, other = access.ServicePrefix + "good", access.ServicePrefix + "other"
	var who access.Principal
	var seen http.Header
	w := serve(t, func(o *Options) {
		service := access.Principal{Kind: access.KindService, Name: "ci", Source: access.SourceBearer, Scopes: []access.Scope{access.UseModels}}
		reader := service
		reader.Scopes = []access.Scope{access.ReadAgents, access.UseAgents}
		o.Guard = access.NewGuard(access.NewTokens(func(string) string { return testToken }, time.Now), oneToken{good, service}, oneToken{other, reader})
		o.Models = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { who, seen = access.From(r.Context()), r.Header })
	})
	ask := func(path string, headers ...string) int {
		r := w.request(t, "POST", path, nil)
		r.Header.Del(access.TokenHeader)
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		resp, _ := do(t, r)
		return resp.StatusCode
	}
	for _, path := range []string{"/ai/anthropic/v1/messages", "/v1/account/gateway/openai/chat/completions", "/ai/workers-ai/@cf/meta/llama-3"} {
		for name, value := range map[string]string{"Authorization": "Bearer " + good, "X-Api-Key": good, "Api-Key": good, "X-Goog-Api-Key": good, "Cf-Aig-Authorization": "Bearer " + good} {
			if code := ask(path, name, value); code != http.StatusOK || who.Name != "ci" || seen.Get(name) != "" {
				t.Errorf("%s with %s: %d as %s, passed on %q", path, name, code, who, seen.Get(name))
			}
		}
	}
	if code := ask("/ai/openai/v1/chat/completions", "Cf-Aig-Authorization", "Bearer "+good, "Authorization", "Bearer sk-of-the-client"); code != http.StatusOK || seen.Get("Authorization") != "" {
		t.Errorf("beside a client's own key: %d, passed on %q", code, seen.Get("Authorization"))
	}
	for name, want := range map[string]int{"": 401, "Bearer sk-ant-1": 401, "Bearer " + access.ServicePrefix + "bad": 401, "Bearer " + other: 403} {
		if code := ask("/ai/anthropic/v1/messages", "Authorization", name); code != want {
			t.Errorf("with %q: %d, want %d", name, code, want)
		}
	}
	if code := ask("/ai/anthropic/v1/messages", access.TokenHeader, testToken); code == http.StatusOK {
		t.Error("an agent's gateway token opens the AI gateway")
	}
	if code := ask("/v1/chat/completions", "Authorization", "Bearer "+good); code == http.StatusOK {
		t.Error("a token for the AI gateway opens an agent")
	}
	if n := w.main.reached(); n != 0 {
		t.Errorf("%d requests reached the guest", n)
	}
}
