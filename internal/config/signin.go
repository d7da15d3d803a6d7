package config

import (
	"errors"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// accessKeys are about who may do what.
func accessKeys() []Key {
	return []Key{
		{Name: "MOLTWORKER_ADMIN_URL", Group: groupAccess, Form: "http or https URL without a path",
			Meaning: "the address of the control plane's own pages, when it is another one than the agents'",
			Absent:  "derived: admin.DOMAIN with MOLTWORKER_BASE_DOMAIN, else WORKER_URL, else where the web address listens",
			set:     adminURL},
		{Name: "MOLTWORKER_AUTO_PAIR", Group: groupAccess, Form: "true or false",
			Meaning: "a browser that has signed in is paired with an agent without asking", Default: "true",
			set: boolean(func(c *Config) *bool { return &c.AutoPair })},
		{Name: "CF_ACCESS_TEAM_DOMAIN", Group: groupAccess, Form: "TEAM.cloudflareaccess.com, with or without https://",
			Meaning: "team whose Cloudflare Access signs people in; needs CF_ACCESS_AUD", set: teamDomain},
		{Name: "CF_ACCESS_AUD", Group: groupAccess, Form: "text",
			Meaning: "audience tag of the Access application that stands before moltworker", set: word(func(c *Config) *string { return &c.AccessAudience })},
		{Name: "MOLTWORKER_ACCESS_ALLOW", Group: groupAccess, Form: "comma list of e-mail addresses, @DOMAINs and client IDs of Access service tokens",
			Meaning: "whom of those that Access lets through moltworker takes too", Absent: "all of them",
			set: allowed(func(c *Config) *[]string { return &c.AccessAllow }, true)},
		{Name: "MOLTWORKER_OIDC_ISSUER", Group: groupAccess, Form: "https URL",
			Meaning: "OpenID Connect provider that signs people in, as it calls itself; needs MOLTWORKER_OIDC_CLIENT_ID and MOLTWORKER_OIDC_ALLOW", set: issuer},
		{Name: "MOLTWORKER_OIDC_CLIENT_ID", Group: groupAccess, Form: "text",
			Meaning: "name by which the provider knows moltworker", set: word(func(c *Config) *string { return &c.OIDCClientID })},
		{Name: "MOLTWORKER_OIDC_ALLOW", Group: groupAccess, Form: "comma list of e-mail addresses and @DOMAINs",
			Meaning: "who may sign in by the provider; each of them administers everything",
			set:     allowed(func(c *Config) *[]string { return &c.OIDCAllow }, false)},
		{Name: "MOLTWORKER_OIDC_CLIENT_SECRET", Group: groupAccess, Secret: true, Form: "text",
			Meaning: "secret that the provider gave to moltworker", set: hidden(func(c *Config) *secretValue { return &c.OIDCClientSecret })},
		{Name: "DEBUG_ROUTES", Group: groupAccess, Form: "true or false",
			Meaning: "serve /debug to those who are signed in", Default: "false",
			set: boolean(func(c *Config) *bool { return &c.DebugRoutes })},
		{Name: "DEV_MODE", Group: groupAccess, Form: "true or false",
			Meaning: "no sign-in and no pairing, for development on this machine only", Default: "false",
			set: boolean(func(c *Config) *bool { return &c.DevMode })},
	}
}

// checkSignIn looks at what the settings of signing in mean together.
func (c *Config) checkSignIn(p *Problems) {
	c.bothOrNone("CF_ACCESS_TEAM_DOMAIN", "CF_ACCESS_AUD", p)
	if c.isGiven("MOLTWORKER_ACCESS_ALLOW") && !c.isGiven("CF_ACCESS_TEAM_DOMAIN") && !c.isGiven("CF_ACCESS_AUD") {
		c.complain("MOLTWORKER_ACCESS_ALLOW", "it is set but CF_ACCESS_TEAM_DOMAIN and CF_ACCESS_AUD are not: set them, or leave it out", p)
	}
	if c.isGiven("MOLTWORKER_OIDC_ISSUER") {
		for _, name := range []string{"MOLTWORKER_OIDC_CLIENT_ID", "MOLTWORKER_OIDC_ALLOW"} {
			if !c.isGiven(name) {
				c.complain("MOLTWORKER_OIDC_ISSUER", "it is set but "+name+" is not: set both, or none", p)
			}
		}
	} else {
		for _, name := range []string{"MOLTWORKER_OIDC_CLIENT_ID", "MOLTWORKER_OIDC_ALLOW", "MOLTWORKER_OIDC_CLIENT_SECRET"} {
			if c.isGiven(name) {
				c.complain(name, "it is set but MOLTWORKER_OIDC_ISSUER is not: set both, or none", p)
			}
		}
	}
	if !c.DevMode {
		return
	}
	if !c.listensLocally() {
		c.complain("DEV_MODE", "with it there is no sign-in, and MOLTWORKER_LISTEN is reachable from other machines: listen on 127.0.0.1:PORT, or leave DEV_MODE out", p)
	}
	c.Warnings = append(c.Warnings, "DEV_MODE is on: whoever reaches this address, a proxy or tunnel before it included, administers every agent without signing in")
}

// bothOrNone complains about one of a pair without the other.
func (c *Config) bothOrNone(one, other string, p *Problems) {
	if c.isGiven(one) == c.isGiven(other) {
		return
	}
	if c.isGiven(other) {
		one, other = other, one
	}
	c.complain(one, "it is set but "+other+" is not: set both, or none", p)
}

func (c *Config) isGiven(name string) bool {
	_, given := c.given[name]
	return given
}

func (c *Config) complain(name, text string, p *Problems) {
	p.add(name, c.Origin(name), errors.New(text))
}

// adminURL is an address without a path; the one path that the pages have anyway
// is taken for granted.
func adminURL(c *Config, v string) error {
	return origin(func(c *Config) *string { return &c.AdminURL })(c, strings.TrimSuffix(strings.TrimRight(v, "/"), "/_admin"))
}

// teamDomain keeps a host name, or a whole address when it is one of this machine.
func teamDomain(c *Config, v string) error {
	const right = "TEAM.cloudflareaccess.com"
	if _, rest, ok := strings.Cut(v, "://"); ok {
		u, err := identityURL(v, right)
		if err != nil {
			return err
		}
		if strings.Trim(u.Path, "/") != "" {
			return wrong(v, "a team domain", right+", without a path")
		}
		if u.Scheme == "http" {
			c.AccessTeamDomain = "http://" + u.Host
			return nil
		}
		v = rest
	}
	var name string
	if err := domain(func(*Config) *string { return &name })(c, strings.TrimRight(v, "/")); err != nil || !strings.Contains(name, ".") {
		return wrong(v, "a team domain", right)
	}
	c.AccessTeamDomain = name
	return nil
}

// issuer is kept as it was written: providers compare it letter by letter.
func issuer(c *Config, v string) error {
	if _, err := identityURL(v, "https://HOST or https://HOST/PATH"); err != nil {
		return err
	}
	c.OIDCIssuer = v
	return nil
}

// identityURL is the address of somebody who is believed about who people are.
// Only on this machine may nothing encrypt what is said.
func identityURL(v, right string) (*url.URL, error) {
	u, err := parseURL(v)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return nil, wrong(v, "an address that can be trusted, as nothing encrypts http", right)
	}
	return u, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Addresses are compared as they are, so only plain ones are taken.
var (
	addressPattern  = regexp.MustCompile(`^[a-z0-9.!#$%&'*+/=?^_{|}~-]{0,64}@([a-z0-9-]+\.)*[a-z0-9-]+$`)
	clientIDPattern = regexp.MustCompile(`^[a-z0-9._-]{1,200}\.access$`)
)

// allowed is a list of addresses and @domains, in lower case. services says that
// client IDs of Access service tokens may stand in it too.
func allowed(field func(*Config) *[]string, services bool) setter {
	return func(c *Config, v string) error {
		var list []string
		for _, item := range splitList(v) {
			item = strings.ToLower(item)
			if len(item) > 254 || !addressPattern.MatchString(item) && (!services || !clientIDPattern.MatchString(item)) {
				return wrong(item, "an e-mail address or @DOMAIN", "such as ann@example.com or @example.com, parted by commas")
			}
			list = append(list, item)
		}
		if len(list) == 0 || len(list) > 1000 {
			return wrong(v, "a list of e-mail addresses and @DOMAINs", "1 to 1000 of them, parted by commas")
		}
		*field(c) = list
		return nil
	}
}
