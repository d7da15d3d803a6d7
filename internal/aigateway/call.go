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
)

// call is one request on its way through the gateway.
type call struct {
	g     *Gateway
	agent string
	load  *load
	w     http.ResponseWriter
	r     *http.Request
	rc    *http.ResponseController
	start time.Time

	form  *form
	ep    endpoint
	ask   ask
	up    upstream
	watch *watch
	begun bool   // the answer's header is on its way: errors can no longer be answers
	meter *meter // of the stream; nil while the answer is none
	rec   record
}

var (
	errClientGone = &failure{status: statusClientGone, gone: true, msg: "the client went away"}
	errSlowBody   = fail(http.StatusRequestTimeout, "the request body did not arrive in time")
)

// serve takes the call along its line. What it returns is told to the client by
// finish, once.
func (c *call) serve() (err error) {
	c.ep, err = route(c.r)
	c.form = c.ep.provider.form
	c.rec = record{endpoint: c.ep.path, provider: c.ep.provider.name, tokens: usage{-1, -1}}
	if err != nil {
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
	c.ask = readAsk(b.bytes())
	c.rec.in, c.rec.model = int64(len(b.bytes())), c.ask.model

	if c.up, err = c.g.resolve(c.ep.provider); err != nil {
		return err
	}
	resp, err := c.send(ctx, b)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return c.relay(resp)
}

// because prefers the reason why the watch ended the call to what broke by it.
func (c *call) because(err error) error {
	if why := c.watch.expired(); why != nil {
		return why
	}
	return err
}

// send forwards the request from memory, to the upstream and nowhere else: a
// RoundTripper does not follow redirects.
func (c *call) send(ctx context.Context, b *body) (*http.Response, error) {
	req := (&http.Request{
		Method: c.ep.method,
		URL:    c.up.at(c.ep.path, c.r.URL.RawQuery),
		Header: c.requestHeader(c.up),
	}).WithContext(ctx)
	if n := len(b.bytes()); n > 0 {
		req.ContentLength, req.GetBody = int64(n), b.open
		req.Body, _ = b.open()
	}
	wait := c.g.opts.Timeouts.Header
	c.watch.phase(wait, fail(http.StatusGatewayTimeout, fmt.Sprintf("%s did not begin to answer within %v", c.up.base.Host, wait)))
	resp, err := c.transport().RoundTrip(req)
	if err != nil {
		return nil, c.because(c.unreachable(err))
	}
	return resp, nil
}

func (c *call) transport() http.RoundTripper {
	if c.ep.provider == demoProvider {
		return c.g.demo
	}
	return c.g.opts.Transport
}

// unreachable says what went wrong on the way to the upstream.
func (c *call) unreachable(err error) error {
	if c.r.Context().Err() != nil {
		return errClientGone
	}
	return &failure{status: http.StatusBadGateway, cause: err, msg: fmt.Sprintf("the model's server %s %s; check this host's network, or %s",
		c.up.base.Host, reason(err), c.up.baseName)}
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

// finish is the one place that turns an error into what the client sees, and
// logs the call.
func (c *call) finish(err error) {
	f := asFailure(err)
	switch {
	case f == nil:
	case f.gone:
	case !c.begun:
		c.rec.out = int64(f.writeTo(c.w, c.form))
	case c.meter != nil:
		c.endBroken(f)
	}
	if f != nil && (!c.begun || f.gone) {
		c.rec.status = f.status
	}
	c.log(err)
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
	event := append([]byte(c.meter.gap()), c.form.errorSSE(f.status, f.msg)...)
	if n, err := c.w.Write(event); err == nil {
		c.rec.out += int64(n)
		_ = c.rc.Flush() // the connection is closed next in any case
	}
}
