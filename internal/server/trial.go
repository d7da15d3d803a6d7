package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/guest/proto"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/openclaw/gateway"
	"github.com/moltworker/moltworker/internal/safe"
)

const (
	checkTime = 5 * time.Minute
	maxCheck  = 64 << 10 // bytes of what the check of the databases says
)

// try boots a scratch agent on a home, in a sandbox like any other, but without
// channels, jobs or a model: it shall be, not act. It looks at every database and
// asks for the gateway's health.
func (s *server) try(ctx context.Context, home string, tell func(string)) (trial safe.Trial, err error) {
	name := spareName() // nobody's, and swept at the next start if we are killed
	dir := filepath.Join(filepath.Dir(home), "agent")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return trial, err
	}
	if err := os.Rename(home, filepath.Join(dir, "home")); err != nil {
		return trial, err
	}
	if err := s.secrets.ensureToken(name); err != nil {
		return trial, err
	}
	defer func() { err = errors.Join(err, s.secrets.dropToken(name)) }()
	a, err := s.maker.scratch(name, dir)
	if err != nil {
		return trial, err
	}
	life, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(life) }()
	defer func() { end(); err = errors.Join(err, <-ended) }()

	tell("booting OpenClaw on it")
	began := time.Now()
	if err := s.comesUp(ctx, a); err != nil {
		return trial, err
	}
	trial.Booted = time.Since(began)
	if err := a.Gateway(ctx, func(c *gateway.Client) error { return c.Health(ctx) }); err != nil {
		return trial, fmt.Errorf("ask for its health: %w", err)
	}
	tell("checking its databases")
	trial.Databases, err = s.checkDatabases(ctx, a)
	return trial, err
}

// comesUp waits until a scratch agent is awake. OpenClaw may fail a boot on a busy
// machine, and is started again; one that needs a person has failed.
func (s *server) comesUp(ctx context.Context, a *agent.Agent) error {
	ctx, cancel := context.WithTimeout(ctx, 2*s.cfg.BootTimeout)
	defer cancel()
	if err := a.Awake(ctx); err != nil {
		return fmt.Errorf("OpenClaw does not boot on it: %w", err)
	}
	return nil
}

func (s *server) checkDatabases(ctx context.Context, a *agent.Agent) (int, error) {
	rt, err := s.install.wait(ctx, func(string) {})
	if err != nil {
		return 0, err
	}
	var out, said bytes.Buffer
	cmd := proto.Exec{Args: openclaw.CheckDatabases(rt), Timeout: proto.Duration(checkTime)}
	exit, err := a.Exec(ctx, cmd, nil, &bounded{&out, maxCheck}, &bounded{&said, maxCheck})
	if err != nil {
		return 0, fmt.Errorf("check the databases: %w", err)
	}
	if exit.Code != 0 {
		return 0, fmt.Errorf("check the databases: code %d: %.500q", exit.Code, said.String())
	}
	return openclaw.ReadCheck(out.Bytes())
}

// bounded takes so many bytes and drops the rest.
type bounded struct {
	to   *bytes.Buffer
	room int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.room-b.to.Len())
	b.to.Write(p[:n])
	return len(p), nil
}

// scratch makes an agent that acts on nothing outside of its sandbox.
func (m *maker) scratch(name, dir string) (*agent.Agent, error) {
	opts, err := m.options(name, dir, 0)
	if err != nil {
		return nil, err
	}
	opts.Images, opts.Prepare = nil, nil
	opts.Env = []string{"OPENCLAW_SKIP_CHANNELS=1", "OPENCLAW_SKIP_CRON=1"}
	opts.AI = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "a scratch agent has no model", http.StatusServiceUnavailable)
	})
	return agent.New(opts)
}
