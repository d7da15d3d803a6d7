// Package edge owns our public HTTP server: it finds the agent that a request's
// host name means, asks access who is calling, and lays a straight line to that
// agent's gateway, for HTTP and WebSocket alike. While there is no gateway to
// talk to, it shows people what is going on instead.
//
// It must not know how agents are started or isolated (agent), where tokens are
// kept, or what OpenClaw's errors mean in detail: the last two come in as
// functions.
package edge

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/agent"
)

// A Backend is what edge needs of an agent.
type Backend interface {
	Status() agent.Status
	// Watch delivers the current status at once and then the newest one after
	// each change, until ctx ends and the channel is closed.
	Watch(ctx context.Context) <-chan agent.Status
	// Use says that somebody needs the agent, for what in a word or two: it wakes
	// the agent, waits until its gateway answers and keeps it awake until done is
	// called. When ctx ends first, the waking goes on. It returns at once when the
	// agent is awake already, and with an error when it is stopped or needs a
	// person.
	Use(ctx context.Context, what string) (done func(), err error)
	// DialGateway connects to the agent's gateway, which sees a connection from
	// its own loopback.
	DialGateway(ctx context.Context) (net.Conn, error)
}

// Options say what the edge serves. Lookup, Guard and Log are required.
type Options struct {
	Lookup func(name string) (Backend, bool)
	Guard  *access.Guard
	Log    *slog.Logger

	// BaseDomain makes NAME.BaseDomain mean the agent NAME.
	BaseDomain string
	// PublicURL is where people reach agent main; only its host counts here.
	PublicURL string
	// AdminURL is where the control plane's pages are when they have a host of
	// their own. Without it they share agent main's.
	AdminURL string
	// TrustedProxies are the fronts whose X-Forwarded-For and
	// X-Forwarded-Proto are believed.
	TrustedProxies []netip.Prefix

	// Plane serves the control plane: /_admin/, /api/admin/ and /debug/. It finds
	// the caller and the place of a request in its context (access.From,
	// access.At). Without it these paths find nothing.
	Plane http.Handler
	// Models serves the AI gateway's paths from outside, /ai/ and /v1/. It finds the
	// caller in the request's context. Without it these paths find nothing.
	Models http.Handler
	// Debug says that /debug/ is there, for those who are signed in.
	Debug bool
	// Enter exchanges a ticket that the plane gave somebody who is signed in there
	// for a cookie that opens the agent of this place.
	Enter func(w http.ResponseWriter, r *http.Request, at access.Place, ticket string) error
	// While returns a context that ends with ctx, and with the cause access.ErrEnded
	// when what a caller was let in by has ended. Without it, what is open stays open.
	While func(ctx context.Context, who access.Principal) (context.Context, context.CancelFunc)
	// Refused is told when an agent's gateway turns a client away, with its error
	// code and, when it waits for being paired, that request's ID.
	Refused func(who access.Principal, agent, code, requestID string)
	// Denied is told of every request that was refused for its credentials.
	Denied func(r *http.Request, at access.Place, refusal *access.Refusal)

	// CertFile and KeyFile turn TLS on. They are read again when they change.
	CertFile, KeyFile string

	// Explain puts an error code of the gateway's WebSocket protocol into our
	// terms. Nil leaves the gateway's words alone.
	Explain func(code, requestID, agent string) (text string, ok bool)

	// Passive says of a text message from a client's WebSocket (its first 1 KiB)
	// that nobody is behind it: an open page sends it by itself. Such a message
	// neither wakes the agent nor keeps it awake. When nil, all messages are a use.
	Passive func(message []byte) bool
	// Tick makes a text message that tells a client whose agent sleeps that the
	// line is alive. Nothing is sent when it is nil or makes nothing.
	Tick func(now time.Time) []byte

	Now    func() time.Time // time.Now when nil
	Limits Limits
}

// Limits bound what clients may take. Zero fields get the defaults.
type Limits struct {
	HeaderBytes int           // of one request; more is answered with 431
	Connections int           // open at once, all agents together
	WebSockets  int           // open at once, per agent
	ReadHeader  time.Duration // for a request's header to arrive
	Idle        time.Duration // of a connection between requests
	Stall       time.Duration // of a WebSocket peer that takes no data
	Drain       time.Duration // for the other direction when one has ended
	Shutdown    time.Duration // for requests under way when serving ends
	WaitPage    time.Duration // a navigation waits this long for an agent that wakes or boots
	WaitCall    time.Duration // an API call, a WebSocket or a message on it waits this long
	Tick        time.Duration // of silence before a sleeping agent's client gets Options.Tick
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.HeaderBytes, 64<<10)
	setDefault(&l.Connections, 4096)
	setDefault(&l.WebSockets, 256)
	setDefault(&l.ReadHeader, 10*time.Second)
	setDefault(&l.Idle, 2*time.Minute)
	setDefault(&l.Stall, 2*time.Minute)
	setDefault(&l.Drain, 5*time.Second)
	setDefault(&l.Shutdown, 5*time.Second)
	setDefault(&l.WaitPage, time.Second)
	setDefault(&l.WaitCall, time.Minute) // a boot takes ten to thirty seconds
	setDefault(&l.Tick, 20*time.Second)
	return l
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Edge is the public HTTP server. It is an http.Handler; [Edge.Serve] puts it
// behind listeners with the limits that a public server needs.
type Edge struct {
	opts        Options
	hosts       hosts
	crossOrigin *http.CrossOriginProtection
	proxy       http.Handler
	sockets     semaphores // WebSockets, per agent
	watchers    semaphores // event streams, per agent
	stopping    context.Context
	stop        context.CancelFunc // ends what never ends by itself
}

// New makes an edge.
func New(opts Options) (*Edge, error) {
	if opts.Lookup == nil || opts.Guard == nil || opts.Log == nil {
		return nil, errors.New("edge: Lookup, Guard and Log are required")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Explain == nil {
		opts.Explain = func(string, string, string) (string, bool) { return "", false }
	}
	if opts.Refused == nil {
		opts.Refused = func(access.Principal, string, string, string) {}
	}
	if opts.While == nil {
		opts.While = func(ctx context.Context, _ access.Principal) (context.Context, context.CancelFunc) {
			return ctx, func() {}
		}
	}
	if opts.Denied == nil {
		opts.Denied = func(*http.Request, access.Place, *access.Refusal) {}
	}
	opts.Limits = opts.Limits.withDefaults()
	hosts, err := newHosts(opts.BaseDomain, opts.PublicURL, opts.AdminURL)
	if err != nil {
		return nil, err
	}
	e := &Edge{
		opts:        opts,
		hosts:       hosts,
		crossOrigin: http.NewCrossOriginProtection(),
		sockets:     semaphores{size: opts.Limits.WebSockets},
		watchers:    semaphores{size: maxEventStreams},
	}
	e.stopping, e.stop = context.WithCancel(context.Background())
	e.proxy = e.newProxy()
	return e, nil
}

// ServeHTTP answers one request.
func (e *Edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec, start := &recorder{ResponseWriter: w}, e.opts.Now()
	defer func() {
		e.recover(rec, r, recover())
		e.opts.Log.Debug("request", "method", r.Method, "host", r.Host, "path", r.URL.Path,
			"status", rec.status, "bytes", rec.bytes, "took", e.opts.Now().Sub(start), "from", r.RemoteAddr)
	}()
	e.route(rec, r)
}

// recover turns a panic into a 500 without detail. http.ErrAbortHandler is no
// mistake: it cuts the connection of a response that could not be completed.
func (e *Edge) recover(w *recorder, r *http.Request, cause any) {
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	e.opts.Log.Error("a request made the edge panic", "path", r.URL.Path, "cause", cause, "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	answer(w, r, problem{
		status: http.StatusInternalServerError, kind: "internal_error",
		title:   "Something broke on our side",
		message: "moltworker could not answer this request.",
		remedy:  "Try again; what happened is in the log of `moltworker up`.",
	})
}
