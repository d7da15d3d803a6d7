package edge

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/moltworker/moltworker/internal/access"
)

// standIn is the address that the gateway is told for clients on our own
// loopback (or of unknown address). OpenClaw takes a forwarded loopback address
// for a broken proxy and refuses it; without any it would take the browser for
// the machine's own administrator and pair it unasked. 192.0.2.1 is reserved for
// documentation, so it is nobody's.
var standIn = netip.MustParseAddr("192.0.2.1")

// outgoing prepares r, a copy that leaves for the gateway: what clients claim
// about themselves is taken out, our own credentials too, and what we know is
// put in.
func (e *Edge) outgoing(r *http.Request, v visit) {
	for name := range r.Header {
		if claimsIdentity(name) {
			delete(r.Header, name)
		}
	}
	if token := access.QueryToken(r.URL); token != "" && v.who.Source == access.SourceQuery {
		carryToken(r.Header, token)
	}
	if v.who.Source == access.SourceHeader {
		carryToken(r.Header, strings.TrimSpace(r.Header.Get(access.TokenHeader)))
	}
	if v.who.Kind == access.KindService {
		r.Header.Del("Authorization")
		carryToken(r.Header, e.opts.Guard.Current(v.agent))
	}
	access.Strip(r)

	client := v.client
	if !client.IsValid() || client.IsLoopback() || client.IsUnspecified() {
		client = standIn
	}
	r.Header.Set("X-Forwarded-For", client.String())
	r.Header.Set("X-Forwarded-Proto", v.scheme())
	r.Header.Set("X-Forwarded-Host", r.Host)
}

// carryToken hands a token that the caller gave explicitly (or that a service token
// stands for) to the gateway's own HTTP authentication, where it gives operator
// rights. A cookie is never turned
// into a token: with it alone a browser gets the page, and everything else by
// its own device token after pairing.
func carryToken(h http.Header, token string) {
	if h.Get("Authorization") == "" {
		h.Set("Authorization", "Bearer "+token)
	}
}

// identityHeaders are names by which proxies tell servers who is calling. Only
// we may speak for a caller, so none of them passes.
var identityHeaders = map[string]bool{
	"Forwarded": true, "X-Real-Ip": true, "X-Client-Ip": true, "X-Original-Forwarded-For": true,
	"True-Client-Ip": true, "Cf-Connecting-Ip": true, "Fly-Client-Ip": true,
	"X-Openclaw-Scopes": true, "X-Openclaw-Token": true, "X-Openclaw-Password": true,
	"Remote-User": true, "X-Remote-User": true, "X-Forwarded": true,
}

// identityPrefixes are whole families of the same.
var identityPrefixes = []string{"X-Forwarded-", "Tailscale-", "Cf-Access-", "X-Auth-Request-", "X-Goog-Authenticated-", "X-Goog-Iap-", "X-Pomerium-"}

func claimsIdentity(name string) bool {
	// Names from HTTP parsers are canonical already; others are made so here.
	name = http.CanonicalHeaderKey(name)
	if identityHeaders[name] {
		return true
	}
	for _, prefix := range identityPrefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
