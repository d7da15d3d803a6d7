package guardrail

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
)

const (
	maxFindings = 64 // that are told; beyond, they are acted on and counted
	maxPooled   = 1 << 20
	maxKind     = 40 // bytes
)

// reason says why what blocks does, for whoever made the call.
func (f *Finding) reason() string {
	if f.Check == models {
		return "this agent may not use the model that it asked for"
	}
	return fmt.Sprintf("the %s holds what must not pass: %s at %s", f.Direction, f.Kind, f.Path)
}

// Report is what was found in a body.
type Report struct {
	Findings []Finding // the first, in order of their places
	Total    int       // how many there were
	Blocked  bool      // the call must be refused
	Body     []byte    // with what is to be blotted out replaced; nil when nothing is
}

// Reason says why the call is refused, for whoever made it; "" when it is not.
func (r *Report) Reason() string {
	for _, f := range r.Findings {
		if f.Action == Block {
			return f.reason()
		}
	}
	if r.Blocked {
		return "it holds what must not pass"
	}
	return ""
}

var textsPool = sync.Pool{New: func() any { return new(texts) }}

func (t *texts) release() {
	if max(cap(t.joined), cap(t.pieces)*48, cap(t.deltas)*48, cap(t.events)*32, cap(t.flat)) > maxPooled {
		return
	}
	t.src = nil
	textsPool.Put(t)
}

// spot is a match in its place.
type spot struct {
	from, to int // in the body
	finding  Finding
	rest     bool // a later part of the match that the spot before is of
}

func sortSpots(spots []spot) {
	slices.SortStableFunc(spots, func(a, b spot) int { return cmp.Compare(a.from, b.from) })
}

// Examine looks at a whole request or answer. A body that is not JSON is one text;
// in it nothing can be replaced safely, so there Redact becomes Block.
//
// An answer that is one JSON array, as Google's streamGenerateContent gives without
// alt=sse, is a stream whose events are the array's objects. What is whole in one of
// them is found there. Besides, the pieces of a text are joined over the events as
// ExamineStream does, and what is found in them has the path of a stream. Of an array
// that was cut, what can be read is joined too.
func (r *Rules) Examine(s Subject, body []byte) Report {
	if !r.LooksAt(s.Direction) {
		return Report{}
	}
	t := textsPool.Get().(*texts)
	defer t.release()
	var report Report
	var spots []spot
	t.read(body, s.Direction == Response)
	if s.Direction == Request {
		spots = r.modelSpots(t, s)
	}
	spots = append(spots, r.find(t, s)...)
	sortSpots(spots)
	if t.both {
		foundBefore(spots)
	}
	for i := range spots {
		f := &spots[i].finding
		if f.Action == Redact && !t.json {
			f.Action = Block
		}
		report.Blocked = report.Blocked || f.Action == Block
	}
	if !report.Blocked {
		report.Body = blot(body, spots)
	}
	first := firsts(spots)
	report.Total = len(first)
	report.Findings = tell(t, first)
	return report
}

// foundBefore has matches in joined texts be no findings of their own where one of
// their kind begins at the same place in an event alone: they are it, and perhaps its
// rest.
func foundBefore(spots []spot) {
	for i := range spots {
		s := &spots[i]
		for j := i - 1; s.finding.Path != "" && j >= 0 && spots[j].from == s.from; j-- {
			if f := &spots[j].finding; f.Path == "" && f.Check == s.finding.Check && f.Kind == s.finding.Kind {
				s.rest = true
			}
		}
	}
}

// firsts are the spots in which matches begin.
func firsts(spots []spot) []spot {
	rest := func(s spot) bool { return s.rest }
	if !slices.ContainsFunc(spots, rest) {
		return spots
	}
	return slices.DeleteFunc(slices.Clone(spots), rest)
}

// tell makes findings of spots: those that block first of all if there are too many.
func tell(t *texts, spots []spot) []Finding {
	if len(spots) == 0 {
		return nil
	}
	spots = worst(spots)
	where := paths(t, spots)
	all := make([]Finding, len(spots))
	for i, s := range spots {
		all[i] = s.finding
		if all[i].Path == "" {
			all[i].Path = where[i]
		}
	}
	return all
}

// worst are as many spots as are told, the severest if there are too many.
func worst(spots []spot) []spot {
	if len(spots) > maxFindings {
		slices.SortStableFunc(spots, func(a, b spot) int { return cmp.Compare(severity(b), severity(a)) })
		spots = spots[:maxFindings]
		sortSpots(spots)
	}
	return spots
}

func severity(s spot) int { return slices.Index([]Action{Flag, Redact, Block}, s.finding.Action) }

// modelSpots finds models that the agent may not use.
func (r *Rules) modelSpots(t *texts, s Subject) (spots []spot) {
	refused := Finding{Check: models, Kind: "model_not_allowed", Action: Block, Direction: Request}
	for _, n := range t.names {
		p := t.pieces[n]
		if !r.AllowsModel(string(t.joined[p.at:t.end(n)])) {
			spots = append(spots, spot{from: p.raw, to: p.raw + p.size, finding: refused})
		}
	}
	if s.Model != "" && len(spots) == 0 && !r.AllowsModel(s.Model) {
		refused.Path = "$" // it may be named in the address
		spots = append(spots, spot{finding: refused})
	}
	return spots
}

// end is where a piece ends in the joined texts.
func (t *texts) end(n int) int {
	switch {
	case n+1 == len(t.pieces):
		return len(t.joined) - 1
	case t.pieces[n+1].joins:
		return t.pieces[n+1].at
	}
	return t.pieces[n+1].at - 1
}

// checks are those that rules about a body of the direction ask for, each once; with
// an action, those of rules that have it.
func (r *Rules) checks(d Direction, only Action) (all []Check) {
	for _, rule := range r.rules {
		same := func(c Check) bool { return c.Name() == rule.Check }
		if rule.Direction.of(d) && (only == "" || rule.Action == only) && !slices.ContainsFunc(all, same) {
			all = append(all, rule.check)
		}
	}
	return all
}

// find runs each check that a rule asks for, once.
func (r *Rules) find(t *texts, s Subject) (spots []spot) {
	for _, c := range r.checks(s.Direction, "") {
		name := c.Name()
		c.Find(s, t.joined, func(m Match) { spots = r.place(spots, t, s, name, m) })
	}
	return spots
}

// place appends where a match is and what is to be done about it: a spot in each of
// the pieces that it lies in. Nothing for what no rule is about, and for what a check
// must not report.
func (r *Rules) place(spots []spot, t *texts, s Subject, check string, m Match) []spot {
	n := sort.Search(len(t.pieces), func(i int) bool { return t.pieces[i].at > m.From }) - 1
	if n < 0 || m.From >= m.To {
		return spots
	}
	last := n
	for ; m.To > t.end(last); last++ {
		if last+1 == len(t.pieces) || !t.pieces[last+1].joins {
			return spots
		}
	}
	p := &t.pieces[n]
	f := Finding{Check: check, Kind: safeKind(m.Kind), Direction: s.Direction, Path: streamPaths.places[p.leaf]}
	if p.tool && s.Direction == Request {
		f.Direction = ToolResult
	}
	for _, rule := range r.rules {
		if rule.Check == check && (rule.Direction == s.Direction || rule.Direction == f.Direction) && stricter(rule.Action, f.Action) {
			f.Action = rule.Action
		}
	}
	if f.Action == "" {
		return spots
	}
	if check != Injection {
		f.Hash = r.guard.hash(t.joined[m.From:m.To])
	}
	for i, before := n, len(spots); i <= last; i++ {
		p := &t.pieces[i]
		if p.firm {
			continue
		}
		if from, to := max(m.From, p.at), min(m.To, t.end(i)); from < to {
			from, to = t.raw(p, from, to)
			spots = append(spots, spot{from, to, f, len(spots) > before})
		}
	}
	return spots
}

func stricter(a, b Action) bool {
	order := []Action{"", Flag, Redact, Block}
	return slices.Index(order, a) > slices.Index(order, b)
}

// safeKind keeps a kind fit to stand in a JSON string as it is.
func safeKind(kind string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' {
			return c
		}
		return '_'
	}, kind[:min(len(kind), maxKind)])
}

// blot replaces what is to be blotted out; every other byte stays. Spots that overlap
// become one. It returns nil when there are none.
func blot(body []byte, spots []spot) []byte {
	var out []byte
	done, changed := 0, false
	for _, s := range spots {
		if s.finding.Action != Redact {
			continue
		}
		changed = true
		if s.from >= done {
			out = append(out, body[done:s.from]...)
			if !s.rest {
				out = append(out, "[redacted:"+s.finding.Kind+"]"...)
			}
		}
		done = max(done, s.to)
	}
	if !changed {
		return nil
	}
	return append(out, body[done:]...)
}
