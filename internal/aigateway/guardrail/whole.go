package guardrail

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
)

// ExamineStream looks at a whole answer that was streamed, as it was kept: server-sent
// events or lines of JSON. It does what Examine does for one document, with the pieces
// of a text joined over the events: what is found in them has the path of a stream,
// such as "stream text". In Report.Body the replacement stands in the piece in which a
// match begins, and what is left of the match is taken out of the later ones. Every
// line stays a line, and every JSON string one. What is no JSON is blotted out too,
// for a line of text stays one.
//
// A last line without a line break that is no whole document was cut when it was kept.
// It is looked at as one text. Where a rule for answers blots out, the line is left out
// of Body, which then ends behind the last whole line and is not nil even if nothing
// was found: half a secret may be in the line that nobody can see to be one. The same
// holds for a last event of several lines that begin like a document and are none:
// all of it is left out.
func (r *Rules) ExamineStream(s Subject, body []byte) Report {
	s.Direction = Response
	if !r.LooksAt(Response) {
		return Report{}
	}
	t := textsPool.Get().(*texts)
	defer t.release()
	kept := t.readStream(body)
	spots := r.find(t, s)
	sortSpots(spots)
	first := firsts(spots)
	report := Report{Total: len(first)}
	for _, sp := range first {
		report.Blocked = report.Blocked || sp.finding.Action == Block
	}
	if !report.Blocked {
		n := len(spots)
		for n > 0 && spots[n-1].from >= kept {
			n--
		}
		report.Body = blot(body[:kept], spots[:n])
		if report.Body == nil && kept < len(body) && len(r.checks(Response, Redact)) > 0 {
			report.Body = slices.Clone(body[:kept:kept])
		}
	}
	report.Findings = t.tellLines(first)
	return report
}

// readStream finds the texts of a stream. It returns where what was cut begins.
func (t *texts) readStream(src []byte) (whole int) {
	t.reset(src)
	t.streams = true
	var e event
	for {
		n := bytes.IndexByte(src[whole:], '\n')
		if n < 0 {
			break
		}
		t.next(&e, whole, whole+n)
		whole += n + 1
	}
	whole = t.last(e, whole)
	t.joinDeltas()
	return whole
}

// next takes in a line that ends.
func (t *texts) next(e *event, at, end int) {
	from, to, data := lineParts(t.src[at:end])
	from, to = at+from, at+to
	switch {
	case endsEvent(t.src[from:to], data):
		t.endEvent(e)
		t.open = false
	case data && e.lines > 0:
		e.grow(to)
	case t.line(from, to, data):
		*e = event{line: at, from: from, to: to, lines: 1}
	}
}

// last takes in the event that is under way and the line without an end, which begins
// at a place. It returns where what was cut begins.
func (t *texts) last(e event, at int) (whole int) {
	from, to, data := lineParts(t.src[at:])
	if longer := e; data && e.lines > 0 {
		if longer.grow(at + to); t.flatDoc(longer) {
			return len(t.src)
		}
	}
	begin, lines := e.line, e.lines
	broken := !t.endEvent(&e)
	cut := at < len(t.src) && !t.doc(at+from, at+to)
	if cut {
		t.add(at, len(t.src)-at, false)
	}
	switch {
	case broken && (cut || lines > 1):
		return begin
	case cut:
		return at
	}
	return len(t.src)
}

// joinDeltas makes pieces of the deltas: those of one text behind one another, in the
// order in which they came. One that is alone and a piece already is left out.
func (t *texts) joinDeltas() {
	slices.SortStableFunc(t.deltas, func(a, b delta) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.leaf, b.leaf)) })
	for rest := t.deltas; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].key == rest[0].key && rest[n].leaf == rest[0].leaf {
			n++
		}
		if n > 1 || !t.both {
			for i, d := range rest[:n] {
				t.join(d, i > 0)
			}
			t.joined = append(t.joined, 0)
		}
		rest = rest[n:]
	}
}

// tellLines makes findings of spots in a stream's lines.
func (t *texts) tellLines(spots []spot) []Finding {
	spots = worst(spots)
	var all []Finding
	for len(spots) > 0 {
		if spots[0].finding.Path != "" {
			all, spots = append(all, spots[0].finding), spots[1:]
			continue
		}
		from, to, doc := t.around(spots[0].from)
		n := 1
		for n < len(spots) && spots[n].from < to {
			n++
		}
		all, spots = append(all, t.tellDoc(doc, from, spots[:n])...), spots[n:]
	}
	return all
}

// around is what the place of a spot is read as part of, and where in src it is: what
// a line says, or the data of an event.
func (t *texts) around(at int) (from, to int, doc []byte) {
	n := sort.Search(len(t.events), func(i int) bool { return t.events[i].to > at })
	if n < len(t.events) && t.events[n].from <= at {
		e := t.events[n]
		return e.from, e.to, flatten(nil, t.src[e.from:e.to])
	}
	begin, end := lineOf(t.src, at)
	from, to, _ = lineParts(t.src[begin:end])
	return begin + from, end, t.src[begin+from : begin+to]
}

// lineOf is where the line around a place begins and ends.
func lineOf(src []byte, at int) (begin, end int) {
	begin, end = bytes.LastIndexByte(src[:at], '\n')+1, len(src)
	if n := bytes.IndexByte(src[at:], '\n'); n >= 0 {
		end = at + n
	}
	return begin, end
}

// tellDoc makes findings of spots in a document, which stands at a place in src, and
// of those in lines between it.
func (t *texts) tellDoc(doc []byte, at int, spots []spot) []Finding {
	var own texts
	own.reset(doc)
	own.json = own.doc(0, len(doc))
	for i := range spots {
		s := &spots[i]
		place := s.from
		if s.from -= at; s.from >= 0 && s.from < len(doc) && doc[s.from] != t.src[place] {
			s.finding.Path = "$" // flatten took it out
		}
	}
	return tell(&own, spots)
}
