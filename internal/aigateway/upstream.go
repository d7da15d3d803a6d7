package aigateway

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/moltworker/moltworker/internal/aigateway/provider"
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

// resolve finds where a call to t goes now.
func (g *Gateway) resolve(t target, rawQuery string) (upstream, error) {
	if t.demo {
		return upstream{url: demoURL, keys: []provider.Credential{{}}}, nil
	}
	get := g.opts.Settings()
	place, err := t.ep.Provider.Place(get)
	if err != nil {
		return upstream{}, &failure{status: http.StatusInternalServerError, msg: err.Error()}
	}
	up := upstream{setting: place.Setting, chained: place.Chained}
	if up.url, err = place.URL(t.ep, rawQuery); err != nil {
		return upstream{}, &failure{status: http.StatusNotFound, msg: err.Error()}
	}
	up.keys, err = place.Credentials(get)
	var missing *provider.MissingError
	switch {
	case errors.As(err, &missing):
		return upstream{}, &failure{status: http.StatusUnauthorized, msg: missing.Error()}
	case err != nil:
		return upstream{}, &failure{status: http.StatusUnauthorized, msg: err.Error()}
	}
	return up, nil
}

// compat turns a call in the one form into one of the provider that its model
// names, and the body and the model's name into what goes there.
func (g *Gateway) compat(t target, doc []byte, model string) (target, []byte, string, error) {
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

// withModel is a document with another model; everything else is byte for byte the
// same.
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
	return out
}
