// Package aigateway owns the model calls of agents: which paths exist, where
// each goes, the key it goes with, and how the answer comes back byte for byte.
//
// A call is one straight line: read the whole request body (bounded), look up
// the upstream and its key, send, copy the answer as it arrives. The guest
// never sees a key: whatever credential it sends is dropped, and the real one is
// set towards the configured upstream only. Redirects are not followed.
//
// A stream that breaks off never looks complete: the client gets the protocol's
// own error event and then an aborted connection.
//
// The package must not know OpenClaw's configuration, the guest or the link,
// nor who may call: the host gives the agent's name with [Gateway.Handler], and
// nothing in a request changes it.
package aigateway

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/budget"
	"github.com/moltworker/moltworker/internal/aigateway/cache"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/demo"
	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/internal/aigateway/price"
	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/internal/aigateway/route"
)

// Options says where the gateway finds what it needs. Only Settings is required.
type Options struct {
	// Settings gives the values that named settings have at this moment: keys and base
	// URLs of providers (see package provider). It is asked on every call, so a new
	// value counts at once, and must be quick and safe for concurrent use.
	Settings func() provider.Settings

	// Prices is the table of prices that counts now. Without it no price is known.
	Prices func() *price.Table
	// Budget says what may be spent. Without it anything may.
	Budget *budget.Ledger
	// Calls keeps a record of every call. Without it only the log has one.
	Calls *calllog.Log
	// Export is told of every call that is recorded, without what was said; nil: nobody
	// is. It must not wait.
	Export func(calllog.Call)

	// Windows bound how often each caller calls, and how many tokens it moves.
	Windows []*limit.Window
	// Gate bounds how many calls are under way at once. Without it only each caller's
	// own are bounded.
	Gate *limit.Gate

	// Cache keeps answers for their caller. Without it none are kept.
	Cache *cache.Store
	// CacheScope says who shares answers; nil: each caller has only its own.
	CacheScope func(caller string) cache.Scope
	// CacheTTL is how long answers are kept where a request does not say; 0: not.
	CacheTTL time.Duration

	// Routes say which models a call tries in turn. Without it each tries the one that
	// it asks for.
	Routes func() *route.Table

	// Guards are the guardrails of a caller; nil checks nothing.
	Guards func(caller string) *guardrail.Rules

	// Payloads blot out of what was said in calls what must not be kept with their
	// records. Without them nothing that was said is kept.
	Payloads *guardrail.Rules

	// Trigger says why an agent makes a call. Without it that is not known.
	Trigger func(Prompt) string
	// ByPerson are the triggers behind which a person waits for the answer.
	ByPerson map[string]bool

	Transport http.RoundTripper
	Log       *slog.Logger
	Timeouts  Timeouts
	Now       func() time.Time // time.Now
}

// Caller is who calls.
type Caller struct {
	Name    string // of the agent; of a program from outside, with a "@" before it
	Trigger string // "" where it is to be told from the call
	Trusted bool   // may say what a call costs, and that it is not to be recorded
}

// Timeouts bound the waits of a call. Zero means the default.
type Timeouts struct {
	Body   time.Duration // for the whole request body; default 1 min
	Header time.Duration // until the upstream's answer begins; default 10 min
	Idle   time.Duration // without any progress of an answer; default 5 min
	// Comment is the silence after which a program from outside gets a comment in its
	// event stream; default 15 s.
	Comment time.Duration
}

func (t Timeouts) orDefaults() Timeouts {
	set := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	set(&t.Body, time.Minute)
	set(&t.Header, 10*time.Minute)
	set(&t.Idle, 5*time.Minute)
	set(&t.Comment, 15*time.Second)
	return t
}

// Gateway answers the model calls of all agents.
type Gateway struct {
	opts   Options
	demo   demo.Model
	signer provider.Signer
	flight *cache.Flight

	mu    sync.Mutex
	loads map[string]*load // guarded by mu: by caller
	lanes map[string]*lane // guarded by mu: by provider
}

// New makes a gateway. It fails when a configured base URL cannot be used.
func New(o Options) (*Gateway, error) {
	if o.Settings == nil {
		return nil, errors.New("aigateway: Options.Settings is missing")
	}
	if o.Prices == nil {
		o.Prices = func() *price.Table { return nil }
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Timeouts = o.Timeouts.orDefaults()
	g := &Gateway{opts: o, loads: map[string]*load{}, lanes: map[string]*lane{}, flight: cache.NewFlight(maxCalls, o.Timeouts.Header)}
	g.signer.Now, g.signer.Transport = o.Now, o.Transport
	return g, provider.Check(o.Settings())
}

// newTransport reaches providers: long answers, no compression (streams are
// passed on as they are, and identity is what is asked for).
func newTransport() http.RoundTripper {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 256 << 10,
	}
}

// Handler answers the calls of one agent. The server that runs it must bound
// headers (ReadHeaderTimeout, MaxHeaderBytes) and have no ReadTimeout or
// WriteTimeout: from the body on the gateway keeps its own time. Where an answer
// broke off the handler panics with [http.ErrAbortHandler]; whatever wraps it
// must let that through.
func (g *Gateway) Handler(agent string) http.Handler {
	from := Caller{Name: agent}
	l := g.loadOf(agent)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.answer(w, r, from, l) })
}

// Outside answers the calls of programs that are no agents: /ai/PROVIDER/... and, as
// Cloudflare's AI Gateway has it, /v1/ACCOUNT/GATEWAY/PROVIDER/... who names the
// program of a request, which was let in already. What [Gateway.Handler] asks of its
// server holds here too.
func (g *Gateway) Outside(who func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "@" + who(r)
		g.answer(w, inner(r), Caller{Name: name, Trigger: TriggerOutside, Trusted: true}, g.loadOf(name))
	})
}

// TriggerOutside is the reason for the calls of programs that are no agents.
const TriggerOutside = "outside"

// inner is a request as agents make it: the provider is the first part of its path.
func inner(r *http.Request) *http.Request {
	path := r.URL.EscapedPath()
	skip := 1 // "/ai"
	if strings.HasPrefix(path, "/v1/") {
		skip = 3 // "/v1/account/gateway"
	}
	for range skip {
		_, rest, _ := strings.Cut(path[1:], "/")
		path = "/" + rest
	}
	asked := r.Clone(r.Context())
	asked.URL.Path, asked.URL.RawPath = path, path
	if plain, err := url.PathUnescape(path); err == nil {
		asked.URL.Path = plain
	}
	return asked
}

func (g *Gateway) answer(w http.ResponseWriter, r *http.Request, from Caller, l *load) {
	now := g.opts.Now()
	c := call{g: g, id: g.newID(), from: from, load: l, w: w, r: r, start: now}
	served := false
	defer func() {
		if !served {
			c.settle() // what is held is given back, whatever went wrong
		}
	}()
	err := c.serve()
	served = true
	c.finish(err)
}

func (g *Gateway) newID() calllog.ID {
	if g.opts.Calls == nil {
		return calllog.ID{}
	}
	return g.opts.Calls.NewID()
}

// loadOf returns the one load of a caller, however many handlers it has.
func (g *Gateway) loadOf(name string) *load {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.loads[name] == nil {
		g.loads[name] = &load{}
	}
	return g.loads[name]
}
