package guardrail

// look is one look at a stretch of a growing text.
type look struct {
	src   *source
	texts texts
	spots []spot
	check string
	from  int  // in the source's buffer: where the stretch begins
	begin int  // in the buffer: a match that begins before has been told
	next  int  // in the buffer: a match that begins from here on is seen by the next look as well
	early bool // by the checks that may block; a whole look follows
	last  bool // no more text follows
}

// wholeLook has all checks look at all that is there, and lets go of what the next
// looks do not need.
func (st *Stream) wholeLook(src *source) {
	keep := src.keepFrom()
	st.lookAt(src, st.checks, look{begin: src.begin, next: keep})
	start := max(0, keep-context)
	src.base += start
	n := copy(src.buf, src.buf[start:])
	if src.buf = src.buf[:n]; cap(src.buf) > 4*wholeLook {
		src.buf = append(make([]byte, 0, 2*wholeLook), src.buf...) // a large piece made it grow
	}
	src.begin, src.whole, src.seen, src.due = keep-start, n, n, src.due-start
	for m := range src.told {
		if m.from < src.base+src.begin {
			delete(src.told, m)
		}
	}
}

// keepFrom is where in the buffer the text begins that is looked at again: 1 KiB
// before its end, or where a token begins that is under way there.
func (src *source) keepFrom() int {
	least := max(src.begin, len(src.buf)-overlap)
	keep := least
	for keep > src.begin && isDotted(src.buf[keep-1]) {
		if keep--; len(src.buf)-keep > maxJWT {
			return least // longer than any token
		}
	}
	return keep
}

// earlyLook has the checks that may block look at what is new.
func (st *Stream) earlyLook(src *source) {
	begin := max(src.begin, src.seen-overlap)
	st.lookAt(src, st.early, look{
		from: max(0, begin-context), begin: begin, next: max(begin, len(src.buf)-overlap), early: true,
	})
	src.seen = len(src.buf)
}

// lastLook looks at a text that has ended.
func (st *Stream) lastLook(src *source) {
	if len(src.buf) > src.begin {
		st.lookAt(src, st.checks, look{begin: src.begin, last: true})
	}
}

func (st *Stream) lookAt(src *source, checks []Check, l look) {
	l.src, l.texts, l.spots = src, st.look.texts, st.look.spots
	n := len(src.buf)
	src.due = n + earlyLook
	src.buf = append(src.buf, 0)
	l.texts.joined = src.buf[l.from:]
	l.texts.pieces = append(l.texts.pieces[:0], piece{size: n - l.from, leaf: src.leaf})
	st.look = l
	for _, c := range checks {
		st.look.check = c.Name()
		c.Find(st.s, l.texts.joined, st.found)
	}
	src.buf = src.buf[:n]
	st.look.texts.joined = nil
}

// match takes what a check found in the look under way. What ends near the end of the
// text may go on or turn out to be nothing: it waits for a look that sees more.
func (st *Stream) match(m Match) {
	l := &st.look
	from, to, end := l.from+m.From, l.from+m.To, len(l.src.buf)-1
	if from < l.begin || to > end {
		return
	}
	open := to > end-ahead && !l.last
	if open && from >= l.next {
		l.src.due = min(l.src.due, to+ahead)
		return
	}
	id := told{l.check, safeKind(m.Kind), l.src.base + from}
	if _, ok := l.src.told[id]; ok {
		return
	}
	l.spots = st.rules.place(l.spots[:0], &l.texts, st.s, l.check, m)
	if len(l.spots) == 0 {
		return
	}
	f := l.spots[0].finding
	if open && l.early { // long enough to block; the next whole look tells all of it
		st.block(f)
		return
	}
	if l.src.told == nil {
		l.src.told = map[told]struct{}{}
	}
	l.src.told[id] = struct{}{}
	st.total++
	st.tell(f)
}
