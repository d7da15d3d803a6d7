package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
)

// agentOf is the agent of routes that name it by ?agent=NAME; main when absent.
func agentOf(r *http.Request) string {
	if name := r.URL.Query().Get("agent"); name != "" {
		return name
	}
	return mainAgent
}

// Devices is the answer of GET /api/admin/devices: ours, with the names that
// cloudflare/moltworker has for some of it beside them.
type Devices struct {
	Agent     string          `json:"agent"`
	State     agent.State     `json:"state"`
	Reachable bool            `json:"reachable"`
	Seen      time.Time       `json:"seen,omitzero"`
	Pending   []PendingDevice `json:"pending"`
	Paired    []PairedDevice  `json:"paired"`
	Senders   []admin.Sender  `json:"senders"`
}

// PendingDevice is one that waits.
type PendingDevice struct {
	admin.PendingDevice
	ClientID string `json:"clientId"`
	RemoteIP string `json:"remoteIp"`
	TS       int64  `json:"ts"` // Unix milliseconds, as all times with numbers here
}

// PairedDevice is one that was approved.
type PairedDevice struct {
	admin.PairedDevice
	ClientID     string `json:"clientId"`
	RemoteIP     string `json:"remoteIp"`
	CreatedAtMS  int64  `json:"createdAtMs"`
	ApprovedAtMS int64  `json:"approvedAtMs"`
}

func pairedOf(d admin.PairedDevice) PairedDevice {
	return PairedDevice{d, d.Client, d.Address, millis(d.Created), millis(d.Approved)}
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func (a *routes) devices(w http.ResponseWriter, r *http.Request) error {
	list, err := a.Devices(r.Context(), agentOf(r))
	if err != nil {
		return err
	}
	out := Devices{Agent: list.Agent, State: list.State, Reachable: list.Reachable, Seen: list.Seen,
		Pending: []PendingDevice{}, Paired: []PairedDevice{}, Senders: list.Senders}
	for _, d := range list.Pending {
		out.Pending = append(out.Pending, PendingDevice{d, d.Client, d.Address, millis(d.Asked)})
	}
	for _, d := range list.Paired {
		out.Paired = append(out.Paired, pairedOf(d))
	}
	return writeJSON(w, http.StatusOK, out)
}

// Done is the answer of what was done to something.
type Done struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

// Approved is the answer of an approval.
type Approved struct {
	Done
	RequestID string `json:"requestId"`
	PairedDevice
}

func (a *routes) approve(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	device, err := a.ApproveDevice(r.Context(), agentOf(r), id)
	return answer(w, http.StatusOK, Approved{Done{true, "Device approved"}, id, pairedOf(device)}, err)
}

// ApprovedAll is the answer of an approval of all devices.
type ApprovedAll struct {
	Approved []string `json:"approved"` // requests
	Failed   []Failed `json:"failed"`
	Message  string   `json:"message"`
}

// Failed is a request that was not approved.
type Failed struct {
	RequestID string `json:"requestId"`
	Success   bool   `json:"success"`
	Error     string `json:"error"`
}

func (a *routes) approveAll(w http.ResponseWriter, r *http.Request) error {
	list, err := a.ApproveAll(r.Context(), agentOf(r))
	if err != nil {
		return err
	}
	all := ApprovedAll{Approved: []string{}, Failed: []Failed{}, Message: "No pending devices to approve"}
	for _, one := range list {
		if one.Error == nil {
			all.Approved = append(all.Approved, one.RequestID)
		} else {
			all.Failed = append(all.Failed, Failed{RequestID: one.RequestID, Error: one.Error.Message})
		}
	}
	if len(list) > 0 {
		all.Message = fmt.Sprintf("Approved %d of %d device(s)", len(all.Approved), len(list))
	}
	return writeJSON(w, http.StatusOK, all)
}

func (a *routes) reject(w http.ResponseWriter, r *http.Request) error {
	err := a.RejectDevice(r.Context(), agentOf(r), r.PathValue("id"))
	return answer(w, http.StatusOK, Done{true, "Device rejected"}, err)
}

func (a *routes) rename(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Name string `json:"name"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&req); err != nil {
		return invalid("want {\"name\": NAME}: " + err.Error())
	}
	err := a.RenameDevice(r.Context(), agentOf(r), r.PathValue("id"), req.Name)
	return answer(w, http.StatusOK, Done{true, "Device renamed"}, err)
}

func (a *routes) revoke(w http.ResponseWriter, r *http.Request) error {
	err := a.RevokeDevice(r.Context(), agentOf(r), r.PathValue("id"))
	return answer(w, http.StatusOK, Done{true, "Device revoked"}, err)
}

func (a *routes) approveSender(w http.ResponseWriter, r *http.Request) error {
	err := a.ApproveSender(r.Context(), agentOf(r), r.PathValue("channel"), r.PathValue("account"), r.PathValue("id"))
	return answer(w, http.StatusOK, Done{true, "Sender approved"}, err)
}

func (a *routes) dismissSender(w http.ResponseWriter, r *http.Request) error {
	err := a.DismissSender(r.Context(), agentOf(r), r.PathValue("channel"), r.PathValue("account"), r.PathValue("id"))
	return answer(w, http.StatusOK, Done{true, "Sender dismissed"}, err)
}
