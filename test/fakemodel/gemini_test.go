package fakemodel

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

const (
	generate = "/v1beta/models/gemini-2.5-flash:generateContent"
	newest   = "/v1beta/models/gemini-3-pro-preview:generateContent"
	events   = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
	elements = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
)

// askGemini posts with the key where Google wants it.
func askGemini(t *testing.T, s *Server, path, body string) (*http.Response, string, error) {
	t.Helper()
	return post(t, s.URL, path, body, func(r *http.Request) {
		r.Header = http.Header{"Content-Type": {"application/json"}, "X-Goog-Api-Key": {"k"}}
	})
}

type geminiCase struct {
	path, body string
	say        string // "": accepted
}

func checkGeminiCases(t *testing.T, cases []geminiCase) {
	t.Helper()
	s := Start(&Model{Key: "k"})
	defer s.Close()
	for _, c := range cases {
		resp, body, err := askGemini(t, s, c.path, c.body)
		if err != nil {
			t.Fatal(err)
		}
		call := s.Last()
		if (resp.StatusCode == 200) != (c.say == "") || (call.Problem == "") != (c.say == "") || !strings.Contains(call.Problem, c.say) {
			t.Errorf("%s %s: %d, problem %q", c.path, c.body, resp.StatusCode, call.Problem)
		}
		if call.API != Gemini {
			t.Errorf("%s: API %q", c.path, call.API)
		}
		var e struct {
			Error struct {
				Code            int
				Message, Status string
			}
		}
		if c.say != "" && (json.Unmarshal([]byte(body), &e) != nil || e.Error.Code != resp.StatusCode || e.Error.Message != call.Problem || e.Error.Status == "") {
			t.Errorf("%s: not a google.rpc.Status: %s", c.body, body)
		}
	}
}

const userHi = `{"role":"user","parts":[{"text":"hi"}]}`

// ask is a request with one turn and more.
func ask(more string) string { return `{"contents":[` + userHi + `]` + more + `}` }

// turns is a request of the given turns.
func turns(contents ...string) string { return `{"contents":[` + strings.Join(contents, ",") + `]}` }

func TestGeminiForm(t *testing.T) {
	const unknown = "Invalid JSON payload received. Unknown name "
	checkGeminiCases(t, []geminiCase{
		{generate, ask(``), ""},
		{events, ask(``), ""},
		{elements, ask(``), ""},
		{elements + "?alt=json", ask(``), ""},
		{generate, `{"contents":{"parts":{"text":"no lists, no role"}}}`, ""},
		{generate, ask(`,"model":"models/gemini-2.5-flash","systemInstruction":{"role":"user","parts":[{"text":"s"}]}`), ""},
		{generate, ask(`,"system_instruction":{"parts":[{"text":"s"}]},"generation_config":{"max_output_tokens":"5","top_p":1,"thinking_config":{"thinking_budget":-1}}`), ""},
		{generate, ask(`,"tools":null,"safetySettings":[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"OFF"}]`), ""},
		{generate, ask(`,"cachedContent":"cachedContents/a"`), ""},

		{generate, ask(`,"model":"models/other"`), "GenerateContentRequest.model"},
		{generate, ask(`,"max_tokens":5`), unknown + `"max_tokens": Cannot find field.`},
		{generate, ask(`,"generationConfig":{"max_tokens":5}`), unknown + `"max_tokens" at 'generation_config': Cannot find field.`},
		{generate, `{"contents":[{"role":"user","parts":[{"text":"x","type":"text"}]}]}`, unknown + `"type" at 'contents[0].parts[0]': Cannot find field.`},
		{generate, ask(`,"Contents":[]`), unknown + `"Contents": Cannot find field.`},
		{generate, ask(`,"a":1,"b":2`), unknown + `"a": Cannot find field.` + "\n" + unknown + `"b": Cannot find field.`},
		{generate, ask(`,"toolConfig":{},"tool_config":{}`), "Cannot set 'tool_config'"},
		{generate, ask(`,"generationConfig":[]`), unknown + `"generation_config": Proto field is not repeating, cannot start list.`},
		{generate, ask(`,"generationConfig":{"temperature":"hot"}`), `Invalid value at 'generation_config.temperature' (TYPE_FLOAT), "hot"`},
		{generate, ask(`,"generationConfig":{"topK":1.5}`), `Invalid value at 'generation_config.top_k' (TYPE_INT32), 1.5`},
		{generate, ask(`,"generationConfig":{"stopSequences":[5]}`), `Invalid value at 'generation_config.stop_sequences[0]' (TYPE_STRING), 5`},
		{generate, ask(`,"generationConfig":{"responseLogprobs":"true"}`), `(TYPE_BOOL)`},
		{generate, ask(`,"tools":"x"`), `Invalid value at 'tools'`},
		{generate, ask(`,"tools":[null]`), `Invalid value at 'tools[0]'`},
		{generate, ask(`,"systemInstruction":"s"`), `Invalid value at 'system_instruction' (type.googleapis.com/google.ai.generativelanguage.v1beta.Content), "s"`},
		{generate, ask(`,"safetySettings":[{"category":"RUDE","threshold":"OFF"}]`), `v1beta.HarmCategory), "RUDE"`},
		{generate, ask(`,"safetySettings":[{"category":"HARM_CATEGORY_HARASSMENT"}]`), "required"},
		{generate, ask(`,"safetySettings":[{"category":"HARM_CATEGORY_HARASSMENT","threshold":"OFF"},{"category":"HARM_CATEGORY_HARASSMENT","threshold":"OFF"}]`), "more than one"},
		{generate, ask(`,"systemInstruction":{"parts":[]}`), "system_instruction.parts"},
		{generate, ask(`,"systemInstruction":{"parts":[{"inlineData":{"mimeType":"a/b","data":"eA"}}]}`), "system_instruction.parts[0].data"},
		{generate, ask(`,"cachedContent":"a"`), "cachedContents/{id}"},
		{generate, ask(`,"cachedContent":"cachedContents/a","systemInstruction":{"parts":[{"text":"s"}]}`), "CachedContent can not be used"},
		{generate, `{"contents":`, "Invalid JSON payload received."},
		{generate, ask(``) + `{}`, "more than one value"},
		{generate, `[]`, "Invalid JSON payload received."},
		// 101 lists in the one object: one more than the depth of 100.
		{generate, `{"x":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}`, "nesting is too deep"},

		{generate + "?alt=sse", ask(``), "alt"},
		{generate + "?fields=x", ask(``), "Cannot bind query parameter"},
		{"/v1beta/models/m:countTokens", ask(``), "Not Found"},
		{"/v1beta/models/:generateContent", ask(``), "Not Found"},
		{"/v1beta/models/a/b:generateContent", ask(``), "Not Found"},
		{"/v1beta/models/m", ask(``), "Not Found"},
	})
}

func TestGeminiTurns(t *testing.T) {
	const (
		modelHi  = `{"role":"model","parts":[{"text":"x","thought":true},{"text":"y","thoughtSignature":"eA=="}]}`
		call     = `{"functionCall":{"name":"exec","args":{"a":[1]}}}`
		signed   = `{"functionCall":{"id":"1","name":"exec","args":{}},"thoughtSignature":"skip_thought_signature_validator"}`
		unsigned = `{"functionCall":{"id":"2","name":"look","args":{}}}`
		back     = `{"functionResponse":{"name":"exec","response":{"output":"x"}}}`
		back1    = `{"function_response":{"id":"1","name":"exec","response":{},"parts":[{"inlineData":{"mimeType":"image/png","data":"eA"}}]}}`
		back2    = `{"functionResponse":{"id":"2","name":"look","response":{}}}`
	)
	model := func(parts ...string) string { return `{"role":"model","parts":[` + strings.Join(parts, ",") + `]}` }
	user := func(parts ...string) string { return `{"parts":[` + strings.Join(parts, ",") + `]}` }
	checkGeminiCases(t, []geminiCase{
		{generate, turns(userHi, userHi), ""},
		{generate, turns(userHi, modelHi), ""}, // the model is to go on; Gemini 3 refuses that
		{generate, turns(userHi, model(call), user(back), userHi), ""},
		{generate, turns(userHi, model(`{"text":"let me"}`, signed, unsigned), user(back2, back1)), ""}, // in any order
		{generate, turns(user(`{"inlineData":{"mimeType":"image/png","data":"-_8="}}`, `{"fileData":{"fileUri":"u"},"videoMetadata":{"fps":1}}`)), ""},
		{generate, turns(userHi, model(`{"executableCode":{"language":"PYTHON","code":"1"}}`, `{"codeExecutionResult":{"outcome":"OUTCOME_OK"}}`), userHi), ""},

		{generate, `{}`, "contents: contents is not specified"},
		{generate, turns(), "contents: contents is not specified"},
		{generate, turns(`{"role":"user"}`), "* GenerateContentRequest.contents[0].parts: contents.parts must not be empty.\n"},
		{generate, turns(userHi, user(`{}`)), "contents[1].parts[0].data: required oneof field 'data' must have one initialized field"},
		{generate, turns(user(`{"thought":true}`)), "required oneof field 'data'"},
		{generate, turns(user(`{"text":"x","inlineData":{"mimeType":"a/b","data":"eA"}}`)), "oneof field 'data' is already set. Cannot set 'inlineData'"},
		{generate, turns(`{"role":"system","parts":[{"text":"x"}]}`), "Please use a valid role: user, model."},
		{generate, turns(`{"role":"assistant","parts":[{"text":"x"}]}`), "Please use a valid role"},
		{generate, turns(`{"role":"function","parts":[` + back + `]}`), "Please use a valid role"},
		{generate, turns(user(`{"inlineData":{"mimeType":"a/b","data":"?"}}`)), "Base64 decoding failed"},
		{generate, turns(user(`{"inlineData":{"data":"eA"}}`)), "parts[0].inline_data"},
		{generate, turns(user(`{"fileData":{"mimeType":"a/b"}}`)), "file_data.file_uri"},
		{generate, turns(model(call), user(back)), "function call turn comes immediately after a user turn"},
		{generate, turns(userHi, modelHi, model(call), user(back)), "function call turn comes immediately after a user turn"},
		{generate, turns(user(call), user(back)), "function call turn comes immediately after a user turn"},
		{generate, turns(userHi, user(back)), "function response turn comes immediately after a function call turn"},
		{generate, turns(userHi, model(call), model(back)), "function response turn comes immediately after a function call turn"},
		{generate, turns(userHi, model(call)), "number of function response parts is equal"},
		{generate, turns(userHi, model(call), userHi), "number of function response parts is equal"},
		{generate, turns(userHi, model(call), modelHi), "number of function response parts is equal"},
		{generate, turns(userHi, model(call, call), user(back)), "number of function response parts is equal"},
		{generate, turns(userHi, model(call, call), user(back), user(back)), "number of function response parts is equal"},
		{generate, turns(userHi, model(call), user(back, back)), "number of function response parts is equal"},
		{generate, turns(userHi, model(call), user(back, `{"text":"x"}`)), "number of function response parts is equal"},
		{generate, turns(userHi, model(call), user(back2)), `no function call "look"`},
		{generate, turns(userHi, model(signed, unsigned), user(back1, back1)), `no function call "exec" with id "1"`},
		{generate, turns(userHi, model(`{"functionCall":{"args":{}}}`)), "function_call.name: Name cannot be empty."},
		{generate, turns(userHi, model(`{"functionCall":{"name":"a","args":"{}"}}`)), "(type.googleapis.com/google.protobuf.Struct)"},
		{generate, turns(userHi, model(`{"functionCall":{"name":"a","arguments":{}}}`)), `Unknown name "arguments" at 'contents[1].parts[0].function_call'`},
		{generate, turns(userHi, model(call), user(`{"functionResponse":{"name":"exec"}}`)), "function_response.response"},
		{generate, turns(userHi, model(call), user(`{"functionResponse":{"response":{}}}`)), "function_response.name"},
		{generate, turns(userHi, model(call), user(`{"functionResponse":{"name":"exec","response":["x"]}}`)), `Unknown name "response" at 'contents[2].parts[0].function_response': Proto field is not repeating`},
		{generate, turns(userHi, model(call), user(`{"functionResponse":{"name":"exec","response":{},"parts":[{}]}}`)), "function_response.parts[0].inline_data"},

		// Gemini 3 wants the first call of each turn signed, since the user last spoke.
		{newest, turns(userHi, model(signed, unsigned), user(back1, back2)), ""},
		{newest, turns(userHi, model(call), user(back), userHi), ""}, // a turn before
		{newest, turns(userHi, model(unsigned, signed), user(back1, back2)), "function call `default_api:look` , position 2."},
		{newest, turns(userHi, model(call), user(back), model(signed), user(back1)), "missing a thought_signature"},
		{newest, turns(userHi, modelHi), "Requests ending with a model turn"},
		{newest, turns(userHi, modelHi, userHi), ""},
	})
}

func TestGeminiTools(t *testing.T) {
	tool := func(declarations string) string {
		return ask(`,"tools":[{"functionDeclarations":[` + declarations + `]}]`)
	}
	schema := func(property string) string {
		return tool(`{"name":"exec","parameters":{"type":"object","properties":{"a":` + property + `}}}`)
	}
	const search = `,"tools":[{"functionDeclarations":[{"name":"exec"}]},{"googleSearch":{}}]`
	const place = "tools[0].function_declarations[0].parameters.properties[0].value"
	config := func(c string) string {
		return ask(`,"tools":[{"functionDeclarations":[{"name":"exec"}]}],"toolConfig":{"functionCallingConfig":` + c + `}`)
	}
	checkGeminiCases(t, []geminiCase{
		{generate, tool(`{"name":"exec","description":"d"}`), ""},
		{generate, tool(`{"name":"_a.b:c-d1","parametersJsonSchema":{"type":"object","$schema":"x","additionalProperties":false}}`), ""},
		{generate, tool(`{"name":"` + strings.Repeat("a", 64) + `"}`), ""},
		{generate, schema(`{"type":"STRING","enum":["x"],"format":"enum","nullable":true,"minLength":"1","default":null}`), ""},
		{generate, schema(`{"type":"array","items":{"anyOf":[{"type":"integer","minimum":0},{"type":"NULL"}]},"max_items":3}`), ""},
		{generate, schema(`{"type":"object","properties":{"const":{"type":"number"}},"required":["const"]}`), ""}, // a name, not a keyword
		{generate, config(`{"mode":"ANY","allowedFunctionNames":["exec"]}`), ""},
		{newest, ask(search + `,"toolConfig":{"includeServerSideToolInvocations":true}`), ""},
		{generate, ask(`,"tools":[{"codeExecution":{}},{"url_context":{}}]`), ""},

		{generate, tool(`{"name":"` + strings.Repeat("a", 65) + `"}`), "tools[0].function_declarations[0].name: Invalid function name."},
		{generate, tool(`{"name":"1a"}`), "Invalid function name"},
		{generate, tool(`{"name":"a b"}`), "Invalid function name"},
		{generate, tool(`{"name":""}`), "Invalid function name"},
		{generate, tool(`{"name":"a"},{"name":"a"}`), "Duplicate function declaration found: a"},
		{generate, tool(`{"name":"a","input_schema":{}}`), `Unknown name "input_schema" at 'tools[0].function_declarations[0]'`},
		{generate, tool(`{"name":"a","parameters":{"type":"OBJECT","properties":{"b":{"type":"STRING"}}},"parametersJsonSchema":{}}`), "both set"},
		{generate, tool(`{"name":"a","parameters":{"type":"OBJECT"}}`), "should be non-empty for OBJECT type"},
		{generate, tool(`{"name":"a","parameters":{"type":"STRING"}}`), "should be of type OBJECT"},
		{generate, tool(`{"name":"a","parameters":{"type":"OBJECT","additionalProperties":false}}`), `"additionalProperties" at 'tools[0].function_declarations[0].parameters': Cannot find field.`},
		{generate, tool(`{"name":"a","parameters":{"$schema":"x"}}`), `Unknown name "$schema"`},
		{generate, schema(`{"const":1}`), `Unknown name "const" at '` + place + `': Cannot find field.`},
		{generate, schema(`{"anyOf":[{"type":"STRING","oneOf":[]}]}`), `Unknown name "oneOf" at '` + place + `.any_of[0]'`},
		{generate, schema(`{"type":["string","null"]}`), `Invalid value at '` + place + `.type'`},
		{generate, schema(`{"type":"enum"}`), `Invalid value at '` + place + `.type' (type.googleapis.com/google.ai.generativelanguage.v1beta.Type), "enum"`},
		{generate, schema(`{"type":"INTEGER","enum":[1]}`), `Invalid value at '` + place + `.enum[0]' (TYPE_STRING), 1`},
		{generate, schema(`{"type":"INTEGER","enum":["1"]}`), "parameters.properties[a].enum: only allowed for STRING type"},
		{generate, schema(`{"type":"STRING","enum":[""]}`), "enum[0]: cannot be empty"},
		{generate, schema(`{}`), "parameters.properties[a].type: must be specified"},
		{generate, schema(`{"type":"ARRAY"}`), "items: missing field."},
		{generate, schema(`{"type":"STRING","items":{"type":"STRING"}}`), "items: only allowed"},
		{generate, schema(`{"type":"STRING","properties":{"b":{"type":"STRING"}}}`), "properties: only allowed for OBJECT type"},
		{generate, schema(`{"type":"STRING","required":["b"]}`), "required: only allowed for OBJECT type"},
		{generate, schema(`{"type":"OBJECT","required":["b"]}`), "required[0]: property is not defined"},
		{generate, ask(`,"tools":[{}]`), "tool_type"},
		{generate, ask(`,"tools":[{"type":"function","function":{}}]`), `Unknown name "type" at 'tools[0]'`},
		{generate, ask(`,"tools":[{"codeExecution":{"x":1}}]`), `Unknown name "x" at 'tools[0].code_execution'`},
		{generate, ask(search), "Tool use with function calling is unsupported"},
		{newest, ask(search), "include_server_side_tool_invocations"},
		{generate, ask(`,"toolConfig":{"functionCallingConfig":{"mode":"AUTO"}}`), "Function calling config is set without function_declarations."},
		{generate, config(`{"mode":"AUTO","allowedFunctionNames":["exec"]}`), "only allowed when mode"},
		{generate, config(`{"mode":"ANY","allowedFunctionNames":["other"]}`), `"other" is not declared`},
		{generate, config(`{"mode":"auto_maybe"}`), "v1beta.Mode)"},
	})
}

func TestGeminiConfig(t *testing.T) {
	const (
		pro  = "/v1beta/models/gemini-2.5-pro:generateContent"
		lite = "/v1beta/models/gemini-2.5-flash-lite-preview-09:generateContent"
	)
	config := func(c string) string { return ask(`,"generationConfig":{` + c + `}`) }
	think := func(c string) string { return config(`"thinkingConfig":{` + c + `}`) }
	const object = `{"type":"OBJECT","properties":{"a":{"type":"STRING"}}}`
	checkGeminiCases(t, []geminiCase{
		{generate, config(`"temperature":2,"topP":0,"topK":1,"maxOutputTokens":1,"candidateCount":8,"seed":-1,"stopSequences":["1","2","3","4","5"]`), ""},
		{generate, config(`"responseMimeType":"application/json","responseSchema":` + object), ""},
		{generate, config(`"responseMimeType":"application/json","responseJsonSchema":{"type":"object","additionalProperties":false}`), ""},
		{generate, config(`"responseMimeType":"text/x.enum","responseSchema":{"type":"STRING","enum":["a"]}`), ""},
		{generate, config(`"responseModalities":["text"],"mediaResolution":"MEDIA_RESOLUTION_LOW","speechConfig":{"voiceConfig":{"prebuiltVoiceConfig":{"voiceName":"x"}}}`), ""},
		{generate, config(`"responseLogprobs":true,"logprobs":20`), ""},
		{generate, think(`"includeThoughts":true,"thinkingBudget":0`), ""},
		{pro, think(`"thinkingBudget":128`), ""},
		{lite, think(`"thinkingBudget":512`), ""},
		{newest, think(`"thinkingLevel":"low"`), ""},

		{generate, config(`"temperature":2.1`), "temperature must be in the range [0.0, 2.0]."},
		{generate, config(`"temperature":-0.1`), "generation_config.temperature"},
		{generate, config(`"topP":1.1`), "top_p must be in the range"},
		{generate, config(`"topK":0`), "top_k must be positive"},
		{generate, config(`"maxOutputTokens":0`), "max_output_tokens must be positive"},
		{generate, config(`"candidateCount":9`), "candidate_count"},
		{generate, config(`"presencePenalty":-3`), "presence_penalty"},
		{generate, config(`"frequencyPenalty":3`), "frequency_penalty"},
		{generate, config(`"logprobs":1`), "response_logprobs"},
		{generate, config(`"stopSequences":["1","2","3","4","5","6"]`), "the number of stop_sequences must not exceed 5"},
		{generate, config(`"stopSequences":[""]`), "stop_sequences must not be empty"},
		{generate, config(`"responseMimeType":"text/html"`), "response_mime_type"},
		{generate, config(`"responseSchema":` + object), "response_schema: only allowed"},
		{generate, config(`"responseJsonSchema":{}`), "response_json_schema: only allowed"},
		{generate, config(`"responseMimeType":"application/json","responseSchema":` + object + `,"responseJsonSchema":{}`), "both set"},
		{generate, config(`"responseMimeType":"application/json","responseSchema":{"type":"OBJECT","$ref":"x"}`), `Unknown name "$ref" at 'generation_config.response_schema'`},
		{generate, config(`"responseMimeType":"application/json","responseSchema":{"type":"ARRAY"}`), "generation_config.response_schema.items"},
		{generate, ask(`,"generationConfig":{"responseMimeType":"application/json"},"tools":[{"functionDeclarations":[{"name":"a"}]}]`), "Function calling with a response mime type"},
		{newest, ask(`,"generationConfig":{"responseMimeType":"application/json"},"tools":[{"functionDeclarations":[{"name":"a"}]}]`), ""},
		{generate, think(`"thinkingBudget":-2`), "The thinking budget -2 is invalid."},
		{generate, think(`"thinkingBudget":24577`), "Please choose a value between 1 and 24576."},
		{pro, think(`"thinkingBudget":0`), "Budget 0 is invalid."},
		{pro, think(`"thinkingBudget":127`), "between 128 and 32768"},
		{lite, think(`"thinkingBudget":511`), "between 512 and 24576"},
		{generate, think(`"thinkingLevel":"LOW"`), "Thinking level is not supported"},
		{newest, think(`"thinkingLevel":"LOW","thinkingBudget":5`), "only one of thinking budget"},
		{generate, think(`"budget_tokens":5`), `Unknown name "budget_tokens" at 'generation_config.thinking_config'`},
	})
}

func TestGeminiKey(t *testing.T) {
	s := Start(&Model{Key: "k"})
	defer s.Close()
	const notValid = "API key not valid. Please pass a valid API key."
	tests := []struct {
		name, path string
		header     http.Header
		status     int
		say        string
	}{
		{"right", generate, http.Header{"X-Goog-Api-Key": {"k"}}, 200, ""},
		{"none", generate, nil, 400, notValid},
		{"wrong", generate, http.Header{"X-Goog-Api-Key": {"other"}}, 400, notValid},
		{"two", generate, http.Header{"X-Goog-Api-Key": {"k", "k"}}, 400, notValid},
		{"query", generate + "?key=k", nil, 400, notValid},
		{"query beside header", events + "&key=k", http.Header{"X-Goog-Api-Key": {"k"}}, 400, notValid},
		{"bearer", generate, http.Header{"Authorization": {"Bearer k"}}, 401, "UNAUTHENTICATED"},
		{"another API's", generate, http.Header{"X-Goog-Api-Key": {"k"}, "X-Api-Key": {"k"}}, 401, "UNAUTHENTICATED"},
		{"bad query", generate + "?%zz", http.Header{"X-Goog-Api-Key": {"k"}}, 400, notValid},
	}
	for _, tt := range tests {
		resp, body, err := post(t, s.URL, tt.path, ask(``), func(r *http.Request) {
			r.Header = http.Header{"Content-Type": {"application/json"}}
			for name, values := range tt.header {
				r.Header[name] = values
			}
		})
		if err != nil || resp.StatusCode != tt.status || !strings.Contains(body, tt.say) {
			t.Errorf("%s: %v %d %s", tt.name, err, resp.StatusCode, body)
		}
		if tt.status == 400 && (!strings.Contains(body, `"API_KEY_INVALID"`) || !strings.Contains(body, `"INVALID_ARGUMENT"`)) {
			t.Errorf("%s: %s", tt.name, body)
		}
	}
}

// geminiDoc is what tests read of an answer.
type geminiDoc struct {
	Candidates []struct {
		Content struct {
			Role  string
			Parts []struct {
				Text         string
				FunctionCall *struct {
					ID, Name string
					Args     map[string]any
				}
				ThoughtSignature string
			}
		}
		FinishReason string
	}
	UsageMetadata map[string]any
	ModelVersion  string
	ResponseID    string
}

func readGemini(t *testing.T, doc string) geminiDoc {
	t.Helper()
	var d geminiDoc
	if err := json.Unmarshal([]byte(doc), &d); err != nil || len(d.Candidates) != 1 || len(d.Candidates[0].Content.Parts) != 1 ||
		d.Candidates[0].Content.Role != "model" || d.ResponseID == "" {
		t.Fatalf("%v: %s", err, doc)
	}
	return d
}

func TestGeminiWhole(t *testing.T) {
	reply := Reply{Text: "one <two>", Finish: "MAX_TOKENS", Usage: Usage{In: 100, Out: 7, CacheRead: 60, Thoughts: 30}}
	s := Start(&Model{Reply: func(*Call) Reply { return reply }})
	defer s.Close()
	resp, body, err := askGemini(t, s, generate, ask(``))
	if err != nil || resp.Header.Get("Content-Type") != "application/json; charset=UTF-8" {
		t.Fatal(err, resp)
	}
	d := readGemini(t, body)
	if c := d.Candidates[0]; c.Content.Parts[0].Text != "one <two>" || c.FinishReason != "MAX_TOKENS" || d.ModelVersion != "gemini-2.5-flash" {
		t.Error(body)
	}
	// The prompt's 100 have the cached 60 in them; 100 + 7 + 30 = 137.
	for name, want := range map[string]float64{"promptTokenCount": 100, "cachedContentTokenCount": 60, "candidatesTokenCount": 7, "thoughtsTokenCount": 30, "totalTokenCount": 137} {
		if d.UsageMetadata[name] != want {
			t.Errorf("%s: %v, want %v", name, d.UsageMetadata[name], want)
		}
	}
	reply = Reply{Tool: "exec", Input: `{"a":1}`}
	for path, id := range map[string]string{generate: "", newest: "fake"} {
		_, body, err := askGemini(t, s, path, ask(``))
		if err != nil {
			t.Fatal(err)
		}
		part := readGemini(t, body).Candidates[0].Content.Parts[0]
		f := part.FunctionCall
		if f == nil || f.ID != id || f.Name != "exec" || f.Args["a"] != 1.0 || (part.ThoughtSignature != "") != (id != "") {
			t.Errorf("%s: %s", path, body)
		}
		// The default's 10 + 5.
		if got := readGemini(t, body).UsageMetadata["totalTokenCount"]; got != 15.0 {
			t.Errorf("%s: total %v", path, got)
		}
	}
}

// What the model calls, it takes back.
func TestGeminiCallsReturn(t *testing.T) {
	s := Start(&Model{Reply: func(*Call) Reply { return Reply{Tool: "exec"} }})
	defer s.Close()
	_, body, err := askGemini(t, s, newest, ask(``))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		Candidates []struct{ Content json.RawMessage }
	}
	if err := json.Unmarshal([]byte(body), &d); err != nil || len(d.Candidates) != 1 {
		t.Fatal(err, body)
	}
	back := `{"role":"user","parts":[{"functionResponse":{"id":"fake","name":"exec","response":{"output":"x"}}}]}`
	resp, body, err := askGemini(t, s, newest, turns(userHi, string(d.Candidates[0].Content), back))
	if err != nil || resp.StatusCode != 200 {
		t.Error(err, body)
	}
}

// documents takes a stream apart: events, or elements of a list.
func documents(t *testing.T, path, body string) []string {
	t.Helper()
	if path == events {
		rest, ok := strings.CutSuffix(body, "\r\n\r\n")
		all := strings.Split(rest, "\r\n\r\n")
		for i := range all {
			var is bool
			all[i], is = strings.CutPrefix(all[i], "data: ")
			ok = ok && is && !strings.ContainsAny(all[i], "\r\n")
		}
		if !ok {
			t.Fatalf("not events: %q", body)
		}
		return all
	}
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		t.Fatalf("%v: %q", err, body)
	}
	all := make([]string, len(list))
	for i := range list {
		all[i] = string(list[i])
	}
	return all
}

func TestGeminiStreams(t *testing.T) {
	var reply Reply
	s := Start(&Model{Reply: func(*Call) Reply { return reply }})
	defer s.Close()
	for path, kind := range map[string]string{events: "text/event-stream", elements: "application/json; charset=UTF-8"} {
		reply = Reply{Text: "one two three", ChunkSize: 7, Usage: Usage{In: 20, Out: 3, Thoughts: 4}}
		resp, body, err := askGemini(t, s, path, ask(``))
		if err != nil || resp.Header.Get("Content-Type") != kind {
			t.Fatal(err, resp)
		}
		call := s.Last()
		if n, sum := call.Sent(); n != int64(len(body)) || sum != sha256.Sum256([]byte(body)) {
			t.Errorf("%s: sent %d bytes, got %d", path, n, len(body))
		}
		if call.Model != "gemini-2.5-flash" || !call.Stream {
			t.Errorf("%s: model %q, stream %t", path, call.Model, call.Stream)
		}
		docs := documents(t, path, body)
		text := ""
		for i, doc := range docs {
			d := readGemini(t, doc)
			text += d.Candidates[0].Content.Parts[0].Text
			// Only the last tells the end and the cost: 20 + 3 + 4 = 27.
			finish, total := "", 20.0
			if i == len(docs)-1 {
				finish, total = "STOP", 27.0
			}
			if d.Candidates[0].FinishReason != finish || d.UsageMetadata["totalTokenCount"] != total || d.UsageMetadata["promptTokenCount"] != 20.0 {
				t.Errorf("%s: document %d of %d: %s", path, i, len(docs), doc)
			}
		}
		// "one ", "two ", "three", and the end.
		if text != "one two three" || len(docs) != 4 {
			t.Errorf("%s: %q in %d documents", path, text, len(docs))
		}

		reply = Reply{Tool: "exec", Input: `{"a":"b c"}`}
		if _, body, err = askGemini(t, s, path, ask(``)); err != nil {
			t.Fatal(err)
		}
		docs = documents(t, path, body)
		if f := readGemini(t, docs[0]).Candidates[0].Content.Parts[0].FunctionCall; len(docs) != 2 || f == nil || f.Args["a"] != "b c" {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// An event is printed as Google does it: in one line, with a space
// behind colons, even where the text has such.
func TestGeminiSpacing(t *testing.T) {
	const doc = `{"a":[{"b":"x:y, {\n}"},1],"c":{}}`
	if got, want := string(spaced([]byte(doc))), `{"a": [{"b": "x:y, {\n}"},1],"c": {}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestGeminiErrors(t *testing.T) {
	var reply Reply
	s := Start(&Model{Reply: func(*Call) Reply { return reply }})
	defer s.Close()
	for status, name := range map[int]string{400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
		499: "CANCELLED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED", 529: "UNKNOWN"} {
		reply = Reply{Status: status, Message: "no", RetryAfter: "36"}
		for _, path := range []string{generate, events, elements} {
			resp, body, err := askGemini(t, s, path, ask(``))
			if err != nil || resp.StatusCode != status || resp.Header.Get("Retry-After") != "36" {
				t.Fatal(err, resp)
			}
			type rpcStatus struct {
				Error struct {
					Code            int
					Status, Message string
					Details         []struct{ RetryDelay string }
				}
			}
			one := make([]rpcStatus, 1)
			var into any = &one[0]
			if path == elements { // a list, as its answer would be
				into = &one
			}
			if err := json.Unmarshal([]byte(body), into); err != nil || len(one) != 1 {
				t.Fatal(err, body)
			}
			e := one[0].Error
			if e.Code != status || e.Status != name || e.Message != "no" || len(e.Details) != 1 || e.Details[0].RetryDelay != "36s" {
				t.Errorf("%s: %s", path, body)
			}
		}
	}
	reply = Reply{Status: 503, Message: "no", RetryAfter: "Fri, 31 Dec 1999 23:59:59 GMT"}
	if _, body, err := askGemini(t, s, generate, ask(``)); err != nil || strings.Contains(body, "details") {
		t.Error(err, body)
	}
}

func TestGeminiPrompts(t *testing.T) {
	s := Start(&Model{})
	defer s.Close()
	body := turns(`{"parts":[{"text":"old"}]}`, `{"role":"model","parts":[{"text":"x"}]}`, `{"parts":[{"text":"new"},{"text":"er"}]}`, userHi)
	if _, _, err := askGemini(t, s, generate, body); err != nil {
		t.Fatal(err)
	}
	if got := s.Last().Prompts; !slices.Equal(got, []string{"new", "er", "hi"}) {
		t.Errorf("%q", got)
	}
}

// A stream that breaks off does so where the test wants it.
func TestGeminiCuts(t *testing.T) {
	for cut, clean := range map[Cut]bool{CutClean: true, CutAbort: false, CutReset: false} {
		for _, path := range []string{events, elements} {
			s := Start(&Model{Reply: func(*Call) Reply { return Reply{Text: "one two", Cut: cut, AfterEvents: 2} }})
			_, body, err := askGemini(t, s, path, ask(``))
			if (err == nil) != clean || strings.Contains(body, "STOP") || cut != CutReset && !strings.Contains(body, `"two"`) {
				t.Errorf("cut %d: %v %s", cut, err, body)
			}
			s.Close()
		}
	}
}

// No request is too bad to be judged.
func FuzzGeminiRequest(f *testing.F) {
	f.Add([]byte(ask(`,"tools":[{"functionDeclarations":[{"name":"a","parameters":{"type":"OBJECT","properties":{"b":{"anyOf":[{"type":"STRING"}]}}}}]}]`)))
	f.Add([]byte(turns(userHi, `{"role":"model","parts":[{"functionCall":{"name":"a"}}]}`, `{"parts":[{"functionResponse":{"name":"a","response":{}}}]}`)))
	f.Add([]byte(ask(`,"generation_config":{"top_k":"1","responseJsonSchema":null,"temperature":1e999}`)))
	f.Add([]byte(`{"contents":[[]],"tools":{"functionDeclarations":{"parameters":{"properties":[]}}},"x":{"a":1,"a":2}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		c := &Call{API: Gemini, Path: newest, Body: doc}
		p := checkGemini(c)
		if p == nil && !json.Valid(doc) {
			t.Error("accepted what is not JSON")
		}
		if p != nil && (p.message == "" || !json.Valid(bytes.TrimSpace(geminiError(c, p)))) {
			t.Errorf("%+v", p)
		}
	})
}
