package admintest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/secret"
	"github.com/moltworker/moltworker/internal/store"
)

// Agent is an agent that is no more than a state and a gateway.
type Agent struct {
	OpenClaw *Gateway
	Token    func() string
	// Hot says that the gateway takes new settings up without a restart.
	Hot bool
	// Outputs are what commands print, by their arguments joined with spaces.
	Outputs map[string]string

	name string
	mu   sync.Mutex // guards what follows
	now  agent.State
	log  []string // what was asked of it
	subs map[chan agent.Status]struct{}
}

// Name is its name.
func (a *Agent) Name() string { return a.name }

// Log is what was asked of it so far.
func (a *Agent) Log() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.log, "\n")
}

func (a *Agent) did(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.log = append(a.log, fmt.Sprintf(format, args...))
}

// Status says its state.
func (a *Agent) Status() agent.Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	return agent.Status{Agent: a.name, State: a.now, Driver: "none", Runtime: "1.2.3", Phases: []agent.Phase{}}
}

// Become changes its state.
func (a *Agent) Become(s agent.State) {
	a.mu.Lock()
	a.now = s
	a.mu.Unlock()
	status := a.Status()
	a.mu.Lock()
	defer a.mu.Unlock()
	for ch := range a.subs {
		select {
		case <-ch:
		default:
		}
		ch <- status
	}
}

// Watch tells its state.
func (a *Agent) Watch(ctx context.Context) <-chan agent.Status {
	ch := make(chan agent.Status, 1)
	ch <- a.Status()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.subs[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.subs, ch)
		close(ch)
	})
	return ch
}

// Logs are two lines.
func (a *Agent) Logs(ctx context.Context, n int, follow bool) ([]agent.LogEntry, <-chan agent.LogEntry, error) {
	entries := []agent.LogEntry{{Stream: "stdout", Text: "one"}, {Stream: "stderr", Text: "two"}}
	entries = entries[max(0, len(entries)-n):]
	if !follow {
		return entries, nil, nil
	}
	later := make(chan agent.LogEntry)
	context.AfterFunc(ctx, func() { close(later) })
	return entries, later, nil
}

// Usage is not known.
func (*Agent) Usage(context.Context) (sandbox.Usage, error) {
	return sandbox.Usage{}, sandbox.ErrNotFound
}

// Restart has the gateway take the current token.
func (a *Agent) Restart(context.Context) error {
	a.did("restart")
	a.OpenClaw.SetToken(a.Token())
	a.OpenClaw.Drop()
	a.Become(agent.StateAwake)
	return nil
}

// Reconfigure has a hot gateway take the current token.
func (a *Agent) Reconfigure(context.Context) error {
	a.did("reconfigure")
	if a.Hot {
		a.OpenClaw.SetToken(a.Token())
	}
	return nil
}

// Sleep makes it sleep.
func (a *Agent) Sleep(context.Context) error {
	a.did("sleep")
	if a.Status().State != agent.StateAwake {
		return fmt.Errorf("%w: not awake", agent.ErrBusy)
	}
	a.Become(agent.StateAsleep)
	return nil
}

// Wake wakes it.
func (a *Agent) Wake(ctx context.Context, reason string) error {
	done, err := a.Use(ctx, reason)
	if err == nil {
		done()
	}
	return err
}

// Use wakes it.
func (a *Agent) Use(_ context.Context, what string) (func(), error) {
	a.did("use: %s", what)
	switch a.Status().State {
	case agent.StateFailed, agent.StateStopped:
		return nil, fmt.Errorf("%w: %s", agent.ErrNotAwake, a.Status().State)
	case agent.StateAsleep:
		a.Become(agent.StateAwake)
	}
	return func() {}, nil
}

// Exec prints what Outputs has.
func (a *Agent) Exec(_ context.Context, cmd proto.Exec, _ io.Reader, stdout, stderr io.Writer) (proto.ExecExit, error) {
	line := strings.Join(cmd.Args, " ")
	a.did("exec: %s", line)
	out, ok := a.Outputs[line]
	if !ok {
		fmt.Fprint(stderr, "no such thing")
		return proto.ExecExit{Code: 1}, nil
	}
	fmt.Fprint(stdout, out)
	return proto.ExecExit{}, nil
}

// Gateway wakes it and calls do.
func (a *Agent) Gateway(ctx context.Context, do func(*gateway.Client) error) error {
	done, err := a.Use(ctx, "administration")
	if err != nil {
		return err
	}
	defer done()
	client, err := gateway.Dial(ctx, a.DialGateway, a.Token())
	if err != nil {
		return err
	}
	defer client.Close()
	return do(client)
}

// DialGateway connects to its gateway, if it is awake.
func (a *Agent) DialGateway(ctx context.Context) (net.Conn, error) {
	if a.Status().State != agent.StateAwake {
		return nil, errors.New("nobody answers")
	}
	return a.OpenClaw.Dial(ctx)
}

// World is a control plane and what is around it. Its one agent is called main
// and sleeps.
type World struct {
	*admin.Plane
	Options admin.Options
	Main    *Agent
	Data    string
	Changed chan string // names of secrets that changed
	Conf    map[string]string
}

// Owner is a context of the command line's.
func Owner(ctx context.Context) context.Context {
	return access.With(ctx, access.Principal{Kind: access.KindOwner, Via: access.ViaSocket}, access.Place{})
}

// New makes a world; change may alter what the control plane is made of.
func New(t testing.TB, change func(*admin.Options)) *World {
	t.Helper()
	w := &World{Data: t.TempDir(), Changed: make(chan string, 100), Conf: map[string]string{}}
	secrets, err := secret.Open(filepath.Join(w.Data, "secrets"), secret.Options{})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), filepath.Join(w.Data, "moltworker.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	const tokenName = "MOLTBOT_GATEWAY_TOKEN"
	if err := secrets.Put(tokenName, "the-first-token"); err != nil {
		t.Fatal(err)
	}
	token := func() string {
		v, _, err := secrets.Get(tokenName)
		if err != nil {
			return ""
		}
		return v.Reveal()
	}
	w.Main = &Agent{OpenClaw: NewGateway(t, token()), Token: token, name: "main", now: agent.StateAsleep, Hot: true,
		subs: map[chan agent.Status]struct{}{}, Outputs: map[string]string{}}
	w.Options = admin.Options{
		Agents: agents{w.Main}, Secrets: secrets, Store: db, Audit: audit.New(db, time.Now), Version: admin.Version{Moltworker: "test"},
		Log:           slog.New(slog.DiscardHandler),
		Create:        func(_ context.Context, name string) (string, error) { return "http://here/?token=t", nil },
		Remove:        func(_ context.Context, name string) (string, error) { return "/kept/" + name, nil },
		SecretChanged: func(name string) { w.Changed <- name },
		Configured:    func() map[string]string { return w.Conf },
		TokenName:     func(string) string { return tokenName },
		Token:         func(string) string { return token() },
		Link:          func(string) string { return "http://here/?token=" + token() },
		Redact:        func(s string) string { return strings.ReplaceAll(s, token(), "[redacted]") },
		AutoPair:      true,
		TakeUp:        300 * time.Millisecond,
		BootTimeout:   30 * time.Second,
	}
	if change != nil {
		change(&w.Options)
	}
	w.Plane = admin.New(w.Options)
	return w
}

type agents []admin.Agent

func (l agents) All() []admin.Agent { return l }
func (l agents) Agent(name string) (admin.Agent, bool) {
	for _, a := range l {
		if strings.EqualFold(a.Name(), name) {
			return a, true
		}
	}
	return nil, false
}
