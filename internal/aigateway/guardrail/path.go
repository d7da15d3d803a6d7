package guardrail

import (
	"strconv"
	"strings"
)

const (
	maxPath     = 256 // bytes of a path that is told
	maxPathName = 32  // bytes of a name in it
)

// step is a container on the way to a place.
type step struct {
	array    bool
	index    int
	from, to int // the name of the member under way, in src
	naming   bool
}

// paths finds the JSON paths of spots, which are in order of their places, in one
// walk through a document that texts.read has understood.
func paths(t *texts, spots []spot) []string {
	found := make([]string, len(spots))
	if !t.json {
		for i := range found {
			found[i] = "$"
		}
		return found
	}
	var stack []step
	next := 0
	w := walker{t: t}
	for w.i < len(t.src) && next < len(spots) {
		b := w.byte()
		var top *step
		if len(stack) > 0 {
			top = &stack[len(stack)-1]
		}
		switch b {
		case '{', '[':
			stack = append(stack, step{array: b == '[', naming: b == '{'})
		case '}', ']':
			stack = stack[:len(stack)-1]
		case ',':
			top.index++
			top.naming = !top.array
		case ':':
			top.naming = false
		case '"':
			from, to, _, _ := w.str()
			if top.naming {
				top.from, top.to = from, to
				break
			}
			for next < len(spots) && spots[next].from <= to {
				found[next] = path(t.src, stack)
				next++
			}
		}
	}
	return found
}

func path(src []byte, stack []step) string {
	var b strings.Builder
	b.WriteByte('$')
	for _, s := range stack {
		if s.array {
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		} else {
			b.WriteString("." + tellable(src[s.from:s.to]))
		}
		if b.Len() > maxPath {
			return b.String()[:maxPath] + "..."
		}
	}
	return b.String()
}

// tellable is a member's name, or * for one that may itself be what must not be told.
func tellable(name []byte) string {
	if len(name) == 0 || len(name) > maxPathName {
		return "*"
	}
	digits := 0
	for _, c := range name {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case !isToken(c) || c == '-':
			return "*"
		}
	}
	if digits > 3 {
		return "*"
	}
	secret := false
	secrets{}.Find(Subject{}, name, func(Match) { secret = true })
	if secret {
		return "*"
	}
	return string(name)
}
