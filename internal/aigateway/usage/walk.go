package usage

import "bytes"

// Limits of what a walker keeps. They do not depend on the document.
const (
	maxFollowed = 16  // containers inside one another on a followed path; the deepest rule needs 8
	maxScalar   = 128 // bytes of a key or value that is wanted; no model's name is longer
)

// walker reads one JSON document that comes in pieces of any size. It follows the
// paths of a tree of rules and hops over everything else, keeping neither. It is
// lenient: what it finds in a document that is not quite JSON is of no consequence.
// Keys match as they are written, so one that is written with escapes is unknown.
type walker struct {
	root  *node
	cur   *node // of the value that comes or is under way; nil: nobody wants it
	state state
	mode  mode  // of the string under way
	esc   uint8 // of the escape under way: 1 after the backslash, then 1 more than hex digits left
	over  bool  // the string is longer than buf
	n     uint8 // bytes in buf
	depth uint8
	skip  int // containers open that nobody wants
	stack [maxFollowed]level
	buf   [maxScalar]byte
}

type level struct {
	node  *node
	array bool
}

type state uint8

const (
	atStart  state = iota // nothing but white space came
	inObject              // a key or the object's end comes
	atColon
	atValue
	inArray // a value or the array's end comes
	inString
	inLiteral // a number, true, false, null
	skipping  // inside a container that nobody wants
	done      // the document is closed
	broken    // this is no JSON
)

type mode uint8

const (
	hop     mode = iota // nobody wants it
	hopDeep             // inside a container that nobody wants
	key
	keep    // its value is wanted
	measure // its length counts as text
	unwrap  // it holds another document in base64
)

func (w *walker) reset() {
	w.state, w.depth, w.skip, w.esc = atStart, 0, 0, 0
}

// midway reports whether a document has begun and may go on.
func (w *walker) midway() bool {
	return w.state != atStart && w.state != done && w.state != broken
}

// feed reads the next piece of the document.
func (w *walker) feed(m *Meter, p []byte) {
	for i := 0; i < len(p); {
		switch w.state {
		case inString:
			i = w.str(m, p, i)
		case skipping:
			i = w.skipOn(m, p, i)
		case inLiteral:
			i = w.literal(m, p, i)
		case done, broken:
			return
		default:
			c := p[i]
			i++
			if c == ' ' || c == ',' || c == '\n' || c == '\r' || c == '\t' {
				continue
			}
			w.mark(m, c)
		}
	}
}

// mark reads a byte outside of strings and literals.
func (w *walker) mark(m *Meter, c byte) {
	switch {
	case w.state == inObject && c == '"':
		w.begin(key)
	case w.state == inObject && c == '}', w.state == inArray && c == ']':
		w.pop(m)
	case w.state == inObject:
		w.state = broken
	case w.state == atColon:
		w.state = atValue
		if c != ':' {
			w.state = broken
		}
	default:
		if w.state == inArray {
			w.cur = w.stack[w.depth-1].node
		} else if w.state == atStart {
			w.cur = w.root
			m.beginDocument()
		}
		w.value(m, c)
	}
}

// value begins the value whose first byte is c.
func (w *walker) value(m *Meter, c byte) {
	switch c {
	case '{', '[':
		w.push(m, c == '[')
	case '"':
		switch n := w.cur; {
		case n == nil:
			w.begin(hop)
		case n.text:
			w.begin(measure)
		case n.base64:
			m.beginBase64()
			w.begin(unwrap)
		case n.field != 0:
			w.begin(keep)
		default:
			w.begin(hop)
		}
	case '}', ']', ':':
		w.state = broken
	default:
		w.state, w.n, w.over = inLiteral, 1, false
		w.buf[0] = c
	}
}

func (w *walker) begin(how mode) {
	w.state, w.mode, w.n, w.over = inString, how, 0, false
}

func (w *walker) push(m *Meter, array bool) {
	if w.cur == nil || w.depth == maxFollowed || !array && len(w.cur.kids) == 0 && w.cur.act == 0 {
		w.state, w.skip = skipping, 1
		return
	}
	w.stack[w.depth] = level{w.cur, array}
	w.depth++
	w.state = inObject
	if array {
		w.state = inArray
	}
	if w.cur.act != 0 {
		m.open(w.cur.act, array)
	}
}

func (w *walker) pop(m *Meter) {
	w.depth--
	if l := w.stack[w.depth]; l.node.act != 0 {
		m.shut(l.node.act, l.array)
	}
	w.after(m)
}

// after goes on behind a value.
func (w *walker) after(m *Meter) {
	switch {
	case w.depth == 0:
		w.state = done
		m.endDocument()
	case w.stack[w.depth-1].array:
		w.state = inArray
	default:
		w.state = inObject
	}
}

// skipOn hops over a container that nobody wants.
func (w *walker) skipOn(m *Meter, p []byte, i int) int {
	for ; i < len(p); i++ {
		switch p[i] {
		case '"':
			w.begin(hopDeep)
			return i + 1
		case '{', '[':
			w.skip++
		case '}', ']':
			if w.skip--; w.skip > 0 {
				continue
			}
			w.after(m)
			return i + 1
		}
	}
	return i
}

// literal reads on in a number, true, false or null.
func (w *walker) literal(m *Meter, p []byte, i int) int {
	for ; i < len(p); i++ {
		switch c := p[i]; c {
		case ',', '}', ']', ' ', '\n', '\r', '\t', '"', ':', '{', '[':
			if w.cur != nil && w.cur.field != 0 && !w.over {
				m.leaf(w.cur.field, false, w.buf[:w.n])
			}
			w.after(m)
			return i
		default:
			w.put(c)
		}
	}
	return i
}

func (w *walker) put(c byte) {
	if w.n == maxScalar {
		w.over = true
		return
	}
	w.buf[w.n] = c
	w.n++
}

// str reads on in a string.
func (w *walker) str(m *Meter, p []byte, i int) int {
	if w.esc != 0 {
		w.escape(m, p[i])
		return i + 1
	}
	j := i + quoteOrEscape(p[i:])
	switch w.mode {
	case key, keep:
		n := copy(w.buf[w.n:], p[i:j])
		w.n += uint8(n)
		w.over = w.over || n < j-i
	case measure:
		m.text += int64(j - i)
	case unwrap:
		m.base64(p[i:j])
	}
	if j == len(p) {
		return j
	}
	if p[j] == '\\' {
		w.esc = 1
	} else {
		w.endString(m)
	}
	return j + 1
}

// escape reads a byte of an escape. For a measured text, \n counts as one byte and
// \u4e2d as three, which is what most characters that are written so take.
func (w *walker) escape(m *Meter, c byte) {
	first := w.esc == 1
	w.esc--
	if first && c == 'u' {
		w.esc = 5
	}
	if w.esc == 1 {
		w.esc = 0
	}
	switch w.mode {
	case key, keep:
		if first {
			w.put('\\')
		}
		w.put(c)
	case measure:
		if first && c == 'u' {
			m.text += 3
		} else if first {
			m.text++
		}
	case unwrap:
		if first && c == '/' {
			m.base64([]byte{'/'})
		}
	}
}

func (w *walker) endString(m *Meter) {
	switch w.mode {
	case hopDeep:
		w.state = skipping
		return
	case key:
		w.state, w.cur = atColon, nil
		if !w.over {
			w.cur = w.stack[w.depth-1].node.kid(w.buf[:w.n])
		}
		return
	case keep:
		if !w.over {
			m.leaf(w.cur.field, true, w.buf[:w.n])
		} else {
			m.leaf(w.cur.field, true, nil)
		}
	case unwrap:
		m.endBase64()
	}
	w.after(m)
}

// quoteOrEscape is the place of the first quotation mark or backslash, or len(p).
// Blocks bound what a text full of escapes makes it read twice.
func quoteOrEscape(p []byte) int {
	const short, block = 24, 512
	for i, c := range p[:min(len(p), short)] {
		if c == '"' || c == '\\' {
			return i
		}
	}
	for at := short; at < len(p); at += block {
		b := p[at:min(len(p), at+block)]
		q := bytes.IndexByte(b, '"')
		if q >= 0 {
			b = b[:q]
		}
		if e := bytes.IndexByte(b, '\\'); e >= 0 {
			return at + e
		}
		if q >= 0 {
			return at + q
		}
	}
	return len(p)
}
