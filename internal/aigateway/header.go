package aigateway

import (
	"maps"
	"mime"
	"net/http"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/realtime"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// Both directions work by allow-list: what is not named here does not pass. So
// credentials, cookies, forwarding and hop-by-hop headers need no list of their
// own, and neither does tomorrow's.

var requestHeaders = map[string]bool{
	"Accept": true, "Content-Type": true, "User-Agent": true,
	"Idempotency-Key": true, "X-Client-Request-Id": true,
	"Prefer": true, "Http-Referer": true, "X-Title": true, "X-Goog-Api-Client": true, // Replicate, OpenRouter, Google
}

var responseHeaders = map[string]bool{
	"Content-Type": true, "Content-Length": true, "Cache-Control": true,
	"Retry-After": true, "Retry-After-Ms": true, "X-Should-Retry": true,
	"Request-Id": true, "X-Request-Id": true, "X-Amzn-Requestid": true, "Openai-Processing-Ms": true, "Openai-Version": true,
}

// ownersHeaders choose whose account at the provider is used, which is no agent's
// business.
var ownersHeaders = map[string]bool{"Openai-Organization": true, "Openai-Project": true}

func passesIn(name string) bool {
	return requestHeaders[name] || strings.HasPrefix(name, "Anthropic-") ||
		strings.HasPrefix(name, "Openai-") || strings.HasPrefix(name, "X-Stainless-")
}

func passesOut(name string) bool {
	return responseHeaders[name] || strings.HasPrefix(name, "Anthropic-Ratelimit-") ||
		strings.HasPrefix(name, "X-Ratelimit-") || strings.HasPrefix(name, "X-Amzn-Bedrock-")
}

// requestHeader is what the upstream gets. The value slices are the client's own
// and must not be changed.
func (c *call) requestHeader() http.Header {
	if c.to.name != c.asked.name && c.asked.route == "" || c.api != "" {
		return c.foreignHeader()
	}
	named := connectionNames(c.r.Header)
	h := make(http.Header, len(c.r.Header)+3)
	for k, vv := range c.r.Header {
		if passesIn(k) && !named[k] && (c.from.Trusted || !ownersHeaders[k]) {
			h[k] = vv
		}
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{"moltworker"}
	}
	if c.asked.ep.WebSocket {
		return c.socketHeader(h)
	}
	// The answer is passed on and looked at as it arrives: no compression.
	h["Accept-Encoding"] = identity
	// Never sent: it tells net/http that the call may go over a new connection
	// when a kept one turns out dead before any byte of an answer.
	h["X-Idempotency-Key"] = nil
	return h
}

// socketHeader adds what opens a WebSocket.
func (c *call) socketHeader(h http.Header) http.Header {
	delete(h, "Content-Type")
	maps.Copy(h, realtime.UpstreamHeader(c.r.Header))
	return h
}

// foreignHeader is what another provider gets than the client had in mind.
func (c *call) foreignHeader() http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {"moltworker"},
		"Accept-Encoding": identity, "X-Idempotency-Key": nil}
	if c.streams() {
		h["Accept"] = []string{"text/event-stream"}
	}
	if c.to.ep.Kind == usage.Anthropic {
		h["Anthropic-Version"] = []string{anthropicVersion}
	}
	return h
}

// anthropicVersion is the version of the Messages API that is spoken to such providers
// (docs.anthropic.com, API versions).
const anthropicVersion = "2023-06-01"

var identity = []string{"identity"}

// connectionNames are the headers a Connection header declares hop-by-hop.
func connectionNames(h http.Header) map[string]bool {
	var names map[string]bool
	for _, v := range h["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			if names == nil {
				names = map[string]bool{}
			}
			names[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	return names
}

// copyHeader passes the upstream's headers on, save those that hold a key.
func copyHeader(dst, src http.Header, keys []string) {
	named := connectionNames(src)
	for k, vv := range src {
		if passesOut(k) && !named[k] && !holdsKey(vv, keys) {
			dst[k] = vv
		}
	}
}

func holdsKey(values, keys []string) bool {
	for _, v := range values {
		for _, key := range keys {
			if key != "" && strings.Contains(v, key) {
				return true
			}
		}
	}
	return false
}

// mediaType is the type of a Content-Type header without its parameters.
func mediaType(h http.Header) string {
	v := h.Get("Content-Type")
	switch v { // the usual ones, without parsing
	case "application/json", "text/event-stream":
		return v
	case "text/event-stream; charset=utf-8":
		return "text/event-stream"
	}
	t, _, err := mime.ParseMediaType(v)
	if err != nil {
		return ""
	}
	return t
}
