package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/admin/api"
	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// start gives a client of a control plane whose agent can run commands.
func start(t testing.TB) (*client.Client, *api.Control) {
	t.Helper()
	plane := api.ServeControl(t)
	c := client.New(plane.Data())
	poll(t, "guest", func() bool {
		exit, err := c.Exec(soon(t), "main", proto.Exec{Args: []string{"true"}, Dir: "/"}, nil, io.Discard, io.Discard)
		return err == nil && exit.Error == ""
	})
	return c, plane
}

// run runs a script and returns how it ended and what it printed.
func run(t testing.TB, c *client.Client, cmd proto.Exec, stdin io.Reader) (proto.ExecExit, string, string) {
	t.Helper()
	cmd.Dir = "/"
	var out, errOut bytes.Buffer
	exit, err := c.Exec(soon(t), "main", cmd, stdin, &out, &errOut)
	if err != nil {
		t.Fatal(err)
	}
	return exit, out.String(), errOut.String()
}

func sh(script string) proto.Exec { return proto.Exec{Args: []string{"sh", "-c", script}} }

func TestStatusAndAgents(t *testing.T) {
	c, _ := start(t)
	if s, err := c.Status(soon(t)); err != nil || s.Status == "" || s.Version.Moltworker != "test" {
		t.Errorf("status %+v, %v", s, err)
	}
	list, err := c.Agents(soon(t))
	if err != nil || len(list) != 1 || list[0].Agent != "main" || list[0].MemoryBytes != 12345 {
		t.Errorf("agents %+v, %v", list, err)
	}
	one, err := c.Agent(soon(t), "MAIN") // as host names are
	if err != nil || one.Agent != "main" || one.Driver != "bare" {
		t.Errorf("agent %+v, %v", one, err)
	}
}

func TestRefusalsAreJSONWithARemedy(t *testing.T) {
	plane := api.ServeControl(t)
	for _, story := range []struct {
		method, path string
		status       int
		kind         string
	}{
		{"GET", "/", 404, "not_found"},
		{"GET", "/api/admin/nothing", 404, "not_found"},
		{"POST", "/api/status", 404, "not_found"},
		{"GET", "/api/admin/agents/nobody", 404, "not_found"},
		{"POST", "/api/admin/agents/nobody/restart", 404, "not_found"},
		{"GET", "/api/admin/agents/nobody/exec", 404, "not_found"},
		{"GET", "/api/admin/agents/main/logs?tail=-1", 400, "invalid"},
		{"GET", "/api/admin/agents/main/logs?tail=10001", 400, "invalid"},
		{"GET", "/api/admin/devices?agent=nobody", 404, "not_found"},
		{"POST", "/api/admin/devices/r/approve?agent=nobody", 404, "not_found"},
		{"POST", "/api/admin/devices/r/rename", 400, "invalid"},
		{"POST", "/api/admin/storage/sync", 400, "not_configured"},
		{"GET", "/api/admin/audit?limit=x", 400, "invalid"},
		{"GET", "/api/admin/audit/verify?head=x", 400, "invalid"},
		{"DELETE", "/api/admin/secrets/NOT_THERE", 404, "not_found"},
		{"PUT", "/api/admin/secrets/not%20a%20name", 400, "invalid"},
	} {
		status, body := api.Raw(plane, t, story.method, story.path, strings.NewReader("x"))
		var answer struct {
			Error *admin.Error `json:"error"`
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Error == nil {
			t.Errorf("%s %s: %d %q is no refusal of ours", story.method, story.path, status, body)
			continue
		}
		if status != story.status || answer.Error.Kind != story.kind || answer.Error.Message == "" {
			t.Errorf("%s %s: %d %+v; want %d %s", story.method, story.path, status, answer.Error, story.status, story.kind)
		}
	}
}

func TestClientTellsRefusalsFromAbsence(t *testing.T) {
	plane := api.ServeControl(t)
	c := client.New(plane.Data())
	var refused *admin.Error
	if _, err := c.Agent(soon(t), "nobody"); !errors.As(err, &refused) || refused.Status != http.StatusNotFound || refused.Remedy == "" {
		t.Errorf("an unknown agent gave %v", err)
	}
	if _, err := c.Exec(soon(t), "nobody", sh("true"), nil, io.Discard, io.Discard); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("a command for an unknown agent gave %v", err)
	}
	nobody := client.New(t.TempDir())
	if _, err := nobody.Status(soon(t)); !errors.Is(err, client.ErrNotRunning) {
		t.Errorf("nobody there gave %v", err)
	}
	if _, err := nobody.Exec(soon(t), "main", sh("true"), nil, io.Discard, io.Discard); !errors.Is(err, client.ErrNotRunning) {
		t.Errorf("a command with nobody there gave %v", err)
	}
}

func TestExecCarriesStreamsAndExitCodes(t *testing.T) {
	c, _ := start(t)
	if exit, out, errOut := run(t, c, sh("echo out; echo err >&2; exit 7"), nil); exit.Code != 7 || out != "out\n" || errOut != "err\n" {
		t.Errorf("got %+v, %q, %q", exit, out, errOut)
	}
	if exit, _, _ := run(t, c, sh("kill -9 $$"), nil); exit.Signal != 9 {
		t.Errorf("a killed command gave %+v", exit)
	}
	if exit, out, _ := run(t, c, sh("cat; echo end"), strings.NewReader("given\n")); exit.Code != 0 || out != "given\nend\n" {
		t.Errorf("with input got %+v, %q", exit, out)
	}
	if exit, out, _ := run(t, c, sh("head -c 5000000 /dev/zero"), nil); exit.Code != 0 || len(out) != 5_000_000 {
		t.Errorf("of much output came %d bytes, %+v", len(out), exit)
	}
	if exit, _, _ := run(t, c, proto.Exec{Args: []string{"/nowhere/program"}}, nil); exit.Error == "" {
		t.Errorf("a missing program gave %+v", exit)
	}
	for name, cmd := range map[string]proto.Exec{
		"no command":          {},
		"an endless timeout":  {Args: []string{"true"}, Timeout: proto.Duration(1000 * time.Hour)},
		"a timeout long past": {Args: []string{"true"}, Timeout: -1},
	} {
		if exit, _, _ := run(t, c, cmd, nil); exit.Error == "" || exit.Code == 0 {
			t.Errorf("%s gave %+v", name, exit)
		}
	}
}

func TestExecEndsWhenItsTimeIsUp(t *testing.T) {
	c, _ := start(t)
	cmd := sh("sleep 1000 & sleep 1000")
	cmd.Timeout = proto.Duration(100 * time.Millisecond)
	if exit, _, _ := run(t, c, cmd, nil); !exit.TimedOut {
		t.Errorf("got %+v", exit)
	}
}

// A client that is gone takes its command with it, also while that does not read
// what it was given.
func TestCommandEndsWithItsClient(t *testing.T) {
	for name, stdin := range map[string]io.Reader{"without input": nil, "with unread input": endless{}} {
		t.Run(name, func(t *testing.T) {
			c, _ := start(t)
			ctx, cancel := context.WithCancel(soon(t))
			pid := filepath.Join(t.TempDir(), "pid")
			gone := make(chan error, 1)
			go func() {
				cmd := sh("echo $$ > " + pid + "; exec sleep 1000")
				cmd.Dir = "/"
				_, err := c.Exec(ctx, "main", cmd, stdin, io.Discard, io.Discard)
				gone <- err
			}()
			var process string
			poll(t, "command", func() bool {
				data, _ := os.ReadFile(pid)
				process = strings.TrimSpace(string(data))
				return process != ""
			})
			cancel()
			if err := <-gone; err == nil {
				t.Error("a broken-off command ended well")
			}
			poll(t, "end of the command", func() bool {
				_, err := os.Stat("/proc/" + process)
				return errors.Is(err, os.ErrNotExist)
			})
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func poll(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := soon(t)
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("no %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestLogsAreTailedAndFollowed(t *testing.T) {
	plane := api.ServeControl(t, "one", "two", "three")
	c := client.New(plane.Data())
	var got []string
	keep := func(e agent.LogEntry) error { got = append(got, e.Text); return nil }
	if err := c.Logs(soon(t), "main", 2, false, keep); err != nil || strings.Join(got, " ") != "two three" {
		t.Errorf("tail gave %q, %v", got, err)
	}
	ctx, cancel := context.WithCancel(soon(t))
	got = nil
	err := c.Logs(ctx, "main", 1, true, func(e agent.LogEntry) error { cancel(); return keep(e) })
	if err != nil || strings.Join(got, " ") != "three" {
		t.Errorf("following until told to stop gave %q, %v", got, err)
	}
	enough := errors.New("enough")
	if err := c.Logs(soon(t), "main", 1, true, func(agent.LogEntry) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("a reader who has enough gave %v", err)
	}
}

func TestSecretsAreSealedListedAndRemoved(t *testing.T) {
	plane := api.ServeControl(t)
	c := client.New(plane.Data())
	if err := c.PutSecret(soon(t), "ANTHROPIC_API_KEY", "sk-very-secret"); err != nil {
		t.Fatal(err)
	}
	if name := <-plane.Changed(); name != "ANTHROPIC_API_KEY" {
		t.Errorf("told of %s", name)
	}
	list, err := c.Secrets(soon(t))
	if err != nil || len(list) != 1 || list[0].Name != "ANTHROPIC_API_KEY" {
		t.Errorf("secrets %+v, %v", list, err)
	}
	if _, body := api.Raw(plane, t, "GET", "/api/admin/secrets", nil); strings.Contains(body, "very-secret") {
		t.Error("the list shows a value")
	}
	var refused *admin.Error
	if err := c.PutSecret(soon(t), "ANTHROPIC_API_KEY", strings.Repeat("x", 1<<20)); !errors.As(err, &refused) || refused.Kind != "invalid" {
		t.Errorf("a giant secret gave %v", err)
	}
	if err := c.RemoveSecret(soon(t), "ANTHROPIC_API_KEY"); err != nil {
		t.Fatal(err)
	}
	if name := <-plane.Changed(); name != "ANTHROPIC_API_KEY" {
		t.Errorf("told of %s", name)
	}
	if list, err := c.Secrets(soon(t)); err != nil || len(list) != 0 {
		t.Errorf("after removal %+v, %v", list, err)
	}
}

func TestAgentsAreSteered(t *testing.T) {
	c, _ := start(t)
	var refused *admin.Error
	if _, err := c.Sleep(soon(t), "main"); !errors.As(err, &refused) || refused.Status != http.StatusConflict || refused.Kind != "busy" {
		t.Errorf("an agent that is not awake was put to sleep: %v", err)
	}
	if _, err := c.Wake(soon(t), "nobody"); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("nobody was woken: %v", err)
	}
	made, err := c.Create(soon(t), "main")
	if err != nil || made.Link != "http://here/?token=t" || made.Agent != "main" {
		t.Errorf("created %+v, %v", made, err)
	}
	if _, err := c.Create(soon(t), "Not A Name"); !errors.As(err, &refused) || refused.Status != http.StatusBadRequest {
		t.Errorf("a bad name was taken: %v", err)
	}
	if gone, err := c.Remove(soon(t), "main"); err != nil || gone.Kept != "/kept/main" {
		t.Errorf("removed %+v, %v", gone, err)
	}
	if _, err := c.Remove(soon(t), "nobody"); !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		t.Errorf("nobody was removed: %v", err)
	}
}
