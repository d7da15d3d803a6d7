package aigateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/route"
	"github.com/moltworker/moltworker/internal/aigateway/translate"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// maxErrorBody bounds what is read of an upstream's error.
const maxErrorBody = 1 << 20

var copyPool = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// relay passes the upstream's answer on.
func (c *call) relay(resp *http.Response) error {
	c.rec.first = c.since()
	idle := c.g.opts.Timeouts.Idle
	c.watch.phase(idle, fail(http.StatusGatewayTimeout, fmt.Sprintf("the model's answer stopped: nothing came for %v", idle)))
	if resp.StatusCode >= 400 {
		return c.relayError(resp)
	}
	if err := c.refuse(resp); err != nil {
		err.why, err.sent = route.Unavailable, true
		return err
	}
	c.rec.status, c.consumed = resp.StatusCode, c.to.ep.Paid
	copyHeader(c.w.Header(), resp.Header, c.up.withheld)
	c.w.Header().Set("Cf-Aig-Step", strconv.Itoa(c.stepNumber()))
	framing := usage.FramingOf(resp.Header.Get("Content-Type"))
	c.meter = usage.NewMeter(c.to.ep.Kind, framing)
	c.meter.Headed(resp.Header)
	c.sse = framing == usage.SSE
	c.stream = c.sse || framing == usage.NDJSON || framing == usage.EventStream
	if c.api != "" {
		if err := c.relayTranslated(resp, framing); err != nil || !c.stream {
			return err
		}
	}
	if c.stream {
		c.keepAnswer(resp)
		c.listen()
		c.w.Header().Del("Content-Length") // an error event may have to be added
		c.begin()
		if err := c.rc.Flush(); err != nil {
			return c.because(gone(err))
		}
		return c.copy(resp.Body, true)
	}
	if c.rules.LooksAt(guardrail.Response) && framing == usage.JSON {
		return c.relayExamined(resp)
	}
	c.keepAnswer(resp)
	return c.copy(&patient{in: resp.Body, progress: func() { c.watch.progress(idle) }}, resp.ContentLength < 0)
}

// refuse finds answers that must not or cannot be passed on.
func (c *call) refuse(resp *http.Response) *failure {
	look := "; look at " + c.up.setting
	switch code := resp.StatusCode; {
	case code >= 300:
		return fail(http.StatusBadGateway, fmt.Sprintf("the model's server %s answered with a redirect (%d), which is not followed because the key must not go elsewhere%s", c.up.url.Host, code, look))
	case code < 200:
		return fail(http.StatusBadGateway, fmt.Sprintf("the model's server %s answered %d, which is no answer to a model call%s", c.up.url.Host, code, look))
	}
	if isCompressed(resp.Header) {
		return fail(http.StatusBadGateway, fmt.Sprintf("the model's server %s compressed its answer though it was asked not to%s", c.up.url.Host, look))
	}
	if mediaType(resp.Header) == "text/html" {
		return fail(http.StatusBadGateway, fmt.Sprintf("%s answered with a web page, so it is no model API%s", c.up.url.Host, look))
	}
	return nil
}

func isCompressed(h http.Header) bool {
	e := h.Get("Content-Encoding")
	return e != "" && !strings.EqualFold(e, "identity")
}

// patient fills the whole buffer on its first Read. So a short answer that is no
// stream is all there before its header goes out, and one that breaks off can
// still become an error.
type patient struct {
	in       io.Reader
	progress func()
	begun    bool
}

func (p *patient) Read(buf []byte) (n int, err error) {
	if p.begun {
		return p.in.Read(buf)
	}
	p.begun = true
	for n < len(buf) && err == nil {
		var m int
		m, err = p.in.Read(buf[n:])
		n += m
		p.progress()
	}
	return n, err
}

func (c *call) begin() {
	c.begun = true
	c.w.WriteHeader(c.rec.status)
}

// copy passes the body on as it arrives.
func (c *call) copy(src io.Reader, flush bool) error {
	guard := newKeyGuard(c.up.withheld...)
	buf := copyPool.Get().(*[]byte)
	defer copyPool.Put(buf)
	pass, quiet := func(p []byte) error { return c.pass(&guard, p, flush) }, func() {}
	if c.sse && c.from.Trusted {
		m := newMurmur(c, &guard)
		defer m.stop()
		pass, quiet = func(p []byte) error { return m.while(func() error { return c.pass(&guard, p, flush) }) }, m.stop
	}
	for {
		n, err := src.Read(*buf)
		if n > 0 && (c.begun || err == nil || err == io.EOF) {
			if err := pass((*buf)[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			quiet() // what is written now is the end
		}
		if err == io.EOF {
			return c.end(&guard)
		}
		if err != nil {
			return c.cut(err, &guard)
		}
	}
}

// pass hands one piece to the client.
func (c *call) pass(guard *keyGuard, p []byte, flush bool) error {
	c.meter.Write(p)
	p, err := guard.pass(p)
	if err != nil {
		return c.echoed(err)
	}
	if p, err = c.turn(p); err != nil {
		return errors.Join(err, c.write(p))
	}
	_, _ = c.heard.Write(p) // which never fails
	if why, stop := c.heard.Blocked(); stop {
		return &failure{status: http.StatusBadGateway, kind: "guardrail", final: true, msg: why}
	}
	if err := c.write(p); err != nil {
		return err
	}
	c.watch.progress(c.g.opts.Timeouts.Idle)
	if !flush {
		return nil
	}
	if err := c.rc.Flush(); err != nil {
		return c.because(gone(err))
	}
	return nil
}

// echoed is said of an answer that holds the key.
func (c *call) echoed(err error) error {
	return &failure{status: http.StatusBadGateway, cause: err,
		msg: "the model's server put the API key into its answer, which was stopped; look at " + c.up.setting}
}

func (c *call) write(p []byte) error {
	if !c.begun {
		c.begin()
	}
	n, err := c.w.Write(p)
	c.rec.out += int64(n)
	if err != nil {
		return c.because(gone(err))
	}
	_, _ = c.recorder.Write(p) // which never fails
	c.said.hear(p)
	return nil
}

func gone(err error) error {
	return &failure{status: statusClientGone, gone: true, msg: errClientGone.msg, cause: err}
}

// end is reached when the upstream ended its answer without an error.
func (c *call) end(guard *keyGuard) error {
	if c.stream && !c.meter.Complete() {
		return fail(http.StatusBadGateway, "the model's answer broke off before its end")
	}
	p, err := c.turnLast(guard.rest())
	return errors.Join(c.write(p), err)
}

// cut is reached when the upstream's answer ended in an error.
func (c *call) cut(err error, guard *keyGuard) error {
	if c.stream && c.meter.Complete() {
		return c.end(guard) // all of it was there; only the connection's end was not
	}
	if c.r.Context().Err() != nil && c.watch.expired() == nil {
		return gone(err)
	}
	return c.because(&failure{status: http.StatusBadGateway, cause: err, msg: "the model's answer broke off before its end"})
}

// relayError passes on an error of the upstream: as it is when it is the API's
// JSON, without the key should it hold it; else in our words.
func (c *call) relayError(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil && c.r.Context().Err() != nil {
		return gone(err)
	}
	if isCompressed(resp.Header) || !json.Valid(body) {
		return &failure{status: resp.StatusCode, kind: "upstream", cause: err, retryAfter: c.retryAfter(resp),
			msg: strings.TrimSpace(fmt.Sprintf("%s answered %d %s", c.up.url.Host, resp.StatusCode, http.StatusText(resp.StatusCode)))}
	}
	if body = scrub(body, c.up.withheld); c.api != "" {
		body = translate.Error(body, resp.StatusCode, c.api, apiOf(c.asked.ep.Kind))
	}
	copyHeader(c.w.Header(), resp.Header, c.up.withheld)
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	c.rec.status = resp.StatusCode
	return c.write(body)
}

func (c *call) retryAfter(resp *http.Response) string {
	v := resp.Header.Get("Retry-After")
	if holdsKey([]string{v}, c.up.withheld) {
		return ""
	}
	return v
}
