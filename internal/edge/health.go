package edge

import (
	"net/http"

	"github.com/moltworker/moltworker/internal/agent"
)

// health answers the unguarded status routes. They say whether things work and
// nothing about what they are; their shapes are those that moltworker's users
// know. Asking them wakes nobody. It says whether the request was for one of them.
func (e *Edge) health(w http.ResponseWriter, r *http.Request) bool {
	switch r.URL.Path {
	case "/healthz", "/readyz", "/sandbox-health", "/api/status":
	default:
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, r, problem{status: http.StatusMethodNotAllowed, kind: "method_not_allowed", title: "Only for reading",
			message: "This path only answers GET.", remedy: "Ask with GET."})
		return true
	}
	state := e.stateFor(r)
	ready := reachable(state)
	switch r.URL.Path {
	case "/healthz":
		writeJSON(w, http.StatusOK, map[string]any{"ok": true, "status": "live"})
	case "/readyz":
		status := http.StatusOK
		if !ready {
			status = http.StatusServiceUnavailable
		}
		writeJSON(w, status, map[string]any{"ready": ready})
	case "/sandbox-health":
		writeJSON(w, http.StatusOK, map[string]any{"status": "ok", "service": "moltbot-sandbox", "gateway_port": 18789})
	case "/api/status":
		writeJSON(w, http.StatusOK, map[string]any{"ok": ready, "status": publicState(state)})
	}
	return true
}

// stateFor is the state of the agent that the request's host means, or of main.
func (e *Edge) stateFor(r *http.Request) agent.State {
	name, ok := e.hosts.agent(r.Host)
	if !ok || name == "" {
		name = mainAgent
	}
	backend, found := e.opts.Lookup(name)
	if !found {
		return agent.StateStopped
	}
	return backend.Status().State
}

// reachable says whether a request to an agent in this state is answered. One that
// sleeps wakes for it: a balancer that took it for down would send it none, and so
// never find it up again.
func reachable(s agent.State) bool { return publicState(s) == "running" }

// publicState is a state in the words of /api/status.
func publicState(s agent.State) string {
	switch s {
	case agent.StateAwake, agent.StateSuspending, agent.StateAsleep, agent.StateWaking:
		return "running"
	case agent.StateBooting:
		return "not_responding"
	default:
		return "not_running"
	}
}
