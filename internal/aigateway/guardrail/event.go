package guardrail

import "bytes"

// event is the data of a server-sent event that may be one document over several
// lines, and where it is in a stream that was kept.
type event struct {
	line     int // where its first line begins
	from, to int // what its lines of data say, and all between
	lines    int // of data; 0: there is no event
}

// grow takes a line of data into the event, which says something up to a place.
func (e *event) grow(to int) {
	e.to = to
	e.lines++
}

// endEvent takes the event's data in, as one document or line by line, and there is
// no event any more. It returns false if it was no document.
func (t *texts) endEvent(e *event) bool {
	was := *e
	*e = event{}
	if was.lines == 0 || was.lines > 1 && t.flatDoc(was) {
		return true
	}
	for at := was.line; at < was.to; {
		_, end := lineOf(t.src, at)
		if from, to, data := lineParts(t.src[at:end]); data { // others are taken in already
			t.alone(at+from, at+to)
		}
		at = end + 1
	}
	return false
}

// flatDoc takes in the document that an event's data is; of anything else nothing, and
// it returns false.
func (t *texts) flatDoc(e event) bool {
	src, before := t.src, t.extent()
	t.flat = flatten(t.flat[:0], src[e.from:e.to])
	t.src = t.flat
	ok := t.lines(0, len(t.flat))
	t.src = src
	if !ok {
		return false
	}
	for i := range t.pieces[before.pieces:] {
		t.pieces[before.pieces+i].raw += e.from
	}
	for i := range t.deltas[before.deltas:] {
		t.deltas[before.deltas+i].raw += e.from
	}
	t.events = append(t.events, e)
	return true
}

// flatten appends an event's data, every letter at the place that it has in src. What
// is no data becomes blanks, which mean nothing between the lines of a document.
func flatten(dst, src []byte) []byte {
	begin := len(dst)
	dst = append(dst, src...)
	flat := dst[begin:]
	for {
		n := bytes.IndexByte(flat, '\n')
		if n < 0 {
			return dst
		}
		flat = flat[n+1:]
		end := bytes.IndexByte(flat, '\n')
		if end < 0 {
			end = len(flat)
		}
		from, _, data := lineParts(flat[:end])
		if !data {
			from = end
		}
		for i := range from {
			flat[i] = ' '
		}
	}
}

// lines takes in the JSON document src[from:to], which has several lines; of anything
// else nothing, and it returns false. No text may go over the end of a line: in JSON
// none does, and the pieces of such a one would not stand in one place.
func (t *texts) lines(from, to int) bool {
	before := t.extent()
	if !t.doc(from, to) {
		return false
	}
	broken := func(raw, size int) bool { return bytes.IndexByte(t.src[raw:raw+size], '\n') >= 0 }
	for _, p := range t.pieces[before.pieces:] {
		if broken(p.raw, p.size) {
			t.shrink(before)
			return false
		}
	}
	for _, d := range t.deltas[before.deltas:] {
		if broken(d.raw, d.size) {
			t.shrink(before)
			return false
		}
	}
	return true
}
