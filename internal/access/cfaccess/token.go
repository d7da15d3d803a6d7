package cfaccess

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // tells Email from email, and refuses a name given twice
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/allow"
)

const (
	maxToken = 16 << 10 // bytes
	maxKeyID = 256
	maxName  = 256
	// leeway is how far Access's clock and ours may be apart.
	leeway = time.Minute
)

// claims are what a token says that counts here.
type claims struct {
	Issuer     string           `json:"iss"`
	Audience   jwt.Audience     `json:"aud"`
	Expiry     *jwt.NumericDate `json:"exp"`
	NotBefore  *jwt.NumericDate `json:"nbf"`
	IssuedAt   *jwt.NumericDate `json:"iat"`
	Email      string           `json:"email"`
	CommonName string           `json:"common_name"` // a service token's client ID
}

// check is whom a token vouches for. What a token says counts for nothing, not
// even for the words of the refusal, before its signature is found good.
func (a *Authenticator) check(ctx context.Context, token string) (access.Principal, *access.Refusal) {
	var who access.Principal
	if len(token) > maxToken {
		return who, reject("the token has %d bytes", len(token))
	}
	if strings.ContainsFunc(token, isForeign) {
		return who, reject("not a token: it has characters that no token has")
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return who, reject("not a token signed with RS256: %v", err)
	}
	id := jws.Signatures[0].Protected.KeyID
	if id == "" || len(id) > maxKeyID {
		return who, reject("the token names no key, or one of %d bytes", len(id))
	}
	key, err := a.keys.find(ctx, id)
	switch {
	case errors.Is(err, errUnknownKey):
		return who, reject("the token is signed with the key %.80q, which is none of this team's (%s)", id, a.keys.url)
	case err != nil:
		return who, unavailable(a.keys, err)
	}
	payload, err := jws.Verify(key)
	if err != nil {
		return who, reject("the signature does not fit the key %.80q: %v", id, err)
	}
	return a.identify(payload)
}

// isForeign tells characters apart that stand in no token. The parser forgives
// some of them, and one token should have one spelling.
func isForeign(r rune) bool {
	isLetter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return !isLetter && r != '-' && r != '_' && r != '.'
}

// identify is the caller that a token, whose signature is good, tells of.
func (a *Authenticator) identify(payload []byte) (who access.Principal, refused *access.Refusal) {
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return who, reject("the signed claims cannot be read: %v", err)
	}
	now := a.now()
	switch {
	case c.Issuer != a.issuer:
		return who, reject("the token is issued by %.200q, not by %s", c.Issuer, a.issuer)
	case !slices.Contains(c.Audience, a.audience):
		return who, reject("the token is for the applications %.200q, not for CF_ACCESS_AUD", []string(c.Audience))
	case c.Expiry == nil:
		return who, reject("the token has no time of expiry")
	case now.Add(-leeway).After(c.Expiry.Time()):
		return who, expired(c.Expiry.Time())
	case c.NotBefore != nil && now.Add(leeway).Before(c.NotBefore.Time()):
		return who, reject("the token counts from %v on: is this machine's clock right?", c.NotBefore.Time().UTC())
	case c.IssuedAt != nil && now.Add(leeway).Before(c.IssuedAt.Time()):
		return who, reject("the token was issued at %v: is this machine's clock right?", c.IssuedAt.Time().UTC())
	}
	switch {
	case c.Email != "":
		address, ok := allow.Address(c.Email)
		if !ok {
			return who, reject("the token's e-mail address cannot be used: %.200q", c.Email)
		}
		if !a.allow.IsEmpty() && !a.allow.HasAddress(address) {
			return who, notListed(address)
		}
		return access.Principal{Kind: access.KindPerson, Name: address}, nil
	case c.CommonName != "":
		if !allow.Printable(c.CommonName, maxName) {
			return who, reject("the token's common_name cannot be used: %.200q", c.CommonName)
		}
		if !a.allow.IsEmpty() && !a.allow.HasName(c.CommonName) {
			return who, notListed(c.CommonName)
		}
		return access.Principal{Kind: access.KindService, Name: c.CommonName, Scopes: []access.Scope{access.Everything}}, nil
	}
	return who, reject("the token names neither an e-mail address nor a service token")
}

// maxDetail bounds what one refusal puts into the log, in bytes.
const maxDetail = 600

// reject refuses a token that does not count. What was wrong with it is for the
// log: who forges one must not learn how far they came.
func reject(format string, args ...any) *access.Refusal {
	detail := fmt.Sprintf(format, args...)
	if len(detail) > maxDetail {
		detail = detail[:maxDetail]
	}
	return &access.Refusal{Reason: access.Rejected, Detail: "Cloudflare Access: " + detail,
		Message: "The sign-in from Cloudflare Access does not count here.",
		Remedy:  "Sign out at /cdn-cgi/access/logout and in again; moltworker's log says what was wrong."}
}

func expired(at time.Time) *access.Refusal {
	return &access.Refusal{Reason: access.Expired, Detail: "Cloudflare Access: the token expired at " + at.UTC().String(),
		Message: "Your sign-in with Cloudflare Access has run out.",
		Remedy:  "Load the page again to sign in."}
}

func notListed(name string) *access.Refusal {
	return &access.Refusal{Reason: access.Forbidden, Detail: fmt.Sprintf("Cloudflare Access: %q is not on the list", name),
		Message: fmt.Sprintf("Cloudflare Access knows you as %s, who may not come in here.", name),
		Remedy:  "Sign out at /cdn-cgi/access/logout and in as somebody else, or have the owner add you to MOLTWORKER_ACCESS_ALLOW."}
}

func unavailable(k *keys, err error) *access.Refusal {
	return &access.Refusal{Reason: access.Unavailable, RetryAfter: retryAfter, Detail: fmt.Sprintf("Cloudflare Access: %s: %v", k.url, err),
		Message: "The keys of Cloudflare Access cannot be fetched, so nobody can be told by its word.",
		Remedy:  "Try again in a minute. If it stays so, its owner looks whether moltworker's machine reaches the team domain, and whether CF_ACCESS_TEAM_DOMAIN is right."}
}
