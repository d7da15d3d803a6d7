package server

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/moltworker/moltworker/internal/config"
)

// origin is how browsers reach us: scheme, port and the names that lead here.
type origin struct {
	scheme string
	port   string // without the colon
	bare   string // host of the link to the main agent
	base   string // base domain of agents' names, or ""
	public string // origin of WORKER_URL, or ""
	admin  string // origin of the control plane's own host, or ""
	hosts  []string
}

// originOf derives it from the configuration and the address that was taken
// (whose port may have been chosen by the kernel).
func originOf(cfg config.Config, addr net.Addr) origin {
	host, port, _ := net.SplitHostPort(addr.String())
	o := origin{scheme: "http", port: port, bare: "localhost", base: cfg.BaseDomain}
	if cfg.TLSCert != "" {
		o.scheme = "https"
	}
	if u, err := url.Parse(cfg.PublicURL); err == nil && u.Host != "" {
		o.public = u.Scheme + "://" + u.Host
	}
	switch {
	case cfg.AdminURL != "":
		o.admin = cfg.AdminURL
	case o.base != "" && strings.HasPrefix(o.public, "https://"):
		o.admin = "https://admin." + o.base // behind a front that ends TLS
	case o.base != "":
		o.admin = o.on("admin." + o.base)
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil || ip.IsLoopback():
		o.hosts = []string{"localhost", "127.0.0.1", "[::1]"}
	case ip.IsUnspecified():
		o.hosts = append([]string{"localhost"}, interfaceHosts()...)
	default:
		o.bare = urlHost(ip)
		o.hosts = []string{o.bare}
	}
	return o
}

// interfaceHosts are this machine's own addresses as they stand in a URL.
func interfaceHosts() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var hosts []string
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			hosts = append(hosts, urlHost(p.Addr().WithZone("")))
		}
	}
	return hosts
}

func urlHost(ip netip.Addr) string {
	if ip.Is6() && !ip.Is4In6() {
		return "[" + ip.String() + "]"
	}
	return ip.Unmap().String()
}

// agent is where a person opens an agent.
func (o origin) agent(name string) string {
	switch {
	case name == "main" && o.public != "":
		return o.public
	case o.base != "" && name == "main":
		return o.on(o.base)
	case o.base != "":
		return o.on(name + "." + o.base)
	case name == "main":
		return o.on(o.bare)
	}
	return o.on(name + ".localhost")
}

// link is the same with the token that opens it.
func (o origin) link(name, token string) string {
	return o.agent(name) + "/?token=" + url.QueryEscape(token)
}

// plane is where a path of the control plane is opened.
func (o origin) plane(path string) string {
	if o.admin != "" {
		return o.admin + path
	}
	return o.agent("main") + path
}

// allowed are the origins from which an agent's page may connect.
func (o origin) allowed(agent string) []string {
	names := []string{agent + ".localhost"}
	if agent == "main" {
		names = append(names, o.hosts...)
	}
	if o.base != "" {
		names = append(names, agent+"."+o.base)
		if agent == "main" {
			names = append(names, o.base)
		}
	}
	var origins []string
	for _, name := range names {
		origins = append(origins, o.on(name))
		if o.base != "" && strings.HasSuffix(name, o.base) {
			origins = append(origins, "https://"+name) // behind a front that ends TLS
		}
	}
	if o.public != "" && agent == "main" {
		origins = append(origins, o.public)
	}
	return origins
}

// on is the origin of a host name here, without the scheme's own port.
func (o origin) on(host string) string {
	if o.scheme == "http" && o.port == "80" || o.scheme == "https" && o.port == "443" {
		return o.scheme + "://" + host
	}
	return o.scheme + "://" + host + ":" + o.port
}
