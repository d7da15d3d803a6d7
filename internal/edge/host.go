package edge

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// mainAgent is the agent of hosts that name none.
const mainAgent = "main"

// adminLabel is the first label of a host name that the control plane has to
// itself; no agent may have that name.
const adminLabel = "admin"

// hosts maps host names to agents and to the control plane. Only names that are known to be ours mean
// anything: a page of another site that points its own name at our address (DNS
// rebinding) would otherwise speak to an agent with its visitor's browser.
type hosts struct {
	base   string // base domain, or ""
	public string // host of the public URL, or ""
	admin  string // origin of the control plane when that has a host of its own, or ""
}

func newHosts(baseDomain, publicURL, adminURL string) (hosts, error) {
	h := hosts{base: normalHost(strings.TrimPrefix(baseDomain, "."))}
	if publicURL != "" {
		u, err := originURL("WORKER_URL", publicURL)
		if err != nil {
			return h, err
		}
		h.public = normalHost(u.Host)
	}
	if adminURL != "" {
		u, err := originURL("MOLTWORKER_ADMIN_URL", adminURL)
		if err != nil {
			return h, err
		}
		if normalHost(u.Host) != h.public {
			h.admin = u.Scheme + "://" + strings.ToLower(u.Host)
		}
	}
	return h, nil
}

func originURL(name, value string) (*url.URL, error) {
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%s %q is not a URL: write it like https://bot.example.com", name, value)
	}
	return u, nil
}

// agent names the agent that a request's Host header means; "" is the control
// plane. ok is false when the host is none of ours.
func (h hosts) agent(host string) (name string, ok bool) {
	host = normalHost(host)
	if host == "" {
		return "", false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return mainAgent, true // a name is needed for rebinding; an address is typed
	}
	if _, own, found := strings.Cut(h.admin, "://"); found && host == normalHost(own) {
		return "", true
	}
	switch host {
	case "localhost", h.base, h.public:
		return mainAgent, true
	}
	for _, domain := range []string{"localhost", h.base} {
		if label, found := strings.CutSuffix(host, "."+domain); found && domain != "" {
			if label == adminLabel {
				return "", true
			}
			return label, isLabel(label)
		}
	}
	return "", false
}

// planes says whether the control plane's pages are served on a host of that
// agent ("" is the plane's own). They share the main agent's when they have none.
func (h hosts) planes(agent string) bool {
	return agent == "" || agent == mainAgent && h.admin == ""
}

// normalHost lower-cases a host and takes its port, brackets, zone and final dot
// away.
func normalHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// isLabel says whether s is one lower-case DNS label, as agents' names are.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
