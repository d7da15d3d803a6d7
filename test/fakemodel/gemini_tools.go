package fakemodel

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
)

// functionName is what the API takes for one; its own words are in checkFunction.
var functionName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}$`)

func at(place string, i int) string { return fmt.Sprintf("%s[%d]", place, i) }

// checkGeminiTools judges tools and how they are to be used.
func checkGeminiTools(q *geminiGenerateContentRequest, model geminiModel) *problem {
	functions := map[string]bool{}
	builtIn := false
	for i := range q.Tools {
		t := &q.Tools[i]
		switch {
		case t.builtIn():
			builtIn = true
		case len(t.FunctionDeclarations) == 0:
			return invalid(at("tools", i)+".tool_type", "required one_of 'tool_type' must have one initialized field")
		}
		for j := range t.FunctionDeclarations {
			f := &t.FunctionDeclarations[j]
			if p := checkFunction(at(at("tools", i)+".function_declarations", j), f); p != nil {
				return p
			}
			if functions[f.Name] {
				return bad("Duplicate function declaration found: %s", f.Name)
			}
			functions[f.Name] = true
		}
	}
	config := q.ToolConfig
	switch {
	case len(functions) == 0 || !builtIn:
	case model.old:
		return bad("Tool use with function calling is unsupported")
	case config == nil || !config.IncludeServerSideToolInvocations:
		return bad("Please enable tool_config.include_server_side_tool_invocations to use Built-in tools with Function calling.")
	}
	return checkCalling(config, functions)
}

func (t *geminiTool) builtIn() bool {
	return t.GoogleSearch != nil || t.GoogleSearchRetrieval != nil || t.CodeExecution != nil || t.URLContext != nil ||
		t.GoogleMaps != nil || t.FileSearch != nil || t.ComputerUse != nil || len(t.MCPServers) > 0
}

func checkCalling(config *geminiToolConfig, functions map[string]bool) *problem {
	if config == nil || config.FunctionCallingConfig == nil {
		return nil
	}
	calling := config.FunctionCallingConfig
	const place = "tool_config.function_calling_config.allowed_function_names"
	switch {
	case len(functions) == 0:
		return bad("Function calling config is set without function_declarations.")
	case len(calling.AllowedFunctionNames) > 0 && calling.Mode != "ANY" && calling.Mode != "VALIDATED":
		return invalid(place, "only allowed when mode is ANY or VALIDATED")
	}
	for _, name := range calling.AllowedFunctionNames {
		if !functions[name] {
			return invalid(place, "%q is not declared", name)
		}
	}
	return nil
}

func checkFunction(place string, f *geminiFunctionDeclaration) *problem {
	switch {
	case !functionName.MatchString(f.Name):
		return invalid(place+".name", "Invalid function name. Must start with a letter or an underscore. Must be alphameric (a-z, A-Z, 0-9), underscores (_), dots (.), colons (:) or dashes (-), with a maximum length of 64.")
	case f.Parameters != nil && f.ParametersJSONSchema != nil:
		return invalid(place, "parameters and parameters_json_schema are both set")
	case f.Response != nil && f.ResponseJSONSchema != nil:
		return invalid(place, "response and response_json_schema are both set")
	}
	if s := f.Parameters; s != nil {
		if s.Type != "OBJECT" {
			return invalid(place+".parameters.type", "parameters schema should be of type OBJECT")
		}
		if len(s.Properties) == 0 {
			return invalid(place+".parameters.properties", "should be non-empty for OBJECT type")
		}
	}
	if p := checkSchema(place+".parameters", f.Parameters); p != nil {
		return p
	}
	return checkSchema(place+".response", f.Response)
}

// checkSchema judges what a schema says by its type. Its depth is bounded by the
// document's.
func checkSchema(place string, s *geminiSchema) *problem {
	switch {
	case s == nil:
		return nil
	case s.Type == "" && len(s.AnyOf) == 0:
		return invalid(place+".type", "must be specified")
	case s.Type == "ARRAY" && s.Items == nil:
		return invalid(place+".items", "missing field.")
	case s.Type != "ARRAY" && s.Items != nil:
		return invalid(place+".items", "only allowed for ARRAY type")
	case s.Type != "OBJECT" && len(s.Properties) > 0:
		return invalid(place+".properties", "only allowed for OBJECT type")
	case s.Type != "OBJECT" && len(s.Required) > 0:
		return invalid(place+".required", "only allowed for OBJECT type")
	case s.Type != "STRING" && len(s.Enum) > 0:
		return invalid(place+".enum", "only allowed for STRING type")
	}
	for i, value := range s.Enum {
		if value == "" {
			return invalid(at(place+".enum", i), "cannot be empty")
		}
	}
	for i, name := range s.Required {
		if s.Properties[name] == nil {
			return invalid(at(place+".required", i), "property is not defined")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if p := checkSchema(place+".properties["+name+"]", s.Properties[name]); p != nil {
			return p
		}
	}
	for i := range s.AnyOf {
		if p := checkSchema(at(place+".any_of", i), &s.AnyOf[i]); p != nil {
			return p
		}
	}
	return checkSchema(place+".items", s.Items)
}

// checkGeminiConfig judges generationConfig.
func checkGeminiConfig(q *geminiGenerateContentRequest, model geminiModel) *problem {
	g := &q.GenerationConfig
	const place = "generation_config."
	switch {
	case outside(g.Temperature, 0, 2):
		return invalid(place+"temperature", "temperature must be in the range [0.0, 2.0].")
	case outside(g.TopP, 0, 1):
		return invalid(place+"top_p", "top_p must be in the range [0.0, 1.0].")
	case outside(g.PresencePenalty, -2, 2):
		return invalid(place+"presence_penalty", "presence_penalty must be in the range [-2.0, 2.0].")
	case outside(g.FrequencyPenalty, -2, 2):
		return invalid(place+"frequency_penalty", "frequency_penalty must be in the range [-2.0, 2.0].")
	case g.TopK != nil && *g.TopK < 1:
		return invalid(place+"top_k", "top_k must be positive.")
	case g.MaxOutputTokens != nil && *g.MaxOutputTokens < 1:
		return invalid(place+"max_output_tokens", "max_output_tokens must be positive.")
	case g.CandidateCount != nil && (*g.CandidateCount < 1 || *g.CandidateCount > 8):
		return invalid(place+"candidate_count", "candidate_count must be in the range [1, 8].")
	case g.Logprobs != nil && (!g.ResponseLogprobs || *g.Logprobs < 0 || *g.Logprobs > 20):
		return invalid(place+"logprobs", "logprobs must be in the range [0, 20], and response_logprobs be set.")
	case len(g.StopSequences) > 5:
		return invalid(place+"stop_sequences", "the number of stop_sequences must not exceed 5")
	case slices.Contains(g.StopSequences, ""):
		return invalid(place+"stop_sequences", "stop_sequences must not be empty")
	}
	if p := checkForm(q, model); p != nil {
		return p
	}
	return checkThinking(g.ThinkingConfig, model)
}

func outside(n *float64, low, high float64) bool { return n != nil && (*n < low || *n > high) }

// checkForm judges in what form the answer is wanted.
func checkForm(q *geminiGenerateContentRequest, model geminiModel) *problem {
	g := &q.GenerationConfig
	const place = "generation_config."
	isJSON := g.ResponseMimeType == "application/json"
	switch {
	case !slices.Contains([]string{"", "text/plain", "application/json", "text/x.enum"}, g.ResponseMimeType):
		return invalid(place+"response_mime_type", "allowed mimetypes are `text/plain`, `application/json` and `text/x.enum`.")
	case g.ResponseSchema != nil && g.ResponseJSONSchema != nil:
		return invalid("generation_config", "response_schema and response_json_schema are both set")
	case g.ResponseSchema != nil && !isJSON && g.ResponseMimeType != "text/x.enum":
		return invalid(place+"response_schema", "only allowed for response_mime_type `application/json` or `text/x.enum`")
	case g.ResponseJSONSchema != nil && !isJSON:
		return invalid(place+"response_json_schema", "only allowed for response_mime_type `application/json`")
	case isJSON && model.old && len(q.Tools) > 0:
		return bad("Function calling with a response mime type: 'application/json' is unsupported")
	}
	return checkSchema(place+"response_schema", g.ResponseSchema)
}

// budgets are what thinkingBudget may be (https://ai.google.dev/gemini-api/docs/thinking).
var budgets = map[string]struct {
	low, high int32
	off       bool // 0 is allowed
}{
	"2.5-pro":        {128, 32768, false},
	"2.5-flash":      {1, 24576, true},
	"2.5-flash-lite": {512, 24576, true},
}

// checkThinking judges how the model is to think: by a budget of tokens, of which
// -1 leaves it to the model, or, from Gemini 3 on, by a level.
func checkThinking(t *geminiThinkingConfig, model geminiModel) *problem {
	if t == nil {
		return nil
	}
	if t.ThinkingLevel != "" {
		switch {
		case model.old:
			return bad("Thinking level is not supported for this model.")
		case t.ThinkingBudget != nil:
			return bad("You can only set only one of thinking budget and thinking level.")
		}
	}
	if t.ThinkingBudget == nil || *t.ThinkingBudget == -1 {
		return nil
	}
	n := *t.ThinkingBudget
	b, known := budgets[model.kind]
	switch {
	case n < 0:
		return bad("The thinking budget %d is invalid.", n)
	case !known || n == 0 && b.off:
		return nil
	case n == 0:
		return bad("Budget 0 is invalid. This model only works in thinking mode.")
	case n < b.low || n > b.high:
		return bad("The thinking budget %d is invalid. Please choose a value between %d and %d.", n, b.low, b.high)
	}
	return nil
}
