package aigateway

import (
	"net/http"
	"strconv"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// tellUser answers for the model where a person waits for one and the call may not
// be made: programs hide the errors of an API from who talks to them, or put their
// own words there, and a person should know that the money is spent. Calls that
// nobody waits for get an error, as the agent would take an answer for a result.
func (c *call) tellUser(f *failure) error {
	if f.status != http.StatusTooManyRequests || !f.final {
		return f
	}
	if !c.g.opts.ByPerson[c.trigger] {
		// Neither that this key is wrong nor that it is busy: agents keep away from a
		// key for hours then, when somebody has long given more.
		f.status = http.StatusBadRequest
		return f
	}
	var body []byte
	kind := "application/json"
	switch {
	case c.asked.form == anthropicForm && c.ask.stream:
		body, kind = anthropicNoticeSSE(c.id.String(), c.ask.model, f.msg), "text/event-stream"
	case c.asked.form == anthropicForm:
		body = anthropicNotice(c.id.String(), c.ask.model, f.msg)
	case c.asked.ep.Kind == usage.Chat && c.ask.stream:
		body, kind = chatNoticeSSE(c.id.String(), c.ask.model, f.msg), "text/event-stream"
	case c.asked.ep.Kind == usage.Chat:
		body = chatNotice(c.id.String(), c.ask.model, f.msg)
	default:
		return f
	}
	c.rec.status = http.StatusOK
	c.rec.refused = f
	h := c.w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	return c.write(body)
}

type anthropicMessage struct {
	ID         string          `json:"id"`
	Type       string          `json:"type"`
	Role       string          `json:"role"`
	Model      string          `json:"model"`
	Content    []anthropicText `json:"content"`
	StopReason *string         `json:"stop_reason"`
	StopSeq    *string         `json:"stop_sequence"`
	Usage      anthropicUsage  `json:"usage"`
}

type anthropicText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type anthropicUsage struct {
	Input  int `json:"input_tokens"`
	Output int `json:"output_tokens"`
}

// anthropicNotice is a message of Anthropic's Messages API that says text.
func anthropicNotice(id, model, text string) []byte {
	end := "end_turn"
	return marshal(anthropicMessage{ID: "msg_" + id, Type: "message", Role: "assistant", Model: model,
		Content: []anthropicText{{"text", text}}, StopReason: &end})
}

// anthropicNoticeSSE is the same as a stream.
func anthropicNoticeSSE(id, model, text string) []byte {
	event := func(name string, v any) []byte { return sse("event: "+name+"\ndata: ", marshal(v)) }
	var out []byte
	out = append(out, event("message_start", map[string]any{"type": "message_start",
		"message": anthropicMessage{ID: "msg_" + id, Type: "message", Role: "assistant", Model: model, Content: []anthropicText{}}})...)
	out = append(out, event("content_block_start", map[string]any{"type": "content_block_start", "index": 0, "content_block": anthropicText{"text", ""}})...)
	out = append(out, event("content_block_delta", map[string]any{"type": "content_block_delta", "index": 0, "delta": anthropicText{"text_delta", text}})...)
	out = append(out, event("content_block_stop", map[string]any{"type": "content_block_stop", "index": 0})...)
	out = append(out, event("message_delta", map[string]any{"type": "message_delta",
		"delta": map[string]any{"stop_reason": "end_turn", "stop_sequence": nil}, "usage": map[string]int{"output_tokens": 0}})...)
	return append(out, event("message_stop", map[string]string{"type": "message_stop"})...)
}

// chatNotice is a completion of OpenAI's Chat Completions that says text.
func chatNotice(id, model, text string) []byte {
	return marshal(map[string]any{"id": "chatcmpl-" + id, "object": "chat.completion", "model": model, "created": 0,
		"choices": []any{map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]string{"role": "assistant", "content": text}}},
		"usage":   map[string]int{"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}})
}

// chatNoticeSSE is the same as a stream.
func chatNoticeSSE(id, model, text string) []byte {
	chunk := func(delta map[string]string, finish any) []byte {
		return sse("data: ", marshal(map[string]any{"id": "chatcmpl-" + id, "object": "chat.completion.chunk", "model": model, "created": 0,
			"choices": []any{map[string]any{"index": 0, "delta": delta, "finish_reason": finish}}}))
	}
	out := chunk(map[string]string{"role": "assistant", "content": text}, nil)
	out = append(out, chunk(map[string]string{}, "stop")...)
	return append(out, "data: [DONE]\n\n"...)
}
