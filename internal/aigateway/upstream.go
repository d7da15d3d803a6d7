package aigateway

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/provider"
	"github.com/moltworker/moltworker/internal/aigateway/route"
)

// upstream is where one call goes, and what it may go with.
type upstream struct {
	url      *url.URL
	setting  string // to look at when calls there fail
	keys     []provider.Credential
	chained  bool
	withheld []string // values that must be in no answer and no log; set once a key is chosen
}

// demoURL names the demo model in places that need a URL; nothing is dialled.
var demoURL = &url.URL{Scheme: "http", Host: "demo.invalid", Path: "/v1/messages"}

// Ready reports whether calls to a provider can be sent: it has a key and a usable
// base URL.
func (g *Gateway) Ready(name string) bool {
	if name == provider.Demo {
		return true
	}
	p, ok := provider.Lookup(name)
	if !ok {
		return false
	}
	get := g.opts.Settings()
	place, err := p.Place(get)
	if err != nil {
		return false
	}
	_, err = place.Credentials(get)
	return err == nil
}

// Reaches reports whether calls to "provider/model" can be sent, or there is a route
// for "dynamic/NAME".
func (g *Gateway) Reaches(model string) bool {
	if name, ok := strings.CutPrefix(model, route.Prefix); ok {
		return g.opts.Routes != nil && g.opts.Routes().Has(name)
	}
	name, _, _ := strings.Cut(model, "/")
	return g.Ready(name)
}

// resolve finds where a call to t goes now.
func (g *Gateway) resolve(t target, rawQuery string) (upstream, error) {
	if t.demo {
		return upstream{url: demoURL, keys: []provider.Credential{{}}}, nil
	}
	get := g.opts.Settings()
	place, err := t.ep.Provider.Place(get)
	if err != nil {
		return upstream{}, &failure{status: http.StatusInternalServerError, why: route.Unauthorized, msg: err.Error()}
	}
	up := upstream{setting: place.Setting, chained: place.Chained}
	if up.url, err = place.URL(t.ep, rawQuery); err != nil {
		return upstream{}, &failure{status: http.StatusNotFound, msg: err.Error()}
	}
	up.keys, err = place.Credentials(get)
	var missing *provider.MissingError
	switch {
	case errors.As(err, &missing):
		return upstream{}, &failure{status: http.StatusUnauthorized, why: route.Unauthorized, msg: missing.Error()}
	case err != nil:
		return upstream{}, &failure{status: http.StatusUnauthorized, why: route.Unauthorized, msg: err.Error()}
	}
	return up, nil
}

// compat turns a call in the one form into one of the provider that its model
// names, and the body and the model's name into what goes there.
func (g *Gateway) compat(t target, doc []byte, model string) (target, []byte, string, error) {
	if name, ok := strings.CutPrefix(model, route.Prefix); ok && name != "" {
		t.compat, t.route = false, name
		return t, doc, model, nil
	}
	p, wire, ok := provider.Compat(model)
	if !ok {
		return t, nil, model, fail(http.StatusBadRequest, "name the model as provider/model, such as anthropic/claude-sonnet-4-5")
	}
	ep, err := p.Chat(wire, g.opts.Settings())
	if err != nil {
		return t, nil, model, &failure{status: http.StatusBadRequest, msg: err.Error()}
	}
	t.compat, t.name, t.ep, t.logPath = false, p.Name, ep, ep.Path()
	return t, withModel(doc, wire), wire, nil
}

// withModel is a document with another model, or with one where it names none;
// everything else is byte for byte the same.
func withModel(doc []byte, model string) []byte {
	var out []byte
	eachMember(doc, func(key, value []byte) bool {
		if string(key) != `"model"` {
			return true
		}
		at := cap(doc) - cap(value) // value is a part of doc
		out = append(out, doc[:at]...)
		out = append(out, marshal(model)...)
		out = append(out, doc[at+len(value):]...)
		return false
	})
	if rest := skipSpace(doc); out == nil && len(rest) > 0 && rest[0] == '{' {
		out = append(append([]byte(`{"model":`), marshal(model)...), ',')
		if rest = skipSpace(rest[1:]); len(rest) > 0 && rest[0] == '}' {
			out = out[:len(out)-1]
		}
		out = append(out, rest...)
	}
	return out
}
