package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/admin"
	"github.com/moltworker/moltworker/internal/aigateway"
	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/cache"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/internal/aigateway/otel"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/internal/aigateway/route"
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
	routes  *route.Table   // nil: there are none
	told    *otel.Exporter // nil: no collector is told
}

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
	if m.routes, err = loadRoutes(filepath.Join(s.cfg.Data, routesFile)); err != nil {
		return m, err
	}
	log := s.log.With("part", "aigateway")
	m.calls, err = calllog.Open(ctx, calllog.Options{
		Path: filepath.Join(dir, "calls.sqlite"),
		Fail: func(err error, dropped int64) {
			log.Error("model calls cannot be recorded", "err", err, "dropped", dropped)
		},
		PayloadAge: s.cfg.ModelPayloads, MaxPayloadBytes: payloadSpace(s.cfg.ModelPayloads),
	})
	if err != nil {
		return m, err
	}
	if m.told, err = tellCollector(ctx, s.secrets.view(), log); err != nil {
		return m, err
	}
	windows, gate, err := limits(s.cfg)
	if err != nil {
		return m, err
	}
	options := aigateway.Options{
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
		CacheScope: func(caller string) cache.Scope {
			if slices.Contains(s.cfg.ModelCacheShared, caller) {
				return cache.Scope{Name: "agents", Shared: true}
			}
			return cache.Scope{Name: caller}
		},
		Routes: func() *route.Table { return m.routes },
		Log:    log,
	}
	if m.told != nil {
		options.Export = m.told.Add
	}
	if s.cfg.ModelPayloads > 0 {
		if options.Payloads, err = guardrail.New(key).Compile(unkept); err != nil {
			return m, err
		}
	}
	m.gateway, err = aigateway.New(options)
	return m, err
}

// unkept is what is taken out of what was said before it is kept.
var unkept = guardrail.Policy{Rules: []guardrail.Rule{
	{Check: guardrail.Secrets, Direction: guardrail.Request, Action: guardrail.Redact},
	{Check: guardrail.Secrets, Direction: guardrail.Response, Action: guardrail.Redact},
	{Check: guardrail.PII, Direction: guardrail.Request, Action: guardrail.Redact},
	{Check: guardrail.PII, Direction: guardrail.Response, Action: guardrail.Redact},
}}

// payloadSpace bounds the file of what was said, in bytes; 0 where nothing is kept.
func payloadSpace(age time.Duration) int64 {
	if age <= 0 {
		return 0
	}
	return 4 << 30
}

// tellCollector begins to tell an OpenTelemetry collector of calls; nil where none is
// set.
func tellCollector(ctx context.Context, get func(string) (string, bool), log *slog.Logger) (*otel.Exporter, error) {
	endpoint, _ := get("OTEL_EXPORTER_OTLP_ENDPOINT")
	if endpoint == "" {
		return nil, nil
	}
	headers, _ := get("OTEL_EXPORTER_OTLP_HEADERS")
	pairs, err := headerPairs(headers)
	if err != nil {
		return nil, err
	}
	return otel.New(ctx, otel.Options{
		Endpoint: endpoint, Headers: pairs, Version: Version().Moltworker,
		Fail: func(err error) { log.Warn("the OpenTelemetry collector could not be told of model calls", "err", err) },
	})
}

// headerPairs reads NAME=VALUE pairs, whose values may be percent-encoded
// (OpenTelemetry protocol exporter, specifying headers).
func headerPairs(v string) (map[string]string, error) {
	pairs := map[string]string{}
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, value, ok := strings.Cut(item, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !ok || err != nil || name == "" {
			return nil, remedy.With(errors.New("OTEL_EXPORTER_OTLP_HEADERS is no list of NAME=VALUE pairs"), "write it like authorization=Bearer%20TOKEN,x-team=a")
		}
		pairs[name] = value
	}
	return pairs, nil
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
	if m.told != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		errs = append(errs, m.told.Close(ctx))
	}
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
	return &admin.Models{Calls: m.calls, Budget: m.ledger, Prices: func() *price.Table { return m.prices }, Routes: func() *route.Table { return m.routes }}
}

// outside answers programs that call models by the edge, which has let them in.
func (m *models) outside() http.Handler {
	return m.gateway.Outside(func(r *http.Request) string { return access.From(r.Context()).Name })
}
