// Package route owns routes: which models of which providers a call tries, in which
// order and under which conditions. Somebody writes them to a file; Parse reads it,
// and Find says which route a call has.
//
// It must not know providers, keys, prices, HTTP or how a call is sent: it never
// learns whether a model exists, and is told by name why a step failed. It reads no
// clock and draws no random numbers.
package route

import (
	"slices"
	"strings"
	"time"
)

// Prefix begins the model of a call that asks for a route by its name:
// "dynamic/careful", as Cloudflare's AI Gateway has it
// (developers.cloudflare.com/ai-gateway/features/dynamic-routing/usage).
const Prefix = "dynamic/"

// Failure is why a step came to nothing.
type Failure string

// The failures, by the names that "on" has for them. There "any" stands for all of
// them, and for such as may come to be told of later.
const (
	Limited      Failure = "limited"      // 429, when the step's own retries and keys are used up
	Unavailable  Failure = "unavailable"  // no connection, 5xx (529 too), or kept away by a breaker
	Timeout      Failure = "timeout"      // no answer began in time
	Unauthorized Failure = "unauthorized" // 401, 402 or 403, or there is no key
	Refused      Failure = "refused"      // another 4xx: the request itself, or the model is unknown
	Budget       Failure = "budget"       // a budget of ours does not allow the model
)

// failures is a set of them.
type failures uint8

const (
	anyFailure   failures = 1<<8 - 1
	usualFailure          = onLimited | onUnavailable | onTimeout | onUnauthorized // where "on" is left out
)

const (
	onLimited failures = 1 << iota
	onUnavailable
	onTimeout
	onUnauthorized
	onRefused
	onBudget
	onOther // not known here
)

func (f Failure) bit() failures {
	switch f {
	case Limited:
		return onLimited
	case Unavailable:
		return onUnavailable
	case Timeout:
		return onTimeout
	case Unauthorized:
		return onUnauthorized
	case Refused:
		return onRefused
	case Budget:
		return onBudget
	case "":
		return 0
	}
	return onOther
}

// Call is what routes ask about a call.
type Call struct {
	Agent    string // its name; "@" and the program's for one from outside
	Trigger  string // "user", "cron" ...; "" where it is not known
	Model    string // "provider/model" as asked for, or Prefix and a route's name
	Metadata map[string]string
	Draw     uint64 // of this call's own, by chance; only splits by "call" look at it
}

// Plan is what a call tries, the first step first. It has at least one.
type Plan struct {
	Route string // its name
	Steps []Step
}

// Step is one try.
type Step struct {
	Number  int           // in the route, from 1
	Arm     int           // of a split, from 0; -1 where there is none
	Model   string        // "provider/model"
	Timeout time.Duration // until the answer begins, 100 ms to 10 min; 0: the usual
	Retries int           // before the next step, 0 to 5; -1: what the client asked for

	on failures // that lead here
}

// After names the failures that lead to the step, separated by blanks: "any" for all.
func (s Step) After() string {
	if s.on == anyFailure {
		return "any"
	}
	var names []string
	for _, f := range []Failure{Limited, Unavailable, Timeout, Unauthorized, Refused, Budget} {
		if s.on&f.bit() != 0 {
			names = append(names, string(f))
		}
	}
	return strings.Join(names, " ")
}

// InTurn is a plan of n steps, each of which follows whatever the failure of the one
// before. Their models are the caller's business.
func InTurn(n int) Plan {
	p := Plan{Steps: make([]Step, n)}
	for i := range p.Steps {
		p.Steps[i] = Step{Number: i + 1, Arm: -1, Retries: -1, on: anyFailure}
	}
	return p
}

// Next is the index of the step to take when the one at index after failed: the
// first behind it that is meant for such a failure. False when none is, and when
// there was no failure ("").
func (p Plan) Next(after int, why Failure) (int, bool) {
	bit := why.bit()
	for i := range p.Steps {
		if i > after && p.Steps[i].on&bit != 0 {
			return i, true
		}
	}
	return 0, false
}

// Table holds routes. It never changes, and its methods may be called concurrently.
// A nil Table has no routes.
type Table struct {
	routes   []route // in the file's order
	byName   map[string]int
	agents   index
	models   index
	triggers index
}

// route is one of them, ready for use. Its other conditions are in the table.
type route struct {
	name     string
	metadata []member
	steps    []step
}

// step is a Step before it is known who calls. A model "" is the call's own.
type step struct {
	model   string
	split   []arm // in place of a model
	by      by
	on      failures
	timeout time.Duration
	retries int
}

// member is the condition that an entry of the metadata is like one of the patterns.
type member struct {
	name   string
	values []pattern
}

func (m member) holds(metadata map[string]string) bool {
	value, ok := metadata[m.name]
	return ok && slices.ContainsFunc(m.values, func(p pattern) bool { return p.matches(value) })
}

// Names of the routes, in the file's order.
func (t *Table) Names() []string {
	if t == nil {
		return nil
	}
	names := make([]string, len(t.routes))
	for i := range t.routes {
		names[i] = t.routes[i].name
	}
	return names
}

// Has says whether there is a route of that name (without Prefix).
func (t *Table) Has(name string) bool {
	if t == nil {
		return false
	}
	_, ok := t.byName[name]
	return ok
}

// Find returns the plan for a call: of the route that it asks for by name, whatever
// that one's conditions, or else of the first whose conditions hold. False when there
// is none: a call that asked for no route goes on as it is, and one that asked by
// name cannot.
//
// A call by name has no model of its own. Steps and arms that try the "same" model
// are left out for it, and when nothing remains there is no plan either. Calls that
// are equal get equal plans, from every table that has the route.
//
// It takes time proportional to the patterns and to the length of what they are
// compared with.
func (t *Table) Find(c Call) (Plan, bool) {
	if t == nil {
		return Plan{}, false
	}
	name, named := strings.CutPrefix(c.Model, Prefix)
	i, ok := 0, false
	if named {
		i, ok = t.byName[name]
		c.Model = ""
	} else {
		i, ok = t.first(&c)
	}
	if !ok {
		return Plan{}, false
	}
	return t.routes[i].plan(&c, named)
}

// first is the first route whose conditions hold.
func (t *Table) first(c *Call) (int, bool) {
	left := t.triggers.narrow(everyRoute, c.Trigger)
	left = t.agents.narrow(left, c.Agent)
	left = t.models.narrow(left, c.Model)
	for i := range t.routes {
		if left.has(i) && !slices.ContainsFunc(t.routes[i].metadata, func(m member) bool { return !m.holds(c.Metadata) }) {
			return i, true
		}
	}
	return 0, false
}

// plan resolves the steps for a call.
func (r *route) plan(c *Call, named bool) (Plan, bool) {
	p := Plan{Route: r.name, Steps: make([]Step, 0, len(r.steps))}
	for i := range r.steps {
		s := &r.steps[i]
		made := Step{Number: i + 1, Arm: -1, Model: s.model, Timeout: s.timeout, Retries: s.retries, on: s.on}
		if s.split != nil {
			if made.Arm = s.choose(r.name, i+1, c, named); made.Arm < 0 {
				continue
			}
			made.Model = s.split[made.Arm].model
		}
		if made.Model == "" {
			if named {
				continue
			}
			made.Model = c.Model
		}
		p.Steps = append(p.Steps, made)
	}
	return p, len(p.Steps) > 0
}
