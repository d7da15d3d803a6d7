package fakemodel

import (
	"encoding/json"
	"iter"
	"strings"
)

type fields = map[string]any

// whole is the answer of a call that does not stream.
func (s *sender) whole() any {
	switch {
	case strings.HasSuffix(s.call.Path, "/count_tokens"):
		return fields{"input_tokens": s.reply.usage().In}
	case strings.HasSuffix(s.call.Path, "/models"):
		return fields{"object": "list", "data": []any{fields{"id": "fake-model", "object": "model", "created": 1, "owned_by": "fakemodel"}}}
	case s.call.API == OpenAI:
		return s.openaiWhole()
	case s.call.API == Gemini:
		return s.geminiWhole()
	}
	return s.anthropicMessage([]any{s.anthropicBlock(s.reply.wholeText(), s.input())}, s.stop("tool_use", "end_turn"), s.reply.usage())
}

// stream is the answer of a call that does.
func (s *sender) stream() iter.Seq[[]byte] {
	switch s.call.API {
	case OpenAI:
		return s.openaiStream
	case Gemini:
		return s.geminiStream
	}
	return s.anthropicStream
}

func (s *sender) input() json.RawMessage {
	if s.reply.Input == "" {
		return json.RawMessage("{}")
	}
	return json.RawMessage(s.reply.Input)
}

func (s *sender) stop(tool, text string) string {
	if s.reply.Tool != "" {
		return tool
	}
	return text
}

// deltas are the pieces of what the answer says: text, or the tool's input.
func (s *sender) deltas() iter.Seq[string] {
	if s.reply.Tool != "" {
		return Words(string(s.input()))
	}
	return s.reply.pieces()
}

func (s *sender) anthropicMessage(content []any, stop any, u Usage) fields {
	return fields{
		"id": "msg_fake", "type": "message", "role": "assistant", "model": s.call.Model,
		"content": content, "stop_reason": stop, "stop_sequence": nil,
		"usage": fields{"input_tokens": u.In, "output_tokens": u.Out,
			"cache_read_input_tokens": u.CacheRead, "cache_creation_input_tokens": u.CacheWrite},
	}
}

func (s *sender) anthropicBlock(text string, input json.RawMessage) fields {
	if s.reply.Tool != "" {
		return fields{"type": "tool_use", "id": "toolu_fake", "name": s.reply.Tool, "input": input}
	}
	return fields{"type": "text", "text": text}
}

func (s *sender) anthropicStream(yield func([]byte) bool) {
	send := func(name string, f fields) bool {
		f["type"] = name
		return yield([]byte("event: " + name + "\ndata: " + string(encode(f)) + "\n\n"))
	}
	u := s.reply.usage()
	start := u
	start.Out = 1
	if !send("message_start", fields{"message": s.anthropicMessage([]any{}, nil, start)}) ||
		!send("content_block_start", fields{"index": 0, "content_block": s.anthropicBlock("", json.RawMessage("{}"))}) ||
		!send("ping", fields{}) {
		return
	}
	for piece := range s.deltas() {
		delta := fields{"type": "text_delta", "text": piece}
		if s.reply.Tool != "" {
			delta = fields{"type": "input_json_delta", "partial_json": piece}
		}
		if !send("content_block_delta", fields{"index": 0, "delta": delta}) {
			return
		}
	}
	_ = send("content_block_stop", fields{"index": 0}) &&
		send("message_delta", fields{"delta": fields{"stop_reason": s.stop("tool_use", "end_turn"), "stop_sequence": nil}, "usage": fields{"output_tokens": u.Out}}) &&
		send("message_stop", fields{})
}

func (s *sender) openaiWhole() fields {
	msg := fields{"role": "assistant", "content": s.reply.wholeText(), "refusal": nil}
	if s.reply.Tool != "" {
		msg["content"] = nil
		msg["tool_calls"] = []any{fields{"id": "call_fake", "type": "function",
			"function": fields{"name": s.reply.Tool, "arguments": string(s.input())}}}
	}
	return fields{"id": "chatcmpl-fake", "object": "chat.completion", "created": 1, "model": s.call.Model,
		"choices": []any{fields{"index": 0, "message": msg, "logprobs": nil, "finish_reason": s.stop("tool_calls", "stop")}},
		"usage":   s.openaiUsage()}
}

func (s *sender) openaiUsage() fields {
	u := s.reply.usage()
	return fields{"prompt_tokens": u.In, "completion_tokens": u.Out, "total_tokens": u.In + u.Out,
		"prompt_tokens_details": fields{"cached_tokens": u.CacheRead}}
}

func (s *sender) openaiStream(yield func([]byte) bool) {
	send := func(choices []any, usage any) bool {
		f := fields{"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 1, "model": s.call.Model, "choices": choices}
		if s.call.Usage {
			f["usage"] = usage
		}
		return yield([]byte("data: " + string(encode(f)) + "\n\n"))
	}
	choice := func(delta fields, finish any) []any {
		return []any{fields{"index": 0, "delta": delta, "logprobs": nil, "finish_reason": finish}}
	}
	opening := fields{"role": "assistant", "content": ""}
	if s.reply.Tool != "" {
		opening = fields{"role": "assistant", "content": nil, "tool_calls": []any{fields{"index": 0, "id": "call_fake",
			"type": "function", "function": fields{"name": s.reply.Tool, "arguments": ""}}}}
	}
	if !send(choice(opening, nil), nil) {
		return
	}
	for piece := range s.deltas() {
		delta := fields{"content": piece}
		if s.reply.Tool != "" {
			delta = fields{"tool_calls": []any{fields{"index": 0, "function": fields{"arguments": piece}}}}
		}
		if !send(choice(delta, nil), nil) {
			return
		}
	}
	if !send(choice(fields{}, s.stop("tool_calls", "stop")), nil) {
		return
	}
	if s.call.Usage && !send([]any{}, s.openaiUsage()) {
		return
	}
	yield([]byte("data: [DONE]\n\n"))
}
