package safe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/backup"
	"github.com/moltworker/moltworker/internal/backup/safekeeper"
	"github.com/moltworker/moltworker/internal/backup/watch"
	"github.com/moltworker/moltworker/internal/remedy"
)

// charge is one agent that is kept safe. keeper and vault are set when the
// repository is open.
type charge struct {
	s       *Safe
	name    string
	agent   Agent
	source  backup.Source
	stop    context.CancelFunc // nil before begin
	ended   chan struct{}      // closed when nothing of it runs any more
	keeper  *safekeeper.Keeper
	vault   atomic.Pointer[backup.Vault] // anew after each sleep: one that has worked remembers much
	changes chan struct{}                // holds a token when the home may have changed
	watched atomic.Pointer[watch.Watcher]

	restoring sync.Mutex // held while its home is replaced
	gate      gate       // shut while its lost home is put back

	// Of Safe's mu.
	drill    *admin.Drill
	verified *backup.VerifyReport
}

// Attach keeps an agent safe from now on, or from when the repository is open.
func (s *Safe) Attach(a Agent) {
	c := &charge{s: s, name: a.Name(), agent: a, changes: make(chan struct{}, 1), source: backup.Source{
		Dir: a.Home(), Stage: filepath.Join(filepath.Dir(a.Home()), "stage"), Hold: a.Hold, Leave: s.opts.Leave,
	}}
	c.drill = s.recallDrill(c.name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.charges[c.name] = c
	if s.repo != nil {
		s.begin(c)
	}
	s.note()
}

// Detach lets go of an agent that is no more. Its versions stay.
func (s *Safe) Detach(name string) {
	s.mu.Lock()
	c, ok := s.charges[name]
	delete(s.charges, name)
	s.note()
	s.mu.Unlock()
	if ok && c.stop != nil {
		c.stop()
		<-c.ended
	}
}

func (s *Safe) cacheDir(name string) string { return filepath.Join(s.opts.Dir, "cache", name) }

// vault is where the versions of an agent of that name are, whether it is there or
// not.
func (s *Safe) vault(repo *backup.Repo, name string) *backup.Vault {
	return repo.Vault(name, backup.VaultOptions{
		Cache: s.cacheDir(name), Writer: s.writer, Host: hostName(), Now: s.opts.Now, Log: s.opts.Log.With("agent", name),
	})
}

// begin needs mu, and the repository.
func (s *Safe) begin(c *charge) {
	c.vault.Store(s.vault(s.repo, c.name))
	c.keeper = safekeeper.New(safekeeper.Options{
		Agent: c.name, Vault: c, Source: c.source, Changes: c.changes, Mode: c.mode, Prune: c.prune, Log: s.opts.Log, Now: s.opts.Now,
	})
	ctx, stop := context.WithCancel(s.life)
	c.stop, c.ended = stop, make(chan struct{})
	var parts sync.WaitGroup
	parts.Go(func() { c.watchWhileItRuns(ctx) })
	parts.Go(func() {
		if err := c.keeper.Run(ctx); err != nil && ctx.Err() == nil {
			s.opts.Log.Error("backup of an agent has ended", "agent", c.name, "err", err)
		}
	})
	parts.Go(func() {
		for range c.keeper.Watch(ctx) {
			s.mu.Lock()
			s.note()
			s.mu.Unlock()
		}
	})
	s.running.Go(func() {
		parts.Wait()
		close(c.ended)
	})
}

// watchWhileItRuns notices changes of the home as long as something may make any:
// nothing is spent on an agent that sleeps.
func (c *charge) watchWhileItRuns(ctx context.Context) {
	stop := func() {}
	defer func() { stop() }()
	for runs := range c.agent.Runs(ctx) {
		stop()
		stop = func() {}
		if runs {
			stop = c.watch(ctx)
			continue
		}
		c.change() // the last changes before it slept
		c.vault.Store(c.s.vault(c.s.repository(), c.name))
	}
}

// watch begins to watch the home. stop returns when nothing watches any more.
func (c *charge) watch(ctx context.Context) (stop func()) {
	log := c.s.opts.Log.With("agent", c.name)
	w, err := watch.New(c.source.Dir, c.s.opts.Leave, watch.Options{Log: log})
	if err != nil {
		log.Error("changes are not noticed", "err", err)
		return func() {}
	}
	c.watched.Store(w)
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := w.Run(ctx); err != nil && ctx.Err() == nil {
			log.Error("changes are not noticed any more", "err", err)
		}
	})
	parts.Go(func() {
		for {
			select {
			case <-w.Changes():
				c.change()
			case <-ctx.Done():
				return
			}
		}
	})
	return func() { cancel(); parts.Wait(); c.watched.Store(nil) }
}

func (c *charge) change() {
	select {
	case c.changes <- struct{}{}:
	default:
	}
}

// mode says how changes are noticed.
func (c *charge) mode() string {
	if w := c.watched.Load(); w != nil {
		return w.Mode()
	}
	return "asleep"
}

// Snapshot makes a version in its turn: of a thousand agents not all at once. One
// that is ended because the home is put back is made of that home afterwards.
func (c *charge) Snapshot(ctx context.Context, src backup.Source, opts backup.SnapshotOptions) (backup.Version, backup.Stats, error) {
	for {
		during, done, err := c.gate.pass(ctx)
		if err != nil {
			return backup.Version{}, backup.Stats{}, err
		}
		version, stats, err := c.snapshot(during, src, opts)
		ended := errors.Is(context.Cause(during), errGateShut)
		done()
		if err == nil || !ended || ctx.Err() != nil {
			return version, stats, err
		}
	}
}

func (c *charge) snapshot(ctx context.Context, src backup.Source, opts backup.SnapshotOptions) (backup.Version, backup.Stats, error) {
	select {
	case c.s.turns <- struct{}{}:
		defer func() { <-c.s.turns }()
	case <-ctx.Done():
		return backup.Version{}, backup.Stats{}, context.Cause(ctx)
	}
	if err := c.refuseNothing(ctx, src.Dir); err != nil {
		return backup.Version{}, backup.Stats{}, err
	}
	return c.vault.Load().Snapshot(ctx, src, opts)
}

// refuseNothing keeps an empty home from becoming the newest version of an agent
// that has others: it is about to be put back, or somebody took it away.
func (c *charge) refuseNothing(ctx context.Context, home string) error {
	entries, err := os.ReadDir(home)
	if err != nil && !errors.Is(err, os.ErrNotExist) || len(entries) > 0 {
		return nil // what is wrong with it the vault will say
	}
	all, err := c.Versions(ctx)
	if err != nil || len(all) == 0 || all[0].Files == 0 && all[0].Damaged == "" {
		return err
	}
	return remedy.With(errors.New("the agent's home is empty, and that is not saved over its versions"), "restart the agent, which puts its newest version back")
}

// Versions lists the agent's versions, newest first.
func (c *charge) Versions(ctx context.Context) ([]backup.Version, error) {
	return c.vault.Load().Versions(ctx)
}

func (c *charge) prune(ctx context.Context) error {
	_, err := c.vault.Load().Prune(ctx, c.s.opts.Policy, backup.PruneOptions{})
	return err
}

// all are the agents that are being kept safe.
func (s *Safe) all() []*charge {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*charge
	for _, c := range s.charges {
		if c.keeper != nil {
			all = append(all, c)
		}
	}
	return all
}

// charge finds an agent that is being kept safe.
func (s *Safe) charge(name string) (*charge, error) {
	if _, err := s.ready(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.charges[name]
	if !ok || c.keeper == nil {
		return nil, remedy.With(fmt.Errorf("there is no agent named %q here", name), "`moltworker agent ls` lists those that are")
	}
	return c, nil
}

// versions is where the versions of an agent are that is here, or was.
func (s *Safe) versions(name string) (*backup.Vault, error) {
	repo, err := s.ready()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	c, ok := s.charges[name]
	s.mu.Unlock()
	if ok && c.vault.Load() != nil {
		return c.vault.Load(), nil
	}
	return s.vault(repo, name), nil
}

// Now makes a version at once; see [admin.Backups].
func (s *Safe) Now(ctx context.Context, name, reason string) (backup.Version, error) {
	c, err := s.charge(name)
	if err != nil {
		return backup.Version{}, err
	}
	version, err := c.keeper.SaveNow(ctx, reason)
	if errors.Is(err, backup.ErrUnchanged) {
		err = nil
	}
	return version, err
}

// Claim makes this host the one that writes; see [admin.Backups].
func (s *Safe) Claim(ctx context.Context, name string) error {
	c, err := s.charge(name)
	if err != nil {
		return err
	}
	if err := c.vault.Load().Claim(ctx); err != nil {
		return err
	}
	_, err = s.Now(ctx, name, "taken over")
	return err
}
