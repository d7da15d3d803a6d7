package openclaw

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/moltworker/moltworker/internal/remedy"
)

// Settings is all that the host decides in an agent's openclaw.json.
type Settings struct {
	Port           int        // the gateway's, on the sandbox's loopback; 0 means GatewayPort
	Token          string     // the gateway's shared token
	AllowedOrigins []string   // of browsers, as scheme://host[:port]; the user may add more
	Providers      []Provider // see [Providers]
	Model          string     // "provider/model" as the primary; empty chooses the newest
}

// apiKeyPlaceholder stands where OpenClaw wants a key: the real one is put in on
// the host's side.
const apiKeyPlaceholder = "set-by-moltworker"

// key is one place in openclaw.json that we render.
type key struct {
	path  []string
	value any
}

// rendered is Settings as keys.
type rendered struct {
	owned     []key      // ours always win
	defaults  []key      // ours until the user changes them
	origins   []string   // joined with the user's
	primary   string     // a default with a rule of its own
	providers []Provider // ours, with the primary model in them
}

func (s Settings) render() (rendered, error) {
	if err := s.validate(); err != nil {
		return rendered{}, err
	}
	primary, providers, err := chooseModel(s.Providers, s.Model)
	if err != nil {
		return rendered{}, err
	}
	port := s.Port
	if port == 0 {
		port = GatewayPort
	}
	r := rendered{
		owned: []key{
			{[]string{"gateway", "mode"}, "local"},
			{[]string{"gateway", "port"}, port},
			{[]string{"gateway", "bind"}, "loopback"},
			{[]string{"gateway", "auth", "mode"}, "token"},
			{[]string{"gateway", "auth", "token"}, s.Token},
			{[]string{"gateway", "trustedProxies"}, []string{"127.0.0.1"}},
		},
		defaults: []key{
			// Calls home that a sandbox cannot make, and an announcement nobody hears.
			{[]string{"update", "checkOnStart"}, false},
			{[]string{"models", "catalogRefresh", "enabled"}, false},
			{[]string{"discovery", "mdns", "mode"}, "off"},
			// The sandbox is the boundary: inside it the agent acts without asking.
			{[]string{"tools", "exec", "host"}, "gateway"},
			{[]string{"tools", "exec", "mode"}, "full"},
		},
		origins:   s.AllowedOrigins,
		primary:   primary,
		providers: providers,
	}
	for _, p := range providers {
		r.owned = append(r.owned, key{[]string{"models", "providers", p.ID}, p.config()})
	}
	return r, nil
}

// config is the provider in OpenClaw's form.
func (p Provider) config() any {
	return struct {
		BaseURL string  `json:"baseUrl"`
		APIKey  string  `json:"apiKey"`
		API     string  `json:"api"`
		Models  []Model `json:"models"`
	}{p.BaseURL, apiKeyPlaceholder, p.API, p.Models}
}

func (s Settings) validate() error {
	if s.Port < 0 || s.Port > 65535 {
		return fmt.Errorf("gateway port %d: want 1 to 65535", s.Port)
	}
	if s.Token == "" {
		return remedy.With(errors.New("the gateway token is empty"), "set MOLTBOT_GATEWAY_TOKEN, or remove it to have one made")
	}
	for _, o := range s.AllowedOrigins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || o != u.Scheme+"://"+u.Host {
			return remedy.With(fmt.Errorf("allowed origin %q is not one", o), "write it as scheme://host or scheme://host:port")
		}
	}
	return nil
}
