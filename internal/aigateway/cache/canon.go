package cache

import (
	"bytes"
	"cmp"
	"slices"
	"sync"
)

// Bounds of what is brought into canonical form; anything beyond is taken as bytes.
const (
	maxDepth   = 512     // containers inside one another
	maxKey     = 256     // bytes of a member's name
	maxMembers = 1 << 12 // of one object
	maxMoved   = 1 << 16 // members of objects that are out of order, in all
	maxPooled  = 1 << 20
)

// canon brings a JSON document into canonical form: no white space between tokens,
// members in order of their names. Texts and numbers stay as they are written, since
// a model may be told the difference, and so their inside needs no check either.
//
// When in doubt it refuses: an object with two members of one name means one thing
// to some readers and another to others, depending on the order. Names that a reader
// may take for one another count as one: those that differ in case only (Go), or
// that are written with escapes or in other than ASCII.
//
// It takes time proportional to the document, times at most the logarithm of
// maxMembers: the document is copied once without its white space; objects that are
// out of order are noted, and put into order on the way out.
type canon struct {
	src     []byte
	text    []byte   // src without white space
	out     []byte   // text, put into order
	open    []member // of objects that are open
	moved   []member // of closed objects that are out of order, sorted
	objects []object // that are out of order
}

// member is a stretch of text: name, colon and value.
type member struct{ from, to, name int }

// object is a stretch of text, braces included, whose members are moved[first:last].
type object struct{ from, to, first, last int }

var canonPool = sync.Pool{New: func() any { return new(canon) }}

func (c *canon) release() {
	if cap(c.text) > maxPooled {
		return
	}
	c.src = nil
	canonPool.Put(c)
}

// read takes a document in; false when it is not JSON, or in doubt.
func (c *canon) read(doc []byte) bool {
	c.src = doc
	c.text = slices.Grow(c.text[:0], len(doc))
	c.open, c.moved, c.objects = c.open[:0], c.moved[:0], c.objects[:0]
	i, ok := c.value(skip(doc, 0), 0)
	if !ok || skip(doc, i) != len(doc) {
		return false
	}
	slices.SortFunc(c.objects, func(a, b object) int { return cmp.Compare(a.from, b.from) })
	return true
}

// skip finds the next byte that is no white space.
func skip(p []byte, i int) int {
	for i < len(p) && (p[i] == ' ' || p[i] == '\n' || p[i] == '\t' || p[i] == '\r') {
		i++
	}
	return i
}

// value takes the value at i in, and returns where it ends.
func (c *canon) value(i, depth int) (end int, ok bool) {
	if i >= len(c.src) || depth > maxDepth {
		return i, false
	}
	switch b := c.src[i]; b {
	case '{':
		return c.object(i, depth)
	case '[':
		return c.array(i, depth)
	case '"':
		return c.string(i)
	default:
		return c.literal(i)
	}
}

func (c *canon) array(i, depth int) (end int, ok bool) {
	c.text = append(c.text, '[')
	i = skip(c.src, i+1)
	if i < len(c.src) && c.src[i] == ']' {
		c.text = append(c.text, ']')
		return i + 1, true
	}
	for {
		if i, ok = c.value(i, depth+1); !ok {
			return i, false
		}
		if i = skip(c.src, i); i >= len(c.src) {
			return i, false
		}
		b := c.src[i]
		if b != ',' && b != ']' {
			return i, false
		}
		c.text = append(c.text, b)
		if b == ']' {
			return i + 1, true
		}
		i = skip(c.src, i+1)
	}
}

func (c *canon) object(i, depth int) (end int, ok bool) {
	from, first := len(c.text), len(c.open)
	c.text = append(c.text, '{')
	i = skip(c.src, i+1)
	if i < len(c.src) && c.src[i] == '}' {
		c.text = append(c.text, '}')
		return i + 1, true
	}
	for {
		if i, ok = c.member(i, depth); !ok || len(c.open)-first > maxMembers {
			return i, false
		}
		if i = skip(c.src, i); i >= len(c.src) {
			return i, false
		}
		b := c.src[i]
		if b != ',' && b != '}' {
			return i, false
		}
		c.text = append(c.text, b)
		if b == '}' {
			return i + 1, c.close(from, first)
		}
		i = skip(c.src, i+1)
	}
}

// member takes a name, colon and value in.
func (c *canon) member(i, depth int) (end int, ok bool) {
	if i >= len(c.src) || c.src[i] != '"' {
		return i, false
	}
	m := member{from: len(c.text)}
	if i, ok = c.string(i); !ok || !plainName(c.text[m.from+1:len(c.text)-1]) {
		return i, false
	}
	m.name = len(c.text) - m.from
	if i = skip(c.src, i); i >= len(c.src) || c.src[i] != ':' {
		return i, false
	}
	c.text = append(c.text, ':')
	if i, ok = c.value(skip(c.src, i+1), depth+1); !ok {
		return i, false
	}
	m.to = len(c.text)
	c.open = append(c.open, m)
	return i, true
}

// plainName tells names that are read one way only.
func plainName(name []byte) bool {
	if len(name) > maxKey {
		return false
	}
	for _, b := range name {
		if b < ' ' || b > '~' || b == '\\' {
			return false
		}
	}
	return true
}

// close ends an object: its members are put into order if they are not. False when
// two names are one, or too much is out of order.
func (c *canon) close(from, first int) bool {
	members := c.open[first:]
	sorted := true
	for i := 1; i < len(members) && sorted; i++ {
		sorted = c.byName(members[i-1], members[i]) < 0
	}
	if !sorted {
		if len(c.moved)+len(members) > maxMoved {
			return false
		}
		slices.SortFunc(members, c.byName)
		for i := 1; i < len(members); i++ {
			if c.byName(members[i-1], members[i]) == 0 {
				return false
			}
		}
		at := len(c.moved)
		c.moved = append(c.moved, members...)
		c.objects = append(c.objects, object{from, len(c.text), at, len(c.moved)})
	}
	c.open = c.open[:first]
	return true
}

// byName compares without regard to case, quotes included.
func (c *canon) byName(a, b member) int {
	x, y := c.text[a.from:a.from+a.name], c.text[b.from:b.from+b.name]
	for i := range min(len(x), len(y)) {
		if d := int(lower(x[i])) - int(lower(y[i])); d != 0 {
			return d
		}
	}
	return len(x) - len(y)
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

// string takes a text in, as it is.
func (c *canon) string(i int) (end int, ok bool) {
	for from := i + 1; ; {
		n := bytes.IndexByte(c.src[from:], '"')
		if n < 0 {
			return i, false
		}
		at, slashes := from+n, 0
		for at-slashes > from && c.src[at-slashes-1] == '\\' {
			slashes++
		}
		from = at + 1
		if slashes%2 == 0 {
			c.text = append(c.text, c.src[i:from]...)
			return from, true
		}
	}
}

// literal takes a number, true, false or null in, as it is.
func (c *canon) literal(i int) (end int, ok bool) {
	end = i
	for end < len(c.src) && isLiteral(c.src[end]) {
		end++
	}
	c.text = append(c.text, c.src[i:end]...)
	return end, end > i
}

func isLiteral(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || b == '-' || b == '+' || b == '.' || b == 'E'
}

// form is the canonical form, good until the next read.
func (c *canon) form() []byte {
	if len(c.objects) == 0 {
		return c.text
	}
	c.out = c.emit(slices.Grow(c.out[:0], len(c.text)), 0, len(c.text))
	return c.out
}

// emit appends a stretch of text with the objects in it put into order.
func (c *canon) emit(out []byte, from, to int) []byte {
	for from < to {
		n, _ := slices.BinarySearchFunc(c.objects, from, func(o object, at int) int { return cmp.Compare(o.from, at) })
		if n == len(c.objects) || c.objects[n].from >= to {
			return append(out, c.text[from:to]...)
		}
		o := c.objects[n]
		out = append(out, c.text[from:o.from+1]...)
		for i, m := range c.moved[o.first:o.last] {
			if i > 0 {
				out = append(out, ',')
			}
			out = c.emit(out, m.from, m.to)
		}
		from = o.to - 1 // its brace
	}
	return out
}
