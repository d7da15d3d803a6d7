// Package access owns the question who is calling and may they: it turns a
// request into a [Principal], or into a [Refusal] that says what to do about it.
// Every guarded route asks [Guard.Who] and nothing else, then what the principal
// may: [Principal.Opens] an agent, [Principal.May] do something.
//
// It must not know how a refusal is shown (edge), what agents are, or where
// credentials are kept: those come in as values and functions. Each kind of
// credential is an [Authenticator].
package access

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
)

// Place is where a request has arrived.
type Place struct {
	Agent  string     // whose own pages are asked for; "" on the control plane's
	Client netip.Addr // the caller, as far as can be known
	Host   string     // the host name asked for, lower case, without a port
	Secure bool       // the browser's connection is encrypted
}

// Private says whether nobody between the browser and us can listen, or change what
// is said: the line is encrypted, or does not leave this machine.
func (at Place) Private() bool {
	if at.Secure || at.Host == "localhost" || strings.HasSuffix(at.Host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(at.Host)
	return err == nil && addr.IsLoopback()
}

// An Authenticator establishes who calls by one kind of credential.
type Authenticator interface {
	// Authenticate returns ErrNothing when the request carries no such
	// credential, and a *Refusal when it carries one that opens nothing.
	Authenticate(r *http.Request, at Place) (Principal, error)
}

// ErrEnded is why a request is cut off that was let in: what its caller was let in by
// has ended since.
var ErrEnded = errors.New("the sign-in has ended")

// ErrNothing says that a request carries no credential of an authenticator's kind.
var ErrNothing = errors.New("no credential of this kind")

// Guard asks authenticators in turn.
type Guard struct {
	*Tokens
	others []Authenticator
}

// NewGuard makes a guard that looks for a gateway token first and for the others'
// credentials after that, in their order.
func NewGuard(tokens *Tokens, others ...Authenticator) *Guard {
	return &Guard{tokens, others}
}

// Who establishes who calls. The first authenticator that knows the caller
// decides, or the first one that refuses for good. An outdated cookie of one kind
// does not lock out somebody who has a valid credential of another. The error is
// always a *Refusal.
func (g *Guard) Who(r *http.Request, at Place) (Principal, error) {
	p, refused := g.ask(g.Tokens, r, at)
	if p.Kind != "" && !p.Explicit() {
		return g.better(p, r, at), nil
	}
	for _, a := range g.others {
		if p.Kind != "" || refused != nil && refused.Final {
			break
		}
		var again *Refusal
		if p, again = g.ask(a, r, at); refused == nil || again != nil && again.Final {
			refused = again
		}
	}
	switch {
	case p.Kind != "":
		return p, nil
	case refused != nil:
		return Principal{}, refused
	case at.Agent == "":
		return Principal{}, NotSignedIn()
	}
	return Principal{}, refuse(Missing, at.Agent)
}

// better is who the holder of a token's cookie is, when somebody has signed in on
// that browser too.
func (g *Guard) better(holder Principal, r *http.Request, at Place) Principal {
	for _, a := range g.others {
		if p, _ := g.ask(a, r, at); p.Kind == KindPerson && p.Opens(at.Agent) {
			return p
		}
	}
	return holder
}

// ask is one authenticator's answer; neither when the request has nothing for it.
func (g *Guard) ask(a Authenticator, r *http.Request, at Place) (Principal, *Refusal) {
	p, err := a.Authenticate(r, at)
	if err == nil {
		return p, nil
	}
	var refused *Refusal
	if errors.Is(err, ErrNothing) || !errors.As(err, &refused) {
		return Principal{}, nil
	}
	return Principal{}, refused
}
