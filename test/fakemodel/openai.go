package fakemodel

import (
	"encoding/json"
	"strings"
)

var openaiFields = strings.Fields(`audio frequency_penalty function_call functions logit_bias logprobs
	max_completion_tokens max_tokens messages metadata modalities model n parallel_tool_calls prediction
	presence_penalty prompt_cache_key prompt_cache_retention reasoning_effort response_format safety_identifier
	seed service_tier stop store stream stream_options temperature tool_choice tools top_logprobs top_p user
	verbosity web_search_options`)

type openaiRequest struct {
	Model         string
	Messages      []openaiMessage
	Stream        bool
	StreamOptions *struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	Tools []struct {
		Type     string
		Function struct {
			Name       string
			Parameters json.RawMessage
		}
	}
	ToolChoice json.RawMessage `json:"tool_choice"`
}

type openaiMessage struct {
	Role       string
	Content    json.RawMessage
	ToolCallID string `json:"tool_call_id"`
	ToolCalls  []struct {
		ID       string
		Type     string
		Function struct {
			Name      string
			Arguments *string
		}
	} `json:"tool_calls"`
}

func checkOpenAI(c *Call) *problem {
	var q openaiRequest
	if p := object(c.Body, openaiFields, &q); p != nil {
		return p
	}
	c.Model, c.Stream = q.Model, q.Stream
	c.Usage = q.StreamOptions != nil && q.StreamOptions.IncludeUsage
	switch {
	case q.Model == "":
		return bad("you must provide a model parameter")
	case len(q.Messages) == 0:
		return bad("[] is too short - 'messages'")
	case q.StreamOptions != nil && !q.Stream:
		return bad("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	case len(q.ToolChoice) > 0 && len(q.Tools) == 0:
		return bad("'tool_choice' is only allowed when 'tools' are specified.")
	}
	for i, t := range q.Tools {
		if t.Type != "function" || !toolName.MatchString(t.Function.Name) {
			return bad("Invalid 'tools[%d]'", i)
		}
	}
	return checkTurns(c, q.Messages)
}

// checkTurns wants every tool call answered by tool messages right after it.
func checkTurns(c *Call, messages []openaiMessage) *problem {
	open := map[string]bool{}
	for i, m := range messages {
		if m.Role != "tool" && len(open) > 0 {
			return bad("an assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id' (messages[%d])", i)
		}
		text, p := openaiText(i, m)
		if p != nil {
			return p
		}
		switch m.Role {
		case "system", "developer":
		case "user":
			c.Prompts = append(c.Prompts, text)
		case "assistant":
			c.Prompts = nil
			for _, t := range m.ToolCalls {
				if t.ID == "" || t.Type != "function" || t.Function.Name == "" || t.Function.Arguments == nil {
					return bad("Invalid 'messages[%d].tool_calls'", i)
				}
				open[t.ID] = true
			}
		case "tool":
			if !open[m.ToolCallID] {
				return bad("messages with role 'tool' must be a response to a preceding message with 'tool_calls' (messages[%d])", i)
			}
			delete(open, m.ToolCallID)
		default:
			return bad("Invalid value: '%s' (messages[%d].role)", m.Role, i)
		}
	}
	if len(open) > 0 {
		return bad("an assistant message with 'tool_calls' must be followed by tool messages")
	}
	return nil
}

// openaiText is the text of a message's content, which may be a string, a list
// of parts, or, beside tool calls, nothing.
func openaiText(i int, m openaiMessage) (string, *problem) {
	if len(m.Content) == 0 || string(m.Content) == "null" {
		if m.Role == "assistant" && len(m.ToolCalls) > 0 {
			return "", nil
		}
		return "", bad("Invalid value for 'content': expected a string, got null (messages[%d])", i)
	}
	if s, ok := isString(m.Content); ok {
		return s, nil
	}
	var parts []struct {
		Type string
		Text string
	}
	if json.Unmarshal(m.Content, &parts) != nil || len(parts) == 0 {
		return "", bad("Invalid type for 'messages[%d].content'", i)
	}
	text := ""
	for _, p := range parts {
		switch p.Type {
		case "text":
			text += p.Text
		case "image_url", "input_audio", "file", "refusal":
		default:
			return "", bad("Invalid value: '%s' (messages[%d].content)", p.Type, i)
		}
	}
	return text, nil
}
