package edge

import (
	"net/http"
	"strings"

	"github.com/moltworker/moltworker/internal/access"
)

// Client libraries of model APIs know one place each for a key, and those of
// Cloudflare's AI Gateway one more. A token for the AI gateway is taken in any of
// them, so that a client that was set up for another host changes nothing else.
var tokenHeaders = []string{"Cf-Aig-Authorization", "Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

// letCall establishes which program calls a model and notes it in the visit, or
// answers. The credential goes no further than here.
func (e *Edge) letCall(w http.ResponseWriter, r *http.Request, v *visit) bool {
	if e.opts.Models == nil {
		noSuchRoute(w, r)
		return false
	}
	asked := r.Clone(r.Context())
	if token := modelToken(r.Header); token != "" {
		asked.Header.Set("Authorization", "Bearer "+token)
	}
	who, err := e.opts.Guard.Who(asked, v.planePlace())
	if err != nil {
		refusal := asRefusal(err)
		e.opts.Denied(r, v.planePlace(), refusal)
		answer(w, r, problem{status: refusal.Status(), kind: string(refusal.Reason), title: "Not for everybody", message: refusal.Message,
			remedy: "Send a service token with the scope `models:use` where the API wants its key.", retryAfter: refusal.RetryAfter})
		return false
	}
	if !who.Explicit() || !who.May(access.UseModels) {
		refusal := access.NotAllowed(who, access.UseModels)
		answer(w, r, problem{status: refusal.Status(), kind: string(refusal.Reason), title: "Not for this caller", message: refusal.Message, remedy: refusal.Remedy})
		return false
	}
	for _, name := range tokenHeaders {
		r.Header.Del(name)
	}
	v.who = who
	return true
}

// modelToken is the first service token among a request's credentials.
func modelToken(h http.Header) string {
	for _, name := range tokenHeaders {
		value := strings.TrimSpace(h.Get(name))
		if scheme, rest, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
			value = strings.TrimSpace(rest)
		}
		if strings.HasPrefix(value, access.ServicePrefix) {
			return value
		}
	}
	return socketToken(h)
}

// socketToken is the service token among the protocols that a WebSocket's client
// offers: browsers have no other place for one. The prefixes are those of OpenAI's
// realtime API and of Cloudflare's AI Gateway.
func socketToken(h http.Header) string {
	for _, value := range h["Sec-Websocket-Protocol"] {
		for protocol := range strings.SplitSeq(value, ",") {
			protocol = strings.TrimSpace(protocol)
			for _, prefix := range []string{"cf-aig-authorization.", "openai-insecure-api-key."} {
				if token, ok := strings.CutPrefix(protocol, prefix); ok && strings.HasPrefix(token, access.ServicePrefix) {
					return token
				}
			}
		}
	}
	return ""
}

func (e *Edge) toModels(w http.ResponseWriter, r *http.Request, v visit) {
	r = r.WithContext(access.With(r.Context(), v.who, v.planePlace()))
	e.opts.Models.ServeHTTP(w, r)
}
