package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/agent"
)

// forward leads a request that was let in to the agent's gateway.
func (e *Edge) forward(w http.ResponseWriter, r *http.Request, v visit) {
	if unattended(r) {
		switch state := v.backend.Status().State; {
		case state == agent.StateAsleep, state == agent.StateSuspending:
			e.leaveAsleep(w, r, v)
			return
		case state == agent.StateAwake:
			e.pass(w, r, v, func() {}) // answered, and no reason to stay awake
			return
		}
	}
	done, err := e.use(r, v)
	if err != nil {
		e.notReady(w, r, v.backend.Status())
		return
	}
	e.pass(w, r, v, sync.OnceFunc(done))
}

// pass lays the line to a gateway that answers. used is called when the agent is
// not needed for this any more; doing so again changes nothing.
func (e *Edge) pass(w http.ResponseWriter, r *http.Request, v visit, used func()) {
	defer used()
	if isUpgrade(r) {
		e.socket(w, r, v, used)
		return
	}
	// An upgrade to anything but WebSocket is not for the gateway.
	r.Header.Del("Upgrade")
	// HTTP/1 servers drain a request's body before they send the first byte of
	// the answer, and by that can cut off an answer that is sent meanwhile.
	// HTTP/2 is full duplex anyway and refuses the call.
	_ = http.NewResponseController(w).EnableFullDuplex()
	e.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
}

type visitKey struct{}

func visitOf(r *http.Request) visit { return r.Context().Value(visitKey{}).(visit) }

// newProxy makes the HTTP half of the line to the gateways. The standard
// ReverseProxy fits here: with full duplex on and every write flushed, it adds
// no buffering, copies trailers and early hints, and cuts the client's connection
// when the gateway's answer breaks off, so that half an answer never looks whole.
// Its WebSocket half does not fit (it cannot look at frames or end a connection
// whose peer stalls); see socket.
func (e *Edge) newProxy() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:        e.rewrite,
		Transport:      e.newTransport(),
		FlushInterval:  -1,
		BufferPool:     &copyBuffers,
		ModifyResponse: e.reviewResponse,
		ErrorHandler:   e.proxyFailed,
		ErrorLog:       slog.NewLogLogger(e.opts.Log.Handler(), slog.LevelDebug),
	}
}

// newTransport makes connections to gateways. Agents are the hosts of its URLs,
// so each agent has its own bounded pool. A gateway closes connections that were
// idle for 5 s; ours are given up before that.
func (e *Edge) newTransport() *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			name, _, _ := strings.Cut(addr, ":")
			backend, ok := e.opts.Lookup(name)
			if !ok {
				return nil, fmt.Errorf("agent %s is gone", name)
			}
			return e.dial(ctx, backend)
		},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    16,
		MaxConnsPerHost:        128,
		IdleConnTimeout:        4 * time.Second,
		ResponseHeaderTimeout:  10 * time.Minute, // a model may think before it answers
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxResponseHeader,
		WriteBufferSize:        32 << 10,
		ReadBufferSize:         32 << 10,
	}
}

const (
	dialTimeout       = 10 * time.Second
	maxResponseHeader = 256 << 10
)

func (e *Edge) dial(ctx context.Context, b Backend) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return b.DialGateway(ctx)
}

func (e *Edge) rewrite(pr *httputil.ProxyRequest) {
	v := visitOf(pr.In)
	pr.Out.URL.Scheme, pr.Out.URL.Host = "http", v.agent
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // as it came, strange parameters included
	pr.Out.Host = pr.In.Host
	e.outgoing(pr.Out, v)
	if wantsScript(pr.In) {
		pr.Out.Header.Del("Accept-Encoding") // the page is added to
	}
}

// reviewResponse looks at a gateway's answer before the client gets it.
func (e *Edge) reviewResponse(resp *http.Response) error {
	access.StripSetCookie(resp.Header)
	resp.Header.Del("Cross-Origin-Opener-Policy") // ours differs from none, and so parts our windows from the agent's
	resp.Header.Del("Clear-Site-Data")            // would sign its reader out of more than the agent
	resp.Header.Del("Service-Worker-Allowed")
	if resp.StatusCode == http.StatusForbidden && e.misattributed(resp) {
		return errMisattributed
	}
	addScript(resp)
	return nil
}

// errMisattributed: the gateway does not believe our forwarded headers. Then its
// configuration and ours have drifted apart, and nothing a user does will help.
var errMisattributed = errors.New("the gateway refused the edge's forwarded headers (proxy_attribution_required)")

const maxRefusal = 4 << 10

// misattributed looks for that refusal in an answer and leaves the answer as it
// was.
func (e *Edge) misattributed(resp *http.Response) bool {
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		return false
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	rest := io.Reader(resp.Body)
	if err != nil {
		rest = failing{err}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), resp.Body}
	return bytes.Contains(head, []byte("proxy_attribution_required"))
}

// failing is a reader that reports an error met earlier.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// proxyFailed answers a request that the gateway did not.
func (e *Edge) proxyFailed(w http.ResponseWriter, r *http.Request, err error) {
	v := visitOf(r)
	e.gatewayFailed(w, r, v, err)
}

// gatewayFailed tells people what an error on the way to the gateway means.
func (e *Edge) gatewayFailed(w http.ResponseWriter, r *http.Request, v visit, err error) {
	switch {
	case r.Context().Err() != nil:
		e.opts.Log.Debug("client left before the gateway answered", "agent", v.agent, "path", r.URL.Path)
		panic(http.ErrAbortHandler)
	case errors.Is(err, errMisattributed):
		e.opts.Log.Error("the gateway refuses what the edge says about its clients: gateway.trustedProxies in the agent's openclaw.json must be [\"127.0.0.1\"]; run `moltworker agent restart "+v.agent+"` to have it written anew", "agent", v.agent)
		answer(w, r, problem{status: http.StatusBadGateway, kind: "proxy_attribution_required", title: "The gateway does not trust its own front door",
			message: "Agent " + v.agent + " refuses what moltworker says about where requests come from. Its configuration was changed.",
			remedy:  "Run `moltworker agent restart " + v.agent + "`: it writes `gateway.trustedProxies` anew."})
	default:
		e.opts.Log.Warn("gateway did not answer", "agent", v.agent, "path", r.URL.Path, "error", err)
		e.notReady(w, r, v.backend.Status())
	}
}

// copyBuffers are what bytes are copied through.
var copyBuffers bufferPool

type bufferPool struct{ pool sync.Pool }

const copyBufferSize = 32 << 10

func (p *bufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[copyBufferSize]byte); ok {
		return b[:]
	}
	return make([]byte, copyBufferSize)
}

func (p *bufferPool) Put(b []byte) { p.pool.Put((*[copyBufferSize]byte)(b)) }
