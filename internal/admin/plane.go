// Package admin owns the control plane: every operation on agents, devices and
// secrets, whoever asks and by whichever way in. Its skins are api (JSON), web
// (pages), debug, and client for the command line; they hold no rules. A [Plane]
// asks the caller in the context what it may, and records every change.
//
// It must not know how agents are kept alive, only ask them, nor how callers are
// established; and it never returns a secret's value, except inside the link that
// opens an agent to those who may open it.
package admin

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/secret"
	"github.com/moltworker/moltworker/internal/store"
)

// Options are what a control plane is about. All fields are required unless
// marked.
type Options struct {
	Agents  Agents // see [Fleet]
	Secrets *secret.Store
	Store   *store.DB
	Audit   *audit.Log
	Version Version
	Log     *slog.Logger
	Now     func() time.Time // optional: time.Now

	// Backups keeps versions of agents. Optional: without it, backup is off.
	Backups Backups

	// Models are the records of model calls. Optional: without them there is nothing to
	// see of calls.
	Models *Models

	// Create makes a new agent and says where to open it.
	Create func(ctx context.Context, name string) (link string, err error)
	// Remove stops an agent and sets what it has on disk aside, in the directory
	// that it returns.
	Remove func(ctx context.Context, name string) (kept string, err error)

	// SecretChanged is called after a secret was put or removed.
	SecretChanged func(name string)
	// Configured says where the configuration has each secret from that it sets,
	// by name. Those count before sealed ones.
	Configured func() map[string]string
	// TokenName is the name of an agent's gateway token among the secrets.
	TokenName func(agent string) string
	// Token is an agent's current gateway token.
	Token func(agent string) string
	// Link is where to open an agent, its token included.
	Link func(agent string) string

	// Redact takes secrets' values out of a text.
	Redact func(string) string

	// AutoPair lets the browsers of people who are signed in be paired unasked.
	AutoPair bool
	// TakeUp is how long a gateway may take to follow a change of its token before
	// it is restarted for it. Optional: twenty seconds.
	TakeUp time.Duration
	// BootTimeout bounds how long a gateway may take to come back with a new token.
	// Optional: five minutes.
	BootTimeout time.Duration
}

// Version describes this build and what it runs.
type Version struct {
	Moltworker string `json:"moltworker"`
	OpenClaw   string `json:"openclaw"`
	GVisor     string `json:"gvisor"`
	Protocol   int    `json:"protocol"`
	Go         string `json:"go"`
}

// A Plane is the control plane. Its methods may be called concurrently; each
// refuses a caller who may not with an *access.Refusal.
type Plane struct {
	opts     Options
	watchers watchers
	memories memories
	rotating sync.Mutex // held while a token is rotated
}

// New makes a control plane.
func New(opts Options) *Plane {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.BootTimeout <= 0 {
		opts.BootTimeout = 5 * time.Minute
	}
	if opts.TakeUp <= 0 {
		opts.TakeUp = 20 * time.Second
	}
	if opts.Backups == nil {
		opts.Backups = off{}
	}
	p := &Plane{opts: opts}
	p.watchers.watch = p.followDevices
	return p
}

// Version is this build's.
func (p *Plane) Version() Version { return p.opts.Version }

// MainState is the state of the agent that is meant where none is named. Anybody
// may know it.
func (p *Plane) MainState() agent.State {
	ag, ok := p.opts.Agents.Agent("main")
	if !ok {
		return agent.StateStopped
	}
	return ag.Status().State
}

// Now is the control plane's clock.
func (p *Plane) Now() time.Time { return p.opts.Now() }

// may refuses a caller without a scope.
func (p *Plane) may(ctx context.Context, scope access.Scope) error {
	who := access.From(ctx)
	if who.May(scope) {
		return nil
	}
	if who.Kind != "" { // else it is recorded where the caller came in
		e := audit.By(ctx)
		e.Action, e.Target = "admin.denied", string(scope)
		p.opts.Audit.Denied(ctx, e)
	}
	return access.NotAllowed(who, scope)
}

// find returns an agent to a caller who has the scope.
func (p *Plane) find(ctx context.Context, name string, scope access.Scope) (Agent, error) {
	if err := p.may(ctx, scope); err != nil {
		return nil, err
	}
	ag, ok := p.opts.Agents.Agent(name)
	if !ok {
		return nil, noAgent(name)
	}
	return ag, nil
}

func noAgent(name string) error {
	return &Error{
		Status: http.StatusNotFound, Kind: "not_found",
		Message: fmt.Sprintf("there is no agent named %q", name),
		Remedy:  "`moltworker agent ls` lists the agents; `moltworker agent create` makes one",
	}
}
