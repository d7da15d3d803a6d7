// Package cfaccess owns the word of Cloudflare Access: it checks the signed token
// that Access adds to every request it lets through, and says who calls.
//
// It must not know what a caller may do beyond who they are, how a refusal is
// shown, or what was configured beside its own options. A request that did not
// come by way of Access carries nothing that it believes.
package cfaccess

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/access"
	"github.com/moltworker/moltworker/internal/access/allow"
)

// Header carries the token. Access sets it, and takes out what others put there.
const Header = "Cf-Access-Jwt-Assertion"

// maxCookies bounds how many cookies of Access one request may try: browsers send
// one for each path and domain that it was set for.
const maxCookies = 4

// Options are what an Authenticator is made of.
type Options struct {
	TeamDomain string           // TEAM.cloudflareaccess.com, or a whole http(s)://HOST
	Audience   string           // the application's AUD tag
	Allow      []string         // ADDRESS, @DOMAIN or the client ID of a service token; empty: all whom Access lets through
	HTTP       *http.Client     // nil: one that goes by the environment's proxy
	Now        func() time.Time // nil: the clock
	Log        *slog.Logger     // nil: says nothing
}

// Authenticator knows callers by the token of Access.
type Authenticator struct {
	issuer   string
	audience string
	allow    allow.List
	keys     *keys
	now      func() time.Time
	proofKey [32]byte
}

// New makes an authenticator. It reaches for nothing yet: Access may be out of
// reach when moltworker starts.
func New(o Options) (*Authenticator, error) {
	issuer, err := issuerOf(o.TeamDomain)
	if err != nil {
		return nil, err
	}
	if o.Audience == "" {
		return nil, errors.New("no audience is given for Cloudflare Access: set CF_ACCESS_AUD to the application's AUD tag")
	}
	if list := allow.New(o.Allow); len(o.Allow) > 0 && list.IsEmpty() {
		return nil, fmt.Errorf("nobody is on the list %q: set MOLTWORKER_ACCESS_ALLOW to e-mail addresses and @DOMAINs, or leave it out", o.Allow)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Authenticator{issuer: issuer, audience: o.Audience, allow: allow.New(o.Allow), now: o.Now,
		keys: newKeys(issuer+"/cdn-cgi/access/certs", o)}
	rand.Read(a.proofKey[:]) // never fails
	return a, nil
}

// issuerOf is what a team's tokens name as their issuer: its address without a
// slash at its end.
func issuerOf(team string) (string, error) {
	if !strings.Contains(team, "://") {
		team = "https://" + team
	}
	u, err := url.Parse(strings.TrimRight(team, "/"))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Path != "" || u.User != nil || u.RawQuery != "" {
		return "", fmt.Errorf("%q is not a team domain of Cloudflare Access: set CF_ACCESS_TEAM_DOMAIN to TEAM.cloudflareaccess.com", team)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}

// Authenticate establishes that Access vouches for the caller. A token in the
// header counts alone. Of cookies each is tried, as there may be an old one
// beside the one that counts, and none is final: they may have been set by
// anybody on a sibling host.
//
// Both count as a cookie does: Access adds its header to whatever a browser
// sends with its cookie, also when another site's page made it do so.
func (a *Authenticator) Authenticate(r *http.Request, at access.Place) (access.Principal, error) {
	if given := r.Header.Values(Header); len(given) > 0 {
		p, refused := access.Principal{}, reject("the request has %d headers %s", len(given), Header)
		if len(given) == 1 {
			p, refused = a.check(r.Context(), given[0])
		}
		if refused != nil {
			refused.Final = true
			return access.Principal{}, refused
		}
		return a.arrived(p, at), nil
	}
	var first *access.Refusal
	for i, c := range r.CookiesNamed(access.AccessCookie) {
		if i == maxCookies {
			break
		}
		p, refused := a.check(r.Context(), c.Value)
		if refused == nil {
			return a.arrived(p, at), nil
		}
		if first == nil {
			first = refused
		}
	}
	if first == nil {
		return access.Principal{}, access.ErrNothing
	}
	return access.Principal{}, first
}

// arrived is the caller at that place: on an agent's own pages a person is there
// for that agent alone, and none of its pages is ours, to carry a proof.
func (a *Authenticator) arrived(p access.Principal, at access.Place) access.Principal {
	p.Via, p.Source = access.ViaAccess, access.SourceCookie
	if p.Kind == access.KindPerson {
		p.Agent = at.Agent
	}
	if at.Agent == "" {
		mac := hmac.New(sha256.New, a.proofKey[:])
		fmt.Fprintf(mac, "moltworker proof v1\x00%s\x00%s", p.Kind, p.Name)
		p.Proof = hex.EncodeToString(mac.Sum(nil))
	}
	return p
}
