package route

import "strings"

// pattern is a text in which * stands for any run of characters, the empty one and /
// included.
type pattern struct {
	source string
	star   bool     // there is a *; else the source is all
	head   string   // before the first *
	middle []string // between them, without empty ones
	tail   string   // after the last
}

func compile(source string) pattern {
	parts := strings.Split(source, "*")
	last := len(parts) - 1
	if last == 0 {
		return pattern{source: source}
	}
	p := pattern{source: source, star: true, head: parts[0], tail: parts[last]}
	for _, part := range parts[1:last] {
		if part != "" {
			p.middle = append(p.middle, part)
		}
	}
	return p
}

// matches takes each part at the first place where it is: a later one would leave
// less for the parts behind it, so none has to be tried again.
func (p *pattern) matches(text string) bool {
	if !p.star {
		return text == p.source
	}
	if len(text) < len(p.head)+len(p.tail) || !strings.HasPrefix(text, p.head) || !strings.HasSuffix(text, p.tail) {
		return false
	}
	text = text[len(p.head) : len(text)-len(p.tail)]
	for _, part := range p.middle {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}

// set is a set of routes, by their places in the file.
type set [(maxRoutes + 63) / 64]uint64

// everyRoute has all that there may be.
var everyRoute = func() (s set) {
	for i := range s {
		s[i] = 1<<64 - 1
	}
	return s
}()

func (s *set) add(i int)     { s[i/64] |= 1 << (i % 64) }
func (s set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s set) or(o set) set {
	for i := range s {
		s[i] |= o[i]
	}
	return s
}

func (s set) and(o set) set {
	for i := range s {
		s[i] &= o[i]
	}
	return s
}

// beyond says whether s has routes that are not in o.
func (s set) beyond(o set) bool {
	for i := range s {
		if s[i]&^o[i] != 0 {
			return true
		}
	}
	return false
}

// index is one condition of all routes at once, so that a text is looked up rather
// than compared with what each route says.
type index struct {
	always set            // routes without the condition
	exact  map[string]set // by a pattern without *
	globs  []glob
	places map[string]int // of patterns in globs
}

// glob is a pattern with *, and the routes that have it.
type glob struct {
	pattern
	routes set
}

// add puts in what route i says; nil is that it has no such condition. A route that
// is put in nowhere is never found by conditions.
func (x *index) add(i int, patterns []pattern) {
	if patterns == nil {
		x.always.add(i)
		return
	}
	if x.exact == nil {
		x.exact, x.places = map[string]set{}, map[string]int{}
	}
	for _, p := range patterns {
		if !p.star {
			s := x.exact[p.source]
			s.add(i)
			x.exact[p.source] = s
			continue
		}
		n, ok := x.places[p.source]
		if !ok {
			n = len(x.globs)
			x.places[p.source] = n
			x.globs = append(x.globs, glob{pattern: p})
		}
		x.globs[n].routes.add(i)
	}
}

// narrow keeps the routes whose condition holds for a text.
func (x *index) narrow(left set, text string) set {
	if left == (set{}) {
		return left
	}
	held := x.always.or(x.exact[text])
	for i := range x.globs {
		g := &x.globs[i]
		if g.routes.and(left).beyond(held) && g.matches(text) {
			held = held.or(g.routes)
		}
	}
	return left.and(held)
}
