package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/admintest"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/page"
	"github.com/moltworker/moltworker/internal/secret"
)

const testProof = "the proof"

// fakePlane has what a test puts in, notes what is asked of it, and fails with
// err where that is set.
type fakePlane struct {
	Models              // a real plane's, around records of a test
	mu       sync.Mutex // guards what follows
	agents   []admin.AgentInfo
	list     admin.Devices
	secretsV []admin.SecretInfo
	backups  *admintest.Backups
	entries  []agent.LogEntry
	asked    []string
	err      error
	says     func(string) string // what others choose; nil: there is nothing
	hold     chan struct{}       // actions wait for it
	watchers []chan agent.Status
	device   chan struct{}
	lines    chan agent.LogEntry
	ended    int // watchers whose context has ended
}

func (f *fakePlane) note(format string, args ...any) error {
	f.mu.Lock()
	hold := f.hold
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
	err := f.err
	f.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return err
}

func (f *fakePlane) did() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := strings.Join(f.asked, "\n")
	f.asked = nil
	return asked
}

func (f *fakePlane) fails(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// change changes an agent and tells those who watch.
func (f *fakePlane) change(do func(agents []admin.AgentInfo)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f.agents)
	for _, w := range f.watchers {
		select {
		case w <- agent.Status{}:
		default:
		}
	}
}

func (f *fakePlane) Agents(context.Context) ([]admin.AgentInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]admin.AgentInfo(nil), f.agents...), nil
}

func (f *fakePlane) WatchAgent(ctx context.Context, name string) (<-chan agent.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan agent.Status, 1)
	f.watchers = append(f.watchers, c)
	context.AfterFunc(ctx, func() { f.mu.Lock(); f.ended++; f.mu.Unlock() })
	return c, nil
}

func (f *fakePlane) Logs(ctx context.Context, name string, n int, follow bool) ([]agent.LogEntry, <-chan agent.LogEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.entries, f.lines, nil
}

func (f *fakePlane) Create(_ context.Context, name string) (admin.Created, error) {
	return admin.Created{}, f.note("create %s", name)
}
func (f *fakePlane) Remove(_ context.Context, name string) (admin.Removed, error) {
	return admin.Removed{Kept: "/data/removed/" + name}, f.note("remove %s", name)
}
func (f *fakePlane) Restart(_ context.Context, name string) (agent.Status, error) {
	return agent.Status{}, f.note("restart %s", name)
}
func (f *fakePlane) Sleep(_ context.Context, name string) (agent.Status, error) {
	return agent.Status{}, f.note("sleep %s", name)
}
func (f *fakePlane) Wake(_ context.Context, name string) (agent.Status, error) {
	return agent.Status{}, f.note("wake %s", name)
}
func (f *fakePlane) Devices(_ context.Context, name string) (admin.Devices, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list, f.err
}
func (f *fakePlane) WatchDevices(context.Context, string) (<-chan struct{}, error) {
	return f.device, nil
}
func (f *fakePlane) ApproveDevice(_ context.Context, name, request string) (admin.PairedDevice, error) {
	return admin.PairedDevice{}, f.note("approve %s %s", name, request)
}
func (f *fakePlane) ApproveAll(_ context.Context, name string) ([]admin.Approval, error) {
	return nil, f.note("approve all %s", name)
}
func (f *fakePlane) RejectDevice(_ context.Context, name, request string) error {
	return f.note("reject %s %s", name, request)
}
func (f *fakePlane) RenameDevice(_ context.Context, name, device, label string) error {
	return f.note("rename %s %s %s", name, device, label)
}
func (f *fakePlane) RevokeDevice(_ context.Context, name, device string) error {
	return f.note("revoke %s %s", name, device)
}
func (f *fakePlane) ApproveSender(_ context.Context, name, channel, account, request string) error {
	return f.note("approve sender %s %s %s %s", name, channel, account, request)
}
func (f *fakePlane) DismissSender(_ context.Context, name, channel, account, request string) error {
	return f.note("dismiss sender %s %s %s %s", name, channel, account, request)
}
func (f *fakePlane) Secrets(context.Context) ([]admin.SecretInfo, error) { return f.secretsV, nil }
func (f *fakePlane) PutSecret(_ context.Context, name, value string) error {
	return f.note("put %s %s", name, value)
}
func (f *fakePlane) RemoveSecret(_ context.Context, name string) error {
	return f.note("remove secret %s", name)
}
func (f *fakePlane) RotateToken(_ context.Context, name string) (admin.Rotation, error) {
	return admin.Rotation{Message: "The token of " + name + " is new."}, f.note("rotate %s", name)
}

// fakeTrail is an audit log.
type fakeTrail struct {
	entries []audit.Entry
	report  audit.Report
}

func (f *fakeTrail) List(_ context.Context, want audit.Filter) (list []audit.Entry, err error) {
	for _, e := range f.entries {
		if (want.Before == 0 || e.Seq < want.Before) && strings.HasPrefix(e.Action, want.Action) && len(list) < want.Limit {
			list = append(list, e)
		}
	}
	return list, nil
}
func (f *fakeTrail) Watch(ctx context.Context) <-chan audit.Entry { return make(chan audit.Entry) }
func (f *fakeTrail) Verify(context.Context, ...audit.Head) (audit.Report, error) {
	return f.report, nil
}

// world is the pages with a server in front of them, which knows the caller as
// edge would.
type world struct {
	plane *fakePlane
	trail *fakeTrail
	site  *site
	url   string
	who   access.Principal
	end   context.CancelFunc // the server stops
}

func serve(t *testing.T, plane *fakePlane) *world {
	t.Helper()
	if plane.Models == nil {
		records := admintest.NewModels(t, func() time.Time { return testNow })
		if plane.says != nil {
			records = admintest.FilledModels(t, testNow, plane.says)
		}
		plane.Models = admintest.New(t, func(o *admin.Options) { o.Models, o.Now = records, func() time.Time { return testNow } }).Plane
	}
	trail := &fakeTrail{}
	w := serveThe(t, plane, trail)
	w.plane, w.trail = plane, trail
	return w
}

// serveThe is the same with any control plane.
func serveThe(t *testing.T, plane Plane, trail Trail) *world {
	t.Helper()
	stopping, end := context.WithCancel(context.Background())
	w := &world{end: end,
		who: access.Principal{Kind: access.KindPerson, Name: "ann@example.com", Via: access.ViaPasskey, Source: access.SourceCookie, Session: "s1", Proof: testProof}}
	w.site = newSite(plane, Options{
		Version: admin.Version{Moltworker: "1.2.3", OpenClaw: "2026.9.1", GVisor: "20260905", Go: "go1.26"},
		Log:     slog.New(slog.DiscardHandler), SleepAfter: 10 * time.Minute, Audit: trail, Stopping: stopping,
		Open: func(_ context.Context, name string) (string, error) {
			if name == "second" {
				return strings.Replace(w.url, "127.0.0.1", "localhost", 1) + "/?token=once", nil
			}
			return "/?visit=" + name, nil
		},
	})
	mux := http.NewServeMux()
	mux.Handle("/_admin/", w.site.handler())
	mux.Handle("/_admin/static/", page.Static())
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "the agent") })
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		// What edge does: our pages prove themselves.
		if strings.HasPrefix(r.URL.Path, "/_admin/") && !strings.HasPrefix(r.URL.Path, "/_admin/static/") {
			script := r.Header.Get("Sec-Fetch-Dest") != "" && r.Header.Get("Sec-Fetch-Dest") != "document"
			proofs := []string{r.Header.Get(access.ProofHeader), r.URL.Query().Get("proof"), r.FormValue("proof")}
			if (script || r.Method == http.MethodPost) && !strings.Contains(strings.Join(proofs, "\n"), testProof) {
				http.Error(rw, "no proof", http.StatusForbidden)
				return
			}
		}
		at := access.Place{Client: netip.MustParseAddr("203.0.113.9"), Host: "localhost"}
		mux.ServeHTTP(rw, r.WithContext(access.With(r.Context(), w.who, at)))
	}))
	t.Cleanup(srv.Close)
	t.Cleanup(end)
	w.url = srv.URL
	return w
}

var testNow = time.Now()

// full is a plane with something of everything; the strings that others choose
// are what says says.
func full(says func(usual string) string) *fakePlane {
	ago := func(d time.Duration) time.Time { return testNow.Add(-d) }
	past := func(state agent.State, since, took time.Duration, why string) agent.Past {
		return agent.Past{State: state, Since: ago(since), Took: took, Reason: says(why)}
	}
	f := &fakePlane{says: says, device: make(chan struct{}, 1), lines: make(chan agent.LogEntry, 10)}
	f.agents = []admin.AgentInfo{
		{Status: agent.Status{Agent: "main", State: agent.StateAwake, Reason: says("awake: a message since 12 s"), Since: ago(4 * time.Minute), Driver: "gvisor", Runtime: "2026.9.1", SleepsAt: ago(-6 * time.Minute), Next: &agent.Due{At: ago(-2 * time.Hour), Name: says("morning report")},
			History: []agent.Past{past("booting", 72*time.Minute, 21*time.Second, "loading OpenClaw"), past("awake", 71*time.Minute, 19*time.Minute, "awake"), past("suspending", 52*time.Minute, 3*time.Second, "saving its memory"), past("asleep", 51*time.Minute, 46*time.Minute, "asleep, next cron 09:00:00"), past("waking", 5*time.Minute, 900*time.Millisecond, "waking: a message")}}, MemoryBytes: 412 << 20, CPU: 94 * time.Second},
		{Status: agent.Status{Agent: "second", State: agent.StateAsleep, Reason: says("asleep, next cron 18:30:00"), Since: ago(3 * time.Hour), Driver: "gvisor", Runtime: "2026.9.1", Next: &agent.Due{At: ago(-5 * time.Hour), Name: "x"}, Image: &agent.ImageInfo{Bytes: 231 << 20, Compressed: true, Sealed: true},
			History: []agent.Past{past("awake", 4*time.Hour, time.Hour, "awake"), past("suspending", 3*time.Hour+4*time.Second, 4*time.Second, "")}}, MemoryBytes: -1},
		{Status: agent.Status{Agent: "research", State: agent.StateBooting, Reason: says("loading OpenClaw"), Since: ago(9 * time.Second), Attempt: 2, Driver: "gvisor", Runtime: "2026.9.1", Error: says("the gateway ended with code 1\nError: listen EADDRINUSE: address already in use 127.0.0.1:18789\n    at Server.setupListenHandle (node:net:1940:16)"), Remedy: says("See what it says: `moltworker agent logs research`"), Phases: []agent.Phase{
			{Name: "sandbox", Label: says("Making the sandbox"), Started: ago(9 * time.Second), Ended: ago(8200 * time.Millisecond)}, {Name: "guest", Label: "Starting PID 1", Started: ago(8200 * time.Millisecond), Ended: ago(8 * time.Second)}, {Name: "gateway", Label: "Loading OpenClaw", Started: ago(8 * time.Second)}}}, MemoryBytes: 187 << 20, CPU: 6 * time.Second},
	}
	f.list = admin.Devices{Agent: "main", State: agent.StateAwake, Reachable: true, Seen: testNow,
		Pending: []admin.PendingDevice{
			{RequestID: says("r1"), DeviceID: says("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"), Name: says("Ann's phone"), Client: says("openclaw-control-ui"), ClientMode: says("webchat"), Platform: says("iPhone"), Address: says("198.51.100.23"), Role: says("operator"), Scopes: []string{says("operator.admin"), "operator.approvals", "operator.pairing"}, Asked: ago(40 * time.Second)},
			{RequestID: "r2", DeviceID: "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752", Client: "openclaw-tui", Platform: "linux", Address: "192.0.2.1", Role: "operator", Scopes: []string{"operator.read"}, Repair: true, Asked: ago(11 * time.Minute)}},
		Senders: []admin.Sender{{RequestID: says("s1"), Channel: says("telegram"), Account: says("default"), SenderID: says("482913775"), Label: says("Bob (@bob)"), Asked: ago(2 * time.Hour), Expires: ago(-22 * time.Hour)}},
		Paired: []admin.PairedDevice{
			{DeviceID: says("fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13"), Name: says("Work laptop"), Client: says("openclaw-control-ui"), Platform: says("MacIntel"), Address: says("203.0.113.9"), Role: says("operator"), Approved: ago(30 * 24 * time.Hour), ApprovedBy: says("person ann@example.com"), How: admin.HowAutomatic, Connected: true, LastSeen: ago(time.Minute)},
			{DeviceID: "a4e624d686e03ed2767c0abd85c14426b0b1157d2ce81d27bb4fe4f6f01d688a", Client: "cli", Platform: "linux", Address: "192.0.2.1", Role: "operator", Approved: ago(90 * 24 * time.Hour), LastSeen: ago(50 * 24 * time.Hour)}}}
	f.secretsV = []admin.SecretInfo{
		{Info: secret.Info{Name: "ANTHROPIC_API_KEY", Created: ago(200 * 24 * time.Hour), Updated: ago(200 * 24 * time.Hour)}, Age: 200 * 24 * time.Hour, LimitDays: 180, State: admin.AgeOverdue, From: "store"},
		{Info: secret.Info{Name: "MOLTBOT_GATEWAY_TOKEN", Created: ago(85 * 24 * time.Hour), Updated: ago(85 * 24 * time.Hour)}, Age: 85 * 24 * time.Hour, LimitDays: 90, State: admin.AgeOld, From: "store"},
		{Info: secret.Info{Name: says("TELEGRAM_BOT_TOKEN")}, State: admin.AgeUnknown, From: says("the environment")}}
	f.backups = stocked(says)
	for i := range 60 {
		e := agent.LogEntry{Time: ago(time.Duration(60-i) * 7 * time.Second), Stream: "stdout", Text: says(fmt.Sprintf("[gateway] 2026-11-22T21:49:0%dZ [ws] ⇄ res ✓ chat.history %d ms conn=8c1b2a…f3 id=5d0a…92", i%10, 40+i))}
		switch i % 13 {
		case 4:
			e.Stream, e.Text = "stderr", says("(node:41) ExperimentalWarning: SQLite is an experimental feature and might change at any time")
		case 9:
			e.Stream, e.Text = "guest", "the gateway answers"
		}
		f.entries = append(f.entries, e)
	}
	return f
}

func usual(s string) string { return s }

// recorded are entries of an audit log, newest first.
func recorded(n int, says func(string) string) (list []audit.Entry) {
	events := []audit.Event{
		{Action: "device.approve", Actor: "person ann@example.com", Via: "passkey", From: "203.0.113.9", Agent: "main", Target: says("9f86d081884c7d65"), Detail: says("Ann's phone, by hand")},
		{Action: "signin.denied", From: "198.51.100.77", Detail: says("wrong password")},
		{Action: "secret.put", Actor: "person ann@example.com", Via: "passkey", From: "203.0.113.9", Target: "ANTHROPIC_API_KEY", Old: says("set 200 days ago"), New: "set now"},
		{Action: "agent.restart", Actor: "owner", Via: "socket", Agent: "main"},
	}
	for i := n; i > 0; i-- {
		list = append(list, audit.Entry{Seq: int64(i), Time: testNow.Add(-time.Duration(n-i) * 31 * time.Minute), Event: events[i%len(events)], Damaged: i == 3})
	}
	return list
}
