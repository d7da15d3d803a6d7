package api

import (
	"net/http"

	"github.com/moltworker/moltworker/internal/agent"
)

// Restarted is the answer of a restart.
type Restarted struct {
	Done
	Agent agent.Status `json:"agent"`
}

func (a *routes) restartGateway(w http.ResponseWriter, r *http.Request) error {
	s, err := a.Restart(r.Context(), agentOf(r))
	return answer(w, http.StatusOK, Restarted{Done{true, "The gateway is restarting."}, s}, err)
}

func (a *routes) rotate(w http.ResponseWriter, r *http.Request) error {
	rotation, err := a.RotateToken(r.Context(), agentOf(r))
	return answer(w, http.StatusOK, rotation, err)
}

func (a *routes) storage(w http.ResponseWriter, r *http.Request) error {
	s, err := a.Storage(r.Context())
	return answer(w, http.StatusOK, s, err)
}

// Synced is the answer of a backup.
type Synced struct {
	Done
	LastSync any `json:"lastSync"` // a time, or null
}

func (a *routes) sync(w http.ResponseWriter, r *http.Request) error {
	s, err := a.SyncStorage(r.Context())
	return answer(w, http.StatusOK, Synced{Done{true, "Sync completed successfully"}, s.LastSync}, err)
}
