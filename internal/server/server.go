// Package server is the hall: it turns a configuration into the parts of a
// running moltworker, joins them, and runs them until told to stop. It is the
// only package that knows all the others; they do not know it, nor each other
// more than docs/architecture.md allows.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/moltworker/moltworker/internal/admin/api"
	"github.com/moltworker/moltworker/internal/admin/client"
	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/edge"
	"github.com/moltworker/moltworker/internal/remedy"
	"github.com/moltworker/moltworker/internal/safe"
	"github.com/moltworker/moltworker/internal/sandbox"
	"github.com/moltworker/moltworker/internal/telemetry"
	"github.com/moltworker/moltworker/internal/unixsock"
)

// Run runs everything that cfg asks for until ctx ends, then stops it in order.
// The console tells a person what happens; the log goes to logTo.
func Run(ctx context.Context, cfg config.Config, con *Console, logTo io.Writer) error {
	lock, err := lockData(cfg.Data)
	if err != nil {
		return err
	}
	defer lock.Close()
	listener, err := listen(cfg.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()

	s, err := build(ctx, cfg, con, logTo, listener.Addr())
	if err != nil {
		return err
	}
	defer s.control.db.Close()
	defer func() {
		if err := s.models.close(); err != nil {
			s.log.Error("the record of model calls", "err", err)
		}
	}()
	socket, err := unixsock.Listen(client.SocketPath(cfg.Data), 0o600)
	if err != nil {
		return err
	}
	defer socket.Close()
	con.greet(s.report, cfg)
	for _, name := range s.names {
		con.link(name, s.link(name))
	}
	if err := errors.Join(s.control.noteStart(ctx), s.control.endStrangers(ctx), s.control.welcome(ctx)); err != nil {
		return err
	}
	return s.run(ctx, listener, socket)
}

// server is the parts of a running moltworker.
type server struct {
	cfg     config.Config
	con     *Console
	log     *slog.Logger
	report  sandbox.Report
	secrets *secrets
	install *install
	names   []string // of the agents at the start: configured, then created
	maker   *maker
	fleet   *agent.Fleet
	pool    *agent.Pool
	births  sync.Mutex // held while an agent is created or removed
	running context.Context
	models  *models
	safe    *safe.Safe // nil when backup is switched off
	control *control
	edge    *edge.Edge
	origin  origin
}

// build makes the parts in the order of their dependence.
func build(ctx context.Context, cfg config.Config, con *Console, logTo io.Writer, addr net.Addr) (*server, error) {
	redactor := telemetry.NewRedactor()
	s := &server{cfg: cfg, con: con, origin: originOf(cfg, addr)}
	s.log = telemetry.NewLogger(logTo, telemetry.Options{Level: cfg.LogLevel, JSON: con.json, Redactor: redactor})
	var err error
	if s.names, err = agentNames(cfg); err != nil {
		return nil, err
	}
	if s.secrets, err = openSecrets(cfg, s.names, redactor); err != nil {
		return nil, err
	}
	driver, report, err := chooseDriver(ctx, cfg, con.note)
	if err != nil {
		return nil, err
	}
	s.report = report
	if err := removeStrays(ctx, cfg.Data, s.names, driver, s.log); err != nil {
		return nil, err
	}
	binary, err := installBinary(cfg.Cache)
	if err != nil {
		return nil, err
	}
	s.install = newInstall(cfg.Cache, con, s.log)
	if s.models, err = s.openModels(ctx); err != nil {
		return nil, err
	}
	if err := s.assemble(ctx, driver, binary); err != nil {
		return nil, errors.Join(err, s.models.close())
	}
	return s, nil
}

// assemble makes the parts that have agents in them.
func (s *server) assemble(ctx context.Context, driver sandbox.Driver, binary string) (err error) {
	if s.fleet, err = s.agents(driver, binary); err != nil {
		return err
	}
	if s.pool, err = s.newPool(); err != nil {
		return err
	}
	if s.safe, err = s.newSafe(); err != nil {
		return err
	}
	if s.control, err = s.newControl(ctx); err != nil {
		return err
	}
	if s.edge, err = s.newEdge(); err != nil {
		return errors.Join(err, s.control.db.Close())
	}
	return nil
}

// run runs the parts until ctx ends or one of them fails.
func (s *server) run(ctx context.Context, public, socket net.Listener) error {
	defer context.AfterFunc(ctx, func() { s.con.note("stopping; Ctrl-C again leaves the agents running") })()
	group, ctx := errgroup.WithContext(ctx)
	s.running = ctx
	group.Go(func() error { return s.install.run(ctx) })
	group.Go(func() error { return s.fleet.Run(ctx) })
	group.Go(func() error {
		s.awaitKnown(ctx)
		return s.edge.Serve(ctx, public)
	})
	group.Go(func() error { return s.serveAdmin(ctx, socket) })
	group.Go(func() error { return s.control.run(ctx) })
	group.Go(func() error { return s.models.run(ctx, s) })
	group.Go(func() error { return s.pool.Run(ctx) })
	group.Go(func() error { return s.tidyImages(ctx) })
	if s.safe != nil {
		group.Go(func() error { return s.safe.Run(ctx) })
	}
	for _, a := range s.fleet.All() {
		s.keepSafe(a)
		s.follow(ctx, a)
	}
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// awaitKnown waits, not for long, until it is known which agents sleep: the open pages
// of an `up` that was started anew are back at once, and none of them is to wake one.
func (s *server) awaitKnown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, a := range s.fleet.All() {
		a.Known(ctx)
	}
}

func (s *server) serveAdmin(ctx context.Context, socket net.Listener) error {
	srv := &http.Server{
		Handler:           api.Owner(s.control.api),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		// Following logs end with ctx, not when the last client leaves.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	if err := srv.Serve(socket); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the command line: %w", err)
	}
	return nil
}

// secretChanged makes agents take up what a new or removed secret means for
// their configuration. Keys themselves are looked up at each call.
func (s *server) secretChanged(name string) {
	s.secrets.register(name)
	if s.safe != nil {
		s.safe.Reopen() // it may be a key to the store
	}
	for _, a := range s.fleet.All() {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := a.Reconfigure(ctx); err != nil {
				s.log.Warn("cannot apply the new settings", "agent", a.Name(), "err", err)
			}
		}()
	}
}

// follow shows on the console what becomes of an agent.
func (s *server) follow(ctx context.Context, a *agent.Agent) { go s.con.follow(ctx, a) }

// listen takes the public address at once, so that a taken port is known before
// anything is installed or started.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, remedy.With(fmt.Errorf("%w: another program listens on %s", ErrInUse, addr),
			"stop it, or choose another address with --listen HOST:PORT")
	case errors.Is(err, syscall.EACCES):
		return nil, remedy.With(fmt.Errorf("not allowed to listen on %s", addr), "choose a port above 1023 with --listen HOST:PORT")
	case err != nil:
		return nil, remedy.With(fmt.Errorf("listen on %s: %w", addr, err), "choose an address of this machine with --listen HOST:PORT")
	}
	return l, nil
}

// link is where to open an agent, its token included.
func (s *server) link(name string) string { return s.origin.link(name, s.secrets.token(name)) }

func agentDir(data, name string) string { return filepath.Join(data, "agents", name) }
