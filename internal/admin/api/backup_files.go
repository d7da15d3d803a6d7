package api

import (
	"net/http"
	"strings"

	"github.com/moltworker/moltworker/internal/admin"
)

// file answers with a file of a version. What breaks off in the middle aborts the
// connection: a client that reads to the end must not take it for whole.
func (a *routes) file(w http.ResponseWriter, r *http.Request) error {
	path := r.URL.Query().Get("path")
	body, size, err := a.BackupFile(r.Context(), r.PathValue("agent"), r.PathValue("version"), path)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := admin.SendFile(w, path, body, size); err != nil {
		a.log.Error("a file of a backup broke off", "agent", r.PathValue("agent"), "version", r.PathValue("version"), "err", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// exported begins an answer with an archive at its first byte, so that what fails
// before is an ordinary refusal.
type exported struct {
	w     http.ResponseWriter
	name  string
	begun bool
}

func (e *exported) Write(p []byte) (int, error) {
	if !e.begun {
		e.begun = true
		admin.Attach(e.w.Header(), e.name)
	}
	return e.w.Write(p)
}

// export takes a recipient that is public from the URL.
func (a *routes) export(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	if strings.HasPrefix(q.Get("recipient"), admin.PassphrasePrefix) {
		return &admin.Error{Status: http.StatusBadRequest, Kind: "invalid", Message: "a passphrase must not stand in a URL", Remedy: "send it in the body of a POST"}
	}
	return a.sendExport(w, r, q.Get("version"), q.Get("recipient"))
}

// exportSealed takes any recipient, from the body.
func (a *routes) exportSealed(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Version   string `json:"version"`
		Recipient string `json:"recipient"`
	}
	if err := order(w, r, &req); err != nil {
		return err
	}
	return a.sendExport(w, r, req.Version, req.Recipient)
}

func (a *routes) sendExport(w http.ResponseWriter, r *http.Request, version, recipient string) error {
	out := &exported{w: w, name: admin.ExportName(r.PathValue("agent"), version, recipient)}
	err := a.BackupExport(r.Context(), r.PathValue("agent"), version, recipient, out)
	if err != nil && out.begun {
		a.log.Error("the export of an agent broke off", "agent", r.PathValue("agent"), "err", err)
		panic(http.ErrAbortHandler)
	}
	return err
}
