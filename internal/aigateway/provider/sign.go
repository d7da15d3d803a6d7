package provider

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Signer authenticates calls. The zero value is ready; it must not be copied once
// used. It is safe for concurrent use.
type Signer struct {
	Now       func() time.Time  // default time.Now
	Transport http.RoundTripper // for tokens of Google accounts; default http.DefaultTransport
	TokenURL  string            // where these come from; default Google's. For tests.

	flights singleflight.Group
	mu      sync.Mutex
	tokens  map[tokenKey]token // guarded by mu
}

func (s *Signer) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// Sign makes req, whose URL is that of [Place.URL] for ep, a call with credential c.
// All credentials that req came with are taken away. The body is what will be sent;
// it is only read. For a Google account Sign may wait for a token, at most until
// req's context ends. Errors hold no part of a credential.
func (s *Signer) Sign(req *http.Request, ep Endpoint, c Credential, body []byte) error {
	Strip(req.Header, nil)
	if req.Header == nil {
		req.Header = http.Header{}
	}
	if c.s == nil {
		return nil
	}
	if c.s().gateway != "" {
		req.Header["Cf-Aig-Authorization"] = []string{"Bearer " + c.s().gateway}
	}
	if c.s().key == "" {
		return nil
	}
	switch c.s().style {
	case aws:
		s.signAWS(req, ep, c.s(), body)
		return nil
	case serviceAccount:
		t, err := s.accessToken(req.Context(), c)
		if err != nil {
			return err
		}
		setKey(req.Header, bearer, t)
		return nil
	}
	setKey(req.Header, keyStyle(ep, c.s()), c.s().key)
	return nil
}

// Secrets are the values of a credential that whoever is called has seen, or that
// were set for it: they must be in no answer and in no log. For a Google account they
// are the token in use.
func (s *Signer) Secrets(c Credential) []string {
	if c.s == nil {
		return nil
	}
	key := c.s().key
	if c.s().style == serviceAccount {
		s.mu.Lock()
		key = s.tokens[sha256.Sum256([]byte(c.s().key))].value
		s.mu.Unlock()
	}
	return slices.DeleteFunc([]string{key, c.s().session, c.s().gateway}, func(v string) bool { return v == "" })
}

// keyStyle is the header a key goes into. Anthropic's and Google's compatible paths
// are called as OpenAI's are, with a bearer token; Anthropic's API at Bedrock takes
// a bearer token of Bedrock as it takes its own keys, which Cloudflare does for us.
func keyStyle(ep Endpoint, c *secrets) style {
	switch {
	case ep.rule == nil:
		return c.style
	case c.style == google && len(ep.rule.in) > 1 && ep.rule.in[1].lit == "openai":
		return bearer
	case c.style == xAPIKey && ep.rule.in[len(ep.rule.in)-1].lit == "completions":
		return bearer
	case ep.mantle() && ep.rule.out[0].lit == "anthropic" && !c.chained:
		return xAPIKey
	}
	return c.style
}

func setKey(h http.Header, st style, key string) {
	switch st {
	case xAPIKey:
		h["X-Api-Key"] = []string{key}
	case apiKey:
		h["Api-Key"] = []string{key}
	case google:
		h["X-Goog-Api-Key"] = []string{key}
	default:
		h["Authorization"] = []string{"Bearer " + key}
	}
}

// signAWS signs for AWS itself, also where Cloudflare's gateway is in between: it
// passes on what was signed (its documentation of Bedrock, client-side signing).
func (s *Signer) signAWS(req *http.Request, ep Endpoint, c *secrets, body []byte) {
	r := sigRequest{
		method: req.Method, host: req.URL.Host, path: req.URL.EscapedPath(), query: req.URL.RawQuery,
		header: req.Header, body: body,
	}
	if c.chained {
		r.host, r.path = bedrockHost(&ep), strictPath(ep.write(ep.rule.out))
	}
	service := "bedrock"
	if ep.mantle() {
		service = "bedrock-mantle"
	}
	scope := sigScope{id: c.id, secret: c.key, session: c.session, region: ep.arg("region"), service: service}
	scope.sign(r, []string{"content-type"}, s.now())
}
