package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/atomicfile"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/remedy"
)

// birth is what is kept of an agent that was created while we ran: its file makes
// it one of ours at every later start.
type birth struct {
	Created time.Time `json:"created"`
}

func birthPath(data, name string) string { return filepath.Join(agentDir(data, name), "agent.json") }

// agentNames are the agents to run: those configured, then those created.
func agentNames(cfg config.Config) ([]string, error) {
	names := slices.Clone(cfg.Agents)
	files, err := filepath.Glob(birthPath(cfg.Data, "*"))
	if err != nil {
		return nil, fmt.Errorf("look for agents: %w", err)
	}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		if config.CheckAgentName(name) == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// create makes an agent, out of a spare when there is one, and runs it.
func (s *server) create(ctx context.Context, name string) (link string, err error) {
	return s.createFrom(ctx, name, nil)
}

// createFrom makes an agent and runs it. fill, unless nil, puts into its empty home
// what it begins with.
func (s *server) createFrom(_ context.Context, name string, fill func(home string) error) (link string, err error) {
	s.births.Lock()
	defer s.births.Unlock()
	if err := config.CheckAgentName(name); err != nil {
		return "", err
	}
	if strings.HasPrefix(name, sparePrefix) {
		return "", fmt.Errorf("%w: names that begin with %s are for agents that nobody has yet; choose another", config.ErrInvalid, sparePrefix)
	}
	if _, ok := s.fleet.Agent(name); ok {
		return "", remedy.With(fmt.Errorf("%w: %s", agent.ErrTaken, name), "choose another name; `moltworker agent ls` lists those taken")
	}
	if err := s.refuseLeftovers(name); err != nil {
		return "", err
	}
	a, err := s.bear(name, fill)
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(agentDir(s.cfg.Data, name)))
	}
	if err := s.fleet.Add(a); err != nil {
		return "", err
	}
	s.keepSafe(a)
	s.follow(s.running, a)
	// The first use of an agent that sleeps wakes it; its maker wants to see it.
	go func() {
		ctx, cancel := context.WithTimeout(s.running, time.Minute)
		defer cancel()
		a.Wake(ctx, "its first day")
	}()
	return s.link(name), nil
}

// refuseLeftovers protects the home of an agent that ran here once.
func (s *server) refuseLeftovers(name string) error {
	dir := agentDir(s.cfg.Data, name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return remedy.With(fmt.Errorf("%w: %s is there from an earlier agent", agent.ErrTaken, dir),
		fmt.Sprintf("add %s to MOLTWORKER_AGENTS to have that agent back, or move the directory away", name))
}

// bear makes the agent and what is kept of it.
func (s *server) bear(name string, fill func(home string) error) (*agent.Agent, error) {
	inherit := func(*agent.Agent) error { return nil }
	if fill != nil {
		home := filepath.Join(agentDir(s.cfg.Data, name), "home")
		if err := os.MkdirAll(filepath.Dir(home), 0o700); err != nil {
			return nil, fmt.Errorf("make agent directory: %w", err)
		}
		if err := fill(home); err != nil {
			return nil, err
		}
	} else if spare, dir, ok := s.pool.Take(); ok {
		images, err := s.maker.images(spare, dir)
		if err == nil {
			err = s.secrets.moveToken(spare, name)
		}
		if err != nil {
			return nil, err
		}
		inherit = func(a *agent.Agent) error { return a.Inherit(spare, dir, images) }
	}
	if err := s.secrets.ensureToken(name); err != nil {
		return nil, err
	}
	a, err := s.maker.agent(name)
	if err != nil {
		return nil, err
	}
	if err := inherit(a); err != nil {
		s.log.Warn("a new agent boots: the spare was of no use", "agent", name, "err", err)
	}
	if err := writeBirth(s.cfg.Data, name, time.Now()); err != nil {
		return nil, errors.Join(err, a.Abandon())
	}
	return a, nil
}

// writeBirth makes an agent one of those that are run from now on.
func writeBirth(data, name string, at time.Time) error {
	content, err := json.Marshal(birth{at.UTC()})
	if err == nil {
		err = atomicfile.Write(birthPath(data, name), content, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep a record of the agent: %w", err)
	}
	return nil
}

// remove stops an agent and sets aside what it has.
func (s *server) remove(ctx context.Context, name string) (kept string, err error) {
	s.births.Lock()
	defer s.births.Unlock()
	a, ok := s.fleet.Agent(name)
	if !ok {
		return "", fmt.Errorf("%w: %s", agent.ErrNoAgent, name)
	}
	name = a.Name()
	if slices.Contains(s.cfg.Agents, name) {
		return "", remedy.With(fmt.Errorf("agent %s is in the configuration", name),
			"take it out of MOLTWORKER_AGENTS and start `moltworker up` again; main cannot be removed")
	}
	s.letGo(ctx, name)
	if err := s.fleet.Remove(ctx, name); err != nil {
		return "", err
	}
	if err := os.RemoveAll(filepath.Join(agentDir(s.cfg.Data, name), "images")); err != nil {
		return "", fmt.Errorf("remove the image of %s: %w", name, err)
	}
	removed := filepath.Join(s.cfg.Data, "removed")
	if err := os.MkdirAll(removed, 0o700); err != nil {
		return "", fmt.Errorf("set agent %s aside: %w", name, err)
	}
	kept = filepath.Join(removed, name+"-"+time.Now().UTC().Format("20060102T150405.000"))
	if err := os.Rename(agentDir(s.cfg.Data, name), kept); err != nil {
		return "", fmt.Errorf("set agent %s aside: %w", name, err)
	}
	return kept, s.secrets.dropToken(name)
}
