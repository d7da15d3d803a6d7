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
	"github.com/moltworker/moltworker/internal/aigateway/limit"
	"github.com/moltworker/moltworker/internal/aigateway/provider"
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
	to      target
	ask     ask
	trigger string
	spend   spend
	up      upstream
	key     provider.Credential // that the answer came by
	watch   *watch

	begun    bool         // the answer's header is on its way: errors can no longer be answers
	consumed bool         // a model began to answer: it costs something
	meter    *usage.Meter // of the answer; nil while there is none
	stream   bool         // the answer is a stream, whose end is told from its content
	sse      bool         // of server-sent events, to which an error can be added
	rec      record

	keep     func(cache.Answer) *cache.Recorder // nil: the answer is not to be kept
	recorder *cache.Recorder                    // of the answer; nil takes nothing down
	rules    *guardrail.Rules                   // of the caller; nil checks nothing
	heard    *guardrail.Stream                  // what they hear of the answer
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
	c.wish = readWishes(c.r.Header, c.from.Trusted)
	if c.to, err = route(c.r); err != nil {
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

	c.watch.phase(c.g.opts.Timeouts.Body, errSlowBody)
	b, err := readBody(c.r, c.load)
	if err != nil {
		return c.because(err)
	}
	defer b.release()
	c.watch.phase(c.g.opts.Timeouts.Header, errNoTurn)
	if err := c.look(b); err != nil {
		return err
	}
	if c.up, err = c.g.resolve(c.to, c.r.URL.RawQuery); err != nil {
		return err
	}
	if answered, err := c.recall(ctx, b); answered {
		return err
	}
	if c.g.opts.Gate != nil {
		leave, err := c.g.opts.Gate.Enter(ctx, limit.Key{Agent: c.from.Name})
		if err != nil {
			return c.because(tooMuch(err))
		}
		defer leave()
	}
	if err := c.admit(len(b.bytes())); err != nil {
		return c.tellUser(err)
	}
	resp, err := c.send(ctx, b)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return c.relay(resp)
}

// look finds out what is asked for, and why.
func (c *call) look(b *body) (err error) {
	c.rec.in = int64(len(b.bytes()))
	c.ask = readAsk(b.bytes())
	if c.to.compat {
		var doc []byte
		if c.to, doc, c.ask.model, err = c.g.compat(c.to, b.bytes(), c.ask.model); err != nil {
			return err
		}
		b.replace(doc)
	}
	if c.to.ep.Model != "" {
		c.ask.model = shown(c.to.ep.Model)
	}
	c.trigger = c.from.Trigger
	if c.trigger == "" && c.g.opts.Trigger != nil {
		c.trigger = c.g.opts.Trigger(c.ask.prompt)
	}
	if c.g.opts.ByPerson[c.trigger] {
		c.load.spoke(c.start)
	}
	return c.inspect(b)
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
	return &failure{status: http.StatusBadGateway, kind: "unreachable", cause: err, msg: fmt.Sprintf("the model's server %s %s; check this host's network, or %s",
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
	case f.gone:
	case !c.begun:
		c.rec.out = int64(f.writeTo(c.w, c.to.form))
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
	if f != nil && (c.begun || f.gone) {
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

// endBroken puts the protocol's error event at the end of a broken stream.
func (c *call) endBroken(f *failure) {
	event := append([]byte(c.meter.Gap()), c.to.form.errorSSE(f.status, f.msg)...)
	if n, err := c.w.Write(event); err == nil {
		c.rec.out += int64(n)
		_ = c.rc.Flush() // the connection is closed next in any case
	}
}
