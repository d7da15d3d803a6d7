package server

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/agent"
	"github.com/moltworker/moltworker/internal/aigateway"
	"github.com/moltworker/moltworker/internal/image"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/sandbox"
)

// maker makes agents.
type maker struct {
	s      *server
	ai     *aigateway.Gateway
	driver sandbox.Driver
	binary string
	turns  chan struct{} // of wakes; see agent.Options
	boots  chan struct{} // of boots
}

// agents makes every agent there is to be: those configured and those created.
func (s *server) agents(driver sandbox.Driver, binary string) (*agent.Fleet, error) {
	s.maker = &maker{s, s.models.gateway, driver, binary, make(chan struct{}, runtime.NumCPU()), make(chan struct{}, runtime.NumCPU())}
	var all []*agent.Agent
	for _, name := range s.names {
		a, err := s.maker.agent(name)
		if err != nil {
			return nil, fmt.Errorf("agent %s: %w", name, err)
		}
		all = append(all, a)
	}
	return agent.NewFleet(all...)
}

// agent makes the agent of that name.
func (m *maker) agent(name string) (*agent.Agent, error) {
	opts, err := m.options(name, agentDir(m.s.cfg.Data, name), m.s.cfg.SleepAfter)
	if err != nil {
		return nil, err
	}
	opts.Prepare = m.s.prepare(name)
	return agent.New(opts)
}

// spare makes an agent for the pool. Nobody can reach it, and it sleeps when it is
// told to.
func (m *maker) spare(name, dir string) (*agent.Agent, error) {
	if err := m.s.secrets.ensureToken(name); err != nil {
		return nil, err
	}
	return m.make(name, dir, 0)
}

func (m *maker) make(name, dir string, sleepAfter time.Duration) (*agent.Agent, error) {
	opts, err := m.options(name, dir, sleepAfter)
	if err != nil {
		return nil, err
	}
	return agent.New(opts)
}

func (m *maker) options(name, dir string, sleepAfter time.Duration) (agent.Options, error) {
	cfg := m.s.cfg
	images, err := m.images(name, dir)
	if err != nil {
		return agent.Options{}, err
	}
	return agent.Options{
		Name:   name,
		Dir:    dir,
		ID:     sandboxID(cfg.Data, name),
		Driver: m.driver,
		Limits: sandbox.Limits{Memory: cfg.Memory, CPUs: cfg.CPUs, PIDs: cfg.PIDs, Scratch: cfg.Scratch},

		Runtime:     m.s.install.wait,
		Binary:      m.binary,
		Settings:    func() (openclaw.Settings, error) { return m.s.settings(m.ai, name), nil },
		AI:          m.ai.Handler(name),
		SleepAfter:  sleepAfter,
		Images:      images,
		Turns:       m.turns,
		Boots:       m.boots,
		BootTimeout: cfg.BootTimeout,
		TimeZone:    timeZone(),
		Log:         m.s.log,
	}, nil
}

// images opens the store of an agent's images, sealed with a key of its own.
func (m *maker) images(name, dir string) (*image.Store, error) {
	policy, err := image.ParsePolicy(m.s.cfg.ImageSeal)
	if err != nil {
		return nil, err
	}
	return image.Open(filepath.Join(dir, "images"), image.Options{
		Key:         func() ([]byte, error) { return m.s.secrets.store.Derive("images of " + name) },
		Encrypt:     policy,
		VerifyAfter: time.Hour,
		Log:         m.s.log.With("agent", name),
	})
}

// settings is what OpenClaw is to be configured with now.
func (s *server) settings(ai *aigateway.Gateway, name string) openclaw.Settings {
	set := openclaw.Settings{
		Token:          s.secrets.token(name),
		AllowedOrigins: s.origin.allowed(name),
		Providers:      openclaw.Providers(ai.Ready("anthropic") && !s.cfg.Demo, ai.Ready("openai") && !s.cfg.Demo),
		Model:          s.cfg.Model,
	}
	provider, _, _ := strings.Cut(s.cfg.Model, "/")
	if provider != "" && provider != "anthropic" && provider != "openai" && !s.cfg.Demo && ai.Reaches(s.cfg.Model) {
		set.Providers = append(set.Providers, openclaw.Compat(s.cfg.Model))
		set.Model = openclaw.ProviderCompat + "/" + s.cfg.Model
	}
	return set
}

// sandboxID names an agent's sandbox uniquely on this machine: control groups
// are shared by all data directories.
func sandboxID(data, name string) string {
	sum := sha256.Sum256([]byte(data + "\x00" + name)) // long names share their beginning
	return name[:min(len(name), 31)] + "-" + hex.EncodeToString(sum[:4])
}
