package translate

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/moltworker/moltworker/internal/aigateway/usage"
)

// answerWhole gathers an answer until it is complete. It is a sink.
type answerWhole struct {
	head   answerHead
	blocks []answerBlock
	calls  map[int]int // a call's number to its block
	final  answerEnd
}

type answerBlock struct {
	kind     blockKind
	text     literal // or a call's arguments
	id, name string
	object   json.RawMessage // a call's arguments, once they are all there
}

type blockKind int

const (
	noBlock blockKind = iota
	textBlock
	thinkingBlock
	callBlock
)

func (w *answerWhole) begin(h answerHead) error { w.head = h; return nil }
func (w *answerWhole) end(e answerEnd) error    { w.final = e; return nil }
func (w *answerWhole) ping()                    {}
func (w *answerWhole) endCall(int) error        { return nil }

func (w *answerWhole) text(t literal) error  { return w.add(textBlock, t) }
func (w *answerWhole) think(t literal) error { return w.add(thinkingBlock, t) }

// add puts text behind text of its kind, as the pieces of a stream are joined.
func (w *answerWhole) add(kind blockKind, t literal) error {
	if n := len(w.blocks); n > 0 && w.blocks[n-1].kind == kind {
		w.blocks[n-1].text = w.blocks[n-1].text.join(t)
		return nil
	}
	w.blocks = append(w.blocks, answerBlock{kind: kind, text: literal(nil).join(t)})
	return nil
}

func (w *answerWhole) call(n int, id, name string) error {
	if w.calls == nil {
		w.calls = map[int]int{}
	}
	w.calls[n] = len(w.blocks)
	w.blocks = append(w.blocks, answerBlock{kind: callBlock, id: id, name: name})
	return nil
}

func (w *answerWhole) arguments(n int, t literal) error {
	b := &w.blocks[w.calls[n]]
	b.text = b.text.join(t)
	return nil
}

// settle reads the arguments of the calls. One that was cut where the tokens ran out
// is left out: no API has a form for half an object.
func (w *answerWhole) settle(lost *answerLosses) error {
	kept := w.blocks[:0]
	for _, b := range w.blocks {
		if b.kind == callBlock {
			object, err := callObject(b.text)
			if err != nil && w.final.stop == stopLength {
				lost.add("tool_call")
				continue
			}
			if err != nil {
				return fmt.Errorf("%w: of tool %.60q", err, b.name)
			}
			b.object = object
		}
		kept = append(kept, b)
	}
	w.blocks = kept
	return nil
}

// callObject is the JSON object that a call's arguments are.
func callObject(t literal) (json.RawMessage, error) {
	if t.empty() {
		return json.RawMessage("{}"), nil
	}
	text, err := objectText(json.RawMessage(strings.TrimSpace(t.string())))
	return json.RawMessage(text), err
}

func (w *answerWhole) document(to API, o AnswerOptions, lost *answerLosses) ([]byte, error) {
	switch to {
	case Anthropic:
		return w.anthropic(lost)
	case Chat:
		return w.chat(o)
	default:
		return w.gemini()
	}
}

// anthropicAnswerOut is a message of Anthropic, whole, or as its stream begins.
type anthropicAnswerOut struct {
	ID           string                `json:"id"`
	Type         string                `json:"type"`
	Role         string                `json:"role"`
	Model        string                `json:"model"`
	Content      []any                 `json:"content"`
	StopReason   *string               `json:"stop_reason"`
	StopSequence literal               `json:"stop_sequence"`
	Usage        *anthropicAnswerUsage `json:"usage"`
}

type anthropicAnswerText struct {
	Type string  `json:"type"`
	Text literal `json:"text"`
}

type anthropicAnswerThought struct {
	Type      string  `json:"type"`
	Thinking  literal `json:"thinking"`
	Signature string  `json:"signature"` // empty: no other provider can make one
}

type anthropicAnswerCall struct {
	Type  string          `json:"type"`
	ID    string          `json:"id"`
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
}

// anthropicAnswerUsage counts disjoint tokens, as Anthropic does.
type anthropicAnswerUsage struct {
	Input      int64                  `json:"input_tokens"`
	CacheWrite int64                  `json:"cache_creation_input_tokens"`
	CacheRead  int64                  `json:"cache_read_input_tokens"`
	Output     int64                  `json:"output_tokens"`
	Details    *anthropicUsageDetails `json:"output_tokens_details,omitempty"`
}

type anthropicUsageDetails struct {
	Thinking int64 `json:"thinking_tokens"`
}

func anthropicUsageOf(u usage.Usage) *anthropicAnswerUsage {
	o := &anthropicAnswerUsage{
		Input:      u.Input + u.AudioInput,
		CacheWrite: u.CacheWrite5m + u.CacheWrite1h,
		CacheRead:  u.CacheRead,
		Output:     u.Output + u.AudioOutput,
	}
	if u.Reasoning > 0 {
		o.Details = &anthropicUsageDetails{u.Reasoning}
	}
	return o
}

func anthropicStop(s stopReason) *string {
	word := "end_turn"
	switch s {
	case stopLength:
		word = "max_tokens"
	case stopTool:
		word = "tool_use"
	case stopSequence:
		word = "stop_sequence"
	case stopRefusal:
		word = "refusal"
	}
	return &word
}

func (w *answerWhole) anthropic(lost *answerLosses) ([]byte, error) {
	content := []any{}
	for _, b := range w.blocks {
		switch b.kind {
		case textBlock:
			content = append(content, anthropicAnswerText{"text", b.text})
		case thinkingBlock:
			lost.add("thinking_signature")
			content = append(content, anthropicAnswerThought{Type: "thinking", Thinking: b.text})
		case callBlock:
			content = append(content, anthropicAnswerCall{"tool_use", anthropicCallID(b.id), b.name, b.object})
		}
	}
	return marshalPlain(anthropicAnswerOut{ID: w.head.id, Type: "message", Role: "assistant", Model: w.head.model, Content: content,
		StopReason: anthropicStop(w.final.stop), StopSequence: w.final.sequence, Usage: anthropicUsageOf(w.final.usage)})
}

type chatAnswerOut struct {
	ID      string                `json:"id"`
	Object  string                `json:"object"`
	Created int64                 `json:"created"`
	Model   string                `json:"model"`
	Choices []chatAnswerChoiceOut `json:"choices"`
	Usage   *chatUsageOut         `json:"usage,omitempty"`
}

type chatAnswerChoiceOut struct {
	Index        int                  `json:"index"`
	Message      chatAnswerMessageOut `json:"message"`
	Logprobs     *struct{}            `json:"logprobs"`
	FinishReason string               `json:"finish_reason"`
}

type chatAnswerMessageOut struct {
	Role      string              `json:"role"`
	Content   literal             `json:"content"` // null where there is none
	Refusal   *string             `json:"refusal"`
	Reasoning literal             `json:"reasoning_content,omitempty"`
	ToolCalls []chatAnswerCallOut `json:"tool_calls,omitempty"`
}

// chatAnswerCallOut is a tool call, or in a stream the next piece of one.
type chatAnswerCallOut struct {
	Index    *int                  `json:"index,omitempty"` // in streams
	ID       string                `json:"id,omitempty"`
	Type     string                `json:"type,omitempty"`
	Function chatAnswerFunctionOut `json:"function"`
}

type chatAnswerFunctionOut struct {
	Name      string  `json:"name,omitempty"`
	Arguments literal `json:"arguments"`
}

// chatUsageOut counts as OpenAI does: the details are parts of the sums.
type chatUsageOut struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Total      int64 `json:"total_tokens"`
	PromptOf   struct {
		Cached int64 `json:"cached_tokens"`
		Write  int64 `json:"cache_write_tokens,omitempty"`
		Audio  int64 `json:"audio_tokens,omitempty"`
	} `json:"prompt_tokens_details"`
	CompletionOf struct {
		Reasoning int64 `json:"reasoning_tokens"`
		Audio     int64 `json:"audio_tokens,omitempty"`
	} `json:"completion_tokens_details"`
}

// chatUsageOf is nil where nothing is known, as zeros would be believed.
func chatUsageOf(u usage.Usage) *chatUsageOut {
	if !u.Known {
		return nil
	}
	o := &chatUsageOut{Prompt: u.Prompt(), Completion: u.Output + u.AudioOutput, Total: u.Total()}
	o.PromptOf.Cached = u.CacheRead
	o.PromptOf.Write = u.CacheWrite5m + u.CacheWrite1h
	o.PromptOf.Audio = u.AudioInput
	o.CompletionOf.Reasoning = u.Reasoning
	o.CompletionOf.Audio = u.AudioOutput
	return o
}

func chatStop(s stopReason) string {
	switch s {
	case stopLength:
		return "length"
	case stopTool:
		return "tool_calls"
	case stopRefusal:
		return "content_filter"
	}
	return "stop"
}

func (w *answerWhole) chat(o AnswerOptions) ([]byte, error) {
	m := chatAnswerMessageOut{Role: "assistant"}
	for _, b := range w.blocks {
		switch b.kind {
		case textBlock:
			m.Content = m.Content.join(b.text)
		case thinkingBlock:
			m.Reasoning = m.Reasoning.join(b.text)
		case callBlock:
			m.ToolCalls = append(m.ToolCalls, chatAnswerCallOut{ID: chatCallID(b.id), Type: "function",
				Function: chatAnswerFunctionOut{b.name, quoted(string(b.object))}})
		}
	}
	if m.Content == nil && m.ToolCalls == nil {
		m.Content = literal(`""`) // clients expect one or the other
	}
	return marshalPlain(chatAnswerOut{ID: w.head.id, Object: "chat.completion", Created: o.seconds(), Model: w.head.model,
		Choices: []chatAnswerChoiceOut{{Message: m, FinishReason: chatStop(w.final.stop)}}, Usage: chatUsageOf(w.final.usage)})
}

// seconds is the time since 1970, which Chat calls "created".
func (o AnswerOptions) seconds() int64 {
	if o.Now == nil {
		return time.Now().Unix()
	}
	return o.Now().Unix()
}

// geminiAnswerOut is a whole answer of Google's, or an event of a stream.
type geminiAnswerOut struct {
	Candidates []geminiAnswerCandidateOut `json:"candidates"`
	Usage      *geminiUsageOut            `json:"usageMetadata,omitempty"`
	Model      string                     `json:"modelVersion,omitempty"`
	ID         string                     `json:"responseId,omitempty"`
}

type geminiAnswerCandidateOut struct {
	Content      geminiAnswerContentOut `json:"content"`
	FinishReason string                 `json:"finishReason,omitempty"`
	Index        int                    `json:"index"`
}

type geminiAnswerContentOut struct {
	Parts []geminiAnswerPartOut `json:"parts"`
	Role  string                `json:"role"`
}

type geminiAnswerPartOut struct {
	Text    literal              `json:"text,omitempty"`
	Thought bool                 `json:"thought,omitempty"`
	Call    *geminiAnswerCallOut `json:"functionCall,omitempty"`
	// Signature is the stand-in for one, at the first call of an answer: Google refuses
	// the client's next turn without.
	Signature string `json:"thoughtSignature,omitempty"`
}

// sign gives a part its signature if it is the first call; signed says whether one
// has it.
func (p *geminiAnswerPartOut) sign(signed *bool) {
	if p.Call != nil && !*signed {
		p.Signature, *signed = foreignSignature, true
	}
}

type geminiAnswerCallOut struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

// geminiUsageOut counts as Google does: the prompt holds what is cached, the
// candidates do not hold the thoughts.
type geminiUsageOut struct {
	Prompt     int64 `json:"promptTokenCount"`
	Cached     int64 `json:"cachedContentTokenCount,omitempty"`
	Candidates int64 `json:"candidatesTokenCount"`
	Thoughts   int64 `json:"thoughtsTokenCount,omitempty"`
	Total      int64 `json:"totalTokenCount"`
}

func geminiUsageOf(u usage.Usage) *geminiUsageOut {
	if !u.Known {
		return nil
	}
	thoughts := min(u.Reasoning, u.Output)
	return &geminiUsageOut{Prompt: u.Prompt(), Cached: u.CacheRead,
		Candidates: u.Output - thoughts + u.AudioOutput, Thoughts: thoughts, Total: u.Total()}
}

func geminiStop(s stopReason) string {
	switch s {
	case stopLength:
		return "MAX_TOKENS"
	case stopRefusal:
		return "SAFETY"
	}
	return "STOP" // of function calls too
}

func (b *answerBlock) gemini() geminiAnswerPartOut {
	if b.kind == callBlock {
		return geminiAnswerPartOut{Call: &geminiAnswerCallOut{b.id, b.name, b.object}}
	}
	return geminiAnswerPartOut{Text: b.text, Thought: b.kind == thinkingBlock}
}

func (w *answerWhole) gemini() ([]byte, error) {
	content := geminiAnswerContentOut{Parts: []geminiAnswerPartOut{}, Role: "model"}
	signed := false
	for i := range w.blocks {
		part := w.blocks[i].gemini()
		part.sign(&signed)
		content.Parts = append(content.Parts, part)
	}
	return marshalPlain(geminiAnswerOut{
		Candidates: []geminiAnswerCandidateOut{{Content: content, FinishReason: geminiStop(w.final.stop)}},
		Usage:      geminiUsageOf(w.final.usage), Model: w.head.model, ID: w.head.id})
}
