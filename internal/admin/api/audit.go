package api

import (
	"net/http"

	"github.com/moltworker/moltworker/internal/audit"
)

func (a *routes) audit(w http.ResponseWriter, r *http.Request) error {
	filter, err := audit.ParseFilter(r.URL.Query())
	if err != nil {
		return invalid(err.Error())
	}
	list, err := a.Audit(r.Context(), filter)
	return answer(w, http.StatusOK, map[string][]audit.Entry{"entries": list}, err)
}

// verifyAudit checks the whole log, and that it has the entries that were noted
// elsewhere: ?head=SEQ:HASH, any number of times.
func (a *routes) verifyAudit(w http.ResponseWriter, r *http.Request) error {
	log, err := a.AuditLog(r.Context())
	if err != nil {
		return err
	}
	var noted []audit.Head
	for _, text := range r.URL.Query()["head"] {
		head, err := audit.ParseHead(text)
		if err != nil {
			return invalid(err.Error())
		}
		noted = append(noted, head)
	}
	report, err := log.Verify(r.Context(), noted...)
	return answer(w, http.StatusOK, report, err)
}

// exportAudit answers with one entry a line, in a form that proves itself.
func (a *routes) exportAudit(w http.ResponseWriter, r *http.Request) error {
	log, err := a.AuditLog(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	if err := log.Export(r.Context(), w); err != nil {
		// It has begun: a client that reads to the end must not take it for whole.
		a.log.Error("the export of the audit log broke off", "err", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}
