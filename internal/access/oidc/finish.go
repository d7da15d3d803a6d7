package oidc

import (
	"context"
	"crypto/subtle"
	stdjson "encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4/json" // tells Email from email, and refuses a name given twice
	"golang.org/x/oauth2"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/allow"
)

const (
	maxSubject = 255
	maxName    = 200
	// leeway is how far the provider's clock may be ahead of ours.
	leeway = time.Minute
)

// Finish finds out whom the provider sent back, and where they want to be: next is
// a path of ours, or "". It writes nothing but headers. The error is a
// *access.Refusal, to be shown; whoever shows it must not send the browser to the
// provider by itself.
func (c *Client) Finish(w http.ResponseWriter, r *http.Request) (who Person, next string, err error) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer") // the address has the code in it
	who, next, refused := c.finish(w, r)
	if refused != nil {
		return Person{}, "", refused
	}
	return who, next, nil
}

func (c *Client) finish(w http.ResponseWriter, r *http.Request) (who Person, next string, refused *access.Refusal) {
	if r.Method != http.MethodGet {
		return who, "", rejected("the browser came back with " + r.Method)
	}
	answer, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return who, "", rejected("the query cannot be read")
	}
	for _, name := range []string{"state", "code", "error", "iss"} {
		if len(answer[name]) > 1 {
			return who, "", rejected("the provider's answer has more than one " + name)
		}
	}
	f, refused := c.take(w, r, answer.Get("state"))
	if refused != nil {
		return who, "", refused
	}
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
	default:
		return who, "", limitedNow()
	}
	p, refused := c.provider.get(r.Context())
	if refused != nil {
		return who, "", refused
	}
	switch {
	case answer.Has("iss") && answer.Get("iss") != p.issuer:
		return who, "", rejected("the answer is of another provider: " + quote(answer.Get("iss")))
	case answer.Get("error") != "":
		return who, "", fromProvider(answer.Get("error"), answer.Get("error_description"))
	case answer.Get("code") == "":
		return who, "", rejected("the provider's answer has no code")
	}
	ctx, cancel := context.WithTimeout(oidc.ClientContext(r.Context(), c.http), 2*requestTimeout)
	defer cancel()
	token, refused := c.exchange(ctx, p, f, answer.Get("code"))
	if refused != nil {
		return who, "", refused
	}
	who, refused = c.identify(token)
	return who, f.Next, refused
}

// exchange buys the signed statement of who signed in for the code.
func (c *Client) exchange(ctx context.Context, p *endpoints, f flow, code string) (*oidc.IDToken, *access.Refusal) {
	oauth := p.oauth
	oauth.RedirectURL = f.Redirect
	bought, err := oauth.Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return nil, notBought(err)
	}
	raw, _ := bought.Extra("id_token").(string)
	if raw == "" {
		return nil, rejected("the provider gave no id_token")
	}
	token, err := p.verifier.Verify(ctx, raw)
	if err != nil {
		if isTimeout(err) || strings.Contains(err.Error(), "fetching keys") {
			return nil, unavailable(err)
		}
		return nil, rejected("the id_token does not count: " + err.Error())
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(f.Nonce)) != 1:
		return nil, rejected("the id_token is of another sign-in: its nonce does not fit")
	case token.IssuedAt.After(c.Now().Add(leeway)):
		return nil, rejected("the id_token was issued at " + token.IssuedAt.UTC().String() + ": is this machine's clock right?")
	case token.AccessTokenHash != "" && token.VerifyAccessToken(bought.AccessToken) != nil:
		return nil, rejected("the id_token does not fit the access token")
	}
	return token, nil
}

// identify is whom an id_token tells of, whose signature, issuer, audience and
// times are good.
func (c *Client) identify(token *oidc.IDToken) (Person, *access.Refusal) {
	var said struct {
		Party    string    `json:"azp"`
		Email    string    `json:"email"`
		Verified truth     `json:"email_verified"`
		Name     forgiving `json:"name"`
		Username forgiving `json:"preferred_username"`
	}
	var raw stdjson.RawMessage
	if err := errors.Join(token.Claims(&raw), json.Unmarshal(raw, &said)); err != nil {
		return Person{}, rejected("the id_token's claims cannot be read: " + err.Error())
	}
	switch {
	case said.Party != "" && said.Party != c.ClientID, said.Party == "" && len(token.Audience) > 1:
		return Person{}, rejected("the id_token was issued to another client: " + quote(said.Party))
	case !allow.Printable(token.Subject, maxSubject):
		return Person{}, rejected("the id_token's subject cannot be used: " + quote(token.Subject))
	case said.Email == "":
		return Person{}, noAddress()
	}
	address, ok := allow.Address(said.Email)
	switch {
	case !ok:
		return Person{}, rejected("the id_token's e-mail address cannot be used: " + quote(said.Email))
	case !bool(said.Verified):
		return Person{}, notVerified(address)
	case !c.allow.HasAddress(address):
		return Person{}, notListed(address)
	}
	who := Person{Subject: token.Subject, Email: address, Name: address}
	for _, name := range []string{string(said.Username), string(said.Name)} {
		if allow.Printable(name, maxName) {
			who.Name = name
		}
	}
	return who, nil
}

// truth is a claim that is true or false; some providers write it as text. Only
// what plainly says true is true.
type truth bool

// UnmarshalJSON reads a claim.
func (v *truth) UnmarshalJSON(text []byte) error {
	*v = string(text) == "true" || string(text) == `"true"`
	return nil
}

// forgiving is a text that does not matter enough to refuse somebody for it.
type forgiving string

// UnmarshalJSON reads a claim.
func (s *forgiving) UnmarshalJSON(text []byte) error {
	var plain string
	if json.Unmarshal(text, &plain) == nil {
		*s = forgiving(plain)
	}
	return nil
}

// notBought is why the provider gave nothing for a code.
func notBought(err error) *access.Refusal {
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) {
		return unavailable(err)
	}
	switch answer.ErrorCode {
	case "invalid_grant":
		return stale("the provider does not take the code: " + answer.ErrorDescription)
	case "":
		return unavailable(err)
	}
	return fromProvider(answer.ErrorCode, answer.ErrorDescription)
}
