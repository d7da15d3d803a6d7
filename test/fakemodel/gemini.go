package fakemodel

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// geminiModels is where the methods of models are: MODEL:VERB stands behind it.
const geminiModels = "/v1beta/models/"

var geminiVerbs = map[string]bool{"generateContent": true, "streamGenerateContent": true}

// modelName takes a Gemini model's generation and kind: "2", "2.5-flash-lite".
var modelName = regexp.MustCompile(`^gemini-((\d+)(?:\.\d+)?(?:-pro|-flash-lite|-flash)?)`)

// geminiModel is what a model's name tells about what it takes.
type geminiModel struct {
	name string
	kind string // "2.5-pro"; empty when it is not known
	old  bool   // known to be of a generation before 3
	new  bool   // known to be of 3 or later
}

func geminiModelOf(name string) geminiModel {
	m := modelName.FindStringSubmatch(name)
	if m == nil {
		return geminiModel{name: name}
	}
	old := m[2] == "1" || m[2] == "2"
	return geminiModel{name: name, kind: m[1], old: old, new: !old}
}

// checkGoogleKey wants the key in its header. The real API takes it from the
// query too, where logs of others would keep it: nobody should send it so.
func (m *Model) checkGoogleKey(c *Call) *problem {
	for _, foreign := range []string{"Authorization", "X-Api-Key"} {
		if len(c.Header.Values(foreign)) > 0 {
			return refuse(http.StatusUnauthorized, "", "Request had invalid authentication credentials. "+foreign+" is not where the API key belongs.")
		}
	}
	keys := c.Header.Values("X-Goog-Api-Key")
	query, err := url.ParseQuery(c.Query)
	if err == nil && !query.Has("key") && len(keys) == 1 && keys[0] != "" && (m.Key == "" || keys[0] == m.Key) {
		return nil
	}
	const message = "API key not valid. Please pass a valid API key."
	return &problem{http.StatusBadRequest, "authentication_error", message, []any{
		fields{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com",
			"metadata": fields{"service": "generativelanguage.googleapis.com"}},
		fields{"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message},
	}}
}

// streamsEvents tells whether the answer is to be server-sent events.
func (c *Call) streamsEvents() bool {
	query, err := url.ParseQuery(c.Query)
	return err == nil && query.Get("alt") == "sse"
}

// wantsStream tells whether a call of Gemini's API is for a stream.
func (c *Call) wantsStream() bool { return strings.HasSuffix(c.Path, ":streamGenerateContent") }

func checkGeminiQuery(c *Call) *problem {
	query, err := url.ParseQuery(c.Query)
	if err != nil {
		return bad("Invalid query: %v", err)
	}
	for name, values := range query {
		if name != "alt" {
			return bad("Invalid JSON payload received. Unknown name %q: Cannot bind query parameter. Field '%s' could not be found in request message.", name, name)
		}
		if len(values) != 1 || values[0] != "json" && (values[0] != "sse" || !c.wantsStream()) {
			return bad("alt: %q is not a form of this method's answer", values)
		}
	}
	return nil
}

func checkGemini(c *Call) *problem {
	name, _, _ := strings.Cut(strings.TrimPrefix(c.Path, geminiModels), ":")
	c.Model, c.Stream = name, c.wantsStream()
	if p := checkGeminiQuery(c); p != nil {
		return p
	}
	var q geminiGenerateContentRequest
	if p := readMessage(c.Body, &q); p != nil {
		return p
	}
	model := geminiModelOf(name)
	switch {
	case q.Model != "" && q.Model != "models/"+name:
		return invalid("model", "%q is not the path's", q.Model)
	case len(q.Contents) == 0:
		return invalid("contents", "contents is not specified")
	case q.CachedContent != "" && !strings.HasPrefix(q.CachedContent, "cachedContents/"):
		return invalid("cached_content", "must be of the form cachedContents/{id}")
	case q.CachedContent != "" && (q.SystemInstruction != nil || len(q.Tools) > 0 || q.ToolConfig != nil):
		return bad("CachedContent can not be used with GenerateContent request setting system_instruction, tools or tool_config.")
	}
	if p := checkGeminiInstruction(q.SystemInstruction); p != nil {
		return p
	}
	if p := checkGeminiSafety(q.SafetySettings); p != nil {
		return p
	}
	if p := checkGeminiTools(&q, model); p != nil {
		return p
	}
	if p := checkGeminiConfig(&q, model); p != nil {
		return p
	}
	return checkGeminiContents(c, q.Contents, model)
}

// invalid is a fault of a request whose form is right.
func invalid(place, format string, a ...any) *problem {
	p := bad(format, a...)
	p.message = "* GenerateContentRequest." + place + ": " + p.message + "\n"
	return p
}

func checkGeminiInstruction(s *geminiContent) *problem {
	if s == nil {
		return nil
	}
	if len(s.Parts) == 0 {
		return invalid("system_instruction.parts", "contents.parts must not be empty.")
	}
	for j := range s.Parts {
		if s.Parts[j].Text == nil {
			return invalid(at("system_instruction.parts", j)+".data", "required oneof field 'data' must have one initialized field")
		}
	}
	return nil
}

func checkGeminiSafety(settings []geminiSafetySetting) *problem {
	seen := map[string]bool{}
	for i, s := range settings {
		switch {
		case s.Category == "" || s.Threshold == "":
			return invalid(at("safety_settings", i), "category and threshold are required")
		case seen[s.Category]:
			return invalid(at("safety_settings", i)+".category", "more than one setting for %s", s.Category)
		}
		seen[s.Category] = true
	}
	return nil
}

// The faults of turns, as the API words them.
const (
	unequalCalls   = "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn."
	callTooLate    = "Please ensure that function call turn comes immediately after a user turn or after a function response turn."
	responseAlone  = "Please ensure that function response turn comes immediately after a function call turn."
	modelHasEnd    = "Requests ending with a model turn are not supported."
	signatureIsOff = "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly, and missing thought_signature may lead to degraded model performance. Additional data, function call `default_api:%s` , position %d. Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details."
)

// checkGeminiContents wants every turn of function calls answered by the very
// next one, and calls only where the user or a function spoke before.
func checkGeminiContents(c *Call, contents []geminiContent, model geminiModel) *problem {
	var open []*geminiFunctionCall // calls that wait for their responses
	before := ""                   // the role that spoke before
	for i := range contents {
		role := contents[i].Role
		if role == "" {
			role = "user"
		}
		if role != "user" && role != "model" {
			return bad("Please use a valid role: user, model.")
		}
		if p := checkGeminiParts(i, contents[i].Parts); p != nil {
			return p
		}
		calls, responses := functionsOf(contents[i].Parts)
		switch {
		case len(calls) > 0 && (role != "model" || before != "user"):
			return bad(callTooLate)
		case len(responses) > 0 && (role != "user" || len(open) == 0):
			return bad(responseAlone)
		case len(responses) != len(open), len(responses) > 0 && len(responses) != len(contents[i].Parts):
			return bad(unequalCalls)
		}
		if p := pairResponses(i, open, responses); p != nil {
			return p
		}
		open, before = calls, role
		c.hear(role, contents[i].Parts)
	}
	if len(open) > 0 {
		return bad(unequalCalls)
	}
	if model.new {
		return checkNewGemini(contents, before)
	}
	return nil
}

// hear keeps what the user said since the model last spoke.
func (c *Call) hear(role string, parts []geminiPart) {
	if role == "model" {
		c.Prompts = nil
		return
	}
	for j := range parts {
		if parts[j].Text != nil {
			c.Prompts = append(c.Prompts, *parts[j].Text)
		}
	}
}

func functionsOf(parts []geminiPart) (calls []*geminiFunctionCall, responses []*geminiFunctionResponse) {
	for j := range parts {
		if f := parts[j].FunctionCall; f != nil {
			calls = append(calls, f)
		}
		if f := parts[j].FunctionResponse; f != nil {
			responses = append(responses, f)
		}
	}
	return calls, responses
}

// pairResponses wants a call for every response: the one of its id, where it has
// one, else one of its name.
func pairResponses(i int, open []*geminiFunctionCall, responses []*geminiFunctionResponse) *problem {
	open = slices.Clone(open)
	for j, r := range responses {
		k := slices.IndexFunc(open, func(f *geminiFunctionCall) bool { return f.Name == r.Name && (r.ID == "" || f.ID == r.ID) })
		if k < 0 {
			return invalid(at(at("contents", i)+".parts", j)+".function_response", "no function call %q with id %q in the function call turn", r.Name, r.ID)
		}
		open = slices.Delete(open, k, k+1)
	}
	return nil
}

// checkNewGemini is what Gemini 3 and later want besides: the user speaks last,
// and since the user last spoke the first function call of each turn carries its
// signature (https://ai.google.dev/gemini-api/docs/thought-signatures).
func checkNewGemini(contents []geminiContent, last string) *problem {
	if last != "user" {
		return bad(modelHasEnd)
	}
	for i := len(contents) - 1; i >= 0; i-- {
		parts := contents[i].Parts
		calls, responses := functionsOf(parts)
		if contents[i].Role != "model" && len(responses) == 0 {
			return nil
		}
		if len(calls) == 0 {
			continue
		}
		j := slices.IndexFunc(parts, func(p geminiPart) bool { return p.FunctionCall != nil })
		if len(parts[j].ThoughtSignature) == 0 {
			return bad(signatureIsOff, parts[j].FunctionCall.Name, i+1)
		}
	}
	return nil
}

func checkGeminiParts(i int, parts []geminiPart) *problem {
	place := at("contents", i) + ".parts"
	if len(parts) == 0 {
		return invalid(place, "contents.parts must not be empty.")
	}
	for j := range parts {
		if field, want := parts[j].lacks(); want != "" {
			return invalid(at(place, j)+"."+field, "%s", want)
		}
	}
	return nil
}

// lacks tells what is missing in a part.
func (p *geminiPart) lacks() (field, want string) {
	const required = "required field is not set"
	switch {
	case p.InlineData != nil:
		if p.InlineData.MimeType == "" || len(p.InlineData.Data) == 0 {
			return "inline_data", required
		}
	case p.FileData != nil:
		if p.FileData.FileURI == "" {
			return "file_data.file_uri", required
		}
	case p.FunctionCall != nil:
		if p.FunctionCall.Name == "" {
			return "function_call.name", "Name cannot be empty."
		}
	case p.FunctionResponse != nil:
		return p.FunctionResponse.lacks()
	case p.ExecutableCode != nil:
		if p.ExecutableCode.Language == "" || p.ExecutableCode.Code == "" {
			return "executable_code", required
		}
	case p.CodeExecutionResult != nil:
		if p.CodeExecutionResult.Outcome == "" {
			return "code_execution_result.outcome", required
		}
	case p.Text == nil && p.ToolCall == nil && p.ToolResponse == nil:
		return "data", "required oneof field 'data' must have one initialized field"
	}
	return "", ""
}

func (r *geminiFunctionResponse) lacks() (field, want string) {
	if r.Name == "" {
		return "function_response.name", "Name cannot be empty."
	}
	if r.Response.kind == 0 {
		return "function_response.response", "required field is not set"
	}
	for j, p := range r.Parts {
		if p.InlineData == nil || p.InlineData.MimeType == "" || len(p.InlineData.Data) == 0 {
			return at("function_response.parts", j) + ".inline_data", "required field is not set"
		}
	}
	return "", ""
}
