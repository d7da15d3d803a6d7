package admin

import (
	"context"
	"io"
	"net"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// Agent is what the control plane asks of an agent; see [agent.Agent], which is
// one, for what the methods promise.
type Agent interface {
	Name() string
	Status() agent.Status
	Watch(ctx context.Context) <-chan agent.Status
	Logs(ctx context.Context, n int, follow bool) ([]agent.LogEntry, <-chan agent.LogEntry, error)
	Usage(ctx context.Context) (sandbox.Usage, error)

	Restart(ctx context.Context) error
	Reconfigure(ctx context.Context) error
	Sleep(ctx context.Context) error
	Wake(ctx context.Context, reason string) error

	Use(ctx context.Context, what string) (done func(), err error)
	Exec(ctx context.Context, cmd proto.Exec, stdin io.Reader, stdout, stderr io.Writer) (proto.ExecExit, error)
	Gateway(ctx context.Context, do func(*gateway.Client) error) error
	DialGateway(ctx context.Context) (net.Conn, error)
}

// Agents are the agents there are.
type Agents interface {
	All() []Agent
	// Agent finds an agent by name, case-insensitively as host names are.
	Agent(name string) (Agent, bool)
}

// Fleet gives the agents of a fleet.
func Fleet(f *agent.Fleet) Agents { return fleet{f} }

type fleet struct{ *agent.Fleet }

func (f fleet) All() []Agent {
	var all []Agent
	for _, a := range f.Fleet.All() {
		all = append(all, a)
	}
	return all
}

func (f fleet) Agent(name string) (Agent, bool) {
	a, ok := f.Fleet.Agent(name)
	if !ok {
		return nil, false
	}
	return a, true
}
