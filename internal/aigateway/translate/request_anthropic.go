package translate

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// The form is https://platform.claude.com/docs/en/api/messages/create.

// anthropicIn is what is read of a request.
type anthropicIn struct {
	Messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
	System        json.RawMessage   `json:"system"`
	MaxTokens     json.Number       `json:"max_tokens"`
	Temperature   json.Number       `json:"temperature"`
	TopP          json.Number       `json:"top_p"`
	TopK          json.Number       `json:"top_k"`
	StopSequences []string          `json:"stop_sequences"`
	Stream        bool              `json:"stream"`
	Tools         []anthropicToolIn `json:"tools"`
	ToolChoice    *struct {
		Type     string `json:"type"`
		Name     string `json:"name"`
		Disabled bool   `json:"disable_parallel_tool_use"`
	} `json:"tool_choice"`
	Thinking *struct {
		Type         string      `json:"type"`
		BudgetTokens json.Number `json:"budget_tokens"`
		Display      string      `json:"display"`
	} `json:"thinking"`
	OutputConfig struct {
		Effort string           `json:"effort"`
		Format *anthropicFormat `json:"format"`
	} `json:"output_config"`
	OutputFormat *anthropicFormat `json:"output_format"` // as the beta had it

	CacheControl      json.RawMessage `json:"cache_control"`
	Container         json.RawMessage `json:"container"`
	ContextManagement json.RawMessage `json:"context_management"`
	InferenceGeo      json.RawMessage `json:"inference_geo"`
	MCPServers        json.RawMessage `json:"mcp_servers"`
	Metadata          json.RawMessage `json:"metadata"`
	ServiceTier       json.RawMessage `json:"service_tier"`
}

type anthropicFormat struct {
	Type   string          `json:"type"`
	Schema json.RawMessage `json:"schema"`
}

type anthropicToolIn struct {
	Type         string          `json:"type"` // "" and "custom" are the client's; others are Anthropic's own
	Name         string          `json:"name"`
	Description  string          `json:"description"`
	InputSchema  json.RawMessage `json:"input_schema"`
	Strict       bool            `json:"strict"`
	CacheControl json.RawMessage `json:"cache_control"`
}

// anthropicBlockIn is a content block of any type.
type anthropicBlockIn struct {
	Type         string          `json:"type"`
	Text         string          `json:"text"`
	Source       json.RawMessage `json:"source"` // an object; of a search result a string
	ID           string          `json:"id"`
	Name         string          `json:"name"`
	Input        json.RawMessage `json:"input"`
	ToolUseID    string          `json:"tool_use_id"`
	Content      json.RawMessage `json:"content"`
	IsError      bool            `json:"is_error"`
	Title        string          `json:"title"`
	Context      string          `json:"context"`
	CacheControl json.RawMessage `json:"cache_control"`
	Citations    json.RawMessage `json:"citations"`
}

func readAnthropic(c *conversation, doc []byte) error {
	var in anthropicIn
	if err := json.Unmarshal(doc, &in); err != nil {
		return err
	}
	system, err := c.anthropicContent(in.System, false)
	if err != nil {
		return fmt.Errorf("system: %w", err)
	}
	c.say(roleSystem, system...)
	for i, m := range in.Messages {
		if err := c.anthropicMessage(m.Role, m.Content); err != nil {
			return fmt.Errorf("messages.%d: %w", i, err)
		}
	}
	if len(in.Messages) == 0 {
		return errors.New("there are no messages")
	}
	c.temperature, c.topP, c.topK = in.Temperature, in.TopP, in.TopK
	c.stop, c.stream = in.StopSequences, in.Stream
	if err := c.setMax("max_tokens", in.MaxTokens); err != nil {
		return err
	}
	c.anthropicLosses(&in)
	if err := c.anthropicTools(&in); err != nil {
		return err
	}
	return c.anthropicOutput(&in)
}

func (c *conversation) anthropicLosses(in *anthropicIn) {
	c.lost.addIf("cache_control", in.CacheControl)
	c.lost.addIf("server_tools", in.Container, in.MCPServers)
	c.lost.addIf("context_management", in.ContextManagement)
	c.lost.addIf("inference_geo", in.InferenceGeo)
	c.lost.addIf("metadata", in.Metadata)
	c.lost.addIf("service_tier", in.ServiceTier)
}

func (c *conversation) anthropicTools(in *anthropicIn) error {
	for _, t := range in.Tools {
		c.lost.addIf("cache_control", t.CacheControl)
		if t.Type != "" && t.Type != "custom" {
			c.lost.add("server_tools")
			continue
		}
		if t.Name == "" {
			return errors.New("a tool has no name")
		}
		def := toolDef{name: t.Name, description: t.Description, strict: t.Strict}
		if said(t.InputSchema) {
			def.schema = t.InputSchema
		}
		c.tools = append(c.tools, def)
	}
	if in.ToolChoice == nil {
		return nil
	}
	c.single = in.ToolChoice.Disabled
	switch in.ToolChoice.Type {
	case "auto":
		c.choice = choiceAuto
	case "none":
		c.choice = choiceNone
	case "any":
		c.choice = choiceAny
	case "tool":
		c.choice, c.allowed = choiceAny, []string{in.ToolChoice.Name}
	default:
		return fmt.Errorf("tool_choice.type %q is unknown", in.ToolChoice.Type)
	}
	return nil
}

// anthropicOutput reads how the answer is to be thought of and formed.
func (c *conversation) anthropicOutput(in *anthropicIn) error {
	c.thinking.effort = in.OutputConfig.Effort
	c.thinking.on = in.OutputConfig.Effort != ""
	if t := in.Thinking; t != nil {
		switch t.Type {
		case "enabled", "adaptive":
			budget, err := wholeNumber("thinking.budget_tokens", t.BudgetTokens)
			if err != nil {
				return err
			}
			c.thinking.on, c.thinking.budget = true, max(budget, 0)
			c.thinking.show = t.Display != "omitted"
		case "disabled":
			c.thinking = thinking{off: true}
		default: // a mode of some later day: what the model does by itself comes nearest
			c.lost.add("effort")
		}
	}
	format := in.OutputConfig.Format
	if format == nil {
		format = in.OutputFormat
	}
	if format == nil {
		return nil
	}
	if format.Type != "json_schema" || !isObject(format.Schema) {
		c.lost.add("response_format")
		return nil
	}
	c.format = &outputFormat{schema: format.Schema, strict: true}
	return nil
}

func (c *conversation) anthropicMessage(role string, content json.RawMessage) error {
	parts, err := c.anthropicContent(content, true)
	if err != nil {
		return err
	}
	switch role {
	case "user":
		c.say(roleUser, parts...)
	case "assistant":
		c.say(roleAssistant, parts...)
	case "system":
		c.say(roleSystem, parts...)
	default:
		return fmt.Errorf("the role %q is unknown", role)
	}
	return nil
}

// anthropicContent reads a string or a list of blocks. whole is false inside of a
// result or document, where calls and results are none.
func (c *conversation) anthropicContent(content json.RawMessage, whole bool) ([]turnPart, error) {
	return readContent(content, func(b *anthropicBlockIn) ([]turnPart, error) {
		c.lost.addIf("cache_control", b.CacheControl)
		c.lost.addIf("citations", b.Citations)
		return c.anthropicBlock(b, whole)
	})
}

func (c *conversation) anthropicBlock(b *anthropicBlockIn, whole bool) ([]turnPart, error) {
	switch b.Type {
	case "text":
		return []turnPart{textPart(b.Text)}, nil
	case "image":
		return c.anthropicFile(b)
	case "document":
		return c.anthropicFile(b)
	case "search_result":
		var source string
		_ = json.Unmarshal(b.Source, &source) // it is only for reading
		texts, err := c.anthropicInner(b.Content)
		if err != nil {
			return nil, err
		}
		return []turnPart{textPart(documentText(b.Title, source, plainText(texts, "\n\n")))}, nil
	case "thinking", "redacted_thinking":
		c.lost.add(b.Type)
		return nil, nil
	case "compaction": // what was said before, in short; it stands where the model speaks
		return c.anthropicInner(b.Content)
	}
	if !whole {
		return nil, c.anthropicOther(b.Type)
	}
	switch b.Type {
	case "tool_use":
		call := toolCall{id: b.ID, name: b.Name, args: json.RawMessage("{}")}
		if said(b.Input) {
			call.args = c.objectArgs(string(b.Input))
		}
		return []turnPart{{kind: partCall, call: call}}, nil
	case "tool_result":
		parts, err := c.anthropicInner(b.Content)
		if err != nil {
			return nil, err
		}
		return []turnPart{{kind: partResult, result: toolResult{id: b.ToolUseID, parts: parts, failed: b.IsError}}}, nil
	case "mid_conv_system":
		c.lost.add("system_position")
		return c.anthropicInner(b.Content)
	}
	return nil, c.anthropicOther(b.Type)
}

// anthropicInner reads content that has no calls in it.
func (c *conversation) anthropicInner(content json.RawMessage) ([]turnPart, error) {
	return c.anthropicContent(content, false)
}

// anthropicOther names what a block of a type without counterpart belonged to.
func (c *conversation) anthropicOther(kind string) error {
	if kind == "" {
		return errors.New("a content block has no type")
	}
	if strings.HasPrefix(kind, "server_tool") || strings.HasPrefix(kind, "mcp_tool") ||
		strings.HasSuffix(kind, "_tool_result") || kind == "container_upload" || kind == "tool_reference" {
		c.lost.add("server_tools")
		return nil
	}
	c.lost.add("unknown_content")
	return nil
}

// anthropicFile reads an image or a document.
func (c *conversation) anthropicFile(b *anthropicBlockIn) ([]turnPart, error) {
	var s struct {
		Type      string          `json:"type"`
		MediaType string          `json:"media_type"`
		Data      string          `json:"data"`
		URL       string          `json:"url"`
		Content   json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(b.Source, &s); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	var parts []turnPart
	if b.Context != "" && s.Type != "text" {
		parts = append(parts, textPart(b.Context))
	}
	switch s.Type {
	case "base64":
		part, err := filePart(mediaFile{mime: s.MediaType, data: s.Data, title: b.Title})
		return append(parts, part), err
	case "url":
		f, err := webFile(s.URL)
		f.title = b.Title
		kind := partImage
		if b.Type == "document" {
			kind, f.mime = partDocument, "application/pdf"
		}
		return append(parts, turnPart{kind: kind, file: f}), err
	case "text":
		return []turnPart{textPart(documentText(b.Title, b.Context, s.Data))}, nil
	case "content":
		if b.Title != "" {
			parts = append(parts, textPart(b.Title))
		}
		more, err := c.flatContent(s.Content)
		return append(parts, more...), err
	case "file":
		return nil, errProviderFile
	}
	return nil, fmt.Errorf("source.type %q is unknown", s.Type)
}

// flatContent reads the content of a document that is made of blocks: text and images,
// no further documents.
func (c *conversation) flatContent(content json.RawMessage) ([]turnPart, error) {
	var blocks []struct {
		Type string `json:"type"`
	}
	if said(content) && content[0] == '[' {
		if err := json.Unmarshal(content, &blocks); err != nil {
			return nil, err
		}
	}
	for _, b := range blocks {
		if b.Type != "text" && b.Type != "image" {
			return nil, fmt.Errorf("a document's content has a block of type %q", b.Type)
		}
	}
	return c.anthropicInner(content)
}
