// Package guardrail owns what is looked for in the texts that go to a model and come
// back: secrets, personal data, what a tool's result tries to talk a model into, and
// models an agent may not use. It finds, and where an agent's rules say so it blots
// out or refuses.
//
// It must not know how a call is forwarded, who set the rules, or where findings are
// kept. A finding never holds what was found.
//
// All of it is by shapes, so it finds what is written plainly and by accident. It is
// no wall against somebody who hides things on purpose.
//
// Streams pass as they come: of what has passed nothing can be blotted out. In a live
// stream Redact therefore only tells, and Block says that the stream is to be ended
// where it is. Both work fully on whole bodies: every request, answers that are no
// streams, and streams that were kept. What a model streams piece by piece is joined
// before it is looked at.
package guardrail

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Direction is where a text goes.
type Direction string

// The directions. A tool's result is part of a request too: rules for requests look
// at it as well.
const (
	Request    Direction = "request"
	Response   Direction = "response"
	ToolResult Direction = "tool-result"
)

// Action is what follows from a finding.
type Action string

// The actions, the mildest first.
const (
	Flag   Action = "flag"   // it is told
	Redact Action = "redact" // it is blotted out; the call goes on
	Block  Action = "block"  // the call is refused
)

// Names of the checks that are built in.
const (
	Secrets   = "secrets"   // keys, tokens, passwords of services
	PII       = "pii"       // personal data
	Injection = "injection" // instructions where none belong
)

// models is the check that Policy.Models turns on.
const models = "models"

// Subject is what a call is about.
type Subject struct {
	Direction Direction
	Caller    string
	Provider  string
	Model     string // as the call names it, in its path or body; "" where it names none
}

// Match is a stretch of a text, in bytes.
type Match struct {
	Kind     string // of the thing found, such as "github_token"
	From, To int
}

// Check finds one sort of thing. It takes time proportional to the text, and keeps
// nothing of it. The text is many texts with a zero byte between them, which no match
// may cross. In a live stream it is a stretch of one: there a match may depend on the
// 128 bytes before it and the 64 behind it, and be found again by a later look.
type Check interface {
	Name() string
	Find(s Subject, text []byte, found func(Match))
}

// Finding is a match as it may be shown.
type Finding struct {
	Check     string    `json:"check"`
	Kind      string    `json:"kind"`
	Action    Action    `json:"action"` // that was taken
	Direction Direction `json:"direction"`
	Path      string    `json:"path"` // JSON path of the text, such as $.messages[3].content
	// Hash tells whether two findings are of one thing; "" where the thing itself is not
	// secret. It is keyed, so that a short number cannot be guessed from it.
	Hash string `json:"hash,omitempty"`
}

// Rule turns a check on.
type Rule struct {
	Check     string    `json:"check"`
	Direction Direction `json:"direction"`
	Action    Action    `json:"action"`
}

// Policy is what holds for one agent. The zero Policy checks nothing.
type Policy struct {
	Rules []Rule `json:"rules,omitempty"`
	// Models the agent may use, with * for any text; others are blocked. Empty: any.
	Models []string `json:"models,omitempty"`
}

// DefaultPolicy tells of secrets in requests, and does no more.
func DefaultPolicy() Policy {
	return Policy{Rules: []Rule{{Secrets, Request, Flag}}}
}

// Bounds of a policy.
const (
	maxRules   = 64
	maxModels  = 256
	maxPattern = 256 // bytes
)

// Guard has the checks. Its methods may be called concurrently.
type Guard struct {
	checks []Check
	key    []byte
}

// New makes a Guard with the built-in checks, and more ones. hashKey makes the hashes
// of findings; with nil they compare only within this process.
func New(hashKey []byte, more ...Check) *Guard {
	if hashKey == nil {
		hashKey = make([]byte, 32)
		rand.Read(hashKey) // never fails
	}
	return &Guard{checks: append([]Check{secrets{}, personal{}, injection{}}, more...), key: hashKey}
}

// Rules are a policy that was understood. A nil *Rules checks nothing.
type Rules struct {
	guard    *Guard
	rules    []compiled
	patterns []string
}

type compiled struct {
	Rule
	check Check
}

// Compile understands a policy. Its errors are for the person who wrote it. It
// returns nil for a policy that checks nothing.
func (g *Guard) Compile(p Policy) (*Rules, error) {
	if len(p.Rules) > maxRules || len(p.Models) > maxModels {
		return nil, fmt.Errorf("at most %d rules and %d models", maxRules, maxModels)
	}
	r := &Rules{guard: g, patterns: slices.Clone(p.Models)}
	for _, rule := range p.Rules {
		i := slices.IndexFunc(g.checks, func(c Check) bool { return c.Name() == rule.Check })
		if i < 0 {
			return nil, fmt.Errorf("there is no check %q", rule.Check)
		}
		if err := rule.valid(); err != nil {
			return nil, err
		}
		r.rules = append(r.rules, compiled{rule, g.checks[i]})
	}
	for _, m := range p.Models {
		if m == "" || len(m) > maxPattern {
			return nil, fmt.Errorf("a model's name has 1 to %d bytes", maxPattern)
		}
	}
	if len(r.rules) == 0 && len(r.patterns) == 0 {
		return nil, nil
	}
	return r, nil
}

func (r Rule) valid() error {
	if !slices.Contains([]Direction{Request, Response, ToolResult}, r.Direction) {
		return fmt.Errorf("there is no direction %q; it is %s, %s or %s", r.Direction, Request, Response, ToolResult)
	}
	if !slices.Contains([]Action{Flag, Redact, Block}, r.Action) {
		return fmt.Errorf("there is no action %q; it is %s, %s or %s", r.Action, Flag, Redact, Block)
	}
	if r.Check == Injection && r.Action != Flag {
		return errors.New("injection can only be flagged: what it finds is a guess")
	}
	return nil
}

// LooksAt says whether a body of the direction is to be read at all.
func (r *Rules) LooksAt(d Direction) bool {
	if r == nil {
		return false
	}
	return slices.ContainsFunc(r.rules, func(c compiled) bool { return c.Direction.of(d) }) || d == Request && len(r.patterns) > 0
}

// of says whether texts of the direction are found in a body of the other.
func (d Direction) of(body Direction) bool {
	return d == body || d == ToolResult && body == Request
}

// AllowsModel says whether the agent may use a model.
func (r *Rules) AllowsModel(name string) bool {
	return r == nil || len(r.patterns) == 0 || slices.ContainsFunc(r.patterns, func(p string) bool { return matches(p, name) })
}

// matches compares a name with a pattern, in which * stands for any text, in time
// proportional to the product of their lengths at most.
func matches(pattern, name string) bool {
	p, n, star, again := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, again = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			again++
			p, n = star+1, again
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

func (g *Guard) hash(b []byte) string {
	h := hmac.New(sha256.New, g.key)
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil)[:6])
}
