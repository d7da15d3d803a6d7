package pid1

import (
	"bytes"
	"sync"
	"time"

	"github.com/moltworker/moltworker/internal/guest/proto"
)

// journal is the bounded memory of what happened inside, for whoever asks.
type journal struct {
	now func() time.Time

	mu     sync.Mutex // guards what follows
	events []proto.Event
	bytes  int           // of text in events
	seq    uint64        // of the newest event
	more   chan struct{} // closed and replaced when an event is added
}

const (
	maxEvents     = 2000
	maxEventBytes = 1 << 20
)

func newJournal(now func() time.Time) *journal {
	return &journal{now: now, more: make(chan struct{})}
}

// log notes a line.
func (j *journal) log(stream, text string) {
	j.add(proto.Event{Log: &proto.LogLine{Stream: stream, Text: text}})
}

// status notes a change of the supervised process.
func (j *journal) status(s proto.Status) { j.add(proto.Event{Status: &s}) }

func (j *journal) add(e proto.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seq++
	e.Seq, e.Time = j.seq, j.now()
	j.events = append(j.events, e)
	j.bytes += weight(e)
	drop := 0
	for len(j.events)-drop > maxEvents || j.bytes > maxEventBytes {
		j.bytes -= weight(j.events[drop])
		j.events[drop] = proto.Event{}
		drop++
	}
	j.events = j.events[drop:]
	close(j.more)
	j.more = make(chan struct{})
}

func weight(e proto.Event) int {
	if e.Log != nil {
		return len(e.Log.Text)
	}
	return len(e.Status.LastExit)
}

// after returns some events with a sequence number over since, and, if there
// are none, a channel that closes when there may be.
func (j *journal) after(since uint64) ([]proto.Event, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if since >= j.seq {
		return nil, j.more
	}
	skip := 0
	if oldest := j.events[0].Seq; since >= oldest {
		skip = int(since - oldest + 1)
	}
	some := j.events[skip:min(len(j.events), skip+100)]
	return append([]proto.Event(nil), some...), nil
}

// last is the newest sequence number.
func (j *journal) last() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.seq
}

// lines cuts output into lines for emit: a longer one than MaxLogLine is cut
// short, and what was left over is dropped.
type lines struct {
	emit func(string)
	line []byte
	skip bool // the rest of the line is dropped
}

func (l *lines) write(p []byte) {
	for len(p) > 0 {
		piece, rest, ended := bytes.Cut(p, []byte{'\n'})
		if !l.skip {
			n := min(len(piece), proto.MaxLogLine-len(l.line))
			l.line = append(l.line, piece[:n]...)
			l.skip = n < len(piece)
		}
		if ended {
			l.end()
		}
		p = rest
	}
}

// end emits the line so far.
func (l *lines) end() {
	l.emit(string(bytes.TrimSuffix(l.line, []byte{'\r'})))
	l.line, l.skip = l.line[:0], false
}

// flush emits an unfinished last line.
func (l *lines) flush() {
	if len(l.line) > 0 {
		l.end()
	}
}
