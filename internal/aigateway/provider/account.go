package provider

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Google service account signs an assertion with its key and is given an access
// token for it (developers.google.com/identity/protocols/oauth2/service-account,
// "HTTP/REST"; RFC 7523).

const (
	// googleTokenURL is where access tokens come from, whatever a file says: the
	// assertion must not go to a stranger.
	googleTokenURL = "https://oauth2.googleapis.com/token"
	googleScope    = "https://www.googleapis.com/auth/cloud-platform"
	assertionGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"

	assertionLife = time.Hour        // the longest that Google takes
	clockSkew     = 10 * time.Second // an assertion begins before now, for clocks behind ours
	renewBefore   = time.Minute      // a token is not used in the last minute of its life
	tokenWait     = 15 * time.Second // for Google's answer
	maxAccount    = 64 << 10         // bytes of a service account
	maxTokenReply = 64 << 10         // bytes of Google's answer
	maxTokens     = 256              // tokens kept at a time
	minKeyBits    = 2048             // what Google makes
	maxKeyBits    = 8192
)

// account is what counts in a service account's file.
type account struct {
	Email   string `json:"client_email"`
	Key     string `json:"private_key"`
	KeyID   string `json:"private_key_id"`
	Project string `json:"project_id"`
}

type tokenKey [sha256.Size]byte

type token struct {
	value string
	until time.Time // not used from then on
}

// accessToken is a token for a service account, a kept one where it will do. Calls
// at the same time share one request, and what it takes does not depend on the call
// that began it.
func (s *Signer) accessToken(ctx context.Context, c Credential) (string, error) {
	id := tokenKey(sha256.Sum256([]byte(c.s().key)))
	s.mu.Lock()
	t, ok := s.tokens[id]
	s.mu.Unlock()
	if ok && s.now().Before(t.until) {
		return t.value, nil
	}
	done := s.flights.DoChan(string(id[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tokenWait)
		defer cancel()
		return s.renew(ctx, id, c)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return "", r.Err
		}
		return r.Val.(string), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// renew asks for a new token and keeps it.
func (s *Signer) renew(ctx context.Context, id tokenKey, c Credential) (string, error) {
	now := s.now()
	assertion, err := assertionOf(c, s.tokenURL(), now)
	if err != nil {
		return "", err
	}
	t, err := s.exchange(ctx, assertion, now)
	if err != nil {
		return "", fmt.Errorf("get an access token for %s: %w", c.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens == nil || len(s.tokens) >= maxTokens {
		s.tokens = map[tokenKey]token{}
	}
	s.tokens[id] = t
	return t.value, nil
}

func (s *Signer) tokenURL() string {
	if s.TokenURL != "" {
		return s.TokenURL
	}
	return googleTokenURL
}

// exchange gives an assertion for a token. Redirects are not followed.
func (s *Signer) exchange(ctx context.Context, assertion string, now time.Time) (token, error) {
	form := url.Values{"grant_type": {assertionGrant}, "assertion": {assertion}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.tokenURL(), strings.NewReader(form.Encode()))
	if err != nil {
		return token{}, errors.New("the address for tokens is not a URL")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	transport := s.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return token{}, errors.Join(errors.New("the token server cannot be reached"), ctx.Err())
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenReply))
	if err != nil {
		return token{}, errors.Join(errors.New("the token server broke off"), ctx.Err())
	}
	return parseToken(resp.StatusCode, body, now)
}

// parseToken reads the answer. Its text is kept out of errors, save the name of the
// error.
func parseToken(status int, body []byte, now time.Time) (token, error) {
	var a struct {
		Token   string `json:"access_token"`
		Type    string `json:"token_type"`
		Seconds int64  `json:"expires_in"`
		Error   string `json:"error"`
	}
	err := json.Unmarshal(body, &a)
	switch {
	case status != http.StatusOK && isErrorName(a.Error):
		return token{}, fmt.Errorf("the token server says %s (status %d)", a.Error, status)
	case status != http.StatusOK:
		return token{}, fmt.Errorf("the token server answers with status %d", status)
	case err != nil || a.Token == "" || checkKey("", a.Token) != nil || a.Type != "" && !strings.EqualFold(a.Type, "Bearer"):
		return token{}, errors.New("the token server answers without a token")
	}
	life := time.Duration(min(max(a.Seconds, 0), int64(assertionLife/time.Second))) * time.Second
	return token{value: a.Token, until: now.Add(life - renewBefore)}, nil
}

// isErrorName reports whether s is an error code of OAuth, like invalid_grant
// (RFC 6749 section 5.2).
func isErrorName(s string) bool {
	for _, c := range []byte(s) {
		if !isLower(c) && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 40
}

// assertionOf is what an account signs: that it wants a token for its own use.
func assertionOf(c Credential, audience string, now time.Time) (string, error) {
	a, err := parseAccount(c)
	if err != nil {
		return "", err
	}
	key, err := a.privateKey()
	if err != nil {
		return "", fmt.Errorf("the private_key in %s %w", c.Name, err)
	}
	head, err := json.Marshal(map[string]string{"alg": "RS256", "typ": "JWT", "kid": a.KeyID})
	if err != nil {
		return "", fmt.Errorf("%s cannot be used", c.Name)
	}
	claims, err := json.Marshal(map[string]any{
		"iss": a.Email, "scope": googleScope, "aud": audience,
		"iat": now.Add(-clockSkew).Unix(), "exp": now.Add(assertionLife - clockSkew).Unix(),
	})
	if err != nil {
		return "", fmt.Errorf("%s cannot be used", c.Name)
	}
	enc := base64.RawURLEncoding
	text := enc.EncodeToString(head) + "." + enc.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", fmt.Errorf("the private_key in %s cannot sign", c.Name)
	}
	return text + "." + enc.EncodeToString(signature), nil
}

func parseAccount(c Credential) (account, error) {
	var a account
	if len(c.s().key) > maxAccount || json.Unmarshal([]byte(c.s().key), &a) != nil || a.Email == "" || a.Key == "" {
		return a, fmt.Errorf("%s is not the JSON of a service account's key; give the whole file", c.Name)
	}
	return a, nil
}

// privateKey reads the account's key: PKCS #8 in PEM, as Google writes it, or
// PKCS #1. Errors complete a sentence that begins with the key.
func (a account) privateKey() (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(a.Key))
	if block == nil {
		return nil, errors.New("is not in PEM form")
	}
	key, ok := any(nil), false
	if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		key = parsed
	} else if parsed, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		key = parsed
	}
	r, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("is not an RSA key")
	}
	if n := r.N.BitLen(); n < minKeyBits || n > maxKeyBits {
		return nil, fmt.Errorf("has %d bits, not 2048 to 8192", n)
	}
	return r, nil
}
