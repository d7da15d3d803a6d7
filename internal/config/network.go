package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const mainAgent = "main"

// agentPattern is also what a sandbox, a directory and a DNS label may be named.
var agentPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// CheckAgentName says whether an agent may have that name.
func CheckAgentName(name string) error {
	if !agentPattern.MatchString(name) {
		return fmt.Errorf("%w: %w", ErrInvalid, wrong(name, "an agent's name", "1 to 40 of a-z, 0-9 and inner -"))
	}
	if name == planeName {
		return fmt.Errorf("%w: %w", ErrInvalid, errPlaneName)
	}
	return nil
}

// planeName is the first label of the control plane's own host name.
const planeName = "admin"

var errPlaneName = errors.New("no agent can be called admin: that host name is the control plane's; choose another name")

func agents(c *Config, v string) error {
	var names []string
	for _, name := range splitList(v) {
		if !agentPattern.MatchString(name) {
			return wrong(name, "an agent's name", "1 to 40 of a-z, 0-9 and inner -, names parted by commas")
		}
		if name == planeName {
			return errPlaneName
		}
		if slices.Contains(names, name) {
			return wrong(v, "a list of different names", "each name once")
		}
		names = append(names, name)
	}
	if !slices.Contains(names, mainAgent) {
		names = slices.Insert(names, 0, mainAgent)
	}
	if len(names) > 1000 {
		return errors.New("there are more than 1000 agents: name fewer")
	}
	c.Agents = names
	return nil
}

func listen(c *Config, v string) error {
	const right = "ADDR:PORT, such as 127.0.0.1:8787, [::1]:8787, or :8787 for every interface"
	host, port, err := net.SplitHostPort(v)
	if err != nil {
		return wrong(v, "an address to listen on", right)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return wrong(v, "an address to listen on", right+", with a port from 0 to 65535")
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return wrong(v, "an address to listen on", right)
	}
	c.Listen = net.JoinHostPort(host, strconv.FormatUint(n, 10))
	return nil
}

var domainPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

func domain(field func(*Config) *string) setter {
	return func(c *Config, v string) error {
		name := strings.TrimSuffix(strings.ToLower(v), ".")
		_, notIP := netip.ParseAddr(name)
		if notIP == nil || len(name) > 253 || !domainPattern.MatchString(name) {
			return wrong(v, "a DNS name", "one without scheme, port and path, such as agents.example.com")
		}
		*field(c) = name
		return nil
	}
}

func proxies(c *Config, v string) error {
	var list []netip.Prefix
	for _, item := range splitList(v) {
		p, err := netip.ParsePrefix(item)
		if addr, errAddr := netip.ParseAddr(item); err != nil && errAddr == nil && addr.Zone() == "" {
			p, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return wrong(item, "an address or a CIDR block", "such as 10.0.0.0/8, 192.0.2.7 or fd00::/8, parted by commas")
		}
		if p.Bits() == 0 {
			c.Warnings = append(c.Warnings, "MOLTWORKER_TRUSTED_PROXIES has "+item+": every client may claim any address as its own")
		}
		list = append(list, p.Masked())
	}
	c.TrustedProxies = list
	return nil
}

// baseURL is an address that paths are added to.
func baseURL(field func(*Config) *string) setter {
	return func(c *Config, v string) error {
		u, err := parseURL(v)
		if err != nil {
			return err
		}
		u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
		*field(c) = u.String()
		return nil
	}
}

// aiGateway is a base URL that says which provider it stands in for.
func aiGateway(c *Config, v string) error {
	if err := baseURL(func(c *Config) *string { return &c.AIGatewayBaseURL })(c, v); err != nil {
		return err
	}
	if u := c.AIGatewayBaseURL; !strings.HasSuffix(u, "/anthropic") && !strings.HasSuffix(u, "/openai") {
		return wrong(v, "a URL that says which provider it leads to", "one that ends in /anthropic or /openai")
	}
	return nil
}

// origin is an address without a path.
func origin(field func(*Config) *string) setter {
	return func(c *Config, v string) error {
		u, err := parseURL(v)
		if err != nil {
			return err
		}
		if strings.Trim(u.Path, "/") != "" {
			return wrong(v, "an address without a path", "only https://HOST or https://HOST:PORT")
		}
		*field(c) = u.Scheme + "://" + u.Host
		return nil
	}
}

// parseURL never quotes a URL that may hold a password.
func parseURL(v string) (*url.URL, error) {
	const right = "http://HOST/PATH or https://HOST/PATH"
	if strings.ContainsAny(v, "@?#") {
		return nil, errors.New("the URL holds a user, a query or a fragment: write only https://HOST/PATH, and the key under its own name")
	}
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || len(v) > 2048 {
		return nil, wrong(v, "a URL of a web address", right)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, wrong(v, "a URL with a port that can be used", right)
		}
	}
	u.Host = strings.ToLower(u.Host)
	return u, nil
}

var modelPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}/[!-~]{1,200}$`)

func model(c *Config, v string) error {
	if !modelPattern.MatchString(v) {
		return wrong(v, "a model", "PROVIDER/MODEL, such as anthropic/claude-sonnet-5-5, openai/gpt-5.5 or groq/llama-3.3-70b-versatile")
	}
	c.Model = v
	return nil
}

func splitList(v string) []string {
	var items []string
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
