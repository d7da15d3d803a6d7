// Package oidc owns signing in by an OpenID Connect provider: it sends a browser
// there with authorization code and PKCE, and finds out who came back.
//
// It must not know what somebody who came back may do, how sessions are kept, or
// how a refusal is shown. It sends a browser away only when [Client.Start] is
// called, never because something failed: with a broken provider nobody is sent
// round in a circle.
package oidc

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/moltworker/moltworker/internal/access/allow"
	"github.com/moltworker/moltworker/internal/secret"
)

const (
	// requestTimeout bounds one request to the provider.
	requestTimeout = 10 * time.Second
	// maxAnswer bounds what the provider answers, in bytes.
	maxAnswer = 1 << 20
	// maxBusy is how many may be on their way back from the provider at once:
	// each costs it a request, and anybody can come with a made-up code.
	maxBusy = 8
)

// Options are what a Client is made of.
type Options struct {
	Issuer       string       // the provider's address, as it calls itself
	ClientID     string       // how it knows moltworker
	ClientSecret secret.Value // unset: a client without a secret
	Allow        []string     // ADDRESS or @DOMAIN; nobody else comes in
	// RedirectURL is the absolute address to which the provider sends the browser
	// of that request back: of the route that calls Finish.
	RedirectURL func(*http.Request) string
	HTTP        *http.Client     // nil: one that goes by the environment's proxy
	Now         func() time.Time // nil: the clock
	Log         *slog.Logger     // nil: says nothing
}

// Person is somebody for whom the provider vouched, and who is on the list.
type Person struct {
	Subject string // does not change, and is unique for the provider
	Email   string // verified; lower case
	Name    string // to show; never empty
}

// Client signs people in. Its methods may be called from anywhere.
type Client struct {
	Options
	allow    allow.List
	http     *http.Client
	box      cipher.AEAD   // seals what a browser keeps for us meanwhile
	slot     atomic.Uint32 // of the next flow's cookie
	busy     chan struct{} // one for each Finish under way
	provider discovery
}

// New makes a client. It reaches for nothing yet: the provider may be out of reach
// when moltworker starts. ctx ends what it still asks the provider.
func New(ctx context.Context, o Options) (*Client, error) {
	if u, err := url.Parse(o.Issuer); err != nil || u.Hostname() == "" || !isSafe(u) {
		return nil, fmt.Errorf("%q is no address of a provider: set MOLTWORKER_OIDC_ISSUER to an https URL", o.Issuer)
	}
	list := allow.New(o.Allow)
	switch {
	case o.ClientID == "":
		return nil, errors.New("moltworker has no name at the provider: set MOLTWORKER_OIDC_CLIENT_ID")
	case list.IsEmpty():
		return nil, errors.New("nobody may sign in by the provider: set MOLTWORKER_OIDC_ALLOW to e-mail addresses and @DOMAINs")
	case o.RedirectURL == nil:
		return nil, errors.New("there is no address to come back to")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	var key [32]byte
	rand.Read(key[:]) // never fails
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	box, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	c := &Client{Options: o, allow: list, http: bounded(o.HTTP), box: box, busy: make(chan struct{}, maxBusy)}
	c.provider = discovery{client: c, life: ctx, turn: make(chan struct{}, 1)}
	return c, nil
}

// isSafe says whether what is said to an address is encrypted, or stays on this
// machine.
func isSafe(u *url.URL) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && addr.IsLoopback())
}

// bounded is a client like from that waits and reads only so much, and goes
// nowhere but where it is sent.
func bounded(from *http.Client) *http.Client {
	client := http.Client{}
	if from != nil {
		client = *from
	}
	if client.Timeout == 0 || client.Timeout > requestTimeout {
		client.Timeout = requestTimeout
	}
	if client.Transport == nil {
		client.Transport = http.DefaultTransport
	}
	client.Transport = limited{client.Transport}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// limited cuts answers off that are too long.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	}
	return resp, err
}

// isTimeout tells a provider that is slow from one that is not there.
func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}
