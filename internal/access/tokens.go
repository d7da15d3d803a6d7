package access

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// ServicePrefix begins every service token, so that it is told from the gateway's
// own bearer tokens, and found by those who look for leaked secrets.
const ServicePrefix = "mws_"

// Tokens checks gateway tokens, and the cookies that stand for them. The zero
// value is not usable; see [NewTokens].
type Tokens struct {
	token  func(agent string) string
	failed *limiter
}

// NewTokens makes an authenticator of gateway tokens. token returns the agent's
// current gateway token, or "" when it has none, in which case nobody is let in;
// it is asked on every request, so that a rotated token counts at once. now is
// the clock of the limit on failed attempts.
func NewTokens(token func(agent string) string, now func() time.Time) *Tokens {
	return &Tokens{token: token, failed: newLimiter(now)}
}

// Authenticate establishes that the caller holds the token of the agent whose
// pages are asked for.
//
// A token given by query or X-Moltworker-Token counts alone: when it is wrong the
// caller is refused even if a valid cookie came along, so that an outdated link
// says so instead of working by chance. Authorization is different: it belongs
// to the gateway too, whose pages send device tokens in it, so a bearer that is
// not ours leaves the decision to the cookie.
func (t *Tokens) Authenticate(r *http.Request, at Place) (Principal, error) {
	if at.Agent == "" {
		return Principal{}, ErrNothing
	}
	want := t.token(at.Agent)
	given, source := presented(r)
	if source == SourceBearer && strings.HasPrefix(given, ServicePrefix) {
		return Principal{}, ErrNothing
	}
	if want == "" {
		return Principal{}, refuse(Unconfigured, at.Agent)
	}
	cookieOK := t.cookieMatches(r, want, at.Agent)
	switch {
	case source == SourceNone && cookieOK, source == SourceBearer && cookieOK && !equal(given, want):
		return holder(at.Agent, SourceCookie), nil
	case source == SourceNone && hasCookie(r):
		return Principal{}, refuse(Expired, at.Agent)
	case source == SourceNone:
		return Principal{}, ErrNothing
	}
	p, refused := t.checkToken(given, want, at.Agent, source, at.Client)
	if refused != nil {
		refused.Final = source != SourceBearer
		return Principal{}, refused
	}
	return p, nil
}

// Current is the agent's gateway token, or "" when it has none.
func (t *Tokens) Current(agent string) string { return t.token(agent) }

func holder(agent string, source Source) Principal {
	return Principal{Kind: KindHolder, Via: ViaToken, Agent: agent, Source: source}
}

// CheckToken is Authenticate for a token that did not come by a request's usual places,
// such as a form.
func (t *Tokens) CheckToken(given, agent string, client netip.Addr) (Principal, error) {
	want := t.token(agent)
	if want == "" {
		return Principal{}, refuse(Unconfigured, agent)
	}
	if given == "" {
		return Principal{}, refuse(Missing, agent)
	}
	p, refused := t.checkToken(given, want, agent, SourceForm, client)
	if refused != nil {
		return Principal{}, refused
	}
	return p, nil
}

// checkToken takes the price of a failure before it compares, so that a burst of
// parallel guesses gets no more answers than a row of them.
func (t *Tokens) checkToken(given, want, agent string, source Source, client netip.Addr) (Principal, *Refusal) {
	if wait, ok := t.failed.take(client); !ok {
		refusal := refuse(Limited, agent)
		refusal.RetryAfter = wait
		return Principal{}, refusal
	}
	if !equal(given, want) {
		return Principal{}, refuse(Wrong, agent)
	}
	t.failed.giveBack(client)
	return holder(agent, source), nil
}

// equal compares in constant time. Both sides are hashed first: comparing the
// tokens themselves would tell their length.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// cookieValue is what the browser keeps instead of the token: it proves that its
// holder once had the token, opens this agent only, and dies with the token.
func cookieValue(token, agent string) string {
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte("moltworker cookie v1\x00" + agent))
	return hex.EncodeToString(mac.Sum(nil))
}
