package translate

import (
	"encoding/json"
	"errors"
	"strings"
)

type chatOut struct {
	Model               string          `json:"model"`
	Messages            []chatMessage   `json:"messages"`
	MaxTokens           int64           `json:"max_tokens,omitempty"`
	MaxCompletionTokens int64           `json:"max_completion_tokens,omitempty"`
	Temperature         json.Number     `json:"temperature,omitempty"`
	TopP                json.Number     `json:"top_p,omitempty"`
	FrequencyPenalty    json.Number     `json:"frequency_penalty,omitempty"`
	PresencePenalty     json.Number     `json:"presence_penalty,omitempty"`
	Seed                json.Number     `json:"seed,omitempty"`
	Stop                []string        `json:"stop,omitempty"`
	Tools               []chatTool      `json:"tools,omitempty"`
	ToolChoice          any             `json:"tool_choice,omitempty"` // a word, or a name
	ParallelToolCalls   *bool           `json:"parallel_tool_calls,omitempty"`
	ReasoningEffort     string          `json:"reasoning_effort,omitempty"`
	ResponseFormat      *chatFormat     `json:"response_format,omitempty"`
	Stream              bool            `json:"stream,omitempty"`
	StreamOptions       *chatStreamOpts `json:"stream_options,omitempty"`
}

type chatMessage struct {
	Role       string     `json:"role"`
	Content    any        `json:"content"` // a string, parts, or null
	ToolCalls  []chatCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
}

type chatPart struct {
	Type     string        `json:"type"`
	Text     string        `json:"text,omitempty"`
	ImageURL *chatImage    `json:"image_url,omitempty"`
	File     *chatFileData `json:"file,omitempty"`
}

type chatImage struct {
	URL string `json:"url"`
}

type chatFileData struct {
	Filename string `json:"filename"`
	FileData string `json:"file_data"`
}

type chatTool struct {
	Type     string       `json:"type"`
	Function chatFunction `json:"function"`
}

type chatNamed struct {
	Type     string `json:"type"`
	Function struct {
		Name string `json:"name"`
	} `json:"function"`
}

type chatFormat struct {
	Type       string      `json:"type"`
	JSONSchema *chatSchema `json:"json_schema,omitempty"`
}

type chatSchema struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"schema"`
}

type chatStreamOpts struct {
	IncludeUsage bool `json:"include_usage"`
}

func writeChat(c *conversation, o RequestOptions) (any, error) {
	m := chatModelOf(o.Model)
	out := &chatOut{Model: o.Model, Stream: c.stream, Stop: c.stop}
	if c.stream && !m.native { // what the answer cost is told only when asked; by Mistral always
		out.StreamOptions = &chatStreamOpts{IncludeUsage: true}
	}
	fits, size := func(id string) bool { return id != "" && len(id) <= 40 }, 24
	if m.mistral {
		fits, size = mistralID, 9
	}
	c.settleIDs(fits, size)
	for _, t := range c.turns {
		if err := c.chatTurn(out, t); err != nil {
			return nil, err
		}
	}
	if len(out.Messages) == 0 {
		return nil, errors.New("no message says anything")
	}
	if c.endsWithAssistant() { // most begin a new message where Anthropic goes on
		c.lost.add("prefill")
	}
	if m.openAI {
		out.MaxCompletionTokens = c.maxOutput
	} else {
		out.MaxTokens = c.maxOutput
	}
	c.chatToolsOut(out)
	out.ReasoningEffort = c.chatEffort(m)
	c.chatSampling(out, m)
	out.ResponseFormat = c.chatFormatOut()
	return out, nil
}

// mistralID tells whether Mistral takes an id: "Tool call id must be a-z, A-Z, 0-9,
// with a length of 9".
func mistralID(id string) bool {
	return len(id) == 9 && anthropicID(id) && !strings.ContainsAny(id, "-_")
}

// chatTurn writes a turn as messages: each result is one, and all of them stand right
// behind the calls. A result is text there; its images and documents follow in what
// the user says.
func (c *conversation) chatTurn(out *chatOut, t turn) error {
	switch t.role {
	case roleSystem:
		if text := plainText(t.parts, "\n\n"); text != "" {
			out.Messages = append(out.Messages, chatMessage{Role: "system", Content: text})
		}
		return nil
	case roleAssistant:
		c.chatAssistant(out, t)
		return nil
	}
	var shown, rest []turnPart
	for _, p := range t.parts {
		if p.kind != partResult {
			rest = append(rest, p)
			continue
		}
		out.Messages = append(out.Messages, chatMessage{
			Role: "tool", ToolCallID: p.result.id, Content: c.resultText(&p.result),
		})
		shown = append(shown, resultFiles(&p.result)...)
	}
	rest = append(shown, rest...)
	if len(rest) == 0 {
		return nil
	}
	content, err := c.chatUserContent(rest)
	if err == nil && content != "" {
		out.Messages = append(out.Messages, chatMessage{Role: "user", Content: content})
	}
	return err
}

// resultText is a result as one text. Only Anthropic and Gemini can say that a call
// failed; elsewhere the text has to.
func (c *conversation) resultText(r *toolResult) string {
	text := plainText(r.parts, "\n\n")
	if !r.failed {
		return text
	}
	c.lost.add("is_error")
	if len(text) >= 5 && strings.EqualFold(text[:5], "error") {
		return text
	}
	return strings.TrimSuffix("Error: "+text, ": ")
}

// resultFiles are a result's images and documents, with a word on whose they are.
func resultFiles(r *toolResult) (files []turnPart) {
	for _, p := range r.parts {
		if p.kind == partText {
			continue
		}
		if files == nil {
			files = append(files, textPart("Returned by the call "+r.id+":"))
		}
		files = append(files, p)
	}
	return files
}

// chatUserContent is a string where all is text, as many who speak this form want it.
func (c *conversation) chatUserContent(parts []turnPart) (any, error) {
	var list []chatPart
	files := false
	for _, p := range parts {
		switch p.kind {
		case partImage:
			files = true
			list = append(list, chatPart{Type: "image_url", ImageURL: &chatImage{URL: p.file.link()}})
		case partDocument:
			if p.file.url != "" {
				return nil, errors.New("a document at a URL is unknown to this form")
			}
			files = true
			name := p.file.title
			if name == "" {
				name = "document.pdf"
			}
			list = append(list, chatPart{Type: "file", File: &chatFileData{Filename: name, FileData: p.file.dataURL()}})
		case partText:
			if p.text != "" {
				list = append(list, chatPart{Type: "text", Text: p.text})
			}
		}
	}
	if files {
		return list, nil
	}
	return plainText(parts, "\n\n"), nil
}

// chatAssistant writes what the model said. Its texts are one: it wrote them in a row.
func (c *conversation) chatAssistant(out *chatOut, t turn) {
	m := chatMessage{Role: "assistant"}
	if text := plainText(t.parts, ""); text != "" {
		m.Content = text
	}
	for _, p := range t.parts {
		switch p.kind {
		case partCall:
			m.ToolCalls = append(m.ToolCalls, chatCall{
				ID: p.call.id, Type: "function",
				Function: chatCalled{Name: p.call.name, Arguments: string(p.call.args)},
			})
		case partImage, partDocument:
			c.lost.add("assistant_image")
		}
	}
	if m.Content != nil || m.ToolCalls != nil {
		out.Messages = append(out.Messages, m)
	}
}

// chatToolsOut writes the tools. "strict" is left out, as in chatFormatOut.
func (c *conversation) chatToolsOut(out *chatOut) {
	if len(c.tools) == 0 {
		return // the switches are refused without tools
	}
	for _, t := range c.tools {
		if t.strict {
			c.lost.add("strict_tools")
		}
		f := chatFunction{Name: t.name, Description: t.description, Parameters: t.schema}
		out.Tools = append(out.Tools, chatTool{"function", f})
	}
	switch c.choice {
	case choiceAuto:
		out.ToolChoice = "auto"
	case choiceNone:
		out.ToolChoice = "none"
	case choiceAny:
		out.ToolChoice = "required"
		if name := c.onlyTool(); name != "" {
			named := chatNamed{Type: "function"}
			named.Function.Name = name
			out.ToolChoice = named
		}
	}
	if c.single {
		out.ParallelToolCalls = new(bool)
	}
}

// chatSampling writes temperature and its kin where the model takes them.
func (c *conversation) chatSampling(out *chatOut, m chatModel) {
	c.lost.addIfNumber("top_k", c.topK) // OpenAI refuses what it does not know
	if out.Seed = c.seed; m.native {    // there it is random_seed
		c.lost.addIfNumber("seed", c.seed)
		out.Seed = ""
	}
	out.FrequencyPenalty, out.PresencePenalty = c.frequencyPenalty, c.presencePenalty
	out.Temperature, out.TopP = c.temperature, c.topP
	if !m.reasons() || out.ReasoningEffort == "none" {
		return
	}
	if out.Temperature != "" && !isOne(out.Temperature) {
		c.lost.add("temperature")
	}
	if out.TopP != "" && !isOne(out.TopP) {
		c.lost.add("top_p")
	}
	c.lost.addIfNumber("frequency_penalty", c.frequencyPenalty)
	c.lost.addIfNumber("presence_penalty", c.presencePenalty)
	out.Temperature, out.TopP, out.FrequencyPenalty, out.PresencePenalty = "", "", "", ""
}

// chatFormatOut asks for JSON. "strict" is not said: with it, schemas are refused that
// Anthropic and Gemini hold answers to, such as those with optional properties
// (https://platform.openai.com/docs/guides/structured-outputs#supported-schemas).
func (c *conversation) chatFormatOut() *chatFormat {
	f := c.format
	if f == nil {
		return nil
	}
	if f.schema == nil {
		return &chatFormat{Type: "json_object"}
	}
	if f.strict {
		c.lost.add("strict_schema")
	}
	name := f.name
	if name == "" {
		name = "response"
	}
	return &chatFormat{Type: "json_schema", JSONSchema: &chatSchema{Name: name, Description: f.description, Schema: f.schema}}
}
