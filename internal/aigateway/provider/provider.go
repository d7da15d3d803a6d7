// Package provider owns which model providers there are, which of their paths may
// be called and what form each speaks, where each provider is, and how a call to it
// is authenticated.
//
// A call is [Cut] into a provider and a path, found by [Provider.Match], placed by
// [Provider.Place] and [Place.URL], and signed by [Signer.Sign] with one of
// [Provider.Credentials]. Nothing that a client sends chooses a host outside the
// provider's own, and no value of a setting is in an error or in what is printed.
//
// The package must not know agents, budgets, prices, or how bytes are forwarded.
package provider

import (
	"net/url"
	"slices"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// Demo is the name of the built-in model, which has no place and no credentials: no
// function here knows it.
const Demo = "demo"

// Settings gives the current value of a named setting. It must be quick and safe
// for concurrent use; it is asked on every call, so a new value counts at once.
type Settings func(name string) (value string, ok bool)

// value is a setting without the blanks around it, "" where it is not set.
func (s Settings) value(name string) string {
	if name == "" {
		return ""
	}
	v, _ := s(name)
	return strings.TrimSpace(v)
}

// Provider is one model API. Its fields are shared by all calls and must not be
// changed.
type Provider struct {
	Name     string     // as Cloudflare's AI Gateway has it in its URLs
	Aliases  []string   // other names that are accepted
	Kind     usage.Kind // form of most of its answers, so of errors too
	BaseName string     // setting that holds its base URL
	Default  string     // base URL without that setting; "" where there is none
	KeyNames []string   // settings that hold a key, the first one preferred
	Local    bool       // runs on the operator's own machines: calls cost nothing

	keyless bool     // works without a key
	relaxed bool     // plain HTTP to names of the local network is fine
	rooted  bool     // its paths carry the version: a base URL's trailing /v1 is dropped
	loose   bool     // a client may put /v1 before its paths or leave it out
	prefix  string   // put before its paths, here and at Cloudflare
	unchain bool     // never behind Cloudflare's gateway, which cannot reach it
	style   style    // how it takes a key
	numbers []string // KeyNames[0] and its further keys
	base    *url.URL // Default
	host    hostOf   // finds its host from the path; nil where there is but one
	chat    string   // path of Chat Completions for [Provider.Chat]; "" where there is none
	rules   []rule
}

// String is the provider's name.
func (p *Provider) String() string { return p.Name }

// maxName bounds the name of a provider, in bytes.
const maxName = 40

// customPrefix begins the names of OpenAI-compatible servers that only settings
// know, as it does at Cloudflare.
const customPrefix = "custom-"

// Providers are all that are built in, in order of their names.
func Providers() []*Provider { return slices.Clone(builtin) }

// Lookup finds a provider by its name or an alias. Any "custom-NAME", where NAME is
// lower-case letters, digits and inner hyphens, is an OpenAI-compatible server whose
// base URL is the setting CUSTOM_NAME_BASE_URL and whose key, if it needs one, is
// CUSTOM_NAME_API_KEY.
func Lookup(name string) (*Provider, bool) {
	if p, ok := byName[name]; ok {
		return p, true
	}
	if strings.HasPrefix(name, customPrefix) {
		return custom(name)
	}
	return nil, false
}

// Cut takes the provider's name off a path: "/openai/v1/models" is openai and
// "/v1/models".
func Cut(path string) (p *Provider, rest string, ok bool) {
	if path == "" || path[0] != '/' {
		return nil, "", false
	}
	i := strings.IndexByte(path[1:], '/')
	if i < 0 || i > maxName {
		return nil, "", false
	}
	p, ok = Lookup(path[1 : 1+i])
	return p, path[1+i:], ok
}

func custom(name string) (*Provider, bool) {
	short := name[len(customPrefix):]
	if !isLabel(short) || len(name) > maxName {
		return nil, false
	}
	upper := "CUSTOM_" + strings.ToUpper(strings.ReplaceAll(short, "-", "_"))
	return &Provider{
		Name: name, Kind: usage.Chat, BaseName: upper + "_BASE_URL", KeyNames: []string{upper + "_API_KEY"},
		keyless: true, relaxed: true, unchain: true, loose: true, style: bearer,
		chat: "/chat/completions", rules: compatible,
	}, true
}

// isLabel reports whether s is one lower-case label of a host name: letters, digits
// and inner hyphens, 1 to 63 bytes (RFC 1035 section 2.3.1, RFC 1123 section 2.1).
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if !isLower(c) && !isDigit(c) && c != '-' {
			return false
		}
	}
	return true
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
