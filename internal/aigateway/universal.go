package aigateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/moltworker/moltworker/internal/aigateway/route"
)

// maxItems is how many calls a universal request may hold.
const maxItems = 10

// item is one of the calls of a universal request, which are tried in turn; as
// Cloudflare's AI Gateway has it (developers.cloudflare.com/ai-gateway, universal
// endpoint). The answer is the provider's own, whichever answers.
type item struct {
	provider string
	endpoint string
	headers  map[string]string
	query    []byte // the body
}

// maxItemHeaders is how many headers one of the calls may have.
const maxItemHeaders = 64

// readItems reads a universal request.
func (c *call) readItems(b *body) error {
	var items []item
	good := json.Valid(b.bytes())
	eachElement(b.bytes(), func(value []byte) bool {
		it, ok := readItem(value)
		good = good && ok && len(items) < maxItems
		items = append(items, it)
		return good
	})
	if !good || len(items) == 0 {
		return fail(http.StatusBadRequest, fmt.Sprintf("send a list of 1 to %d calls, each with provider, endpoint, headers and query", maxItems))
	}
	c.items, c.plan = items, route.InTurn(len(items))
	return nil
}

func readItem(doc []byte) (it item, ok bool) {
	ok = len(doc) > 0 && doc[0] == '{'
	text := func(value []byte) (s string) {
		if len(value) > maxWish || json.Unmarshal(value, &s) != nil {
			ok = false
		}
		return s
	}
	it.headers = map[string]string{}
	eachMember(doc, func(key, value []byte) bool {
		switch string(key) {
		case `"provider"`:
			it.provider = text(value)
		case `"endpoint"`:
			it.endpoint = text(value)
		case `"query"`:
			it.query = value
		case `"headers"`:
			eachMember(value, func(key, value []byte) bool {
				if ok = ok && len(it.headers) < maxItemHeaders; ok {
					it.headers[text(key)] = text(value)
				}
				return ok
			})
		}
		return ok
	})
	return it, ok
}

// headItem points the call to one of a universal request's.
func (c *call) headItem(i int) (*body, error) {
	it := c.items[i]
	path, query, _ := strings.Cut(strings.TrimPrefix(it.endpoint, "/"), "?")
	c.r = c.itemRequest(it, path, query)
	to, err := find(c.r)
	if err != nil || to.ep.WebSocket || to.universal {
		return nil, refused("", fmt.Sprintf("call %d: %s/%s is no path that may be called", i+1, it.provider, path))
	}
	c.asked, c.to, c.api = to, to, ""
	c.wish = readWishes(c.r.Header, c.from.Trusted)
	doc, err := newBody(bytes.Clone(it.query), c.load)
	if err != nil {
		return nil, err
	}
	if err = c.look(doc); err == nil && c.asked.route != "" {
		err = refused("", "a universal request is a route of its own and cannot name one")
	}
	if err == nil {
		c.up, err = c.g.resolve(c.to, query)
	}
	if err != nil {
		doc.release()
		return nil, err
	}
	return doc, nil
}

// itemRequest is the request that a client would have made for one of the calls: with
// the headers of its own over those of the whole.
func (c *call) itemRequest(it item, path, query string) *http.Request {
	r := c.r.WithContext(c.r.Context())
	r.Header = c.client.Clone()
	for name, value := range it.headers {
		r.Header.Set(name, value)
	}
	r.URL = &url.URL{Path: "/" + it.provider + "/" + path, RawQuery: query}
	return r
}
