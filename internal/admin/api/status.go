package api

import (
	"net/http"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
)

// Status is the answer of GET /api/status. Only who may see agents is told the
// version.
type Status struct {
	OK      bool           `json:"ok"`     // the main agent answers, or will when it is asked
	Status  string         `json:"status"` // of the main agent: "running", "not_responding", "not_running"
	Version *admin.Version `json:"version,omitempty"`
}

// mainAgent is meant where no agent is named.
const mainAgent = "main"

func (a *routes) status(w http.ResponseWriter, r *http.Request) error {
	s := Status{Status: publicState(a.MainState())}
	s.OK = s.Status == "running"
	if access.From(r.Context()).May(access.ReadAgents) {
		version := a.Version()
		s.Version = &version
	}
	return writeJSON(w, http.StatusOK, s)
}

// publicState is a state in the words that strangers may hear. An agent that
// sleeps wakes for a request.
func publicState(s agent.State) string {
	switch s {
	case agent.StateAwake, agent.StateSuspending, agent.StateAsleep, agent.StateWaking:
		return "running"
	case agent.StateBooting:
		return "not_responding"
	}
	return "not_running"
}
