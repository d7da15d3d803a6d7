package aigateway

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/internal/aigateway/route"
	"github.com/moltworker/moltworker/internal/aigateway/translate"
	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// head points the call to where step i leads, and returns the body that goes there:
// b itself where that is what was asked for.
func (c *call) head(b *body, i int) (*body, error) {
	if c.items != nil {
		return c.headItem(i)
	}
	c.to, c.model, c.api = c.asked, c.ask.model, ""
	query, doc := c.r.URL.RawQuery, b
	if name := c.step.Model; name != "" && name != c.asked.name+"/"+c.ask.model {
		var err error
		if doc, query, err = c.redirect(b, name); err != nil {
			return nil, err
		}
	} else if c.asked.route != "" {
		return nil, fail(http.StatusBadRequest, fmt.Sprintf("step %d of the route %q names no model, and the call does not either", c.step.Number, c.plan.Route))
	}
	if c.to.ep.Kind == usage.Anthropic && c.api == "" {
		if signed := translate.Signed(doc.bytes()); len(signed) != len(doc.bytes()) {
			doc.replace(signed)
			c.note("left out: thinking of another model")
		}
	}
	err := c.place(query)
	if err != nil && doc != b {
		doc.release()
	}
	return doc, err
}

// place finds where the step's call goes now, and whether its caller may use it.
func (c *call) place(query string) (err error) {
	if c.step.Model != "" && !c.rules.AllowsModel(c.model) {
		return c.forbidden()
	}
	c.up, err = c.g.resolve(c.to, query)
	return err
}

// redirect gives the call another provider and model: in the form of API that it has
// where the provider speaks that, else translated.
func (c *call) redirect(b *body, name string) (*body, string, error) {
	c.to.name, c.model, _ = strings.Cut(name, "/") // for what is said if it cannot be reached
	if !c.asked.redirectable() {
		return nil, "", refused("", "a call of "+c.asked.logPath+" cannot go to another model")
	}
	to, wire, err := c.g.reach(name, c.asked.ep.Kind, c.streams())
	if err != nil {
		return nil, "", err
	}
	to.form = c.asked.form
	query := c.queryFor(to)
	doc := b.bytes()
	switch {
	case to.ep.Kind != c.asked.ep.Kind:
		if doc, err = c.translateRequest(doc, to.ep.Kind, wire); err != nil {
			return nil, "", err
		}
		c.api = apiOf(to.ep.Kind)
	case to.ep.Kind == usage.Gemini: // which has the model in its path
		c.to, c.model = to, shown(wire)
		return b, query, nil
	default:
		doc = withModel(doc, wire)
	}
	other, err := newBody(doc, c.load)
	if err != nil {
		return nil, "", err
	}
	c.to, c.model = to, shown(wire)
	return other, query, nil
}

// queryFor is the query of a call that goes to another target than it asked for.
func (c *call) queryFor(to target) string {
	switch {
	case to.ep.Kind != usage.Gemini:
		if to.name == c.asked.name && to.ep.Kind == c.asked.ep.Kind {
			return c.r.URL.RawQuery
		}
		return ""
	case c.asked.ep.Kind == usage.Gemini: // whose streams have two forms
		if alt := c.r.URL.Query().Get("alt"); alt == "sse" || alt == "json" {
			return "alt=" + alt
		}
		return ""
	case c.streams():
		return "alt=sse"
	}
	return ""
}

// redirectable says whether another model can be asked the same: not all paths of one
// form of answers have one form of requests.
func (t target) redirectable() bool {
	for _, end := range []string{"/chat/completions", "/messages", ":generateContent", ":streamGenerateContent", "/responses", "/embeddings"} {
		if strings.HasSuffix(t.logPath, end) {
			return true
		}
	}
	return t.route != ""
}

// maxSpoken bounds the messages, and their parts, of a request that is translated:
// decoded, each takes many times its bytes.
const maxSpoken = 50_000

// spokenParts counts them.
func spokenParts(doc []byte) (n int) {
	eachMember(doc, func(key, value []byte) bool {
		switch string(key) {
		case `"messages"`, `"contents"`, `"system"`, `"tools"`:
			eachElement(value, func(message []byte) bool {
				n++
				eachMember(message, func(_, parts []byte) bool {
					eachElement(parts, func([]byte) bool { n++; return n <= maxSpoken })
					return n <= maxSpoken
				})
				return n <= maxSpoken
			})
		}
		return n <= maxSpoken
	})
	return n
}

func (c *call) translateRequest(doc []byte, kind usage.Kind, wire string) ([]byte, error) {
	if c.asked.ep.Kind == usage.Gemini && c.streams() && c.r.URL.Query().Get("alt") != "sse" {
		return nil, refused("translation", "a stream without alt=sse has no counterpart at another provider")
	}
	if spokenParts(doc) > maxSpoken {
		return nil, refused("translation", "this call has too many messages to be translated")
	}
	out, lost, err := translate.Request(doc, apiOf(c.asked.ep.Kind), apiOf(kind), translate.RequestOptions{Model: wire, Stream: c.streams()})
	if err != nil {
		return nil, refused("translation", "this call has no counterpart in another provider's API: "+err.Error())
	}
	c.lost = append(c.lost, lost...)
	return out, nil
}

// streams says whether the client asked for a stream.
func (c *call) streams() bool {
	return c.ask.stream || strings.HasSuffix(c.asked.logPath, ":streamGenerateContent")
}

// reach finds the endpoint of a model by "provider/model" that a call of some form
// goes to best: of its own form before others, and a provider's own API before one
// that it offers for compatibility with less in it.
func (g *Gateway) reach(name string, form usage.Kind, stream bool) (target, string, error) {
	if wire, ok := strings.CutPrefix(name, provider.Demo+"/"); ok {
		t := demoTarget()
		if form != usage.Anthropic && apiOf(form) == "" {
			return t, "", refused("", name+" does not speak this form of API")
		}
		return t, wire, nil
	}
	p, wire, ok := provider.Compat(name)
	if !ok {
		return target{}, "", refused("", fmt.Sprintf("%q is no provider/model, such as anthropic/claude-sonnet-4-5", name))
	}
	last := refused("", "")
	for _, kind := range formsFor(form, p.Kind) {
		ep, err := p.At(kind, wire, stream, g.opts.Settings())
		if err == nil {
			return target{name: p.Name, ep: ep, logPath: ep.Path()}, wire, nil
		}
		var missing *provider.MissingError
		if last.msg = err.Error(); errors.As(err, &missing) {
			last.status, last.why = http.StatusUnauthorized, route.Unauthorized
		}
	}
	return target{}, "", last
}

// formsFor are the forms to try, best first, for a call of one form at a provider
// whose own is another. What Anthropic and Google offer for clients of Chat
// Completions has less in it than their own, and refuses a conversation that another
// model began.
func formsFor(form, own usage.Kind) []usage.Kind {
	switch {
	case form == own, apiOf(form) == "":
		return []usage.Kind{form}
	case form == usage.Chat && apiOf(own) != "":
		return []usage.Kind{own, form}
	case apiOf(own) != "":
		return []usage.Kind{form, own, usage.Chat}
	}
	return []usage.Kind{form, usage.Chat}
}

// apiOf is a form of API that is translated; "" for others.
func apiOf(kind usage.Kind) translate.API {
	switch kind {
	case usage.Anthropic:
		return translate.Anthropic
	case usage.Chat:
		return translate.Chat
	case usage.Gemini:
		return translate.Gemini
	}
	return ""
}
