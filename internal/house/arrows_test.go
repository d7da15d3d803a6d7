package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/moltworker/moltworker/"

// The floors of the house from the ground up. A room may import what its entry
// in rooms names; the sets here are only shorthands for that.
var (
	// tools know nothing of moltworker.
	tools = []string{"internal/atomicfile", "internal/remedy", "internal/unixsock"}

	ground = with(tools, "internal/secret", "internal/access", "internal/telemetry", "internal/config")

	// machine is what sandbox drivers are made of.
	machine = with(tools, "internal/sandbox", "internal/sandbox/cgroup", "internal/sandbox/gvisorlog", "internal/sandbox/hostproc",
		"internal/sandbox/rootfs", "internal/sandbox/roster")

	link = with(tools, "internal/guest/proto", "internal/guest/link")

	// parts are what an agent is made of: contracts, never a driver.
	parts = with(ground, "internal/sandbox", "internal/guest", "internal/guest/proto", "internal/guest/link",
		"internal/openclaw", "internal/openclaw/gateway", "internal/openclaw/runtime", "internal/aigateway", "internal/aigateway/demo", "internal/image")

	// shelves are what a state is kept in.
	// books are what is known of model calls before and after them.
	books = with(tools, "internal/aigateway/usage", "internal/aigateway/price", "internal/aigateway/budget", "internal/aigateway/calllog", "internal/aigateway/route")

	shelves = []string{"internal/blob", "internal/backup", "internal/backup/safekeeper"}

	doors = with(with(parts, shelves...), "internal/agent", "internal/edge", "internal/admin", "internal/admin/api", "internal/admin/client")

	drivers = []string{"internal/sandbox/gvisor", "internal/sandbox/process"}
)

// rooms says for every package what of this module it may import: lower floors
// only, and of its own floor only what is named.
var rooms = map[string][]string{
	"internal/atomicfile": nil,
	"internal/remedy":     nil,
	"internal/unixsock":   nil,
	"internal/house":      nil,
	"internal/house/core": nil,

	"internal/secret":    tools,
	"internal/access":    tools,
	"internal/telemetry": tools,
	// The database holds what others keep in it; the audit log is one of those.
	"internal/store": tools,
	"internal/audit": with(tools, "internal/access", "internal/store"),
	// What one party's word is worth: the sign-in that stands in front, and a provider's.
	"internal/access/allow":    nil,
	"internal/access/cfaccess": with(tools, "internal/access", "internal/access/allow"),
	"internal/access/oidc":     with(tools, "internal/access", "internal/access/allow", "internal/secret"),
	// The built-in sign-in, and its pages.
	"internal/access/accounts": with(tools, "internal/access", "internal/audit", "internal/store"),
	"internal/signin":          with(tools, "internal/access", "internal/access/accounts", "internal/access/oidc", "internal/page"),
	// The settings carry secrets, in the type that hides them.
	"internal/config":           with(tools, "internal/secret"),
	"internal/config/configdoc": {"internal/config"},

	// How pages look, whatever they are about.
	"internal/page": {"internal/access"},

	// Drivers know nothing of what runs inside.
	"internal/sandbox":              tools,
	"internal/sandbox/cgroup":       with(tools, "internal/sandbox", "internal/sandbox/gvisorlog", "internal/sandbox/rootfs"),
	"internal/sandbox/gvisorlog":    tools,
	"internal/sandbox/hostproc":     tools,
	"internal/sandbox/rootfs":       with(tools, "internal/sandbox"),
	"internal/sandbox/roster":       with(tools, "internal/sandbox", "internal/sandbox/cgroup"),
	"internal/sandbox/gvisor":       machine,
	"internal/sandbox/gvisor/runsc": nil,
	"internal/sandbox/process":      machine,

	// The guest is generic: PID 1 knows nothing of OpenClaw or agents.
	"internal/guest/proto": nil,
	"internal/guest/link":  link,
	"internal/guest/pid1":  link,
	"internal/guest":       link,

	"internal/openclaw":             with(ground, "internal/guest", "internal/guest/proto", "internal/openclaw/gateway", "internal/openclaw/runtime"),
	"internal/openclaw/gateway":     ground,
	"internal/openclaw/runtime":     ground,
	"internal/openclaw/runtime/gen": {"internal/openclaw/runtime"},

	// The AI gateway is made of rooms that know nothing of each other's business: what
	// was used, what that costs, what may be spent, where a call goes, what is kept of it.
	"internal/aigateway":                with(books, "internal/aigateway/cache", "internal/aigateway/demo", "internal/aigateway/guardrail", "internal/aigateway/limit", "internal/aigateway/provider", "internal/aigateway/realtime", "internal/aigateway/translate"),
	"internal/aigateway/demo":           nil,
	"internal/aigateway/realtime":       nil,
	"internal/aigateway/route":          nil,
	"internal/aigateway/translate":      {"internal/aigateway/usage"},
	"internal/aigateway/otel":           {"internal/aigateway/calllog", "internal/aigateway/price", "internal/aigateway/usage"},
	"internal/aigateway/usage":          nil,
	"internal/aigateway/price":          {"internal/aigateway/price/match", "internal/aigateway/usage"},
	"internal/aigateway/price/match":    nil,
	"internal/aigateway/price/generate": {"internal/aigateway/price/match"},
	"internal/aigateway/budget":         with(tools, "internal/aigateway/price"),
	"internal/aigateway/limit":          nil,
	"internal/aigateway/guardrail":      nil,
	"internal/aigateway/cache":          with(tools, "internal/aigateway/usage"),
	"internal/aigateway/provider":       {"internal/aigateway/usage"},
	"internal/aigateway/calllog":        with(tools, "internal/aigateway/price", "internal/aigateway/usage"),

	// Images know neither who sleeps nor what runs inside.
	"internal/image": tools,

	// Objects know nothing of what is in them, and the repository nothing of agents.
	"internal/blob":              tools,
	"internal/blob/dir":          with(tools, "internal/blob"),
	"internal/blob/mem":          with(tools, "internal/blob"),
	"internal/blob/pace":         with(tools, "internal/blob"),
	"internal/blob/retry":        with(tools, "internal/blob"),
	"internal/blob/s3":           with(tools, "internal/blob", "internal/secret"),
	"internal/backup":            with(tools, "internal/blob", "internal/secret"),
	"internal/backup/watch":      nil,
	"internal/backup/safekeeper": with(tools, "internal/backup"),
	"internal/migrate":           with(ground, "internal/openclaw"),

	"internal/agent": parts,

	"internal/edge":          with(parts, "internal/agent"),
	"internal/admin":         with(with(with(parts, shelves...), books...), "internal/migrate", "internal/agent", "internal/store", "internal/audit"),
	"internal/admin/api":     with(with(with(parts, shelves...), books...), "internal/agent", "internal/audit", "internal/admin"),
	"internal/admin/web":     with(with(with(parts, shelves...), books...), "internal/agent", "internal/admin", "internal/audit", "internal/page"),
	"internal/admin/debug":   with(parts, "internal/agent", "internal/admin"),
	"internal/admin/metrics": with(parts, "internal/agent", "internal/admin", "internal/backup/safekeeper"),
	"internal/admin/client":  with(with(with(parts, shelves...), books...), "internal/agent", "internal/admin", "internal/admin/api", "internal/audit", "internal/access/accounts"),

	// What keeps agents safe is asked by the control plane, and knows no agent's life.
	"internal/safe": with(with(tools, shelves...), "internal/admin", "internal/backup/watch", "internal/migrate"),

	"internal/server": with(with(with(doors, drivers...), books...), "internal/aigateway/cache", "internal/aigateway/guardrail", "internal/aigateway/limit", "internal/aigateway/otel", "internal/aigateway/provider", "internal/safe", "internal/migrate", "internal/blob/dir", "internal/blob/pace", "internal/blob/retry", "internal/blob/s3",
		"internal/store", "internal/audit", "internal/access/accounts", "internal/access/allow", "internal/access/cfaccess",
		"internal/access/oidc", "internal/admin/debug", "internal/admin/metrics", "internal/admin/web", "internal/page", "internal/signin"),

	// The door also tells the roles of the one binary apart.
	"cmd/moltworker": with(with(doors, books...), "internal/server", "internal/access/accounts", "internal/store", "internal/audit", "internal/guest/pid1", "internal/sandbox/gvisor", "internal/sandbox/process"),
}

// foreign names modules that only some rooms may import: what is large, or one
// way of doing a thing among several, stays behind one wall.
var foreign = map[string][]string{
	"gvisor.dev/gvisor":                {"internal/sandbox/gvisor", "internal/sandbox/gvisor/runsc", "internal/sandbox/cgroup", "internal/sandbox/gvisorlog"},
	"filippo.io/age":                   {"internal/secret", "internal/backup", "internal/migrate", "internal/safe"},
	"github.com/minio/minio-go":        {"internal/blob/s3", "internal/migrate"},
	"github.com/zeebo/blake3":          {"internal/backup"},
	"github.com/PlakarKorp":            {"internal/backup"},
	"golang.org/x/time":                {"internal/blob/pace"},
	"github.com/spf13/cobra":           {"cmd/moltworker"},
	"github.com/prometheus":            {"internal/admin/metrics"},
	"go.opentelemetry.io":              {"internal/aigateway/otel"},
	"google.golang.org/protobuf":       {"internal/aigateway/otel"},
	"modernc.org/sqlite":               {"internal/store", "internal/aigateway/calllog"},
	"github.com/hashicorp/yamux":       {"internal/guest/link"},
	"github.com/klauspost/compress":    {"internal/image", "internal/backup", "internal/migrate", "internal/aigateway/calllog"},
	"github.com/hashicorp/go-envparse": {"internal/config"},
	"github.com/go-jose/go-jose":       {"internal/access/cfaccess", "internal/access/oidc"},
	"github.com/coreos/go-oidc":        {"internal/access/oidc"},
	"golang.org/x/oauth2":              {"internal/access/oidc"},
	"github.com/go-webauthn":           {"internal/access/accounts"},
	"github.com/chromedp":              nil, // tests only, like those below
	"github.com/rogpeppe":              nil,
	"golang.org/x/tools":               nil,
	"honnef.co/go/tools":               nil,
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func (p goPackage) room() string { return strings.TrimPrefix(p.ImportPath, module) }

func TestImportArrows(t *testing.T) {
	for _, p := range packages(t) {
		room := p.room()
		if isForTests(room) {
			continue
		}
		may, known := rooms[room]
		if !known {
			t.Errorf("%s is a new room: add it to rooms in internal/house/arrows_test.go with what it may import, on the lowest floor that fits, and to docs/architecture.md with what it owns", room)
			continue
		}
		for _, path := range p.Imports {
			if other, ours := strings.CutPrefix(path, module); ours && !slices.Contains(may, other) {
				t.Errorf("%s must not import %s: hand what it needs in as a value or a narrow interface, or move it to a lower room; if the arrow is right, say so in rooms in internal/house/arrows_test.go", room, other)
			}
			for prefix, allowed := range foreign {
				if strings.HasPrefix(path, prefix) && !slices.Contains(allowed, room) {
					t.Errorf("%s must not import %s, only %q may: ask the room that owns it, or change foreign in internal/house/arrows_test.go", room, path, allowed)
				}
			}
		}
	}
}

// TestArrowsPointDown makes sure that the table itself has no circle.
func TestArrowsPointDown(t *testing.T) {
	done := map[string]bool{}
	var visit func(room string, path []string)
	visit = func(room string, path []string) {
		if slices.Contains(path, room) {
			t.Fatalf("rooms import each other in a circle: %s", strings.Join(append(path, room), " -> "))
		}
		if done[room] {
			return
		}
		for _, below := range rooms[room] {
			if below != room {
				visit(below, append(slices.Clone(path), room))
			}
		}
		done[room] = true
	}
	for room := range rooms {
		visit(room, nil)
	}
}

// isForTests says whether a package serves tests and benchmarks only. Those may
// import anything; nothing else may import them, as they are in nobody's list.
func isForTests(room string) bool {
	return strings.HasPrefix(room, "test/") || strings.HasPrefix(room, "bench") || strings.HasSuffix(room, "test")
}

func with(set []string, more ...string) []string { return slices.Concat(set, more) }

// packages lists the module's packages with what they import outside of tests.
func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var list []goPackage
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("read what go list says: %v", err)
		}
		list = append(list, p)
	}
	if len(list) < 5 {
		t.Fatalf("go list found %d packages only", len(list))
	}
	return list
}
