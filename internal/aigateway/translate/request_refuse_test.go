package translate

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestRequestRefuses(t *testing.T) {
	user := func(part string) string { return `{"messages":[{"role":"user","content":[` + part + `]}]}` }
	google := func(part string) string { return `{"contents":[{"parts":[` + part + `]}]}` }
	const asked = `{"messages":[{"role":"user","content":"A"}],`
	const askedGoogle = `{"contents":[{"parts":[{"text":"A"}]}],`
	for _, tc := range []struct {
		name     string
		from, to API
		doc      string
		says     string
	}{
		{"equals", Chat, Chat, asked + `"n":1}`, "both sides"},
		{"an unknown source", "x", Chat, asked + `"n":1}`, "unknown"},
		{"an unknown target", Chat, "x", asked + `"n":1}`, "unknown"},
		{"no JSON", Chat, Gemini, `{`, "JSON"},
		{"no object", Gemini, Chat, `[]`, "cannot unmarshal"},
		{"no messages", Chat, Gemini, `{"messages":[]}`, "no messages"},
		{"null messages", Anthropic, Gemini, `{"max_tokens":1,"messages":null,"system":"A"}`, "no messages"},
		{"no contents", Gemini, Chat, `{}`, "no contents"},
		{"messages that say nothing", Chat, Anthropic, `{"messages":[{"role":"user","content":" "}]}`, "no message says anything"},
		{"messages that say nothing to Chat", Anthropic, Chat, `{"messages":[{"role":"assistant","content":[{"type":"text","text":""}]}]}`, "no message says anything"},
		{"messages that say nothing to Gemini", Chat, Gemini, `{"messages":[{"role":"user","content":""}]}`, "no message says anything"},
		{"an unknown role", Chat, Gemini, `{"messages":[{"role":"root","content":"A"}]}`, `messages.0: the role "root"`},
		{"an unknown role at Gemini", Gemini, Chat, `{"contents":[{"role":"root","parts":[{"text":"A"}]}]}`, `contents.0: the role "root"`},
		{"content of a wrong type", Anthropic, Chat, `{"messages":[{"role":"user","content":7}]}`, "messages.0"},
		{"a number of a wrong type", Chat, Gemini, asked + `"temperature":{}}`, "temperature"},
		{"several answers", Chat, Anthropic, asked + `"n":2}`, "several answers"},
		{"several answers of Gemini", Gemini, Chat, askedGoogle + `"generation_config":{"candidate_count":3}}`, "several answers"},
		{"sound", Chat, Gemini, user(`{"type":"input_audio","input_audio":{"data":"","format":"wav"}}`), "sound and video"},
		{"sound of Gemini", Gemini, Chat, google(`{"inlineData":{"mimeType":"audio/wav","data":""}}`), "sound and video"},
		{"video of Gemini", Gemini, Chat, google(`{"fileData":{"fileUri":"https://youtu.be/x","mimeType":"video/mp4"}}`), "sound and video"},
		{"sound alone as the answer", Chat, Gemini, asked + `"modalities":["audio"]}`, "no text is asked for"},
		{"pictures alone as the answer", Gemini, Chat, askedGoogle + `"generationConfig":{"responseModalities":["IMAGE"]}}`, "no text is asked for"},
		{"a stored file", Chat, Anthropic, user(`{"type":"file","file":{"file_id":"file-1"}}`), "stored at the provider"},
		{"a stored file of Anthropic", Anthropic, Chat, user(`{"type":"image","source":{"type":"file","file_id":"f"}}`), "stored at the provider"},
		{"a stored file of Gemini", Gemini, Chat, google(`{"fileData":{"fileUri":"https://generativelanguage.googleapis.com/v1beta/files/x","mimeType":"image/png"}}`), "stored at the provider"},
		{"a file in Google's store", Gemini, Anthropic, google(`{"fileData":{"fileUri":"gs://b/x","mimeType":"image/png"}}`), "stored at the provider"},
		{"a stored prompt", Gemini, Chat, askedGoogle + `"cachedContent":"cachedContents/x"}`, "cachedContent"},
		{"a document at a URL", Anthropic, Chat, user(`{"type":"document","source":{"type":"url","url":"https://x.org/a.pdf"}}`), "document at a URL"},
		{"a document that is no PDF", Chat, Gemini, user(`{"type":"file","file":{"file_data":"data:application/zip;base64,UEs="}}`), "application/zip"},
		{"a document in a document", Anthropic, Chat, user(`{"type":"document","source":{"type":"content","content":[{"type":"document"}]}}`), "has a block of type"},
		{"an image on this machine", Chat, Anthropic, user(`{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}`), "not one of the web"},
		{"an image without URL", Chat, Anthropic, user(`{"type":"image_url"}`), "no image_url"},
		{"half a data: URL", Chat, Anthropic, user(`{"type":"image_url","image_url":{"url":"data:image/png;base64"}}`), "has no data"},
		{"a call that cannot be made", Chat, Anthropic, asked + `"tool_choice":"required"}`, "a call of a tool is demanded"},
		{"a call of what cannot be carried", Anthropic, Chat, asked + `"tools":[{"type":"bash_20250124","name":"bash"}],"tool_choice":{"type":"tool","name":"bash"}}`, "a call of a tool is demanded"},
		{"an unknown choice", Chat, Gemini, asked + twoTools + `,"tool_choice":"perhaps"}`, "perhaps"},
		{"a schema that is none", Chat, Anthropic, asked + `"tools":[{"type":"function","function":{"name":"f","parameters":[]}}]}`, "schema is no object"},
		{"no answer", Anthropic, Chat, asked + `"max_tokens":0}`, "no answer is asked for"},
		{"a bound that is none", Chat, Gemini, asked + `"max_tokens":1e400}`, "max_tokens"},
		{"half a token", Chat, Gemini, asked + `"max_tokens":1.5}`, "max_tokens"},
		{"nesting", Chat, Anthropic, asked + `"tools":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + `}`, "depth"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, lost, err := Request([]byte(tc.doc), tc.from, tc.to, RequestOptions{Model: "m"})
			if err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("got %s, the error %v; want one that says %q", out, err, tc.says)
			}
			if out != nil || lost != nil {
				t.Error("there is something besides the error")
			}
		})
	}
}

func TestRequestThinking(t *testing.T) {
	anthropic := func(rest string) string {
		return `{"max_tokens":20000,"messages":[{"role":"user","content":"A"}],` + rest + `}`
	}
	chat := func(rest string) string {
		return `{"max_tokens":20000,"messages":[{"role":"user","content":"A"}],` + rest + `}`
	}
	google := func(rest string) string {
		return `{"contents":[{"parts":[{"text":"A"}]}],"generationConfig":{"maxOutputTokens":20000,"thinkingConfig":{` + rest + `}}}`
	}
	tool := `,"tools":[{"type":"function","function":{"name":"f"}}]`
	for _, rc := range []requestCase{
		// to Anthropic
		{name: "levels of Claude", from: Chat, to: Anthropic, model: "claude-opus-4-6", doc: chat(`"reasoning_effort":"medium"`),
			has: `"thinking":{"type":"adaptive"},"output_config":{"effort":"medium"}`},
		{name: "the highest but one is newer", from: Chat, to: Anthropic, model: "claude-sonnet-4-6", doc: chat(`"reasoning_effort":"xhigh"`),
			has: `"effort":"high"`, lost: []string{"effort"}},
		{name: "known to Claude 5", from: Chat, to: Anthropic, model: "anthropic/claude-opus-5", doc: chat(`"reasoning_effort":"xhigh"`), has: `"effort":"xhigh"`},
		{name: "tokens of Claude 4.5", from: Chat, to: Anthropic, model: "claude-sonnet-4-5-20250929", doc: chat(`"reasoning_effort":"medium"`),
			has: `"thinking":{"type":"enabled","budget_tokens":8192}`, hasNot: "output_config"},
		{name: "at most half of the answer", from: Chat, to: Anthropic, model: "claude-3-7-sonnet-latest", doc: chat(`"reasoning_effort":"high"`), // min(24576, 20000/2)
			has: `"budget_tokens":10000`},
		{name: "not in a short answer", from: Chat, to: Anthropic, model: "claude-haiku-4-5", // 2000/2 is below 1024
			doc: `{"max_tokens":2000,"messages":[{"role":"user","content":"A"}],"reasoning_effort":"low"}`, hasNot: "thinking", lost: []string{"effort"}},
		{name: "not before 3.7", from: Chat, to: Anthropic, model: "claude-3-5-haiku-20241022", doc: chat(`"reasoning_effort":"low"`), hasNot: "thinking", lost: []string{"effort"}},
		{name: "not behind calls without their thinking", from: Chat, to: Anthropic, model: "claude-sonnet-4-5",
			doc:    `{"max_tokens":20000,"reasoning_effort":"low","messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f"}}]},{"role":"tool","tool_call_id":"a","content":"r"}]}`,
			hasNot: `"thinking"`, lost: []string{"effort"}},
		{name: "not with a forced call", from: Chat, to: Anthropic, model: "claude-opus-4-6", doc: chat(`"reasoning_effort":"low","tool_choice":"required"` + tool),
			hasNot: "thinking", lost: []string{"effort"}},
		{name: "off, as by default", from: Chat, to: Anthropic, model: "claude-opus-4-6", doc: chat(`"reasoning_effort":"none"`), hasNot: "thinking"},
		{name: "off, where it cannot be", from: Chat, to: Anthropic, model: "claude-opus-5-5", doc: chat(`"reasoning_effort":"none"`),
			has: `"output_config":{"effort":"low"}`, hasNot: "disabled", lost: []string{"thinking_off"}},
		{name: "off, by another maker", from: Gemini, to: Anthropic, model: "glm-5", doc: google(`"thinkingBudget":0`), has: `"thinking":{"type":"disabled"}`},
		{name: "a budget becomes a level", from: Gemini, to: Anthropic, model: "claude-sonnet-5", doc: google(`"thinkingBudget":5000,"includeThoughts":true`),
			has: `"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"medium"}`},
		{name: "as the model sees fit", from: Gemini, to: Anthropic, model: "claude-mythos-preview", doc: google(`"thinking_budget":-1`),
			has: `"thinking":{"type":"adaptive"}`, hasNot: "effort"},
		{name: "the lowest is Google's", from: Gemini, to: Anthropic, model: "claude-opus-4-8", doc: google(`"thinkingLevel":"MINIMAL"`),
			has: `"effort":"low"`, lost: []string{"effort"}},
		{name: "OpenRouter's words", from: Chat, to: Anthropic, model: "claude-sonnet-4-5", doc: chat(`"reasoning":{"max_tokens":3000}`), has: `"budget_tokens":3000`},
		// to Chat
		{name: "a budget in Chat", from: Anthropic, to: Chat, model: "gpt-5", doc: anthropic(`"thinking":{"type":"enabled","budget_tokens":10000}`),
			has: `"reasoning_effort":"high"`},
		{name: "adaptive in Chat", from: Anthropic, to: Chat, model: "qwen3-32b", doc: anthropic(`"thinking":{"type":"adaptive"}`), has: `"reasoning_effort":"high"`},
		{name: "a level in Chat", from: Anthropic, to: Chat, model: "gpt-5.2", doc: anthropic(`"thinking":{"type":"adaptive"},"output_config":{"effort":"max"}`),
			has: `"reasoning_effort":"xhigh"`, lost: []string{"effort"}},
		{name: "a level alone", from: Anthropic, to: Chat, model: "o3", doc: anthropic(`"output_config":{"effort":"low"}`), has: `"reasoning_effort":"low"`},
		{name: "not for models that do not think", from: Anthropic, to: Chat, model: "gpt-4o-mini", doc: anthropic(`"thinking":{"type":"adaptive"}`),
			hasNot: "reasoning", lost: []string{"effort"}},
		{name: "not with tools since 5.4", from: Anthropic, to: Chat, model: "gpt-5.4", doc: anthropic(`"thinking":{"type":"adaptive"},"tools":[{"name":"f","input_schema":{"type":"object"}}]`),
			hasNot: "reasoning", lost: []string{"effort"}},
		{name: "off", from: Anthropic, to: Chat, model: "gpt-5.1", doc: anthropic(`"thinking":{"type":"disabled"}`), has: `"reasoning_effort":"none"`},
		{name: "nearly off", from: Anthropic, to: Chat, model: "gpt-5-mini", doc: anthropic(`"thinking":{"type":"disabled"}`), has: `"minimal"`, lost: []string{"thinking_off"}},
		{name: "not off", from: Anthropic, to: Chat, model: "o4-mini", doc: anthropic(`"thinking":{"type":"disabled"}`), has: `"low"`, lost: []string{"thinking_off"}},
		{name: "a level of another day", from: Chat, to: Gemini, model: "gemini-3.8-flash", doc: chat(`"reasoning_effort":"ultra"`),
			hasNot: "thinking", lost: []string{"effort"}},
		{name: "a level of another day, shown", from: Anthropic, to: Gemini, model: "gemini-3.8-flash", doc: anthropic(`"thinking":{"type":"adaptive"},"output_config":{"effort":"ultra"}`),
			has: `"thinkingConfig":{"includeThoughts":true}`, lost: []string{"effort"}},
		// to Gemini
		{name: "levels of Gemini 3", from: Anthropic, to: Gemini, model: "gemini-3.8-flash", doc: anthropic(`"thinking":{"type":"enabled","budget_tokens":8000}`),
			has: `"thinkingConfig":{"thinkingLevel":"MEDIUM","includeThoughts":true}`},
		{name: "the newest by name", from: Chat, to: Gemini, model: "gemini-flash-latest", doc: chat(`"reasoning_effort":"max"`),
			has: `"thinkingConfig":{"thinkingLevel":"HIGH"}`, lost: []string{"effort"}},
		{name: "two levels of Gemini 3 Pro", from: Chat, to: Gemini, model: "models/gemini-3-pro-preview", doc: chat(`"reasoning_effort":"medium"`),
			has: `"thinkingLevel":"HIGH"`, lost: []string{"effort"}},
		{name: "tokens of Gemini 2.5", from: Chat, to: Gemini, model: "gemini-2.5-flash", doc: chat(`"reasoning_effort":"medium"`), has: `"thinkingConfig":{"thinkingBudget":8192}`},
		{name: "at most what it takes", from: Anthropic, to: Gemini, model: "gemini-2.5-flash", doc: anthropic(`"thinking":{"type":"enabled","budget_tokens":60000,"display":"omitted"}`),
			has: `"thinkingConfig":{"thinkingBudget":24576}`},
		{name: "as it sees fit", from: Anthropic, to: Gemini, model: "gemini-2.5-pro", doc: anthropic(`"thinking":{"type":"adaptive"}`), has: `{"thinkingBudget":-1,"includeThoughts":true}`},
		{name: "off at 2.5 Flash", from: Chat, to: Gemini, model: "gemini-2.5-flash", doc: chat(`"reasoning_effort":"none"`), has: `{"thinkingBudget":0}`},
		{name: "not off at 2.5 Pro", from: Chat, to: Gemini, model: "gemini-2.5-pro", doc: chat(`"reasoning_effort":"none"`), has: `{"thinkingBudget":128}`, lost: []string{"thinking_off"}},
		{name: "not before", from: Chat, to: Gemini, model: "gemini-2.0-flash", doc: chat(`"reasoning_effort":"low"`), hasNot: "thinking", lost: []string{"effort"}},
	} {
		rc.run(t)
	}
}

func TestRequestSampling(t *testing.T) {
	chat := func(rest string) string { return `{"messages":[{"role":"user","content":"A"}],` + rest + `}` }
	for _, rc := range []requestCase{
		{name: "Anthropic ends at 1", from: Chat, to: Anthropic, model: "claude-haiku-4-5", doc: chat(`"temperature":1.4`), has: `"temperature":1}`, lost: []string{"temperature"}},
		{name: "as it was written", from: Chat, to: Anthropic, model: "claude-haiku-4-5", doc: chat(`"temperature":0.70,"top_k":5`), has: `"temperature":0.70,"top_k":5`},
		{name: "beyond all numbers", from: Chat, to: Anthropic, model: "claude-haiku-4-5", doc: chat(`"temperature":1e400`), has: `"temperature":1}`, lost: []string{"temperature"}},
		{name: "one of two", from: Chat, to: Anthropic, model: "claude-opus-4-1", doc: chat(`"temperature":0.7,"top_p":0.9`), has: `"temperature":0.7`, hasNot: "top_p", lost: []string{"top_p"}},
		{name: "both, before", from: Chat, to: Anthropic, model: "claude-opus-4-20250514", doc: chat(`"temperature":0.7,"top_p":0.9`), has: `"temperature":0.7,"top_p":0.9`},
		{name: "none since 4.7", from: Chat, to: Anthropic, model: "claude-opus-4-7", doc: chat(`"temperature":0.7,"top_p":1,"top_k":3`), hasNot: "temperature", lost: []string{"temperature", "top_k"}},
		{name: "the default is no loss", from: Chat, to: Anthropic, model: "claude-sonnet-5", doc: chat(`"temperature":1.0`), hasNot: "temperature"},
		{name: "nor with thinking", from: Chat, to: Anthropic, model: "claude-opus-4-6", doc: chat(`"temperature":0.2,"top_k":2,"top_p":0.5,"reasoning_effort":"low"`),
			hasNot: "temperature", lost: []string{"temperature", "top_k", "top_p"}},
		{name: "OpenAI's that think", from: Anthropic, to: Chat, model: "gpt-5", doc: `{"max_tokens":9,"temperature":0.5,"top_p":0.5,"messages":[{"role":"user","content":"A"}]}`,
			want: `{"model":"gpt-5","max_completion_tokens":9,"messages":[{"role":"user","content":"A"}]}`, lost: []string{"temperature", "top_p"}},
		{name: "OpenAI's that do not", from: Anthropic, to: Chat, model: "gpt-4.1", doc: `{"max_tokens":9,"temperature":0.5,"top_k":2,"messages":[{"role":"user","content":"A"}]}`,
			want: `{"model":"gpt-4.1","max_completion_tokens":9,"temperature":0.5,"messages":[{"role":"user","content":"A"}]}`, lost: []string{"top_k"}},
		{name: "Mistral has another seed", from: Gemini, to: Chat, model: "codestral-latest", doc: `{"contents":[{"parts":[{"text":"A"}]}],"generationConfig":{"seed":3}}`, hasNot: "seed", lost: []string{"seed"}},
		{name: "open weights of OpenAI's, at others", from: Anthropic, to: Chat, model: "gpt-oss:20b", doc: `{"max_tokens":9,"temperature":0.5,"messages":[{"role":"user","content":"A"}]}`,
			want: `{"model":"gpt-oss:20b","max_tokens":9,"temperature":0.5,"messages":[{"role":"user","content":"A"}]}`},
	} {
		rc.run(t)
	}
}

func TestRequestOptions(t *testing.T) {
	for _, tc := range []struct {
		name     string
		from, to API
		doc      string
		o        RequestOptions
		want     string
	}{
		{"a stream by its path", Gemini, Anthropic, `{"contents":[{"parts":[{"text":"A"}]}]}`, RequestOptions{Model: "c", Stream: true, MaxOutput: 77},
			`{"model":"c","max_tokens":77,"stream":true,"messages":[{"role":"user","content":[{"type":"text","text":"A"}]}]}`},
		{"a stream by its body", Anthropic, Chat, `{"stream":true,"messages":[{"role":"user","content":"A"}]}`, RequestOptions{Model: "m"},
			`{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"A"}]}`},
		{"Mistral refuses stream_options", Anthropic, Chat, `{"stream":true,"messages":[{"role":"user","content":"A"}]}`, RequestOptions{Model: "mistral-large-latest"},
			`{"model":"mistral-large-latest","stream":true,"messages":[{"role":"user","content":"A"}]}`},
		{"its models elsewhere do not", Anthropic, Chat, `{"stream":true,"messages":[{"role":"user","content":"A"}]}`, RequestOptions{Model: "mistral:7b"},
			`{"model":"mistral:7b","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"A"}]}`},
		{"Gemini has neither in its body", Chat, Gemini, `{"model":"x","stream":true,"messages":[{"role":"user","content":"A"}]}`, RequestOptions{Model: "g", MaxOutput: 77},
			`{"contents":[{"role":"user","parts":[{"text":"A"}]}]}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, lost, err := Request([]byte(tc.doc), tc.from, tc.to, tc.o)
			if err != nil {
				t.Fatal(err)
			}
			requestSame(t, out, tc.want)
			requestLost(t, lost)
		})
	}
}

func TestRequestHostile(t *testing.T) {
	for _, tc := range []struct {
		name     string
		from, to API
		doc, has string
	}{
		{"a broken surrogate", Chat, Anthropic, `{"messages":[{"role":"user","content":"a\ud800b"}]}`, "a\ufffdb"},
		{"a broken surrogate in arguments stays", Anthropic, Gemini, `{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"x":"\ud800"}}]}]}`, `{"x":"\ud800"}`},
		{"bytes that are no UTF-8", Chat, Gemini, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\xffb\"}]}", "a\ufffdb"},
		{"the last of two members counts", Chat, Gemini, `{"messages":[{"role":"user","content":"A","content":"B"}]}`, `{"text":"B"}`},
		{"two members in arguments stay", Anthropic, Gemini, `{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"x":1,"x":2}}]}]}`, `{"x":1,"x":2}`},
		{"nulls", Anthropic, Chat, `{"model":null,"max_tokens":null,"system":null,"tools":null,"tool_choice":null,"thinking":null,"output_config":null,"metadata":null,"stop_sequences":null,"messages":[{"role":"user","content":[{"type":"text","text":"A","cache_control":null}]},{"role":"assistant","content":null}]}`, `"messages":[{"role":"user","content":"A"}]`},
		{"both ways to write a member", Gemini, Chat, `{"contents":[{"parts":[{"text":"A"}]}],"system_instruction":{"parts":[{"text":"B"}]},"systemInstruction":{"parts":[{"text":"C"}]}}`, `"content":"C"`},
		{"members of arguments are not smoothed", Gemini, Chat, `{"contents":[{"role":"model","parts":[{"function_call":{"name":"f","args":{"file_name":1}}}]}]}`, `{\"file_name\":1}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, _, err := Request([]byte(tc.doc), tc.from, tc.to, RequestOptions{Model: "m"})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(out), tc.has) || !json.Valid(out) {
				t.Errorf("%s\nhas no %s", out, tc.has)
			}
		})
	}
}

// A schema as deep as a document may be is read in time linear to its size.
func TestRequestDeepSchema(t *testing.T) {
	const depth = 3000 // each level of a schema is two of JSON, and the document has six of its own
	schema := strings.Repeat(`{"type":"ARRAY","items":`, depth) + `{"type":"STRING","description":"` + strings.Repeat("x", 1<<20) + `"}` + strings.Repeat("}", depth)
	doc := `{"contents":[{"parts":[{"text":"A"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":` + schema + `}]}]}`
	out, _, err := Request([]byte(doc), Gemini, Chat, RequestOptions{Model: "m"})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), `"type":"array"`); n != depth {
		t.Errorf("%d levels came through, want %d", n, depth)
	}
}

func TestModelVersions(t *testing.T) {
	for _, tc := range []struct {
		model, family string
		want          modelVersion
		ok            bool
	}{
		{"claude-3-7-sonnet-20250219", "claude", modelVersion{3, 7}, true},
		{"claude-sonnet-4-20250514", "claude", modelVersion{4, 0}, true},
		{"us.anthropic.claude-opus-4-6-v1:0", "claude", modelVersion{4, 6}, true},
		{"anthropic/claude-opus-4.8", "claude", modelVersion{4, 8}, true},
		{"claude-opus-4-1@20250805", "claude", modelVersion{4, 1}, true},
		{"claude-mythos-preview", "claude", newest, true},
		{"Claude-2.1", "claude", modelVersion{2, 1}, true},
		{"gpt-4o-2024-08-06", "gpt-", modelVersion{4, 0}, true},
		{"gpt-5-2025-08-07", "gpt-", modelVersion{5, 0}, true},
		{"gpt-5.4-mini", "gpt-", modelVersion{5, 4}, true},
		{"gemini-2.5-flash-lite-preview-06-17", "gemini", modelVersion{2, 5}, true},
		{"gemini-3-pro-preview-11-2025", "gemini", modelVersion{3, 0}, true},
		{"gemini-flash-latest", "gemini", newest, true},
		{"gemma-3-27b", "gemini", modelVersion{}, false},
	} {
		if got, ok := versionOf(tc.model, tc.family); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %v %v, want %v %v", tc.model, got, ok, tc.want, tc.ok)
		}
	}
}
