package aigateway

import (
	"bytes"
	"encoding/json"

	"github.com/moltworker/moltworker/internal/aigateway/calllog"
	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// maxSaid bounds what is kept of each side of a call, in bytes, before it is looked
// through; the record of calls has a smaller bound of its own.
const maxSaid = 4 << 20

// said is what was said in a call, where that is to be kept; nil where it is not.
type said struct {
	request, response []byte
	cut               bool // of the response
}

// hearRequest notes what was asked.
func (c *call) hearRequest(doc []byte) {
	c.said = nil // of a step before
	if c.g.opts.Payloads == nil || c.g.opts.Calls == nil || c.wish.private || c.wish.unlogged || !c.asked.ep.Paid {
		return
	}
	c.said = &said{}
	if len(doc) <= maxSaid && json.Valid(doc) { // nothing can be blotted out of anything else
		c.said.request = bytes.Clone(doc)
	}
}

// hear notes what is answered.
func (s *said) hear(p []byte) {
	if s == nil || s.cut {
		return
	}
	room := maxSaid - len(s.response)
	s.cut = len(p) > room
	s.response = append(s.response, p[:min(len(p), room)]...)
}

// payload is what was said, without what must not be kept; nil where it is not kept.
// A side in which that cannot be told is left out whole.
func (c *call) payload() *calllog.Payload {
	if c.said == nil {
		return nil
	}
	_ = c.rc.Flush() // whoever waits for the answer need not wait for this
	rules := c.g.opts.Payloads
	p := &calllog.Payload{RequestCut: c.said.request == nil, ResponseCut: c.said.cut}
	p.Request = blotted(rules.Examine(c.subject(guardrail.Request), c.said.request), c.said.request)
	subject := c.subject(guardrail.Response)
	switch usage.FramingOf(c.w.Header().Get("Content-Type")) {
	case usage.SSE, usage.NDJSON:
		p.Response = blotted(rules.ExamineStream(subject, c.said.response), c.said.response)
	case usage.JSON:
		p.Response = blotted(rules.Examine(subject, c.said.response), c.said.response)
	default: // what cannot be looked into is not kept
		p.ResponseCut = true
	}
	p.Request, p.Response = scrub(p.Request, c.up.withheld), scrub(p.Response, c.up.withheld)
	return p
}

func blotted(report guardrail.Report, doc []byte) []byte {
	switch {
	case report.Blocked:
		return nil
	case report.Body != nil:
		return report.Body
	}
	return doc
}
