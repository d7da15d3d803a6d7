package aigateway

import (
	"net/http"

	"github.com/moltworker/moltworker/internal/aigateway/guardrail"
)

// inspect has the caller's guardrails look at the request: what they find is
// recorded, what they blot out never leaves, what they refuse is not sent.
func (c *call) inspect(b *body) error {
	if c.g.opts.Guards == nil {
		return nil
	}
	c.rules = c.g.opts.Guards(c.from.Name)
	report := c.rules.Examine(c.subject(guardrail.Request), b.bytes())
	c.found(report)
	if report.Blocked {
		return &failure{status: http.StatusBadRequest, kind: "guardrail", msg: report.Reason()}
	}
	if c.asked.ep.Paid && !c.rules.AllowsModel(c.model) { // named in a form, or not at all
		return c.forbidden()
	}
	if report.Body != nil {
		b.replace(report.Body)
	}
	return nil
}

// forbidden says that the caller may not use the model.
func (c *call) forbidden() error {
	if c.model == "" {
		return refused("guardrail", "this agent may use some models only, and the call names none")
	}
	return refused("guardrail", "this agent may not use the model "+c.model)
}

// listen has the guardrails look at a stream while it passes. What they have seen has
// gone, so they can only tell, or end it.
func (c *call) listen() {
	c.heard = c.rules.Stream(c.subject(guardrail.Response))
}

// examine looks at a whole answer before it goes to the caller.
func (c *call) examine(doc []byte) ([]byte, error) {
	report := c.rules.Examine(c.subject(guardrail.Response), doc)
	c.found(report)
	switch {
	case report.Blocked:
		return nil, &failure{status: http.StatusBadGateway, kind: "guardrail", final: true, msg: report.Reason()}
	case report.Body != nil:
		return report.Body, nil
	}
	return doc, nil
}

func (c *call) subject(d guardrail.Direction) guardrail.Subject {
	return guardrail.Subject{Direction: d, Caller: c.from.Name, Provider: c.to.name, Model: c.model}
}

// found notes what was found: never the thing itself.
func (c *call) found(report guardrail.Report) {
	for _, f := range report.Findings {
		note := f.Check + ": " + f.Kind
		if f.Action != guardrail.Flag {
			note += " (" + string(f.Action) + ")"
		}
		c.note(note + " at " + f.Path)
	}
}
