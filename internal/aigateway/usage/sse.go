package usage

import "bytes"

// lines reads server-sent events line by line
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). Servers that
// put no blank line between events are understood too.
type lines struct {
	part  part
	open  bool // the current line has bytes
	event bool // the current event has lines
	blank bool // the current line's bytes are a carriage return, at most
	mark  int  // how much of "[DONE]" the data is so far; -1: it is something else
	n     uint8
	word  [40]byte // field name, then an event's name; longer ones are none that count
	plain bool     // the event's data is text, not JSON
}

// part is where in a line the reader is.
type part uint8

const (
	inField part = iota
	atData       // behind "data:"; one space is no part of the data
	inData
	inEventName
	inOther
)

const doneMark = "[DONE]"

func (l *lines) feed(m *Meter, p []byte) {
	for i := 0; i < len(p); {
		n := lineEnd(p[i:])
		if l.part == inField && !l.open && i+n < len(p) && n > len("data: ") {
			if l.whole(m, p[i:i+n+1]) {
				i += n + 1
				continue
			}
		}
		if n > 0 {
			l.piece(m, p[i:i+n])
		}
		if i += n; i < len(p) {
			l.endLine(m)
			i++
		}
	}
}

// whole reads a line that is all there, with its break, if it is one of those that
// nearly all are: an event's name, or data that is a document.
func (l *lines) whole(m *Meter, line []byte) bool {
	if string(line[:6]) == "event:" && len(line) <= len(l.word) {
		l.event = true
		l.name(m, line[6:])
		return true
	}
	if string(line[:7]) != "data: {" || m.doc.midway() || l.plain {
		return false
	}
	m.doc.reset()
	m.memo.line(m, line[6:])
	l.event = true
	return true
}

func lineEnd(p []byte) int {
	if n := bytes.IndexByte(p, '\n'); n >= 0 {
		return n
	}
	return len(p)
}

// piece reads on in a line.
func (l *lines) piece(m *Meter, p []byte) {
	if !l.open {
		l.open, l.blank = true, true
	}
	for l.part == inField && len(p) > 0 {
		c := p[0]
		p = p[1:]
		l.blank = l.blank && c == '\r'
		if c == ':' {
			l.field(m)
		} else {
			l.put(c)
		}
	}
	if l.part == atData && len(p) > 0 {
		l.part = inData
		if p[0] == ' ' {
			p = p[1:]
		}
	}
	switch l.part {
	case inData:
		l.data(m, p)
	case inEventName:
		for _, c := range p {
			l.put(c)
		}
	}
}

func (l *lines) put(c byte) {
	if int(l.n) < len(l.word) {
		l.word[l.n] = c
		l.n++
	}
}

// field decides by the field's name what the rest of the line is.
func (l *lines) field(m *Meter) {
	switch string(l.word[:l.n]) {
	case "data":
		l.beginData(m)
	case "event":
		l.part = inEventName
	default:
		l.part = inOther
	}
	l.n = 0
}

// beginData begins a line of data, which goes on with a document that the
// event's previous lines left open.
func (l *lines) beginData(m *Meter) {
	l.part, l.mark = atData, 0
	if !m.doc.midway() {
		m.doc.reset()
	}
}

func (l *lines) data(m *Meter, p []byte) {
	if l.plain {
		m.text += int64(len(p))
	}
	for _, c := range p {
		if l.mark < 0 {
			break
		}
		switch {
		case l.mark < len(doneMark) && c == doneMark[l.mark]:
			l.mark++
		case l.mark < len(doneMark) || c != '\r' && c != ' ':
			l.mark = -1
		}
	}
	m.doc.feed(m, p)
}

// saysDone reports whether the current line is data that ends a stream.
func (l *lines) saysDone() bool { return l.part == inData && l.mark == len(doneMark) }

func (l *lines) endLine(m *Meter) {
	switch {
	case !l.open || l.blank:
		m.ended = m.ended || m.final
		m.final, l.event, l.plain = false, false, false
		m.doc.reset()
	case l.part == inEventName:
		l.name(m, l.word[:l.n])
		l.event = true
	default:
		m.ended = m.ended || l.saysDone() && m.endsByDone()
		l.event = true
	}
	if l.part == inData || l.part == atData {
		m.doc.feed(m, []byte{'\n'})
	}
	l.part, l.open, l.n = inField, false, 0
}

func (l *lines) name(m *Meter, b []byte) {
	t := nameOf(bytes.TrimSpace(b))
	m.named(t)
	l.plain = t == outputEvent && m.kind == Replicate
}
