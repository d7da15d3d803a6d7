package access

import (
	"context"
	"slices"
	"strings"
)

// Kind is what sort of caller somebody is.
type Kind string

// The kinds.
const (
	// KindHolder holds an agent's gateway token, and may use that agent.
	KindHolder Kind = "holder"
	// KindPerson has signed in, and administers everything.
	KindPerson Kind = "person"
	// KindService is a program with a service token, and may do what its scopes say.
	KindService Kind = "service"
	// KindOwner owns the data directory: the command line, by the Unix socket.
	KindOwner Kind = "owner"
	// KindDeveloper is anybody at all, with DEV_MODE.
	KindDeveloper Kind = "developer"
)

// Ways to establish who calls, as they are shown and recorded.
const (
	ViaToken    = "gateway token"
	ViaPasskey  = "passkey"
	ViaPassword = "password"
	ViaOIDC     = "oidc"
	ViaAccess   = "access"
	ViaService  = "service token"
	ViaSocket   = "socket"
	ViaDevMode  = "dev mode"
	ViaLoopback = "loopback"
)

// ProofHeader carries [Principal.Proof] in requests of our own pages' scripts.
const ProofHeader = "X-Moltworker-Proof"

// A Principal is a caller who was let in.
type Principal struct {
	Kind    Kind
	Name    string  // e-mail address, account or service token; "" of a holder
	Via     string  // one of the Via constants
	Source  Source  // where the credential was found
	Agent   string  // the only agent this caller may use; "" means every one
	Session string  // public ID of the sign-in, "" without one
	Proof   string  // what pages made for this caller carry, and others' scripts cannot know
	Scopes  []Scope // of a service
}

// Explicit says whether the caller put the credential into this very request. A
// cookie is not explicit: browsers add it to requests that other sites caused.
func (p Principal) Explicit() bool { return p.Source != SourceCookie && p.Source != SourceNone }

// Opens says whether the caller may use an agent's own pages.
func (p Principal) Opens(agent string) bool {
	switch p.Kind {
	case KindHolder:
		return p.Agent == agent && agent != ""
	case KindPerson, KindDeveloper, KindOwner:
		return p.Agent == "" || p.Agent == agent
	case KindService:
		return p.May(UseAgents)
	}
	return false
}

// May says whether the caller may do what scope names on the control plane. A
// holder of a gateway token, and a person on an agent's own pages, may nothing:
// scripts of that agent's making run with what its pages may do.
func (p Principal) May(scope Scope) bool {
	if p.Agent != "" {
		return false
	}
	switch p.Kind {
	case KindPerson, KindDeveloper, KindOwner:
		return true
	case KindService:
		return slices.ContainsFunc(p.Scopes, func(s Scope) bool { return s.covers(scope) })
	}
	return false
}

// String names the caller in records: "person ann@example.com".
func (p Principal) String() string {
	if p.Kind == "" {
		return "nobody"
	}
	return strings.TrimSpace(string(p.Kind) + " " + p.Name)
}

type callKey struct{}

// call is who calls, and where.
type call struct {
	who Principal
	at  Place
}

// With is ctx with the caller and the place in it.
func With(ctx context.Context, p Principal, at Place) context.Context {
	return context.WithValue(ctx, callKey{}, call{p, at})
}

// From returns the caller of a request; the zero Principal, which may nothing,
// when nobody was put in.
func From(ctx context.Context) Principal {
	c, _ := ctx.Value(callKey{}).(call)
	return c.who
}

// At returns where a request arrived.
func At(ctx context.Context) Place {
	c, _ := ctx.Value(callKey{}).(call)
	return c.at
}
