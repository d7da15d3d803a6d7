package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/moltworker/moltworker/internal/admin"
)

func (a *routes) agents(w http.ResponseWriter, r *http.Request) error {
	list, err := a.Agents(r.Context())
	return answer(w, http.StatusOK, map[string][]admin.AgentInfo{"agents": list}, err)
}

func (a *routes) agent(w http.ResponseWriter, r *http.Request) error {
	info, err := a.Agent(r.Context(), r.PathValue("agent"))
	return answer(w, http.StatusOK, info, err)
}

func (a *routes) restart(w http.ResponseWriter, r *http.Request) error {
	s, err := a.Restart(r.Context(), r.PathValue("agent"))
	return answer(w, http.StatusAccepted, s, err)
}

func (a *routes) sleep(w http.ResponseWriter, r *http.Request) error {
	s, err := a.Sleep(r.Context(), r.PathValue("agent"))
	return answer(w, http.StatusOK, s, err)
}

func (a *routes) wake(w http.ResponseWriter, r *http.Request) error {
	s, err := a.Wake(r.Context(), r.PathValue("agent"))
	return answer(w, http.StatusOK, s, err)
}

func (a *routes) create(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Name string `json:"name"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&req); err != nil {
		return invalid("want {\"name\": NAME}: " + err.Error())
	}
	made, err := a.Create(r.Context(), req.Name)
	return answer(w, http.StatusCreated, made, err)
}

func (a *routes) remove(w http.ResponseWriter, r *http.Request) error {
	gone, err := a.Remove(r.Context(), r.PathValue("agent"))
	return answer(w, http.StatusOK, gone, err)
}

// logs answers with one JSON entry a line, oldest first; with follow=1 it stays
// open and sends later entries as they come.
func (a *routes) logs(w http.ResponseWriter, r *http.Request) error {
	n := 100
	if s := r.FormValue("tail"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			return invalid(fmt.Sprintf("tail=%q: want a number from 0 to %d", s, admin.MaxTail))
		}
	}
	entries, later, err := a.Logs(r.Context(), r.PathValue("agent"), n, r.FormValue("follow") == "1")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := json.NewEncoder(w)
	for _, e := range entries {
		if enc.Encode(e) != nil {
			return nil
		}
	}
	flush := http.NewResponseController(w)
	flush.Flush()
	if later == nil {
		return nil
	}
	for e := range later {
		if enc.Encode(e) != nil {
			return nil
		}
		flush.Flush()
	}
	return nil
}
