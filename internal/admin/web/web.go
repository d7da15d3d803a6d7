// Package web owns the control plane's pages below /_admin/: what they show and
// which operation of the plane each of their buttons stands for. Every action is a
// plain form that works without JavaScript; with it, parts of a page follow what
// happens, told by one stream of events.
//
// It must not know any rule of the control plane: who may do what, what is
// recorded and what is possible is the plane's to say. How pages look is page's.
// Whatever agents, devices and channels call themselves is hostile.
package web

import (
	"context"
	"embed"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/page"
)

// Plane is what of the control plane the pages use; *admin.Plane is one.
type Plane interface {
	Agents(ctx context.Context) ([]admin.AgentInfo, error)
	Create(ctx context.Context, name string) (admin.Created, error)
	Remove(ctx context.Context, name string) (admin.Removed, error)
	Restart(ctx context.Context, name string) (agent.Status, error)
	Sleep(ctx context.Context, name string) (agent.Status, error)
	Wake(ctx context.Context, name string) (agent.Status, error)
	WatchAgent(ctx context.Context, name string) (<-chan agent.Status, error)
	Logs(ctx context.Context, name string, n int, follow bool) ([]agent.LogEntry, <-chan agent.LogEntry, error)

	Devices(ctx context.Context, name string) (admin.Devices, error)
	WatchDevices(ctx context.Context, name string) (<-chan struct{}, error)
	ApproveDevice(ctx context.Context, name, requestID string) (admin.PairedDevice, error)
	ApproveAll(ctx context.Context, name string) ([]admin.Approval, error)
	RejectDevice(ctx context.Context, name, requestID string) error
	RenameDevice(ctx context.Context, name, deviceID, label string) error
	RevokeDevice(ctx context.Context, name, deviceID string) error
	ApproveSender(ctx context.Context, name, channel, account, requestID string) error
	DismissSender(ctx context.Context, name, channel, account, requestID string) error

	Secrets(ctx context.Context) ([]admin.SecretInfo, error)
	PutSecret(ctx context.Context, name, value string) error
	RemoveSecret(ctx context.Context, name string) error
	RotateToken(ctx context.Context, name string) (admin.Rotation, error)

	Storage
	Models
}

// Options are what the pages need beside the plane.
type Options struct {
	Version    admin.Version
	Log        *slog.Logger
	SleepAfter time.Duration // after which an unused agent sleeps; 0: never
	// Open says where a browser opens an agent.
	Open  func(ctx context.Context, agent string) (url string, err error)
	Audit Trail
	// Stopping ends event streams, and what was begun and outlives its request.
	Stopping context.Context
	Now      func() time.Time // optional: time.Now
}

var (
	_ Plane = (*admin.Plane)(nil)
	_ Trail = (*audit.Log)(nil)
)

//go:embed templates
var templates embed.FS

// site serves the pages; each method that takes a request is one route.
type site struct {
	Options
	plane   Plane
	pages   *page.Set
	streams streams
	doing   chan struct{} // bounds actions that are under way
	patient time.Duration // how long an action is waited for
	work    *work
	shelf   shelf
}

// Handler serves /_admin/, except what sign-in and page serve there.
func Handler(plane Plane, opts Options) http.Handler {
	return newSite(plane, opts).handler()
}

func newSite(plane Plane, opts Options) *site {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Stopping == nil {
		opts.Stopping = context.Background()
	}
	files, err := fs.Sub(templates, "templates")
	if err != nil {
		panic(err) // the name is a constant
	}
	return &site{Options: opts, plane: plane, pages: page.NewSet(files, "*.html"),
		streams: streams{byWho: map[string]int{}}, doing: make(chan struct{}, maxDoing), patient: patience,
		work: newWork(), shelf: shelf{lists: map[string]shelved{}}}
}

func (s *site) handler() http.Handler {
	mux := http.NewServeMux()
	get := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		mux.Handle("GET "+pattern, s.returning(h))
	}
	post := func(pattern string, h func(http.ResponseWriter, *http.Request) error) {
		mux.Handle("POST "+pattern, s.returning(h))
	}
	get("/_admin/{$}", s.overview)
	get("/_admin/part/agents", s.overviewPart)
	get("/_admin/agents", s.agents)
	get("/_admin/part/roster", s.rosterPart)
	get("/_admin/gateway", s.gateway)
	get("/_admin/part/gateway", s.gatewayPart)
	get("/_admin/devices", s.devices)
	get("/_admin/part/devices", s.devicesPart)
	get("/_admin/logs", s.logs)
	get("/_admin/secrets", s.secrets)
	get("/_admin/storage", s.storage)
	get("/_admin/part/storage", s.storagePart)
	get("/_admin/storage/version", s.version)
	get("/_admin/storage/file", s.file)
	get("/_admin/storage/diff", s.diff)
	get("/_admin/storage/restore", s.askRestore)
	get("/_admin/models", s.models)
	get("/_admin/part/models", s.modelsPart)
	get("/_admin/models/calls", s.modelCalls)
	get("/_admin/part/calls", s.modelCallsPart)
	get("/_admin/models/call", s.modelCall)
	get("/_admin/models/export", s.exportCalls)
	get("/_admin/models/statement", s.sendStatement)
	get("/_admin/audit", s.audit)
	get("/_admin/part/audit", s.auditPart)
	get("/_admin/events", s.events)

	post("/_admin/agents", s.create)
	post("/_admin/agents/{agent}/restart", s.restart)
	post("/_admin/agents/{agent}/sleep", s.sleep)
	post("/_admin/agents/{agent}/wake", s.wake)
	post("/_admin/agents/{agent}/remove", s.remove)
	post("/_admin/agents/{agent}/open", s.open)
	post("/_admin/devices/{verb}", s.device)
	post("/_admin/senders/{verb}", s.sender)
	post("/_admin/secrets/put", s.putSecret)
	post("/_admin/secrets/remove", s.removeSecret)
	post("/_admin/secrets/rotate", s.rotate)
	post("/_admin/storage/sync", s.sync)
	post("/_admin/storage/restore", s.restore)
	post("/_admin/storage/export", s.export)
	post("/_admin/storage/unlock", s.unlock)
	post("/_admin/storage/keys/add", s.addKey)
	post("/_admin/storage/keys/new", s.newKey)
	post("/_admin/storage/keys/remove", s.removeKey)
	post("/_admin/storage/{verb}", s.keep)
	post("/_admin/models/rate", s.rateCall)
	post("/_admin/models/{verb}", s.steerModels)
	post("/_admin/audit/verify", s.verify)
	mux.Handle("/_admin/", s.returning(func(http.ResponseWriter, *http.Request) error { return errNoPage }))
	return mux
}

// returning shows what went wrong as a page.
func (s *site) returning(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		}
		err := h(w, r)
		if err == nil {
			return
		}
		e := admin.AsError(err)
		if e.Status >= 500 {
			s.Log.Error("admin page failed", "route", r.Pattern, "err", err)
		}
		if forScript(r) {
			page.Guard(w.Header())
			http.Error(w, e.Message, e.Status)
			return
		}
		s.pages.Write(w, r, e.Status, "problem.html", page.View{Title: titleOf(e), Data: e})
	})
}

// forScript says whether a page's script asks, which shows no whole pages.
func forScript(r *http.Request) bool {
	return r.Header.Get("HX-Request") != "" || r.URL.Path == "/_admin/events"
}

// titleOf puts a refusal into a few words.
func titleOf(e *admin.Error) string {
	switch e.Status {
	case http.StatusNotFound:
		return "Not found"
	case http.StatusForbidden, http.StatusUnauthorized:
		return "Not allowed"
	case http.StatusBadRequest:
		return "That was not understood"
	}
	return "That did not work"
}

var errNoPage = &admin.Error{Status: http.StatusNotFound, Kind: "not_found", Message: "There is no such page.", Remedy: "The navigation has those there are."}
