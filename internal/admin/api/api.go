// Package api owns the control plane's JSON: routes, shapes of answers, and the
// document that describes them. The command line speaks it over a Unix socket in
// the data directory, which only the owner of that directory can open; programs
// and pages by the edge.
//
// It holds no rules: it reads a request, asks the [admin.Plane], and writes the
// answer. Who calls is in the request's context.
package api

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
)

// routes answers requests; each method is one route.
type routes struct {
	*admin.Plane
	log        *slog.Logger
	knockEvery time.Duration // how soon it is noticed that the client of a command is gone
}

// Handler serves the API to the caller in each request's context.
func Handler(plane *admin.Plane, log *slog.Logger) http.Handler {
	return (&routes{plane, log, 5 * time.Second}).handler()
}

// Owner serves every request as the owner of the data directory's. It is for the
// Unix socket, which nobody else can open.
func Owner(next http.Handler) http.Handler {
	owner := access.Principal{Kind: access.KindOwner, Via: access.ViaSocket}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(access.With(r.Context(), owner, access.Place{})))
	})
}

// route is one way in.
type route struct {
	pattern string
	serve   func(http.ResponseWriter, *http.Request) error
}

func (a *routes) list() []route {
	return append(a.modelRoutes(), []route{
		{"GET /api/status", a.status},
		{"GET /api/admin/openapi.json", a.document},

		{"GET /api/admin/agents", a.agents},
		{"POST /api/admin/agents", a.create},
		{"GET /api/admin/agents/{agent}", a.agent},
		{"DELETE /api/admin/agents/{agent}", a.remove},
		{"POST /api/admin/agents/{agent}/restart", a.restart},
		{"POST /api/admin/agents/{agent}/sleep", a.sleep},
		{"POST /api/admin/agents/{agent}/wake", a.wake},
		{"GET /api/admin/agents/{agent}/logs", a.logs},
		{"GET /api/admin/agents/{agent}/exec", a.exec},

		{"GET /api/admin/devices", a.devices},
		{"POST /api/admin/devices/approve-all", a.approveAll},
		{"POST /api/admin/devices/{id}/approve", a.approve},
		{"POST /api/admin/devices/{id}/reject", a.reject},
		{"POST /api/admin/devices/{id}/rename", a.rename},
		{"DELETE /api/admin/devices/{id}", a.revoke},
		{"POST /api/admin/senders/{channel}/{account}/{id}/approve", a.approveSender},
		{"POST /api/admin/senders/{channel}/{account}/{id}/dismiss", a.dismissSender},

		{"GET /api/admin/storage", a.storage},
		{"POST /api/admin/storage/sync", a.sync},
		{"POST /api/admin/gateway/restart", a.restartGateway},

		{"GET /api/admin/backup", a.backup},
		{"POST /api/admin/backup/unlock", a.unlock},
		{"GET /api/admin/backup/keys", a.keys},
		{"POST /api/admin/backup/keys", a.addKey},
		{"POST /api/admin/backup/keys/new", a.newKey},
		{"DELETE /api/admin/backup/keys/{id}", a.removeKey},
		{"POST /api/admin/agents/{agent}/backup", a.backupNow},
		{"GET /api/admin/agents/{agent}/versions", a.versions},
		{"GET /api/admin/agents/{agent}/versions/{version}/contents", a.contents},
		{"GET /api/admin/agents/{agent}/versions/{version}/parts", a.parts},
		{"GET /api/admin/agents/{agent}/versions/{version}/file", a.file},
		{"GET /api/admin/agents/{agent}/diff", a.diff},
		{"POST /api/admin/agents/{agent}/restore", a.restore},
		{"POST /api/admin/agents/{agent}/verify", a.verify},
		{"POST /api/admin/agents/{agent}/repair", a.repair},
		{"POST /api/admin/agents/{agent}/prune", a.prune},
		{"POST /api/admin/agents/{agent}/drill", a.drill},
		{"POST /api/admin/agents/{agent}/claim", a.claim},
		{"POST /api/admin/agents/{agent}/import", a.importAgent},
		{"GET /api/admin/agents/{agent}/export", a.export},
		{"POST /api/admin/agents/{agent}/export", a.exportSealed},

		{"GET /api/admin/secrets", a.secrets},
		{"PUT /api/admin/secrets/{name}", a.putSecret},
		{"DELETE /api/admin/secrets/{name}", a.removeSecret},
		{"POST /api/admin/tokens/rotate", a.rotate},

		{"GET /api/admin/audit", a.audit},
		{"GET /api/admin/audit/verify", a.verifyAudit},
		{"GET /api/admin/audit/export", a.exportAudit},
	}...)
}

func (a *routes) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range a.list() {
		mux.Handle(r.pattern, a.returning(r.serve))
	}
	mux.Handle("/", a.returning(func(http.ResponseWriter, *http.Request) error {
		return &admin.Error{Status: http.StatusNotFound, Kind: "not_found", Message: "no such route"}
	}))
	return mux
}

// returning turns a handler's error into the one shape of refusals.
func (a *routes) returning(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		e := admin.AsError(err)
		if e.Status >= 500 {
			a.log.Error("admin request failed", "route", r.Pattern, "err", err)
		}
		writeJSON(w, e.Status, map[string]*admin.Error{"error": e})
	})
}

//go:embed openapi.json
var openapi []byte

// document answers with the description of all this, in OpenAPI 3.1.
func (a *routes) document(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(openapi)
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(body, '\n')) // a client that went away is no failure of ours
	return nil
}

// answer writes what a call of the plane came to.
func answer(w http.ResponseWriter, status int, v any, err error) error {
	if err != nil {
		return err
	}
	return writeJSON(w, status, v)
}

func invalid(message string) error {
	return &admin.Error{Status: http.StatusBadRequest, Kind: "invalid", Message: message}
}
