package usage

import "bytes"

// Bounds of an envelope, in bytes. Those of the APIs have 60 to 450.
const (
	maxPrefix = 512
	maxSuffix = 256
)

// memo makes use of how nearly all events of a stream are one text in the same
// envelope: of a line that begins as one before, only the text, and what is behind
// it if that differs, is looked at. All that a meter knows is as if it had read the
// whole line; the prefix is only kept if reading it changed nothing that the memo
// does not put back.
type memo struct {
	prefix, suffix    int // lengths; a prefix of 0 is none
	head              [maxPrefix]byte
	tail              [maxSuffix]byte
	at                walker // behind the prefix
	typ, item, action name
	model, tier       string
	missed, learnNow  int // lines since the last that fitted, and when to learn next
}

// line reads a whole line of data, without its "data: ", whose document begins here.
func (o *memo) line(m *Meter, p []byte) {
	// Where the prefix names no model, one that another event named must stay.
	if o.prefix > 0 && m.model == o.model && m.tier == o.tier && bytes.HasPrefix(p, o.head[:o.prefix]) {
		o.missed, o.learnNow = 0, 1
		o.resume(m, p[o.prefix:])
		return
	}
	if o.missed++; o.missed < o.learnNow {
		m.doc.feed(m, p)
		return
	}
	o.learnNow *= 2 // of a stream whose envelopes all differ there is little to learn
	o.learn(m, p)
}

// resume goes on behind the prefix.
func (o *memo) resume(m *Meter, p []byte) {
	m.typ, m.item, m.action = o.typ, o.item, o.action
	n := quoteOrEscape(p)
	if n < len(p) && bytes.Equal(p[n:], o.tail[:o.suffix]) {
		m.text += int64(n)
		m.doc.state = done
		return
	}
	m.doc = o.at
	m.doc.feed(m, p)
}

// learn reads a line byte by byte, up to its text, and keeps its envelope.
func (o *memo) learn(m *Meter, p []byte) {
	changes, i := m.changes, 0
	for i < len(p) && i < maxPrefix && !m.doc.measures() {
		m.doc.feed(m, p[i:i+1])
		i++
	}
	if !m.doc.measures() || m.changes != changes || m.final {
		m.doc.feed(m, p[i:])
		return
	}
	o.at = m.doc
	o.typ, o.item, o.action, o.model, o.tier = m.typ, m.item, m.action, m.model, m.tier
	o.prefix, o.suffix = copy(o.head[:], p[:i]), 0
	n := i + quoteOrEscape(p[i:])
	m.doc.feed(m, p[i:n])
	text := m.text
	m.doc.feed(m, p[n:])
	if n < len(p) && p[n] == '"' && len(p)-n <= maxSuffix && m.doc.state == done && !m.final &&
		m.changes == changes && m.text == text && o.same(m) {
		o.suffix = copy(o.tail[:], p[n:])
	}
}

// same reports whether the names are as they were behind the prefix.
func (o *memo) same(m *Meter) bool {
	return m.typ == o.typ && m.item == o.item && m.action == o.action && m.model == o.model && m.tier == o.tier
}

// measures reports whether the walker is in a text.
func (w *walker) measures() bool { return w.state == inString && w.mode == measure }
