package secret

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Binding says where a secret may be sent: hosts as HOST or HOST:PORT, where
// HOST alone means port 443. The empty Binding allows no host.
type Binding struct {
	Hosts []string `json:"hosts,omitempty"`
}

// wellKnown are the hosts of the services whose secrets have a fixed name.
var wellKnown = map[string][]string{
	"ANTHROPIC_API_KEY":             {"api.anthropic.com"},
	"OPENAI_API_KEY":                {"api.openai.com"},
	"GEMINI_API_KEY":                {"generativelanguage.googleapis.com"},
	"GOOGLE_API_KEY":                {"generativelanguage.googleapis.com"},
	"OPENROUTER_API_KEY":            {"openrouter.ai"},
	"GROQ_API_KEY":                  {"api.groq.com"},
	"MISTRAL_API_KEY":               {"api.mistral.ai"},
	"DEEPSEEK_API_KEY":              {"api.deepseek.com"},
	"XAI_API_KEY":                   {"api.x.ai"},
	"CEREBRAS_API_KEY":              {"api.cerebras.ai"},
	"COHERE_API_KEY":                {"api.cohere.com"},
	"PERPLEXITY_API_KEY":            {"api.perplexity.ai"},
	"HF_TOKEN":                      {"router.huggingface.co"},
	"REPLICATE_API_TOKEN":           {"api.replicate.com"},
	"CLOUDFLARE_API_TOKEN":          {"api.cloudflare.com"},
	"AI_GATEWAY_API_KEY":            {"gateway.ai.cloudflare.com"},
	"CLOUDFLARE_AI_GATEWAY_API_KEY": {"gateway.ai.cloudflare.com"},
	"TELEGRAM_BOT_TOKEN":            {"api.telegram.org"},
	"DISCORD_BOT_TOKEN":             {"discord.com", "gateway.discord.gg"},
	"SLACK_BOT_TOKEN":               {"slack.com"},
	"SLACK_APP_TOKEN":               {"slack.com", "wss-primary.slack.com"},
}

// BindingFor is the binding of a secret by its name (its agent's scope does not
// matter): to the host of baseURL when there is one, else to the host of the
// service the name belongs to, else to no host.
func BindingFor(name, baseURL string) (Binding, error) {
	if baseURL == "" {
		return Binding{Hosts: slices.Clone(wellKnown[trimScope(name)])}, nil
	}
	u, err := url.Parse(baseURL)
	if err != nil || u.Hostname() == "" {
		return Binding{}, fmt.Errorf("%w: the base URL for %s has no host: write it as https://HOST/PATH", ErrInvalid, name)
	}
	port := u.Port()
	if port == "" && u.Scheme == "http" {
		port = "80"
	}
	if port == "" {
		port = "443"
	}
	return NewBinding(net.JoinHostPort(u.Hostname(), port))
}

// NewBinding checks hosts and brings them into one form: lower case, port 443
// left out, sorted, each once.
func NewBinding(hosts ...string) (Binding, error) {
	var b Binding
	for _, h := range hosts {
		c, err := canonicalHost(h)
		if err != nil {
			return Binding{}, err
		}
		b.Hosts = append(b.Hosts, c)
	}
	slices.Sort(b.Hosts)
	b.Hosts = slices.Compact(b.Hosts)
	return b, nil
}

// Allows says whether the secret may be sent to hostport (HOST or HOST:PORT).
func (b Binding) Allows(hostport string) bool {
	c, err := canonicalHost(hostport)
	return err == nil && slices.Contains(b.Hosts, c)
}

var hostPattern = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)

func canonicalHost(s string) (string, error) {
	host, port := s, "443"
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	addr, notIP := netip.ParseAddr(host)
	if notIP == nil {
		host = addr.Unmap().String()
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || len(host) > 253 || notIP != nil && !hostPattern.MatchString(host) {
		return "", fmt.Errorf("%w: %q is not a host that a secret can be bound to: write HOST or HOST:PORT", ErrInvalid, s)
	}
	if n == 443 {
		return host, nil
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}
