package translate

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
)

type geminiOut struct {
	SystemInstruction *geminiContent   `json:"systemInstruction,omitempty"`
	Contents          []geminiContent  `json:"contents"`
	Tools             []geminiTools    `json:"tools,omitempty"`
	ToolConfig        *geminiToolConf  `json:"toolConfig,omitempty"`
	GenerationConfig  *geminiConfigOut `json:"generationConfig,omitempty"`
}

type geminiContent struct {
	Role  string       `json:"role,omitempty"`
	Parts []geminiPart `json:"parts"`
}

type geminiPart struct {
	Text             string        `json:"text,omitempty"`
	InlineData       *geminiBlob   `json:"inlineData,omitempty"`
	FileData         *geminiLink   `json:"fileData,omitempty"`
	FunctionCall     *geminiCall   `json:"functionCall,omitempty"`
	FunctionResponse *geminiResult `json:"functionResponse,omitempty"`
	ThoughtSignature string        `json:"thoughtSignature,omitempty"`
}

type geminiBlob struct {
	MimeType string `json:"mimeType"`
	Data     string `json:"data"`
}

type geminiLink struct {
	MimeType string `json:"mimeType"`
	FileURI  string `json:"fileUri"`
}

type geminiResult struct {
	ID       string          `json:"id,omitempty"`
	Name     string          `json:"name"`
	Response json.RawMessage `json:"response"`
	Parts    []geminiPart    `json:"parts,omitempty"`
}

type geminiTools struct {
	FunctionDeclarations []geminiDeclared `json:"functionDeclarations"`
}

type geminiDeclared struct {
	Name                 string          `json:"name"`
	Description          string          `json:"description,omitempty"`
	ParametersJSONSchema json.RawMessage `json:"parametersJsonSchema,omitempty"`
}

type geminiToolConf struct {
	FunctionCallingConfig struct {
		Mode                 string   `json:"mode"`
		AllowedFunctionNames []string `json:"allowedFunctionNames,omitempty"`
	} `json:"functionCallingConfig"`
}

type geminiConfigOut struct {
	MaxOutputTokens    int64           `json:"maxOutputTokens,omitempty"`
	Temperature        json.Number     `json:"temperature,omitempty"`
	TopP               json.Number     `json:"topP,omitempty"`
	TopK               json.Number     `json:"topK,omitempty"`
	FrequencyPenalty   json.Number     `json:"frequencyPenalty,omitempty"`
	PresencePenalty    json.Number     `json:"presencePenalty,omitempty"`
	Seed               json.Number     `json:"seed,omitempty"`
	StopSequences      []string        `json:"stopSequences,omitempty"`
	ResponseMimeType   string          `json:"responseMimeType,omitempty"`
	ResponseJSONSchema json.RawMessage `json:"responseJsonSchema,omitempty"`
	ThinkingConfig     *geminiThinking `json:"thinkingConfig,omitempty"`
}

// foreignSignature stands for the signature of a call that another model made.
// Generation 3 refuses calls without one; this is what Google gives for histories that
// come from elsewhere (https://ai.google.dev/gemini-api/docs/thought-signatures#faqs).
const foreignSignature = "skip_thought_signature_validator"

func writeGemini(c *conversation, o RequestOptions) (any, error) {
	out := &geminiOut{}
	v, known := versionOf(o.Model, "gemini")
	third := known && v.atLeast(3, 0)
	system := c.systemFirst()
	c.settleIDs(func(id string) bool { return id != "" }, 24)
	if text := geminiTexts(system); text != nil {
		out.SystemInstruction = &geminiContent{Parts: text}
	}
	for _, t := range c.turns {
		if t.role == roleAssistant {
			out.say("model", c.geminiModelParts(t, third))
			continue
		}
		results, rest, err := c.geminiUserParts(t, third)
		if err != nil {
			return nil, err
		}
		out.say("user", results) // as many as there were calls, and nothing else with them
		out.say("user", rest)
	}
	if len(out.Contents) == 0 {
		return nil, errors.New("no message says anything")
	}
	if c.endsWithAssistant() { // that it is gone on with is promised nowhere
		c.lost.add("prefill")
	}
	c.geminiToolsOut(out)
	out.GenerationConfig = c.geminiConfigOf(o.Model)
	return out, nil
}

func (g *geminiOut) say(role string, parts []geminiPart) {
	if len(parts) > 0 {
		g.Contents = append(g.Contents, geminiContent{role, parts})
	}
}

func geminiTexts(parts []turnPart) (out []geminiPart) {
	for _, p := range parts {
		if p.kind == partText && p.text != "" {
			out = append(out, geminiPart{Text: p.text})
		}
	}
	return out
}

// geminiModelParts writes what the model said. The first of calls made together
// carries the signature.
func (c *conversation) geminiModelParts(t turn, third bool) (out []geminiPart) {
	signed := !third
	for _, p := range t.parts {
		switch p.kind {
		case partCall:
			part := geminiPart{FunctionCall: &geminiCall{p.call.id, p.call.name, p.call.args}}
			if !signed {
				part.ThoughtSignature, signed = foreignSignature, true
			}
			out = append(out, part)
		case partText:
			if p.text != "" {
				out = append(out, geminiPart{Text: p.text})
			}
		default:
			c.lost.add("assistant_image")
		}
	}
	return out
}

// geminiUserParts writes what the user said, results apart. Generation 3 takes files
// inside of a result; for others, and where only a URL is known, they follow.
func (c *conversation) geminiUserParts(t turn, third bool) (results, rest []geminiPart, err error) {
	var shown, other []turnPart
	for _, p := range t.parts {
		if p.kind != partResult {
			other = append(other, p)
			continue
		}
		r := &geminiResult{ID: p.result.id, Name: p.result.name}
		if r.Name == "" {
			r.Name = "function" // an answer to nothing; a name has to be there
		}
		if r.Response, err = responseObject(&p.result); err != nil {
			return nil, nil, err
		}
		var apart []turnPart
		for _, f := range p.result.parts {
			switch {
			case f.kind == partText:
			case third && f.file.url == "":
				r.Parts = append(r.Parts, geminiPart{InlineData: &geminiBlob{f.file.mime, f.file.data}})
			default:
				apart = append(apart, f)
			}
		}
		shown = append(shown, resultFiles(&toolResult{id: p.result.id, parts: apart})...)
		results = append(results, geminiPart{FunctionResponse: r})
	}
	for _, p := range append(shown, other...) {
		switch {
		case p.kind == partText && p.text != "":
			rest = append(rest, geminiPart{Text: p.text})
		case p.kind == partImage, p.kind == partDocument:
			rest = append(rest, geminiFileOut(p.file))
		}
	}
	return results, rest, nil
}

// responseObject is a result as the object that a response has to be. Text that is an
// object itself is taken as one where reading it back gives the same text.
func responseObject(r *toolResult) (json.RawMessage, error) {
	text := plainText(r.parts, "\n\n")
	if r.failed {
		return requestJSON(map[string]string{"error": text})
	}
	if raw := []byte(text); isObject(raw) && json.Valid(raw) {
		var compact bytes.Buffer
		again, failed := responseText(raw)
		if json.Compact(&compact, raw) == nil && compact.String() == text && again == text && !failed {
			return raw, nil
		}
	}
	return requestJSON(map[string]string{"output": text})
}

// geminiFileOut writes a file. A type has to be there: where a URL does not tell it,
// it is taken for the commonest.
func geminiFileOut(f mediaFile) geminiPart {
	if f.url == "" {
		return geminiPart{InlineData: &geminiBlob{f.mime, f.data}}
	}
	if f.mime == "" {
		f.mime = "image/jpeg"
	}
	return geminiPart{FileData: &geminiLink{f.mime, f.url}}
}

func (c *conversation) geminiToolsOut(out *geminiOut) {
	if len(c.tools) == 0 {
		return
	}
	var functions []geminiDeclared
	for _, t := range c.tools {
		if t.strict {
			c.lost.add("strict_tools")
		}
		functions = append(functions, geminiDeclared{t.name, t.description, t.schema})
	}
	out.Tools = []geminiTools{{functions}}
	if c.single {
		c.lost.add("parallel_tool_calls")
	}
	mode := map[choiceMode]string{choiceAuto: "AUTO", choiceNone: "NONE", choiceAny: "ANY"}[c.choice]
	if mode == "" {
		return
	}
	out.ToolConfig = &geminiToolConf{}
	out.ToolConfig.FunctionCallingConfig.Mode = mode
	if name := c.onlyTool(); name != "" {
		out.ToolConfig.FunctionCallingConfig.AllowedFunctionNames = []string{name}
	}
}

// geminiConfigOf is the generationConfig; nil where nothing would stand in it.
func (c *conversation) geminiConfigOf(model string) *geminiConfigOut {
	out := geminiConfigOut{
		MaxOutputTokens: c.maxOutput, Temperature: c.temperature, TopP: c.topP, TopK: c.topK,
		FrequencyPenalty: c.frequencyPenalty, PresencePenalty: c.presencePenalty,
		StopSequences: c.stop, ThinkingConfig: c.geminiThinks(model),
	}
	if seed, err := wholeNumber("seed", c.seed); err == nil && seed == int64(int32(seed)) {
		out.Seed = c.seed
	} else {
		c.lost.add("seed") // 32 bits there
	}
	if c.format != nil {
		out.ResponseMimeType, out.ResponseJSONSchema = "application/json", c.format.schema
	}
	if reflect.DeepEqual(out, geminiConfigOut{}) {
		return nil
	}
	return &out
}
