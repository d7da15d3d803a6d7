package aigateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/cache"
	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/internal/aigateway/route"
	"github.com/moltworker/moltworker/internal/aigateway/translate"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// call is one request on its way through the gateway.
type call struct {
	g     *Gateway
	id    calllog.ID
	from  Caller
	load  *load
	w     http.ResponseWriter
	r     *http.Request
	rc    *http.ResponseController
	start time.Time

	wish    wishes
	asked   target // where the client wants to go, and the form it understands
	ask     ask
	trigger string
	plan    route.Plan  // the steps that may be taken, one at a time
	items   []item      // of a universal request; each is a step
	client  http.Header // that the request came with

	// What follows is the step's that is being taken.
	step  route.Step
	to    target
	model string        // by its name there
	api   translate.API // that is spoken there, if it is not the client's; else ""
	spend spend
	up    upstream
	key   provider.Credential // that the answer came by

	watch     *watch
	leaveGate func() // nil: the gate was not entered

	talk     *session     // of a WebSocket that was opened; nil: the call is none
	hijacked bool         // the connection became a WebSocket, and is closed
	begun    bool         // the answer's header is on its way: errors can no longer be answers
	consumed bool         // a model began to answer: it costs something
	meter    *usage.Meter // of the answer; nil while there is none
	stream   bool         // the answer is a stream, whose end is told from its content
	sse      bool         // of server-sent events, to which an error can be added
	tr       *translate.Stream
	lost     translate.Losses // what translation left out
	rec      record

	keep     func(cache.Answer) *cache.Recorder // nil: the answer is not to be kept
	recorder *cache.Recorder                    // of the answer; nil takes nothing down
	rules    *guardrail.Rules                   // of the caller; nil checks nothing
	heard    *guardrail.Stream                  // what they hear of the answer
	said     *said                              // nil: what is said is not kept
	lead     *cache.Lead                        // has calls that ask the same wait for it; nil: none does
}

var (
	errClientGone = &failure{status: statusClientGone, gone: true, kind: "client_gone", msg: "the client went away"}
	errNoTurn     = fail(http.StatusGatewayTimeout, "other calls were waited for too long; try again")
	errSlowBody   = fail(http.StatusRequestTimeout, "the request body did not arrive in time")
)

// serve takes the call along its line. What it returns is told to the client by
// finish, once.
func (c *call) serve() (err error) {
	c.w.Header().Set("Cf-Aig-Log-Id", c.id.String())
	c.client = c.r.Header
	c.wish = readWishes(c.client, c.from.Trusted)
	c.asked, err = find(c.r)
	if c.to = c.asked; err != nil {
		return err
	}
	if err := c.load.enter(); err != nil {
		return err
	}
	defer c.load.leave()

	ctx, cancel := context.WithCancelCause(c.r.Context())
	defer cancel(nil)
	c.rc = http.NewResponseController(c.w)
	c.watch = newWatch(cancel, c.rc)
	defer c.watch.stop()

	if c.asked.ep.WebSocket {
		defer c.exit()
		return c.converse(ctx)
	}
	c.watch.phase(c.g.opts.Timeouts.Body, errSlowBody)
	b, err := readBody(c.r, c.load)
	if err != nil {
		return c.because(err)
	}
	defer b.release()
	c.watch.phase(c.g.opts.Timeouts.Header, errNoTurn)
	begin := c.single
	if c.asked.universal {
		begin = c.readItems
	}
	if err := begin(b); err != nil {
		return err
	}
	defer c.exit()
	return c.walk(ctx, b)
}

// single gets a call ready that is one call.
func (c *call) single(b *body) error {
	if err := c.look(b); err != nil {
		return err
	}
	return c.choose()
}

// look finds out what is asked for, and why.
func (c *call) look(b *body) (err error) {
	c.rec.in = int64(len(b.bytes()))
	c.ask = readAsk(b.bytes())
	if c.asked.ep.Paid && c.ask.twice {
		return fail(http.StatusBadRequest, "the request names its model more than once")
	}
	if c.ask.model == "" {
		if c.ask.model, err = formModel(c.r.Header.Get("Content-Type"), b.bytes()); err != nil {
			return err
		}
	}
	if c.asked.compat {
		var doc []byte
		if c.asked, doc, c.ask.model, err = c.g.compat(c.asked, b.bytes(), c.ask.model); err != nil {
			return err
		}
		b.replace(doc)
		c.to = c.asked
	}
	if c.asked.ep.Model != "" {
		c.ask.model = shown(c.asked.ep.Model)
	}
	c.model = c.ask.model
	c.trigger = c.from.Trigger
	if c.trigger == "" && c.g.opts.Trigger != nil {
		c.trigger = c.g.opts.Trigger(c.ask.prompt)
	}
	if c.g.opts.ByPerson[c.trigger] {
		c.load.spoke(c.start)
	}
	if err := c.inspect(b); err != nil {
		return err
	}
	c.hearRequest(b.bytes())
	return nil
}

// because prefers the reason why the watch ended the call to what broke by it.
func (c *call) because(err error) error {
	if why := c.watch.expired(); why != nil {
		return why
	}
	return err
}

// unreachable says what went wrong on the way to the upstream.
func (c *call) unreachable(err error) error {
	if c.r.Context().Err() != nil {
		return errClientGone
	}
	return &failure{status: http.StatusBadGateway, kind: "unreachable", why: route.Unavailable, sent: true, cause: err, msg: fmt.Sprintf("the model's server %s %s; check this host's network, or %s",
		c.up.url.Host, reason(err), c.up.setting)}
}

// reason puts a network error into words without its details, which are for the
// log.
func reason(err error) string {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return "has no address (its name does not resolve)"
	case errors.As(err, &cert):
		return "has a TLS certificate that is not accepted"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refuses connections"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "cannot be reached (timed out)"
	}
	return "cannot be reached (the connection failed)"
}

// finish is the one place that turns an error into what the client sees, settles
// what the call cost, and logs it.
func (c *call) finish(err error) {
	f := asFailure(err)
	switch {
	case f == nil:
	case f.gone, c.hijacked:
	case !c.begun:
		c.rec.out = int64(f.writeTo(c.w, c.asked.form))
	case c.sse:
		c.endBroken(f)
	}
	if f != nil && (!c.begun || f.gone) {
		c.rec.status = f.status
	}
	c.kept(err)
	c.found(c.heard.Report())
	c.settle()
	c.log(f)
	if f != nil && !c.hijacked && (c.begun || f.gone) {
		panic(http.ErrAbortHandler) // closes the connection; a clean end would be a lie
	}
}

// asFailure gives any error the form that can be told; nil stays nil.
func asFailure(err error) *failure {
	if err == nil {
		return nil
	}
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{status: http.StatusInternalServerError, msg: "the AI gateway failed; its log says why", cause: err}
}

// gap is what must be written so that an event can follow.
func (c *call) gap() string {
	if c.tr != nil {
		return "" // whole events are written only
	}
	return c.meter.Gap()
}

// endBroken puts the protocol's error event at the end of a broken stream.
func (c *call) endBroken(f *failure) {
	event := append([]byte(c.gap()), c.asked.form.errorSSE(f.status, f.msg)...)
	if n, err := c.w.Write(event); err == nil {
		c.rec.out += int64(n)
		_ = c.rc.Flush() // the connection is closed next in any case
	}
}
