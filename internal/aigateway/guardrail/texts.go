package guardrail

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the containers inside one another that are followed.
const maxDepth = 1000

// texts are the texts of a body, one after another with a zero byte behind each.
type texts struct {
	src    []byte
	joined []byte
	pieces []piece
	tools  []int // how many tool results begin (or, negative, end) before a piece
	names  []int // pieces that name a model
	stack  []level
	json   bool

	// streams: src is a stream's, so what APIs stream becomes deltas and no piece.
	streams bool
	both    bool // it becomes pieces all the same: src is one array of events
	open    bool // the event has a line of data that is no JSON
	deltas  []delta
	events  []event // those that are one document over several lines
	flat    []byte  // the data of such an event
}

// piece is one text: a JSON string without its quotes.
type piece struct {
	at   int  // in joined
	raw  int  // in src
	size int  // in src
	tool bool // part of a tool's result
	esc  bool // it is written with escapes, so the lengths differ

	joins bool  // it goes on with the text of the piece before: no zero byte between
	firm  bool  // it stands nowhere in src
	leaf  uint8 // of a streamed text's pieces
}

// opaque are members whose texts are keys and ciphers of the API itself: changing
// them breaks the call, and what they hold is not the caller's.
var opaque = map[string]bool{
	"signature": true, "encrypted_content": true, "thoughtSignature": true, "thought_signature": true,
}

// level is a container that is open.
type level struct {
	array bool
	tool  bool   // it is a tool's result
	first int    // piece of it
	key   string // of the member under way

	// For streams only.
	node   uint8  // of the container, among streamPaths
	word   uint8  // of the member under way
	deltas int    // how many there were when it began
	apart  uint64 // what tells the texts in it from others of the same path
}

func (t *texts) reset(src []byte) {
	t.src, t.json, t.streams, t.both, t.open = src, false, false, false, false
	t.joined, t.pieces, t.tools, t.names = t.joined[:0], t.pieces[:0], t.tools[:0], t.names[:0]
	t.deltas, t.events = t.deltas[:0], t.events[:0]
}

// read finds the texts of a JSON document; of anything else, all of it is one. It is
// lenient with what does not matter to where texts begin and end. An answer may be an
// array of a stream's events: what is streamed in them follows once more, joined.
func (t *texts) read(src []byte, answer bool) {
	t.reset(src)
	t.both = answer && opening(src) == '['
	t.streams = t.both
	if t.json = t.doc(0, len(src)); !t.json {
		t.add(0, len(src), false)
	}
	t.markTools()
	if t.both {
		t.joinDeltas()
	}
}

// opening is the bracket that a document begins with; 0 if src begins with none.
func opening(src []byte) byte {
	src = bytes.TrimLeft(src, " \t\r\n")
	if len(src) > 0 && (src[0] == '{' || src[0] == '[') {
		return src[0]
	}
	return 0
}

// markTools marks the pieces that are part of a tool's result.
func (t *texts) markTools() {
	if len(t.tools) == 0 {
		return
	}
	open := 0
	for i := range t.pieces {
		if i < len(t.tools) {
			open += t.tools[i]
		}
		t.pieces[i].tool = open > 0
	}
}

// extent is how much texts hold.
type extent struct{ joined, pieces, names, deltas int }

func (t *texts) extent() extent {
	return extent{len(t.joined), len(t.pieces), len(t.names), len(t.deltas)}
}

// shrink forgets what was taken in since the texts held less.
func (t *texts) shrink(e extent) {
	t.joined, t.pieces, t.names, t.deltas = t.joined[:e.joined], t.pieces[:e.pieces], t.names[:e.names], t.deltas[:e.deltas]
	t.tools = t.tools[:0]
}

// doc takes in the texts of the JSON document src[from:to]; of anything else nothing,
// and it returns false. Of an array of events that was cut the deltas stay.
func (t *texts) doc(from, to int) bool {
	before := t.extent()
	whole := t.src
	t.src = whole[:to]
	w := walker{t: t, i: from, stack: t.stack[:0]}
	ok := w.walk()
	if !ok && t.both {
		for len(w.stack) > 0 { // what was said until then tells the texts apart
			w.close()
		}
		before.deltas = len(t.deltas)
	}
	t.src, t.stack = whole, w.stack
	if !ok {
		t.shrink(before)
	}
	return ok
}

// add takes a text in.
func (t *texts) add(raw, size int, esc bool) {
	t.pieces = append(t.pieces, piece{at: len(t.joined), raw: raw, size: size, esc: esc})
	t.joined = append(appendPlain(t.joined, t.src[raw:raw+size], esc), 0)
}

// join takes a piece of a streamed text in. The zero byte behind its last one is left
// to the caller.
func (t *texts) join(d delta, joins bool) {
	t.pieces = append(t.pieces, piece{at: len(t.joined), raw: d.raw, size: d.size, esc: d.esc, joins: joins, firm: d.gap, leaf: d.leaf})
	t.joined = t.appendDelta(t.joined, d)
}

// appendDelta appends what a delta says.
func (t *texts) appendDelta(b []byte, d delta) []byte {
	if d.gap {
		return append(b, '\n')
	}
	return appendPlain(b, t.src[d.raw:d.raw+d.size], d.esc)
}

// appendPlain appends a JSON string's letters, its escapes decoded if it has any.
func appendPlain(b, p []byte, esc bool) []byte {
	for esc && len(p) > 0 {
		n := bytes.IndexByte(p, '\\')
		if n < 0 {
			break
		}
		b = append(b, p[:n]...)
		r, used := unescape(p[n:])
		b = utf8.AppendRune(b, r)
		p = p[n+used:]
	}
	return append(b, p...)
}

// unescape reads the escape that p begins with. What is none stands for itself.
func unescape(p []byte) (r rune, used int) {
	if len(p) < 2 {
		return '\\', 1
	}
	switch p[1] {
	case 'n':
		return '\n', 2
	case 't':
		return '\t', 2
	case 'r':
		return '\r', 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case '"', '\\', '/':
		return rune(p[1]), 2
	case 'u':
		r, ok := hex4(p[2:])
		if !ok {
			return '\\', 1
		}
		if utf16.IsSurrogate(r) && len(p) >= 12 && p[6] == '\\' && p[7] == 'u' {
			if low, ok := hex4(p[8:]); ok {
				if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
					return both, 12
				}
			}
		}
		return r, 6 // half a pair becomes U+FFFD when it is appended
	}
	return '\\', 1
}

func hex4(p []byte) (r rune, ok bool) {
	if len(p) < 4 {
		return 0, false
	}
	for _, c := range p[:4] {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// raw finds where in the source a stretch of a piece is, both in bytes from the
// joined texts' beginning. An escape that is touched belongs to it as a whole.
func (t *texts) raw(p *piece, from, to int) (int, int) {
	from, to = from-p.at, to-p.at
	if !p.esc {
		return p.raw + from, p.raw + to
	}
	src := t.src[p.raw : p.raw+p.size]
	begin, at, i := -1, 0, 0
	for i < len(src) && at < to {
		n, used := 1, 1
		if src[i] == '\\' {
			var r rune
			if r, used = unescape(src[i:]); utf8.ValidRune(r) {
				n = utf8.RuneLen(r)
			} else {
				n = len("\uFFFD")
			}
		}
		if begin < 0 && at+n > from {
			begin = i
		}
		at += n
		i += used
	}
	return p.raw + begin, p.raw + i
}

// walker finds the strings of a JSON document.
type walker struct {
	t     *texts
	i     int
	stack []level
	kind  uint64 // of the event: its "type"
}

// walk goes through the document; false when it is none.
func (w *walker) walk() bool {
	if w.space(); w.i >= len(w.t.src) || w.t.src[w.i] != '{' && w.t.src[w.i] != '[' {
		return false
	}
	for {
		if !w.value() {
			return false
		}
		// After a value: what is open goes on, or ends.
		for {
			if len(w.stack) == 0 {
				w.space()
				return w.i == len(w.t.src)
			}
			top := &w.stack[len(w.stack)-1]
			b := w.byte()
			if b == ',' {
				if !top.array && !w.name(top) {
					return false
				}
				break
			}
			if b != '}' && b != ']' || top.array != (b == ']') {
				return false
			}
			w.close()
		}
	}
}

func (w *walker) space() {
	src := w.t.src
	for w.i < len(src) && (src[w.i] == ' ' || src[w.i] == '\n' || src[w.i] == '\t' || src[w.i] == '\r') {
		w.i++
	}
}

// byte takes the next byte that is no white space; 0 at the end.
func (w *walker) byte() byte {
	if w.space(); w.i >= len(w.t.src) {
		return 0
	}
	w.i++
	return w.t.src[w.i-1]
}

// value takes a scalar, or opens containers down to the first scalar or empty one.
func (w *walker) value() bool {
	for {
		switch b := w.byte(); b {
		case '{', '[':
			if len(w.stack) == maxDepth {
				return false
			}
			w.open(b == '[')
			w.space()
			if w.i < len(w.t.src) && (w.t.src[w.i] == '}' || w.t.src[w.i] == ']') {
				if (w.t.src[w.i] == ']') != (b == '[') {
					return false
				}
				w.i++
				w.close()
				return true
			}
			if b == '{' && !w.name(&w.stack[len(w.stack)-1]) {
				return false
			}
		case '"':
			return w.text()
		default:
			return w.scalar(b)
		}
	}
}

// endsScalar are the bytes that no number and no word goes on with.
var endsScalar = func() (t [256]bool) {
	for _, c := range []byte(",]} \n\r\t\"{[:") {
		t[c] = true
	}
	return t
}()

func (w *walker) scalar(b byte) bool {
	if b != '-' && (b < '0' || b > '9') && (b < 'a' || b > 'z') {
		return false
	}
	src, from := w.t.src, w.i-1
	for w.i < len(src) && !endsScalar[src[w.i]] {
		w.i++
	}
	w.tells(src[from:w.i])
	return true
}

// tells notes a value that tells streamed texts apart.
func (w *walker) tells(value []byte) {
	if !w.t.streams || len(w.stack) == 0 {
		return
	}
	if top := &w.stack[len(w.stack)-1]; !top.array && top.word >= streamPaths.apart && !nothing(value) {
		top.apart += mixed64(top.word, value)
	}
}

// str takes what follows a quote up to the next, and tells where it is.
func (w *walker) str() (from, to int, esc, ok bool) {
	src := w.t.src
	from = w.i
	for {
		n := bytes.IndexByte(src[w.i:], '"')
		if n < 0 {
			return 0, 0, false, false
		}
		at, slashes := w.i+n, 0
		for at-slashes > w.i && src[at-slashes-1] == '\\' {
			slashes++
		}
		w.i = at + 1
		if slashes%2 == 0 {
			return from, at, bytes.IndexByte(src[from:at], '\\') >= 0, true
		}
	}
}

// name takes a member's name and colon.
func (w *walker) name(top *level) bool {
	if w.byte() != '"' {
		return false
	}
	from, to, esc, ok := w.str()
	if !ok || w.byte() != ':' {
		return false
	}
	top.key = nameOf(w.t.src[from:to], esc)
	if w.t.streams && top.node != dead {
		top.word = streamPaths.word(w.t.src[from:to], esc)
	}
	switch top.key { // Amazon and Google have a member for it
	case "toolResult", "functionResponse", "function_response":
		top.tool = true
	}
	return true
}

// text takes a string value.
func (w *walker) text() bool {
	from, to, esc, ok := w.str()
	if !ok {
		return false
	}
	if len(w.stack) == 0 {
		return false // a lone text is no request
	}
	top := &w.stack[len(w.stack)-1]
	value := w.t.src[from:to]
	switch {
	case top.key == "type" && (string(value) == "tool_result" || bytes.HasSuffix(value, []byte("_tool_result")) || string(value) == "function_call_output"),
		top.key == "role" && (string(value) == "tool" || string(value) == "function"):
		top.tool = true
	case len(w.stack) == 1 && top.key == "model", len(w.stack) == 2 && top.array && w.stack[0].key == "models":
		w.t.names = append(w.t.names, len(w.t.pieces))
	}
	if w.t.streams {
		if top.key == "type" && w.inEvent() {
			w.kind = mixed64(0, value)
		}
		w.tells(value)
		if leaf := streamPaths.leaf[w.node(top)]; leaf != noLeaf {
			w.t.deltas = append(w.t.deltas, delta{raw: from, size: to - from, esc: esc, leaf: leaf, key: uint64(leaf)})
			if !w.t.both {
				return true
			}
		}
	}
	if !opaque[top.key] {
		w.t.add(from, to-from, esc)
	}
	return true
}

// inEvent says whether the container under way is an event: the document, or what
// stands in it if it is an array.
func (w *walker) inEvent() bool {
	n := len(w.stack)
	return n == 1 || n == 2 && w.stack[0].array
}

// node is where among the paths of streamed texts a container's next value stands.
func (w *walker) node(top *level) uint8 {
	if top.array {
		return top.node
	}
	return streamPaths.next[top.node][top.word]
}

func (w *walker) open(array bool) {
	l := level{array: array, first: len(w.t.pieces)}
	if w.t.streams {
		l.node, l.deltas = rootNode, len(w.t.deltas)
		if n := len(w.stack); n > 0 {
			if l.node = w.node(&w.stack[n-1]); array && w.stack[n-1].array {
				l.node = dead
			}
		}
	}
	w.stack = append(w.stack, l)
	if w.t.streams && w.inEvent() {
		w.kind = 0
	}
}

func (w *walker) close() {
	l := w.stack[len(w.stack)-1]
	w.stack = w.stack[:len(w.stack)-1]
	if w.t.streams {
		w.sort(l)
		return // an answer has no tool's results
	}
	if !l.tool {
		return
	}
	for len(w.t.tools) <= len(w.t.pieces) {
		w.t.tools = append(w.t.tools, 0)
	}
	w.t.tools[l.first]++
	w.t.tools[len(w.t.pieces)]--
}

// sort puts what an object says about the texts in it into their keys. Texts stand a
// few objects deep, so each is met a few times.
func (w *walker) sort(l level) {
	if l.array {
		return
	}
	for i := l.deltas; i < len(w.t.deltas); i++ {
		d := &w.t.deltas[i]
		d.key = d.key*fnvPrime + l.apart
		if d.leaf == eventLeaf {
			d.key += w.kind
		}
	}
}

// maxName bounds the names of members that mean something.
const maxName = 24

var names = []string{"type", "role", "model", "models", "toolResult", "functionResponse", "function_response",
	"signature", "encrypted_content", "thoughtSignature", "thought_signature"}

// nameOf gives the names that mean something, and "" for others. Some servers do not
// care about case, so neither does this.
func nameOf(b []byte, esc bool) string {
	if esc && len(b) <= 6*maxName {
		b = plainName(b)
	}
	if len(b) < len("type") || len(b) > maxName {
		return ""
	}
	for _, name := range names {
		if len(name) == len(b) && bytes.EqualFold(b, []byte(name)) {
			return name
		}
	}
	return ""
}

func plainName(b []byte) []byte { return appendPlain(nil, b, true) }
