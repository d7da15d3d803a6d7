// Package fakeoidc is a strict fake of an OpenID Connect provider, for tests:
// discovery, authorization code with PKCE, signed id_tokens. It refuses what the
// real ones refuse and much that some of them let pass: a code counts once, for a
// minute, for one redirect address and verifier. Whoever asks is signed in at once
// as [Provider.User].
//
// It must not know who calls it: it imports nothing of the product.
package fakeoidc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The provider's endpoints.
const (
	Discovery = "/.well-known/openid-configuration"
	Authorize = "/authorize"
	Token     = "/token"
	Keys      = "/keys"
)

// codeLife is how long a code counts.
const codeLife = time.Minute

// User is who signs in.
type User struct {
	Subject  string
	Email    string
	Verified any // as email_verified is written; nil leaves it out
	Name     string
}

// Provider is the fake. It serves as an http.Handler, and directly to an
// http.Client whose Transport it is. Its fields must not change while requests
// are under way.
type Provider struct {
	Issuer       string // its address, without a slash at its end
	ClientID     string
	ClientSecret string   // "" for a client without one
	RedirectURLs []string // to which it sends browsers back
	Algorithm    string   // RS256, ES256 or EdDSA; "" is RS256
	User         User
	Now          func() time.Time // nil is the real clock

	// Faults.
	Deny    string                           // the error that everybody is sent back with
	Change  func(claims map[string]any)      // changes what an id_token says
	Forge   func(idToken string) string      // changes an id_token
	Answer  func(answer map[string]any)      // changes what the token endpoint answers
	Publish func(description map[string]any) // changes what discovery says
	Broken  func(http.ResponseWriter, *http.Request) bool

	mu       sync.Mutex
	requests []string         // guarded by mu
	codes    map[string]grant // guarded by mu
	keys     map[string]crypto.Signer
}

// grant is what a code counts for.
type grant struct {
	redirect, challenge, nonce string
	until                      time.Time
}

// Start makes a provider that listens on an address of this machine, which is its
// Issuer too, until the server is closed. It has a client moltworker with the
// secret hush, for that redirect address, and ann@example.com signs in.
func Start(redirectURLs ...string) (*Provider, *httptest.Server) {
	p := New("", redirectURLs...)
	server := httptest.NewServer(p)
	p.Issuer = server.URL
	return p, server
}

// New is Start without a server.
func New(issuer string, redirectURLs ...string) *Provider {
	return &Provider{Issuer: issuer, ClientID: "moltworker", ClientSecret: "hush", RedirectURLs: redirectURLs,
		User: User{Subject: "248289761001", Email: "ann@example.com", Verified: true, Name: "Ann Example"}}
}

// Requests are those that have come: "GET /authorize".
func (p *Provider) Requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Count is how many of Requests there are of one kind.
func (p *Provider) Count(request string) int {
	n := 0
	for _, r := range p.Requests() {
		if r == request {
			n++
		}
	}
	return n
}

func (p *Provider) now() time.Time {
	if p.Now != nil {
		return p.Now()
	}
	return time.Now()
}

// ServeHTTP answers a browser and its client.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := r.Method + " " + r.URL.Path
	p.mu.Lock()
	p.requests = append(p.requests, request)
	p.mu.Unlock()
	if p.Broken != nil && p.Broken(w, r) {
		return
	}
	issuer, err := url.Parse(p.Issuer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	switch strings.Replace(request, " "+strings.TrimRight(issuer.Path, "/"), " ", 1) {
	case "GET " + Discovery:
		p.describe(w)
	case "GET " + Authorize:
		p.authorize(w, r)
	case "POST " + Token:
		p.token(w, r)
	case "GET " + Keys:
		writeJSON(w, http.StatusOK, map[string]any{"keys": []jose.JSONWebKey{{Key: p.Key().Public(), KeyID: p.keyID(), Algorithm: p.algorithm(), Use: "sig"}}})
	default:
		http.NotFound(w, r)
	}
}

// RoundTrip answers a client without a network.
func (p *Provider) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	p.ServeHTTP(answer, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp := answer.Result()
	resp.Request = r
	return resp, nil
}

func (p *Provider) describe(w http.ResponseWriter) {
	base := strings.TrimRight(p.Issuer, "/")
	methods := []string{"client_secret_basic"}
	if p.ClientSecret == "" {
		methods = []string{"none"}
	}
	description := map[string]any{"issuer": p.Issuer, "authorization_endpoint": base + Authorize, "token_endpoint": base + Token, "jwks_uri": base + Keys,
		"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "code_challenge_methods_supported": []string{"S256"},
		"id_token_signing_alg_values_supported": []string{p.algorithm()}, "token_endpoint_auth_methods_supported": methods,
		"authorization_response_iss_parameter_supported": true}
	if p.Publish != nil {
		p.Publish(description)
	}
	writeJSON(w, http.StatusOK, description)
}

// authorize shows a client's mistakes to the browser when it is not clear whose
// they are, and sends it back otherwise.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		http.Error(w, "the query cannot be read", http.StatusBadRequest)
		return
	}
	for name, values := range q {
		if len(values) != 1 {
			http.Error(w, name+" is there more than once", http.StatusBadRequest)
			return
		}
	}
	if q.Get("client_id") != p.ClientID || !slices.Contains(p.RedirectURLs, q.Get("redirect_uri")) {
		http.Error(w, fmt.Sprintf("no client %q with the redirect_uri %q", q.Get("client_id"), q.Get("redirect_uri")), http.StatusBadRequest)
		return
	}
	back := url.Values{"state": {q.Get("state")}, "iss": {p.Issuer}}
	scopes := strings.Fields(q.Get("scope"))
	switch {
	case p.Deny != "":
		back.Set("error", p.Deny)
		back.Set("error_description", "because the test says so")
	case q.Get("response_type") != "code":
		back.Set("error", "unsupported_response_type")
	case !slices.Contains(scopes, "openid") || !slices.Contains(scopes, "email"):
		back.Set("error", "invalid_scope")
	case len(q.Get("state")) < 16 || len(q.Get("nonce")) < 16 || q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43:
		back.Set("error", "invalid_request")
	default:
		code := rand.Text()
		p.mu.Lock()
		if p.codes == nil {
			p.codes = map[string]grant{}
		}
		p.codes[code] = grant{q.Get("redirect_uri"), q.Get("code_challenge"), q.Get("nonce"), p.now().Add(codeLife)}
		p.mu.Unlock()
		back.Set("code", code)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, code, why string) {
		writeJSON(w, status, map[string]any{"error": code, "error_description": why})
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || r.URL.RawQuery != "" || r.ParseForm() != nil {
		fail(http.StatusBadRequest, "invalid_request", "no form")
		return
	}
	if !p.isClient(r) {
		w.Header().Set("WWW-Authenticate", "Basic")
		fail(http.StatusUnauthorized, "invalid_client", "wrong client or secret")
		return
	}
	if r.PostForm.Get("grant_type") != "authorization_code" {
		fail(http.StatusBadRequest, "unsupported_grant_type", r.PostForm.Get("grant_type"))
		return
	}
	code := r.PostForm.Get("code")
	p.mu.Lock()
	g, ok := p.codes[code]
	delete(p.codes, code)
	p.mu.Unlock()
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	switch {
	case !ok || !p.now().Before(g.until):
		fail(http.StatusBadRequest, "invalid_grant", "no such code, or used already")
	case r.PostForm.Get("redirect_uri") != g.redirect:
		fail(http.StatusBadRequest, "invalid_grant", "another redirect_uri")
	case base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge:
		fail(http.StatusBadRequest, "invalid_grant", "another code_verifier")
	default:
		answer := map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "expires_in": 300, "id_token": p.idToken(g.nonce)}
		if p.Answer != nil {
			p.Answer(answer)
		}
		w.Header().Set("Cache-Control", "no-store")
		writeJSON(w, http.StatusOK, answer)
	}
}

// isClient says whether the client has proved itself in the one way for it.
func (p *Provider) isClient(r *http.Request) bool {
	id, given, basic := r.BasicAuth()
	if p.ClientSecret == "" {
		return !basic && r.PostForm.Get("client_id") == p.ClientID && !r.PostForm.Has("client_secret")
	}
	return basic && id == url.QueryEscape(p.ClientID) && given == url.QueryEscape(p.ClientSecret) && !r.PostForm.Has("client_secret")
}

func (p *Provider) idToken(nonce string) string {
	now := p.now()
	claims := map[string]any{"iss": p.Issuer, "aud": p.ClientID, "sub": p.User.Subject, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"nonce": nonce, "email": p.User.Email, "name": p.User.Name}
	if p.User.Verified != nil {
		claims["email_verified"] = p.User.Verified
	}
	if p.Change != nil {
		p.Change(claims)
	}
	token := Sign(p.Key(), p.algorithm(), p.keyID(), claims)
	if p.Forge != nil {
		token = p.Forge(token)
	}
	return token
}

func (p *Provider) algorithm() string {
	if p.Algorithm == "" {
		return "RS256"
	}
	return p.Algorithm
}

func (p *Provider) keyID() string { return "key-" + p.algorithm() }

// Key is the one that signs id_tokens.
func (p *Provider) Key() crypto.Signer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		p.keys = map[string]crypto.Signer{}
	}
	if p.keys[p.algorithm()] == nil {
		p.keys[p.algorithm()] = newKey(p.algorithm())
	}
	return p.keys[p.algorithm()]
}

func newKey(algorithm string) (key crypto.Signer) {
	var err error
	switch algorithm {
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		panic(err) // the system has no random numbers
	}
	return key
}

// Sign signs claims with any key and algorithm that fit each other.
func Sign(key any, algorithm, keyID string, claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", keyID))
	if err != nil {
		panic(fmt.Sprintf("sign with %s: %v", algorithm, err))
	}
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	signed, err := signer.Sign(text)
	if err != nil {
		panic(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return compact
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
