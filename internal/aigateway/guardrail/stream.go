package guardrail

import "bytes"

// Bounds of what a stream keeps, in bytes where nothing else is said.
const (
	maxLine    = 256 << 10 // of a line that is looked at; of a longer one the rest is not. Also of an event's data that is read as one
	maxSources = 16        // texts that are joined at a time
	wholeLook  = 8 << 10   // new text after which all checks look
	earlyLook  = 256       // new text after which checks that may block look
	overlap    = 1 << 10   // text that is looked at again with what follows it
	context    = 128       // text before that, which checks look back on
	ahead      = 64        // text behind a match on which it may depend where it ends
	maxQuiet   = 1 << 10   // of a line's texts that are remembered to hold nothing
)

// Stream looks at an answer's events while they pass. A text that is streamed piece by
// piece is joined, so that what is spread over many events is found. Redact acts as
// Flag, for what has passed cannot be blotted out. Block is told by Blocked as soon as
// it is known: with the event that brings 256 bytes of the text behind the match, or
// earlier. Only one goroutine uses a Stream. A nil one
// does nothing.
//
// What is longer than 1 KiB may be missed where two looks meet, or be told by its
// beginning only. Of more than 16 texts that grow at a time, the one that rested
// longest is taken to have ended. A document over several lines of an event is looked
// at when the event ends; one of more than 256 KiB, line by line.
type Stream struct {
	rules  *Rules
	s      Subject
	checks []Check // all that look
	early  []Check // those that may block
	line   []byte
	skip   bool   // the rest of a line that was too long
	event  []byte // the event's data so far, where it begins like a document that is not whole

	texts   texts // of the line
	open    bool  // the event has a line of data that is no JSON
	quiet   [4][]byte
	oldest  int // of quiet
	sources []source
	turn    int // of events

	look  look
	found func(Match) // look's, for the checks

	all    []Finding
	total  int
	reason string // why the stream is blocked
}

// source is a text that grows.
type source struct {
	key  uint64
	leaf uint8
	used int // when, in turns

	buf   []byte
	base  int // bytes of the text that are gone before buf
	begin int // in buf: what began before has been told
	whole int // in buf: what follows no whole look has seen
	seen  int // in buf: what follows no look has seen
	due   int // in buf: when it reaches as far, an early look is due
	told  map[told]struct{}
}

// told is a match that must not be told again.
type told struct {
	check, kind string
	from        int // in the text
}

// Stream begins to look at a stream of server-sent events or of lines of JSON. It
// returns nil when no rule is about answers.
func (r *Rules) Stream(s Subject) *Stream {
	s.Direction = Response
	if !r.LooksAt(Response) {
		return nil
	}
	st := &Stream{rules: r, s: s, checks: r.checks(Response, ""), early: r.checks(Response, Block)}
	st.found = st.match
	return st
}

// Write takes the next bytes; it never fails.
func (st *Stream) Write(p []byte) (int, error) {
	if st == nil {
		return len(p), nil
	}
	for rest := p; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n')
		part, ends := rest, n >= 0
		if ends {
			part, rest = rest[:n], rest[n+1:]
		} else {
			rest = nil
		}
		st.take(part)
		if ends {
			st.end()
		}
	}
	return len(p), nil
}

func (st *Stream) take(part []byte) {
	if st.skip {
		return
	}
	room := maxLine - len(st.line)
	if len(part) > room {
		part, st.skip = part[:room], true
	}
	st.line = append(st.line, part...)
}

// end looks at a line that is complete. One that may be the beginning of a document
// waits for the rest of the event, as long as that is no longer than a line may be.
func (st *Stream) end() {
	from, to, data := lineParts(st.line)
	said := st.line[from:to]
	switch {
	case endsEvent(said, data):
		st.endEvent()
		st.open = false
	case data && len(st.event) > 0 && len(st.event)+1+len(said) <= maxLine:
		st.event = append(append(st.event, '\n'), said...)
	default:
		if data {
			st.endEvent() // it is too long
		}
		if t := st.read(said); t.line(0, len(said), data) {
			st.event = append(st.event, said...)
		} else {
			st.hear(t)
		}
	}
	st.line, st.skip = st.line[:0], false
}

// endEvent looks at data that waits: at one document, or line by line.
func (st *Stream) endEvent() {
	event := st.event
	st.event = st.event[:0]
	if bytes.IndexByte(event, '\n') >= 0 {
		t := st.read(event)
		if t.json = t.lines(0, len(event)); t.json {
			st.hear(t)
			return
		}
	}
	for len(event) > 0 {
		said, rest, _ := bytes.Cut(event, []byte("\n"))
		t := st.read(said)
		t.alone(0, len(said))
		st.hear(t)
		event = rest
	}
}

// read makes the texts ready to take in a part of the stream.
func (st *Stream) read(said []byte) *texts {
	t := &st.texts
	t.reset(said)
	t.streams, t.open = true, st.open
	return t
}

// hear looks at what was taken in.
func (st *Stream) hear(t *texts) {
	st.open = t.open
	st.rest(t)
	st.turn++
	for _, d := range t.deltas {
		st.grow(t, d)
	}
}

// rest looks at the texts of a line that are whole in it. They are often the same as
// in the events before.
func (st *Stream) rest(t *texts) {
	if len(t.pieces) == 0 || st.isQuiet(t.joined) {
		return
	}
	spots := st.rules.find(t, st.s)
	if len(spots) == 0 {
		if len(t.joined) <= maxQuiet {
			st.quiet[st.oldest] = append(st.quiet[st.oldest][:0], t.joined...)
			st.oldest = (st.oldest + 1) % len(st.quiet)
		}
		return
	}
	sortSpots(spots)
	st.total += len(spots)
	for _, f := range tell(t, spots) {
		st.tell(f)
	}
}

func (st *Stream) isQuiet(joined []byte) bool {
	for i := range st.quiet {
		if bytes.Equal(st.quiet[i], joined) {
			return true
		}
	}
	return false
}

// grow adds a piece to its text.
func (st *Stream) grow(t *texts, d delta) {
	src := st.source(d)
	src.used = st.turn
	src.buf = t.appendDelta(src.buf, d)
	switch n := len(src.buf); {
	case n-src.whole >= wholeLook:
		st.wholeLook(src)
	case len(st.early) > 0 && n >= src.due && st.reason == "": // once is enough to block
		st.earlyLook(src)
	}
}

// source is the text that a piece belongs to.
func (st *Stream) source(d delta) *source {
	resting := 0
	for i := range st.sources {
		if src := &st.sources[i]; src.key == d.key && src.leaf == d.leaf {
			return src
		} else if src.used < st.sources[resting].used {
			resting = i
		}
	}
	if len(st.sources) < maxSources {
		st.sources = append(st.sources, source{key: d.key, leaf: d.leaf, due: earlyLook})
		return &st.sources[len(st.sources)-1]
	}
	src := &st.sources[resting]
	st.lastLook(src)
	clear(src.told)
	*src = source{key: d.key, leaf: d.leaf, due: earlyLook, buf: src.buf[:0], told: src.told}
	return src
}

// tell keeps a finding, those that block rather than others.
func (st *Stream) tell(f Finding) {
	if f.Action != Block {
		f.Action = Flag
	}
	st.block(f)
	if len(st.all) < maxFindings {
		st.all = append(st.all, f)
		return
	}
	if f.Action != Block {
		return
	}
	for i := len(st.all) - 1; i >= 0; i-- {
		if st.all[i].Action != Block {
			st.all[i] = f
			return
		}
	}
}

// block notes that a finding blocks the stream, if it does.
func (st *Stream) block(f Finding) {
	if f.Action == Block && st.reason == "" {
		st.reason = f.reason()
	}
}

// Blocked says whether something was found that must not pass, and why the stream is
// to be ended, for whoever reads it.
func (st *Stream) Blocked() (reason string, ok bool) {
	if st == nil {
		return "", false
	}
	return st.reason, st.reason != ""
}

// Report is what was found, the last line and the ends of all texts included. Body is
// nil. It is for the end: texts that go on after it are looked at as if it had not
// been there, but what ended in the middle may be told as if it were whole.
func (st *Stream) Report() Report {
	if st == nil {
		return Report{}
	}
	if len(st.line) > 0 {
		st.end()
	}
	st.endEvent()
	for i := range st.sources {
		st.lastLook(&st.sources[i])
	}
	return Report{Findings: st.all, Total: st.total, Blocked: st.reason != ""}
}
