package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/moltworker/moltworker/internal/access"
)

const (
	// knownFor is how long the provider's own description counts. After it an old
	// one counts on while there is no new one.
	knownFor = 24 * time.Hour
	minPause = time.Second
	maxPause = time.Minute
)

// discovery finds out where the provider's endpoints are when somebody first
// signs in, and again from time to time.
type discovery struct {
	client *Client
	life   context.Context
	turn   chan struct{} // holds one token while somebody reads or changes what follows

	known    *endpoints
	at       time.Time // when known was found out
	tried    time.Time
	failures int // in a row
	failed   error
}

// endpoints are the provider as it describes itself.
type endpoints struct {
	oauth    oauth2.Config // without RedirectURL
	verifier *oidc.IDTokenVerifier
	issuer   string
}

// get returns the provider's endpoints. A provider that was not there is asked
// again at growing intervals, up to a minute; whoever comes in between is refused
// at once.
func (d *discovery) get(ctx context.Context) (*endpoints, *access.Refusal) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, unavailable(ctx.Err())
	}
	now := d.client.Now()
	if d.known != nil && now.Sub(d.at) < knownFor {
		return d.known, nil
	}
	if pause, since := d.pause(), now.Sub(d.tried); since >= pause || since < 0 || d.tried.IsZero() {
		d.tried = now
		d.note(d.discover())
	}
	if d.known == nil {
		return nil, unavailable(d.failed)
	}
	return d.known, nil
}

func (d *discovery) pause() time.Duration {
	if d.failures == 0 {
		return 0
	}
	return min(minPause<<min(d.failures-1, 10), maxPause)
}

func (d *discovery) note(found *endpoints, err error) {
	if err != nil {
		d.failures++
		d.failed = err
		d.client.Log.Warn("the OpenID Connect provider does not say where to sign in", "issuer", d.client.Issuer, "err", cut(err.Error(), maxDetail))
		return
	}
	if d.failures > 0 {
		d.client.Log.Warn("the OpenID Connect provider says again where to sign in", "issuer", d.client.Issuer)
	}
	d.known, d.at, d.failures, d.failed = found, d.client.Now(), 0, nil
}

// discover asks the provider. It takes as long as the bounded client lets it.
func (d *discovery) discover() (*endpoints, error) {
	c := d.client
	ctx := oidc.ClientContext(d.life, c.http)
	p, err := oidc.NewProvider(ctx, c.Issuer)
	var mismatch *oidc.IssuerMismatchError
	if errors.As(err, &mismatch) && strings.TrimRight(mismatch.Discovered, "/") == strings.TrimRight(c.Issuer, "/") {
		p, err = oidc.NewProvider(ctx, mismatch.Discovered) // only a slash at the end
	}
	switch {
	case errors.As(err, &mismatch):
		return nil, fmt.Errorf("the provider calls itself %.200q: set MOLTWORKER_OIDC_ISSUER to just that, if it is right", mismatch.Discovered)
	case err != nil:
		return nil, err
	}
	var more struct {
		Issuer  string   `json:"issuer"`
		Keys    string   `json:"jwks_uri"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := p.Claims(&more); err != nil {
		return nil, err
	}
	endpoint := p.Endpoint()
	for name, address := range map[string]string{"authorization_endpoint": endpoint.AuthURL, "token_endpoint": endpoint.TokenURL, "jwks_uri": more.Keys} {
		if u, err := url.Parse(address); err != nil || u.Hostname() == "" || !isSafe(u) {
			return nil, fmt.Errorf("the provider's %s is %.200q, which is no https URL", name, address)
		}
	}
	// Without a choice the library would try one way and then the other, with a
	// code that counts once.
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if !c.ClientSecret.IsSet() || len(more.Methods) > 0 && !slices.Contains(more.Methods, "client_secret_basic") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return &endpoints{
		issuer: more.Issuer,
		oauth: oauth2.Config{ClientID: c.ClientID, ClientSecret: c.ClientSecret.Reveal(), Endpoint: endpoint,
			Scopes: []string{oidc.ScopeOpenID, oidc.ScopeEmail, oidc.ScopeProfile}},
		verifier: p.Verifier(&oidc.Config{ClientID: c.ClientID, Now: c.Now,
			SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256, oidc.EdDSA}}),
	}, nil
}
