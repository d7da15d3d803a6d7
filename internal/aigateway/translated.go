package aigateway

import (
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/moltworker/moltworker/internal/aigateway/route"
	"github.com/moltworker/moltworker/internal/aigateway/translate"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// maxWhole bounds an answer that is held whole, in bytes.
const maxWhole = 32 << 20

func (c *call) answerOptions() translate.AnswerOptions {
	return translate.AnswerOptions{Model: c.ask.model, ID: c.id.String(), Now: c.g.opts.Now, IncludeUsage: c.ask.includeUsage}
}

// relayTranslated passes on an answer of another API in the client's own.
func (c *call) relayTranslated(resp *http.Response, framing usage.Framing) error {
	if want := c.streams(); want != (framing == usage.SSE) {
		return &failure{status: http.StatusBadGateway, why: route.Unavailable, msg: c.up.url.Host + " did not answer in the way that was asked for, whole or as a stream"}
	}
	h := c.w.Header()
	h.Del("Content-Length")
	if c.stream {
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		c.tr = translate.NewStream(c.api, apiOf(c.asked.ep.Kind), c.answerOptions())
		return nil
	}
	h.Set("Content-Type", "application/json")
	doc, err := c.whole(resp)
	if err != nil {
		return err
	}
	out, lost, err := translate.Answer(doc, c.api, apiOf(c.asked.ep.Kind), c.answerOptions())
	c.lost = append(c.lost, lost...)
	if err != nil {
		return c.garbled(err)
	}
	return c.giveWhole(resp, out)
}

// relayExamined passes on a whole answer that the guardrails see before the client.
func (c *call) relayExamined(resp *http.Response) error {
	doc, err := c.whole(resp)
	if err != nil {
		return err
	}
	return c.giveWhole(resp, doc)
}

// whole reads an answer that is no stream.
func (c *call) whole(resp *http.Response) ([]byte, error) {
	in := &patientReader{c: c, in: resp.Body}
	defer in.release()
	doc, err := io.ReadAll(io.LimitReader(in, maxWhole+1))
	c.meter.Write(doc)
	guard := newKeyGuard(c.up.withheld...)
	switch {
	case err != nil:
		return nil, c.cut(err, &guard)
	case len(doc) > maxWhole:
		return nil, fail(http.StatusBadGateway, "the model's answer is too large to be looked at")
	}
	if _, err := guard.pass(doc); err != nil {
		return nil, c.echoed(err)
	}
	return doc, nil
}

// giveWhole gives a client a whole answer, if the guardrails let it pass.
func (c *call) giveWhole(resp *http.Response, doc []byte) error {
	doc, err := c.examine(doc)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Length", strconv.Itoa(len(doc)))
	c.keepAnswer(resp)
	return c.write(doc)
}

// patientReader notes progress, and books what it reads on the caller.
type patientReader struct {
	c      *call
	in     io.Reader
	booked int
}

func (p *patientReader) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	p.c.watch.progress(p.c.g.opts.Timeouts.Idle)
	if full := p.c.load.reserve(n); full != nil {
		return 0, full
	}
	p.booked += n
	return n, err
}

func (p *patientReader) release() { p.c.load.release(p.booked) }

// turn is a piece of a stream in the client's form; the piece itself where that is
// the provider's too.
func (c *call) turn(p []byte) ([]byte, error) {
	if c.tr == nil {
		return p, nil
	}
	out, err := c.tr.Write(p)
	return out, c.garbled(err)
}

// turnLast is what is left of a stream when it has ended.
func (c *call) turnLast(p []byte) ([]byte, error) {
	if c.tr == nil {
		return p, nil
	}
	first, err := c.tr.Write(p)
	if err != nil {
		return first, c.garbled(err)
	}
	first = append([]byte(nil), first...) // valid until the next call only
	last, err := c.tr.Close()
	return append(first, last...), c.garbled(err)
}

// garbled puts a translator's complaint into an answer.
func (c *call) garbled(err error) error {
	var said *translate.StreamError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said):
		f := &failure{status: said.Status, kind: "upstream", msg: c.safe(said.Error())}
		if f.status < 400 || f.status > 599 {
			f.status = http.StatusBadGateway
		}
		return f
	}
	return &failure{status: http.StatusBadGateway, kind: "translation", cause: err, msg: "the model's answer broke off, or cannot be understood"}
}
