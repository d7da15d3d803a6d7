package guardrail

import "bytes"

// maxLine bounds an event's line that is looked at, in bytes; of a longer one the
// rest is not.
const maxLine = 256 << 10

// Stream looks at an answer's events while they pass. It only tells: see the comment
// of the package. Only one goroutine uses it. A nil Stream does nothing.
type Stream struct {
	rules *Rules
	s     Subject
	line  []byte
	skip  bool // the rest of a line that was too long
	all   []Finding
	total int
}

// Stream begins to look at a stream of server-sent events or of lines of JSON. It
// returns nil when no rule is about answers.
func (r *Rules) Stream(s Subject) *Stream {
	s.Direction = Response
	if !r.looksAt(Response) {
		return nil
	}
	return &Stream{rules: r, s: s}
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

// end looks at a line that is complete.
func (st *Stream) end() {
	line := bytes.TrimSpace(bytes.TrimPrefix(st.line, []byte("data:")))
	if len(line) > 0 {
		t := textsPool.Get().(*texts)
		t.read(line)
		spots := st.rules.find(t, st.s)
		st.total += len(spots)
		for i := range spots {
			spots[i].finding.Action = Flag
		}
		sortSpots(spots)
		spots = spots[:min(len(spots), maxFindings-len(st.all))]
		st.all = append(st.all, tell(t, spots)...)
		t.release()
	}
	st.line, st.skip = st.line[:0], false
}

// Report is what was found, the last line included.
func (st *Stream) Report() Report {
	if st == nil {
		return Report{}
	}
	st.end()
	return Report{Findings: st.all, Total: st.total}
}
