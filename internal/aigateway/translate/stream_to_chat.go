package translate

// chatStream writes chunks of a chat completion:
// https://platform.openai.com/docs/api-reference/chat/streaming
type chatStream struct {
	eventWriter
	opt     AnswerOptions
	head    answerHead
	created int64
	spoken  map[int]bool // calls that have arguments
}

type chatChunkOut struct {
	ID      string         `json:"id"`
	Object  string         `json:"object"`
	Created int64          `json:"created"`
	Model   string         `json:"model"`
	Choices []chatPieceOut `json:"choices"`
	Usage   **chatUsageOut `json:"usage,omitempty"` // null in all but the last, where it is asked for
}

type chatPieceOut struct {
	Index        int          `json:"index"`
	Delta        chatDeltaOut `json:"delta"`
	Logprobs     *struct{}    `json:"logprobs"`
	FinishReason *string      `json:"finish_reason"`
}

type chatDeltaOut struct {
	Role      string              `json:"role,omitempty"`
	Content   literal             `json:"content,omitempty"`
	Reasoning literal             `json:"reasoning_content,omitempty"`
	ToolCalls []chatAnswerCallOut `json:"tool_calls,omitempty"`
}

func (w *chatStream) begin(h answerHead) error {
	w.head, w.created, w.spoken = h, w.opt.seconds(), map[int]bool{}
	return w.delta(chatDeltaOut{Role: "assistant", Content: literal(`""`)})
}

func (w *chatStream) delta(d chatDeltaOut) error { return w.chunk([]chatPieceOut{{Delta: d}}, nil) }

func (w *chatStream) chunk(choices []chatPieceOut, u *chatUsageOut) error {
	c := chatChunkOut{ID: w.head.id, Object: "chat.completion.chunk", Created: w.created, Model: w.head.model, Choices: choices}
	if w.opt.IncludeUsage {
		c.Usage = &u
	}
	return w.event("", c)
}

func (w *chatStream) ping() { w.put(": ping\n\n") }

func (w *chatStream) text(t literal) error { return w.delta(chatDeltaOut{Content: t}) }

func (w *chatStream) think(t literal) error { return w.delta(chatDeltaOut{Reasoning: t}) }

func (w *chatStream) call(n int, id, name string) error {
	return w.delta(chatDeltaOut{ToolCalls: []chatAnswerCallOut{{Index: &n, ID: chatCallID(id), Type: "function",
		Function: chatAnswerFunctionOut{Name: name, Arguments: literal(`""`)}}}})
}

func (w *chatStream) arguments(n int, t literal) error {
	w.spoken[n] = true
	return w.delta(chatDeltaOut{ToolCalls: []chatAnswerCallOut{{Index: &n, Function: chatAnswerFunctionOut{Arguments: t}}}})
}

// endCall sees to it that a call without arguments has JSON for them: clients parse it.
func (w *chatStream) endCall(n int) error {
	if w.spoken[n] {
		return nil
	}
	return w.arguments(n, literal(`"{}"`))
}

func (w *chatStream) end(e answerEnd) error {
	finish := chatStop(e.stop)
	if err := w.chunk([]chatPieceOut{{FinishReason: &finish}}, nil); err != nil {
		return err
	}
	if u := chatUsageOf(e.usage); u != nil && w.opt.IncludeUsage {
		if err := w.chunk([]chatPieceOut{}, u); err != nil {
			return err
		}
	}
	w.put("data: [DONE]\n\n")
	return nil
}
