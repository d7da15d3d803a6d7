package translate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

const (
	maxEvent = 8 << 20 // bytes of one server-sent event
	maxHeld  = 8 << 20 // bytes of an answer that wait for others to be written first
)

var (
	errTooMuchHeld = errors.New("too much of the answer waits for its turn")
	errClosed      = errors.New("translate a stream: it is closed")
)

// Stream turns the server-sent events of a provider's API into those of the API that
// the client speaks, piece by piece as they come. It is not safe for concurrent use.
type Stream struct {
	reader *answerReader
	source answerSource
	lines  eventReader
	out    []byte
	err    error
	closed bool
}

// NewStream begins a stream. If from and to are not two of the APIs of this package,
// the first Write says so.
func NewStream(from, to API, o AnswerOptions) *Stream {
	s := &Stream{}
	if !understood(from, to) {
		s.err = fmt.Errorf("translate a stream: from %q to %q is not possible", from, to)
	}
	s.reader = newAnswerReader(from, usage.SSE, o, nil)
	s.reader.sink = s.sinkOf(to, o)
	s.source = sourceOf(from, s.reader)
	return s
}

func (s *Stream) sinkOf(to API, o AnswerOptions) answerSink {
	w := eventWriter{out: &s.out}
	switch to {
	case Anthropic:
		return &anthropicStream{eventWriter: w, lost: &s.reader.lost}
	case Chat:
		return &chatStream{eventWriter: w, opt: o}
	default:
		return &geminiStream{eventWriter: w, lost: &s.reader.lost}
	}
}

// Write takes the next bytes of the provider's stream, cut wherever, and returns what
// the client is to get now; out is valid until the next call. If there is an error,
// out is what came before it and still may be written, and the stream is over: the
// client must be told so. An error of the provider's own is a *StreamError. What comes
// behind the protocol's end is ignored.
func (s *Stream) Write(p []byte) (out []byte, err error) {
	if s.err == nil && s.closed {
		s.err = errClosed
	}
	if s.err != nil {
		return nil, s.err
	}
	s.out = s.out[:0]
	s.fail(s.lines.feed(p, s.event))
	return s.out, s.err
}

// Close says that the provider's stream ended, and returns the last of what the
// client is to get. Unless the whole answer came there is an error, which wraps
// io.ErrUnexpectedEOF if there was none before, and nothing was written that makes
// the client's stream look complete.
func (s *Stream) Close() (out []byte, err error) {
	if s.closed || s.err != nil {
		s.closed = true
		return nil, s.err
	}
	s.closed = true
	s.out = s.out[:0]
	s.fail(s.finish())
	return s.out, s.err
}

func (s *Stream) finish() error {
	var told *StreamError
	switch err := s.lines.flush(s.event); {
	case errors.As(err, &told):
		return err
	case err != nil: // half an event
		return fmt.Errorf("%w: %w", errBrokeOff, io.ErrUnexpectedEOF)
	case s.reader.ended:
		return nil
	}
	err := s.source.close()
	if errors.Is(err, errBrokeOff) {
		err = fmt.Errorf("%w: %w", err, io.ErrUnexpectedEOF)
	}
	return err
}

func (s *Stream) fail(err error) {
	if err != nil {
		s.err = fmt.Errorf("translate a stream: %w", err)
	}
}

// Losses are names of what was left out so far.
func (s *Stream) Losses() Losses { return s.reader.lost.names }

// event takes one event; name is "" where the stream gives none.
func (s *Stream) event(name string, data []byte) error {
	switch {
	case s.reader.ended:
		return nil
	case len(data) == 0:
		if name == "" { // a comment
			s.reader.sink.ping()
		}
		return nil
	case name == "error":
		return newStreamError(data, "")
	}
	for _, p := range [][]byte{[]byte("data: "), data, []byte("\n\n")} {
		s.reader.meter.Write(p)
	}
	return s.source.event(data)
}

// eventReader reads server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html) cut anywhere. It
// also understands servers that put no blank line between events, or none behind the
// last, and a JSON document where an event should be, as some write errors.
type eventReader struct {
	line  []byte // the line under way, if it came in pieces
	data  []byte // of the event under way
	lines int    // of data
	name  string
	cr    bool // the last line ended with a carriage return: a line feed belongs to it
	stray bool // data is a document that stands in no field
	begun bool
}

func (r *eventReader) feed(p []byte, emit func(name string, data []byte) error) error {
	for len(p) > 0 {
		if r.cr && p[0] == '\n' {
			p = p[1:]
			r.cr = false
			continue
		}
		r.cr = false
		n := bytes.IndexAny(p, "\r\n")
		if len(r.line)+len(r.data)+max(n, 0) > maxEvent || n < 0 && len(r.line)+len(r.data)+len(p) > maxEvent {
			return fmt.Errorf("an event has more than %d bytes", maxEvent)
		}
		if n < 0 {
			r.line = append(r.line, p...)
			return nil
		}
		line := p[:n]
		if len(r.line) > 0 {
			r.line = append(r.line, line...)
			line = r.line
		}
		r.cr = p[n] == '\r'
		p = p[n+1:]
		err := r.endLine(line, emit)
		r.line = r.line[:0]
		if err != nil {
			return err
		}
	}
	return nil
}

// flush takes what is there at the end as if a blank line followed.
func (r *eventReader) flush(emit func(name string, data []byte) error) error {
	if len(r.line) > 0 {
		if err := r.endLine(r.line, emit); err != nil {
			return err
		}
	}
	return r.dispatch(emit)
}

func (r *eventReader) endLine(line []byte, emit func(name string, data []byte) error) error {
	if !r.begun {
		r.begun = true
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	}
	switch {
	case len(line) == 0:
		return r.dispatch(emit)
	case line[0] == ':':
		return emit("", nil)
	case r.stray || line[0] == '{' && r.lines == 0:
		r.stray = true
		r.add(line)
		return nil
	}
	field, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(field) {
	case "event":
		if r.lines > 0 { // no blank line stood behind the last event
			if err := r.dispatch(emit); err != nil {
				return err
			}
		}
		r.name = string(value[:min(len(value), 64)]) // no name that counts is longer
	case "data":
		if r.lines == 1 && complete(r.data) {
			if err := r.dispatch(emit); err != nil {
				return err
			}
		}
		r.add(value)
	}
	return nil
}

// complete reports whether an event's first line of data is all of it.
func complete(data []byte) bool {
	return string(data) == "[DONE]" || data[len(data)-1] == '}' && json.Valid(data)
}

// add takes a line of data. Between the lines of one event there is a space in place
// of the line break, which are the same to JSON.
func (r *eventReader) add(value []byte) {
	if len(value) == 0 {
		return
	}
	if r.lines > 0 {
		r.data = append(r.data, ' ')
	}
	r.data = append(r.data, value...)
	r.lines++
}

func (r *eventReader) dispatch(emit func(name string, data []byte) error) error {
	data, name := bytes.TrimSpace(r.data), r.name
	r.data, r.lines, r.name, r.stray = r.data[:0], 0, "", false
	if len(data) == 0 {
		return nil
	}
	return emit(name, data)
}

// eventWriter writes server-sent events.
type eventWriter struct{ out *[]byte }

func (w eventWriter) put(s string) { *w.out = append(*w.out, s...) }

// event writes an event whose data is v; a name of "" is none.
func (w eventWriter) event(name string, v any) error {
	data, err := marshalPlain(v)
	if err != nil {
		return err
	}
	if name != "" {
		w.put("event: " + name + "\n")
	}
	w.put("data: ")
	*w.out = append(*w.out, data...)
	w.put("\n\n")
	return nil
}
