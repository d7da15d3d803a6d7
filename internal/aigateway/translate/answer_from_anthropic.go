package translate

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// anthropicAnswers reads messages of Anthropic and the events they are streamed in:
// https://docs.anthropic.com/en/api/messages and
// https://docs.anthropic.com/en/docs/build-with-claude/streaming
type anthropicAnswers struct {
	*answerReader
	block    anthropicOpen
	stop     stopReason
	sequence literal
}

// anthropicOpen is the block that a stream is in. There is never more than one.
type anthropicOpen struct {
	index int
	kind  string // "": none is open
	call  int
	input json.RawMessage // of a call whose arguments came whole as it began
}

type anthropicAnswer struct {
	Type         looseString            `json:"type"`
	ID           looseString            `json:"id"`
	Content      []anthropicAnswerBlock `json:"content"`
	StopReason   looseString            `json:"stop_reason"`
	StopSequence json.RawMessage        `json:"stop_sequence"`
}

type anthropicAnswerBlock struct {
	Type      looseString     `json:"type"`
	Text      json.RawMessage `json:"text"`
	Thinking  json.RawMessage `json:"thinking"`
	Signature json.RawMessage `json:"signature"`
	Citations json.RawMessage `json:"citations"`
	ID        looseString     `json:"id"`
	Name      looseString     `json:"name"`
	Input     json.RawMessage `json:"input"`
}

type anthropicEvent struct {
	Type    looseString          `json:"type"`
	Index   int                  `json:"index"`
	Message anthropicAnswer      `json:"message"`
	Block   anthropicAnswerBlock `json:"content_block"`
	Delta   struct {
		Type         looseString     `json:"type"`
		Text         json.RawMessage `json:"text"`
		Thinking     json.RawMessage `json:"thinking"`
		PartialJSON  json.RawMessage `json:"partial_json"`
		StopReason   looseString     `json:"stop_reason"`
		StopSequence json.RawMessage `json:"stop_sequence"`
	} `json:"delta"`
}

func (a *anthropicAnswers) whole(doc []byte) error {
	var m anthropicAnswer
	if err := json.Unmarshal(doc, &m); err != nil {
		return err
	}
	if m.Type == "error" {
		return newStreamError(doc, Anthropic)
	}
	if m.Type != "message" {
		return fmt.Errorf("a document of type %.40q is not a message", m.Type)
	}
	if err := a.begin(string(m.ID)); err != nil {
		return err
	}
	for i, p := range m.Content {
		if err := a.beginBlock(i, p); err != nil {
			return err
		}
		if err := a.endBlock(i); err != nil {
			return err
		}
	}
	a.stopped(m.StopReason, m.StopSequence)
	return a.end(a.stop, a.sequence)
}

func (a *anthropicAnswers) event(data []byte) error {
	var e anthropicEvent
	if err := json.Unmarshal(data, &e); err != nil {
		return err
	}
	switch e.Type {
	case "message_start":
		return a.begin(string(e.Message.ID))
	case "error":
		return newStreamError(data, Anthropic)
	case "ping":
		a.sink.ping()
		return nil
	case "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop":
		if !a.begun {
			return fmt.Errorf("%s came before message_start", e.Type)
		}
	}
	switch e.Type {
	case "content_block_start":
		return a.beginBlock(e.Index, e.Block)
	case "content_block_delta":
		return a.delta(&e)
	case "content_block_stop":
		return a.endBlock(e.Index)
	case "message_delta":
		a.stopped(e.Delta.StopReason, e.Delta.StopSequence)
	case "message_stop":
		if a.block.kind != "" {
			return errors.New("message_stop came inside a content block")
		}
		return a.end(a.stop, a.sequence)
	}
	return nil // "new event types may be added", say the rules of Anthropic's versions
}

func (a *anthropicAnswers) close() error {
	if !a.ended {
		return errBrokeOff
	}
	return nil
}

// beginBlock begins a content block with what of it is there already: all of it in
// a whole answer, mostly nothing in a stream.
func (a *anthropicAnswers) beginBlock(index int, p anthropicAnswerBlock) (err error) {
	if a.block.kind != "" {
		return errors.New("a content block begins inside another")
	}
	a.block = anthropicOpen{index: index, kind: string(p.Type)}
	a.lost.addIf("citations", p.Citations)
	switch p.Type {
	case "text":
		return a.pass(a.sink.text, p.Text)
	case "thinking":
		if !literalOf(p.Signature).empty() {
			a.lost.add("thinking_signature")
		}
		return a.pass(a.sink.think, p.Thinking)
	case "tool_use":
		a.block.input = p.Input
		a.block.call, err = a.call(string(p.ID), string(p.Name))
		return err
	case "redacted_thinking":
		a.lost.add("redacted_thinking")
	case "server_tool_use", "mcp_tool_use", "container_upload":
		a.lost.add("server_tools")
	default:
		if strings.HasSuffix(string(p.Type), "_tool_result") {
			a.lost.add("server_tools")
		} else {
			a.lost.add("unknown_content")
		}
		if p.Type == "" {
			a.block.kind = "unknown"
		}
	}
	return nil
}

// pass tells the sink a piece of text, if it is one.
func (r *answerReader) pass(to func(literal) error, raw json.RawMessage) error {
	if t := literalOf(raw); !t.empty() {
		return to(t)
	}
	return nil
}

func (a *anthropicAnswers) delta(e *anthropicEvent) error {
	if a.block.kind == "" || a.block.index != e.Index {
		return errors.New("content_block_delta is for a block that is not open")
	}
	switch e.Delta.Type {
	case "text_delta":
		return a.pass(a.sink.text, e.Delta.Text)
	case "thinking_delta":
		return a.pass(a.sink.think, e.Delta.Thinking)
	case "input_json_delta":
		if t := literalOf(e.Delta.PartialJSON); !t.empty() && a.block.kind == "tool_use" {
			a.block.input = nil
			return a.sink.arguments(a.block.call, t)
		}
	case "signature_delta":
		a.lost.add("thinking_signature")
	case "citations_delta":
		a.lost.add("citations")
	}
	return nil
}

func (a *anthropicAnswers) endBlock(index int) error {
	b := a.block
	if b.kind == "" || b.index != index {
		return errors.New("content_block_stop is for a block that is not open")
	}
	a.block = anthropicOpen{}
	if b.kind != "tool_use" {
		return nil
	}
	if present(b.input) {
		text, err := objectText(b.input)
		if err != nil {
			return err
		}
		if err := a.sink.arguments(b.call, quoted(text)); err != nil {
			return err
		}
	}
	return a.sink.endCall(b.call)
}

// stopped notes why the answer ends; message_delta may come more than once.
func (a *anthropicAnswers) stopped(reason looseString, sequence json.RawMessage) {
	switch reason {
	case "":
		return
	case "end_turn":
		a.stop = stopEnd
	case "max_tokens", "model_context_window_exceeded":
		a.stop = stopLength
	case "tool_use":
		a.stop = stopTool
	case "stop_sequence":
		a.stop = stopSequence
	case "refusal":
		a.stop = stopRefusal
	default: // "pause_turn" of server tools, and what is yet to come
		a.stop = stopEnd
		a.lost.add("stop_reason")
	}
	a.sequence = literalOf(sequence)
}
