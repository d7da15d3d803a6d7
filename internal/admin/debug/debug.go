// Package debug owns the routes below /debug/: a look inside an agent for those
// who mend it, with the paths and shapes that cloudflare/moltworker has. They are
// not there unless they are switched on.
//
// It holds no rules: the [admin.Plane] says who may, and shows no secret.
package debug

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
)

// Options say what the debug routes are about.
type Options struct {
	Enabled bool // else every route is 404
	Log     *slog.Logger

	// What /debug/env tells beside which secrets there are.
	DevMode          bool
	AccessTeamDomain string
	AccessAudience   bool   // one is configured
	NodeVersion      string // that the agents' OpenClaw runs on
}

// maxCommand bounds a command, in bytes; cliTime how long it may take.
const (
	maxCommand = 4 << 10
	cliTime    = 2 * time.Minute
)

// routes answers requests; each method is one route.
type routes struct {
	*admin.Plane
	opts Options
}

// Handler serves /debug/ to the caller in each request's context.
func Handler(plane *admin.Plane, opts Options) http.Handler {
	mux := http.NewServeMux()
	d := &routes{plane, opts}
	if opts.Enabled {
		for pattern, serve := range map[string]func(*http.Request) (any, error){
			"GET /debug/processes":        d.processes,
			"GET /debug/logs":             d.logs,
			"GET /debug/version":          d.version,
			"GET /debug/env":              d.env,
			"GET /debug/cli":              d.cli,
			"GET /debug/gateway-api":      d.gatewayAPI,
			"GET /debug/container-config": d.config,
		} {
			mux.HandleFunc(pattern, d.answering(serve))
		}
	}
	mux.HandleFunc("/", d.answering(func(*http.Request) (any, error) {
		return nil, &admin.Error{Status: http.StatusNotFound, Kind: "not_found", Message: "no such route",
			Remedy: "the debug routes are there with DEBUG_ROUTES=true"}
	}))
	return mux
}

// answering writes what a route comes to as JSON.
func (d *routes) answering(serve func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status, v := http.StatusOK, any(nil)
		v, err := serve(r)
		if err != nil {
			e := admin.AsError(err)
			if e.Status >= 500 {
				d.opts.Log.Warn("debug request failed", "route", r.Pattern, "err", err)
			}
			status, v = e.Status, map[string]*admin.Error{"error": e}
		}
		if s, ok := v.(interface{ status() int }); ok {
			status = s.status()
		}
		body, err := json.Marshal(v)
		if err != nil {
			status, body = http.StatusInternalServerError, []byte(`{"error":{"type":"failed","message":"the answer cannot be encoded"}}`)
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("X-Content-Type-Options", "nosniff") // it shows what the agent made
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		w.Write(append(body, '\n'))
	}
}

// agentOf is the agent that ?agent= names; main when absent.
func agentOf(r *http.Request) string {
	if name := r.URL.Query().Get("agent"); name != "" {
		return name
	}
	return "main"
}

// gatewayID is the process that OpenClaw is supervised as. Others are named by
// their number inside.
const gatewayID = "gateway"

// process is one in a list.
type process struct {
	ID        string  `json:"id"`
	Command   string  `json:"command"`
	Status    string  `json:"status"` // "running", "starting", "completed", "failed"
	StartTime string  `json:"startTime,omitempty"`
	EndTime   string  `json:"endTime,omitempty"`
	ExitCode  *int    `json:"exitCode,omitempty"`
	Stdout    *string `json:"stdout,omitempty"`
	Stderr    *string `json:"stderr,omitempty"`
}

// processes lists OpenClaw as it is supervised, then, of an agent that is up, what
// runs in its sandbox. It wakes nobody.
func (d *routes) processes(r *http.Request) (any, error) {
	// Who may not see processes is refused, whether there are any or not.
	if _, err := d.Has(r.Context()); err != nil {
		return nil, err
	}
	info, err := d.Agent(r.Context(), agentOf(r))
	if err != nil {
		return nil, err
	}
	first := process{ID: gatewayID, Command: "openclaw gateway", Status: processStatus(info.State), StartTime: stamp(info.Since)}
	if r.URL.Query().Get("logs") == "true" {
		stdout, stderr, err := d.tail(r.Context(), info.Agent)
		if err != nil {
			return nil, err
		}
		first.Stdout, first.Stderr = &stdout, &stderr
	}
	list := []process{first}
	if info.State == agent.StateAwake {
		inside, err := d.Processes(r.Context(), info.Agent)
		if err != nil {
			return nil, err
		}
		for _, p := range inside {
			list = append(list, process{ID: strconv.Itoa(p.PID), Command: p.Command, Status: "running", StartTime: stamp(p.Started)})
		}
	}
	return map[string]any{"count": len(list), "processes": list}, nil
}

func processStatus(s agent.State) string {
	switch s {
	case agent.StateAwake, agent.StateSuspending:
		return "running"
	case agent.StateBooting, agent.StateWaking:
		return "starting"
	case agent.StateFailed:
		return "failed"
	}
	return "completed" // stopped, or asleep
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// logLines is how many lines of a log are shown.
const logLines = 1000

// tail is the end of an agent's log, by stream.
func (d *routes) tail(ctx context.Context, name string) (stdout, stderr string, err error) {
	entries, _, err := d.Logs(ctx, name, logLines, false)
	if err != nil {
		return "", "", err
	}
	var out, errOut strings.Builder
	for _, e := range entries {
		to := &errOut
		if e.Stream == "stdout" {
			to = &out
		}
		to.WriteString(e.Text + "\n")
	}
	return out.String(), errOut.String(), nil
}

// logAnswer is the answer of /debug/logs.
type logAnswer struct {
	Status        string `json:"status"` // "ok", "no_process", "not_found"
	ProcessID     string `json:"process_id,omitempty"`
	ProcessStatus string `json:"process_status,omitempty"`
	Message       string `json:"message,omitempty"`
	Stdout        string `json:"stdout"`
	Stderr        string `json:"stderr"`
}

func (a logAnswer) status() int {
	if a.Status == "not_found" {
		return http.StatusNotFound
	}
	return http.StatusOK
}

// logs shows the end of OpenClaw's log. Only its is kept, so no other process has
// one.
func (d *routes) logs(r *http.Request) (any, error) {
	if _, err := d.Has(r.Context()); err != nil {
		return nil, err
	}
	if id := r.URL.Query().Get("id"); id != "" && id != gatewayID {
		return logAnswer{Status: "not_found", Message: "Process " + id + " not found"}, nil
	}
	info, err := d.Agent(r.Context(), agentOf(r))
	if err != nil {
		return nil, err
	}
	if info.State == agent.StateStopped {
		return logAnswer{Status: "no_process", Message: "OpenClaw is not running"}, nil
	}
	stdout, stderr, err := d.tail(r.Context(), info.Agent)
	return logAnswer{Status: "ok", ProcessID: gatewayID, ProcessStatus: processStatus(info.State), Stdout: stdout, Stderr: stderr}, err
}

// version tells the versions that agents are pinned to. It wakes nobody.
func (d *routes) version(r *http.Request) (any, error) {
	if _, err := d.Has(r.Context()); err != nil {
		return nil, err
	}
	info, err := d.Agent(r.Context(), agentOf(r))
	if err != nil {
		return nil, err
	}
	return map[string]any{"moltbot_version": info.Runtime, "node_version": d.opts.NodeVersion, "moltworker": d.Version()}, nil
}

// env says which secrets there are, and nothing of their values.
func (d *routes) env(r *http.Request) (any, error) {
	has, err := d.Has(r.Context(), "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "MOLTBOT_GATEWAY_TOKEN", "R2_ACCESS_KEY_ID",
		"R2_SECRET_ACCESS_KEY", "CF_ACCOUNT_ID", "CDP_SECRET")
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"has_anthropic_key":     has["ANTHROPIC_API_KEY"],
		"has_openai_key":        has["OPENAI_API_KEY"],
		"has_gateway_token":     has["MOLTBOT_GATEWAY_TOKEN"],
		"has_r2_access_key":     has["R2_ACCESS_KEY_ID"],
		"has_r2_secret_key":     has["R2_SECRET_ACCESS_KEY"],
		"has_cf_account_id":     has["CF_ACCOUNT_ID"],
		"has_cdp_secret":        has["CDP_SECRET"],
		"has_cf_access_aud":     d.opts.AccessAudience,
		"cf_access_team_domain": d.opts.AccessTeamDomain,
		"dev_mode":              strconv.FormatBool(d.opts.DevMode),
		"debug_routes":          "true",
		"bind_mode":             "loopback",
	}, nil
}

// cli runs `openclaw CMD` inside the agent. The words of cmd are divided at white
// space; there is no shell, so nothing else in it means anything.
func (d *routes) cli(r *http.Request) (any, error) {
	cmd := r.URL.Query().Get("cmd")
	if len(cmd) > maxCommand || strings.ContainsRune(cmd, 0) {
		return nil, &admin.Error{Status: http.StatusBadRequest, Kind: "invalid", Message: "a command has at most 4096 bytes, none of them 0"}
	}
	words := strings.Fields(cmd)
	if len(words) == 0 {
		words = []string{"--help"}
	}
	if words[0] == "openclaw" { // as cloudflare/moltworker has it
		words = words[1:]
	}
	out, err := d.Run(r.Context(), agentOf(r), append([]string{"openclaw"}, words...), cliTime)
	if err != nil {
		return nil, err
	}
	status := "completed"
	if out.Exit.Code != 0 || out.Exit.Error != "" {
		status = "failed"
	}
	return map[string]any{
		"command": strings.Join(append([]string{"openclaw"}, words...), " "), "status": status, "exitCode": out.Exit.Code,
		"stdout": out.Stdout, "stderr": out.Stderr + out.Exit.Error, "cut": out.Cut, "timedOut": out.Exit.TimedOut,
	}, nil
}

// gatewayAPI asks OpenClaw's own HTTP.
func (d *routes) gatewayAPI(r *http.Request) (any, error) {
	path := r.URL.Query().Get("path")
	if path == "" {
		path = "/"
	}
	a, err := d.GatewayGet(r.Context(), agentOf(r), path)
	if err != nil {
		return nil, err
	}
	var body any = a.Body
	if strings.Contains(a.ContentType, "application/json") && json.Valid([]byte(a.Body)) {
		body = json.RawMessage(a.Body)
	}
	return map[string]any{"path": path, "status": a.Status, "contentType": a.ContentType, "body": body, "cut": a.Cut}, nil
}

// config shows openclaw.json without its secrets.
func (d *routes) config(r *http.Request) (any, error) {
	config, err := d.Config(r.Context(), agentOf(r))
	if err != nil {
		return nil, err
	}
	return map[string]any{"status": "completed", "exitCode": 0, "config": config, "stderr": ""}, nil
}
