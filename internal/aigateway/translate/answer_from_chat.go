package translate

import (
	"encoding/json"
	"errors"
	"fmt"
)

// chatAnswers reads chat completions and their chunks, as OpenAI writes them
// (https://platform.openai.com/docs/api-reference/chat/object and /chat/streaming)
// and as others do who say they speak the same.
type chatAnswers struct {
	*answerReader
	byIndex  map[int]*chatOpenCall
	last     *chatOpenCall
	open     []*chatOpenCall // in the order they came
	held     int             // bytes held back of calls that have no name yet
	stop     stopReason
	sequence literal
	refused  bool
}

// chatOpenCall is a tool call that has begun.
type chatOpenCall struct {
	id, name string
	n        int
	started  bool    // the sink knows of it
	held     literal // arguments that came before the name
	scan     objectEnd
}

type chatAnswer struct {
	ID      looseString        `json:"id"`
	Error   json.RawMessage    `json:"error"`
	Choices []chatAnswerChoice `json:"choices"`
}

type chatAnswerChoice struct {
	Index        int               `json:"index"`
	Delta        chatAnswerMessage `json:"delta"`
	Message      chatAnswerMessage `json:"message"`
	FinishReason looseString       `json:"finish_reason"`
	// StopReason is vLLM's: the stop sequence that was met, or a token's number.
	StopReason json.RawMessage `json:"stop_reason"`
	Logprobs   json.RawMessage `json:"logprobs"`
	Error      json.RawMessage `json:"error"` // OpenRouter's
}

type chatAnswerMessage struct {
	Content json.RawMessage `json:"content"` // a string, or Mistral's list of parts
	Refusal json.RawMessage `json:"refusal"`
	// DeepSeek and many after it call a model's thoughts reasoning_content, OpenRouter
	// and newer vLLM reasoning; some say the same in both.
	ReasoningContent json.RawMessage     `json:"reasoning_content"`
	Reasoning        json.RawMessage     `json:"reasoning"`
	ToolCalls        []chatAnswerCall    `json:"tool_calls"`
	FunctionCall     *chatAnswerFunction `json:"function_call"`
	Audio            json.RawMessage     `json:"audio"`
	Images           json.RawMessage     `json:"images"`
	Annotations      json.RawMessage     `json:"annotations"`
}

type chatAnswerCall struct {
	Index    *int               `json:"index"`
	ID       looseString        `json:"id"`
	Function chatAnswerFunction `json:"function"`
	Custom   json.RawMessage    `json:"custom"`
}

type chatAnswerFunction struct {
	Name      looseString     `json:"name"`
	Arguments json.RawMessage `json:"arguments"` // JSON in a string; of some servers an object
}

type chatAnswerPart struct {
	Type     looseString     `json:"type"`
	Text     json.RawMessage `json:"text"`
	Refusal  json.RawMessage `json:"refusal"`
	Thinking json.RawMessage `json:"thinking"` // Mistral's: a string or a list of parts
}

func (c *chatAnswers) whole(doc []byte) error {
	var a chatAnswer
	if err := json.Unmarshal(doc, &a); err != nil {
		return err
	}
	if present(a.Error) {
		return newStreamError(doc, Chat)
	}
	if len(a.Choices) == 0 {
		return errors.New("a document without choices is not a chat completion")
	}
	if err := c.begin(string(a.ID)); err != nil {
		return err
	}
	for i := range a.Choices {
		calls := a.Choices[i].Message.ToolCalls
		for n := range calls {
			calls[n].Index = &n // each is whole, whatever it says
		}
		if err := c.choice(&a.Choices[i], &a.Choices[i].Message); err != nil {
			return err
		}
	}
	return c.finish()
}

func (c *chatAnswers) event(data []byte) error {
	if string(data) == "[DONE]" {
		return c.finish()
	}
	var a chatAnswer
	if err := json.Unmarshal(data, &a); err != nil {
		return err
	}
	if present(a.Error) {
		return newStreamError(data, Chat)
	}
	// Azure begins with a chunk that has neither an id nor choices.
	if a.ID != "" || len(a.Choices) > 0 {
		if err := c.begin(string(a.ID)); err != nil {
			return err
		}
	}
	for i := range a.Choices {
		if err := c.choice(&a.Choices[i], &a.Choices[i].Delta); err != nil {
			return err
		}
	}
	return nil
}

func (c *chatAnswers) close() error {
	if !c.ended {
		return errBrokeOff
	}
	return nil
}

func (c *chatAnswers) choice(ch *chatAnswerChoice, m *chatAnswerMessage) error {
	if ch.Index != 0 {
		c.lost.add("choices")
		return nil
	}
	if present(ch.Error) {
		return newStreamError([]byte(`{"error":`+string(ch.Error)+`}`), Chat)
	}
	c.lost.addIf("logprobs", ch.Logprobs)
	if err := c.message(m); err != nil {
		return err
	}
	return c.stopped(ch)
}

func (c *chatAnswers) message(m *chatAnswerMessage) error {
	thoughts := m.ReasoningContent
	if literalOf(thoughts).empty() {
		thoughts = m.Reasoning
	}
	if err := c.pass(c.sink.think, thoughts); err != nil {
		return err
	}
	if err := c.content(m.Content); err != nil {
		return err
	}
	if err := c.refusal(m.Refusal); err != nil {
		return err
	}
	c.lost.addIf("audio", m.Audio)
	c.lost.addIf("images", m.Images)
	c.lost.addIf("citations", m.Annotations)
	for i := range m.ToolCalls {
		if err := c.piece(&m.ToolCalls[i]); err != nil {
			return err
		}
	}
	if m.FunctionCall != nil { // OpenAI's older form, of which there is at most one
		first := 0
		return c.piece(&chatAnswerCall{Index: &first, Function: *m.FunctionCall})
	}
	return nil
}

func (c *chatAnswers) refusal(raw json.RawMessage) error {
	if !literalOf(raw).empty() {
		c.refused = true
	}
	return c.pass(c.sink.text, raw)
}

func (c *chatAnswers) content(raw json.RawMessage) error {
	if len(raw) == 0 || raw[0] != '[' {
		return c.pass(c.sink.text, raw)
	}
	var parts []chatAnswerPart
	if err := json.Unmarshal(raw, &parts); err != nil {
		return err
	}
	for _, p := range parts {
		if err := c.part(p); err != nil {
			return err
		}
	}
	return nil
}

func (c *chatAnswers) part(p chatAnswerPart) error {
	switch p.Type {
	case "text", "output_text":
		return c.pass(c.sink.text, p.Text)
	case "refusal":
		return c.refusal(p.Refusal)
	case "thinking":
		return c.thoughts(p.Thinking)
	case "image_url", "image":
		c.lost.add("images")
	case "audio", "input_audio", "output_audio":
		c.lost.add("audio")
	case "reference":
		c.lost.add("citations")
	default:
		c.lost.add("unknown_content")
	}
	return nil
}

func (c *chatAnswers) thoughts(raw json.RawMessage) error {
	if len(raw) == 0 || raw[0] != '[' {
		return c.pass(c.sink.think, raw)
	}
	var parts []chatAnswerPart
	if err := json.Unmarshal(raw, &parts); err != nil {
		return err
	}
	for _, p := range parts {
		if err := c.pass(c.sink.think, p.Text); err != nil {
			return err
		}
	}
	return nil
}

// piece is a tool call or the next piece of one.
func (c *chatAnswers) piece(p *chatAnswerCall) error {
	if present(p.Custom) {
		c.lost.add("custom_tools")
		return nil
	}
	o, err := c.find(p)
	if err != nil {
		return err
	}
	if o.id == "" {
		o.id = string(p.ID)
	}
	if o.name == "" {
		o.name = string(p.Function.Name)
	}
	if err := c.start(o); err != nil {
		return err
	}
	return c.arguments(o, p.Function.Arguments)
}

// find tells which call a piece is of. Servers differ: some leave the index out, and
// some give calls that are whole the same one, but another id and name.
func (c *chatAnswers) find(p *chatAnswerCall) (*chatOpenCall, error) {
	named := p.Function.Name != ""
	if p.Index != nil {
		o := c.byIndex[*p.Index]
		if o == nil || named && o.name != "" && p.ID != "" && o.id != "" && string(p.ID) != o.id {
			return c.add(*p.Index)
		}
		c.last = o
		return o, nil
	}
	other := c.last == nil || named && c.last.name != "" || p.ID != "" && c.last.id != "" && string(p.ID) != c.last.id
	switch {
	case !other || p.ID != "" && c.last != nil && string(p.ID) == c.last.id:
		return c.last, nil
	case p.ID == "" && !named:
		return nil, errors.New("a piece of a tool call belongs to none")
	}
	return c.add(-1 - len(c.open)) // no index that a server gives
}

func (c *chatAnswers) add(index int) (*chatOpenCall, error) {
	if len(c.open) >= maxCalls {
		return nil, errors.New("the answer has too many tool calls")
	}
	if c.byIndex == nil {
		c.byIndex = map[int]*chatOpenCall{}
	}
	o := &chatOpenCall{}
	c.byIndex[index], c.last = o, o
	c.open = append(c.open, o)
	return o, nil
}

// start tells the sink of a call once its name is known.
func (c *chatAnswers) start(o *chatOpenCall) (err error) {
	if o.started || o.name == "" {
		return nil
	}
	o.started = true
	if o.n, err = c.call(o.id, o.name); err != nil {
		return err
	}
	held := o.held
	o.held = nil
	c.held -= len(held)
	return c.arguments(o, json.RawMessage(held))
}

func (c *chatAnswers) arguments(o *chatOpenCall, raw json.RawMessage) error {
	t := literalOf(raw)
	if t == nil && len(raw) > 0 && raw[0] == '{' {
		text, err := objectText(raw)
		if err != nil {
			return err
		}
		t = quoted(text)
	}
	if t.empty() || string(t) == `"null"` && !o.scan.begun {
		return nil
	}
	if !o.started {
		if c.held += len(t); c.held > maxHeld {
			return errTooMuchHeld
		}
		o.held = o.held.join(t)
		return nil
	}
	done := o.scan.done
	if err := o.scan.feed(t.string()); err != nil {
		return err
	}
	if done {
		return nil // spaces behind the end
	}
	if err := c.sink.arguments(o.n, t); err != nil {
		return err
	}
	if o.scan.done {
		return c.sink.endCall(o.n)
	}
	return nil
}

// stopped notes why the answer ends.
func (c *chatAnswers) stopped(ch *chatAnswerChoice) error {
	switch ch.FinishReason {
	case "":
		return nil
	case "stop":
		c.stop = stopEnd
	case "length", "model_length": // the second is Mistral's
		c.stop = stopLength
	case "tool_calls", "function_call":
		c.stop = stopTool
	case "content_filter":
		c.stop = stopRefusal
	case "error", "insufficient_system_resource": // OpenRouter's and Mistral's; DeepSeek's
		return &StreamError{Status: 502, Type: string(ch.FinishReason),
			Message: fmt.Sprintf("The model's answer was broken off (%s).", ch.FinishReason)}
	default:
		c.stop = stopEnd
		c.lost.add("stop_reason")
	}
	if t := literalOf(ch.StopReason); !t.empty() && c.stop == stopEnd {
		c.stop, c.sequence = stopSequence, t
	}
	return nil
}

// finish ends the answer, and the calls whose arguments have no end of their own:
// empty ones, and one that was cut where the tokens ran out.
func (c *chatAnswers) finish() error {
	if !c.begun {
		return errBrokeOff
	}
	for _, o := range c.open {
		switch {
		case !o.started:
			return errors.New("a tool call has no name")
		case o.scan.done:
		case o.scan.begun && c.stop != stopLength && c.stop != stopRefusal:
			return errors.New("the arguments of a tool call break off")
		default:
			if err := c.sink.endCall(o.n); err != nil {
				return err
			}
		}
	}
	if c.refused && c.stop == stopEnd {
		c.stop = stopRefusal
	}
	return c.end(c.stop, c.sequence)
}
