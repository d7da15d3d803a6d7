package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/audit"
	"github.com/moltworker/moltworker/internal/guest/proto"
)

// AgentInfo is an agent as it is listed.
type AgentInfo struct {
	agent.Status
	MemoryBytes int64         `json:"memory_bytes"` // negative: unknown
	CPU         time.Duration `json:"cpu_ns"`       // since the sandbox started
}

// MaxTail bounds how many log entries one call may ask for.
const MaxTail = 10_000

// Agents lists the agents in the order in which they came.
func (p *Plane) Agents(ctx context.Context) ([]AgentInfo, error) {
	if err := p.may(ctx, access.ReadAgents); err != nil {
		return nil, err
	}
	infos := []AgentInfo{}
	for _, ag := range p.opts.Agents.All() {
		infos = append(infos, describe(ctx, ag))
	}
	return infos, nil
}

// Agent describes one agent. Names are compared without case, as host names are.
func (p *Plane) Agent(ctx context.Context, name string) (AgentInfo, error) {
	ag, err := p.find(ctx, name, access.ReadAgents)
	if err != nil {
		return AgentInfo{}, err
	}
	return describe(ctx, ag), nil
}

func describe(ctx context.Context, ag Agent) AgentInfo {
	info := AgentInfo{Status: ag.Status(), MemoryBytes: -1}
	if u, err := ag.Usage(ctx); err == nil {
		info.MemoryBytes, info.CPU = u.MemoryBytes, u.CPU
	}
	return info
}

// WatchAgent returns a channel with an agent's status now and then the newest one
// after each change, closed when ctx ends.
func (p *Plane) WatchAgent(ctx context.Context, name string) (<-chan agent.Status, error) {
	ag, err := p.find(ctx, name, access.ReadAgents)
	if err != nil {
		return nil, err
	}
	return ag.Watch(ctx), nil
}

// Logs returns up to n of an agent's newest log entries, oldest first, and with
// follow a channel of later ones that is closed when ctx ends.
func (p *Plane) Logs(ctx context.Context, name string, n int, follow bool) ([]agent.LogEntry, <-chan agent.LogEntry, error) {
	ag, err := p.find(ctx, name, access.ReadAgents)
	if err != nil {
		return nil, nil, err
	}
	if n < 0 || n > MaxTail {
		return nil, nil, invalid(fmt.Sprintf("%d log entries: want 0 to %d", n, MaxTail), "")
	}
	return ag.Logs(ctx, n, follow)
}

// Restart restarts an agent's gateway. It returns when the restart has begun.
func (p *Plane) Restart(ctx context.Context, name string) (agent.Status, error) {
	return p.steer(ctx, name, "agent.restart", Agent.Restart)
}

// Sleep puts an agent to sleep now.
func (p *Plane) Sleep(ctx context.Context, name string) (agent.Status, error) {
	return p.steer(ctx, name, "agent.sleep", Agent.Sleep)
}

// Wake wakes an agent and returns when its gateway answers.
func (p *Plane) Wake(ctx context.Context, name string) (agent.Status, error) {
	return p.steer(ctx, name, "agent.wake", func(ag Agent, ctx context.Context) error { return ag.Wake(ctx, "an order to wake") })
}

// steer does something with an agent and returns its status afterwards.
func (p *Plane) steer(ctx context.Context, name, action string, do func(Agent, context.Context) error) (agent.Status, error) {
	ag, err := p.find(ctx, name, access.WriteAgents)
	if err != nil {
		return agent.Status{}, err
	}
	before := ag.Status().State
	if err := do(ag, ctx); err != nil {
		return agent.Status{}, err
	}
	after := ag.Status()
	return after, p.record(ctx, audit.Event{Action: action, Agent: ag.Name(), Old: string(before), New: string(after.State)})
}

// Created is a new agent.
type Created struct {
	agent.Status
	Link string `json:"link,omitempty"` // where to open it, its token included; "" to a caller who may not use agents
}

// Create makes a new agent.
func (p *Plane) Create(ctx context.Context, name string) (Created, error) {
	if err := p.may(ctx, access.WriteAgents); err != nil {
		return Created{}, err
	}
	link, err := p.opts.Create(ctx, name)
	if err != nil {
		return Created{}, err
	}
	if err := p.record(ctx, audit.Event{Action: "agent.create", Agent: name}); err != nil {
		return Created{}, err
	}
	ag, ok := p.opts.Agents.Agent(name)
	if !ok {
		return Created{}, noAgent(name) // removed meanwhile
	}
	if !access.From(ctx).May(access.UseAgents) {
		link = ""
	}
	return Created{ag.Status(), link}, nil
}

// Removed is an agent that is no more.
type Removed struct {
	Kept string `json:"kept"` // directory with what it had
}

// Remove stops an agent and sets what it has aside.
func (p *Plane) Remove(ctx context.Context, name string) (Removed, error) {
	ag, err := p.find(ctx, name, access.WriteAgents)
	if err != nil {
		return Removed{}, err
	}
	kept, err := p.opts.Remove(ctx, ag.Name())
	if err != nil {
		return Removed{}, err
	}
	p.memories.forget(ag.Name())
	return Removed{kept}, errors.Join(
		p.record(ctx, audit.Event{Action: "agent.remove", Agent: ag.Name(), Detail: "kept in " + kept}),
		p.opts.Store.ForgetDevices(context.WithoutCancel(ctx), ag.Name()))
}

// MayExec says whether the caller may run commands inside an agent, so that a way
// in can refuse before it takes a command's input.
func (p *Plane) MayExec(ctx context.Context, name string) error {
	_, err := p.find(ctx, name, access.ExecAgents)
	return err
}

// Exec runs a command inside an agent, as the agent's user. stdin may be nil.
func (p *Plane) Exec(ctx context.Context, name string, cmd proto.Exec, stdin io.Reader, stdout, stderr io.Writer) (proto.ExecExit, error) {
	ag, err := p.find(ctx, name, access.ExecAgents)
	if err != nil {
		return proto.ExecExit{}, err
	}
	if err := checkExec(cmd); err != nil {
		return proto.ExecExit{}, err
	}
	// Before it runs: what is not recorded does not happen.
	if err := p.record(ctx, audit.Event{Action: "agent.exec", Agent: ag.Name(), Detail: strings.Join(cmd.Args, " ")}); err != nil {
		return proto.ExecExit{}, err
	}
	return ag.Exec(ctx, cmd, stdin, stdout, stderr)
}

// checkExec bounds what a command may ask.
func checkExec(cmd proto.Exec) error {
	if len(cmd.Args) == 0 {
		return invalid("no command given", "moltworker agent exec NAME -- COMMAND [ARG...]")
	}
	if t := time.Duration(cmd.Timeout); t < 0 || t > proto.MaxExecTimeout {
		return invalid(fmt.Sprintf("timeout %s: want up to %s", t, proto.MaxExecTimeout), "")
	}
	return nil
}

func invalid(message, remedy string) error {
	return &Error{Status: http.StatusBadRequest, Kind: "invalid", Message: message, Remedy: remedy}
}
