package translate

import "encoding/json"

// anthropicStream writes the events of Anthropic's Messages, as its own clients read
// them: https://docs.anthropic.com/en/docs/build-with-claude/streaming
//
// Content blocks come one at a time there, while Chat may mix the pieces of several
// tool calls. What is not the open block's turn waits in a queue. Text and thoughts
// can be closed at any time, so that the queue is empty unless a call is open.
type anthropicStream struct {
	eventWriter
	lost  *answerLosses
	begun bool
	index int // of the next block
	open  waitingBlock
	queue []waitingBlock
	held  int // bytes in the queue
}

// waitingBlock is a content block that is open, or that waits to be.
type waitingBlock struct {
	kind     blockKind
	n        int // of a call
	id, name string
	ended    bool // of a call: its arguments are all there
	broken   bool // of one that ended: they are no object
	text     literal
}

// perBlock is what a block that waits counts for besides its text, in bytes.
const perBlock = 256

type anthropicStartOut struct {
	Type    string             `json:"type"`
	Message anthropicAnswerOut `json:"message"`
}

type anthropicBlockOut struct {
	Type  string `json:"type"`
	Index int    `json:"index"`
	Block any    `json:"content_block,omitempty"`
	Delta any    `json:"delta,omitempty"`
}

type anthropicDeltaOut struct {
	Type     string  `json:"type"`
	Text     literal `json:"text,omitempty"`
	Thinking literal `json:"thinking,omitempty"`
	JSON     literal `json:"partial_json,omitempty"`
}

type anthropicEndOut struct {
	Type  string `json:"type"`
	Delta struct {
		StopReason   *string `json:"stop_reason"`
		StopSequence literal `json:"stop_sequence"`
	} `json:"delta"`
	Usage *anthropicAnswerUsage `json:"usage"`
}

func (w *anthropicStream) begin(h answerHead) error {
	w.begun = true
	return w.event("message_start", anthropicStartOut{"message_start", anthropicAnswerOut{
		ID: h.id, Type: "message", Role: "assistant", Model: h.model, Content: []any{}, Usage: anthropicUsageOf(h.usage)}})
}

func (w *anthropicStream) ping() {
	if w.begun {
		w.put("event: ping\ndata: {\"type\":\"ping\"}\n\n")
	}
}

func (w *anthropicStream) text(t literal) error { return w.piece(textBlock, t) }

func (w *anthropicStream) think(t literal) error {
	w.lost.add("thinking_signature")
	return w.piece(thinkingBlock, t)
}

// piece is text or a thought, which belongs to the last block if that is of its kind.
func (w *anthropicStream) piece(kind blockKind, t literal) error {
	last := &w.open
	if len(w.queue) > 0 {
		last = &w.queue[len(w.queue)-1]
	}
	if last.kind == kind {
		return w.write(last, t)
	}
	return w.place(waitingBlock{kind: kind, text: literal(nil).join(t)})
}

func (w *anthropicStream) call(n int, id, name string) error {
	return w.place(waitingBlock{kind: callBlock, n: n, id: anthropicCallID(id), name: name})
}

func (w *anthropicStream) arguments(n int, t literal) error {
	if b := w.find(n); b != nil {
		return w.write(b, t)
	}
	return nil
}

func (w *anthropicStream) endCall(n int) error {
	if b := w.find(n); b != nil {
		b.ended = true
	}
	return w.advance()
}

func (w *anthropicStream) find(n int) *waitingBlock {
	if w.open.kind == callBlock && w.open.n == n {
		return &w.open
	}
	for i := range w.queue {
		if b := &w.queue[i]; b.kind == callBlock && b.n == n {
			return b
		}
	}
	return nil
}

// write passes a piece on if its block is open, and else lets it wait.
func (w *anthropicStream) write(b *waitingBlock, t literal) error {
	if b == &w.open {
		return w.delta(b.kind, t)
	}
	if w.held += len(t); w.held > maxHeld {
		return errTooMuchHeld
	}
	b.text = b.text.join(t)
	return nil
}

// place lets a new block wait for its turn, which may be now.
func (w *anthropicStream) place(b waitingBlock) error {
	if w.held += len(b.text) + len(b.id) + len(b.name) + perBlock; w.held > maxHeld {
		return errTooMuchHeld
	}
	w.queue = append(w.queue, b)
	return w.advance()
}

// advance opens the blocks whose turn it is.
func (w *anthropicStream) advance() error {
	for len(w.queue) > 0 && (w.open.kind != callBlock || w.open.ended) {
		if err := w.closeBlock(); err != nil {
			return err
		}
		b := w.queue[0]
		w.queue = w.queue[1:]
		w.held -= len(b.text) + len(b.id) + len(b.name) + perBlock
		if err := w.openBlock(b); err != nil {
			return err
		}
	}
	return nil
}

func (w *anthropicStream) openBlock(b waitingBlock) error {
	var block any
	switch b.kind {
	case textBlock:
		block = anthropicAnswerText{"text", literal(`""`)}
	case thinkingBlock:
		block = anthropicAnswerThought{Type: "thinking", Thinking: literal(`""`)}
	case callBlock:
		block = anthropicAnswerCall{"tool_use", b.id, b.name, json.RawMessage("{}")}
	}
	text := b.text
	b.text = nil
	w.open = b
	if err := w.event("content_block_start", anthropicBlockOut{Type: "content_block_start", Index: w.index, Block: block}); err != nil {
		return err
	}
	if text.empty() {
		return nil
	}
	return w.delta(b.kind, text)
}

func (w *anthropicStream) delta(kind blockKind, t literal) error {
	d := anthropicDeltaOut{Type: "text_delta", Text: t}
	switch kind {
	case thinkingBlock:
		d = anthropicDeltaOut{Type: "thinking_delta", Thinking: t}
	case callBlock:
		d = anthropicDeltaOut{Type: "input_json_delta", JSON: t}
	}
	return w.event("content_block_delta", anthropicBlockOut{Type: "content_block_delta", Index: w.index, Delta: d})
}

func (w *anthropicStream) closeBlock() error {
	if w.open.kind == noBlock {
		return nil
	}
	w.open = waitingBlock{}
	err := w.event("content_block_stop", anthropicBlockOut{Type: "content_block_stop", Index: w.index})
	w.index++
	return err
}

func (w *anthropicStream) end(e answerEnd) error {
	for len(w.queue) > 0 {
		w.open.ended = true // it was cut, and so has no end of its own
		if err := w.advance(); err != nil {
			return err
		}
	}
	if err := w.closeBlock(); err != nil {
		return err
	}
	out := anthropicEndOut{Type: "message_delta", Usage: anthropicUsageOf(e.usage)}
	out.Delta.StopReason, out.Delta.StopSequence = anthropicStop(e.stop), e.sequence
	if err := w.event("message_delta", out); err != nil {
		return err
	}
	w.put("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
	return nil
}
