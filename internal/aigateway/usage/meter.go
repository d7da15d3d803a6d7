package usage

import "encoding/base64"

// Meter reads an answer as it passes, in pieces of any size, and knows what it
// consumed and whether it is complete. It keeps a fixed, small amount of memory
// whatever comes, and how the answer is cut makes no difference. It is not safe
// for concurrent use.
type Meter struct {
	kind    Kind
	framing Framing
	bytes   int64 // that passed

	doc   walker // of the document that counts
	shell walker // of the one around it, which Bedrock's raw streams have
	lines lines
	memo  memo
	msgs  messages
	wrap  struct {
		n int
		b [64]byte // base64 that is not decoded yet
	}

	failed bool // an error is part of the answer

	final bool // the event or document under way is the last of the protocol
	ended bool // the last one is complete
	tally
}

// NewMeter makes a meter for an answer of an API's form that comes framed as f.
func NewMeter(k Kind, f Framing) *Meter {
	m := &Meter{kind: k, framing: f}
	m.doc.root = trees[k]
	if m.doc.root == nil {
		m.doc.root = trees[Opaque]
	}
	m.shell.root = shellTree
	return m
}

// Write looks at the next piece of the answer. It keeps nothing of p and never
// fails; whatever p holds, the answer is passed on as it is.
func (m *Meter) Write(p []byte) {
	m.bytes += int64(len(p))
	switch m.framing {
	case JSON:
		m.doc.feed(m, p)
	case SSE:
		m.lines.feed(m, p)
	case NDJSON:
		m.feedLines(p)
	case EventStream:
		m.msgs.feed(m, p)
	}
}

// Message looks at one text message of a WebSocket, which is a whole document.
func (m *Meter) Message(p []byte) {
	m.bytes += int64(len(p))
	m.doc.reset()
	m.doc.feed(m, p)
	m.doc.reset()
	if m.kind == Realtime {
		m.n, m.has = [counts]int64{}, 0 // of a message that broke off
	}
}

// Complete reports whether the answer may end here: all of it came that its
// protocol announces. Of an answer that is not looked into, and of a WebSocket,
// which ends when it likes, that is always so.
func (m *Meter) Complete() bool {
	switch {
	case m.kind == Realtime:
		return true
	case m.framing == JSON:
		return m.doc.state == done || m.doc.state == broken // what is no JSON has no end to look for
	case m.framing == SSE:
		return m.ended || m.lines.saysDone() && m.endsByDone() // some servers leave out the last line break
	case m.framing == NDJSON:
		return m.ended
	case m.framing == EventStream:
		return m.ended && m.msgs.between()
	}
	return true
}

// Failed reports whether the answer says that it failed, as streams do that end in an
// error: it is complete then, and yet no answer.
func (m *Meter) Failed() bool { return m.failed }

// Gap is what must be written first so that a new server-sent event begins on a
// fresh line; "" in other framings.
func (m *Meter) Gap() string {
	switch {
	case m.framing != SSE:
		return ""
	case m.lines.open:
		return "\n\n"
	case m.lines.event:
		return "\n"
	}
	return ""
}

// feedLines reads a document a line. One that is broken costs no other.
func (m *Meter) feedLines(p []byte) {
	for i := 0; i < len(p); {
		n := lineEnd(p[i:])
		m.doc.feed(m, p[i:i+n])
		if i += n; i < len(p) {
			m.doc.reset()
			m.final = false
			i++
		}
	}
}

func (m *Meter) beginDocument() {
	m.typ, m.item, m.action = unnamed, unnamed, unnamed
}

func (m *Meter) endDocument() {
	if m.framing == NDJSON && m.final {
		m.ended = true
	}
	m.sumDocument()
}

// endsByDone reports whether the API ends a stream with the data "[DONE]".
func (m *Meter) endsByDone() bool { return m.kind != Anthropic }

// named takes the name of an event, or the type that its document says.
func (m *Meter) named(t name) {
	switch t {
	case errorEvent:
		m.final, m.failed = true, true
	case messageStop:
		m.final = m.final || m.kind == Anthropic || m.kind == BedrockRaw
	case responseEnd:
		m.final = m.final || m.kind == Responses
	case imageDone:
		m.final = m.final || m.kind == Images
	case audioDone:
		m.final = m.final || m.kind == Audio
	case messageEnd:
		m.final = m.final || m.kind == Cohere
	case replicateDone:
		m.final = m.final || m.kind == Replicate
	}
}

func (m *Meter) beginBase64() {
	m.wrap.n = 0
	m.doc.reset()
}

// base64 reads on in a document that is wrapped in a string. Groups are decoded
// together, at places that only depend on the string.
func (m *Meter) base64(p []byte) {
	for len(p) > 0 {
		n := copy(m.wrap.b[m.wrap.n:], p)
		m.wrap.n += n
		p = p[n:]
		if m.wrap.n == len(m.wrap.b) {
			m.decode()
		}
	}
}

func (m *Meter) endBase64() { m.decode() }

func (m *Meter) decode() {
	var out [48]byte
	n, err := base64.StdEncoding.Decode(out[:], m.wrap.b[:m.wrap.n])
	m.wrap.n = 0
	if err != nil {
		m.doc.state = broken
		return
	}
	m.doc.feed(m, out[:n])
}
