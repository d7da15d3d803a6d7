package translate

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// requestValue reads JSON so that numbers compare by their digits.
func requestValue(t *testing.T, doc []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("no JSON: %v\n%s", err, doc)
	}
	return v
}

func requestSame(t *testing.T, got []byte, want string) {
	t.Helper()
	if !reflect.DeepEqual(requestValue(t, got), requestValue(t, []byte(want))) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func requestLost(t *testing.T, got Losses, want ...string) {
	t.Helper()
	got = slices.Clone(got)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("lost %q, want %q", got, want)
	}
}

// An agent's second step, in each form: system prompt, an image, two calls at once,
// one of which failed, tools, and how to sample. Numbers in arguments and schemas are
// such that they only survive if nobody reads them; keys are not in order.
const (
	agentAnthropic = `{
		"model":"claude-opus-4-5","max_tokens":4096,"temperature":0.5,"stop_sequences":["END"],"stream":true,
		"system":"Be brief & <exact>.",
		"messages":[
			{"role":"user","content":[
				{"type":"text","text":"What is this?"},
				{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}]},
			{"role":"assistant","content":[
				{"type":"text","text":"Let me look."},
				{"type":"tool_use","id":"toolu_1","name":"look","input":{"z":12345678901234567890,"a":1e400}},
				{"type":"tool_use","id":"toolu_2","name":"count","input":{}}]},
			{"role":"user","content":[
				{"type":"tool_result","tool_use_id":"toolu_1","content":"a cat"},
				{"type":"tool_result","tool_use_id":"toolu_2","content":"error: no disk","is_error":true},
				{"type":"text","text":"Go on."}]}],
		"tools":[
			{"name":"look","description":"Looks.","input_schema":{"type":"object","properties":{"z":{"type":"integer","maximum":1e400},"a":{"type":"number"}},"required":["z"]}},
			{"name":"count","input_schema":{"type":"object","properties":{}}}],
		"tool_choice":{"type":"any"}}`

	agentChat = `{
		"model":"llama-4","max_tokens":4096,"temperature":0.5,"stop":["END"],"stream":true,"stream_options":{"include_usage":true},
		"messages":[
			{"role":"system","content":"Be brief & <exact>."},
			{"role":"user","content":[
				{"type":"text","text":"What is this?"},
				{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]},
			{"role":"assistant","content":"Let me look.","tool_calls":[
				{"id":"toolu_1","type":"function","function":{"name":"look","arguments":"{\"z\":12345678901234567890,\"a\":1e400}"}},
				{"id":"toolu_2","type":"function","function":{"name":"count","arguments":"{}"}}]},
			{"role":"tool","tool_call_id":"toolu_1","content":"a cat"},
			{"role":"tool","tool_call_id":"toolu_2","content":"error: no disk"},
			{"role":"user","content":"Go on."}],
		"tools":[
			{"type":"function","function":{"name":"look","description":"Looks.","parameters":{"type":"object","properties":{"z":{"type":"integer","maximum":1e400},"a":{"type":"number"}},"required":["z"]}}},
			{"type":"function","function":{"name":"count","parameters":{"type":"object","properties":{}}}}],
		"tool_choice":"required"}`

	agentGemini = `{
		"systemInstruction":{"parts":[{"text":"Be brief & <exact>."}]},
		"contents":[
			{"role":"user","parts":[
				{"text":"What is this?"},
				{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}}]},
			{"role":"model","parts":[
				{"text":"Let me look."},
				{"functionCall":{"id":"toolu_1","name":"look","args":{"z":12345678901234567890,"a":1e400}},"thoughtSignature":"skip_thought_signature_validator"},
				{"functionCall":{"id":"toolu_2","name":"count","args":{}}}]},
			{"role":"user","parts":[
				{"functionResponse":{"id":"toolu_1","name":"look","response":{"output":"a cat"}}},
				{"functionResponse":{"id":"toolu_2","name":"count","response":{"error":"error: no disk"}}}]},
			{"role":"user","parts":[{"text":"Go on."}]}],
		"tools":[{"functionDeclarations":[
			{"name":"look","description":"Looks.","parametersJsonSchema":{"type":"object","properties":{"z":{"type":"integer","maximum":1e400},"a":{"type":"number"}},"required":["z"]}},
			{"name":"count","parametersJsonSchema":{"type":"object","properties":{}}}]}],
		"toolConfig":{"functionCallingConfig":{"mode":"ANY"}},
		"generationConfig":{"maxOutputTokens":4096,"temperature":0.5,"stopSequences":["END"]}}`
)

var agents = map[API]struct{ doc, model string }{
	Anthropic: {agentAnthropic, "claude-opus-4-5"},
	Chat:      {agentChat, "llama-4"},
	Gemini:    {agentGemini, "gemini-3.1-pro-preview"},
}

func TestRequestAllDirections(t *testing.T) {
	lost := map[[2]API][]string{
		{Anthropic, Chat}:   {"is_error"},
		{Gemini, Chat}:      {"is_error", "thinking_signature"},
		{Gemini, Anthropic}: {"thinking_signature"},
	}
	for from, source := range agents {
		for to, target := range agents {
			if from == to {
				continue
			}
			t.Run(string(from)+" to "+string(to), func(t *testing.T) {
				out, names, err := Request([]byte(source.doc), from, to, RequestOptions{Model: target.model, Stream: true})
				if err != nil {
					t.Fatal(err)
				}
				want := target.doc
				if from == Chat { // it cannot say that a call failed
					want = strings.Replace(want, `,"is_error":true`, "", 1)
					want = strings.Replace(want, `{"error":"error: no disk"}`, `{"output":"error: no disk"}`, 1)
				}
				requestSame(t, out, want)
				requestLost(t, names, lost[[2]API{from, to}]...)
				for _, whole := range []string{`z`, `12345678901234567890`, `1e400`, `& <exact>`} {
					if !bytes.Contains(out, []byte(whole)) {
						t.Errorf("%q did not come through as it was", whole)
					}
				}
				if bytes.Index(out, []byte(`z`)) > bytes.LastIndex(out, []byte(`1e400`)) {
					t.Error("the order of members changed")
				}
			})
		}
	}
}

// There and back nothing is missing but what was named.
func TestRequestRoundTrip(t *testing.T) {
	for from, source := range agents {
		for by, between := range agents {
			if from == by {
				continue
			}
			t.Run(string(from)+" by "+string(by), func(t *testing.T) {
				out, _, err := Request([]byte(source.doc), from, by, RequestOptions{Model: between.model, Stream: true})
				if err != nil {
					t.Fatal(err)
				}
				back, _, err := Request(out, by, from, RequestOptions{Model: source.model, Stream: true})
				if err != nil {
					t.Fatal(err)
				}
				want := source.doc
				if by == Chat {
					want = strings.Replace(want, `,"is_error":true`, "", 1)
					want = strings.Replace(want, `{"error":"error: no disk"}`, `{"output":"error: no disk"}`, 1)
				}
				requestSame(t, back, want)
			})
		}
	}
}

type requestCase struct {
	name     string
	from, to API
	model    string
	doc      string
	want     string // whole
	has      string // or a part of it; compact
	hasNot   string
	lost     []string
}

func (rc requestCase) run(t *testing.T) {
	t.Run(rc.name, func(t *testing.T) {
		out, lost, err := Request([]byte(rc.doc), rc.from, rc.to, RequestOptions{Model: rc.model})
		if err != nil {
			t.Fatal(err)
		}
		if rc.want != "" {
			requestSame(t, out, rc.want)
		}
		if !bytes.Contains(out, []byte(rc.has)) {
			t.Errorf("%s\nhas no %s", out, rc.has)
		}
		if rc.hasNot != "" && bytes.Contains(out, []byte(rc.hasNot)) {
			t.Errorf("%s\nhas %s", out, rc.hasNot)
		}
		requestLost(t, lost, rc.lost...)
	})
}

func TestRequestContent(t *testing.T) {
	for _, rc := range []requestCase{
		{name: "blocks of a prompt become one text", from: Anthropic, to: Chat, model: "m",
			doc:  `{"max_tokens":1,"system":[{"type":"text","text":"A","cache_control":{"type":"ephemeral"}},{"type":"text","text":"B"}],"messages":[{"role":"user","content":[{"type":"text","text":"C"},{"type":"text","text":"D"}]}]}`,
			want: `{"model":"m","max_tokens":1,"messages":[{"role":"system","content":"A\n\nB"},{"role":"user","content":"C\n\nD"}]}`,
			lost: []string{"cache_control"}},
		{name: "a later system message moves to the front", from: Chat, to: Anthropic, model: "c",
			doc:  `{"messages":[{"role":"developer","content":"A"},{"role":"user","content":"B"},{"role":"system","content":"C"}]}`,
			want: `{"model":"c","max_tokens":8192,"system":[{"type":"text","text":"A"},{"type":"text","text":"C"}],"messages":[{"role":"user","content":[{"type":"text","text":"B"}]}]}`,
			lost: []string{"system_position"}},
		{name: "a system message alone is what the user says", from: Chat, to: Gemini, model: "gemini-2.5-pro",
			doc:  `{"messages":[{"role":"system","content":"A"}]}`,
			want: `{"contents":[{"role":"user","parts":[{"text":"A"}]}]}`,
			lost: []string{"system_position"}},
		{name: "images by URL", from: Chat, to: Gemini, model: "g",
			doc:  `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.org/a.webp?b","detail":"high"}},{"type":"image_url","image_url":"http://x.org/b"}]}]}`,
			want: `{"contents":[{"role":"user","parts":[{"fileData":{"mimeType":"image/webp","fileUri":"https://x.org/a.webp?b"}},{"fileData":{"mimeType":"image/jpeg","fileUri":"http://x.org/b"}}]}]}`,
			lost: []string{"image_detail"}},
		{name: "and back", from: Gemini, to: Anthropic, model: "c",
			doc:  `{"contents":[{"parts":[{"file_data":{"mime_type":"image/webp","file_uri":"https://x.org/a.webp"}}]}]}`,
			want: `{"model":"c","max_tokens":8192,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://x.org/a.webp"}}]}]}`},
		{name: "the URL's alphabet of base64", from: Gemini, to: Chat, model: "m", // 0xfb 0xff is "-_8" there and "+/8=" elsewhere
			doc: `{"contents":[{"role":"user","parts":[{"inline_data":{"mime_type":"image/png","data":"-_8"}}]}]}`,
			has: `"url":"data:image/png;base64,+/8="`},
		{name: "a data: URL without base64", from: Chat, to: Anthropic, model: "c", // base64 of <svg/>
			doc: `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/svg+xml,%3Csvg/%3E"}}]}]}`,
			has: `{"type":"base64","media_type":"image/svg+xml","data":"PHN2Zy8+"}`},
		{name: "a PDF", from: Anthropic, to: Chat, model: "m",
			doc:  `{"max_tokens":1,"messages":[{"role":"user","content":[{"type":"document","title":"a.pdf","context":"old","citations":{"enabled":true},"source":{"type":"base64","media_type":"application/pdf","data":"JVBERg=="}}]}]}`,
			has:  `"content":[{"type":"text","text":"old"},{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERg=="}}]`,
			lost: []string{"citations"}},
		{name: "a PDF of Chat", from: Chat, to: Anthropic, model: "c",
			doc: `{"messages":[{"role":"user","content":[{"type":"file","file":{"filename":"a.pdf","file_data":"JVBERg=="}}]}]}`,
			has: `{"type":"document","title":"a.pdf","source":{"type":"base64","media_type":"application/pdf","data":"JVBERg=="}}`},
		{name: "a text file stays text", from: Gemini, to: Anthropic, model: "c", // "a,b"
			doc: `{"contents":[{"parts":[{"inlineData":{"mimeType":"text/csv","data":"YSxi"}}]}]}`,
			has: `"content":[{"type":"text","text":"a,b"}]`},
		{name: "documents of text and of blocks, and search results", from: Anthropic, to: Gemini, model: "g",
			doc: `{"max_tokens":1,"messages":[{"role":"user","content":[
				{"type":"document","title":"T","source":{"type":"text","media_type":"text/plain","data":"D"}},
				{"type":"document","source":{"type":"content","content":[{"type":"text","text":"E"}]}},
				{"type":"search_result","title":"S","source":"http://x","content":[{"type":"text","text":"F"}]}]}]}`,
			has: `"parts":[{"text":"T\n\nD"},{"text":"E"},{"text":"S\n\nhttp://x\n\nF"}]`},
		{name: "images of results follow them in Chat", from: Anthropic, to: Chat, model: "m",
			doc: `{"max_tokens":1,"messages":[
				{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{}},{"type":"tool_use","id":"t2","name":"f","input":{}}]},
				{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"see"},{"type":"image","source":{"type":"url","url":"https://x.org/a.png"}}]},{"type":"tool_result","tool_use_id":"t2","is_error":true}]}]}`,
			want: `{"model":"m","max_tokens":1,"messages":[
				{"role":"assistant","content":null,"tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"t2","type":"function","function":{"name":"f","arguments":"{}"}}]},
				{"role":"tool","tool_call_id":"t1","content":"see"},
				{"role":"tool","tool_call_id":"t2","content":"Error"},
				{"role":"user","content":[{"type":"text","text":"Returned by the call t1:"},{"type":"image_url","image_url":{"url":"https://x.org/a.png"}}]}]}`,
			lost: []string{"is_error"}},
		{name: "images inside of results at Gemini 3", from: Anthropic, to: Gemini, model: "gemini-3-flash",
			doc: `{"max_tokens":1,"messages":[
				{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{}}]},
				{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}]}`,
			has: `{"functionResponse":{"id":"t1","name":"f","response":{"output":""},"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}}`},
		{name: "and behind them before", from: Anthropic, to: Gemini, model: "gemini-2.5-flash",
			doc: `{"max_tokens":1,"messages":[
				{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{}}]},
				{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}]}`,
			want: `{"contents":[{"role":"model","parts":[{"functionCall":{"id":"t1","name":"f","args":{}}}]},
				{"role":"user","parts":[{"functionResponse":{"id":"t1","name":"f","response":{"output":""}}}]},
				{"role":"user","parts":[{"text":"Returned by the call t1:"},{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}],
				"generationConfig":{"maxOutputTokens":1}}`},
		{name: "an answer that is gone on with", from: Chat, to: Anthropic, model: "c",
			doc: `{"messages":[{"role":"user","content":"A"},{"role":"assistant","content":"The answer is "}]}`,
			has: `{"role":"assistant","content":[{"type":"text","text":"The answer is"}]}`},
		{name: "is a new one in Chat, maybe", from: Anthropic, to: Chat, model: "m",
			doc:  `{"max_tokens":1,"messages":[{"role":"user","content":"A"},{"role":"assistant","content":"{"}]}`,
			has:  `{"role":"assistant","content":"{"}`,
			lost: []string{"prefill"}},
		{name: "blank texts, which Anthropic refuses", from: Chat, to: Anthropic, model: "c",
			doc:  `{"stop":[" ","x"],"messages":[{"role":"system","content":""},{"role":"user","content":"A"},{"role":"assistant","content":""},{"role":"user","content":[{"type":"text","text":"\n"},{"type":"text","text":"B"}]}]}`,
			want: `{"model":"c","max_tokens":8192,"stop_sequences":["x"],"messages":[{"role":"user","content":[{"type":"text","text":"A"}]},{"role":"user","content":[{"type":"text","text":"B"}]}]}`,
			lost: []string{"stop_sequences"}},
		{name: "images of results, from Gemini", from: Gemini, to: Anthropic, model: "c",
			doc: `{"contents":[{"role":"model","parts":[{"functionCall":{"id":"a","name":"f"}}]},{"parts":[{"functionResponse":{"id":"a","name":"f","response":{"result":"see"},"parts":[{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}}]}]}`,
			has: `{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"see"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}`},
		{name: "a result that is an object, from Gemini", from: Gemini, to: Chat, model: "m",
			doc: `{"contents":[{"role":"model","parts":[{"functionCall":{"id":"a","name":"f"}},{"functionCall":{"id":"b","name":"f"}}]},{"parts":[{"functionResponse":{"id":"a","name":"f","response":{ "n" : 1e400, "output": 1 }}},{"functionResponse":{"id":"b","name":"f","response":{"error":{"code":5}}}}]}]}`,
			has: `{"role":"tool","content":"{\"n\":1e400,\"output\":1}","tool_call_id":"a"},{"role":"tool","content":"Error: {\"error\":{\"code\":5}}","tool_call_id":"b"}`, lost: []string{"is_error"}},
		{name: "functions, before there were tools", from: Chat, to: Anthropic, model: "c",
			doc: `{"functions":[{"name":"f","parameters":{"type":"object"}}],"stop":["x","",null],"messages":[{"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},{"role":"function","name":"f","content":"r"}]}`,
			has: `"stop_sequences":["x"]`},
		{name: "one sequence to stop at", from: Chat, to: Gemini, model: "g", doc: `{"stop":"x","messages":[{"role":"user","content":"A"}]}`, has: `"stopSequences":["x"]`},
		{name: "parts of an answer, Mistral's thinking among them", from: Chat, to: Gemini, model: "g",
			doc: `{"messages":[{"role":"user","content":"A"},{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]},{"type":"refusal","refusal":"no"},{"type":"new_thing"}]}]}`,
			has: `{"role":"model","parts":[{"text":"no"}]}`, hasNot: "hm", lost: []string{"thinking", "unknown_content", "prefill"}},
		{name: "a model does not show images", from: Gemini, to: Anthropic, model: "c",
			doc:    `{"contents":[{"parts":[{"text":"A"}]},{"role":"model","parts":[{"text":"B"},{"inlineData":{"mimeType":"image/png","data":"AAAA"}},{"executableCode":{}},{"mediaResolution":{"level":"MEDIA_RESOLUTION_LOW"},"text":"C"}]},{"parts":[{"text":"D"}]}],"generationConfig":{"responseModalities":["Text","Image"],"responseLogprobs":true,"responseMimeType":"text/x.enum"},"safetySettings":[{}],"labels":{"a":"b"}}`,
			has:    `{"role":"assistant","content":[{"type":"text","text":"B"},{"type":"text","text":"C"}]}`,
			hasNot: "AAAA", lost: []string{"assistant_image", "server_tools", "image_detail", "image_output", "logprobs", "response_format", "safety_settings", "metadata"}},
		{name: "what else Anthropic's requests have", from: Anthropic, to: Gemini, model: "g",
			doc:  `{"max_tokens":1,"cache_control":{"type":"ephemeral"},"container":"c","context_management":{},"inference_geo":"eu","mcp_servers":[],"metadata":{"user_id":"u"},"service_tier":"auto","output_format":{"type":"json_schema","schema":{"a":1}},"messages":[{"role":"user","content":"A"},{"role":"system","content":"B"},{"role":"assistant","content":[{"type":"compaction","content":"C"},{"type":"new_thing"}]},{"role":"user","content":[{"type":"mid_conv_system","content":[{"type":"text","text":"D"}]}]}]}`,
			want: `{"systemInstruction":{"parts":[{"text":"B"}]},"contents":[{"role":"user","parts":[{"text":"A"}]},{"role":"model","parts":[{"text":"C"}]},{"role":"user","parts":[{"text":"D"}]}],"generationConfig":{"maxOutputTokens":1,"responseMimeType":"application/json","responseJsonSchema":{"a":1}}}`,
			lost: []string{"cache_control", "server_tools", "context_management", "inference_geo", "metadata", "service_tier", "system_position", "unknown_content"}},
		{name: "what was thought before", from: Anthropic, to: Chat, model: "m",
			doc:  `{"max_tokens":1,"messages":[{"role":"user","content":"A"},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"x"},{"type":"text","text":"B"}]},{"role":"user","content":"C"}]}`,
			want: `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"A"},{"role":"assistant","content":"B"},{"role":"user","content":"C"}]}`,
			lost: []string{"thinking", "redacted_thinking"}},
		{name: "likewise in Chat", from: Chat, to: Gemini, model: "g",
			doc:    `{"messages":[{"role":"user","content":"A"},{"role":"assistant","content":"B","reasoning_content":"hm"},{"role":"user","content":"C"}]}`,
			hasNot: "hm", lost: []string{"thinking"}},
		{name: "likewise in Gemini", from: Gemini, to: Chat, model: "m",
			doc:    `{"contents":[{"parts":[{"text":"A"}]},{"role":"model","parts":[{"text":"hm","thought":true},{"text":"B","thought_signature":"s"}]},{"parts":[{"text":"C"}]}]}`,
			hasNot: "hm", lost: []string{"thinking", "thinking_signature"}},
	} {
		rc.run(t)
	}
}

// TestRequestSettings: what is asked of a model beside what is said to it.
func TestRequestSettings(t *testing.T) {
	for _, rc := range []requestCase{
		{name: "tools that the provider runs", from: Anthropic, to: Chat, model: "m",
			doc:  `{"max_tokens":1,"mcp_servers":[],"tools":[{"type":"web_search_20250305","name":"web_search"},{"name":"f","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":"A"},{"role":"assistant","content":[{"type":"server_tool_use","id":"s","name":"web_search","input":{}},{"type":"web_search_tool_result","tool_use_id":"s","content":[]},{"type":"text","text":"B"}]},{"role":"user","content":"C"}]}`,
			want: `{"model":"m","max_tokens":1,"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}],"messages":[{"role":"user","content":"A"},{"role":"assistant","content":"B"},{"role":"user","content":"C"}]}`,
			lost: []string{"server_tools"}},
	} {
		rc.run(t)
	}
}

func TestRequestMembers(t *testing.T) {
	for _, rc := range []requestCase{
		{name: "members without counterpart", from: Chat, to: Anthropic, model: "c",
			doc:  `{"messages":[{"role":"user","name":"Bo","content":"A"}],"logprobs":true,"top_logprobs":3,"logit_bias":{"1":1},"user":"u","seed":1,"presence_penalty":0.1,"frequency_penalty":1,"service_tier":"flex","store":true,"metadata":{},"verbosity":"low","prediction":{},"web_search_options":{},"prompt_cache_key":"k","audio":{},"modalities":["text","audio"],"unheard_of":{}}`,
			want: `{"model":"c","max_tokens":8192,"messages":[{"role":"user","content":[{"type":"text","text":"A"}]}]}`,
			lost: []string{"name", "logprobs", "logit_bias", "user", "seed", "presence_penalty", "frequency_penalty", "service_tier", "store", "metadata", "verbosity", "prediction", "server_tools", "cache_control", "audio"}},
		{name: "what Chat and Gemini share", from: Chat, to: Gemini, model: "g",
			doc:  `{"messages":[{"role":"user","content":"A"}],"seed":7,"presence_penalty":0.10,"frequency_penalty":1,"top_p":0.9,"top_k":3,"max_completion_tokens":10,"max_tokens":20}`,
			want: `{"contents":[{"role":"user","parts":[{"text":"A"}]}],"generationConfig":{"seed":7,"presencePenalty":0.10,"frequencyPenalty":1,"topP":0.9,"topK":3,"maxOutputTokens":10}}`},
		{name: "a seed of more than 32 bits", from: Chat, to: Gemini, model: "g",
			doc: `{"messages":[{"role":"user","content":"A"}],"seed":4294967296}`, hasNot: "seed", lost: []string{"seed"}},
		{name: "JSON of any shape", from: Chat, to: Gemini, model: "g",
			doc: `{"messages":[{"role":"user","content":"A"}],"response_format":{"type":"json_object"}}`,
			has: `"generationConfig":{"responseMimeType":"application/json"}`},
		{name: "which Anthropic cannot be asked for", from: Chat, to: Anthropic, model: "c",
			doc:    `{"messages":[{"role":"user","content":"A"}],"response_format":{"type":"json_object"}}`,
			hasNot: "output_config", lost: []string{"response_format"}},
		{name: "JSON of a shape", from: Chat, to: Anthropic, model: "c",
			doc: `{"messages":[{"role":"user","content":"A"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object","b":1,"a":1e400}}}}`,
			has: `"output_config":{"format":{"type":"json_schema","schema":{"type":"object","b":1,"a":1e400,"additionalProperties":false}}}`},
		{name: "closed where it was open, for Anthropic", from: Chat, to: Anthropic, model: "c",
			doc: `{"messages":[{"role":"user","content":"A"}],"response_format":{"type":"json_schema","json_schema":{"schema":{"type":"object","additionalProperties":false,"properties":{"properties":{"type":"array","items":{"properties":{}}},"o":{"anyOf":[{"type":"object"},{"type":"null"}]}},"enum":[{"type":"object"}]}}}}`,
			has: `"schema":{"type":"object","additionalProperties":false,"properties":{"properties":{"type":"array","items":{"properties":{},"additionalProperties":false}},"o":{"anyOf":[{"type":"object","additionalProperties":false},{"type":"null"}]}},"enum":[{"type":"object"}]}`},
		{name: "and from Anthropic", from: Anthropic, to: Chat, model: "m",
			doc:  `{"max_tokens":1,"messages":[{"role":"user","content":"A"}],"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}}`,
			has:  `"response_format":{"type":"json_schema","json_schema":{"name":"response","schema":{"type":"object"}}}`,
			lost: []string{"strict_schema"}},
		{name: "and from Gemini, in OpenAPI's words", from: Gemini, to: Chat, model: "m",
			doc: `{"contents":[{"parts":[{"text":"A"}]}],"generationConfig":{"response_mime_type":"application/json","response_schema":{"type":"OBJECT","properties":{"type":{"type":"STRING","nullable":true,"enum":["A"]},"n":{"type":"ARRAY","minItems":"2","items":{"type":"INTEGER"}}},"propertyOrdering":["type","n"]}}}`,
			has: `"schema":{"type":"object","properties":{"type":{"type":["string","null"],"enum":["A",null]},"n":{"type":"array","minItems":2,"items":{"type":"integer"}}},"propertyOrdering":["type","n"]}`},
	} {
		rc.run(t)
	}
}
