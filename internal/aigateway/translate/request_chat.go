package translate

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
)

// The form is https://platform.openai.com/docs/api-reference/chat/create, with the
// members that others who speak it have added.

// chatIn is what is read of a request.
type chatIn struct {
	Messages            []chatMessageIn `json:"messages"`
	MaxTokens           json.Number     `json:"max_tokens"`
	MaxCompletionTokens json.Number     `json:"max_completion_tokens"`
	Temperature         json.Number     `json:"temperature"`
	TopP                json.Number     `json:"top_p"`
	TopK                json.Number     `json:"top_k"` // vLLM, OpenRouter and others
	FrequencyPenalty    json.Number     `json:"frequency_penalty"`
	PresencePenalty     json.Number     `json:"presence_penalty"`
	Seed                json.Number     `json:"seed"`
	N                   json.Number     `json:"n"`
	Stop                json.RawMessage `json:"stop"`
	Stream              bool            `json:"stream"`
	Tools               []chatToolIn    `json:"tools"`
	ToolChoice          json.RawMessage `json:"tool_choice"`
	ParallelToolCalls   *bool           `json:"parallel_tool_calls"`
	Functions           []chatFunction  `json:"functions"`     // before there were tools
	FunctionCall        json.RawMessage `json:"function_call"` // likewise
	ReasoningEffort     string          `json:"reasoning_effort"`
	Reasoning           *struct {       // OpenRouter
		Effort    string      `json:"effort"`
		MaxTokens json.Number `json:"max_tokens"`
		Enabled   *bool       `json:"enabled"`
		Exclude   bool        `json:"exclude"`
	} `json:"reasoning"`
	ResponseFormat *struct {
		Type       string `json:"type"`
		JSONSchema *struct {
			Name        string          `json:"name"`
			Description string          `json:"description"`
			Schema      json.RawMessage `json:"schema"`
			Strict      bool            `json:"strict"`
		} `json:"json_schema"`
	} `json:"response_format"`
	Modalities []string `json:"modalities"`

	Audio                json.RawMessage `json:"audio"`
	LogitBias            json.RawMessage `json:"logit_bias"`
	Logprobs             bool            `json:"logprobs"`
	Metadata             json.RawMessage `json:"metadata"`
	Prediction           json.RawMessage `json:"prediction"`
	PromptCacheKey       json.RawMessage `json:"prompt_cache_key"`
	PromptCacheOptions   json.RawMessage `json:"prompt_cache_options"`
	PromptCacheRetention json.RawMessage `json:"prompt_cache_retention"`
	SafetyIdentifier     json.RawMessage `json:"safety_identifier"`
	ServiceTier          json.RawMessage `json:"service_tier"`
	Store                bool            `json:"store"`
	User                 json.RawMessage `json:"user"`
	Verbosity            json.RawMessage `json:"verbosity"`
	WebSearchOptions     json.RawMessage `json:"web_search_options"`
}

type chatMessageIn struct {
	Role             string          `json:"role"`
	Content          json.RawMessage `json:"content"`
	Name             string          `json:"name"`
	Refusal          string          `json:"refusal"`
	ToolCalls        []chatCall      `json:"tool_calls"`
	ToolCallID       string          `json:"tool_call_id"`
	FunctionCall     *chatCalled     `json:"function_call"`
	Audio            json.RawMessage `json:"audio"`
	ReasoningContent json.RawMessage `json:"reasoning_content"` // DeepSeek, vLLM
	Reasoning        json.RawMessage `json:"reasoning"`         // OpenRouter
	ReasoningDetails json.RawMessage `json:"reasoning_details"` // likewise
}

type chatCall struct {
	ID       string     `json:"id"`
	Type     string     `json:"type"`
	Function chatCalled `json:"function"`
}

// chatCalled is a call. Arguments are JSON in a string, or so the model hopes.
type chatCalled struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

type chatToolIn struct {
	Type     string       `json:"type"`
	Function chatFunction `json:"function"`
}

type chatFunction struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	Strict      bool            `json:"strict,omitempty"`
}

type chatPartIn struct {
	Type     string          `json:"type"`
	Text     string          `json:"text"`
	Refusal  string          `json:"refusal"`
	ImageURL json.RawMessage `json:"image_url"` // an object; some clients write the URL alone
	File     *struct {
		FileData string `json:"file_data"`
		FileID   string `json:"file_id"`
		Filename string `json:"filename"`
	} `json:"file"`
	CacheControl json.RawMessage `json:"cache_control"` // OpenRouter
	Breakpoint   json.RawMessage `json:"prompt_cache_breakpoint"`
}

func readChat(c *conversation, doc []byte) error {
	var in chatIn
	if err := json.Unmarshal(doc, &in); err != nil {
		return err
	}
	for i := range in.Messages {
		if err := c.chatMessage(&in.Messages[i]); err != nil {
			return fmt.Errorf("messages.%d: %w", i, err)
		}
	}
	if n, err := wholeNumber("n", in.N); err != nil || n > 1 {
		return errors.New("n: several answers to one request are known to this form alone")
	}
	if in.Modalities != nil && !slices.Contains(in.Modalities, "text") {
		return errors.New("modalities: no text is asked for, and nothing else can be carried over")
	}
	c.temperature, c.topP, c.topK, c.seed = in.Temperature, in.TopP, in.TopK, in.Seed
	c.frequencyPenalty, c.presencePenalty = in.FrequencyPenalty, in.PresencePenalty
	c.stream = in.Stream
	limit := in.MaxCompletionTokens
	if limit == "" {
		limit = in.MaxTokens
	}
	if err := c.setMax("max_tokens", limit); err != nil {
		return err
	}
	c.chatLosses(&in)
	if err := c.chatStop(in.Stop); err != nil {
		return err
	}
	if err := c.chatTools(&in); err != nil {
		return err
	}
	return c.chatOutput(&in)
}

func (c *conversation) chatLosses(in *chatIn) {
	if said(in.Audio) || slices.Contains(in.Modalities, "audio") {
		c.lost.add("audio")
	}
	if in.Logprobs {
		c.lost.add("logprobs")
	}
	if in.Store {
		c.lost.add("store")
	}
	c.lost.addIf("cache_control", in.PromptCacheKey, in.PromptCacheOptions, in.PromptCacheRetention)
	c.lost.addIf("logit_bias", in.LogitBias)
	c.lost.addIf("metadata", in.Metadata)
	c.lost.addIf("prediction", in.Prediction)
	c.lost.addIf("server_tools", in.WebSearchOptions)
	c.lost.addIf("service_tier", in.ServiceTier)
	c.lost.addIf("user", in.User, in.SafetyIdentifier)
	c.lost.addIf("verbosity", in.Verbosity)
}

// chatStop reads one sequence or several.
func (c *conversation) chatStop(raw json.RawMessage) error {
	if !said(raw) {
		return nil
	}
	if raw[0] != '"' {
		if err := json.Unmarshal(raw, &c.stop); err != nil {
			return fmt.Errorf("stop: %w", err)
		}
		return nil
	}
	c.stop = make([]string, 1)
	return json.Unmarshal(raw, &c.stop[0])
}

func (c *conversation) chatTools(in *chatIn) error {
	functions := in.Functions
	for _, t := range in.Tools {
		if t.Type != "function" && t.Type != "" {
			c.lost.add("custom_tools") // they take text, not JSON
			continue
		}
		functions = append(functions, t.Function)
	}
	for _, f := range functions {
		if f.Name == "" {
			return errors.New("a tool has no name")
		}
		def := toolDef{name: f.Name, description: f.Description, strict: f.Strict}
		if said(f.Parameters) {
			def.schema = f.Parameters
		}
		c.tools = append(c.tools, def)
	}
	c.single = in.ParallelToolCalls != nil && !*in.ParallelToolCalls
	choice := in.ToolChoice
	if !said(choice) {
		choice = in.FunctionCall
	}
	if !said(choice) {
		return nil
	}
	return c.chatChoice(choice)
}

// chatChoice reads a tool_choice: a word, or an object that names one tool or some.
func (c *conversation) chatChoice(raw json.RawMessage) error {
	var mode string
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &mode); err != nil {
			return err
		}
		return c.setChoice(mode)
	}
	type named struct {
		Name string `json:"name"`
	}
	var choice struct {
		Type     string `json:"type"`
		Name     string `json:"name"` // of function_call
		Function named  `json:"function"`
		Custom   named  `json:"custom"`
		Allowed  struct {
			Mode  string `json:"mode"`
			Tools []struct {
				Function named `json:"function"`
			} `json:"tools"`
		} `json:"allowed_tools"`
	}
	if err := json.Unmarshal(raw, &choice); err != nil {
		return fmt.Errorf("tool_choice: %w", err)
	}
	if choice.Type == "allowed_tools" {
		c.allowed = []string{}
		for _, t := range choice.Allowed.Tools {
			c.allowed = append(c.allowed, t.Function.Name)
		}
		return c.setChoice(choice.Allowed.Mode)
	}
	name := choice.Name + choice.Function.Name + choice.Custom.Name // one of them
	if name == "" {
		return errors.New("tool_choice names no tool")
	}
	c.choice, c.allowed = choiceAny, []string{name}
	return nil
}

func (c *conversation) setChoice(mode string) error {
	switch mode {
	case "auto":
		c.choice = choiceAuto
	case "none":
		c.choice = choiceNone
	case "required", "any": // the latter is Mistral's
		c.choice = choiceAny
	default:
		return fmt.Errorf("tool_choice %q is unknown", mode)
	}
	return nil
}

// chatOutput reads how the answer is to be thought of and formed.
func (c *conversation) chatOutput(in *chatIn) error {
	effort := in.ReasoningEffort
	if r := in.Reasoning; r != nil {
		budget, err := wholeNumber("reasoning.max_tokens", r.MaxTokens)
		if err != nil {
			return err
		}
		c.thinking.budget, c.thinking.show = max(budget, 0), !r.Exclude
		c.thinking.on = budget > 0 || r.Enabled != nil && *r.Enabled
		c.thinking.off = r.Enabled != nil && !*r.Enabled
		if effort == "" {
			effort = r.Effort
		}
	}
	switch effort {
	case "":
	case "none":
		c.thinking = thinking{off: true}
	default:
		c.thinking.on, c.thinking.off, c.thinking.effort = true, false, effort
	}
	f := in.ResponseFormat
	if f == nil {
		return nil
	}
	switch f.Type {
	case "text", "":
	case "json_object":
		c.format = &outputFormat{}
	case "json_schema":
		c.format = &outputFormat{}
		if s := f.JSONSchema; s != nil {
			c.format.name, c.format.description, c.format.strict = s.Name, s.Description, s.Strict
			if isObject(s.Schema) {
				c.format.schema = s.Schema
			}
		}
	default:
		c.lost.add("response_format")
	}
	return nil
}

func (c *conversation) chatMessage(m *chatMessageIn) error {
	parts, err := c.chatContent(m.Content)
	if err != nil {
		return err
	}
	if m.Name != "" && m.Role != "function" && m.Role != "tool" { // of a function it is no loss
		c.lost.add("name")
	}
	switch m.Role {
	case "system", "developer":
		c.say(roleSystem, parts...)
	case "user":
		c.say(roleUser, parts...)
	case "assistant":
		c.lost.addIf("audio", m.Audio)
		c.lost.addIf("thinking", m.ReasoningContent, m.Reasoning, m.ReasoningDetails)
		if m.Refusal != "" {
			parts = append(parts, textPart(m.Refusal))
		}
		c.say(roleAssistant, append(parts, c.chatCalls(m)...)...)
	case "tool":
		c.say(roleUser, turnPart{kind: partResult, result: toolResult{id: m.ToolCallID, parts: parts}})
	case "function":
		c.say(roleUser, turnPart{kind: partResult, result: toolResult{name: m.Name, parts: parts}})
	default:
		return fmt.Errorf("the role %q is unknown", m.Role)
	}
	return nil
}

func (c *conversation) chatCalls(m *chatMessageIn) (parts []turnPart) {
	for _, call := range m.ToolCalls {
		if call.Type != "function" && call.Type != "" {
			c.lost.add("custom_tools")
			continue
		}
		parts = append(parts, c.chatCalled(call.ID, call.Function))
	}
	if m.FunctionCall != nil {
		parts = append(parts, c.chatCalled("", *m.FunctionCall))
	}
	return parts
}

func (c *conversation) chatCalled(id string, f chatCalled) turnPart {
	return turnPart{kind: partCall, call: toolCall{id: id, name: f.Name, args: c.objectArgs(f.Arguments)}}
}

func (c *conversation) chatContent(content json.RawMessage) ([]turnPart, error) {
	return readContent(content, func(p *chatPartIn) ([]turnPart, error) {
		c.lost.addIf("cache_control", p.CacheControl, p.Breakpoint)
		return c.chatPart(p)
	})
}

func (c *conversation) chatPart(p *chatPartIn) ([]turnPart, error) {
	switch p.Type {
	case "text":
		return []turnPart{textPart(p.Text)}, nil
	case "refusal":
		return []turnPart{textPart(p.Refusal)}, nil
	case "image_url":
		return c.chatImage(p.ImageURL)
	case "file":
		return chatFile(p)
	case "input_audio", "audio_url", "video_url", "input_video":
		return nil, errors.New("sound and video cannot be carried over")
	case "thinking": // Mistral's
		c.lost.add("thinking")
		return nil, nil
	case "":
		return nil, errors.New("a content part has no type")
	}
	c.lost.add("unknown_content")
	return nil, nil
}

func (c *conversation) chatImage(raw json.RawMessage) ([]turnPart, error) {
	var image struct {
		URL    string `json:"url"`
		Detail string `json:"detail"`
	}
	into := any(&image)
	if said(raw) && raw[0] == '"' {
		into = &image.URL
	}
	if !said(raw) {
		return nil, errors.New("an image has no image_url")
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return nil, err
	}
	if image.Detail != "" && image.Detail != "auto" {
		c.lost.add("image_detail")
	}
	f, inline, err := dataURL(image.URL)
	if err != nil {
		return nil, err
	}
	if inline {
		part, err := filePart(f)
		return []turnPart{part}, err
	}
	f, err = webFile(image.URL)
	return []turnPart{{kind: partImage, file: f}}, err
}

// chatFile reads a file part. file_data is a data: URL; some clients write the bare
// base64 or, to OpenRouter, a URL of the web.
func chatFile(p *chatPartIn) ([]turnPart, error) {
	switch {
	case p.File == nil:
		return nil, errors.New("a file part has no file")
	case p.File.FileData == "":
		return nil, errProviderFile
	}
	f, inline, err := dataURL(p.File.FileData)
	if err != nil {
		return nil, err
	}
	if !inline {
		if web, err := webFile(p.File.FileData); err == nil {
			web.title, web.mime = p.File.Filename, "application/pdf"
			return []turnPart{{kind: partDocument, file: web}}, nil
		}
		f.data = p.File.FileData
	}
	if f.mime == "" || f.mime == "application/octet-stream" {
		if f.mime = mimeOf(path.Base(p.File.Filename)); f.mime == "" {
			f.mime = "application/pdf"
		}
	}
	f.title = p.File.Filename
	part, err := filePart(f)
	return []turnPart{part}, err
}
