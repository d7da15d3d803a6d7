package edge

import (
	"net/http"
	"net/netip"
	"strings"
)

// clientAddr is the address of the client as far as it can be known: the peer's,
// or what a trusted front says. X-Forwarded-For is read from the right, because
// everything left of the last trusted front is the client's own claim.
func (e *Edge) clientAddr(r *http.Request) netip.Addr {
	client := peerAddr(r)
	if !e.trusted(client) {
		return client
	}
	claims := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(claims) - 1; i >= 0; i-- {
		addr, err := parseAddr(strings.TrimSpace(claims[i]))
		if err != nil {
			return client
		}
		client = addr
		if !e.trusted(client) {
			return client
		}
	}
	return client
}

// secure says whether the browser reached us over TLS, here or at a trusted
// front.
func (e *Edge) secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	return e.trusted(peerAddr(r)) && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

func (e *Edge) trusted(addr netip.Addr) bool {
	for _, front := range e.opts.TrustedProxies {
		if front.Contains(addr) {
			return true
		}
	}
	return false
}

// peerAddr is the address of the connection's other end; the zero Addr when it
// has none.
func peerAddr(r *http.Request) netip.Addr {
	addr, _ := parseAddr(r.RemoteAddr)
	return addr
}

// parseAddr reads an address with or without a port.
func parseAddr(s string) (netip.Addr, error) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), nil
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return addr.Unmap().WithZone(""), err
}
