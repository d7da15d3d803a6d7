package fakemodel

import (
	"encoding/json"
	"regexp"
	"strings"
)

var anthropicFields = strings.Fields(`cache_control container context_management inference_geo max_tokens mcp_servers
	messages metadata model output_config service_tier stop_sequences stream system temperature thinking
	tool_choice tools top_k top_p`)

var (
	toolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)
	toolID   = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
)

type anthropicRequest struct {
	Model       string
	MaxTokens   *int `json:"max_tokens"`
	Messages    []anthropicMessage
	System      json.RawMessage
	Stream      bool
	Temperature *float64
	Tools       []anthropicTool
}

type anthropicMessage struct {
	Role    string
	Content json.RawMessage
}

type anthropicTool struct {
	Name        string
	Type        string
	InputSchema json.RawMessage `json:"input_schema"`
}

type anthropicBlock struct {
	Type         string
	Text         *string
	ID           string
	Name         string
	Input        json.RawMessage
	ToolUseID    string `json:"tool_use_id"`
	Content      json.RawMessage
	Source       json.RawMessage
	CacheControl json.RawMessage `json:"cache_control"`
}

func checkAnthropic(c *Call) *problem {
	var q anthropicRequest
	if p := object(c.Body, anthropicFields, &q); p != nil {
		return p
	}
	c.Model, c.Stream = q.Model, q.Stream
	counting := strings.HasSuffix(c.Path, "/count_tokens")
	switch {
	case q.Model == "":
		return bad("model: Field required")
	case q.MaxTokens == nil && !counting:
		return bad("max_tokens: Field required")
	case q.MaxTokens != nil && *q.MaxTokens < 1:
		return bad("max_tokens: Input should be greater than or equal to 1")
	case q.Temperature != nil && (*q.Temperature < 0 || *q.Temperature > 1):
		return bad("temperature: range: 0..1")
	case len(q.Messages) == 0:
		return bad("messages: at least one message is required")
	case q.Messages[0].Role != "user":
		return bad("messages: first message must use the \"user\" role")
	}
	if p := checkTools(q.Tools); p != nil {
		return p
	}
	if p := checkSystem(q.System); p != nil {
		return p
	}
	return checkConversation(c, q)
}

func checkTools(tools []anthropicTool) *problem {
	seen := map[string]bool{}
	for i, t := range tools {
		if !toolName.MatchString(t.Name) {
			return bad("tools.%d.name: String should match pattern", i)
		}
		if seen[t.Name] {
			return bad("tools: Tool names must be unique")
		}
		seen[t.Name] = true
		var schema struct{ Type string }
		if t.Type == "" && (json.Unmarshal(t.InputSchema, &schema) != nil || schema.Type != "object") {
			return bad("tools.%d.input_schema.type: Input should be 'object'", i)
		}
	}
	return nil
}

func checkSystem(raw json.RawMessage) *problem {
	if len(raw) == 0 {
		return nil
	}
	if _, ok := isString(raw); ok {
		return nil
	}
	var blocks []anthropicBlock
	if err := json.Unmarshal(raw, &blocks); err != nil {
		return bad("system: Input should be a string or a list of text blocks")
	}
	for i, b := range blocks {
		if b.Type != "text" || b.Text == nil || *b.Text == "" {
			return bad("system.%d: text content blocks must be non-empty", i)
		}
	}
	return nil
}

// checkConversation wants every tool_use answered by the next user turn.
// Consecutive turns of one role count as one, as the API combines them.
func checkConversation(c *Call, q anthropicRequest) *problem {
	open := map[string]bool{} // tool calls that wait for their results
	role := ""
	for i, m := range q.Messages {
		if m.Role != "user" && m.Role != "assistant" {
			return bad("messages.%d.role: Input should be 'user' or 'assistant'", i)
		}
		if m.Role != role && m.Role == "assistant" && len(open) > 0 {
			return bad("messages.%d: tool_use ids were found without tool_result blocks immediately after", i)
		}
		if role = m.Role; role == "assistant" {
			c.Prompts = nil
		}
		blocks, p := anthropicBlocks(i, m.Content)
		if p != nil {
			return p
		}
		for j, b := range blocks {
			if p := checkBlock(i, j, m.Role, b, open); p != nil {
				return p
			}
			if m.Role == "user" && b.Type == "text" {
				c.Prompts = append(c.Prompts, *b.Text)
			}
		}
	}
	if len(open) > 0 {
		return bad("messages: tool_use ids were found without tool_result blocks immediately after")
	}
	return nil
}

func anthropicBlocks(i int, raw json.RawMessage) ([]anthropicBlock, *problem) {
	if s, ok := isString(raw); ok {
		if s == "" {
			return nil, bad("messages.%d: all messages must have non-empty content", i)
		}
		return []anthropicBlock{{Type: "text", Text: &s}}, nil
	}
	var blocks []anthropicBlock
	if err := json.Unmarshal(raw, &blocks); err != nil || len(blocks) == 0 {
		return nil, bad("messages.%d.content: Input should be a non-empty string or list", i)
	}
	return blocks, nil
}

func checkBlock(i, j int, role string, b anthropicBlock, open map[string]bool) *problem {
	switch b.Type {
	case "text":
		if b.Text == nil || *b.Text == "" {
			return bad("messages.%d.content.%d: text content blocks must be non-empty", i, j)
		}
	case "image", "document":
		if role != "user" || !isObject(b.Source) {
			return bad("messages.%d.content.%d: %s needs a source and the user role", i, j, b.Type)
		}
	case "tool_use":
		if role != "assistant" || !toolID.MatchString(b.ID) || b.Name == "" || !isObject(b.Input) {
			return bad("messages.%d.content.%d: tool_use needs id, name, input and the assistant role", i, j)
		}
		open[b.ID] = true
	case "tool_result":
		if role != "user" || !open[b.ToolUseID] {
			return bad("messages.%d.content.%d: unexpected tool_use_id %q found in tool_result blocks", i, j, b.ToolUseID)
		}
		delete(open, b.ToolUseID)
	case "thinking", "redacted_thinking":
		if role != "assistant" {
			return bad("messages.%d.content.%d: thinking needs the assistant role", i, j)
		}
	default:
		return bad("messages.%d.content.%d: Input tag %q is not known", i, j, b.Type)
	}
	return nil
}
