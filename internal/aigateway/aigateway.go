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
	"sync"
	"sync/atomic"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/demo"
)

// Options says where the gateway finds what it needs. Only Secrets is required.
type Options struct {
	// Secrets gives the current value of a named setting: ANTHROPIC_API_KEY,
	// OPENAI_API_KEY, AI_GATEWAY_API_KEY, and the base URLs named in Upstreams.
	// It is asked on every call, so a new value counts at once, and must be
	// quick and safe for concurrent use.
	Secrets func(name string) (value string, ok bool)

	Upstreams Upstreams // used where Secrets has no base URL
	Transport http.RoundTripper
	Log       *slog.Logger
	Timeouts  Timeouts
}

// Upstreams are base URLs from the configuration; empty means the provider's
// public API.
type Upstreams struct {
	Anthropic string // ANTHROPIC_BASE_URL; "/v1/messages" is appended
	OpenAI    string // OPENAI_BASE_URL; "/chat/completions" is appended
	AIGateway string // AI_GATEWAY_BASE_URL; ends in /anthropic or /openai and takes that provider's place
}

// Timeouts bound the waits of a call. Zero means the default.
type Timeouts struct {
	Body   time.Duration // for the whole request body; default 1 min
	Header time.Duration // until the upstream's answer begins; default 10 min
	Idle   time.Duration // without any progress of an answer; default 5 min
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
	return t
}

// Gateway answers the model calls of all agents.
type Gateway struct {
	opts  Options
	demo  demo.Model
	bases map[*provider]*atomic.Pointer[base] // last base URL seen, parsed

	mu     sync.Mutex
	agents map[string]*load // guarded by mu
}

// New makes a gateway. It fails when a configured base URL cannot be used.
func New(o Options) (*Gateway, error) {
	if o.Secrets == nil {
		return nil, errors.New("aigateway: Options.Secrets is missing")
	}
	if o.Transport == nil {
		o.Transport = newTransport()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Timeouts = o.Timeouts.orDefaults()
	g := &Gateway{opts: o, agents: map[string]*load{}, bases: map[*provider]*atomic.Pointer[base]{
		anthropic: {}, openai: {},
	}}
	return g, g.checkBases()
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
	l := g.loadOf(agent)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := call{g: g, agent: agent, load: l, w: w, r: r, start: time.Now()}
		c.finish(c.serve())
	})
}

// loadOf returns the one load counter of an agent, however many handlers it has.
func (g *Gateway) loadOf(agent string) *load {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.agents[agent] == nil {
		g.agents[agent] = &load{}
	}
	return g.agents[agent]
}
