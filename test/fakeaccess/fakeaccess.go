// Package fakeaccess is a strict fake of a team of Cloudflare Access, for tests:
// the address of its signing keys, and the tokens that Access adds to requests it
// lets through. Every part of a token can be forged.
//
// It must not know who calls it: it imports nothing of the product.
package fakeaccess

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// CertsPath is where a team's signing keys are.
const CertsPath = "/cdn-cgi/access/certs"

// Team is the fake. It serves its keys as an http.Handler, and directly to an
// http.Client whose Transport it is.
type Team struct {
	// Issuer is the team's address without a slash at its end.
	Issuer string
	// Now is the clock of tokens; nil is the real one.
	Now func() time.Time

	mu      sync.Mutex
	keys    []Key            // guarded by mu: the one in use, then the one before
	fetches int              // guarded by mu
	broken  http.HandlerFunc // guarded by mu
}

// Key is one signing key.
type Key struct {
	ID      string
	Private *rsa.PrivateKey
}

// NewKey makes a key with an ID of its own.
func NewKey() Key {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // the system has no random numbers
	}
	sum := sha256.Sum256(private.N.Bytes())
	return Key{hex.EncodeToString(sum[:]), private}
}

// New makes a team with that address and one key.
func New(issuer string) *Team { return &Team{Issuer: issuer, keys: []Key{NewKey()}} }

// Start makes a team that listens on an address of this machine, which is its
// Issuer too, until the server is closed.
func Start() (*Team, *httptest.Server) {
	t := New("")
	server := httptest.NewServer(t)
	t.Issuer = server.URL
	return t, server
}

// Rotate makes a new key. The one before counts on, as Access has it for a week;
// older ones are gone.
func (t *Team) Rotate() Key {
	made := NewKey()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keys = []Key{made, t.keys[0]}
	return made
}

// Current is the key that signs.
func (t *Team) Current() Key {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.keys[0]
}

// Break answers everything in another way; nil mends it.
func (t *Team) Break(how http.HandlerFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken = how
}

// Fetches is how many requests have come, good and bad.
func (t *Team) Fetches() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fetches
}

// ServeHTTP answers what Access answers at the address of the keys, and refuses
// everything else.
func (t *Team) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	t.fetches++
	keys, broken := t.keys, t.broken
	t.mu.Unlock()
	switch {
	case broken != nil:
		broken(w, r)
	case r.URL.Path != CertsPath || r.URL.RawQuery != "":
		http.NotFound(w, r)
	case r.Method != http.MethodGet:
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
	case r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "":
		http.Error(w, "this address needs no credentials", http.StatusBadRequest)
	default:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(KeySet(keys...))
	}
}

// RoundTrip answers a client without a network. A handler that waits is given up
// when the client gives up.
func (t *Team) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.ServeHTTP(answer, r)
	}()
	select {
	case <-done:
		resp := answer.Result()
		resp.Request = r
		return resp, nil
	case <-r.Context().Done():
		<-done // handlers wait for the same context
		return nil, r.Context().Err()
	}
}

// KeySet is what the address of the keys answers. The real one has the keys as
// certificates too.
func KeySet(keys ...Key) any {
	set := []jose.JSONWebKey{}
	for _, k := range keys {
		set = append(set, jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: "RS256", Use: "sig"})
	}
	return map[string]any{"keys": set, "public_cert": map[string]string{}, "public_certs": []any{}}
}

// Claims are what a token says. Setting one to nil takes it out.
type Claims map[string]any

// Person is what Access says of somebody who has signed in, for a day.
func (t *Team) Person(audience, email string) Claims {
	return t.app(audience, Claims{"email": email, "sub": "7335d417-61da-459d-899c-0a01c76a2f94", "identity_nonce": "6ei69kawdKzMIAPF", "country": "US"})
}

// Service is what Access says of a program with a service token.
func (t *Team) Service(audience, clientID string) Claims {
	return t.app(audience, Claims{"common_name": clientID, "sub": ""})
}

func (t *Team) app(audience string, c Claims) Claims {
	now := time.Now()
	if t.Now != nil {
		now = t.Now()
	}
	return Claims{"type": "app", "aud": []string{audience}, "iss": t.Issuer,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(24 * time.Hour).Unix()}.With(c)
}

// With is the claims with others over them.
func (c Claims) With(others Claims) Claims {
	both := Claims{}
	for _, from := range []Claims{c, others} {
		for name, value := range from {
			both[name] = value
			if value == nil {
				delete(both, name)
			}
		}
	}
	return both
}

// Token is the claims signed as Access signs them.
func (t *Team) Token(c Claims) string {
	k := t.Current()
	return Sign(k.Private, "RS256", k.ID, c)
}

// Sign signs claims with any key and algorithm that fit each other.
func Sign(key any, algorithm, keyID string, claims any) string {
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", keyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key}, options)
	if err != nil {
		panic(fmt.Sprintf("sign with %s: %v", algorithm, err))
	}
	signed, err := signer.Sign(text(claims))
	if err != nil {
		panic(fmt.Sprintf("sign with %s: %v", algorithm, err))
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return compact
}

// Forge puts a token together from parts that need not fit each other. header and
// claims are strings, taken as they are, or values to write as JSON.
func Forge(header, claims any, signature []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode(text(header)) + "." + encode(text(claims)) + "." + encode(signature)
}

func text(v any) []byte {
	if s, ok := v.(string); ok {
		return []byte(s)
	}
	written, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return written
}
