package demo

import (
	"bytes"
	"encoding/json"
	"io"
	"unicode/utf8"
)

// message is one answer on its way out.
type message struct {
	id, model string
	in        int64 // tokens of the request, as a guess
	answer    reply
}

func (m message) outTokens() int64 {
	return int64(len(m.answer.text)+len(m.answer.input))/4 + 1
}

func (m message) stopReason() string {
	if m.answer.tool != "" {
		return "tool_use"
	}
	return "end_turn"
}

type object = map[string]any

func (m message) envelope(content []any, stop any, out int64) object {
	return object{
		"id": "msg_01" + m.id, "type": "message", "role": "assistant", "model": m.model,
		"content": content, "stop_reason": stop, "stop_sequence": nil,
		"usage": object{"input_tokens": m.in, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": out},
	}
}

// block is the one content block; its streamed form begins empty.
func (m message) block(empty bool) object {
	a := m.answer
	if a.tool == "" {
		text := a.text
		if empty {
			text = ""
		}
		return object{"type": "text", "text": text}
	}
	input := a.input
	if empty {
		input = json.RawMessage("{}")
	}
	return object{"type": "tool_use", "id": a.id, "name": a.tool, "input": input}
}

func (m message) json() []byte {
	return encode(m.envelope([]any{m.block(false)}, m.stopReason(), m.outTokens()))
}

// stream gives the answer as server-sent events, one event per Read.
func (m message) stream() io.Reader {
	rest := m.answer.text
	if m.answer.tool != "" {
		rest = string(m.answer.input)
	}
	return &stream{m: m, rest: rest, size: max(16, len(rest)/1000), step: m.opening()}
}

func (m message) opening() [][]byte {
	return [][]byte{
		event("message_start", object{"message": m.envelope([]any{}, nil, 1)}),
		event("content_block_start", object{"index": 0, "content_block": m.block(true)}),
		event("ping", object{}),
	}
}

func (m message) closing() [][]byte {
	return [][]byte{
		event("content_block_stop", object{"index": 0}),
		event("message_delta", object{
			"delta": object{"stop_reason": m.stopReason(), "stop_sequence": nil},
			"usage": object{"output_tokens": m.outTokens()},
		}),
		event("message_stop", object{}),
	}
}

func (m message) delta(piece string) []byte {
	if m.answer.tool != "" {
		return event("content_block_delta", object{"index": 0, "delta": object{"type": "input_json_delta", "partial_json": piece}})
	}
	return event("content_block_delta", object{"index": 0, "delta": object{"type": "text_delta", "text": piece}})
}

func event(name string, fields object) []byte {
	fields["type"] = name
	var b bytes.Buffer
	b.WriteString("event: " + name + "\ndata: ")
	b.Write(encode(fields))
	b.WriteString("\n\n")
	return b.Bytes()
}

// stream renders events as they are read.
type stream struct {
	m      message
	step   [][]byte // events that come next
	rest   string   // text not yet sent
	size   int      // bytes of text per delta
	closed bool     // the closing events are in step
	now    []byte   // of the event being read
}

func (s *stream) Read(p []byte) (int, error) {
	if len(s.now) == 0 && !s.next() {
		return 0, io.EOF
	}
	n := copy(p, s.now)
	s.now = s.now[n:]
	return n, nil
}

// next sets the next event; false at the end.
func (s *stream) next() bool {
	if len(s.step) == 0 && s.rest == "" && !s.closed {
		s.step, s.closed = s.m.closing(), true
	}
	switch {
	case len(s.step) > 0:
		s.now, s.step = s.step[0], s.step[1:]
	case s.rest != "":
		var piece string
		piece, s.rest = split(s.rest, s.size)
		s.now = s.m.delta(piece)
	default:
		return false
	}
	return true
}

// split cuts about n bytes off s, never within a character.
func split(s string, n int) (head, rest string) {
	if len(s) <= n {
		return s, ""
	}
	for n < len(s) && !utf8.RuneStart(s[n]) {
		n++
	}
	return s[:n], s[n:]
}
