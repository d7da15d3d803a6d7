package guardrail

import (
	"bytes"
	"cmp"
	"slices"
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
// was found: half a secret may be in the line that nobody can see to be one.
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
	var report Report
	first := make([]spot, 0, len(spots))
	for _, sp := range spots {
		if sp.rest {
			continue
		}
		first = append(first, sp)
		report.Blocked = report.Blocked || sp.finding.Action == Block
	}
	report.Total = len(first)
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
	report.Findings = tellLines(body, first)
	return report
}

// readStream finds the texts of a stream. It returns how much of it are whole lines.
func (t *texts) readStream(src []byte) (whole int) {
	t.reset(src)
	t.streams = true
	for whole < len(src) {
		n := bytes.IndexByte(src[whole:], '\n')
		if n < 0 {
			if t.lastLine(whole) {
				whole = len(src)
			}
			break
		}
		t.line(whole, whole+n)
		whole += n + 1
	}
	t.joinDeltas()
	return whole
}

// lastLine takes in a line without an end, and says whether it is a document; what is
// none becomes a text of its own.
func (t *texts) lastLine(at int) bool {
	from, to, _ := lineParts(t.src[at:])
	if t.doc(at+from, at+to) {
		return true
	}
	t.add(at, len(t.src)-at, false)
	return false
}

// joinDeltas makes pieces of the deltas: those of one text behind one another, in the
// order in which they came.
func (t *texts) joinDeltas() {
	slices.SortStableFunc(t.deltas, func(a, b delta) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.leaf, b.leaf)) })
	for i, d := range t.deltas {
		joins := i > 0 && t.deltas[i-1].key == d.key && t.deltas[i-1].leaf == d.leaf
		if i > 0 && !joins {
			t.joined = append(t.joined, 0)
		}
		t.join(d, joins)
	}
	if len(t.deltas) > 0 {
		t.joined = append(t.joined, 0)
	}
}

// tellLines makes findings of spots in a stream's lines.
func tellLines(body []byte, spots []spot) []Finding {
	spots = worst(spots)
	var all []Finding
	for len(spots) > 0 {
		if spots[0].finding.Path != "" {
			all, spots = append(all, spots[0].finding), spots[1:]
			continue
		}
		begin := bytes.LastIndexByte(body[:spots[0].from], '\n') + 1
		end := len(body)
		if n := bytes.IndexByte(body[begin:], '\n'); n >= 0 {
			end = begin + n
		}
		n := 1
		for n < len(spots) && spots[n].from < end {
			n++
		}
		all, spots = append(all, tellLine(body[begin:end], begin, spots[:n])...), spots[n:]
	}
	return all
}

// tellLine makes findings of spots in one line, which begins at a place in the body.
func tellLine(line []byte, begin int, spots []spot) []Finding {
	from, to, _ := lineParts(line)
	var t texts
	t.reset(line[from:to])
	t.json = t.doc(0, to-from)
	for i := range spots {
		spots[i].from -= begin + from
	}
	return tell(&t, spots)
}
