package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/image"
)

// Pool keeps agents that were booted and have never been used, asleep as images,
// for new agents to begin with. Each was booted by itself: two never share random
// numbers, keys or tokens. Each is given away once.
type Pool struct {
	opts PoolOptions

	mu    sync.Mutex // guards ready
	ready []string   // names of spares, oldest first
	taken chan struct{}
}

// PoolOptions say what spares are. All fields are required.
type PoolOptions struct {
	Dir  string // the spares' directories are in here; nothing else is
	Size int    // how many to keep ready
	// Make prepares a spare of that name in that directory; nothing runs yet.
	Make func(name, dir string) (*Agent, error)
	// Name invents the name of a new spare.
	Name func() string
	// Quiet waits until the host has time to boot a spare.
	Quiet func(ctx context.Context) error
	Log   *slog.Logger
}

// NewPool finds the spares that an earlier process has left.
func NewPool(opts PoolOptions) (*Pool, error) {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the pool's directory: %w", err)
	}
	p := &Pool{opts: opts, taken: make(chan struct{}, 1)}
	entries, err := os.ReadDir(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("look for spare agents: %w", err)
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(opts.Dir, e.Name(), readyName)); err == nil {
			p.ready = append(p.ready, e.Name())
			continue
		}
		if err := os.RemoveAll(filepath.Join(opts.Dir, e.Name())); err != nil { // half-made, or half given away
			return nil, fmt.Errorf("remove what is left of a spare agent: %w", err)
		}
	}
	return p, nil
}

// readyName is the file that a spare has as long as it may be given away.
const readyName = "ready"

// Pauses between attempts to make a spare.
const (
	firstSparePause = time.Minute
	lastSparePause  = time.Hour
	sparePatience   = 15 * time.Minute // for one spare to boot and fall asleep
)

// Ready is how many spares there are.
func (p *Pool) Ready() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready)
}

// Run makes spares as they are missing, one at a time, until ctx ends.
func (p *Pool) Run(ctx context.Context) error {
	pause := firstSparePause
	for ctx.Err() == nil {
		if p.Ready() >= p.opts.Size {
			select {
			case <-p.taken:
			case <-ctx.Done():
			}
			continue
		}
		err := p.opts.Quiet(ctx)
		if err == nil {
			err = p.add(ctx)
		}
		if err == nil {
			pause = firstSparePause
		} else if ctx.Err() == nil {
			p.opts.Log.Warn("cannot make a spare agent", "err", err, "retry_in", pause)
			pauseFor(ctx, pause)
			pause = min(2*pause, lastSparePause)
		}
	}
	return nil
}

// add makes one spare.
func (p *Pool) add(ctx context.Context) (err error) {
	name := p.opts.Name()
	dir := filepath.Join(p.opts.Dir, name)
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	a, err := p.opts.Make(name, dir)
	if err != nil {
		return err
	}
	if err := lullToSleep(ctx, a); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, readyName), nil, 0o600); err != nil {
		return fmt.Errorf("keep a spare agent: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = append(p.ready, name)
	p.opts.Log.Info("a spare agent is ready", "spare", name)
	return nil
}

// lullToSleep runs an agent from its boot until it is asleep.
func lullToSleep(ctx context.Context, a *Agent) error {
	ctx, cancel := context.WithTimeout(ctx, sparePatience)
	defer cancel()
	running := make(chan error, 1)
	go func() { running <- a.Run(ctx) }()
	err := a.Awake(ctx)
	for err == nil {
		if err = a.Sleep(ctx); !errors.Is(err, ErrBusy) {
			break
		}
		err = nil // a gateway that has just booted is at something still
		pauseFor(ctx, time.Second)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}
	cancel()
	return errors.Join(err, <-running)
}

// Take gives the oldest spare away: its name and directory, which are the caller's
// from now on. It says false when there is none.
func (p *Pool) Take() (name, dir string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ready) > 0 {
		name = p.ready[0]
		p.ready = slices.Delete(p.ready, 0, 1)
		select {
		case p.taken <- struct{}{}:
		default:
		}
		dir = filepath.Join(p.opts.Dir, name)
		if err := os.Remove(filepath.Join(dir, readyName)); err != nil {
			p.opts.Log.Warn("a spare agent is gone", "spare", name, "err", err)
			continue
		}
		return name, dir, true
	}
	return "", "", false
}

// Inherit makes the agent, which has never run, go on where a spare has fallen
// asleep. The spare's directory is gone afterwards; after an error the agent is as
// it was, without home or image, and boots.
func (a *Agent) Inherit(spare, dir string, images *image.Store) (err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	from, err := openLedger(dir)
	if err != nil {
		return err
	}
	was := from.read()
	m, err := images.Peek()
	if err != nil {
		return fmt.Errorf("inherit from spare agent %s: %w", spare, err)
	}
	if err := os.Remove(homeDir(a.opts.Dir)); err != nil { // fails when it is not empty
		return fmt.Errorf("inherit from spare agent %s: %w", spare, err)
	}
	if err := os.Rename(homeDir(dir), homeDir(a.opts.Dir)); err != nil {
		return fmt.Errorf("inherit from spare agent %s: %w", spare, err)
	}
	if err := os.Rename(renderedPath(dir), renderedPath(a.opts.Dir)); err != nil {
		return fmt.Errorf("inherit from spare agent %s: %w", spare, err)
	}
	to := m.Binding
	to.Agent = a.opts.Name
	if err := images.Rebind(m.Binding, a.images, to); err != nil {
		return fmt.Errorf("inherit from spare agent %s: %w", spare, err)
	}
	return a.ledger.write(func(p *page) { *p = was })
}
