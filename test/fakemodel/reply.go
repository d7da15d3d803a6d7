package fakemodel

import (
	"context"
	"errors"
	"iter"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Reply is one answer. The zero value is an empty text.
type Reply struct {
	Text   string
	Pieces iter.Seq[string] // deltas of the text; nil: Text by words. May be huge
	Tool   string           // call this tool instead
	Input  string           // its input, a JSON object
	Usage  Usage            // zero: 10 in, 5 out
	Finish string           // Gemini: finishReason, such as "MAX_TOKENS"; empty: "STOP"

	// EchoHeader answers with the received header as JSON text.
	EchoHeader bool

	Status     int         // of an error answer; 0: 200
	Message    string      // of an error answer
	RetryAfter string      // Retry-After header
	Header     http.Header // added to the answer's
	Body       []byte      // sent as it is instead of all that, with Status and Header

	Delay     time.Duration   // before the header
	Pace      time.Duration   // before each event of a stream
	Hold      <-chan struct{} // waited for before event number HoldAt
	HoldAt    int
	ChunkSize int // bytes per write; 0: one event per write

	Cut         Cut // how the stream breaks off, if it does
	AfterEvents int // after that many events, or after the last if there are fewer
	AfterBytes  int // or, if set, after that many bytes
}

// Cut is a way to break off.
type Cut int

// The ways to break off.
const (
	CutNone  Cut = iota
	CutClean     // the body ends properly, only too early
	CutAbort     // the connection is closed without the body's end
	CutReset     // the connection is reset (RST)
)

// Usage is what the answer says it cost, in tokens. OpenAI's and Gemini's In
// includes CacheRead, Anthropic's does not.
type Usage struct {
	In, Out, CacheRead, CacheWrite int
	Thoughts                       int // Gemini: beside Out
}

func (r Reply) usage() Usage {
	if r.Usage == (Usage{}) {
		return Usage{In: 10, Out: 5}
	}
	return r.Usage
}

// Words are the deltas of a text: each word with the space behind it.
func Words(text string) iter.Seq[string] {
	return slices.Values(strings.SplitAfter(text, " "))
}

// Repeat is n times the same delta.
func Repeat(delta string, n int) iter.Seq[string] {
	return func(yield func(string) bool) {
		for range n {
			if !yield(delta) {
				return
			}
		}
	}
}

func (r Reply) pieces() iter.Seq[string] {
	if r.Pieces != nil {
		return r.Pieces
	}
	return Words(r.Text)
}

func (r Reply) wholeText() string {
	var b strings.Builder
	for p := range r.pieces() {
		b.WriteString(p)
	}
	return b.String()
}

// sender sends one reply.
type sender struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	ctx   context.Context
	call  *Call
	reply Reply

	events, bytes int
}

var errCut = errors.New("cut by the test")

func (s *sender) send() {
	defer s.noticeGone()
	if err := s.wait(s.reply.Delay); err != nil {
		return
	}
	maps.Copy(s.w.Header(), s.reply.Header)
	if s.reply.RetryAfter != "" {
		s.w.Header().Set("Retry-After", s.reply.RetryAfter)
	}
	if s.reply.EchoHeader {
		s.reply.Text = string(encode(s.call.Header))
	}
	switch {
	case s.reply.Body != nil:
		s.sendBody()
	case s.reply.Status >= 300:
		answerError(s.w, s.call, &problem{s.reply.Status, "api_error", s.reply.Message, retryInfo(s.reply.RetryAfter)})
	case s.call.Stream:
		s.sendStream()
	default:
		s.sendJSON()
	}
}

func (s *sender) noticeGone() {
	if s.ctx.Err() != nil {
		close(s.call.Gone)
	}
}

func (s *sender) wait(d time.Duration) error {
	if d <= 0 {
		return s.ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *sender) sendBody() {
	if s.reply.Status != 0 {
		s.w.WriteHeader(s.reply.Status)
	}
	_ = s.write(s.reply.Body)
}

func (s *sender) sendJSON() {
	body := encode(s.whole())
	s.w.Header().Set("Content-Type", "application/json")
	if s.call.API == Gemini {
		body = indented(body)
		s.w.Header().Set("Content-Type", geminiJSON)
	}
	s.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_ = s.write(body)
}

func (s *sender) sendStream() {
	s.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	if s.call.API == Gemini {
		s.w.Header().Set("Content-Type", geminiStreamType(s.call))
	}
	s.w.WriteHeader(http.StatusOK)
	if s.rc.Flush() != nil {
		return
	}
	for event := range s.stream() {
		if s.event(event) != nil {
			return
		}
	}
	if s.reply.Cut != CutNone {
		_ = s.breakOff()
	}
}

// event sends one event, unless it is time to break off.
func (s *sender) event(p []byte) error {
	if s.reply.Hold != nil && s.events == s.reply.HoldAt {
		select {
		case <-s.reply.Hold:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
	if err := s.wait(s.reply.Pace); err != nil {
		return err
	}
	if s.reply.Cut != CutNone && s.reply.AfterBytes == 0 && s.events == s.reply.AfterEvents {
		return s.breakOff()
	}
	s.events++
	return s.write(p)
}

// write sends bytes in the pieces the reply wants, and flushes each.
func (s *sender) write(p []byte) error {
	for len(p) > 0 {
		n := len(p)
		if s.reply.ChunkSize > 0 {
			n = min(n, s.reply.ChunkSize)
		}
		if s.reply.Cut != CutNone && s.reply.AfterBytes > 0 {
			if s.bytes == s.reply.AfterBytes {
				return s.breakOff()
			}
			n = min(n, s.reply.AfterBytes-s.bytes)
		}
		s.call.count(p[:n])
		if _, err := s.w.Write(p[:n]); err != nil {
			return err
		}
		if err := s.rc.Flush(); err != nil {
			return err
		}
		s.bytes += n
		p = p[n:]
	}
	return nil
}

func (s *sender) breakOff() error {
	switch s.reply.Cut {
	case CutAbort:
		panic(http.ErrAbortHandler)
	case CutReset:
		conn, _, err := s.rc.Hijack()
		if err != nil {
			panic("fakemodel: hijack: " + err.Error())
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
	return errCut
}
