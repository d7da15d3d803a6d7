package access

import (
	"fmt"
	"slices"
	"strings"
)

// A Scope names what a service token may do: AREA:VERB, AREA:* or *.
type Scope string

// The scopes. What a person may do without a scope of its own here (make
// accounts and service tokens) no service may.
const (
	Everything   Scope = "*"
	UseAgents    Scope = "agents:use" // their own pages and APIs
	ReadAgents   Scope = "agents:read"
	WriteAgents  Scope = "agents:write" // create, restart, sleep, wake, remove
	ExecAgents   Scope = "agents:exec"  // run commands inside
	ReadDevices  Scope = "devices:read"
	WriteDevices Scope = "devices:write" // approve, reject, rename, revoke
	ReadSecrets  Scope = "secrets:read"  // names and ages, never values
	WriteSecrets Scope = "secrets:write"
	ReadStorage  Scope = "storage:read"
	WriteStorage Scope = "storage:write"
	ReadAudit    Scope = "audit:read"
	ReadMetrics  Scope = "metrics:read"
	ReadDebug    Scope = "debug:read"
	UseModels    Scope = "models:use"  // call models by the AI gateway, from outside
	ReadModels   Scope = "models:read" // calls, costs, budgets
	WriteModels  Scope = "models:write"

	// Accounts is for people alone.
	Accounts Scope = "accounts"
)

// Scopes are those a service token can have, beside "*" and "AREA:*".
var Scopes = []Scope{UseAgents, ReadAgents, WriteAgents, ExecAgents, ReadDevices, WriteDevices,
	ReadSecrets, WriteSecrets, ReadStorage, WriteStorage, ReadAudit, ReadMetrics, ReadDebug,
	UseModels, ReadModels, WriteModels}

// covers says whether having s is enough for want.
func (s Scope) covers(want Scope) bool {
	if want == Accounts {
		return false
	}
	if s == Everything || s == want {
		return true
	}
	area, verb, ok := strings.Cut(string(s), ":")
	wanted, _, _ := strings.Cut(string(want), ":")
	return ok && verb == "*" && area == wanted
}

// ParseScopes reads a comma list of scopes; an unknown one is an error that names
// those there are.
func ParseScopes(list string) ([]Scope, error) {
	var scopes []Scope
	for word := range strings.SplitSeq(list, ",") {
		s := Scope(strings.TrimSpace(word))
		if s == "" {
			continue
		}
		if !slices.ContainsFunc(Scopes, s.covers) {
			return nil, fmt.Errorf("no scope is called %q; there are %v, AREA:* and *", s, Scopes)
		}
		scopes = append(scopes, s)
	}
	if len(scopes) == 0 {
		return nil, fmt.Errorf("no scope given; there are %v, AREA:* and *", Scopes)
	}
	return scopes, nil
}
