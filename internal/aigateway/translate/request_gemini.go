package translate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The form is https://ai.google.dev/api/generate-content. It is protobuf's JSON: each
// member may also be written with underscores ("system_instruction"), which
// geminiJSON smooths out.

// geminiIn is what is read of a request.
type geminiIn struct {
	Contents          []json.RawMessage `json:"contents"`
	SystemInstruction json.RawMessage   `json:"systemInstruction"`
	Tools             []json.RawMessage `json:"tools"`
	ToolConfig        json.RawMessage   `json:"toolConfig"`
	GenerationConfig  json.RawMessage   `json:"generationConfig"`
	CachedContent     string            `json:"cachedContent"`
	SafetySettings    json.RawMessage   `json:"safetySettings"`
	Labels            json.RawMessage   `json:"labels"`
}

type geminiContentIn struct {
	Role  string            `json:"role"`
	Parts []json.RawMessage `json:"parts"`
}

type geminiPartIn struct {
	Text                string          `json:"text"`
	Thought             bool            `json:"thought"`
	ThoughtSignature    string          `json:"thoughtSignature"`
	InlineData          json.RawMessage `json:"inlineData"`
	FileData            json.RawMessage `json:"fileData"`
	FunctionCall        json.RawMessage `json:"functionCall"`
	FunctionResponse    json.RawMessage `json:"functionResponse"`
	ExecutableCode      json.RawMessage `json:"executableCode"`
	CodeExecutionResult json.RawMessage `json:"codeExecutionResult"`
	ToolCall            json.RawMessage `json:"toolCall"`
	ToolResponse        json.RawMessage `json:"toolResponse"`
	MediaResolution     json.RawMessage `json:"mediaResolution"`
}

// geminiFileIn is inlineData or fileData.
type geminiFileIn struct {
	MimeType    string `json:"mimeType"`
	Data        string `json:"data"`
	FileURI     string `json:"fileUri"`
	DisplayName string `json:"displayName"`
}

type geminiCall struct {
	ID   string          `json:"id,omitempty"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args,omitempty"`
}

type geminiResultIn struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Response json.RawMessage   `json:"response"`
	Parts    []json.RawMessage `json:"parts"`
}

type geminiConfigIn struct {
	MaxOutputTokens    json.Number     `json:"maxOutputTokens"`
	Temperature        json.Number     `json:"temperature"`
	TopP               json.Number     `json:"topP"`
	TopK               json.Number     `json:"topK"`
	FrequencyPenalty   json.Number     `json:"frequencyPenalty"`
	PresencePenalty    json.Number     `json:"presencePenalty"`
	Seed               json.Number     `json:"seed"`
	CandidateCount     json.Number     `json:"candidateCount"`
	StopSequences      []string        `json:"stopSequences"`
	ResponseMimeType   string          `json:"responseMimeType"`
	ResponseSchema     json.RawMessage `json:"responseSchema"`
	ResponseJSONSchema json.RawMessage `json:"responseJsonSchema"`
	ResponseModalities []string        `json:"responseModalities"`
	ThinkingConfig     json.RawMessage `json:"thinkingConfig"`
	ResponseLogprobs   bool            `json:"responseLogprobs"`
	SpeechConfig       json.RawMessage `json:"speechConfig"`
	MediaResolution    json.RawMessage `json:"mediaResolution"`
}

// geminiJSON reads an object whose members are written in either way. Where both are
// there, the camel's way counts.
func geminiJSON(raw []byte, into any) error {
	if !bytes.ContainsRune(raw, '_') {
		return json.Unmarshal(raw, into)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return err
	}
	var old []string
	for key := range members {
		if strings.ContainsRune(key, '_') {
			old = append(old, key)
		}
	}
	slices.Sort(old)
	for _, key := range old {
		camel := camelCase(key)
		if _, there := members[camel]; !there {
			members[camel] = members[key]
		}
		delete(members, key)
	}
	smooth, err := requestJSON(members)
	if err != nil {
		return err
	}
	return json.Unmarshal(smooth, into)
}

func camelCase(key string) string {
	words := strings.Split(key, "_")
	for i, w := range words {
		if i > 0 && w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}

func readGemini(c *conversation, doc []byte) error {
	var in geminiIn
	if err := geminiJSON(doc, &in); err != nil {
		return err
	}
	if in.CachedContent != "" {
		return errors.New("cachedContent: what the provider keeps of the request cannot be carried over")
	}
	c.lost.addIf("safety_settings", in.SafetySettings)
	c.lost.addIf("metadata", in.Labels)
	if said(in.SystemInstruction) {
		if err := c.geminiContent(in.SystemInstruction, true); err != nil {
			return fmt.Errorf("systemInstruction: %w", err)
		}
	}
	for i, raw := range in.Contents {
		if err := c.geminiContent(raw, false); err != nil {
			return fmt.Errorf("contents.%d: %w", i, err)
		}
	}
	if len(in.Contents) == 0 {
		return errors.New("there are no contents")
	}
	for _, raw := range in.Tools {
		if err := c.geminiTool(raw); err != nil {
			return fmt.Errorf("tools: %w", err)
		}
	}
	if err := c.geminiChoice(in.ToolConfig); err != nil {
		return fmt.Errorf("toolConfig: %w", err)
	}
	if err := c.geminiConfig(in.GenerationConfig); err != nil {
		return fmt.Errorf("generationConfig: %w", err)
	}
	return nil
}

func (c *conversation) geminiContent(raw json.RawMessage, system bool) error {
	var in geminiContentIn
	if err := geminiJSON(raw, &in); err != nil {
		return err
	}
	var parts []turnPart
	for i, raw := range in.Parts {
		part, ok, err := c.geminiPart(raw)
		if err != nil {
			return fmt.Errorf("parts.%d: %w", i, err)
		}
		if ok {
			parts = append(parts, part)
		}
	}
	switch {
	case system, in.Role == "system":
		c.say(roleSystem, parts...)
	case in.Role == "model":
		c.say(roleAssistant, parts...)
	case in.Role == "user", in.Role == "", in.Role == "function", in.Role == "tool":
		c.say(roleUser, parts...)
	default:
		return fmt.Errorf("the role %q is unknown", in.Role)
	}
	return nil
}

// geminiPart reads a part; ok is false where nothing of it can be carried over.
func (c *conversation) geminiPart(raw json.RawMessage) (part turnPart, ok bool, err error) {
	var p geminiPartIn
	if err := geminiJSON(raw, &p); err != nil {
		return part, false, err
	}
	c.lost.addIf("image_detail", p.MediaResolution)
	switch {
	case p.Thought:
		c.lost.add("thinking")
		return part, false, nil
	case p.ThoughtSignature != "":
		c.lost.add("thinking_signature")
	}
	switch {
	case said(p.FunctionCall):
		part, err = c.geminiCalled(p.FunctionCall)
	case said(p.FunctionResponse):
		part, err = c.geminiResult(p.FunctionResponse)
	case said(p.InlineData):
		part, err = geminiFile(p.InlineData)
	case said(p.FileData):
		part, err = geminiFile(p.FileData)
	case said(p.ExecutableCode), said(p.CodeExecutionResult), said(p.ToolCall), said(p.ToolResponse):
		c.lost.add("server_tools")
		return part, false, nil
	default:
		part = textPart(p.Text)
	}
	return part, err == nil, err
}

func (c *conversation) geminiCalled(raw json.RawMessage) (turnPart, error) {
	var in geminiCall
	if err := geminiJSON(raw, &in); err != nil {
		return turnPart{}, fmt.Errorf("functionCall: %w", err)
	}
	call := toolCall{id: in.ID, name: in.Name, args: json.RawMessage("{}")}
	if said(in.Args) {
		call.args = c.objectArgs(string(in.Args))
	}
	return turnPart{kind: partCall, call: call}, nil
}

// geminiResult reads a functionResponse. Its response is an object, in which "output"
// is what the function gave and "error" what went wrong; without them the whole is the
// output.
func (c *conversation) geminiResult(raw json.RawMessage) (turnPart, error) {
	var in geminiResultIn
	if err := geminiJSON(raw, &in); err != nil {
		return turnPart{}, fmt.Errorf("functionResponse: %w", err)
	}
	r := toolResult{id: in.ID, name: in.Name}
	text, failed := responseText(in.Response)
	r.failed = failed
	if text != "" {
		r.parts = append(r.parts, textPart(text))
	}
	for _, raw := range in.Parts {
		part, ok, err := c.geminiPart(raw)
		if err != nil {
			return turnPart{}, err
		}
		if ok && part.kind != partCall && part.kind != partResult {
			r.parts = append(r.parts, part)
		}
	}
	return turnPart{kind: partResult, result: r}, nil
}

// responseText is a function's response as text. A response of one member that is
// text, as clients wrap it, is that text; others are their JSON.
func responseText(raw json.RawMessage) (text string, failed bool) {
	if !said(raw) {
		return "", false
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) == nil && len(members) == 1 {
		for _, name := range []string{"output", "error", "result"} {
			member, there := members[name]
			if there && len(member) > 0 && member[0] == '"' && json.Unmarshal(member, &text) == nil {
				return text, name == "error"
			}
		}
	}
	_, failed = members["error"]
	var compact bytes.Buffer
	if json.Compact(&compact, raw) != nil {
		return "", false // not reached: the document was read
	}
	return compact.String(), failed && len(members) == 1
}

// geminiFile reads inlineData or fileData.
func geminiFile(raw json.RawMessage) (turnPart, error) {
	var in geminiFileIn
	if err := geminiJSON(raw, &in); err != nil {
		return turnPart{}, err
	}
	if in.FileURI == "" {
		return filePart(mediaFile{mime: in.MimeType, data: standardBase64(in.Data), title: in.DisplayName})
	}
	f, err := webFile(in.FileURI)
	if err != nil || strings.Contains(in.FileURI, "//generativelanguage.googleapis.com/") {
		return turnPart{}, errProviderFile
	}
	if in.MimeType != "" {
		f.mime = in.MimeType
	}
	f.title = in.DisplayName
	return filePart(f)
}

// geminiTool reads an entry of tools: functions, or a tool that Google runs.
func (c *conversation) geminiTool(raw json.RawMessage) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return err
	}
	for key := range members {
		if k := camelCase(key); k != "functionDeclarations" && said(members[key]) {
			c.lost.add("server_tools")
		}
	}
	var in struct {
		FunctionDeclarations []json.RawMessage `json:"functionDeclarations"`
	}
	if err := geminiJSON(raw, &in); err != nil {
		return err
	}
	for _, raw := range in.FunctionDeclarations {
		def, err := geminiFunction(raw)
		if err != nil {
			return err
		}
		c.tools = append(c.tools, def)
	}
	return nil
}

func geminiFunction(raw json.RawMessage) (def toolDef, err error) {
	var in struct {
		Name                 string          `json:"name"`
		Description          string          `json:"description"`
		Parameters           json.RawMessage `json:"parameters"`
		ParametersJSONSchema json.RawMessage `json:"parametersJsonSchema"`
	}
	if err := geminiJSON(raw, &in); err != nil {
		return def, err
	}
	if in.Name == "" {
		return def, errors.New("a function has no name")
	}
	def.name, def.description = in.Name, in.Description
	switch {
	case said(in.ParametersJSONSchema):
		def.schema = in.ParametersJSONSchema
	case said(in.Parameters):
		def.schema, err = jsonSchema(in.Parameters)
	}
	return def, err
}

func (c *conversation) geminiChoice(raw json.RawMessage) error {
	if !said(raw) {
		return nil
	}
	var in struct {
		FunctionCallingConfig json.RawMessage `json:"functionCallingConfig"`
	}
	if err := geminiJSON(raw, &in); err != nil || !said(in.FunctionCallingConfig) {
		return err
	}
	var config struct {
		Mode                 string   `json:"mode"`
		AllowedFunctionNames []string `json:"allowedFunctionNames"`
	}
	if err := geminiJSON(in.FunctionCallingConfig, &config); err != nil {
		return err
	}
	switch strings.ToUpper(config.Mode) {
	case "", "MODE_UNSPECIFIED":
	case "AUTO", "VALIDATED":
		c.choice = choiceAuto
	case "NONE":
		c.choice = choiceNone
	case "ANY":
		c.choice = choiceAny
	default:
		return fmt.Errorf("the mode %q is unknown", config.Mode)
	}
	if len(config.AllowedFunctionNames) > 0 {
		c.allowed = config.AllowedFunctionNames
	}
	return nil
}

func (c *conversation) geminiConfig(raw json.RawMessage) error {
	if !said(raw) {
		return nil
	}
	var in geminiConfigIn
	if err := geminiJSON(raw, &in); err != nil {
		return err
	}
	if n, err := wholeNumber("candidateCount", in.CandidateCount); err != nil || n > 1 {
		return errors.New("candidateCount: several answers to one request cannot be carried over")
	}
	modality := func(name string) bool {
		return slices.ContainsFunc(in.ResponseModalities, func(m string) bool { return strings.EqualFold(m, name) })
	}
	if len(in.ResponseModalities) > 0 && !modality("TEXT") {
		return errors.New("responseModalities: no text is asked for, and nothing else can be carried over")
	}
	if said(in.SpeechConfig) || modality("AUDIO") {
		c.lost.add("audio")
	}
	if modality("IMAGE") {
		c.lost.add("image_output")
	}
	if in.ResponseLogprobs {
		c.lost.add("logprobs")
	}
	c.lost.addIf("image_detail", in.MediaResolution)
	c.temperature, c.topP, c.topK, c.seed = in.Temperature, in.TopP, in.TopK, in.Seed
	c.frequencyPenalty, c.presencePenalty = in.FrequencyPenalty, in.PresencePenalty
	c.stop = in.StopSequences
	if err := c.setMax("maxOutputTokens", in.MaxOutputTokens); err != nil {
		return err
	}
	if err := c.geminiFormat(&in); err != nil {
		return err
	}
	return c.geminiThinking(in.ThinkingConfig)
}

func (c *conversation) geminiFormat(in *geminiConfigIn) (err error) {
	switch in.ResponseMimeType {
	case "", "text/plain":
		return nil
	case "application/json":
	default: // text/x.enum: one word of a list
		c.lost.add("response_format")
		return nil
	}
	c.format = &outputFormat{}
	switch {
	case isObject(in.ResponseJSONSchema):
		c.format.schema = in.ResponseJSONSchema
	case isObject(in.ResponseSchema):
		c.format.schema, err = jsonSchema(in.ResponseSchema)
	}
	return err
}

func (c *conversation) geminiThinking(raw json.RawMessage) error {
	if !said(raw) {
		return nil
	}
	var in struct {
		IncludeThoughts bool        `json:"includeThoughts"`
		ThinkingBudget  json.Number `json:"thinkingBudget"`
		ThinkingLevel   string      `json:"thinkingLevel"`
	}
	if err := geminiJSON(raw, &in); err != nil {
		return err
	}
	budget, err := wholeNumber("thinkingBudget", in.ThinkingBudget)
	if err != nil {
		return err
	}
	level := strings.ToLower(in.ThinkingLevel)
	if level == "thinking_level_unspecified" {
		level = ""
	}
	if in.ThinkingBudget != "" && budget == 0 && level == "" {
		c.thinking.off = true
		return nil
	}
	c.thinking = thinking{effort: level, budget: max(budget, 0), show: in.IncludeThoughts}
	c.thinking.on = level != "" || in.ThinkingBudget != "" || in.IncludeThoughts
	return nil
}
