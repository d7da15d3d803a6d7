package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/aigateway"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/cache"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/internal/config"
	"github.com/moltworker/moltworker/internal/openclaw"
	"github.com/moltworker/moltworker/internal/remedy"
)

// models are the AI gateway and its books.
type models struct {
	gateway *aigateway.Gateway
	prices  *price.Table
	ledger  *budget.Ledger
	calls   *calllog.Log
	cache   *cache.Store
}

// pricesFile is where a person puts prices that count before those built in.
const pricesFile = "prices.json"

// openModels makes the AI gateway, and opens its books in the data directory.
func (s *server) openModels(ctx context.Context) (m *models, err error) {
	m = &models{}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	dir := filepath.Join(s.cfg.Data, "models")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return m, fmt.Errorf("make the directory of model calls: %w", err)
	}
	if m.prices, err = loadPrices(filepath.Join(s.cfg.Data, pricesFile)); err != nil {
		return m, err
	}
	if m.ledger, err = budget.Open(budget.Options{Dir: filepath.Join(dir, "budget")}); err != nil {
		return m, err
	}
	key, err := s.secrets.store.Derive("kept answers of models")
	if err != nil {
		return m, err
	}
	if m.cache, err = cache.Open(cache.Options{Dir: filepath.Join(dir, "cache"), SealingKey: key}); err != nil {
		return m, err
	}
	guards, err := loadGuards(filepath.Join(s.cfg.Data, guardsFile), key)
	if err != nil {
		return m, err
	}
	log := s.log.With("part", "aigateway")
	m.calls, err = calllog.Open(ctx, calllog.Options{
		Path: filepath.Join(dir, "calls.sqlite"),
		Fail: func(err error, dropped int64) {
			log.Error("model calls cannot be recorded", "err", err, "dropped", dropped)
		},
	})
	if err != nil {
		return m, err
	}
	windows, gate, err := limits(s.cfg)
	if err != nil {
		return m, err
	}
	m.gateway, err = aigateway.New(aigateway.Options{
		Windows:  windows,
		Gate:     gate,
		Settings: func() provider.Settings { return s.secrets.view() },
		Prices:   func() *price.Table { return m.prices },
		Budget:   m.ledger,
		Calls:    m.calls,
		Cache:    m.cache,
		CacheTTL: s.cfg.ModelCache,
		Guards:   guards,
		Trigger:  func(p aigateway.Prompt) string { return openclaw.Trigger(p.First, p.Last, p.Before) },
		ByPerson: map[string]bool{openclaw.TriggerUser: true, openclaw.TriggerChannel: true},
		Log:      log,
	})
	return m, err
}

// limits are how often agents may call, and how many calls there may be at once: who
// is too many waits for a while, each agent's in turn.
func limits(cfg config.Config) (windows []*limit.Window, gate *limit.Gate, err error) {
	for _, l := range cfg.ModelLimits {
		w, err := limit.NewWindow(limit.WindowOptions{Rate: limit.Rate{Requests: l.Requests, Tokens: l.Tokens, Per: l.Per, Sliding: true}})
		if err != nil {
			return nil, nil, err
		}
		windows = append(windows, w)
	}
	if cfg.ModelCalls > 0 {
		gate = limit.NewGate(limit.GateOptions{Total: cfg.ModelCalls, Queue: 8 * cfg.ModelCalls, Wait: time.Minute})
	}
	return windows, gate, nil
}

// loadPrices is the table of prices, with a person's own over it.
func loadPrices(path string) (*price.Table, error) {
	own, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the prices of models: %w", err)
	}
	table, err := price.Load(own)
	if err != nil {
		return nil, remedy.With(fmt.Errorf("%s: %w", path, err), "correct it, or move it away to use the prices that are built in")
	}
	return table, nil
}

// guardsFile is where a person says what is looked for in agents' calls.
const guardsFile = "guards.json"

// loadGuards compiles the guardrails of agents; nil where there is no file.
func loadGuards(path string, hashKey []byte) (func(caller string) *guardrail.Rules, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the guardrails: %w", err)
	}
	var file struct {
		Default guardrail.Policy            `json:"default"`
		Agents  map[string]guardrail.Policy `json:"agents"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, remedy.With(fmt.Errorf("%s: %w", path, err), "docs/models.md says what it looks like")
	}
	guard := guardrail.New(hashKey)
	usual, err := guard.Compile(file.Default)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	own := map[string]*guardrail.Rules{}
	for name, policy := range file.Agents {
		if own[name], err = guard.Compile(policy); err != nil {
			return nil, fmt.Errorf("%s: agent %s: %w", path, name, err)
		}
	}
	return func(caller string) *guardrail.Rules {
		if rules, ok := own[caller]; ok {
			return rules
		}
		return usual
	}, nil
}

// run writes the record of calls, tells the log of limits that are near, and lets go
// of answers that are too old, until ctx ends.
func (m *models) run(ctx context.Context, s *server) error {
	go func() {
		tidy := time.NewTicker(time.Hour)
		defer tidy.Stop()
		for {
			select {
			case <-tidy.C:
				m.cache.Expire(time.Now())
			case a := <-m.ledger.Alerts():
				s.log.Warn("a limit of model calls", "rule", a.Rule.ID, "agent", a.Agent, "refused", a.Refused,
					"spent", a.Spent.String(), "limit", a.Rule.Limit.String(), "percent", int(100*a.Fraction))
			case <-ctx.Done():
				return
			}
		}
	}()
	return m.calls.Run(ctx)
}

// close puts the books away, after the last call.
func (m *models) close() error {
	var errs []error
	if m.calls != nil {
		errs = append(errs, m.calls.Close())
	}
	if m.cache != nil {
		errs = append(errs, m.cache.Close())
	}
	if m.ledger != nil {
		errs = append(errs, m.ledger.Close())
	}
	return errors.Join(errs...)
}

// forPlane is what the control plane shows and changes of them.
func (m *models) forPlane() *admin.Models {
	return &admin.Models{Calls: m.calls, Budget: m.ledger, Prices: func() *price.Table { return m.prices }}
}

// outside answers programs that call models by the edge, which has let them in.
func (m *models) outside() http.Handler {
	return m.gateway.Outside(func(r *http.Request) string { return access.From(r.Context()).Name })
}
