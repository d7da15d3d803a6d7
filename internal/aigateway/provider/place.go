package provider

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Names of the settings that put a gateway in front of providers.
const (
	gatewayBaseName  = "AI_GATEWAY_BASE_URL" // ends in /anthropic or /openai
	gatewayKeyName   = "AI_GATEWAY_API_KEY"
	chainAccountName = "CF_AI_GATEWAY_ACCOUNT_ID"
	chainGatewayName = "CF_AI_GATEWAY_GATEWAY_ID"
	chainModelName   = "CF_AI_GATEWAY_MODEL" // PROVIDER/MODEL
	chainKeyName     = "CLOUDFLARE_AI_GATEWAY_API_KEY"
)

// Names of the settings that complete a provider's place.
const (
	azureResourceName = "AZURE_OPENAI_RESOURCE" // one or more, separated by commas
	awsRegionName     = "AWS_REGION"
	projectName       = "GOOGLE_CLOUD_PROJECT"
	locationName      = "GOOGLE_CLOUD_LOCATION"
)

var accountNames = []string{"CLOUDFLARE_ACCOUNT_ID", "CF_ACCOUNT_ID"}

// azureVersion is what is asked for where a client does not say: the newest version
// of Azure's inference API that is not a preview and still takes deployments in its
// paths (Azure OpenAI reference).
const azureVersion = "2024-10-21"

// Place is where calls to a provider go now.
type Place struct {
	Setting string // setting to look at when calls there fail
	Chained bool   // by way of Cloudflare's own AI Gateway

	provider  *Provider
	base      *url.URL // nil where the endpoint says the host
	gateway   bool     // AI_GATEWAY_BASE_URL took the provider's place
	elsewhere bool     // the provider's own setting says where
	resources []string // of Azure that may be called; nil means any
}

// Place finds where calls to p go. The more particular setting counts:
// AI_GATEWAY_BASE_URL that ends in the provider's name, then the provider's own base
// URL, then Cloudflare's gateway for all that it can reach, then the provider's
// public API. Errors name settings and hold no value of one.
func (p *Provider) Place(get Settings) (Place, error) {
	pl := Place{provider: p, Setting: p.BaseName}
	var err error
	if raw := get.value(gatewayBaseName); takesPlace(raw, p) {
		pl.Setting, pl.gateway = gatewayBaseName, true
		pl.base, err = parseBase(gatewayBaseName, raw, false)
		return pl, err
	}
	if raw := get.value(p.BaseName); raw != "" {
		pl.elsewhere = raw != p.Default
		pl.resources = azureResources(p, get)
		pl.base, err = parseBase(p.BaseName, raw, p.relaxed)
		p.trim(pl.base)
		return pl, err
	}
	if !p.unchain {
		if raw, err := chainBase(get); raw != "" || err != nil {
			pl.Setting, pl.Chained = chainGatewayName, true
			if err == nil {
				pl.base, err = parseBase(chainGatewayName, raw+p.Name, false)
			}
			if err == nil {
				err = pl.bound(get)
			}
			return pl, err
		}
	}
	return p.public(pl, get)
}

// public is the provider's own API.
func (p *Provider) public(pl Place, get Settings) (Place, error) {
	var err error
	switch {
	case p.host != nil:
		err = pl.bound(get)
	case p.Name == "workers-ai":
		pl.Setting = accountNames[0]
		account := firstOf(get, accountNames)
		if account == "" {
			return pl, &MissingError{Names: accountNames}
		}
		if !isSlug(account) {
			return pl, fmt.Errorf("%s is not the id of an account: letters and digits only", accountNames[0])
		}
		pl.base, err = parseBase(pl.Setting, "https://api.cloudflare.com/client/v4/accounts/"+account+"/ai", false)
	case p.Default == "":
		err = &MissingError{Names: []string{p.BaseName}}
	default:
		pl.base = p.base
	}
	return pl, err
}

// trim takes a version off the end of a base URL where the paths carry it: people
// give what their client's documentation calls a base URL.
func (p *Provider) trim(u *url.URL) {
	if p.rooted && u != nil && u.RawPath == "" {
		u.Path = strings.TrimSuffix(u.Path, "/v1")
	}
}

// takesPlace reports whether a gateway's base URL says that it stands for p.
func takesPlace(raw string, p *Provider) bool {
	return (p.Name == "anthropic" || p.Name == "openai") &&
		strings.HasSuffix(strings.TrimRight(raw, "/"), "/"+p.Name)
}

// chainBase is the base URL of Cloudflare's gateway up to the provider's name, or ""
// where none is configured.
func chainBase(get Settings) (string, error) {
	account, gateway := get.value(chainAccountName), get.value(chainGatewayName)
	switch {
	case account == "" && gateway == "":
		return "", nil
	case account == "":
		return "", &MissingError{Names: []string{chainAccountName}}
	case gateway == "":
		return "", &MissingError{Names: []string{chainGatewayName}}
	case !isSlug(account):
		return "", fmt.Errorf("%s is not the id of an account: letters and digits only", chainAccountName)
	case !isSlug(gateway):
		return "", fmt.Errorf("%s is not the name of a gateway: letters, digits, - and _ only", chainGatewayName)
	}
	return "https://gateway.ai.cloudflare.com/v1/" + account + "/" + gateway + "/", nil
}

// isSlug reports whether s is 1 to 64 letters, digits, hyphens and underscores.
func isSlug(s string) bool {
	for _, c := range []byte(s) {
		if !isLower(c|0x20) && !isDigit(c) && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// bound finds which hosts of a provider that gives its customers hosts may be called.
func (pl *Place) bound(get Settings) error {
	pl.resources = azureResources(pl.provider, get)
	if pl.provider.Name == "azure-openai" && pl.resources == nil {
		pl.Setting = azureResourceName
		return &MissingError{Names: []string{azureResourceName}}
	}
	return nil
}

// azureResources are the resources that the key is for: it must not be sent to any
// other, which could be a stranger's.
func azureResources(p *Provider, get Settings) []string {
	if p.Name != "azure-openai" {
		return nil
	}
	var names []string
	for name := range strings.SplitSeq(get.value(azureResourceName), ",") {
		if name = strings.ToLower(strings.TrimSpace(name)); isLabel(name) {
			names = append(names, name)
		}
	}
	return names
}

// Base is the base URL of the place, nil where the endpoint's path says the host.
func (pl Place) Base() *url.URL {
	if pl.base == nil {
		return nil
	}
	u := *pl.base
	return &u
}

// URL is where a call to ep goes. Of the client's raw query everything is kept but
// credentials. It fails where this place does not have the endpoint.
func (pl Place) URL(ep Endpoint, rawQuery string) (*url.URL, error) {
	p := pl.provider
	if p == nil || ep.rule == nil || ep.Provider.Name != p.Name {
		return nil, errors.New("no such path")
	}
	if r := ep.arg("resource"); r != "" && pl.resources != nil && !slices.Contains(pl.resources, r) {
		return nil, fmt.Errorf("this Azure resource is not in %s", azureResourceName)
	}
	query, err := cleanQuery(rawQuery)
	if err != nil {
		return nil, err
	}
	path := ep.rule.out
	if pl.Chained {
		if path = ep.rule.chain; path == nil {
			return nil, fmt.Errorf("%s has no such path at Cloudflare's AI Gateway", p.Name)
		}
	}
	u := url.URL{Scheme: "https"}
	if pl.base != nil {
		u = *pl.base
	} else {
		u.Host = p.host(&ep)
	}
	pl.extend(&u, &ep, path)
	u.RawQuery = defaultQuery(p, query)
	return &u, nil
}

// extend puts the endpoint's path below u's.
func (pl Place) extend(u *url.URL, ep *Endpoint, parts []part) {
	path := ep.write(parts)
	wire := path
	if ep.Provider.style == aws {
		wire = strictPath(path) // as AWS's clients do; what is signed follows from it
	}
	if wire != path || u.RawPath != "" {
		u.RawPath = u.EscapedPath() + wire
	}
	u.Path += path
}

// write is a path with the endpoint's parameters in it.
func (ep *Endpoint) write(parts []part) string {
	var b strings.Builder
	b.Grow(128)
	b.WriteString(ep.Provider.prefix)
	for _, p := range parts {
		b.WriteByte('/')
		if p.arg >= 0 {
			b.WriteString(ep.args[p.arg])
		}
		b.WriteString(p.lit)
	}
	return b.String()
}

// defaultQuery adds what an API insists on and a client may not know of.
func defaultQuery(p *Provider, query string) string {
	if p.Name != "azure-openai" || strings.HasPrefix(query, "api-version=") || strings.Contains(query, "&api-version=") {
		return query
	}
	if query != "" {
		query += "&"
	}
	return query + "api-version=" + azureVersion
}

// Check finds settings of places that cannot be used, before the first call does.
// What is missing altogether is no error here.
func Check(get Settings) error {
	var errs []error
	if raw := get.value(gatewayBaseName); raw != "" {
		_, err := parseBase(gatewayBaseName, raw, false)
		errs = append(errs, err)
	}
	_, err := chainBase(get)
	errs = append(errs, err)
	for _, p := range builtin {
		if raw := get.value(p.BaseName); raw != "" {
			_, err := parseBase(p.BaseName, raw, p.relaxed)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// parseBase checks a base URL. Its value is kept out of the errors: people paste
// keys into the wrong setting.
func parseBase(name, raw string, relaxed bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.Opaque != "" {
		return nil, fmt.Errorf("%s is not a URL; give one like https://host/path", name)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery {
		return nil, fmt.Errorf("%s must have no user, query or fragment; give only https://host/path", name)
	}
	host := u.Hostname()
	if u.Scheme != "https" && !(u.Scheme == "http" && (isLocal(host) || relaxed && isNearby(host))) {
		return nil, fmt.Errorf("%s must begin with https:// (http:// only for localhost or a private IP address), so that the key is not sent in the clear", name)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	if name == gatewayBaseName && !strings.HasSuffix(u.Path, "/anthropic") && !strings.HasSuffix(u.Path, "/openai") {
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

// isNearby reports whether a name cannot be one of the public internet: without a
// dot, as in a container network, or below a domain that is set aside for networks
// of one's own (RFC 6762, RFC 8375, ICANN's .internal).
func isNearby(host string) bool {
	if isLabel(host) {
		return isLower(host[0]) // 1234 and 0x7f000001 are addresses
	}
	for _, domain := range []string{".internal", ".local", ".home.arpa"} {
		if strings.HasSuffix(host, domain) {
			return true
		}
	}
	return false
}

func firstOf(get Settings, names []string) string {
	for _, name := range names {
		if v := get.value(name); v != "" {
			return v
		}
	}
	return ""
}
