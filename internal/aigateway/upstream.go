package aigateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Names of the settings that chain an AI gateway in front of a provider.
const (
	chainBaseName = "AI_GATEWAY_BASE_URL"
	chainKeyName  = "AI_GATEWAY_API_KEY"
)

// upstream is where one call goes, and with which key.
type upstream struct {
	provider *provider
	base     *url.URL
	baseName string // setting to look at when base is wrong
	key      string // empty for the demo model
}

// base is a base URL and what parsing it gave.
type base struct {
	raw string
	url *url.URL
	err error
}

// Ready reports whether calls to a provider ("anthropic", "openai", "demo") can
// be sent: it has a key and a usable base URL.
func (g *Gateway) Ready(name string) bool {
	switch name {
	case anthropic.name:
		_, err := g.resolve(anthropic)
		return err == nil
	case openai.name:
		_, err := g.resolve(openai)
		return err == nil
	}
	return name == demoProvider.name
}

// resolve finds where calls to p go now.
func (g *Gateway) resolve(p *provider) (upstream, error) {
	if p == demoProvider {
		return upstream{provider: p, base: demoURL}, nil
	}
	baseName, raw, chained := g.where(p)
	b := g.parsed(p, baseName, raw)
	if b.err != nil {
		return upstream{}, &failure{status: http.StatusInternalServerError, msg: b.err.Error()}
	}
	keyName := p.keyName
	if chained {
		keyName = chainKeyName
	}
	key := g.setting(keyName)
	if key == "" && baseName == anthropic.baseName && raw != anthropic.defaultBase {
		key = g.setting(chainKeyName) // a gateway given as ANTHROPIC_BASE_URL, its key as AI_GATEWAY_API_KEY
	}
	if err := checkKey(keyName, key); err != nil {
		return upstream{}, err
	}
	return upstream{provider: p, base: b.url, baseName: baseName, key: key}, nil
}

// where says which base URL counts for p, and the setting it came from.
func (g *Gateway) where(p *provider) (name, raw string, chained bool) {
	if chain := g.setting(chainBaseName); strings.HasSuffix(strings.TrimRight(chain, "/"), "/"+p.name) {
		return chainBaseName, chain, true
	}
	if raw := g.setting(p.baseName); raw != "" {
		return p.baseName, raw, false
	}
	return p.baseName, p.defaultBase, false
}

// setting is the current value of a named setting, or "".
func (g *Gateway) setting(name string) string {
	if v, ok := g.opts.Secrets(name); ok {
		if v = strings.TrimSpace(v); v != "" {
			return v
		}
	}
	switch name {
	case anthropic.baseName:
		return strings.TrimSpace(g.opts.Upstreams.Anthropic)
	case openai.baseName:
		return strings.TrimSpace(g.opts.Upstreams.OpenAI)
	case chainBaseName:
		return strings.TrimSpace(g.opts.Upstreams.AIGateway)
	}
	return ""
}

func checkKey(name, key string) error {
	if key == "" {
		return fail(http.StatusUnauthorized, "no "+name+" is set on this host; set it with: moltworker secret put "+name)
	}
	for _, c := range []byte(key) {
		if c <= ' ' || c > '~' {
			return fail(http.StatusUnauthorized, name+" holds a character no key has; set it again with: moltworker secret put "+name)
		}
	}
	return nil
}

// parsed returns the parsed form of raw, kept from the last call when unchanged.
func (g *Gateway) parsed(p *provider, name, raw string) *base {
	slot := g.bases[p]
	if b := slot.Load(); b != nil && b.raw == raw {
		return b
	}
	b := &base{raw: raw}
	b.url, b.err = parseBase(name, raw)
	slot.Store(b)
	return b
}

// checkBases finds unusable base URLs before the first call does.
func (g *Gateway) checkBases() error {
	var errs []error
	for _, name := range []string{anthropic.baseName, openai.baseName, chainBaseName} {
		raw := g.setting(name)
		if raw == "" {
			continue
		}
		_, err := parseBase(name, raw)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// parseBase checks a base URL. Its value is kept out of the errors: people paste
// keys into the wrong setting.
func parseBase(name, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return nil, fmt.Errorf("%s is not a URL; give one like https://host/path", name)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return nil, fmt.Errorf("%s must have no user, query or fragment; give only https://host/path", name)
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && isLocal(u.Hostname())) {
		return nil, fmt.Errorf("%s must begin with https:// (http:// only for localhost or a private IP address), so that the key is not sent in the clear", name)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	if name == chainBaseName && !strings.HasSuffix(u.Path, "/"+anthropic.name) && !strings.HasSuffix(u.Path, "/"+openai.name) {
		return nil, fmt.Errorf("%s must end in /anthropic or /openai, which says whose place it takes", name)
	}
	return u, nil
}

// isLocal reports whether plain HTTP to host stays on this machine or network.
func isLocal(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsLoopback() || ip.IsPrivate())
}

// demoURL names the demo model in places that need a URL; nothing is dialled.
var demoURL = &url.URL{Scheme: "http", Host: "demo.invalid"}

// at is the URL of an endpoint below the base.
func (u upstream) at(path, query string) *url.URL {
	t := *u.base
	t.Path += path
	if t.RawPath != "" {
		t.RawPath += path
	}
	t.RawQuery = query
	return &t
}
