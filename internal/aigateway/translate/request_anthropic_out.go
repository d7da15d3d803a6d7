package translate

import (
	"encoding/json"
	"errors"
	"strings"
)

type anthropicOut struct {
	Model         string               `json:"model"`
	MaxTokens     int64                `json:"max_tokens"`
	System        any                  `json:"system,omitempty"` // a string, or text blocks
	Messages      []anthropicMessage   `json:"messages"`
	Tools         []anthropicTool      `json:"tools,omitempty"`
	ToolChoice    *anthropicChoice     `json:"tool_choice,omitempty"`
	Temperature   json.Number          `json:"temperature,omitempty"`
	TopP          json.Number          `json:"top_p,omitempty"`
	TopK          json.Number          `json:"top_k,omitempty"`
	StopSequences []string             `json:"stop_sequences,omitempty"`
	Thinking      *anthropicThinking   `json:"thinking,omitempty"`
	OutputConfig  *anthropicOutputConf `json:"output_config,omitempty"`
	Stream        bool                 `json:"stream,omitempty"`
}

type anthropicMessage struct {
	Role    string           `json:"role"`
	Content []anthropicBlock `json:"content"`
}

type anthropicBlock struct {
	Type      string           `json:"type"`
	Text      string           `json:"text,omitempty"`
	Title     string           `json:"title,omitempty"`
	Source    *anthropicSource `json:"source,omitempty"`
	ID        string           `json:"id,omitempty"`
	Name      string           `json:"name,omitempty"`
	Input     json.RawMessage  `json:"input,omitempty"`
	ToolUseID string           `json:"tool_use_id,omitempty"`
	Content   any              `json:"content,omitempty"` // a string, or blocks
	IsError   bool             `json:"is_error,omitempty"`
}

type anthropicSource struct {
	Type      string `json:"type"`
	MediaType string `json:"media_type,omitempty"`
	Data      string `json:"data,omitempty"`
	URL       string `json:"url,omitempty"`
}

type anthropicTool struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	InputSchema json.RawMessage `json:"input_schema"`
	Strict      bool            `json:"strict,omitempty"`
}

type anthropicChoice struct {
	Type     string `json:"type"`
	Name     string `json:"name,omitempty"`
	Disabled bool   `json:"disable_parallel_tool_use,omitempty"`
}

type anthropicOutputConf struct {
	Effort string           `json:"effort,omitempty"`
	Format *anthropicFormat `json:"format,omitempty"`
}

func writeAnthropic(c *conversation, o RequestOptions) (any, error) {
	out := &anthropicOut{Model: o.Model, MaxTokens: c.maxOutput, Stream: c.stream}
	if out.MaxTokens == 0 {
		out.MaxTokens = o.MaxOutput
	}
	out.System = anthropicSystem(c.systemFirst())
	c.settleIDs(anthropicID, 24)
	for i, t := range c.turns {
		blocks := c.anthropicBlocks(t, i == len(c.turns)-1)
		if len(blocks) == 0 {
			continue // said nothing; empty content is refused
		}
		role := "user"
		if t.role == roleAssistant {
			role = "assistant"
		}
		out.Messages = append(out.Messages, anthropicMessage{role, blocks})
	}
	if len(out.Messages) == 0 {
		return nil, errors.New("no message says anything")
	}
	if err := c.anthropicToolsOut(out); err != nil {
		return nil, err
	}
	thinks, effort := c.anthropicThinks(o.Model, out.MaxTokens)
	out.Thinking = thinks
	c.anthropicSampling(out, o.Model)
	c.lost.addIfNumber("frequency_penalty", c.frequencyPenalty)
	c.lost.addIfNumber("presence_penalty", c.presencePenalty)
	c.lost.addIfNumber("seed", c.seed)
	for _, s := range c.stop {
		if blank(s) { // refused
			c.lost.add("stop_sequences")
			continue
		}
		out.StopSequences = append(out.StopSequences, s)
	}
	format, err := c.anthropicFormatOut()
	if format != nil || effort != "" {
		out.OutputConfig = &anthropicOutputConf{Effort: effort, Format: format}
	}
	return out, err
}

// anthropicSystem is a string where one text is all; blocks stay blocks. Blank texts
// are refused.
func anthropicSystem(parts []turnPart) any {
	var blocks []anthropicBlock
	for _, p := range parts {
		if p.kind == partText && !blank(p.text) {
			blocks = append(blocks, anthropicBlock{Type: "text", Text: p.text})
		}
	}
	switch len(blocks) {
	case 0:
		return nil
	case 1:
		return blocks[0].Text
	}
	return blocks
}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// anthropicID tells whether Anthropic takes an id: "String should match pattern
// '^[a-zA-Z0-9_-]+$'".
func anthropicID(id string) bool {
	for i := range len(id) {
		switch b := id[i]; {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '_', b == '-':
		default:
			return false
		}
	}
	return id != ""
}

// anthropicBlocks writes a turn. Results have to come first in theirs.
func (c *conversation) anthropicBlocks(t turn, last bool) []anthropicBlock {
	var results, blocks []anthropicBlock
	for _, p := range t.parts {
		switch p.kind {
		case partResult:
			results = append(results, anthropicBlock{
				Type: "tool_result", ToolUseID: p.result.id, IsError: p.result.failed,
				Content: c.anthropicResult(p.result.parts),
			})
		case partCall:
			blocks = append(blocks, anthropicBlock{Type: "tool_use", ID: p.call.id, Name: p.call.name, Input: p.call.args})
		case partImage, partDocument:
			if t.role == roleAssistant { // the model cannot have shown one
				c.lost.add("assistant_image")
				continue
			}
			blocks = append(blocks, c.anthropicPart(p))
		default:
			if !blank(p.text) {
				blocks = append(blocks, c.anthropicPart(p))
			}
		}
	}
	if n := len(blocks); last && t.role == roleAssistant && n > 0 && blocks[n-1].Type == "text" {
		// "final assistant content cannot end with trailing whitespace"
		blocks[n-1].Text = strings.TrimRight(blocks[n-1].Text, " \t\r\n")
	}
	return append(results, blocks...)
}

// anthropicResult is a string where the result is one text, as most are.
func (c *conversation) anthropicResult(parts []turnPart) any {
	if len(parts) == 1 && parts[0].kind == partText {
		if parts[0].text == "" {
			return nil
		}
		return parts[0].text
	}
	var blocks []anthropicBlock
	for _, p := range parts {
		if p.kind != partText || !blank(p.text) {
			blocks = append(blocks, c.anthropicPart(p))
		}
	}
	if blocks == nil {
		return nil
	}
	return blocks
}

func (c *conversation) anthropicPart(p turnPart) anthropicBlock {
	b := anthropicBlock{Type: "text", Text: p.text}
	switch p.kind {
	case partImage:
		b.Type = "image"
	case partDocument:
		b.Type, b.Title = "document", p.file.title
	default:
		return b
	}
	if p.file.url != "" {
		b.Source = &anthropicSource{Type: "url", URL: p.file.url}
	} else {
		b.Source = &anthropicSource{Type: "base64", MediaType: p.file.mime, Data: p.file.data}
	}
	return b
}

func (c *conversation) anthropicToolsOut(out *anthropicOut) error {
	for _, t := range c.tools {
		schema, err := objectSchema(t.schema)
		if err != nil {
			return err
		}
		out.Tools = append(out.Tools, anthropicTool{t.name, t.description, schema, t.strict})
	}
	kind := ""
	switch c.choice {
	case choiceAuto:
		kind = "auto"
	case choiceNone:
		out.ToolChoice = &anthropicChoice{Type: "none"}
		return nil
	case choiceAny:
		kind = "any"
		if c.onlyTool() != "" {
			kind = "tool"
		}
	default:
		if c.single {
			kind = "auto" // the switch has no place of its own
		}
	}
	if kind != "" {
		out.ToolChoice = &anthropicChoice{Type: kind, Name: c.onlyTool(), Disabled: c.single}
	}
	return nil
}

// anthropicSampling writes temperature, top_p and top_k where the model takes them:
// none since 4.7 (https://platform.claude.com/docs/en/about-claude/models/migration-guide),
// one of the first two since 4.1, and hardly any with thinking.
func (c *conversation) anthropicSampling(out *anthropicOut, model string) {
	v, claude := versionOf(model, "claude")
	temperature, clamped := clampNumber(c.temperature, 1)
	if clamped {
		c.lost.add("temperature")
	}
	topP, topK := c.topP, c.topK
	refused := claude && v.atLeast(4, 7)
	if thinks := out.Thinking != nil && out.Thinking.Type != "disabled"; refused || thinks {
		if temperature != "" && !isOne(temperature) {
			c.lost.add("temperature")
		}
		if topP != "" && !isOne(topP) {
			c.lost.add("top_p")
		}
		c.lost.addIfNumber("top_k", topK)
		return
	}
	if temperature != "" && topP != "" && claude && v.atLeast(4, 1) {
		if !isOne(topP) {
			c.lost.add("top_p")
		}
		topP = ""
	}
	out.Temperature, out.TopP, out.TopK = temperature, topP, topK
}

// anthropicFormatOut asks for JSON of a shape; there is no way to ask for just any.
func (c *conversation) anthropicFormatOut() (*anthropicFormat, error) {
	if c.format == nil {
		return nil, nil
	}
	if c.format.schema == nil {
		c.lost.add("response_format")
		return nil, nil
	}
	schema, err := closedSchema(c.format.schema)
	return &anthropicFormat{Type: "json_schema", Schema: schema}, err
}

func isOne(n json.Number) bool {
	f, err := n.Float64()
	return err == nil && f == 1
}

// clampNumber bounds n by most, as n is written where it fits.
func clampNumber(n json.Number, most int64) (json.Number, bool) {
	if n == "" {
		return "", false
	}
	if f, err := n.Float64(); err == nil && f <= float64(most) || err != nil && strings.HasPrefix(string(n), "-") {
		return n, false // what is below zero the provider refuses by itself
	}
	return intNumber(most), true
}
