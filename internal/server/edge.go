package server

import (
	"github.com/moltworker/moltworker/internal/edge"
	"github.com/moltworker/moltworker/internal/openclaw"
)

// newEdge makes the public HTTP server.
func (s *server) newEdge() (*edge.Edge, error) {
	return edge.New(edge.Options{
		Lookup:         s.backend,
		Guard:          s.control.guard,
		Log:            s.log.With("part", "edge"),
		BaseDomain:     s.cfg.BaseDomain,
		PublicURL:      s.cfg.PublicURL,
		AdminURL:       s.origin.admin,
		Plane:          s.control.pages,
		Models:         s.models.outside(),
		Debug:          s.cfg.DebugRoutes,
		Enter:          s.control.enter,
		While:          s.control.accounts.While,
		Refused:        s.control.refused,
		Denied:         s.control.denied,
		TrustedProxies: s.cfg.TrustedProxies,
		CertFile:       s.cfg.TLSCert,
		KeyFile:        s.cfg.TLSKey,
		Explain:        explain,
		Passive:        openclaw.Passive,
		Tick:           openclaw.Tick,
	})
}

func (s *server) backend(name string) (edge.Backend, bool) {
	a, ok := s.fleet.Agent(name)
	if !ok {
		return nil, false
	}
	return a, true
}

// explain puts OpenClaw's refusals into our words.
func explain(code, requestID, agent string) (string, bool) {
	e, ok := openclaw.Explain(code, requestID, agent)
	return e.Text, ok
}
